//! The storage threads of a node: three lanes that carry jobs out one after the other, beside each other. A job is done at once
//! on the simulated disk; its answer comes after the virtual time that its calls took.

use super::{Happening, HostIndex, World};
use crate::outcome::Failure;
use broker::Event;
use model::Mono;
use model::job::{Done, Job, JobError, JobId, Mended, WalAppend};
use std::collections::VecDeque;
use std::time::Duration;

/// Without a job for so long the WAL lane marks its last commit and prepares files.
const WAL_IDLE_AFTER: Duration = Duration::from_millis(50);

/// Which thread of the real driver carries a job out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Appends and recycling.
    Wal,
    /// Checkpoints.
    Segments,
    /// Reads and look-ups.
    Reads,
}

/// A lane's queue.
pub struct LaneQueue {
    jobs: VecDeque<(JobId, Job)>,
    busy: bool,
    /// Jobs begun so far.
    begun: u64,
    /// When the newest of them was begun.
    since: Mono,
}

impl LaneQueue {
    pub fn is_idle(&self) -> bool {
        !self.busy && self.jobs.is_empty()
    }

    /// Jobs that wait, and whether one is under way.
    pub fn load(&self) -> (usize, bool) {
        (self.jobs.len(), self.busy)
    }
}

impl Default for LaneQueue {
    fn default() -> LaneQueue {
        LaneQueue { jobs: VecDeque::new(), busy: false, begun: 0, since: Mono(0) }
    }
}

impl World {
    pub(super) fn enqueue(&mut self, at: HostIndex, id: JobId, job: Job) {
        let lane = match job {
            Job::Append(_) | Job::Recycle(_) | Job::Renew(_) => Lane::Wal,
            Job::Checkpoint(_) | Job::Mend(_) => Lane::Segments,
            Job::Read(_) | Job::Lookup(_) | Job::Verify(_) | Job::VerifyLog(..) => Lane::Reads,
        };
        if let Some(live) = &mut self.hosts[at].live {
            live.lanes[lane as usize].jobs.push_back((id, job));
        }
        self.begin_next(at, lane);
    }

    /// Carries the lane's next job out; its answer comes after the time that its calls took.
    fn begin_next(&mut self, at: HostIndex, lane: Lane) {
        let host = &mut self.hosts[at];
        let Some(live) = &mut host.live else { return };
        let queue = &mut live.lanes[lane as usize];
        if queue.busy {
            return;
        }
        let Some((id, job)) = queue.jobs.pop_front() else {
            if lane == Lane::Wal {
                let begun = queue.begun;
                self.queue.after(WAL_IDLE_AFTER, Happening::WalIdle(at, host.life, begun));
            }
            return;
        };
        queue.busy = true;
        queue.begun += 1;
        queue.since = self.queue.now();
        let result = match job {
            Job::Append(append) => live.wal.append(append),
            Job::Recycle(recycle) => live.wal.recycle(&recycle),
            Job::Checkpoint(checkpoint) => {
                let (before, flushes) = (live.segments.releases(), !checkpoint.flushes.is_empty());
                let result = live.segments.checkpoint(checkpoint);
                if live.segments.releases() > before && flushes {
                    self.counters.count("node: full disk got space back");
                }
                result
            }
            Job::Read(read) => {
                let result = live.reader.read(&read);
                if let Some(next) = live.reader.next(&read, &result) {
                    self.counters.count("node: read ahead");
                    live.reader.read_ahead(&next);
                }
                result
            }
            Job::Lookup(lookup) => live.reader.lookup(&lookup),
            Job::Renew(renewal) => {
                self.counters.count("node: log written anew");
                live.wal.renew(renewal)
            }
            Job::Verify(read) => live.reader.verify(&read),
            Job::VerifyLog(from, bytes_max) => live.reader.verify_log(from, bytes_max),
            Job::Mend(mend) => live.segments.mend(mend),
        };
        if host.disk.crashed().is_some() {
            return self.on_death(at);
        }
        let took = host.take_elapsed(self.queue.now());
        let life = host.life;
        self.counters.count(match (&result, lane) {
            (Ok(Done::Append { .. }), _) => "node: append",
            (Ok(Done::Recycle { .. }), _) => "node: log recycled",
            (Ok(Done::Checkpoint { .. }), _) => "node: checkpoint",
            (Ok(Done::Read(_)), _) => "node: records read from segments",
            (Ok(Done::Lookup(_)), _) => "node: time looked up",
            (Ok(Done::Verify(_)), _) => "node: segment verified",
            (Ok(Done::VerifyLog(_)), _) => "node: log verified",
            (Ok(Done::Mend(Mended::Whole { brought: 0 })), _) => "node: segment whole by itself",
            (Ok(Done::Mend(Mended::Whole { .. })), _) => "node: segment mended",
            (Ok(Done::Mend(Mended::Lacks { .. })), _) => "node: segment lacks something",
            (Ok(Done::Mend(Mended::Copied)), _) => "node: segment half mended",
            (Ok(Done::Mend(Mended::Gone)), _) => "node: segment to mend is gone",
            (Err(JobError::NoSpace), Lane::Wal) => "node: append without space",
            (Err(JobError::NoSpace), _) => "node: checkpoint without space",
            (Err(JobError::Damaged { .. }), _) => "node: read refused",
            (Err(JobError::DamagedLog { .. }), _) => "node: log damage found",
            (Err(JobError::Device { .. }), _) => "node: device failed",
        });
        if let Err(JobError::Damaged { detail, .. }) = &result {
            // A segment may go between the plan of a read and the read; the node must not tell a client of damage then.
            let is_gone = detail.ends_with("is missing");
            self.counters.count(if is_gone {
                "node: read of a segment just deleted"
            } else {
                "node: damage found"
            });
            if !is_gone && !self.was_harmed() {
                let failure = Failure::new("no damage where none was done", detail.clone());
                self.failure.get_or_insert(failure);
            }
        }
        self.queue.after(took, Happening::JobDone(at, life, lane, id, Box::new(result)));
    }

