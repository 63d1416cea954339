//! Random histories on one disk, cut at any call by a dying process or a power cut, against a model that knows what
//! was promised: nothing durable is lost, nothing appears that was not written, and recovering twice says the same.

use super::memory::{Fault, MemoryDisk, next};
use crate::{Mutant, OpenError, Opened, Options, WalSizes, open};
use bytes::Bytes;
use model::batch::{BatchHeader, HEADER_BYTES, LENGTH_END, crc_of};
use model::job::{
    Checkpoint, Done, JobError, Recovered, SegmentFlush, SegmentRead, ShardCheckpoint, TimeLookup, WalAppend,
    WalRecycle, WalRenewal,
};
use model::{
    Entry, EntryKind, HardState, LeaderEpoch, LogIndex, NodeId, Offset, PartitionId, ShardId, StoredBatch,
    Term, TopicId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const SHARDS: u32 = 3;

pub fn options(mutant: Option<Mutant>) -> Options {
    let wal = WalSizes { first_file_bytes: 48 << 10, file_bytes: 96 << 10, spare_bytes_max: 300 << 10 };
    Options { cluster: Some([7; 16]), node: NodeId(1), disk: None, wal, mutant }
}

/// A batch of `count` records whose bytes follow from `mark`.
pub fn batch(mark: u64, count: i32, body: usize) -> Bytes {
    let mut seed = mark;
    let body: Vec<u8> = (0..body).map(|_| next(&mut seed) as u8).collect();
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: (HEADER_BYTES - LENGTH_END + body.len()) as i32,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: mark as i64,
        max_timestamp: mark as i64,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: count,
    };
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(&body);
    header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
    header.crc = crc_of(&bytes);
    header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
    bytes.into()
}

pub fn partition(shard: ShardId) -> PartitionId {
    PartitionId { topic: TopicId([shard.0 as u8 + 1; 16]), index: shard.0 as i32 }
}

pub fn entry(shard: ShardId, term: u64, index: u64, mark: u64, body: usize) -> Entry {
    Entry {
        shard,
        term: Term(term),
        index: LogIndex(index),
        kind: EntryKind::Normal,
        descriptor: Bytes::from(mark.to_le_bytes().to_vec()),
        payload: batch(mark, 1 + (mark % 3) as i32, body).into(),
    }
}

/// What was promised.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Whole log per shard from index 1.
    logs: BTreeMap<ShardId, Vec<Entry>>,
    votes: BTreeMap<ShardId, HardState>,
    applied: BTreeMap<ShardId, u64>,
    /// Trimmed below, per shard's partition.
    start: BTreeMap<ShardId, Offset>,
}

impl Model {
    fn append(&mut self, append: &WalAppend) {
        for entry in &append.entries {
            let log = self.logs.entry(entry.shard).or_default();
            log.truncate(entry.index.0 as usize - 1);
            log.push(entry.clone());
        }
        self.votes.extend(append.hard_states.iter().copied());
    }

    /// The partition's batches that entries `from..=to` made.
    fn batches(&self, shard: ShardId, from: u64, to: u64) -> Vec<StoredBatch> {
        let mut offset = 0;
        let mut batches = Vec::new();
        for entry in &self.logs.get(&shard).map(Vec::as_slice).unwrap_or_default()[..to as usize] {
            let batch = StoredBatch::new(Offset(offset), LeaderEpoch(1), entry.payload.join());
            offset = batch.next_offset().0;
            if entry.index.0 >= from {
                batches.push(batch);
            }
        }
        batches
    }
}

pub struct World {
    pub disk: MemoryDisk,
    pub opened: Opened<MemoryDisk>,
    model: Model,
    /// An append that may or may not have happened.
    in_flight: Option<WalAppend>,
    /// A checkpoint that may or may not have happened.
    maybe: Option<Model>,
    seed: u64,
    mutant: Option<Mutant>,
    mark: u64,
}

