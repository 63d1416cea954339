//! What turns events into work: whoever brings an event (a connection's task, a storage thread, the timer) runs the core with
//! it, unless somebody runs it already: then that one takes the event along. So a request finds its way to the disk and
//! back without waiting for another thread to wake up (docs/decisions/0007).
//!
//! Invariant: only the holder of `core` steps the node, and an event that was put in is taken either by the one who put it
//! or by a holder who looks into the queue after letting go. The queue's length is bounded by those who put in: requests by
//! the node's pool and each connection's limit, completions by the jobs that the node starts.

use crate::clock::Clock;
use crate::core::{Core, Input, Turn};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;
use tokio::sync::watch;

/// How a node ended; `None` while it runs.
pub type Outcome = Option<Result<(), String>>;

/// So many turns one after the other and the timer's thread goes on: who brought an event has its own work to do.
const TURNS_MAX: usize = 16;

/// The way into the core.
pub struct Driver {
    queue: Mutex<Vec<Input>>,
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
    /// Somebody had enough turns.
    called: bool,
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
        let before = self.core.lock().unwrap_or_else(PoisonError::into_inner).replace(core);
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

    /// Runs the core until there is nothing to do, unless somebody does.
    pub fn run(&self) {
        let _watch = Watch(self);
        for _ in 0..TURNS_MAX {
            let mut held = match self.core.try_lock() {
                Ok(held) => held,
                Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return,
            };
            let Some(core) = held.as_mut() else {
                if self.outcome.borrow().is_some() {
                    self.queue().clear(); // nobody will answer
                }
                return;
            };
            std::mem::swap(core.inputs(), &mut *self.queue());
            let wal = core.wal_lane();
            let Turn { append, deadline, stop } = core.turn(&wal);
            if let Some(outcome) = stop {
                drop(append);
                *held = None; // and with it the lanes, whose threads end
                drop(held);
                self.stop(outcome.map_or(Ok(()), Err));
                return;
            }
            if let Some(deadline) = deadline {
                self.alarm().at = self.clock.instant(deadline);
                self.rung.notify_one();
            }
            drop(held);
            // Without the core: others go on while the disk works.
            if let Some(append) = append {
                let done = append.run();
                self.push(done);
            } else if self.queue().is_empty() {
                return;
            }
        }
        self.alarm().called = true;
        self.rung.notify_one();
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
            } else if std::mem::take(&mut alarm.called) {
                drop(alarm);
                self.run();
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

    fn stop(&self, outcome: Result<(), String>) {
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
