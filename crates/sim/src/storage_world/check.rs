//! What a recovery hands out, against what storage owes; then the segments, batch by batch. Each check is named for
//! the promise it is about.

use super::engine::Engine;
use super::oracle::{CheckpointImage, Oracle, PartitionOracle, Pending};
use crate::counters::Counters;
use crate::outcome::Failure;
use model::job::{Done, Job, JobError, PartitionSegments, Recovered, SegmentMeta, SegmentRead};
use model::{Entry, HardState, Offset, PartitionId, ShardId};
use std::collections::BTreeMap;

/// Largest answer asked for when everything is read back, bytes.
const READ_BYTES: usize = 1 << 20;

/// Why a life went no further.
#[derive(Debug)]
pub enum Stop {
    /// The disk failed or crashed under it: expected when faults are on.
    LifeOver,
    /// A promise does not hold.
    Broken(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Broken(failure)
    }
}

/// Segments by partition, as storage last said.
pub type Segments = BTreeMap<PartitionId, Vec<SegmentMeta>>;

/// Judges a recovery, then makes what it found the new truth: from here on all of it is owed.
///
/// # Errors
/// The first promise that does not hold.
pub fn recovered(
    oracle: &mut Oracle,
    found: &Recovered,
    counters: &mut Counters,
) -> Result<Segments, Failure> {
    let image = checkpoint_found(oracle, found, counters)?;
    let segments = segments_found(&image, oracle, &found.segments)?;
    let pending = oracle.pending.take();
    let append = match &pending {
        Some(Pending::Append(append)) => Some(append),
        _ => None,
    };
    for (shard, state) in &mut oracle.shards {
        let at = image.shards.iter().find(|found| found.shard == *shard);
        let applied = at.map_or(0, |found| found.applied.0);
        let tail = entries_of(found, *shard);
        let owed = &state.log;
        let fresh: Vec<&Entry> =
            append.iter().flat_map(|append| &append.entries).filter(|entry| entry.shard == *shard).collect();
        let log = log_found(*shard, owed, &fresh, applied, tail, counters)?;
        log.iter().skip(applied as usize).for_each(|entry| state.remember(entry));
        state.log = log;
        let asked = append.and_then(|append| append.hard_states.iter().rev().find(|(s, _)| s == shard));
        state.hard_state =
            vote_found(found, *shard, state.hard_state, asked.map(|(_, vote)| *vote), counters)?;
        state.term = state.term.max(state.hard_state.term.0);
    }
    oracle.adopt_checkpoint(image);
    oracle.rewind_to_checkpoint();
    Ok(segments)
}

fn checkpoint_found(
    oracle: &Oracle,
    found: &Recovered,
    counters: &mut Counters,
) -> Result<CheckpointImage, Failure> {
    let keeps_dropped =
        |later: &CheckpointImage| found.segments.iter().any(|entry| later.dropped.contains(&entry.partition));
    if let Some(Pending::Checkpoint(image)) = &oracle.pending
        && found.shards == oracle.checkpoint.shards
        && !keeps_dropped(image)
    {
        counters.count("recovery: perhaps what was let go for space");
        return Ok(oracle.checkpoint.released(image));
    }
    if oracle.rotten && found.shards == oracle.previous_checkpoint.shards && keeps_dropped(&oracle.checkpoint)
    {
        counters.count("recovery: older checkpoint and a longer WAL");
        return Ok(oracle.previous_checkpoint.clone());
    }
    if found.shards == oracle.checkpoint.shards {
        counters.count("recovery: checkpoint as acknowledged");
        return Ok(oracle.checkpoint.clone());
    }
    if let Some(Pending::Checkpoint(image)) = &oracle.pending
        && found.shards == image.shards
    {
        counters.count("recovery: unanswered checkpoint found");
        return Ok(image.clone());
    }
    if oracle.rotten && found.shards == oracle.previous_checkpoint.shards {
        counters.count("recovery: older checkpoint and a longer WAL");
        return Ok(oracle.previous_checkpoint.clone());
    }
    Err(Failure::new(
        "checkpoint recovered",
        format!("found {:?}, acknowledged {:?}", brief(&found.shards), brief(&oracle.checkpoint.shards)),
    ))
}

