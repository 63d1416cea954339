//! The scrub: all segments, then the log and the checkpoint that it stands on, are read again and again, slowly, so that damage is found
//! while the other replicas are still whole, and before a start needs what is damaged. Segments are mended (`mend`). What a start
//! needs is in memory as long as the process lives: the log is written anew, or another checkpoint.

use super::throttle::Throttle;
use super::{Node, UnderWay};
use crate::event::{Effect, LogLevel};
use model::job::{DamagedFile, Job, JobError, JobId, LogPlace, SegmentRead, WalRenewal};
use model::{Mono, Now, Offset, PartitionId};
use std::ops::Bound;
use std::time::Duration;

/// Bytes of one read.
const STEP_BYTES_MAX: usize = 1 << 20;
/// What a read counts for at least: to open a small segment is work too.
const STEP_BYTES_MIN: usize = 64 << 10;
/// Where a pass begins.
const FIRST: Stretch = Stretch {
    partition: PartitionId { topic: model::TopicId([0; 16]), index: i32::MIN },
    offset: Offset(0),
    until: None,
};

/// What comes next of a partition.
#[derive(Clone, Copy)]
struct Stretch {
    partition: PartitionId,
    offset: Offset,
    /// Where the segments ended when the pass came to the partition; `None`: it has not come there yet. What is written behind it is
    /// for the next pass: a scrub that is slower than its producers would never come to what follows.
    until: Option<Offset>,
}

/// Where the scrub is.
#[derive(Clone, Copy)]
enum Place {
    /// Between two passes.
    Rests,
    Segments(Stretch),
    Log(Option<LogPlace>),
}

enum Reading {
    Segment(SegmentRead, Offset),
    Log,
}

/// See the module.
pub(super) struct Scrub {
    at: Place,
    job: Option<(JobId, Reading)>,
    /// The next pass begins then.
    due: Mono,
    interval: Duration,
    /// `None`: there is no scrub.
    throttle: Option<Throttle>,
    passes_total: u64,
    /// The log file that is damaged, until all is in a new one.
    damaged: Option<u64>,
    pub(super) renewals_total: u64,
}

impl Scrub {
    /// The first pass begins at once; `rate` bytes a second, 0 for none.
    pub(super) fn new(now: Mono, rate: u64, interval: Duration) -> Scrub {
        let throttle = (rate > 0).then(|| Throttle::new(rate, STEP_BYTES_MAX as u64));
        Scrub {
            at: Place::Rests,
            job: None,
            due: now,
            interval,
            throttle,
            passes_total: 0,
            damaged: None,
            renewals_total: 0,
        }
    }

    /// A sentence about the log, while it is damaged.
    pub(super) fn words(&self) -> Option<String> {
        self.damaged.map(|epoch| {
            format!("log file {epoch} is damaged: a start would need it, until all that it holds is in another one")
        })
    }
}

impl Node {
    /// How often everything has been read since the node started.
    pub fn scrub_passes(&self) -> u64 {
        self.scrub.passes_total
    }

    /// Whether the log is damaged, as far as that was found.
    pub fn has_damaged_log(&self) -> bool {
        self.scrub.damaged.is_some()
    }

    /// Reads the next stretch, if it is time to; says when it will be.
    pub(super) fn scrub(&mut self, now: Now, out: &mut Vec<Effect>) -> Option<Mono> {
        let throttle = self.scrub.throttle.as_mut().filter(|_| self.scrub.job.is_none())?;
        if let Place::Rests = self.scrub.at
            && now.mono < self.scrub.due
        {
            return Some(self.scrub.due);
        }
        if let Some(opens_at) = throttle.opens_at(now.mono) {
            return Some(opens_at);
        }
        let next = match self.scrub.at {
            Place::Rests => self.stretch_from(FIRST),
            Place::Segments(stretch) => self.stretch_from(stretch),
            Place::Log(_) => None,
        };
        let id = self.next_job();
        let (at, job, reading) = match (next, self.scrub.at) {
            (Some((read, until)), at) => (at, Job::Verify(read.clone()), Reading::Segment(read, until)),
            (None, Place::Log(from)) => (self.scrub.at, Job::VerifyLog(from, STEP_BYTES_MAX), Reading::Log),
            (None, _) => (Place::Log(None), Job::VerifyLog(None, STEP_BYTES_MAX), Reading::Log),
        };
        out.push(Effect::Start { id, job });
        (self.scrub.at, self.scrub.job) = (at, Some((id, reading)));
        None
    }

