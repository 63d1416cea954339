//! One node of a quorum world: replicas of some shards over one disk, driven as the real drivers drive them. One group
//! commit at a time, all shards together; what comes up meanwhile goes into the next.

use super::checker::{Applied, Checker, operation_of, payload_of};
use super::store::Store;
use crate::disk::SimDisk;
use bytes::Bytes;
use consensus::{
    Config, Evidence, Failover, Group, Message, Mutant, Position, ProposeError, Ready, Restored, Role,
    Snapshot,
};
use model::job::{JobError, ShardCheckpoint, WalAppend};
use model::{HardState, LogIndex, Mono, ShardId};
use std::collections::BTreeMap;
use std::time::Duration;
use storage::OpenError;

/// A group commit that takes longer is a stall.
const COMMIT_STALL: Duration = Duration::from_millis(500);

/// What a client asks a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Write { operation: u64 },
    Read { asked_at: LogIndex },
}

/// What a node tells the world.
pub enum Effect {
    Send(Message),
    Reply { client: usize, attempt: u64, answer: Answer },
}

/// What a client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// Ask somebody else: the leader, if known.
    Elsewhere(Option<u64>),
}

/// A request that waits for the log.
#[derive(Clone, Copy)]
struct Waiting {
    client: usize,
    attempt: u64,
    request: Request,
}

/// One shard at one node.
pub struct Replica {
    pub group: Group,
    pub state: Applied,
    /// Last entry whose commit on disk has completed.
    durable: LogIndex,
    checkpointed: LogIndex,
    hard_state: HardState,
    writes: BTreeMap<Position, Waiting>,
    reads: BTreeMap<u64, Waiting>,
    confirmed: BTreeMap<(LogIndex, u64), Waiting>,
}

/// What one group commit holds.
#[derive(Default)]
struct Batch {
    append: WalAppend,
    installs: Vec<(ShardId, Snapshot)>,
    rounds: Vec<(ShardId, u64, Option<LogIndex>)>,
}

/// The process of one life.
pub struct Process {
    pub replicas: BTreeMap<ShardId, Replica>,
    pub evidence: BTreeMap<u64, Evidence>,
    failover: Failover,
    store: Store,
    disk: SimDisk,
    next: Batch,
    running: Option<Batch>,
    running_since: Mono,
    running_until: Mono,
    read_number: u64,
    checkpoint_every: u64,
    pub effects: Vec<Effect>,
}

/// How a process is started.
#[derive(Clone)]
pub struct Start {
    pub node: u64,
    pub nodes: u64,
    pub shards: u32,
    pub seed: u64,
    pub now: Mono,
    pub mutant: Option<Mutant>,
    pub checkpoint_every: u64,
    pub append_bytes_max: u64,
}

impl Process {
    /// Reads the disk and starts every replica.
    pub fn start(start: &Start, disk: SimDisk, checker: &mut Checker) -> Result<Process, OpenError> {
        let found = Store::open(disk.clone(), start.node)?;
        if let Some(damage) = found.damage {
            checker.fail("a disk that lost nothing is accepted", format!("node {}: {damage}", start.node));
        }
        let (store, mut images) = (found.store, found.shards);
        let mut replicas = BTreeMap::new();
        for shard in (0..start.shards).map(ShardId) {
            let image = images.remove(&shard).unwrap_or_default();
            let mut config = Config::new(shard, start.node, (1..=start.nodes).collect());
            (config.seed, config.mutant) = (start.seed, start.mutant);
            config.append_bytes_max = start.append_bytes_max;
            config.tells_commits = shard.0 % 2 == 0;
            let state =
                image.checkpoint.as_ref().map_or_else(Applied::default, |kept| Applied::decode(&kept.state));
            let restored = Restored {
                applied: state.index,
                applied_term: state.term,
                members: image.checkpoint.map_or_else(Vec::new, |kept| kept.members),
                hard_state: image.hard_state,
                entries: image.entries,
            };
            let durable = LogIndex(state.index.0 + restored.entries.len() as u64);
            match Group::new(config, restored) {
                Ok(group) => {
                    let replica = Replica {
                        group,
                        state,
                        durable,
                        checkpointed: state.index,
                        hard_state: image.hard_state,
                        writes: BTreeMap::new(),
                        reads: BTreeMap::new(),
                        confirmed: BTreeMap::new(),
                    };
                    replicas.insert(shard, replica);
                }
                Err(error) => checker
                    .fail("a disk that lost nothing is accepted", format!("node {}: {error}", start.node)),
            }
        }
        let peers = (1..=start.nodes).filter(|peer| *peer != start.node);
        Ok(Process {
            replicas,
            evidence: peers.map(|peer| (peer, Evidence::new(start.now))).collect(),
            failover: Failover::new(start.node, start.seed),
            store,
            disk,
            next: Batch::default(),
            running: None,
            running_since: start.now,
            running_until: start.now,
            read_number: 0,
            checkpoint_every: start.checkpoint_every,
            effects: Vec::new(),
        })
    }

