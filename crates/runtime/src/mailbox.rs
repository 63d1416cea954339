//! Where the core puts a connection's answers; the connection's task fetches them. Holds at most one answer for each of
//! the connection's unanswered requests.

use broker::Response;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Answers on their way to one connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    answers: Mutex<Vec<(u64, Response)>>,
    stirred: Notify,
    is_over: AtomicBool,
}

impl Mailbox {
    /// Adds the answer to the connection's request number `number`.
    pub fn put(&self, number: u64, response: Response) {
        let mut answers = self.answers.lock().expect("no holder of this lock panics");
        let first = answers.is_empty();
        answers.push((number, response));
        drop(answers);
        if first {
            self.stir();
        }
    }

    /// Takes all answers into `into`.
    pub fn take(&self, into: &mut Vec<(u64, Response)>) {
        let mut answers = self.answers.lock().expect("no holder of this lock panics");
        into.append(&mut answers);
    }

    /// No answer comes: the connection is to be closed.
    pub fn hang_up(&self) {
        self.is_over.store(true, Ordering::Release);
        self.stir();
    }

    /// Whether the connection is to be closed.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Makes the connection look around.
    pub fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Waits until an answer may be there, or somebody stirs.
    pub async fn stirred(&self) {
        self.stirred.notified().await;
    }
}
