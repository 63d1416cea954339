//! The node among its peers: beats and what they tell, elections, leadership given away, consensus in and out.
//!
//! Nothing here is a promise: beats and links are evidence for liveness, and tell clients where to go. What is committed
//! and who leads is consensus's alone.

use super::losses::Losses;
use super::pace::{DISK_STALL, is_slow};
use super::{Node, NodeConfig, Timer};
use crate::event::{Effect, LogLevel};
use crate::level::Level;
use crate::peer::{Beat, Led, Link, PeerMessage, node_of, raft_id, replica_of};
use crate::request::{Endpoint, TopicRef};
use crate::shard::Shard;
use consensus::{Evidence, Failover, HEARTBEAT_INTERVAL, Message, StepError};
use model::{ErrorCode, LeaderEpoch, LogIndex, Mono, NodeId, Now, ShardId, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Beats between two looks at who keeps up and who should lead: one second.
const BEATS_A_LOOK: u64 = 20;
/// Leadership goes back to a shard's preferred node when that has been ready for so long: by then clients that back off from a node which
/// was away, for up to 10 s by their defaults (`reconnect.backoff.max.ms` of librdkafka), have found it again.
const BALANCE_AFTER: Duration = Duration::from_secs(12);
/// Shards that a node gives back in one look.
const BALANCED_A_LOOK_MAX: usize = 4;
/// A stop waits so long for others to take over.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// What a node knows of the others.
pub(super) struct Peers {
    others: BTreeMap<NodeId, Peer>,
    failover: Failover,
    /// Who serves the shards that this node does not serve.
    leaders: BTreeMap<ShardId, Leader>,
    /// Per shard what was committed one to two looks ago, and at the last look: who has the first keeps up.
    marks: Vec<[LogIndex; 2]>,
    beats: u64,
    election: Option<(Mono, u64)>,
    pub(super) losses: Losses,
    /// Until when a stop waits for the others.
    pub(super) leaving: Option<Mono>,
}

struct Peer {
    evidence: Evidence,
    is_gone: bool,
    endpoint: Option<Endpoint>,
    ready_since: Option<Mono>,
    /// What a commit takes its disk on average; `None` while it commits nothing.
    pace: Option<Duration>,
    /// The highest protocol level that it knows; `None` before it was heard.
    level: Option<Level>,
    /// Its disk was slow beside this node's then.
    slow_at: Option<Mono>,
    /// A line about a message that made no sense was written.
    is_reported: bool,
}

/// A shard's leader elsewhere.
struct Leader {
    node: NodeId,
    term: Term,
    epoch: LeaderEpoch,
    in_sync: Vec<NodeId>,
    driven: LogIndex,
}

/// Who leads a shard, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leadership {
    pub(super) node: NodeId,
    pub(super) epoch: LeaderEpoch,
    pub(super) in_sync: Vec<NodeId>,
}

impl Peers {
    pub(super) fn new(config: &NodeConfig, shards: usize, now: Now) -> Peers {
        let others = config.voters.iter().filter(|node| **node != config.node);
        let peer = |node: &NodeId| {
            let peer = Peer {
                evidence: Evidence::new(now.mono),
                is_gone: false,
                endpoint: None,
                ready_since: None,
                pace: None,
                level: None,
                slow_at: None,
                is_reported: false,
            };
            (*node, peer)
        };
        Peers {
            others: others.map(peer).collect(),
            failover: Failover::new(raft_id(config.node, config.owner.replica), config.seed),
            leaders: BTreeMap::new(),
            marks: vec![[LogIndex(0); 2]; shards],
            beats: 0,
            election: None,
            losses: Losses::default(),
            leaving: None,
        }
    }

    /// There are so many shards now.
    pub(super) fn watch(&mut self, shards: usize) {
        self.marks.resize(shards, [LogIndex(0); 2]);
    }

    /// Where a node was when it was last heard.
    pub(super) fn known_endpoint(&self, node: NodeId) -> Option<&Endpoint> {
        self.others.get(&node)?.endpoint.as_ref()
    }

    fn gone(&self) -> BTreeSet<NodeId> {
        self.others.iter().filter(|(_, peer)| peer.is_gone).map(|(node, _)| *node).collect()
    }
}

impl Node {
    /// A node of one: nobody else votes, answers are current by themselves.
    pub(super) fn is_alone(&self) -> bool {
        self.peers.others.is_empty()
    }

    /// The other nodes of the cluster.
    pub(super) fn others(&self) -> impl Iterator<Item = &NodeId> {
        self.config.voters.iter().filter(|node| **node != self.config.node)
    }