    /// Looks at the evidence and starts the elections that are due. Says when to look again.
    pub fn check_failover(&mut self, now: Mono) -> Option<Mono> {
        let gone: Vec<u64> = self
            .evidence
            .iter_mut()
            .filter_map(|(peer, evidence)| evidence.is_gone(now).then_some(*peer))
            .collect();
        let failover = &mut self.failover;
        let checks =
            self.replicas.values_mut().map(|replica| failover.check(now, &mut replica.group, &gone, &[]));
        checks.flatten().min()
    }

    /// Whether the disk takes longer than a leader may.
    pub fn is_stalled(&self, now: Mono) -> bool {
        self.running.is_some() && now.since(self.running_since) > COMMIT_STALL
    }

    /// Whether what the disk does now will take long.
    pub fn will_stall(&self, now: Mono) -> bool {
        self.running.is_some() && self.running_until.since(now) > COMMIT_STALL
    }

    /// A leader whose disk stalls gives leadership away: its followers do not wait for it.
    pub fn leave_stalled_disk(&mut self, now: Mono, checker: &mut Checker) {
        if self.is_stalled(now) {
            for replica in self.replicas.values_mut() {
                if replica.group.hand_over(|_| true).is_some() {
                    checker.counters.count("consensus: leader with a stalled disk hands over");
                }
            }
        }
    }

    /// A request of a client.
    pub fn on_request(&mut self, client: usize, attempt: u64, shard: ShardId, request: Request) {
        let Some(replica) = self.replicas.get_mut(&shard) else { return };
        let waiting = Waiting { client, attempt, request };
        let refused = match request {
            Request::Write { operation } => {
                let descriptor = Bytes::copy_from_slice(&operation.to_be_bytes());
                let proposed = replica.group.propose(descriptor, payload_of(operation).into());
                proposed.map(|position| {
                    replica.writes.insert(position, waiting);
                })
            }
            Request::Read { .. } => {
                self.read_number += 1;
                let number = self.read_number;
                replica.group.read_index(number).map(|()| {
                    replica.reads.insert(number, waiting);
                })
            }
        };
        if let Err(error) = refused {
            let leader = match error {
                ProposeError::NotLeader { leader } => leader,
                ProposeError::Transferring | ProposeError::Full | ProposeError::ChangePending => None,
            };
            self.effects.push(Effect::Reply { client, attempt, answer: Answer::Elsewhere(leader) });
        }
    }

    /// Takes everything out of the groups; what needs the disk waits in the next group commit.
    pub fn drain(&mut self, node: u64, checker: &mut Checker) {
        let shards: Vec<ShardId> = self.replicas.keys().copied().collect();
        for shard in shards {
            if let Some(replica) = self.replicas.get(&shard) {
                checker.on_commit(&replica.group);
            }
            while let Some(ready) = self.replicas.get_mut(&shard).and_then(|replica| replica.group.ready()) {
                self.on_ready(node, shard, ready, checker);
            }
        }
    }

    fn on_ready(&mut self, node: u64, shard: ShardId, ready: Ready, checker: &mut Checker) {
        let needs_persist = ready.needs_persist();
        let replica = self.replicas.get_mut(&shard).expect("its own");
        if let Some(change) = ready.role {
            if change.role == Role::Leader {
                checker.on_leader(node, &replica.group);
            } else {
                for waiting in std::mem::take(&mut replica.writes)
                    .into_values()
                    .chain(std::mem::take(&mut replica.reads).into_values())
                {
                    let answer = Answer::Elsewhere(change.leader);
                    let (client, attempt) = (waiting.client, waiting.attempt);
                    self.effects.push(Effect::Reply { client, attempt, answer });
                }
            }
        }
        if let Some(hard_state) = ready.hard_state {
            self.next.append.hard_states.retain(|(other, _)| *other != shard);
            self.next.append.hard_states.push((shard, hard_state));
        }
        for message in ready.send {
            checker.on_send(&message);
            self.effects.push(Effect::Send(message));
        }
        for entry in &ready.committed {
            replica.state = checker.on_apply(node, replica.state, entry, replica.durable);
            let position = Position { term: entry.term, index: entry.index };
            if let Some(waiting) = replica.writes.remove(&position) {
                checker.on_acknowledged(shard, entry.index, operation_of(entry));
                let (client, attempt) = (waiting.client, waiting.attempt);
                self.effects.push(Effect::Reply { client, attempt, answer: Answer::Done });
            }
        }
        for read in ready.reads {
            if let Some(waiting) = replica.reads.remove(&read.id) {
                replica.confirmed.insert((read.index, read.id), waiting);
            }
        }
        while let Some(first) =
            replica.confirmed.first_entry().filter(|first| first.key().0 <= replica.state.index)
        {
            let waiting = first.remove();
            let Request::Read { asked_at } = waiting.request else { continue };
            checker.on_read(node, shard, asked_at, replica.state.index);
            let (client, attempt) = (waiting.client, waiting.attempt);
            self.effects.push(Effect::Reply { client, attempt, answer: Answer::Done });
        }
        for follower in ready.behind {
            checker.counters.count("consensus: state sent to a follower behind the log");
            let snapshot = Snapshot {
                index: replica.state.index,
                term: replica.state.term,
                members: replica.group.members().codes(),
                state: replica.state.encode(),
            };
            replica.group.send_snapshot(follower, &snapshot);
        }
        if needs_persist {
            let last = ready.persist.last().map(|entry| entry.index);
            self.next.append.entries.extend(ready.persist);
            self.next.rounds.push((shard, ready.number, last));
        }
        if let Some(snapshot) = ready.install {
            self.next.installs.push((shard, snapshot));
        }
    }

