//! What goes wrong in a world, and when: each seed has its own mix, and quiet stretches in it.

use super::world::{Event, World};
use crate::disk::{Crash, DiskFaults};
use model::ShardId;
use std::time::Duration;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerCut,
    KillInCall,
    PowerCutInCall,
    PowerCutAll,
    Pause,
    Isolate,
    CutOneWay,
    CutPair,
    Heal,
    KillLeader,
    HandOver,
}

const ALL: [Fault; 12] = [
    Fault::Kill,
    Fault::PowerCut,
    Fault::KillInCall,
    Fault::PowerCutInCall,
    Fault::PowerCutAll,
    Fault::Pause,
    Fault::Isolate,
    Fault::CutOneWay,
    Fault::CutPair,
    Fault::Heal,
    Fault::KillLeader,
    Fault::HandOver,
];

/// What must have come up over many seeds.
pub const DEMANDED: [&str; 29] = [
    "checker: a leader was elected",
    "checker: a vote was cast",
    "checker: an entry was applied",
    "checker: logs had parted",
    "client: acknowledged write",
    "client: answered read",
    "client: asked again",
    "consensus: checkpoint and compaction",
    "consensus: leader with a stalled disk hands over",
    "consensus: state installed",
    "consensus: state sent to a follower behind the log",
    "disk: power cut with unsynced bytes",
    "disk: power cut within a sync",
    "disk: power cut within a write",
    "disk: process crash within a sync",
    "disk: process crash within a write",
    "disk: stalled call",
    "disk: sync error",
    "network: message late",
    "network: message lost",
    "network: message on a cut link",
    "network: message repeated",
    "node: crashed while starting",
    "node: isolated for long",
    "node: killed",
    "node: paused",
    "node: power cut",
    "node: restarted",
    "world: leadership handed over",
];

/// A world's mix of faults.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    kinds: Vec<Fault>,
    gap_ms: u64,
}

impl World {
    /// Chooses this world's faults and starts them.
    pub fn begin_faults(&mut self) {
        let dice = &mut self.dice;
        let mut kinds: Vec<Fault> = ALL.into_iter().filter(|_| dice.coin()).collect();
        kinds.push(Fault::Heal);
        let gap_ms = dice.between(100, 900);
        if dice.chance(7000) {
            self.network.faults.loss = dice.skewed(1, 3000) as u32;
            self.network.faults.repeat = dice.skewed(1, 1000) as u32;
            self.network.faults.late = dice.skewed(1, 3000) as u32;
            self.network.faults.slow = Duration::from_millis(dice.between(1, 200));
        }
        if dice.chance(5000) {
            let faults = DiskFaults {
                sync_error: if dice.chance(3000) { dice.skewed(1, 20) as u32 } else { 0 },
                stall: if dice.chance(5000) { dice.skewed(1, 20) as u32 } else { 0 },
                slowness: dice.skewed(1, 30) as u32,
                ..DiskFaults::default()
            };
            self.hosts.iter().for_each(|host| host.disk.set_faults(faults));
        }
        self.mix = Some(Mix { kinds, gap_ms });
        self.next_fault();
    }

    fn next_fault(&mut self) {
        let Some(mix) = &self.mix else { return };
        let gap = Duration::from_millis(self.dice.skewed(mix.gap_ms / 4 + 1, mix.gap_ms * 2));
        // A quarter of the time nothing goes wrong for a while.
        let quiet =
            if self.dice.chance(2500) { Duration::from_millis(mix.gap_ms * 2) } else { Duration::ZERO };
        self.after(gap + quiet, Event::Fault);
    }

    pub fn on_fault(&mut self) {
        if self.healed {
            return;
        }
        let Some(mix) = self.mix.clone() else { return };
        let fault = mix.kinds[self.dice.index(mix.kinds.len())];
        let node = self.dice.between(1, self.options.nodes);
        self.trace.number(fault as u64 ^ node << 8);
        self.inflict(fault, node);
        self.next_fault();
    }