    /// The raft id of the replica with which a node takes part, as far as this node's catalogue knows.
    pub(super) fn member(&self, node: NodeId) -> u64 {
        raft_id(node, self.catalog.disks().replica(node))
    }

    /// A number for what another node is asked: its answer comes under it.
    pub(super) fn next_question(&mut self) -> u64 {
        self.last_question += 1;
        self.last_question
    }

    // Who leads

    /// Who serves the shard.
    pub(super) fn leadership(&self, at: usize) -> Option<Leadership> {
        let shard = &self.shards[at];
        if shard.serving || self.frozen.is_some() && self.is_alone() {
            let (node, in_sync) = (self.config.node, self.in_sync(at));
            return Some(Leadership { node, epoch: shard.epoch, in_sync });
        }
        let leader = self.peers.leaders.get(&shard.id)?;
        let epoch = leader.epoch.max(shard.epoch);
        Some(Leadership { node: leader.node, epoch, in_sync: leader.in_sync.clone() })
    }

    /// Up to which entry of the metadata log a shard has all that the catalogue wanted of it, as far as this node knows.
    pub(super) fn driven(&self, shard: ShardId) -> LogIndex {
        let here = &self.shards[self.shard_index(shard)];
        match self.peers.leaders.get(&shard) {
            _ if here.serving => here.driven(self.shards[0].applied()),
            Some(leader) => leader.driven,
            None => LogIndex(0),
        }
    }

    /// Who serves the metadata group: it alone changes the catalogue.
    pub(super) fn controller(&self) -> Option<NodeId> {
        self.leadership(0).map(|leadership| leadership.node)
    }

    /// Replicas that have what was committed a second ago, this one included.
    fn in_sync(&self, at: usize) -> Vec<NodeId> {
        let mark = self.mark(at);
        let keeps_up = |node: &NodeId, matched: LogIndex| {
            *node == self.config.node
                || matched >= mark && self.peers.others.get(node).is_some_and(|peer| !peer.is_gone)
        };
        let progress = self.shards[at].voters_progress().into_iter();
        let current = progress.filter_map(|(id, matched)| {
            Some((node_of(id).filter(|node| self.member(*node) == id)?, matched))
        });
        let nodes = current.filter(|(node, matched)| keeps_up(node, *matched)).map(|(node, _)| node);
        let mut nodes: Vec<NodeId> = nodes.collect();
        nodes.sort_unstable();
        nodes
    }

    /// What a replica must have to be taken for one that keeps up with this leader.
    pub(super) fn mark(&self, at: usize) -> LogIndex {
        self.peers.marks[at][0].max(self.shards[at].led_from)
    }

