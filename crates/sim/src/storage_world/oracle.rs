//! What storage owes: every acknowledged entry and vote, the checkpoint that was acknowledged last, and for each
//! partition the batches that belong into its segments. Jobs that got no answer are kept beside as "may have happened".

use bytes::Bytes;
use model::job::{Checkpoint, ShardCheckpoint, WalAppend};
use model::{Entry, HardState, LogIndex, Offset, PartitionId, ShardId, StoredBatch, Term};
use std::collections::{BTreeMap, BTreeSet};

/// A shard's log and votes.
#[derive(Clone, Debug, Default)]
pub struct ShardOracle {
    /// Acknowledged entries; index 1 is the first.
    pub log: Vec<Entry>,
    /// Every entry that was ever acknowledged or found by a recovery, also those that were replaced since.
    pub ever: BTreeMap<LogIndex, Vec<Entry>>,
    /// Entries that no truncation may touch any more.
    pub committed: u64,
    /// Entries that the partitions' state contains.
    pub applied: u64,
    /// Newest acknowledged vote.
    pub hard_state: HardState,
    /// Newest term used.
    pub term: u64,
}

impl ShardOracle {
    /// Term of the entry at `index`.
    pub fn term_at(&self, index: u64) -> Term {
        if index == 0 { Term(0) } else { self.log[index as usize - 1].term }
    }

    /// Takes an acknowledged append's entries in.
    pub fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            let at = entry.index.0 as usize - 1;
            assert!(at >= self.committed as usize, "the workload truncates only what is not committed");
            self.log.truncate(at);
            self.log.push(entry.clone());
            self.remember(entry);
        }
    }

    /// Remembers an entry for as long as the world lives.
    pub fn remember(&mut self, entry: &Entry) {
        let known = self.ever.entry(entry.index).or_default();
        if !known.contains(entry) {
            known.push(entry.clone());
        }
    }
}

/// A partition: all batches ever applied to it.
#[derive(Clone, Debug)]
pub struct PartitionOracle {
    pub shard: ShardId,
    /// In the order of offsets, from offset 0.
    pub batches: Vec<StoredBatch>,
    /// Batches that the checkpoint in force contains.
    pub flushed: usize,
    /// Offset below which everything may be gone.
    pub log_start: i64,
    pub dropped: bool,
}

impl PartitionOracle {
    /// Offset behind the last of the first `count` batches.
    pub fn end_of(&self, count: usize) -> Offset {
        count.checked_sub(1).map_or(Offset(0), |last| self.batches[last].next_offset())
    }

    /// Offset behind everything applied.
    pub fn end(&self) -> Offset {
        self.end_of(self.batches.len())
    }
}

/// A checkpoint as it was asked for.
#[derive(Clone, Debug, Default)]
pub struct CheckpointImage {
    pub shards: Vec<ShardCheckpoint>,
    /// Per partition: batches flushed up to it, and the log start. Dropped ones are absent.
    pub partitions: BTreeMap<PartitionId, (usize, i64)>,
    /// Partitions that are gone for good.
    pub dropped: BTreeSet<PartitionId>,
}

/// A job without an answer.
#[derive(Clone, Debug)]
pub enum Pending {
    Append(WalAppend),
    Checkpoint(CheckpointImage),
}

/// All of it.
#[derive(Debug, Default)]
pub struct Oracle {
    pub shards: BTreeMap<ShardId, ShardOracle>,
    pub partitions: BTreeMap<PartitionId, PartitionOracle>,
    /// The acknowledged checkpoint.
    pub checkpoint: CheckpointImage,
    /// The one before it.
    pub previous_checkpoint: CheckpointImage,
    /// Durable bytes were damaged: an older checkpoint is as good as the newest when the WAL still reaches it.
    pub rotten: bool,
    pub pending: Option<Pending>,
}

impl CheckpointImage {
    /// This one, with what a later one that found no space let go: its log starts, and what it drops.
    pub fn released(&self, later: &CheckpointImage) -> CheckpointImage {
        let mut image = CheckpointImage { dropped: later.dropped.clone(), ..self.clone() };
        image.partitions.retain(|id, _| !later.dropped.contains(id));
        for (id, (_, start)) in &mut image.partitions {
            *start = later.partitions.get(id).map_or(*start, |(_, later)| (*start).max(*later));
        }
        image
    }
}

