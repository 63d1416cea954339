//! A node of one over a disk of plain memory: each job is done when the harness says so, and a restart sees what was
//! done before it.

mod admin;
mod cluster;
mod data;
mod full;
mod groups;
mod quorum;
mod topics;

use super::{Node, NodeConfig};
use crate::config::NodeSettings;
use crate::event::{Effect, Event, Status};
use crate::request::{ClientInfo, ConnectionId, Endpoint, Request, Response, Token};
use model::job::{
    Checkpoint, DamagedFile, Done, Job, JobError, JobId, Mended, PartitionSegments, Recovered, SegmentMend,
    SegmentMeta, ShardCheckpoint, WalAppend, WalRoom,
};
use model::{Entry, HardState, Mono, NodeId, Now, Offset, PartitionId, ShardId, StoredBatch, WallMs};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a disk would keep.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    entries: BTreeMap<ShardId, Vec<Entry>>,
    hard_states: BTreeMap<ShardId, HardState>,
    shards: Vec<ShardCheckpoint>,
    segments: BTreeMap<PartitionId, Vec<(SegmentMeta, Vec<StoredBatch>)>>,
    /// First offsets of batches that cannot be read.
    rotten: BTreeSet<(PartitionId, Offset)>,
    /// First offsets of batches that a mend has been brought.
    brought: BTreeSet<(PartitionId, Offset)>,
    /// A file of the log is damaged.
    log_rotten: Option<u64>,
    /// Bytes of the log's room that something else has taken.
    room_taken: u64,
}

const ROOM: u64 = 1 << 30;

impl MemoryDisk {
    fn room(&self) -> WalRoom {
        WalRoom { bytes: ROOM - self.room_taken, is_all: self.room_taken > 0 }
    }

    fn append(&mut self, append: WalAppend) -> Done {
        for entry in append.entries {
            let log = self.entries.entry(entry.shard).or_default();
            log.retain(|before| before.index < entry.index);
            log.push(entry);
        }
        self.hard_states.extend(append.hard_states);
        Done::Append { room: self.room(), held: 0 }
    }

    fn checkpoint(&mut self, mut checkpoint: Checkpoint) -> Done {
        let mut changed = Vec::new();
        for flush in std::mem::take(&mut checkpoint.flushes) {
            let segments = self.segments.entry(flush.partition).or_default();
            let first = flush.batches.first().expect("a flush has batches").base_offset;
            if let Some((last, _)) = segments.last() {
                assert_eq!(last.end_offset, first, "flushes continue the segments");
            }
            let bytes: u64 = flush.batches.iter().map(|batch| batch.size() as u64).sum();
            let meta = SegmentMeta {
                base_offset: first,
                end_offset: flush.batches.last().expect("checked").next_offset(),
                size: bytes,
                batch_bytes: bytes,
                first_timestamp: flush.batches[0].max_timestamp,
                max_timestamp: flush.batches.iter().map(|batch| batch.max_timestamp).max().expect("checked"),
            };
            segments.push((meta, flush.batches));
            changed.push(flush.partition);
        }
        self.release(&checkpoint);
        changed.extend(checkpoint.trims.iter().map(|(partition, _)| *partition));
        self.shards = checkpoint.shards;
        let found = |partition: PartitionId| PartitionSegments {
            partition,
            segments: self
                .segments
                .get(&partition)
                .map(|s| s.iter().map(|(m, _)| *m).collect())
                .unwrap_or_default(),
        };
        Done::Checkpoint { changed: changed.into_iter().map(found).collect() }
    }

    /// What a full disk can still do.
    fn release(&mut self, checkpoint: &Checkpoint) {
        for (partition, log_start) in &checkpoint.trims {
            self.segments.entry(*partition).or_default().retain(|(meta, _)| meta.end_offset > *log_start);
        }
        for partition in &checkpoint.drops {
            self.segments.remove(partition);
        }
    }

    fn all_batches(&self, partition: PartitionId) -> impl Iterator<Item = &StoredBatch> {
        self.segments.get(&partition).into_iter().flatten().flat_map(|(_, batches)| batches)
    }

    fn assert_whole(&self, partition: PartitionId, found: &[StoredBatch]) -> Result<(), JobError> {
        match found.iter().find(|batch| self.rotten.contains(&(partition, batch.base_offset))) {
            Some(batch) => {
                let segments = self.segments[&partition].iter().map(|(meta, _)| meta.base_offset);
                let base_offset =
                    segments.filter(|base| *base <= batch.base_offset).max().expect("it is in one");
                Err(JobError::Damaged { partition, base_offset, detail: "rotten".into() })
            }
            None => Ok(()),
        }
    }

