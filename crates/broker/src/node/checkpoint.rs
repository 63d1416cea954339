//! Checkpoints: when they start, what they carry, and what they allow once they are durable. The order that keeps the
//! promises: segments, then the checkpoint record, then the WAL is recycled and memory is let go.

use super::catch_up::Share;
use super::{Node, Timer};
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::shard::Shard;
use model::job::{Checkpoint, Job, JobError, JobId, PartitionSegments, SegmentFlush, WalRecycle};
use model::{LogIndex, Now, Offset, PartitionId, StoredBatch};
use std::time::Duration;

/// A checkpoint starts at least so often when something was applied: it bounds what a restart reads.
const INTERVAL: Duration = Duration::from_secs(60);
/// Wait before a checkpoint that found no space is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Size of a segment of a topic that has no settings (any more).
const ROLL_BYTES: u64 = 1 << 30;

/// What checkpoints remember between their start and their end.
#[derive(Default)]
pub(super) struct State {
    under_way: Option<UnderWay>,
    /// The timer says that it is time.
    pub(super) is_due: bool,
    /// One is wanted even if nothing was applied since the last: that one is damaged.
    is_needed: bool,
    /// Partitions deleted since the last one.
    pub(super) drops: Vec<PartitionId>,
    /// A deletion or a new log start since the last one began lets segments go.
    pub(super) frees_space: bool,
    /// Bytes committed since the last one began.
    pub(super) unflushed_bytes: usize,
    /// Finished ones.
    pub(super) total: u64,
    /// What the log held when the last one had let go what it could, bytes.
    pub(super) left_held: u64,
    /// Why the last one failed.
    pub(super) trouble: Option<String>,
    /// Wait before the next try.
    retrying: bool,
}

struct UnderWay {
    id: JobId,
    flushed: Vec<(usize, PartitionId, Offset)>,
    /// Up to where, of each shard that is here.
    applied: Vec<(usize, LogIndex)>,
    drops: Vec<PartitionId>,
    bytes: usize,
    closing: bool,
    catch_up: Share,
}

impl State {
    pub(super) fn is(&self, id: JobId) -> bool {
        self.under_way.as_ref().is_some_and(|job| job.id == id)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The last checkpoint is being written: nothing may change any more.
    pub(super) fn is_closing(&self) -> bool {
        self.under_way.as_ref().is_some_and(|job| job.closing)
    }

    /// The last one found no space.
    pub(super) fn lacks_space(&self) -> bool {
        self.trouble.is_some()
    }
}

/// A flush of records of a partition that has no settings here.
pub(super) fn flush_of(partition: PartitionId, batches: Vec<StoredBatch>) -> SegmentFlush {
    SegmentFlush { partition, batches, roll_bytes: ROLL_BYTES, roll_ms: u64::MAX }
}

impl Node {
    pub(super) fn consider_checkpoint(&mut self, now: Now, out: &mut Vec<Effect>) {
        let state = &self.checkpoint;
        if state.under_way.is_some() || state.retrying || self.frozen.is_some() {
            return;
        }
        if self.stopping.is_some() && !self.is_tail_full() {
            return; // the clean one comes when nothing is pending; with memory full that needs this one first
        }
        let full = state.unflushed_bytes >= self.config.checkpoint_bytes
            || self.wal.held >= self.held_bytes_due()
            // Proposals wait for room in memory: whatever the sizes are set to, this must make some.
            || self.is_tail_full()
            // Nothing else gives space back.
            || state.frees_space && (self.refuses_records() || self.wal.wanted > 0);
        let ahead = || self.shards.iter().any(Shard::is_ahead_of_checkpoint) || self.has_caught_up_some();
        if (full || state.is_due) && (state.is_needed || ahead()) {
            self.start_checkpoint(now, false, out);
        }
    }

    /// What the log may hold before a checkpoint is to make some of it needless. What a shard needs that waits for its records stays
    /// through every checkpoint: then the next one has to wait until there is more.
    fn held_bytes_due(&self) -> u64 {
        let max = self.config.wal_held_bytes_max;
        match self.checkpoint.left_held {
            left if left >= max => left.saturating_add(max / 2),
            _ => max,
        }
    }

