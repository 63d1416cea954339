//! Storage threads: one for the WAL, one for segments and checkpoints, a few for reads. Each takes jobs from its own
//! limited queue, reports every job once, and runs the core with it. Old data being read never waits in front of a commit.

use crate::core::Input;
use crate::counters::Counters;
use crate::driver::Driver;
use model::job::{
    Checkpoint, Done, Job, JobError, JobId, LogPlace, SegmentMend, SegmentRead, TimeLookup, WalAppend,
    WalRecycle, WalRenewal,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use storage::{Disk, Reader, Segments, Wal};

/// Jobs waiting for the WAL thread: the node keeps one append outstanding, and recyclings are as rare as checkpoints. A channel
/// without a bound, and an assertion: the WAL thread itself puts in, and must never wait for itself.
const WAL_JOBS_MAX: usize = 64;
/// Jobs waiting for the segment thread: the core keeps one checkpoint and one mend outstanding.
const SEGMENT_JOBS_MAX: usize = 2;
/// Stretches waiting to be read ahead.
const READS_AHEAD_MAX: usize = 64;
/// Without an append for so long the WAL counts as idle: the last commit is marked durable and files are prepared ahead.
/// Longer than the pause between two appends of a client that sends one record at a time, so that it never waits for the marker.
const WAL_IDLE_AFTER: Duration = Duration::from_millis(50);

/// Largest append that whoever runs the core makes itself, bytes.
const APPEND_HERE_BYTES_MAX: usize = 32 << 10;
/// Most entries of such an append: more are a sign of many clients, for whom the thread has better things to do meanwhile.
const APPEND_HERE_ENTRIES_MAX: usize = 2;
/// No such append right after one that took longer: connections must be served when the disk is slow.
const APPEND_HERE_MAX: Duration = Duration::from_millis(2);

/// The way to the storage threads.
pub struct Lanes {
    wal: Arc<WalLane>,
    wal_jobs: Sender<(JobId, WalJob)>,
    segments: SyncSender<(JobId, SegmentJob)>,
    reads: Arc<ReadQueue>,
}

enum WalJob {
    Append(WalAppend),
    Recycle(WalRecycle),
    Renew(WalRenewal),
    /// Others append: look whether they go on, and mark the last commit when they do not.
    Watch,
}

enum SegmentJob {
    Checkpoint(Box<Checkpoint>),
    Mend(SegmentMend),
}

enum ReadJob {
    Read(SegmentRead),
    Verify(SegmentRead),
    VerifyLog(Option<LogPlace>, usize),
    Lookup(TimeLookup),
}

enum ReadWork {
    /// The core waits for it.
    Asked(JobId, ReadJob),
    /// Somebody will probably ask for it.
    Ahead(SegmentRead),
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
    /// Taken when nobody waits; the newest are dropped when there are too many.
    ahead: VecDeque<SegmentRead>,
    closed: bool,
}

impl Lanes {
    /// Starts the threads, of a disk that waits (`waits`) or takes part. They end when the `Lanes` are dropped and their queues are empty.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_threads<D: Disk>(
        (wal, waits): (Wal<D>, bool),
        mut segments: Segments<D>,
        reader: Reader<D>,
        read_threads: usize,
        driver: &Arc<Driver>,
        counters: &Arc<Counters>,
    ) -> std::io::Result<(Lanes, Vec<JoinHandle<()>>)> {
        let mut threads = Vec::new();
        let (wal_jobs, wal_queue) = channel();
        let wal = Arc::new(WalLane {
            wal: Mutex::new(Box::new(wal)),
            waits,
            pending: AtomicUsize::new(0),
            appended_here: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            quick: AtomicBool::new(true),
            counters: counters.clone(),
        });
        let lane = wal.clone();
        let to_core = driver.clone();
        threads.push(Builder::new().name("wal".into()).spawn(move || lane.run(&wal_queue, &to_core))?);
        let (segment_jobs, segment_queue) = sync_channel::<(JobId, SegmentJob)>(SEGMENT_JOBS_MAX);
        let (to_core, counted) = (driver.clone(), counters.clone());
        threads.push(Builder::new().name("segments".into()).spawn(move || {
            for (id, job) in segment_queue {
                let start = Instant::now();
                let result = match job {
                    SegmentJob::Checkpoint(checkpoint) => {
                        let result = segments.checkpoint(*checkpoint);
                        counted.checkpoint_seconds.observe(start.elapsed());
                        result
                    }
                    SegmentJob::Mend(mend) => segments.mend(mend),
                };
                to_core.put(Input::JobDone { id, result });
            }
        })?);
        let reads = Arc::new(ReadQueue::default());
        let reader = Arc::new(reader);
        for number in 0..read_threads.max(1) {
            let (queue, reader) = (reads.clone(), reader.clone());
            let (to_core, counted) = (driver.clone(), counters.clone());
            threads.push(Builder::new().name(format!("read-{number}")).spawn(move || {
                while let Some(work) = queue.take() {
                    let (id, job) = match work {
                        ReadWork::Asked(id, job) => (id, job),
                        ReadWork::Ahead(read) => {
                            reader.read_ahead(&read);
                            continue;
                        }
                    };
                    let start = Instant::now();
                    let result = match &job {
                        ReadJob::Read(read) => reader.read(read),
                        ReadJob::Lookup(lookup) => reader.lookup(lookup),
                        ReadJob::Verify(read) => reader.verify(read),
                        ReadJob::VerifyLog(from, bytes_max) => reader.verify_log(*from, *bytes_max),
                    };
                    counted.read_seconds.observe(start.elapsed());
                    if let ReadJob::Read(read) = &job
                        && let Some(next) = reader.next(read, &result)
                    {
                        queue.put_ahead(next);
                    }
                    to_core.put(Input::JobDone { id, result });
                }
            })?);
        }
        Ok((Lanes { wal, wal_jobs, segments: segment_jobs, reads }, threads))
    }

    /// Hands a job to its thread.
    ///
    /// # Panics
    /// When a storage thread is gone: it ends only by a broken invariant.
    pub fn start(&self, id: JobId, job: Job) {
        let gone = "storage threads live as long as the core";
        match job {
            Job::Append(append) => self.send_to_wal(id, WalJob::Append(append)),
            Job::Recycle(recycle) => self.send_to_wal(id, WalJob::Recycle(recycle)),
            Job::Checkpoint(checkpoint) => {
                self.segments.send((id, SegmentJob::Checkpoint(Box::new(checkpoint)))).expect(gone);
            }
            Job::Renew(renewal) => self.send_to_wal(id, WalJob::Renew(renewal)),
            Job::Mend(mend) => self.segments.send((id, SegmentJob::Mend(mend))).expect(gone),
            Job::Verify(read) => self.reads.put(id, ReadJob::Verify(read)),
            Job::VerifyLog(from, bytes_max) => self.reads.put(id, ReadJob::VerifyLog(from, bytes_max)),
            Job::Read(read) => self.reads.put(id, ReadJob::Read(read)),
            Job::Lookup(lookup) => self.reads.put(id, ReadJob::Lookup(lookup)),
        }
    }
}

