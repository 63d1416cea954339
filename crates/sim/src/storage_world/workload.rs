//! The jobs of the storage world, in the place of the core: appends (also truncating ones, votes, markers),
//! checkpoints with flushes, trims and drops, recycling, reads and look-ups by time. What is answered is owed from
//! then on; what is not may or may not have happened.

use super::check::{self, Stop};
use super::engine::Engine;
use super::oracle::{Pending, checkpoint_job};
use super::{World, sample};
use crate::outcome::Failure;
use model::job::{Done, Job, JobError, TimeLookup, WalAppend, WalRecycle};
use model::{HardState, LogIndex, Offset, PartitionId, ShardId, Term};

/// Largest body of a batch, bytes.
const BODY_BYTES_MAX: u64 = 6_000;

impl World {
    /// One job of any kind.
    pub(super) fn job(&mut self, engine: &Engine) -> Result<(), Stop> {
        match self.dice.below(20) {
            0..10 => self.append(engine),
            10 => self.marker(engine),
            11..14 => self.checkpoint(engine, false),
            14..16 => self.recycle(engine),
            16..18 => self.read(engine),
            18 => self.lookup(engine),
            _ => {
                self.change_partitions();
                engine.upkeep().map(|_| ()).map_err(|_| Stop::LifeOver)
            }
        }
    }

    /// Runs a job and keeps what may have happened when no answer comes. `Ok(None)`: no space, nothing changed but what a checkpoint let go.
    fn run(&mut self, engine: &Engine, job: Job, pending: Option<Pending>) -> Result<Option<Done>, Stop> {
        self.oracle.pending = pending;
        match engine.run(job) {
            Ok(done) => {
                self.jobs += 1;
                self.oracle.pending = None;
                Ok(Some(done))
            }
            Err(JobError::NoSpace) => {
                self.counters.count("job: no space");
                self.oracle.pending = None;
                Ok(None)
            }
            Err(JobError::Damaged { detail, .. } | JobError::DamagedLog { detail, .. }) => {
                Err(Failure::new("no damage where none was done", detail).into())
            }
            Err(JobError::Device { .. }) => Err(Stop::LifeOver),
        }
    }

    fn append(&mut self, engine: &Engine) -> Result<(), Stop> {
        let mut append = WalAppend::default();
        let shards: Vec<ShardId> = self.oracle.shards.keys().copied().collect();
        let votes_only = self.dice.below(6) == 0;
        for shard in shards {
            if self.dice.coin() {
                continue;
            }
            if votes_only || self.dice.below(5) == 0 {
                append.hard_states.push((shard, self.vote(shard)));
            }
            if !votes_only {
                self.entries(shard, &mut append);
            }
        }
        if append.entries.is_empty() && append.hard_states.is_empty() {
            return Ok(());
        }
        let kind = if append.entries.is_empty() { "job: append of votes only" } else { "job: append" };
        let job = Job::Append(append.clone());
        if self.run(engine, job, Some(Pending::Append(append.clone())))?.is_some() {
            self.counters.count(kind);
            self.oracle.acknowledge_append(&append);
            self.commit_some();
        }
        Ok(())
    }

    fn vote(&mut self, shard: ShardId) -> HardState {
        let state = self.oracle.shards.get_mut(&shard).expect("a shard of this world");
        let old = state.hard_state;
        if self.dice.coin() {
            state.term = state.term.max(old.term.0) + 1;
            return HardState { term: Term(state.term), vote: self.dice.between(1, 3), commit: old.commit };
        }
        HardState { commit: LogIndex(state.committed.max(old.commit.0)), ..old }
    }