/// What the history found wrong.
pub type Verdict = Result<(), String>;

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> World {
        let disk = MemoryDisk::default();
        let opened = open(Arc::new(disk.clone()), options(mutant)).expect("a new disk opens");
        World { disk, opened, model: Model::default(), in_flight: None, maybe: None, seed, mutant, mark: 0 }
    }

    fn random(&mut self, below: u64) -> u64 {
        next(&mut self.seed) % below
    }

    fn make_append(&mut self) -> WalAppend {
        let mut append = WalAppend::default();
        let mut logs = self.model.logs.clone();
        for _ in 0..=self.random(4) {
            let shard = ShardId(self.random(u64::from(SHARDS)) as u32);
            if self.random(4) == 0 {
                let old = self.model.votes.get(&shard).copied().unwrap_or_default();
                let term = Term(old.term.0 + 1);
                append.hard_states.retain(|(other, _)| *other != shard);
                append
                    .hard_states
                    .push((shard, HardState { term, vote: 1 + self.random(3), commit: old.commit }));
                continue;
            }
            let log = logs.entry(shard).or_default();
            let applied = self.model.applied.get(&shard).copied().unwrap_or(0);
            let len = log.len() as u64;
            let index = if next(&mut self.seed).is_multiple_of(8) && len > applied {
                applied + 1 + next(&mut self.seed) % (len - applied)
            } else {
                len + 1
            };
            self.mark += 1;
            let body = match self.random(12) {
                0 => 30_000,
                1..4 => 3000,
                _ => 50,
            };
            let entry = entry(shard, 1 + self.mark / 10, index, self.mark, body);
            log.truncate(index as usize - 1);
            log.push(entry.clone());
            append.entries.push(entry);
        }
        append
    }

    fn append(&mut self) -> Result<(), JobError> {
        let append = self.make_append();
        match self.opened.wal.append(append.clone()) {
            Ok(_) => self.model.append(&append),
            Err(JobError::NoSpace) => {}
            Err(error) => {
                self.in_flight = Some(append);
                return Err(error);
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, clean: bool) -> Result<(), JobError> {
        let mut after = self.model.clone();
        let mut job = Checkpoint { clean, ..Checkpoint::default() };
        let all = clean || self.random(3) == 0;
        for shard in (0..SHARDS).map(ShardId) {
            let log = after.logs.get(&shard).map_or(0, |log| log.len() as u64);
            let old = after.applied.get(&shard).copied().unwrap_or(0);
            let applied = if all { log } else { old + next(&mut self.seed) % (log - old + 1) };
            let batches = self.model.batches(shard, old + 1, applied);
            let start = after.start.get(&shard).copied().unwrap_or_default();
            let end = batches.last().map(StoredBatch::next_offset);
            if !batches.is_empty() {
                let (roll_bytes, roll_ms) = (20_000, 1000);
                job.flushes.push(SegmentFlush { partition: partition(shard), batches, roll_bytes, roll_ms });
            }
            if let Some(end) = end.filter(|_| next(&mut self.seed).is_multiple_of(3)) {
                let start = start.max(Offset(next(&mut self.seed) as i64 % (end.0 + 1)).max(Offset(0)));
                job.trims.push((partition(shard), start));
                after.start.insert(shard, start);
            }
            after.applied.insert(shard, applied);
            let term = if applied == 0 { Term(0) } else { after.logs[&shard][applied as usize - 1].term };
            job.shards.push(ShardCheckpoint {
                shard,
                applied: LogIndex(applied),
                applied_term: term,
                hard_state: self.model.votes.get(&shard).copied().unwrap_or_default(),
                members: vec![1],
                state: Bytes::from(format!("state of {} at {applied}", shard.0)),
            });
        }
        let releases = self.opened.segments.releases();
        match self.opened.segments.checkpoint(job) {
            Ok(_) => self.model = after,
            Err(JobError::NoSpace) if self.opened.segments.releases() > releases => {
                self.model.start = after.start;
            }
            Err(JobError::NoSpace) => {}
            Err(error) => {
                self.maybe = Some(after);
                return Err(error);
            }
        }
        Ok(())
    }

    fn recycle(&mut self) -> Result<(), JobError> {
        let applied = self.model.applied.iter();
        let keep_from = applied.map(|(shard, applied)| (*shard, LogIndex(applied + 1))).collect();
        match self.opened.wal.recycle(&WalRecycle { keep_from }) {
            Ok(_) | Err(JobError::NoSpace) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The log in one new file, with something that comes just then.
    fn renew(&mut self) -> Result<(), JobError> {
        let mut append = self.make_append();
        let mut after = self.model.clone();
        after.append(&append);
        let files = self.disk.files().into_iter();
        let epoch = |name: String| name.strip_prefix("wal/")?.strip_suffix(".wal")?.parse().ok();
        let epochs: Vec<u64> = files.filter_map(epoch).collect();
        let damaged = epochs[self.random(epochs.len() as u64) as usize];
        let behind = |shard: ShardId| after.applied.get(&shard).copied().unwrap_or(0) as usize;
        let entries = after.logs.iter().flat_map(|(shard, log)| log[behind(*shard)..].to_vec()).collect();
        let renewal =
            WalRenewal { append: WalAppend { entries, hard_states: append.hard_states.clone() }, damaged };
        match self.opened.wal.renew(renewal) {
            Ok(_) => {
                self.model = after;
                Ok(())
            }
            Err(JobError::NoSpace) => Ok(()),
            Err(error) => {
                self.in_flight = Some(std::mem::take(&mut append));
                Err(error)
            }
        }
    }

    /// A log that nobody damaged is whole, whatever is let go meanwhile.
    fn verify(&mut self) -> Result<(), JobError> {
        let mut place = None;
        loop {
            place = match self.opened.reader.verify_log(place, 4096) {
                Ok(Done::VerifyLog(None)) => return Ok(()),
                Ok(Done::VerifyLog(place)) => place,
                Err(error @ JobError::Device { .. }) => return Err(error),
                other => panic!("damaged without damage: {other:?}"),
            };
            if self.random(4) == 0 {
                self.recycle()?;
            }
        }
    }

    /// One step; an error means that the process must end.
    pub fn step(&mut self) -> Result<(), JobError> {
        match self.random(21) {
            20 if self.random(2) == 0 => self.renew(),
            20 => self.verify(),
            0..12 => self.append(),
            12 | 13 => self.opened.wal.append(WalAppend::default()).map(|_| ()).or_else(full_is_fine),
            14 | 15 => self.opened.wal.upkeep().map(|_| ()),
            16 | 17 => self.checkpoint(false),
            _ => self.recycle(),
        }
    }

    /// Opens what a crash left, and compares it with what was promised.
    pub fn reopen(&mut self, disk: MemoryDisk) -> Verdict {
        self.disk = disk;
        self.opened = match open(Arc::new(self.disk.clone()), options(self.mutant)) {
            Ok(opened) => opened,
            Err(error) => return Err(format!("does not open: {error}")),
        };
        self.compare()
    }

    fn compare(&mut self) -> Verdict {
        let recovered = self.opened.recovered.clone();
        if let Some(damage) = &recovered.damage {
            return Err(format!("damaged without damage: {damage}"));
        }
        let mut found = false;
        let mut why = String::new();
        let mut candidates = vec![self.model.clone()];
        candidates.extend(self.maybe.take());
        if let Some(append) = self.in_flight.take() {
            for at in 0..candidates.len() {
                let mut with = candidates[at].clone();
                with.append(&append);
                candidates.push(with);
            }
        }
        for model in candidates {
            match matches(&recovered, &model) {
                Ok(()) => {
                    self.model = model;
                    found = true;
                }
                Err(what) => why = what,
            }
        }
        if !found {
            return Err(why);
        }
        self.read_back(&recovered)
    }

    /// Everything below the checkpoint is readable and right.
    fn read_back(&self, recovered: &Recovered) -> Verdict {
        for shard in (0..SHARDS).map(ShardId) {
            let applied = self.model.applied.get(&shard).copied().unwrap_or(0);
            let start = self.model.start.get(&shard).copied().unwrap_or_default();
            let want = self.model.batches(shard, 1, applied);
            let want: Vec<_> = want.into_iter().filter(|batch| batch.last_offset() >= start).collect();
            let segments = recovered.segments.iter().find(|segments| segments.partition == partition(shard));
            let segments = segments.map(|found| found.segments.clone()).unwrap_or_default();
            let mut got = Vec::new();
            for segment in &segments {
                let mut offset = segment.base_offset;
                while offset < segment.end_offset {
                    let job = SegmentRead {
                        partition: partition(shard),
                        segment: *segment,
                        offset,
                        bytes_max: 5000,
                    };
                    match self.opened.reader.read(&job) {
                        Ok(Done::Read(batches)) if !batches.is_empty() => {
                            offset = batches[batches.len() - 1].next_offset();
                            got.extend(batches.iter().map(StoredBatch::to_contiguous));
                        }
                        other => return Err(format!("read {offset:?} of {segment:?}: {other:?}")),
                    }
                }
            }
            let want: Vec<_> = want.iter().map(StoredBatch::to_contiguous).collect();
            let skip = got.len().saturating_sub(want.len());
            if got[skip..] != want[..] {
                return Err(format!(
                    "shard {}: {} batches readable, {} wanted",
                    shard.0,
                    got.len(),
                    want.len()
                ));
            }
            if let Some(last) = want.last() {
                let last = StoredBatch::from_log(last.clone()).expect("a batch");
                let job = TimeLookup {
                    partition: partition(shard),
                    segments,
                    timestamp: last.max_timestamp,
                    from: start,
                };
                let found = self.opened.reader.lookup(&job);
                let right =
                    matches!(&found, Ok(Done::Lookup(Some(batch))) if batch.base_offset == last.base_offset);
                if !right {
                    return Err(format!("time look-up of {}: {found:?}", last.max_timestamp));
                }
            }
        }
        Ok(())
    }
}

fn full_is_fine(error: JobError) -> Result<(), JobError> {
    if error == JobError::NoSpace { Ok(()) } else { Err(error) }
}

fn matches(recovered: &Recovered, model: &Model) -> Verdict {
    for shard in (0..SHARDS).map(ShardId) {
        let checkpoint = recovered.shards.iter().find(|found| found.shard == shard);
        let applied = checkpoint.map_or(0, |found| found.applied.0);
        if applied != model.applied.get(&shard).copied().unwrap_or(0) {
            return Err(format!(
                "shard {}: checkpoint at {applied}, want {:?}",
                shard.0,
                model.applied.get(&shard)
            ));
        }
        if checkpoint.is_some_and(|found| found.state != format!("state of {} at {applied}", shard.0)) {
            return Err("another state".into());
        }
        let want = &model.logs.get(&shard).map(Vec::as_slice).unwrap_or_default()[applied as usize..];
        let got = recovered.entries.iter().find(|(found, _)| *found == shard);
        let got = got.map(|(_, entries)| entries.as_slice()).unwrap_or_default();
        if got != want {
            let indexes = |entries: &[Entry]| -> Vec<(u64, u64)> {
                entries.iter().map(|entry| (entry.term.0, entry.index.0)).collect()
            };
            return Err(format!("shard {}: got {:?}, want {:?}", shard.0, indexes(got), indexes(want)));
        }
        let vote = recovered.hard_states.iter().find(|(found, _)| *found == shard).map(|(_, vote)| *vote);
        if vote.unwrap_or_default() != model.votes.get(&shard).copied().unwrap_or_default() {
            return Err(format!("shard {}: vote {vote:?}, want {:?}", shard.0, model.votes.get(&shard)));
        }
    }
    Ok(())
}

/// One history: some steps, a cut at some call, recoveries that are cut as well, and on.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Verdict {
    run_in(&mut World::new(seed, mutant), mutant)
}

fn run_in(world: &mut World, mutant: Option<Mutant>) -> Verdict {
    for life in 0..4 {
        let fault = match world.random(6) {
            0 => Fault::Io,
            1 => Fault::NoSpace,
            _ => Fault::Die,
        };
        let after = 1 + world.random(400);
        world.disk.fail_after(after, fault);
        let mut clean = false;
        for _ in 0..80 {
            if world.step().is_err() {
                break;
            }
        }
        if world.random(4) == 0 && world.in_flight.is_none() && world.maybe.is_none() {
            clean = world.checkpoint(true).is_ok();
        }
        let _ = clean;
        world.disk.heal();
        // Recoveries that die somewhere, with both kinds of cut in any order.
        for _ in 0..world.random(4) {
            let disk = cut(world);
            let after = 1 + world.random(60);
            disk.fail_after(after, Fault::Die);
            let outcome = open(Arc::new(disk.clone()), options(mutant));
            match outcome {
                Ok(_) | Err(OpenError::Io(_)) => {}
                Err(other) => return Err(format!("life {life}: {other}")),
            }
            disk.heal();
            world.disk = disk;
        }
        let disk = cut(world);
        world.reopen(disk).map_err(|what| format!("life {life}: {what}"))?;
        let (before, disk) = (world.opened.recovered.clone(), cut(world));
        world.reopen(disk).map_err(|what| format!("life {life}, again: {what}"))?;
        let after = &world.opened.recovered;
        if (&before.entries, &before.hard_states) != (&after.entries, &after.hard_states) {
            return Err(format!("life {life}: a second recovery says something else"));
        }
    }
    Ok(())
}

fn cut(world: &mut World) -> MemoryDisk {
    match world.random(2) {
        0 => world.disk.after_process_crash(),
        _ => {
            let seed = world.random(u64::MAX);
            world.disk.after_power_cut(seed)
        }
    }
}

/// Seeds of one test run; `STORAGE_HISTORIES` asks for more.
fn seeds() -> u64 {
    std::env::var("STORAGE_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(100)
}

#[test]
fn nothing_durable_is_lost_and_nothing_appears() {
    for seed in 0..seeds() {
        if let Err(what) = run(seed, None) {
            panic!("seed {seed}: {what}");
        }
    }
}

/// Mutants that need bytes to rot or starts that fail one after the other (`damage.rs` shows those), or more histories than a short run has.
const NOT_HERE: [Mutant; 5] = [
    Mutant::MendTrustsBlocks,
    Mutant::DamageTakenForTornTail,
    Mutant::BlockChecksumIgnored,
    Mutant::CheckpointChecksumIgnored,
    Mutant::NameCacheTrusted,
];
const RARE: [Mutant; 3] =
    [Mutant::CheckpointCacheTrusted, Mutant::HardStateNotCarried, Mutant::ReleaseTakesNewState];

#[test]
fn mutants_are_noticed() {
    let is_long = seeds() >= 1000;
    for mutant in Mutant::ALL {
        if NOT_HERE.contains(&mutant) || RARE.contains(&mutant) && !is_long {
            continue;
        }
        let killed = (0..seeds()).find(|seed| {
            let outcome = std::panic::catch_unwind(|| run(*seed, Some(mutant)));
            !matches!(outcome, Ok(Ok(())))
        });
        assert!(killed.is_some(), "{mutant:?} lives");
        println!("{mutant:?}: killed by seed {killed:?}");
    }
}
