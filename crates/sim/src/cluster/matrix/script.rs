//! What a row does to the world: steps at their times, and whom each of them meets.

use super::row::Row;
use crate::cluster::net::CALM;
use crate::cluster::processor::Contention;
use crate::cluster::{Happening, HostIndex, ROOMY, World};
use crate::disk::{Crash, DiskFaults, Harm};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whom a step meets, looked up when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The leader of the first shard of records. With one such shard it is the coordinator of every group, too.
    Leader,
    /// A node that leads nothing, if there is one; not the leader.
    Follower,
    /// The leader of the metadata group.
    Controller,
    /// The node that leads most.
    Busiest,
    /// Whom the step before met.
    Same,
    /// Any node but the one that the step before met.
    Other,
    /// Any node.
    Any,
    /// This one.
    Node(HostIndex),
}

/// Which ways between nodes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All to and from it.
    Isolated,
    /// All to it.
    Deaf,
    /// All from it.
    Mute,
    /// Between it and one other.
    Link,
    /// All but those to and from it.
    Star,
    /// The same, and all of the leader.
    StarWithoutLeader,
    /// All but those between neighbours.
    Ring,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Kill(Who, Crash),
    KillAll(Crash),
    /// The machine is gone without a word.
    Vanish(Who),
    /// The process crashes at one of its next calls of the disk, the one whose turn it is.
    Fuse(Who),
    /// The process is stopped for so many milliseconds.
    Pause(Who, u64),
    PauseAll(u64),
    /// SIGTERM, and started again.
    Stop(Who),
    Cut(Who, Shape),
    Mend,
    /// No client reaches the node.
    HideFromClients(Who),
    ShowToClients,
    Disk(Who, DiskFaults),
    /// Every call of the disk that is begun ends behind so many milliseconds.
    Freeze(Who, u64),
    Full(Who),
    FullAll,
    /// Disks are well and have room.
    Well,
    /// Something happens to a segment of the node, or of one that is not whole again yet.
    Harm(Who, Harm),
    /// … of every node, each in partitions of its own.
    HarmEach(Harm),
    /// The process dies, and its next start finds a damaged file, one whose path ends so.
    Damage(Who, &'static str),
    /// The machine dies and comes back with an empty disk.
    LoseDisk(Who),
    /// The machine whose disk was lost dies and comes back with that one.
    PutDiskBack,
    /// The wall clock is set so many milliseconds off the right time.
    Clock(Who, i64),
    /// What goes to the node takes so many nanoseconds a byte.
    Narrow(Who, u64),
    /// Longest delay between nodes, and to clients, microseconds.
    Delay(u64),
    /// Connections between nodes and to clients break: in ten thousand pieces.
    Resets(u32),
    /// Bits flip between nodes: in ten thousand frames.
    Flips(u32),
    ResetClients,
    /// Every process shares its processor with others.
    Contend(Contention),
    /// Each request of a client takes so many microseconds of the processor.
    Work(u64),
    /// Clients do something at most so often, microseconds.
    Pace(u64),
    /// Counts acknowledgements from here on, or up to here.
    Count,
    /// The process has been without its processor for so many milliseconds when it gets it next.
    Stall(Who, u64),
}

/// An act and its time, milliseconds behind the beginning of the round.
pub type Step = (u64, Act);

/// A script under way.
#[derive(Debug)]
pub struct Script {
    pub row: &'static Row,
    /// The next step.
    step: usize,
    /// Rounds begun.
    round: u64,
    began: model::Mono,
    met: HostIndex,
    /// What the world's seed was: which call of the disk a fuse is for.
    seed: u64,
    pub is_done: bool,
    /// The next machine that loses power says nothing.
    pub vanishes: bool,
    acks_before: u64,
    /// A round in which nothing was acknowledged.
    pub stuck: Option<u64>,
    pub deaths: u64,
    /// Acknowledgements so far, and when they were counted.
    pub counts: Vec<(model::Mono, u64)>,
}

/// Calls of the disk over which fuses are spread.
const FUSE_CALLS: u64 = 120;
/// Turns follow each other in steps of so many calls, so that few seeds meet early and late ones.
const FUSE_STRIDE: u64 = 7;
/// A step comes up to so much later than the script says, milliseconds.
const JITTER_MILLIS_MAX: u64 = 40;

impl Script {
    pub fn new(row: &'static Row, seed: u64) -> Script {
        Script {
            row,
            step: 0,
            round: 0,
            began: model::Mono(0),
            met: 0,
            seed,
            is_done: false,
            vanishes: false,
            acks_before: 0,
            stuck: None,
            deaths: 0,
            counts: Vec::new(),
        }
    }

    /// Acknowledgements in a second between the first two counts, and between the last two.
    pub fn goodput(&self) -> Option<(f64, f64)> {
        let rate = |pair: &[(model::Mono, u64)]| match pair {
            [(from, before), (to, after)] => Some((after - before) as f64 / to.since(*from).as_secs_f64()),
            _ => None,
        };
        Some((rate(self.counts.first_chunk::<2>()?)?, rate(self.counts.last_chunk::<2>()?)?))
    }
}