    /// Starts the next group commit when the disk is free. Says how long it takes; an error ends the process.
    pub fn start_commit(&mut self, now: Mono) -> Option<Result<Duration, JobError>> {
        if self.running.is_some() || self.next.rounds.is_empty() {
            return None;
        }
        let batch = std::mem::take(&mut self.next);
        self.disk.take_elapsed();
        let written = self.write(&batch);
        (self.running, self.running_since) = (Some(batch), now);
        let time = self.disk.take_elapsed();
        self.running_until = now.plus(time);
        Some(written.map(|()| time))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        self.store.append(batch.append.clone())?;
        if batch.installs.is_empty() {
            return Ok(());
        }
        let mut shards = self.states();
        for (shard, snapshot) in &batch.installs {
            let state = shards.iter_mut().find(|state| state.shard == *shard).expect("its own");
            (state.applied, state.applied_term) = (snapshot.index, snapshot.term);
            (state.members, state.state) = (snapshot.members.clone(), snapshot.state.clone());
        }
        self.store.checkpoint(shards)
    }

    fn states(&self) -> Vec<ShardCheckpoint> {
        let state = |(shard, replica): (&ShardId, &Replica)| ShardCheckpoint {
            shard: *shard,
            applied: replica.state.index,
            applied_term: replica.state.term,
            hard_state: replica.hard_state,
            members: replica.group.members().codes(),
            state: replica.state.encode(),
        };
        self.replicas.iter().map(state).collect()
    }

    /// Nothing is to be written: marks the last commit as durable.
    pub fn mark_idle(&mut self) -> Result<(), JobError> {
        if self.running.is_some() || !self.next.rounds.is_empty() {
            return Ok(());
        }
        self.store.append(WalAppend::default())
    }

    /// The group commit is durable: tells the groups, then checkpoints what has grown.
    pub fn on_committed(&mut self, node: u64, checker: &mut Checker) -> Result<(), JobError> {
        let batch = self.running.take().expect("one was running");
        for (shard, hard_state) in &batch.append.hard_states {
            self.replicas.get_mut(shard).expect("its own").hard_state = *hard_state;
        }
        for (shard, snapshot) in batch.installs {
            checker.counters.count("consensus: state installed");
            let replica = self.replicas.get_mut(&shard).expect("its own");
            replica.state = Applied::decode(&snapshot.state);
            (replica.durable, replica.checkpointed) = (snapshot.index, snapshot.index);
            checker.on_state(node, shard, replica.state, None);
        }
        for (shard, number, last) in batch.rounds {
            let replica = self.replicas.get_mut(&shard).expect("its own");
            if let Some(last) = last.filter(|last| *last > replica.checkpointed) {
                replica.durable = last;
            }
            replica.group.on_persisted(number);
        }
        self.drain(node, checker);
        self.checkpoint(checker)
    }

    fn checkpoint(&mut self, checker: &mut Checker) -> Result<(), JobError> {
        let every = self.checkpoint_every;
        let grown = |replica: &Replica| replica.state.index.0 >= replica.checkpointed.0 + every;
        if !self.replicas.values().any(grown) || !self.next.installs.is_empty() {
            return Ok(());
        }
        self.store.checkpoint(self.states())?;
        checker.counters.count("consensus: checkpoint and compaction");
        for replica in self.replicas.values_mut() {
            replica.checkpointed = replica.state.index;
            replica.group.compact(replica.state.index);
        }
        Ok(())
    }
}
