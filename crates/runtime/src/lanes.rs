//! Storage threads: one for the WAL, one for segments and checkpoints, a few for reads. Each takes jobs from its own
//! limited queue and reports every job once to the core's inbox. Old data being read never waits in front of a commit.

use crate::core::Input;
use crate::counters::Counters;
use crate::inbox::Inbox;
use model::job::{Checkpoint, Done, Job, JobError, JobId, SegmentRead, TimeLookup, WalAppend, WalRecycle};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use storage::{Disk, Reader, Segments, Wal};

/// Jobs waiting for the WAL thread: the core keeps one append outstanding, and recyclings are as rare as checkpoints.
const WAL_JOBS_MAX: usize = 8;
/// Jobs waiting for the segment thread: the core keeps one checkpoint outstanding.
const SEGMENT_JOBS_MAX: usize = 2;
/// Without an append for so long the WAL counts as idle: the last commit is marked durable and files are prepared ahead.
/// Longer than the pause between two appends of a client that sends one record at a time, so that it never waits for the marker.
const WAL_IDLE_AFTER: Duration = Duration::from_millis(50);

/// The way to the storage threads.
pub struct Lanes {
    wal: SyncSender<(JobId, WalJob)>,
    segments: SyncSender<(JobId, Box<Checkpoint>)>,
    reads: Arc<ReadQueue>,
}

enum WalJob {
    Append(WalAppend),
    Recycle(WalRecycle),
}

enum ReadJob {
    Read(SegmentRead),
    Lookup(TimeLookup),
}

/// Reads that no thread has taken yet. The core limits how many it starts.
#[derive(Default)]
struct ReadQueue {
    state: Mutex<ReadState>,
    filled: Condvar,
}

#[derive(Default)]
struct ReadState {
    jobs: VecDeque<(JobId, ReadJob)>,
    closed: bool,
}

impl Lanes {
    /// Starts the threads. They end when the `Lanes` are dropped and their queues are empty.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_threads<D: Disk>(
        mut wal: Wal<D>,
        mut segments: Segments<D>,
        reader: Reader<D>,
        read_threads: usize,
        inbox: &Arc<Inbox<Input>>,
        counters: &Arc<Counters>,
    ) -> std::io::Result<(Lanes, Vec<JoinHandle<()>>)> {
        let mut threads = Vec::new();
        let (wal_jobs, wal_queue) = sync_channel(WAL_JOBS_MAX);
        let (to_core, counted) = (inbox.clone(), counters.clone());
        threads.push(
            Builder::new()
                .name("wal".into())
                .spawn(move || run_wal(&mut wal, &wal_queue, &to_core, &counted))?,
        );
        let (segment_jobs, segment_queue) = sync_channel::<(JobId, Box<Checkpoint>)>(SEGMENT_JOBS_MAX);
        let (to_core, counted) = (inbox.clone(), counters.clone());
        threads.push(Builder::new().name("segments".into()).spawn(move || {
            for (id, checkpoint) in segment_queue {
                let start = Instant::now();
                let result = segments.checkpoint(*checkpoint);
                counted.checkpoint_seconds.observe(start.elapsed());
                to_core.put(Input::JobDone { id, result });
            }
        })?);
        let reads = Arc::new(ReadQueue::default());
        let reader = Arc::new(reader);
        for number in 0..read_threads.max(1) {
            let (queue, reader) = (reads.clone(), reader.clone());
            let (to_core, counted) = (inbox.clone(), counters.clone());
            threads.push(Builder::new().name(format!("read-{number}")).spawn(move || {
                while let Some((id, job)) = queue.take() {
                    let start = Instant::now();
                    let result = match &job {
                        ReadJob::Read(read) => reader.read(read),
                        ReadJob::Lookup(lookup) => reader.lookup(lookup),
                    };
                    counted.read_seconds.observe(start.elapsed());
                    to_core.put(Input::JobDone { id, result });
                }
            })?);
        }
        Ok((Lanes { wal: wal_jobs, segments: segment_jobs, reads }, threads))
    }

    /// Hands a job to its thread.
    ///
    /// # Panics
    /// When a storage thread is gone: it ends only by a broken invariant.
    pub fn start(&self, id: JobId, job: Job) {
        let gone = "storage threads live as long as the core";
        match job {
            Job::Append(append) => self.wal.send((id, WalJob::Append(append))).expect(gone),
            Job::Recycle(recycle) => self.wal.send((id, WalJob::Recycle(recycle))).expect(gone),
            Job::Checkpoint(checkpoint) => self.segments.send((id, Box::new(checkpoint))).expect(gone),
            Job::Read(read) => self.reads.put(id, ReadJob::Read(read)),
            Job::Lookup(lookup) => self.reads.put(id, ReadJob::Lookup(lookup)),
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.reads.state.lock().expect("no holder of this lock panics").closed = true;
        self.reads.filled.notify_all();
    }
}

impl ReadQueue {
    fn put(&self, id: JobId, job: ReadJob) {
        self.state.lock().expect("no holder of this lock panics").jobs.push_back((id, job));
        self.filled.notify_one();
    }

    fn take(&self) -> Option<(JobId, ReadJob)> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).expect("no holder of this lock panics");
        }
    }
}

fn run_wal<D: Disk>(
    wal: &mut Wal<D>,
    queue: &Receiver<(JobId, WalJob)>,
    inbox: &Inbox<Input>,
    counters: &Counters,
) {
    loop {
        let (id, job) = match queue.recv_timeout(WAL_IDLE_AFTER) {
            Ok(next) => next,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => match while_idle(wal, queue) {
                Some(next) => next,
                None => return,
            },
        };
        let start = Instant::now();
        let result = match job {
            WalJob::Append(append) => {
                let result = wal.append(append);
                counters.wal_append_seconds.observe(start.elapsed());
                result
            }
            WalJob::Recycle(recycle) => wal.recycle(&recycle),
        };
        inbox.put(Input::JobDone { id, result });
    }
}

/// Marks the last commit as durable and prepares files, one small step after the other, until a job comes. `None` when
/// the core is gone. A failure here is not reported: the device refuses the next append with the same reason.
fn while_idle<D: Disk>(wal: &mut Wal<D>, queue: &Receiver<(JobId, WalJob)>) -> Option<(JobId, WalJob)> {
    let mut more = idle_step("mark the last commit", wal.append(WalAppend::default()).map(|_: Done| true));
    while more {
        match queue.try_recv() {
            Ok(next) => return Some(next),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => more = idle_step("prepare a WAL file", wal.upkeep()),
        }
    }
    queue.recv().ok()
}

fn idle_step(what: &str, outcome: Result<bool, JobError>) -> bool {
    outcome.unwrap_or_else(|error| {
        tracing::warn!("cannot {what}: {error}");
        false
    })
}