fn brief(shards: &[model::job::ShardCheckpoint]) -> Vec<(u32, u64)> {
    shards.iter().map(|shard| (shard.shard.0, shard.applied.0)).collect()
}

fn entries_of(found: &Recovered, shard: ShardId) -> &[Entry] {
    found.entries.iter().find(|(s, _)| *s == shard).map_or(&[], |(_, entries)| entries)
}

/// The log that a recovery gives for one shard: what is owed, or that with a part of the unanswered append on it.
fn log_found(
    shard: ShardId,
    owed: &[Entry],
    fresh: &[&Entry],
    applied: u64,
    tail: &[Entry],
    counters: &mut Counters,
) -> Result<Vec<Entry>, Failure> {
    let mut log: Vec<Entry> = owed[..applied as usize].to_vec();
    for entry in tail {
        if entry.index.0 != log.len() as u64 + 1 {
            return Err(Failure::new(
                "entries consecutive behind the checkpoint",
                format!("shard {}: index {} follows {}", shard.0, entry.index.0, log.len()),
            ));
        }
        log.push(entry.clone());
    }
    for taken in (0..=fresh.len()).rev() {
        let expected: Vec<&Entry> = match fresh.first() {
            Some(first) if taken > 0 => {
                owed[..first.index.0 as usize - 1].iter().chain(fresh[..taken].iter().copied()).collect()
            }
            _ => owed.iter().collect(),
        };
        if log.iter().eq(expected.iter().copied()) {
            if !fresh.is_empty() {
                counters.count(if taken == 0 {
                    "recovery: unanswered append gone"
                } else {
                    "recovery: unanswered append found"
                });
            }
            counters.add("premise: acknowledged entries recovered", tail.len() as u64);
            return Ok(log);
        }
    }
    let wrong = log.iter().zip(owed).position(|(found, owed)| found != owed);
    let property = if log.len() > owed.len() && wrong.is_none() {
        "no phantom entry"
    } else {
        "acknowledged entries recovered"
    };
    Err(Failure::new(
        property,
        format!(
            "shard {}: {} entries owed, {} of the unanswered append, {} found (from index {}), first difference at {wrong:?}",
            shard.0,
            owed.len(),
            fresh.len(),
            log.len(),
            applied + 1
        ),
    ))
}

fn vote_found(
    found: &Recovered,
    shard: ShardId,
    owed: HardState,
    asked: Option<HardState>,
    counters: &mut Counters,
) -> Result<HardState, Failure> {
    let vote =
        found.hard_states.iter().find(|(s, _)| *s == shard).map_or(HardState::default(), |(_, vote)| *vote);
    if owed != HardState::default() {
        counters.count("premise: acknowledged votes recovered");
    }
    if vote == owed || Some(vote) == asked {
        return Ok(vote);
    }
    Err(Failure::new(
        "acknowledged votes recovered",
        format!("shard {}: {vote:?}, owed {owed:?} or {asked:?}", shard.0),
    ))
}

fn segments_found(
    image: &CheckpointImage,
    oracle: &Oracle,
    found: &[PartitionSegments],
) -> Result<Segments, Failure> {
    let segments: Segments = found.iter().map(|entry| (entry.partition, entry.segments.clone())).collect();
    for id in segments.keys() {
        if !image.partitions.contains_key(id) {
            return Err(Failure::new(
                "no phantom segment",
                format!("{id:?} has segments and is not in the checkpoint"),
            ));
        }
    }
    for (id, (flushed, log_start)) in &image.partitions {
        // With an older checkpoint, what the newer one trimmed or dropped is rightly gone.
        let Some((_, newer_start)) = oracle
            .checkpoint
            .partitions
            .get(id)
            .or(Some(&(0, 0)))
            .filter(|_| !oracle.checkpoint.dropped.contains(id))
        else {
            continue;
        };
        let partition = &oracle.partitions[id];
        let none = Vec::new();
        let start = if oracle.rotten { *log_start.max(newer_start) } else { *log_start };
        ranges(*id, partition, *flushed, start, segments.get(id).unwrap_or(&none))?;
    }
    Ok(segments)
}