    /// Says what is lacking, batch by batch, until all has been brought.
    fn mend(&mut self, mend: SegmentMend) -> Mended {
        let segments = self.segments.get(&mend.partition).into_iter().flatten();
        let found = segments.clone().find(|(meta, _)| meta.base_offset == mend.base_offset);
        let Some((_, batches)) = found.cloned() else { return Mended::Gone };
        for batch in mend.batches {
            let is_same = |own: &StoredBatch| (own.prefix(), own.rest()) == (batch.prefix(), batch.rest());
            assert!(batches.iter().any(is_same), "another replica has the same");
            self.brought.insert((mend.partition, batch.base_offset));
        }
        let key = |batch: &StoredBatch| (mend.partition, batch.base_offset);
        let lacks =
            |batch: &&StoredBatch| self.rotten.contains(&key(batch)) && !self.brought.contains(&key(batch));
        if let Some(batch) = batches.iter().find(lacks) {
            return Mended::Lacks { from: batch.base_offset, to: batch.next_offset() };
        }
        let brought =
            batches.iter().filter(|batch| self.brought.remove(&key(batch))).map(|batch| batch.size() as u64);
        let brought = brought.sum();
        self.rotten.retain(|at| !batches.iter().any(|batch| key(batch) == *at));
        Mended::Whole { brought }
    }

    fn run(&mut self, job: Job) -> Result<Done, JobError> {
        Ok(match job {
            Job::Append(append) => self.append(append),
            Job::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Job::Recycle(recycle) => {
                for (shard, from) in recycle.keep_from {
                    self.entries.entry(shard).or_default().retain(|entry| entry.index >= from);
                }
                Done::Recycle { room: self.room(), held: 0 }
            }
            Job::Read(read) => {
                let wanted = |batch: &&StoredBatch| {
                    batch.next_offset() > read.offset && batch.next_offset() <= read.segment.end_offset
                };
                let found: Vec<StoredBatch> =
                    self.all_batches(read.partition).filter(wanted).take(1).cloned().collect();
                self.assert_whole(read.partition, &found)?;
                Done::Read(found)
            }
            Job::Verify(read) => {
                let wanted = |batch: &&StoredBatch| {
                    batch.next_offset() > read.offset && batch.next_offset() <= read.segment.end_offset
                };
                let found: Vec<StoredBatch> =
                    self.all_batches(read.partition).filter(wanted).take(2).cloned().collect();
                self.assert_whole(read.partition, &found)?;
                Done::Verify(found.last().map(StoredBatch::next_offset))
            }
            Job::Renew(renewal) => {
                // What it does not bring is gone.
                self.entries.clear();
                assert_eq!(self.log_rotten.take(), Some(renewal.damaged));
                self.append(renewal.append)
            }
            Job::VerifyLog(..) => match self.log_rotten {
                Some(epoch) => {
                    let file = DamagedFile::Log(epoch);
                    return Err(JobError::DamagedLog { file, detail: "rotten".into() });
                }
                None => Done::VerifyLog(None),
            },
            Job::Mend(mend) => Done::Mend(self.mend(mend)),
            Job::Lookup(lookup) => {
                let wanted = |batch: &&StoredBatch| {
                    batch.max_timestamp >= lookup.timestamp && batch.next_offset() > lookup.from
                };
                Done::Lookup(self.all_batches(lookup.partition).find(wanted).cloned())
            }
        })
    }

    fn recovered(&self) -> Recovered {
        let behind = |id: &ShardId, log: &Vec<Entry>| {
            let applied = self.shards.iter().find(|shard| shard.shard == *id).map(|shard| shard.applied);
            let log = log.iter().filter(|entry| applied.is_none_or(|applied| entry.index > applied));
            (*id, log.cloned().collect())
        };
        Recovered {
            shards: self.shards.clone(),
            segments: self
                .segments
                .iter()
                .map(|(partition, segments)| PartitionSegments {
                    partition: *partition,
                    segments: segments.iter().map(|(meta, _)| *meta).collect(),
                })
                .collect(),
            entries: self.entries.iter().map(|(id, log)| behind(id, log)).collect(),
            hard_states: self.hard_states.iter().map(|(id, state)| (*id, *state)).collect(),
            room: ROOM - self.room_taken,
            ..Recovered::default()
        }
    }
}

/// A node, its disk and its one client.
pub struct Harness {
    pub node: Node,
    pub disk: MemoryDisk,
    pub now: Now,
    pub held: bool,
    pub no_space_for_checkpoints: bool,
    jobs: VecDeque<(JobId, Job)>,
    replies: BTreeMap<Token, Response>,
    next_token: u64,
    pub stopped: Option<Option<String>>,
    pub logged: Vec<String>,
}