impl World {
    /// The next step's time has come, or a round is over.
    pub(in crate::cluster) fn on_step(&mut self) {
        let now = self.queue.now();
        let Some(script) = self.script.as_mut() else { return };
        let row = script.row;
        if let Some((_, act)) = row.steps.get(script.step).copied() {
            script.step += 1;
            if script.step == 1 {
                (script.began, script.round) = (now, script.round + 1);
            }
            self.act(act);
            return self.schedule_step();
        }
        // A round ends well.
        self.mend_all();
        let acks = self.watch.figures.acks;
        let Some(script) = self.script.as_mut() else { return };
        if acks == script.acks_before {
            script.stuck.get_or_insert(script.round);
        }
        script.acks_before = acks;
        script.step = 0;
        script.is_done = script.round == row.rounds;
        if !script.is_done {
            let wait = Duration::from_millis(20 + self.dice.below(JITTER_MILLIS_MAX));
            self.queue.after(wait, Happening::Step);
        }
    }

    fn schedule_step(&mut self) {
        let Some(script) = &self.script else { return };
        let row = script.row;
        let at = row.steps.get(script.step).map_or(row.round_millis, |(at, _)| *at);
        let jitter = self.dice.below(JITTER_MILLIS_MAX * 1_000);
        let moment = script.began.plus(Duration::from_millis(at) + Duration::from_micros(jitter));
        self.queue.at(moment, Happening::Step);
    }

    fn find(&mut self, who: Who) -> HostIndex {
        let nodes = self.hosts.len();
        let before = self.script.as_ref().map_or(0, |script| script.met);
        let leader = self.watch.leader(true).unwrap_or(0);
        let found = match who {
            Who::Leader => leader,
            Who::Controller => self.watch.leader(false).unwrap_or(0),
            Who::Busiest => (0..nodes).max_by_key(|host| self.watch.led_by(*host)).unwrap_or(0),
            Who::Follower => {
                let first = self.dice.index(nodes);
                let others = (0..nodes).map(|at| (first + at) % nodes).filter(|host| *host != leader);
                others.min_by_key(|host| self.watch.led_by(*host)).unwrap_or(0)
            }
            Who::Same => before,
            Who::Other => (before + 1 + self.dice.index(nodes - 1)) % nodes,
            Who::Any => self.dice.index(nodes),
            Who::Node(host) => host,
        };
        if let Some(script) = &mut self.script {
            script.met = found;
        }
        found
    }

    fn act(&mut self, act: Act) {
        let now = self.queue.now();
        match act {
            Act::Kill(who, kind) => {
                let at = self.find(who);
                self.watch.await_others(at, now);
                self.kill(at, kind);
            }
            Act::KillAll(kind) => (0..self.hosts.len()).for_each(|at| {
                self.watch.await_others(at, now);
                self.kill(at, kind);
            }),
            Act::Vanish(who) => {
                let at = self.find(who);
                self.watch.await_others(at, now);
                if let Some(script) = &mut self.script {
                    script.vanishes = true;
                }
                self.kill(at, Crash::Power);
            }
            Act::Fuse(who) => self.light(who),
            Act::Pause(who, millis) => {
                let at = self.find(who);
                self.watch.await_others(at, now);
                self.pause_for(at, Duration::from_millis(millis));
            }
            Act::PauseAll(millis) => {
                (0..self.hosts.len()).for_each(|at| self.pause_for(at, Duration::from_millis(millis)));
            }
            Act::Stop(who) => {
                let at = self.find(who);
                self.watch.await_others(at, now);
                self.shut_down(at);
            }
            Act::Cut(who, shape) => self.cut(who, shape),
            Act::Mend => self.cut_ways(&BTreeSet::new()),
            Act::HideFromClients(who) => {
                let at = self.find(who);
                self.net.hide(at);
            }
            Act::ShowToClients => self.net.show_all(&mut self.queue),
            Act::Disk(..) | Act::Freeze(..) | Act::Full(_) | Act::FullAll | Act::Well => {
                self.act_on_disk(act)
            }
            Act::Harm(..) | Act::HarmEach(_) | Act::Damage(..) | Act::LoseDisk(_) | Act::PutDiskBack => {
                self.act_on_what_is_stored(act);
            }
            Act::Clock(who, off) => {
                let at = self.find(who);
                self.counters.count("world: wall clock jumped");
                self.hosts[at].wall_offset_ms = crate::cluster::WALL_START_MS + off;
            }
            Act::Narrow(who, nanos) => {
                let at = self.find(who);
                self.peers.narrow = Some((at, nanos));
            }
            Act::Delay(micros) => {
                self.peers.delay_micros_max = micros;
                self.net.faults.delay_micros_max = micros / 10;
            }
            Act::Resets(rate) => (self.peers.reset, self.net.faults.reset) = (rate, rate),
            Act::Flips(rate) => self.peers.flips = rate,
            Act::Contend(contention) => self.contend(contention),
            Act::Work(micros) => self.set_request_cost(Some(Duration::from_micros(micros))),
            Act::Pace(micros) => self.swarm.pace_micros = micros,
            Act::Count => {
                let acks = self.watch.figures.acks;
                if let Some(script) = &mut self.script {
                    script.counts.push((now, acks));
                }
            }
            Act::Stall(who, millis) => {
                let at = self.find(who);
                self.stall(at, Duration::from_millis(millis));
            }
            Act::ResetClients => {
                for id in self.net.open_connections() {
                    self.queue.after(Duration::ZERO, Happening::Reset(id));
                }
            }
        }
    }