    fn entries(&mut self, shard: ShardId, append: &mut WalAppend) {
        let dice = &mut self.dice;
        let state = self.oracle.shards.get_mut(&shard).expect("a shard of this world");
        let length = state.log.len() as u64;
        let mut index = length + 1;
        if length > state.committed && dice.below(4) == 0 {
            index = dice.between(state.committed + 1, length);
            state.term += 1;
            self.counters.count("job: append that truncates");
        }
        let term = state.term.max(1);
        let partitions: Vec<PartitionId> = self
            .oracle
            .partitions
            .iter()
            .filter(|(_, partition)| partition.shard == shard && !partition.dropped)
            .map(|(id, _)| *id)
            .collect();
        for _ in 0..dice.skewed(1, 6) {
            self.clock_ms += dice.below(50) as i64 - 5;
            let body = dice.skewed(1, BODY_BYTES_MAX) as usize;
            let batch = (!partitions.is_empty() && dice.below(10) > 0).then(|| {
                (partitions[dice.index(partitions.len())], sample::batch(dice, body, self.clock_ms))
            });
            append.entries.push(sample::entry(dice, shard, term, index, batch));
            index += 1;
        }
    }

    /// What is durable here may be committed (one voter), at once or later.
    fn commit_some(&mut self) {
        for state in self.oracle.shards.values_mut() {
            let length = state.log.len() as u64;
            if length > state.committed {
                state.committed = self.dice.between(state.committed, length);
            }
        }
    }

    /// An empty append: the disk goes idle.
    pub(super) fn marker(&mut self, engine: &Engine) -> Result<(), Stop> {
        let append = WalAppend::default();
        if self.run(engine, Job::Append(append), None)?.is_some() {
            self.counters.count("job: marker");
        }
        Ok(())
    }

    fn checkpoint(&mut self, engine: &Engine, clean: bool) -> Result<(), Stop> {
        let shards: Vec<(ShardId, u64, u64)> =
            self.oracle.shards.iter().map(|(id, state)| (*id, state.applied, state.committed)).collect();
        for (shard, applied, committed) in shards {
            let index = if clean { committed } else { self.dice.between(applied, committed) };
            self.oracle.apply_to(shard, index);
        }
        self.trim_some();
        let image = self.oracle.image();
        let job = checkpoint_job(&self.oracle, &image, self.swarm.roll, clean);
        let (trimmed, dropped) = (job.trims.len() as u64, job.drops.len() as u64);
        let releases = engine.releases();
        let done = self.run(engine, Job::Checkpoint(job), Some(Pending::Checkpoint(image.clone())))?;
        let Some(done) = done else {
            if engine.releases() > releases {
                self.counters.count("job: segments let go for space");
                self.segments = engine.manifest();
                let released = self.oracle.checkpoint.released(&image);
                self.oracle.adopt_checkpoint(released);
            }
            return Ok(());
        };
        let Done::Checkpoint { changed } = done else {
            return Err(Failure::new("the answer fits the job", format!("{done:?}")).into());
        };
        self.counters.count(if clean { "job: clean checkpoint" } else { "job: checkpoint" });
        self.counters.add("partition: trimmed", trimmed);
        self.counters.add("partition: dropped", dropped);
        for entry in changed {
            self.segments.insert(entry.partition, entry.segments);
        }
        self.segments.retain(|id, segments| image.partitions.contains_key(id) && !segments.is_empty());
        for (id, (flushed, log_start)) in &image.partitions {
            let segments = self.segments.get(id).map_or(&[][..], Vec::as_slice);
            check::ranges(*id, &self.oracle.partitions[id], *flushed, *log_start, segments)?;
        }
        self.oracle.adopt_checkpoint(image);
        Ok(())
    }

    fn trim_some(&mut self) {
        for partition in self.oracle.partitions.values_mut().filter(|partition| !partition.dropped) {
            if self.dice.below(12) == 0 && partition.end().0 > partition.log_start {
                let to = self.dice.between(partition.log_start as u64, partition.end().0 as u64);
                partition.log_start = to as i64;
            }
        }
    }

