//! Everything that goes to the core thread, in the order in which it came. Its length is bounded by those who put in:
//! requests by the node's `RequestGate` and each connection's limit, completions by the lanes' queues.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// A queue of one consumer, which takes all there is at once.
#[derive(Debug)]
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    queue: Vec<T>,
    asleep: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Inbox<T> {
        Inbox { state: Mutex::new(State { queue: Vec::new(), asleep: false }), filled: Condvar::new() }
    }
}

impl<T> Inbox<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Adds one; wakes the consumer only when it sleeps.
    pub fn put(&self, item: T) {
        let mut state = self.lock();
        state.queue.push(item);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes everything into `into` (which must be empty), waiting until there is something or `deadline` has passed.
    pub fn take(&self, into: &mut Vec<T>, deadline: Option<Instant>) {
        assert!(into.is_empty());
        let mut state = self.lock();
        while state.queue.is_empty() {
            state.asleep = true;
            state = match deadline {
                None => self.filled.wait(state).expect("no holder of this lock panics"),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.filled.wait_timeout(state, left).expect("no holder of this lock panics").0
                }
            };
        }
        state.asleep = false;
        std::mem::swap(&mut state.queue, into);
    }
}