    fn inflict(&mut self, fault: Fault, node: u64) {
        let nodes = self.options.nodes;
        let peer = node % nodes + 1;
        let calls = self.dice.skewed(1, 40);
        let shard = ShardId(self.dice.below(u64::from(self.options.shards)) as u32);
        let leader = self.leader_of(shard);
        match fault {
            Fault::Kill => self.kill_if_up(node, Crash::Process),
            Fault::PowerCut => self.kill_if_up(node, Crash::Power),
            Fault::KillLeader => self.kill_if_up(leader.unwrap_or(node), Crash::Process),
            Fault::KillInCall => self.host(node).disk.crash_at_call(calls, Crash::Process),
            Fault::PowerCutInCall => self.host(node).disk.crash_at_call(calls, Crash::Power),
            Fault::PowerCutAll => (1..=nodes).for_each(|node| self.kill_if_up(node, Crash::Power)),
            Fault::Pause => {
                self.checker.counters.count("node: paused");
                let length = Duration::from_millis(self.dice.skewed(20, 5000));
                self.host(node).paused_until = self.now.plus(length);
            }
            Fault::Isolate => {
                for other in (1..=nodes).filter(|other| *other != node) {
                    self.network.cut(node, other);
                    self.network.cut(other, node);
                }
            }
            Fault::CutOneWay => self.network.cut(node, peer),
            Fault::CutPair => {
                self.network.cut(node, peer);
                self.network.cut(peer, node);
            }
            Fault::Heal => self.heal_network(),
            Fault::HandOver => {
                if let Some(leader) = leader
                    && let Some(process) = &mut self.host(leader).process
                    && let Some(replica) = process.replicas.get_mut(&shard)
                {
                    replica.group.transfer_leader(node);
                    self.checker.counters.count("world: leadership handed over");
                    self.settle(leader, false);
                }
            }
        }
        self.note_isolation();
    }

    pub fn leader_of(&self, shard: ShardId) -> Option<u64> {
        let leads = |process: &super::node::Process| {
            process
                .replicas
                .get(&shard)
                .filter(|replica| replica.group.is_leader())
                .map(|replica| replica.group.term())
        };
        let terms = self.hosts.iter().enumerate();
        let leaders = terms.filter_map(|(at, host)| Some((leads(host.process.as_ref()?)?, at as u64 + 1)));
        leaders.max().map(|(_, node)| node)
    }

    pub fn kill_if_up(&mut self, node: u64, kind: Crash) {
        if self.host(node).process.is_some() {
            self.kill(node, kind);
        }
    }

    fn note_isolation(&mut self) {
        let nodes = self.options.nodes;
        for node in 1..=nodes {
            let isolated = self.network.is_isolated(node, nodes);
            let now = self.now;
            let host = self.host(node);
            if !isolated || host.process.is_none() {
                host.isolated = None;
            } else if host.isolated.is_none() {
                host.isolated = Some((now, None));
            }
        }
    }

    /// A node that hears nobody keeps its terms: an election that cannot be won is not started.
    pub fn check_isolation(&mut self, node: u64) {
        /// By then everything that was on its way has arrived or is lost.
        const SETTLED: Duration = Duration::from_millis(1500);
        let now = self.now;
        let host = self.host(node);
        let (Some((since, terms)), Some(process)) = (&mut host.isolated, &host.process) else { return };
        if now.since(*since) < SETTLED || host.paused_until.plus(SETTLED) > now {
            *terms = None;
            return;
        }
        let current: Vec<u64> = process.replicas.values().map(|replica| replica.group.term().0).collect();
        match terms {
            None => *terms = Some(current),
            Some(before) if *before != current => {
                let detail =
                    format!("node {node} hears nobody and went from terms {before:?} to {current:?}");
                self.checker.fail("an isolated node keeps its terms", detail);
            }
            Some(_) => self.checker.counters.count("node: isolated for long"),
        }
    }

    fn heal_network(&mut self) {
        self.network.heal();
        self.note_isolation();
    }

    /// The end of all faults.
    pub fn heal(&mut self) {
        self.healed = true;
        self.heal_network();
        self.network.faults = Default::default();
        for node in 1..=self.options.nodes {
            let now = self.now;
            let host = self.host(node);
            host.disk.set_faults(DiskFaults::default());
            host.disk.disarm();
            host.paused_until = host.paused_until.min(now);
            if host.process.as_ref().is_some_and(|process| process.will_stall(now)) {
                // Somebody restarts what hangs.
                self.kill(node, Crash::Process);
            }
            let host = self.host(node);
            if host.process.is_none() {
                self.start(node);
            }
        }
    }
}