    /// The next one begins as soon as it can, whether or not there is anything new.
    pub(super) fn want_checkpoint(&mut self) {
        (self.checkpoint.is_due, self.checkpoint.is_needed) = (true, true);
    }

    pub(super) fn set_checkpoint_timer(&mut self, now: Now) {
        self.set_timer(now.mono.plus(INTERVAL), Timer::Checkpoint);
    }

    fn start_checkpoint(&mut self, now: Now, closing: bool, out: &mut Vec<Effect>) {
        // An entry that is not applied was perhaps acknowledged to its leader: then the next start reads the log.
        let clean = closing && self.shards.iter().all(Shard::is_applied_to_the_end);
        self.checkpoint.is_needed = false;
        if std::mem::take(&mut self.checkpoint.is_due) {
            self.set_checkpoint_timer(now);
        }
        let mut job = Checkpoint { clean, ..Checkpoint::default() };
        let mut flushed = Vec::new();
        let here: Vec<usize> = (0..self.shards.len()).filter(|at| self.shards[*at].is_here).collect();
        for at in here.iter().copied() {
            let catalog = (at == 0).then_some(&self.catalog);
            job.shards.push(self.shards[at].checkpoint(catalog));
            let mut dirty = Vec::new();
            for (id, partition) in &self.shards[at].partitions {
                if partition.has_trimmed_segment() {
                    job.trims.push((*id, partition.log.log_start));
                }
                if partition.is_dirty() {
                    dirty.push(*id);
                }
            }
            for id in dirty {
                let settings = self.topic_settings(id.topic);
                let partition = &self.shards[at].partitions[&id];
                let mut batches = partition.unflushed();
                if self.config.mutant == Some(Mutant::FlushSkipsBatch) && batches.len() > 1 {
                    batches.pop();
                }
                let (roll_bytes, roll_ms) =
                    settings.map_or((ROLL_BYTES, u64::MAX), |s| (s.segment_bytes, s.segment_ms));
                flushed.push((at, id, partition.log.log_end));
                job.flushes.push(SegmentFlush { partition: id, batches, roll_bytes, roll_ms });
            }
        }
        self.checkpoint.frees_space = false;
        job.drops = std::mem::take(&mut self.checkpoint.drops);
        let own_drops = job.drops.clone();
        let catch_up = self.add_catch_up(&mut job);
        let id = self.next_job();
        self.checkpoint.under_way = Some(UnderWay {
            id,
            flushed,
            applied: here.into_iter().zip(job.shards.iter().map(|shard| shard.applied)).collect(),
            drops: own_drops,
            catch_up,
            bytes: std::mem::take(&mut self.checkpoint.unflushed_bytes),
            closing,
        });
        if self.config.mutant == Some(Mutant::RecycleEarly) {
            self.recycle(true, out);
        }
        out.push(Effect::Start { id, job: Job::Checkpoint(job) });
    }

    pub(super) fn on_checkpoint(
        &mut self,
        now: Now,
        id: JobId,
        changed: Vec<PartitionSegments>,
        out: &mut Vec<Effect>,
    ) {
        let Some(done) = self.checkpoint.under_way.take_if(|job| job.id == id) else { return };
        self.checkpoint.total += 1;
        self.checkpoint.trouble = None;
        for (shard, partition, end) in done.flushed {
            if let Some(partition) = self.shards[shard].partitions.get_mut(&partition) {
                partition.flushed = partition.flushed.max(end);
            }
        }
        for changed in changed {
            let at = self.holder(changed.partition);
            match at.and_then(|at| self.shards[at].partitions.get_mut(&changed.partition)) {
                Some(partition) => {
                    let end = changed.segments.last().map(|last| last.end_offset);
                    partition.flushed = partition.flushed.max(end.unwrap_or_default());
                    partition.segments = changed.segments;
                }
                None => self.keep_stray(changed.partition, changed.segments),
            }
        }
        let shards = self.shards.len() as u64;
        for (at, applied) in done.applied {
            let shard = &mut self.shards[at];
            // Who is brought up by a state comes back for what follows it.
            let kept = self.config.log_kept_bytes;
            let kept = if shard.group.is_feeding() { kept } else { kept / shards };
            shard.checkpointed(applied, kept);
        }
        self.caught_up(now, done.catch_up, out);
        self.recycle(false, out);
        if done.closing {
            self.end(out);
        }
    }

