//! What turns events into work: whoever brings an event (a connection's task, a storage thread, the timer) runs the core with
//! it, unless somebody runs it already: then that one takes the event along. So a request finds its way to the disk and
//! back without waiting for another thread to wake up (docs/decisions/0007).
//!
//! Invariant: whoever raises `calls` from zero steps the node, nobody else, and goes on until it has answered all calls; each
//! call comes after its event. The queue's length is bounded by those who put in: requests by the node's pool and each
//! connection's limit, completions by the jobs that the node starts.

use crate::clock::Clock;
use crate::core::{Core, Input, Turn};
use model::{DiskId, NodeId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// How a node ended; `None` while it runs.
pub type Outcome = Option<Result<Ended, String>>;

/// How a node ended when nothing was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its disk was named: the next start takes part.
    TakesPart {
        /// As which of its node's replicas.
        replica: u32,
        /// The disks of the others, when a new cluster begins with them.
        founders: BTreeMap<NodeId, DiskId>,
    },
    /// Another disk has the place of this one: the next start waits.
    GivesUp,
}

/// So many turns one after the other and the timer's thread goes on: who brought an event has its own work to do.
const TURNS_MAX: usize = 16;

/// The way into the core.
pub struct Driver {
    queue: Mutex<Vec<Input>>,
    /// Calls of `run` that are not answered yet. Not zero: somebody is at it.
    calls: AtomicUsize,
    /// Never contended.
    core: Mutex<Option<Core>>,
    clock: Clock,
    alarm: Mutex<Alarm>,
    rung: Condvar,
    outcome: watch::Sender<Outcome>,
}

/// What the timer's thread waits for.
#[derive(Debug, Default)]
struct Alarm {
    at: Option<Instant>,
    /// Somebody had enough turns, and leaves so many calls to be answered.
    left: Option<usize>,
    stopped: bool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Driver").field("alarm", &self.alarm).finish_non_exhaustive()
    }
}

impl Driver {
    /// A driver without a core: what comes waits.
    pub fn new(clock: Clock) -> Driver {
        Driver {
            queue: Mutex::default(),
            calls: AtomicUsize::new(0),
            core: Mutex::default(),
            clock,
            alarm: Mutex::default(),
            rung: Condvar::new(),
            outcome: watch::Sender::new(None),
        }
    }

    /// Where the end can be awaited.
    pub fn outcome(&self) -> watch::Receiver<Outcome> {
        self.outcome.subscribe()
    }

    /// Puts the core in and gives it its first turn.
    ///
    /// # Panics
    /// When there is one.
    pub fn install(&self, core: Core) {
        let before = self.core().replace(core);
        assert!(before.is_none(), "one core for each driver");
        self.put(Input::Tick);
    }

    /// Takes an event and runs the core with it.
    pub fn put(&self, input: Input) {
        self.push(input);
        self.run();
    }

    /// Takes an event that whoever brings it follows up with `run`.
    pub fn push(&self, input: Input) {
        self.queue().push(input);
    }

    /// Takes an event and leaves it to the timer's thread: for those who must not wait for the disk, and for the core itself.
    pub fn leave(&self, input: Input) {
        self.push(input);
        self.alarm().at = Some(Instant::now());
        self.rung.notify_one();
    }

    /// What waits; for tests without a core.
    #[cfg(test)]
    pub fn waiting(&self) -> MutexGuard<'_, Vec<Input>> {
        self.queue()
    }

    /// Runs the core until there is nothing to do, unless somebody does.
    pub fn run(&self) {
        if self.calls.fetch_add(1, Ordering::AcqRel) == 0 {
            self.answer(1);
        }
    }

    /// Answers `calls` calls, and those that come meanwhile.
    fn answer(&self, mut calls: usize) {
        let _watch = Watch(self);
        loop {
            let wal = self.core().as_ref().map(Core::wal_lane);
            let mut append = None;
            for turns in 1.. {
                if let Some(wal) = &wal
                    && let Some(mut turn) = self.turn(|core| core.turn(wal))
                {
                    // While one append is under way the node starts no other.
                    append = turn.append.take().or(append);
                }
                let before = self.calls.fetch_sub(calls, Ordering::AcqRel);
                if before == calls {
                    break;
                }
                calls = before - calls;
                if turns >= TURNS_MAX {
                    self.alarm().left = Some(calls);
                    self.rung.notify_one();
                    break;
                }
            }
            // Without the core: others go on while the disk works.
            let Some(append) = append else { return };
            self.push(append.run());
            if self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
                return;
            }
            calls = 1;
        }
    }

    /// One turn with all that is in the queue; `None` when there is no core, or none any more.
    fn turn<'a>(&self, run: impl FnOnce(&mut Core) -> Turn<'a>) -> Option<Turn<'a>> {
        let mut held = self.core();
        let Some(core) = held.as_mut() else {
            self.queue().clear(); // nobody will answer
            return None;
        };
        std::mem::swap(core.inputs(), &mut *self.queue());
        let mut turn = run(core);
        if let Some(outcome) = turn.stop.take() {
            *held = None; // and with it the lanes, whose threads end
            drop(held);
            self.stop(outcome);
            return None;
        }
        if let Some(deadline) = turn.deadline {
            self.alarm().at = self.clock.instant(deadline);
            self.rung.notify_one();
        }
        Some(turn)
    }

    /// The body of the timer's thread.
    pub fn keep_time(&self) {
        let mut alarm = self.alarm();
        while !alarm.stopped {
            let now = Instant::now();
            if alarm.at.is_some_and(|at| at <= now) {
                alarm.at = None;
                drop(alarm);
                self.put(Input::Tick);
                alarm = self.alarm();
            } else if let Some(calls) = alarm.left.take() {
                drop(alarm);
                self.answer(calls);
                alarm = self.alarm();
            } else {
                alarm = match alarm.at {
                    None => self.rung.wait(alarm).unwrap_or_else(PoisonError::into_inner),
                    Some(at) => {
                        self.rung.wait_timeout(alarm, at - now).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
        }
    }

    fn stop(&self, outcome: Result<Ended, String>) {
        self.queue().clear();
        self.alarm().stopped = true;
        self.rung.notify_one();
        self.outcome.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(outcome);
            }
            first
        });
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Input>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn core(&self) -> MutexGuard<'_, Option<Core>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarm(&self) -> MutexGuard<'_, Alarm> {
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic in the core is a broken invariant: the node ends, whichever thread it happened on.
struct Watch<'a>(&'a Driver);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Err("a broken invariant stopped the node; what was broken stands above".into()));
        }
    }
}