impl Lanes {
    /// Where appends are made.
    pub fn wal_lane(&self) -> Arc<WalLane> {
        self.wal.clone()
    }

    /// Prepares an append on the calling thread, when that is the sooner way: the WAL thread has nothing to do, the append is
    /// small and the last one was quick. Saves two changes of thread for a client that waits for each record. Gives the append
    /// back otherwise.
    pub fn append_here<'a>(
        &self,
        wal: &'a WalLane,
        id: JobId,
        append: WalAppend,
    ) -> Result<AppendHere<'a>, WalAppend> {
        let bytes: usize =
            append.entries.iter().map(|entry| entry.payload.size() + entry.descriptor.len()).sum();
        // After a slow one the WAL thread makes the next, then it is tried here again.
        let quick = wal.quick.swap(true, Ordering::AcqRel);
        let few = append.entries.len() <= APPEND_HERE_ENTRIES_MAX;
        if !quick || !few || bytes > APPEND_HERE_BYTES_MAX || wal.pending.load(Ordering::Acquire) > 0 {
            return Err(append);
        }
        // The WAL thread may be preparing files. Taken now, so that a job which is started later comes later.
        let Ok(held) = wal.wal.try_lock() else { return Err(append) };
        if !wal.watched.swap(true, Ordering::AcqRel) {
            self.wal_jobs
                .send((JobId::default(), WalJob::Watch))
                .expect("storage threads live as long as the core");
        }
        Ok(AppendHere { id, append, held, lane: wal })
    }

    fn send_to_wal(&self, id: JobId, job: WalJob) {
        let waiting = self.wal.pending.fetch_add(1, Ordering::AcqRel);
        assert!(waiting < WAL_JOBS_MAX, "the node starts few jobs of the WAL at a time");
        self.wal_jobs.send((id, job)).expect("storage threads live as long as the core");
    }
}

/// An append that whoever ran the core makes itself, holding the WAL.
pub struct AppendHere<'a> {
    id: JobId,
    append: WalAppend,
    held: MutexGuard<'a, Box<dyn WalWork>>,
    lane: &'a WalLane,
}