impl Oracle {
    /// Applies committed entries of a shard up to `index`: each holds one batch for one partition.
    pub fn apply_to(&mut self, shard: ShardId, index: u64) {
        let state = self.shards.get_mut(&shard).expect("a shard of this world");
        assert!(index <= state.committed);
        for entry in &state.log[state.applied as usize..index as usize] {
            let Some(partition) = entry_partition(entry) else { continue };
            let Some(partition) = self.partitions.get_mut(&partition).filter(|p| !p.dropped) else {
                continue;
            };
            let base = partition.end();
            partition.batches.push(StoredBatch::new(
                base,
                model::LeaderEpoch(entry.term.0 as i32),
                entry.payload.join(),
            ));
        }
        state.applied = state.applied.max(index);
    }

    /// The image that a checkpoint of everything applied would record.
    pub fn image(&self) -> CheckpointImage {
        let dropped = self.partitions.iter().filter(|(_, p)| p.dropped).map(|(id, _)| *id).collect();
        let mut image = CheckpointImage { dropped, ..CheckpointImage::default() };
        for (id, partition) in self.partitions.iter().filter(|(_, partition)| !partition.dropped) {
            image.partitions.insert(*id, (partition.batches.len(), partition.log_start));
        }
        for (shard, state) in &self.shards {
            let mut bytes = Vec::new();
            for (id, partition) in self.partitions.iter().filter(|(_, p)| p.shard == *shard && !p.dropped) {
                bytes.extend_from_slice(&id.topic.0[..4]);
                bytes.extend_from_slice(&partition.end().0.to_be_bytes());
                bytes.extend_from_slice(&partition.log_start.to_be_bytes());
            }
            image.shards.push(ShardCheckpoint {
                shard: *shard,
                applied: LogIndex(state.applied),
                applied_term: state.term_at(state.applied),
                hard_state: state.hard_state,
                members: vec![1],
                state: Bytes::from(bytes),
            });
        }
        image
    }

    /// Takes an acknowledged append in.
    pub fn acknowledge_append(&mut self, append: &WalAppend) {
        for (shard, state) in &mut self.shards {
            let own: Vec<Entry> =
                append.entries.iter().filter(|entry| entry.shard == *shard).cloned().collect();
            state.append(&own);
        }
        for (shard, hard_state) in &append.hard_states {
            self.shards.get_mut(shard).expect("a shard of this world").hard_state = *hard_state;
        }
    }

    /// Takes a checkpoint that is in force: acknowledged, or found by a recovery.
    pub fn adopt_checkpoint(&mut self, image: CheckpointImage) {
        for (id, partition) in &mut self.partitions {
            partition.flushed = image.partitions.get(id).map_or(0, |(flushed, _)| *flushed);
        }
        self.previous_checkpoint = std::mem::replace(&mut self.checkpoint, image);
    }

    /// A new life begins at the checkpoint in force: what lies behind it is applied anew.
    pub fn rewind_to_checkpoint(&mut self) {
        for (id, partition) in &mut self.partitions {
            let (flushed, log_start) = self.checkpoint.partitions.get(id).copied().unwrap_or_default();
            partition.batches.truncate(flushed);
            partition.log_start = log_start;
            partition.dropped = self.checkpoint.dropped.contains(id);
        }
        for (shard, state) in &mut self.shards {
            let found = self.checkpoint.shards.iter().find(|found| found.shard == *shard);
            state.applied = found.map_or(0, |found| found.applied.0);
        }
    }
}

/// The partition that an entry's batch is for; `None` for a leader's first entry.
pub fn entry_partition(entry: &Entry) -> Option<PartitionId> {
    let topic: [u8; 16] = entry.descriptor.get(..16)?.try_into().ok()?;
    Some(PartitionId { topic: model::TopicId(topic), index: 0 })
}

/// The checkpoint job for an image, from what is in force.
pub fn checkpoint_job(oracle: &Oracle, image: &CheckpointImage, roll: (u64, u64), clean: bool) -> Checkpoint {
    let mut job = Checkpoint { shards: image.shards.clone(), clean, ..Checkpoint::default() };
    for (id, partition) in &oracle.partitions {
        let before = oracle.checkpoint.partitions.get(id);
        if !image.partitions.contains_key(id) {
            if before.is_some() {
                job.drops.push(*id);
            }
            continue;
        }
        if partition.flushed < partition.batches.len() {
            job.flushes.push(model::job::SegmentFlush {
                partition: *id,
                batches: partition.batches[partition.flushed..].to_vec(),
                roll_bytes: roll.0,
                roll_ms: roll.1,
            });
        }
        if before.map_or(0, |(_, start)| *start) < partition.log_start {
            job.trims.push((*id, Offset(partition.log_start)));
        }
    }
    job
}