    pub(super) fn on_job_done(
        &mut self,
        at: HostIndex,
        life: u64,
        lane: Lane,
        id: JobId,
        result: Result<Done, JobError>,
    ) {
        let Some(live) = self.live_of(at, life) else { return };
        let own = &mut live.lanes[lane as usize];
        own.busy = false;
        let since = own.since;
        // Lanes stand beside each other: a whole job of one within a job of another.
        if live.lanes.iter().any(|other| other.busy && other.since <= since) {
            self.counters.count(match lane {
                Lane::Wal => "lanes: a job of the log within another lane's",
                Lane::Segments => "lanes: a checkpoint within another lane's job",
                Lane::Reads => "lanes: a read within another lane's job",
            });
        }
        self.step(at, Event::JobDone { id, result });
        self.begin_next(at, lane);
    }

    /// The WAL lane had nothing to do: the last commit is marked as durable, the next file prepared.
    pub(super) fn on_wal_idle(&mut self, at: HostIndex, life: u64, begun: u64) {
        let now = self.queue.now();
        let Some(live) = self.live_of(at, life) else { return };
        let queue = &live.lanes[Lane::Wal as usize];
        if queue.busy || queue.begun != begun {
            return;
        }
        // A failure is not reported: the device refuses the next append with the same reason.
        let is_marked = live.wal.append(WalAppend::default()).is_ok();
        if is_marked {
            drop(live.wal.upkeep());
        }
        let queue = &mut live.lanes[Lane::Wal as usize];
        queue.busy = true;
        queue.since = now;
        if is_marked {
            self.counters.count("node: marker");
        }
        if self.hosts[at].disk.crashed().is_some() {
            return self.on_death(at);
        }
        let took = self.hosts[at].take_elapsed(now);
        self.queue.after(took, Happening::WalRested(at, life));
    }

    pub(super) fn on_wal_rested(&mut self, at: HostIndex, life: u64) {
        let Some(live) = self.live_of(at, life) else { return };
        let queue = &mut live.lanes[Lane::Wal as usize];
        queue.busy = false;
        if !queue.jobs.is_empty() {
            self.begin_next(at, Lane::Wal);
        }
    }
}