    /// The first stretch that somebody may read, from a place on in the order of partitions and offsets, and where the pass leaves
    /// that partition.
    fn stretch_from(&self, from: Stretch) -> Option<(SegmentRead, Offset)> {
        let mut at = Bound::Included(from.partition);
        loop {
            let next =
                self.shards.iter().filter_map(|shard| shard.partitions.range((at, Bound::Unbounded)).next());
            let (id, found) = next.min_by_key(|(id, _)| **id)?;
            let (mut offset, mut until) = (found.log.log_start, None);
            if *id == from.partition {
                (offset, until) = (offset.max(from.offset), from.until);
            }
            let until = until.unwrap_or(found.segments.last().map_or(Offset(0), |last| last.end_offset));
            if let Some(segment) = found.segment_behind(offset).filter(|_| offset < until) {
                let offset = offset.max(segment.base_offset);
                let read = SegmentRead { partition: *id, segment, offset, bytes_max: STEP_BYTES_MAX };
                return Some((read, until));
            }
            at = Bound::Excluded(*id);
        }
    }

    /// Whether this is the scrub's job.
    pub(super) fn is_scrub(&self, id: JobId) -> bool {
        self.scrub.job.as_ref().is_some_and(|(job, _)| *job == id)
    }

    /// A stretch of a segment was looked at.
    pub(super) fn on_verified(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<Option<Offset>, JobError>,
        out: &mut Vec<Effect>,
    ) {
        let Some((_, Reading::Segment(read, until))) = self.scrub.job.take_if(|(job, _)| *job == id) else {
            return;
        };
        let end = read.segment.end_offset;
        let next = match result {
            Ok(next) => next.unwrap_or(end).max(read.offset.plus(1)),
            Err(_) => end, // the mend looks at the rest of the segment
        };
        self.scrub.at =
            Place::Segments(Stretch { partition: read.partition, offset: next, until: Some(until) });
        self.has_read(now, read.segment.size as usize, out);
    }

    /// Some of the log was looked at.
    pub(super) fn on_log_verified(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<Option<LogPlace>, JobError>,
        out: &mut Vec<Effect>,
    ) {
        if self.scrub.job.take_if(|(job, _)| *job == id).is_none() {
            return;
        }
        self.scrub.at = match result {
            Ok(Some(place)) => Place::Log(Some(place)),
            Ok(None) => {
                self.scrub.damaged = None;
                self.end_pass(now)
            }
            Err(error) => {
                self.on_damaged_log(now, error, out);
                self.end_pass(now)
            }
        };
        self.has_read(now, STEP_BYTES_MAX, out);
    }

    fn end_pass(&mut self, now: Now) -> Place {
        self.scrub.passes_total += 1;
        self.scrub.due = now.mono.plus(self.scrub.interval);
        Place::Rests
    }

    fn has_read(&mut self, now: Now, bytes: usize, out: &mut Vec<Effect>) {
        if let Some(throttle) = &mut self.scrub.throttle {
            throttle.take(bytes.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX));
        }
        self.upkeep(now, out);
    }

    /// What the next start would read is damaged, and this process has all of it.
    fn on_damaged_log(&mut self, now: Now, error: JobError, out: &mut Vec<Effect>) {
        let JobError::DamagedLog { file, detail } = error else { return };
        out.push(Effect::Log(LogLevel::Error, format!("{detail}; what it held is written anew")));
        match file {
            DamagedFile::Log(epoch) => {
                self.scrub.damaged = Some(epoch);
                if self.is_alone() {
                    // A node of one forgets the payload of what it has applied: a checkpoint makes that needless first.
                    self.want_checkpoint();
                }
            }
            DamagedFile::Checkpoint => self.want_checkpoint(),
        }
        self.set_timer(now.mono, super::Timer::Settle);
    }

    /// Writes the log anew, when it is damaged and all of it is in memory.
    pub(super) fn renew_log(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(damaged) = self.scrub.damaged else { return };
        let is_kept = |shard: &crate::shard::Shard| {
            let is_there = shard.group.first_index() <= shard.keep_from();
            is_there && (!self.is_alone() || !shard.is_ahead_of_checkpoint())
        };
        let mut here = self.shards.iter().filter(|shard| shard.is_here);
        // A state that was taken over is not durable before its checkpoint.
        if self.is_catching_up() || !here.all(is_kept) {
            return;
        }
        let mut append = std::mem::take(&mut self.wal.staged);
        let numbers = std::mem::take(&mut self.wal.staged_numbers);
        // What is staged is in the groups' logs already.
        let here = self.shards.iter().filter(|shard| shard.is_here);
        append.entries = here.flat_map(|shard| shard.group.entries_from(shard.keep_from())).collect();
        append.entries.extend(self.unborn.entries.values().flatten().cloned());
        let id = self.next_job();
        let renewal = WalRenewal { append: append.clone(), damaged };
        out.push(Effect::Start { id, job: Job::Renew(renewal) });
        self.wal.under_way = Some(UnderWay { since: now.mono, id, append, numbers });
        self.scrub.damaged = None;
        self.scrub.renewals_total += 1;
    }
}