    /// Topics come and go.
    fn change_partitions(&mut self) {
        let alive: Vec<PartitionId> =
            self.oracle.partitions.iter().filter(|(_, p)| !p.dropped).map(|(id, _)| *id).collect();
        if alive.len() > 2 && self.dice.coin() {
            let gone = alive[self.dice.index(alive.len())];
            self.oracle.partitions.get_mut(&gone).expect("alive").dropped = true;
        } else if self.oracle.partitions.len() < 24 {
            self.add_partition();
        }
    }

    fn recycle(&mut self, engine: &Engine) -> Result<(), Stop> {
        let shards = &self.oracle.checkpoint.shards;
        if shards.is_empty() {
            return Ok(());
        }
        let keep_from = shards.iter().map(|shard| (shard.shard, shard.applied.next())).collect();
        if self.run(engine, Job::Recycle(WalRecycle { keep_from }), None)?.is_some() {
            self.counters.count("job: recycle");
        }
        Ok(())
    }

    fn read(&mut self, engine: &Engine) -> Result<(), Stop> {
        let Some(id) = self.partition_with_segments() else { return Ok(()) };
        let segments = &self.segments[&id];
        let segment = segments[self.dice.index(segments.len())];
        let partition = &self.oracle.partitions[&id];
        let from = segment.base_offset.0.max(partition.log_start);
        if from >= segment.end_offset.0 {
            return Ok(());
        }
        let offset = Offset(self.dice.between(from as u64, segment.end_offset.0 as u64 - 1) as i64);
        let bytes_max = self.dice.skewed(1, 100_000) as usize;
        let read = check::read(engine, id, partition, segment, offset, bytes_max, &mut self.counters)?;
        if read.is_none() {
            let detail = format!("{id:?} {segment:?} at {}", offset.0);
            return Err(Failure::new("no damage where none was done", detail).into());
        }
        self.jobs += 1;
        self.counters.count("job: read");
        Ok(())
    }

    fn partition_with_segments(&mut self) -> Option<PartitionId> {
        let ids: Vec<PartitionId> = self.segments.keys().copied().collect();
        if ids.is_empty() { None } else { Some(ids[self.dice.index(ids.len())]) }
    }

    fn lookup(&mut self, engine: &Engine) -> Result<(), Stop> {
        let Some(id) = self.partition_with_segments() else { return Ok(()) };
        let segments = self.segments[&id].clone();
        let partition = &self.oracle.partitions[&id];
        let timestamp = self.clock_ms - self.dice.skewed(0, 4_000) as i64;
        let from = Offset(partition.log_start);
        let end = segments.last().map_or(Offset(0), |segment| segment.end_offset);
        let owed = partition
            .batches
            .iter()
            .find(|batch| {
                batch.next_offset() > from && batch.base_offset < end && batch.max_timestamp >= timestamp
            })
            .map(|batch| batch.base_offset);
        let job = Job::Lookup(TimeLookup { partition: id, segments, timestamp, from });
        match self.run(engine, job, None)? {
            Some(Done::Lookup(found)) => {
                self.counters.count("job: lookup");
                self.counters.count("premise: lookups compared");
                let found = found.map(|batch| batch.base_offset);
                if found != owed {
                    let detail = format!("{id:?} from {} at {timestamp}: {found:?}, owed {owed:?}", from.0);
                    return Err(Failure::new("look-up by time", detail).into());
                }
                Ok(())
            }
            other => Err(Failure::new("the answer fits the job", format!("{other:?}")).into()),
        }
    }

    /// Everything committed is applied and flushed; nothing follows.
    pub(super) fn shut_down(&mut self, engine: &Engine) -> Result<(), Stop> {
        for state in self.oracle.shards.values_mut() {
            state.committed = state.log.len() as u64;
        }
        let checkpoints = self.counters.get("job: clean checkpoint");
        self.checkpoint(engine, true)?;
        self.clean = self.counters.get("job: clean checkpoint") > checkpoints;
        Ok(())
    }
}