    /// Whether a peer is taken for alive.
    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.peers.others.get(&node).is_some_and(|peer| !peer.is_gone)
    }

    /// Whether a node takes records and shuts down nowhere.
    pub(super) fn is_up(&self, node: NodeId) -> bool {
        match self.peers.others.get(&node) {
            Some(peer) => !peer.is_gone && peer.ready_since.is_some(),
            None => self.is_ready() && self.stopping.is_none(),
        }
    }

    /// Where clients reach a node, if it lives.
    pub(super) fn endpoint_of(&self, node: NodeId) -> Option<&Endpoint> {
        if node == self.config.node {
            return Some(&self.config.endpoint);
        }
        self.peers.others.get(&node).filter(|peer| !peer.is_gone).and_then(|peer| peer.endpoint.as_ref())
    }

    /// All nodes that live, in the order of their ids.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.config.voters.iter().filter_map(|node| self.endpoint_of(*node)).cloned().collect()
    }

    /// Where a client that came to the wrong node is to go (KIP-951); the leader is noted for `endpoints_among`.
    pub(super) fn leader_hint(
        &self,
        code: ErrorCode,
        shard: Option<ShardId>,
        leaders: &mut BTreeSet<NodeId>,
    ) -> Option<(NodeId, i32)> {
        if code != ErrorCode::NotLeaderOrFollower {
            return None;
        }
        let leader = self.leadership(self.shard_index(shard?))?;
        self.endpoint_of(leader.node)?;
        leaders.insert(leader.node);
        Some((leader.node, leader.epoch.0))
    }

    /// Where these nodes are reached.
    pub(super) fn endpoints_among(&self, nodes: &BTreeSet<NodeId>) -> Vec<Endpoint> {
        nodes.iter().filter_map(|node| self.endpoint_of(*node)).cloned().collect()
    }

    /// The shard of a partition, if there is such a partition.
    pub(super) fn shard_of(&self, topic: &TopicRef, index: i32) -> Option<ShardId> {
        let found = self.resolve(topic).ok()?;
        found.shards.get(usize::try_from(index).ok()?).copied()
    }

    /// The rack of a node, as far as it is known.
    pub(super) fn rack_of(&self, node: NodeId) -> Option<&str> {
        if node == self.config.node {
            return self.config.endpoint.rack.as_deref();
        }
        self.peers.others.get(&node)?.endpoint.as_ref()?.rack.as_deref()
    }

    // Time

    /// Every `HEARTBEAT_INTERVAL`: raft's time, the verdict about each peer, and a beat to all.
    pub(super) fn beat(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.set_timer(now.mono.plus(HEARTBEAT_INTERVAL), Timer::Beat);
        if self.frozen.is_some() || self.checkpoint.is_closing() {
            return;
        }
        self.shards.iter_mut().filter(|shard| shard.is_here).for_each(|shard| shard.group.tick());
        self.judge_peers(now, out);
        self.forget_silent(now);
        self.elect(now);
        let is_stalled =
            self.wal.under_way.as_ref().is_some_and(|job| now.mono.since(job.since) > DISK_STALL);
        if is_stalled || self.peers.leaving.is_some() {
            self.hand_all_over(|_| true);
        }
        self.peers.beats += 1;
        if self.peers.beats.is_multiple_of(BEATS_A_LOOK) {
            self.mark_committed();
            self.mind_pace(now, out);
            self.balance(now);
            self.mind_members(out);
        }
        self.tell_all(out);
    }

    fn judge_peers(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut gone = Vec::new();
        for (node, peer) in &mut self.peers.others {
            let is_gone = peer.evidence.is_gone(now.mono);
            if is_gone != std::mem::replace(&mut peer.is_gone, is_gone) {
                let what = if is_gone { "does not answer" } else { "answers again" };
                out.push(Effect::Log(LogLevel::Warn, format!("node {} {what}", node.0)));
                if is_gone {
                    self.peers.losses.lost(now.mono, *node);
                }
            }
            if is_gone {
                peer.ready_since = None;
                gone.push(*node);
            }
        }
        self.peers.leaders.retain(|_, leader| !gone.contains(&leader.node));
    }

    /// Stands for election where it is this node's turn, and sets the time of the next look.
    pub(super) fn elect(&mut self, now: Now) {
        if self.is_alone() || self.frozen.is_some() || self.stopping.is_some() {
            return;
        }
        let (gone, idle) = (self.peers.gone(), self.idle());
        let (failover, disks) = (&mut self.peers.failover, self.catalog.disks());
        // Of a node that lives an earlier replica is gone as well.
        let is_gone = |id: &u64| {
            node_of(*id).is_none_or(|node| gone.contains(&node) || replica_of(*id) < disks.replica(node))
        };
        let checks = self.shards.iter_mut().map(|shard| {
            let gone: Vec<u64> = shard.group.voters().into_iter().filter(is_gone).collect();
            failover.check(now.mono, &mut shard.group, &gone, &idle)
        });
        let next = checks.flatten().min();
        if let Some(before) = self.peers.election.take() {
            self.timers.remove(&before);
        }
        self.peers.election = next.map(|at| self.set_timer(at, Timer::Election));
    }

    /// The nodes that lead nothing but the metadata group, as far as this node knows. Clients have no connection to them, and may wait
    /// for seconds before they make one to a node that was away (docs/decisions/0020): others take over before them.
    fn idle(&self) -> Vec<u64> {
        let leads_here = self.shards.iter().any(|shard| shard.serving && shard.id != ShardId::METADATA);
        let leads = |node: NodeId| {
            let mut led = self.peers.leaders.iter().filter(|(shard, _)| **shard != ShardId::METADATA);
            if node == self.config.node { leads_here } else { led.any(|(_, leader)| leader.node == node) }
        };
        self.config.voters.iter().filter(|node| !leads(**node)).map(|node| self.member(*node)).collect()
    }

    /// Gives away all that this node leads, each shard to one of those that may lead.
    pub(super) fn hand_all_over(&mut self, may_lead: impl Fn(u64) -> bool) {
        for shard in &mut self.shards {
            shard.group.hand_over(&may_lead);
        }
    }

    /// A stop begins: others are to lead.
    pub(super) fn leave(&mut self, now: Now) {
        if !self.is_alone() {
            self.peers.leaving = Some(now.mono.plus(LEAVE_MAX));
            self.hand_all_over(|_| true);
        }
    }

    /// Whether a stop still waits for others to take over.
    pub(super) fn is_leaving(&self, now: Now) -> bool {
        self.peers.leaving.is_some_and(|until| now.mono < until)
            && self.peers.others.values().any(|peer| peer.ready_since.is_some())
            && self.shards.iter().any(|shard| shard.group.is_leader() && shard.group.voters().len() > 1)
    }

    /// The highest protocol level that another node knows, as far as it was heard.
    pub(super) fn level_of(&self, node: NodeId) -> Option<Level> {
        self.peers.others.get(&node)?.level
    }

    /// What a commit takes those that commit something.
    pub(super) fn paces_of_peers(&self) -> impl Iterator<Item = (NodeId, Duration)> + '_ {
        let alive = self.peers.others.iter().filter(|(_, peer)| !peer.is_gone);
        alive.filter_map(|(node, peer)| Some((*node, peer.pace?)))
    }

    /// Notes whose disk is slow beside this node's.
    pub(super) fn note_slow_peers(&mut self, now: Mono, own: Option<Duration>) {
        for peer in self.peers.others.values_mut().filter(|peer| is_slow(peer.pace, own)) {
            peer.slow_at = Some(now);
        }
    }

    fn mark_committed(&mut self) {
        for (mark, shard) in self.peers.marks.iter_mut().zip(&self.shards) {
            *mark = [mark[1], shard.group.committed()];
        }
    }

    /// Gives shards back to the nodes that should lead them, so that the load is spread after a failure.
    fn balance(&mut self, now: Now) {
        let is_long_ago = |since: Mono| now.mono.since(since) >= BALANCE_AFTER;
        let steady = |peer: &Peer| {
            !peer.is_gone && peer.ready_since.is_some_and(is_long_ago) && peer.slow_at.is_none_or(is_long_ago)
        };
        let mut given = 0;
        for at in 0..self.shards.len() {
            if given == BALANCED_A_LOOK_MAX || !self.shards[at].serving {
                continue;
            }
            let preferred = self.preferred(at);
            let is_steady = self.peers.others.get(&preferred).is_some_and(steady);
            if is_steady && self.in_sync(at).contains(&preferred) {
                let heir = self.member(preferred);
                self.shards[at].group.transfer_leader(heir);
                given += 1;
            }
        }
    }

    /// Hands a shard that this node serves to the node that should lead it, if that takes records and keeps up.
    pub(super) fn give_back(&mut self, at: usize) {
        let preferred = self.preferred(at);
        let is_here = preferred == self.config.node || !self.shards[at].serving;
        if !is_here && self.is_up(preferred) && self.in_sync(at).contains(&preferred) {
            let heir = self.member(preferred);
            self.shards[at].group.transfer_leader(heir);
        }
    }

    /// Tells all peers what this node leads.
    pub(super) fn tell_all(&mut self, out: &mut Vec<Effect>) {
        let led = |at: usize| {
            let shard = &self.shards[at];
            shard.serving.then(|| Led {
                shard: shard.id,
                term: shard.group.term(),
                epoch: shard.epoch,
                in_sync: self.in_sync(at),
                driven: shard.driven(self.shards[0].applied()),
            })
        };
        let leaderless = |shard: &Shard| {
            let term = shard.is_here.then(|| shard.group.leaderless_term()).flatten()?;
            Some((shard.id, term))
        };
        let beat = Beat {
            endpoint: self.config.endpoint.clone(),
            led: (0..self.shards.len()).filter_map(led).collect(),
            catalog: self.shards[0].applied(),
            is_ready: self.is_ready() && self.stopping.is_none(),
            commit_micros: self
                .pace
                .average()
                .map(|average| average.as_micros().try_into().unwrap_or(u32::MAX)),
            level: self.config.level,
            leaderless: self.shards.iter().filter_map(leaderless).collect(),
            disk: self.own_disk(),
        };
        let message = PeerMessage::Beat(Box::new(beat));
        out.extend(self.peers.others.keys().map(|to| Effect::Send { to: *to, message: message.clone() }));
    }

    // What comes in

    pub(super) fn on_peer(&mut self, now: Now, from: NodeId, message: PeerMessage, out: &mut Vec<Effect>) {
        if self.frozen.is_some() || self.checkpoint.is_closing() || !self.peers.others.contains_key(&from) {
            return;
        }
        match message {
            PeerMessage::Consensus(message) => self.on_consensus(from, message, out),
            PeerMessage::Beat(beat) => self.on_beat(now, from, *beat, out),
            PeerMessage::Wait(wait) => self.on_wait(now, from, *wait, out),
            PeerMessage::Named { disk, replica } => self.on_named(disk, replica, out),
            PeerMessage::Pass(number, passed) => self.on_pass(now, from, number, *passed, out),
            PeerMessage::Answer(number, answer) => self.on_pass_answer(from, number, *answer, out),
            PeerMessage::Pull(pull) => self.on_pull(from, pull, out),
            PeerMessage::Range(range) => self.on_range(now, range, out),
            PeerMessage::Elect(shards) => self.on_elect(&shards),
        }
    }

    fn on_consensus(&mut self, from: NodeId, message: Message, out: &mut Vec<Effect>) {
        let found = self.find_shard(message.shard);
        if found.is_none() && message.shard >= ShardId::FIRST_PLACED {
            return; // the catalogue will tell of it here, too
        }
        let here = found.filter(|at| self.shards[*at].is_here && node_of(message.from) == Some(from));
        let Some(at) = here else {
            self.report_nonsense(from, "a message for no shard of this node, or in another's name", out);
            return;
        };
        if message.to != raft_id(self.config.node, self.config.owner.replica) {
            return; // an earlier or a later replica of this node is meant
        }
        match self.shards[at].group.step(message) {
            // A replica that is none any more may not know so yet.
            Ok(()) | Err(StepError::UnknownSender { .. }) => {}
            Err(StepError::Halted(halt)) => self.stop(
                out,
                format!(
                    "shard {} lost what it acknowledged: {halt}; this node must be replaced",
                    self.shards[at].id.0
                ),
            ),
            Err(error) => self.report_nonsense(from, &error.to_string(), out),
        }
    }

    fn report_nonsense(&mut self, from: NodeId, what: &str, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.others.get_mut(&from) else { return };
        if !std::mem::replace(&mut peer.is_reported, true) {
            out.push(Effect::Log(LogLevel::Warn, format!("node {} sent {what}; it is not heeded", from.0)));
        }
    }

    fn on_beat(&mut self, now: Now, from: NodeId, beat: Beat, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.others.get_mut(&from) else { return };
        peer.evidence.on_heartbeat(now.mono);
        self.peers.losses.beats(now.mono, from);
        peer.is_gone = false;
        peer.endpoint = Some(Endpoint { node: from, ..beat.endpoint });
        peer.ready_since = beat.is_ready.then(|| peer.ready_since.unwrap_or(now.mono));
        peer.level = Some(beat.level);
        peer.pace = beat.commit_micros.map(|micros| Duration::from_micros(micros.into()));
        self.peers.leaders.retain(|_, leader| leader.node != from);
        for (shard, term) in beat.leaderless {
            if let Some(at) = self.find_shard(shard)
                && self.shards[at].group.term() == term
            {
                let leader = self.shards[at].group.leader().filter(|leader| node_of(*leader) == Some(from));
                leader.into_iter().for_each(|leader| self.shards[at].group.open_vote_filter(leader));
            }
        }
        if let Some(own) = beat.disk {
            self.on_takes_part(from, own, out);
        }
        self.driving.has_news = true;
        for led in beat.led {
            if led.shard == ShardId::METADATA {
                self.start_heard(beat.catalog);
            }
            let is_older = |known: &Leader| known.term > led.term;
            if !self.peers.leaders.get(&led.shard).is_some_and(is_older) {
                let Led { shard, term, epoch, in_sync, driven } = led;
                self.peers.leaders.insert(shard, Leader { node: from, term, epoch, in_sync, driven });
            }
        }
    }

    pub(super) fn on_link(&mut self, now: Now, node: NodeId, link: Link, out: &mut Vec<Effect>) {
        if self.frozen.is_some() || self.checkpoint.is_closing() {
            return;
        }
        let Some(peer) = self.peers.others.get_mut(&node) else { return };
        match link {
            Link::Up => {
                peer.evidence.on_connected(now.mono);
                peer.is_reported = false;
                self.peers.losses.found(node);
            }
            Link::Lost => {
                self.peers.losses.lost(now.mono, node);
                let lost = self.member(node);
                self.shards.iter_mut().for_each(|shard| shard.group.unreachable(lost));
                self.give_up_passed(node, out);
            }
            Link::Refused => {
                peer.evidence.on_refused();
                self.judge_peers(now, out);
                self.elect(now);
                self.give_up_passed(node, out);
            }
        }
    }
}

/// Hands consensus's messages to the driver.
pub(super) fn send_all(messages: Vec<Message>, out: &mut Vec<Effect>) {
    let sends = messages.into_iter().filter_map(|message| Some((node_of(message.to)?, message)));
    out.extend(sends.map(|(to, message)| Effect::Send { to, message: PeerMessage::Consensus(message) }));
}