/// Segments of one partition reach from its log start (or below) to what was flushed, without a hole.
pub fn ranges(
    id: PartitionId,
    partition: &PartitionOracle,
    flushed: usize,
    log_start: i64,
    segments: &[SegmentMeta],
) -> Result<(), Failure> {
    let end = partition.end_of(flushed);
    let broken = |detail: String| {
        Err(Failure::new("segments whole", format!("{id:?} [{log_start}, {}): {detail}", end.0)))
    };
    for pair in segments.windows(2) {
        if pair[0].end_offset != pair[1].base_offset {
            return broken(format!("{:?} is followed by {:?}", pair[0], pair[1]));
        }
    }
    match (segments.first(), segments.last()) {
        (Some(first), Some(last)) if first.base_offset.0 <= log_start || log_start >= end.0 => {
            if last.end_offset != end {
                return broken(format!("the last segment ends at {}", last.end_offset.0));
            }
            Ok(())
        }
        (None, _) if log_start >= end.0 => Ok(()),
        _ => broken(format!("segments begin at {:?}", segments.first().map(|s| s.base_offset.0))),
    }
}

/// Reads every segment of every partition from its log start and compares each batch.
///
/// # Errors
/// The first batch that is not as it was acknowledged. With `rot`, damage may be reported instead of a batch; then
/// `Ok(true)`.
pub fn read_back(
    engine: &Engine,
    oracle: &Oracle,
    segments: &Segments,
    rot: bool,
    counters: &mut Counters,
) -> Result<bool, Stop> {
    let mut damaged = false;
    for (id, metas) in segments {
        let partition = &oracle.partitions[id];
        for meta in metas {
            let mut at = meta.base_offset.0.max(partition.log_start);
            while at < meta.end_offset.0 {
                match read(engine, *id, partition, *meta, Offset(at), READ_BYTES, counters) {
                    Ok(Some(next)) => at = next.0,
                    Ok(None) if rot => {
                        damaged = true;
                        break;
                    }
                    Ok(None) => {
                        return Err(Failure::new(
                            "segments readable",
                            format!("{id:?} {meta:?} at {at}: damaged"),
                        )
                        .into());
                    }
                    Err(stop) => return Err(stop),
                }
            }
        }
    }
    Ok(damaged)
}

/// Reads once and compares. `Ok(None)`: storage says the range is damaged.
///
/// # Errors
/// What came is not what was acknowledged.
pub fn read(
    engine: &Engine,
    id: PartitionId,
    partition: &PartitionOracle,
    segment: SegmentMeta,
    offset: Offset,
    bytes_max: usize,
    counters: &mut Counters,
) -> Result<Option<Offset>, Stop> {
    let job = Job::Read(SegmentRead { partition: id, segment, offset, bytes_max });
    let broken = |detail: String| {
        Err(Failure::new("segments identical", format!("{id:?} at {}: {detail}", offset.0)).into())
    };
    let batches = match engine.run(job) {
        Ok(Done::Read(batches)) => batches,
        Ok(other) => return broken(format!("answered {other:?}")),
        Err(JobError::Damaged { .. }) => {
            counters.count("read: damage reported");
            return Ok(None);
        }
        Err(JobError::Device { .. } | JobError::DamagedLog { .. } | JobError::NoSpace) => {
            return Err(Stop::LifeOver);
        }
    };
    let Some(first) = batches.first() else { return broken("nothing came".into()) };
    if first.base_offset > offset || first.next_offset() <= offset {
        return broken(format!("the first batch is [{}, {})", first.base_offset.0, first.next_offset().0));
    }
    let total: usize = batches.iter().map(model::StoredBatch::size).sum();
    if batches.len() > 1 && total > bytes_max {
        return broken(format!("{total} bytes came, {bytes_max} asked"));
    }
    let from = partition.batches.partition_point(|batch| batch.base_offset < first.base_offset);
    for (read, owed) in batches.iter().zip(&partition.batches[from..]) {
        counters.count("premise: batches read back");
        if read.to_contiguous() != owed.to_contiguous() {
            return broken(format!("{:?} came instead of {:?}", read.header(), owed.header()));
        }
    }
    if from + batches.len() > partition.batches.len() {
        return broken("more came than was ever written".into());
    }
    Ok(batches.last().map(model::StoredBatch::next_offset))
}