/// What a node keeps free of records in its log.
pub const WAL_RESERVE_BYTES: u64 = 2 << 20;

pub fn config() -> NodeConfig {
    NodeConfig {
        node: NodeId(1),
        owner: model::Owner::default(),
        voters: vec![NodeId(1)],
        cluster_id: "test".into(),
        endpoint: Endpoint { node: NodeId(1), host: "localhost".into(), port: 9092, rack: None },
        log_dir: "/data".into(),
        seed: 7,
        settings: NodeSettings::default(),
        level: crate::level::NEWEST,
        data_shards: 4,
        tail_bytes_max: 1 << 20,
        log_kept_bytes: 0,
        pull_bytes: 2000,
        checkpoint_bytes: 1 << 20,
        wal_held_bytes_max: 1 << 30,
        wal_reserve_bytes: WAL_RESERVE_BYTES,
        mutant: None,
        group_mutant: None,
        consensus_mutant: None,
    }
}

impl Harness {
    pub fn new() -> Harness {
        Harness::with(config())
    }

    pub fn with(config: NodeConfig) -> Harness {
        Harness::over(config, MemoryDisk::default())
    }

    pub fn over(config: NodeConfig, disk: MemoryDisk) -> Harness {
        let now = Now { mono: Mono(1), wall: WallMs(1_000_000) };
        let node = Node::new(config, disk.recovered(), now).expect("start");
        let mut harness = Harness {
            node,
            disk,
            now,
            held: false,
            no_space_for_checkpoints: false,
            jobs: VecDeque::new(),
            replies: BTreeMap::new(),
            next_token: 0,
            stopped: None,
            logged: Vec::new(),
        };
        harness.settle(Vec::new());
        harness
    }

    /// The process ends without a word and starts again over what was durable.
    pub fn crash(self) -> Harness {
        Harness::over(self.node.config.clone(), self.disk)
    }

    fn settle(&mut self, mut effects: Vec<Effect>) {
        loop {
            self.node.settle(self.now, &mut effects);
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Reply { token, response } => {
                        assert!(self.replies.insert(token, response).is_none())
                    }
                    Effect::Start { id, job } => self.jobs.push_back((id, job)),
                    Effect::Stop(reason) => self.stopped = Some(reason),
                    Effect::Log(_, line) => self.logged.push(line),
                    Effect::Status(..) => {}
                    Effect::Send { .. } => unreachable!("a node of one has no peers"),
                    Effect::HangUp(_) | Effect::TakePart { .. } | Effect::GiveUp => {
                        unreachable!("its disk takes part")
                    }
                }
            }
            if self.held {
                return;
            }
            let Some((id, job)) = self.jobs.pop_front() else { return };
            let result = match job {
                Job::Checkpoint(checkpoint) if self.no_space_for_checkpoints => {
                    self.disk.release(&checkpoint);
                    Err(JobError::NoSpace)
                }
                job => self.disk.run(job),
            };
            self.node.step(self.now, Event::JobDone { id, result }, &mut effects);
        }
    }

    /// Does the jobs that were held back.
    pub fn release(&mut self) {
        self.held = false;
        self.settle(Vec::new());
        while let Some((id, job)) = self.jobs.pop_front() {
            let result = self.disk.run(job);
            let mut effects = Vec::new();
            self.node.step(self.now, Event::JobDone { id, result }, &mut effects);
            self.settle(effects);
        }
    }

    pub fn fail_job(&mut self, error: JobError) {
        let (id, _) = self.jobs.pop_front().expect("a job is held");
        let mut effects = Vec::new();
        self.node.step(self.now, Event::JobDone { id, result: Err(error) }, &mut effects);
        self.settle(effects);
    }

    pub fn event(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.node.step(self.now, event, &mut effects);
        self.settle(effects);
    }

    pub fn ask(&mut self, request: Request) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        let client = Arc::new(ClientInfo { client_id: "c".into(), host: "h".into() });
        self.event(Event::Request { token, connection: ConnectionId(1), client, request });
        token
    }

    pub fn answer(&mut self, token: Token) -> Option<Response> {
        self.replies.remove(&token)
    }

    pub fn call(&mut self, request: Request) -> Response {
        let token = self.ask(request);
        self.answer(token).expect("an answer at once")
    }

    pub fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono.plus(time);
        self.now.wall.0 += time.as_millis() as i64;
        self.event(Event::Timer);
    }

    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// Forces a checkpoint.
    pub fn checkpoint(&mut self) {
        self.node.checkpoint.is_due = true;
        self.settle(Vec::new());
    }
}

/// The offset of the first record of each batch.
pub fn bases(batches: &[StoredBatch]) -> Vec<Offset> {
    batches.iter().map(|batch| batch.base_offset).collect()
}
