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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn everything_comes_in_order_and_wakes_the_sleeper() {
        let inbox = Arc::new(Inbox::default());
        let writer = inbox.clone();
        let writing = std::thread::spawn(move || (0..1000).for_each(|number| writer.put(number)));
        let (mut all, mut some) = (Vec::new(), Vec::new());
        while all.len() < 1000 {
            inbox.take(&mut some, None);
            all.append(&mut some);
        }
        writing.join().unwrap();
        assert!(all.into_iter().eq(0..1000));
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let inbox = Inbox::<u8>::default();
        let mut some = Vec::new();
        inbox.take(&mut some, Some(Instant::now() + Duration::from_millis(1)));
        assert!(some.is_empty());
    }
}