    fn act_on_disk(&mut self, act: Act) {
        let now = self.queue.now();
        match act {
            Act::Disk(who, faults) => {
                let at = self.find(who);
                self.watch.await_others(at, now);
                self.hosts[at].disk.set_faults(faults);
            }
            Act::Freeze(who, millis) => {
                let at = self.find(who);
                self.watch.await_others(at, now);
                self.hosts[at].frozen_until = now.plus(Duration::from_millis(millis));
            }
            Act::Full(who) => {
                let at = self.find(who);
                self.fill(at);
            }
            Act::FullAll => (0..self.hosts.len()).for_each(|at| self.fill(at)),
            Act::Well => self.hosts.iter().for_each(|host| {
                host.disk.set_faults(DiskFaults::default());
                host.disk.set_capacity(ROOMY);
            }),
            _ => {}
        }
    }

    fn act_on_what_is_stored(&mut self, act: Act) {
        match act {
            Act::Harm(who, harm) => {
                let at = self.find(who);
                self.harm_one(at, harm);
            }
            Act::HarmEach(harm) => self.harm_each(harm),
            Act::Damage(who, ending) => {
                let at = self.find(who);
                self.watch.await_others(at, self.queue.now());
                self.damage_files_of(at, ending);
            }
            Act::LoseDisk(who) => {
                let at = self.find(who);
                self.watch.await_others(at, self.queue.now());
                self.lose_disk_of(at);
            }
            Act::PutDiskBack => self.put_disk_back(),
            _ => {}
        }
    }

    fn fill(&mut self, at: HostIndex) {
        self.counters.count("world: disk full");
        let disk = &self.hosts[at].disk;
        disk.set_capacity(disk.used());
    }

    /// Each call of the disk has its turn, over rounds and seeds, once as a crash and once as a power cut.
    fn light(&mut self, who: Who) {
        let at = self.find(who);
        let Some(script) = &self.script else { return };
        let turn = script.seed * script.row.rounds + script.round - 1;
        let is_power = (turn + turn / FUSE_CALLS).is_multiple_of(2);
        let kind = if is_power { Crash::Power } else { Crash::Process };
        self.hosts[at].disk.crash_at_call(1 + turn * FUSE_STRIDE % FUSE_CALLS, kind);
    }

    fn cut(&mut self, who: Who, shape: Shape) {
        let now = self.queue.now();
        let at = self.find(who);
        let leader = self.watch.leader(true).unwrap_or(0);
        let nodes = self.hosts.len();
        let one = if at == leader { (at + 1) % nodes } else { leader };
        let is_cut = |from: HostIndex, to: HostIndex| match shape {
            Shape::Isolated => from == at || to == at,
            Shape::Deaf => to == at,
            Shape::Mute => from == at,
            Shape::Link => (from, to) == (at, one) || (from, to) == (one, at),
            Shape::Star => from != at && to != at,
            Shape::StarWithoutLeader => from != at && to != at || from == leader || to == leader,
            Shape::Ring => (from + 1) % nodes != to && (to + 1) % nodes != from,
        };
        let ways = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let cuts: BTreeSet<_> = ways.filter(|(from, to)| from != to && is_cut(*from, *to)).collect();
        // Who has a majority within reach in both directions may lead on.
        let reached = (0..nodes)
            .filter(|to| *to == leader || !cuts.contains(&(leader, *to)) && !cuts.contains(&(*to, leader)));
        if reached.count() <= nodes / 2 {
            self.watch.await_others(leader, now);
        }
        self.cut_ways(&cuts);
    }

    /// Everything that a script did to network, disks and processors is over; clocks stay where they are, and who is away comes by itself.
    pub(in crate::cluster) fn mend_all(&mut self) {
        self.cut_ways(&BTreeSet::new());
        self.net.show_all(&mut self.queue);
        self.net.faults = CALM;
        (self.peers.delay_micros_max, self.peers.reset, self.peers.flips) = (200, 0, 0);
        self.peers.narrow = None;
        self.end_contention();
        self.set_request_cost(None);
        self.act_on_disk(Act::Well);
        for host in &self.hosts {
            host.disk.disarm();
        }
    }
}