impl AppendHere<'_> {
    /// Appends, and says how it went.
    pub fn run(mut self) -> Input {
        let start = Instant::now();
        let result = self.held.append(self.append);
        drop(self.held);
        let took = start.elapsed();
        self.lane.counters.wal_append_seconds.observe(took);
        self.lane.quick.store(took <= APPEND_HERE_MAX, Ordering::Release);
        self.lane.appended_here.fetch_add(1, Ordering::AcqRel);
        Input::JobDone { id: self.id, result }
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

    fn put_ahead(&self, read: SegmentRead) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if state.ahead.len() < READS_AHEAD_MAX {
            state.ahead.push_back(read);
            self.filled.notify_one();
        }
    }

    fn take(&self) -> Option<ReadWork> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        loop {
            if let Some((id, job)) = state.jobs.pop_front() {
                return Some(ReadWork::Asked(id, job));
            }
            if state.closed {
                return None;
            }
            if let Some(read) = state.ahead.pop_front() {
                return Some(ReadWork::Ahead(read));
            }
            state = self.filled.wait(state).expect("no holder of this lock panics");
        }
    }
}

/// What a WAL does, whatever disk it is on.
trait WalWork: Send {
    fn append(&mut self, append: WalAppend) -> Result<Done, JobError>;
    fn recycle(&mut self, recycle: &WalRecycle) -> Result<Done, JobError>;
    fn renew(&mut self, renewal: WalRenewal) -> Result<Done, JobError>;
    fn upkeep(&mut self) -> Result<bool, JobError>;
}

impl<D: Disk> WalWork for Wal<D> {
    fn append(&mut self, append: WalAppend) -> Result<Done, JobError> {
        Wal::append(self, append)
    }

    fn recycle(&mut self, recycle: &WalRecycle) -> Result<Done, JobError> {
        Wal::recycle(self, recycle)
    }

    fn renew(&mut self, renewal: WalRenewal) -> Result<Done, JobError> {
        Wal::renew(self, renewal)
    }

    fn upkeep(&mut self) -> Result<bool, JobError> {
        Wal::upkeep(self)
    }
}

/// The WAL, shared by its thread and, for small appends, whoever runs the core.
pub struct WalLane {
    wal: Mutex<Box<dyn WalWork>>,
    /// The disk takes no part yet: nothing on it is touched, whatever it was before.
    waits: bool,
    /// Jobs that the WAL thread has and has not finished: while there are any, nobody else appends.
    pending: AtomicUsize,
    /// Appends by others so far: the WAL is not idle while this moves.
    appended_here: AtomicU64,
    /// The last append by others was quick.
    quick: AtomicBool,
    counters: Arc<Counters>,
    /// The WAL thread knows that there may be something to mark.
    watched: AtomicBool,
}

impl WalLane {
    fn lock(&self) -> MutexGuard<'_, Box<dyn WalWork>> {
        self.wal.lock().expect("no holder of this lock panics")
    }

    /// The WAL thread's body.
    fn run(&self, queue: &Receiver<(JobId, WalJob)>, driver: &Driver) {
        let mut seen = 0;
        loop {
            let (id, job) = match queue.recv_timeout(WAL_IDLE_AFTER) {
                Ok((_, WalJob::Watch)) => continue,
                Ok(next) => next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let appended = self.appended_here.load(Ordering::Acquire);
                    if appended != seen {
                        seen = appended;
                        continue;
                    }
                    match self.while_idle(queue) {
                        Some((_, WalJob::Watch)) => continue,
                        Some(next) => next,
                        None => return,
                    }
                }
            };
            let start = Instant::now();
            let result = match job {
                WalJob::Append(append) => {
                    let result = self.lock().append(append);
                    self.counters.wal_append_seconds.observe(start.elapsed());
                    result
                }
                WalJob::Recycle(recycle) => self.lock().recycle(&recycle),
                WalJob::Renew(renewal) => self.lock().renew(renewal),
                WalJob::Watch => unreachable!("taken out above"),
            };
            self.pending.fetch_sub(1, Ordering::AcqRel);
            driver.put(Input::JobDone { id, result });
        }
    }

    /// Marks the last commit as durable and prepares files, one small step after the other, until a job comes. `None`
    /// when the core is gone. A failure here is not reported: the device refuses the next append with the same reason.
    fn while_idle(&self, queue: &Receiver<(JobId, WalJob)>) -> Option<(JobId, WalJob)> {
        self.watched.store(false, Ordering::Release);
        let mut more = !self.waits
            && idle_step(
                "mark the last commit",
                self.lock().append(WalAppend::default()).map(|_: Done| true),
            );
        while more {
            match queue.try_recv() {
                Ok(next) => return Some(next),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => more = idle_step("prepare a WAL file", self.lock().upkeep()),
            }
        }
        queue.recv().ok()
    }
}

fn idle_step(what: &str, outcome: Result<bool, JobError>) -> bool {
    outcome.unwrap_or_else(|error| {
        tracing::warn!("cannot {what}: {error}");
        false
    })
}