    /// The shard that has a partition. Its log may be ahead of the metadata's on this node: the catalogue alone does not say.
    pub(super) fn holder(&self, id: PartitionId) -> Option<usize> {
        let shard = self.catalog.by_id(id.topic).and_then(|topic| topic.shards.get(id.index as usize));
        let told = shard.map(|shard| self.shard_index(*shard));
        let has = |at: &usize| self.shards[*at].partitions.contains_key(&id);
        told.filter(has).or_else(|| (0..self.shards.len()).find(has))
    }

    fn recycle(&mut self, early: bool, out: &mut Vec<Effect>) {
        let keep = |shard: &Shard| {
            let from = if early { shard.group.applied().next() } else { shard.keep_from() };
            (shard.id, from)
        };
        let keep_from = self.shards.iter().map(keep).collect();
        let id = self.next_job();
        out.push(Effect::Start { id, job: Job::Recycle(WalRecycle { keep_from }) });
    }

    pub(super) fn on_checkpoint_failed(&mut self, now: Now, error: &JobError, out: &mut Vec<Effect>) {
        let failed = self.checkpoint.under_way.take().expect("checked by the caller");
        self.checkpoint.drops.splice(0..0, failed.drops);
        self.catch_up_failed(now, failed.catch_up, out);
        self.checkpoint.unflushed_bytes += failed.bytes;
        if failed.closing {
            // Everything acknowledged is in the log. Requests were left unanswered meanwhile, so going on is no choice: a client's
            // later request would be carried out before an earlier one.
            let text = format!("no clean checkpoint: {error}; the next start reads the log instead");
            out.push(Effect::Log(LogLevel::Warn, text));
            self.end(out);
            return;
        }
        if self.checkpoint.trouble.is_none() {
            out.push(Effect::Log(
                LogLevel::Error,
                format!("write a checkpoint: {error}; it will be tried again"),
            ));
        }
        self.checkpoint.trouble = Some(format!("the last checkpoint failed: {error}"));
        self.checkpoint.retrying = true;
        self.set_timer(now.mono.plus(RETRY), Timer::CheckpointRetry);
    }

    pub(super) fn retry_checkpoint(&mut self) {
        self.checkpoint.retrying = false;
        self.checkpoint.is_due = true;
    }

    /// The stop that was asked for.
    fn end(&mut self, out: &mut Vec<Effect>) {
        self.stopping = Some(true);
        out.push(Effect::Stop(None));
    }

    /// Stops once everything proposed is committed and a clean checkpoint is durable.
    pub(super) fn consider_stop(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.stopping != Some(false) || self.checkpoint.under_way.is_some() || self.checkpoint.retrying {
            return;
        }
        if self.start.is_some() || self.frozen.is_some() {
            // Nothing was acknowledged since the start: the log as it is says everything.
            self.end(out);
        } else if self.is_leaving(now) {
            // Until others lead, or for as long as that may take.
        } else if self.wal.full {
            // What waits for space was acknowledged to nobody.
            let text =
                "no clean checkpoint: the disk is full; the next start reads the log instead".to_owned();
            out.push(Effect::Log(LogLevel::Warn, text));
            self.end(out);
        } else if self.wal.under_way.is_none()
            && self.wal.staged_numbers.is_empty()
            && !self.shards.iter().any(|shard| shard.serving && shard.has_pending())
        {
            self.start_checkpoint(now, true, out);
        }
    }
}
