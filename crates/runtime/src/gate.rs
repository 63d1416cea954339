//! Bytes that the whole node holds for its clients, each pool with a limit: requests that wait for their answers, frames
//! of which only a part has come, and answers that a client has not taken yet.
//!
//! At the first limit nobody is read further; it opens again by itself, because the core answers. The other two are in
//! the hands of clients, so beyond them whoever is slow is disconnected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A pool of bytes with a limit that may be exceeded by what was admitted last.
#[derive(Debug)]
pub struct Pool {
    bytes: AtomicUsize,
    bytes_max: usize,
    opened: Notify,
}

impl Pool {
    /// A pool of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Pool {
        Pool { bytes: AtomicUsize::new(0), bytes_max, opened: Notify::new() }
    }

    /// Whether there is room.
    pub fn is_open(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < self.bytes_max
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Woken when room appears. Enable it, then look at `is_open`, then wait.
    pub fn opened(&self) -> tokio::sync::futures::Notified<'_> {
        self.opened.notified()
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn remove(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "a pool never gets more back than it gave");
        if before >= self.bytes_max && before - bytes < self.bytes_max {
            self.opened.notify_waiters();
        }
    }
}

/// One holder's share of a pool; given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    pool: &'a Pool,
    bytes: usize,
}

impl<'a> Share<'a> {
    /// An empty share.
    pub fn new(pool: &'a Pool) -> Share<'a> {
        Share { pool, bytes: 0 }
    }

    /// Bytes of this share.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share this large.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.pool.add(bytes - self.bytes);
        } else if bytes < self.bytes {
            self.pool.remove(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A part of a pool that goes along with what it was taken for; given back when dropped.
#[derive(Debug)]
pub struct Held {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Held {
    /// Takes so many bytes.
    pub fn new(pool: &Arc<Pool>, bytes: usize) -> Held {
        pool.add(bytes);
        Held { pool: pool.clone(), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let pool = Pool::new(10);
        let mut one = Share::new(&pool);
        one.set(4);
        assert!(pool.is_open());
        {
            let mut other = Share::new(&pool);
            other.set(6);
            assert!(!pool.is_open());
        }
        assert_eq!(pool.held(), 4);
        one.set(0);
        assert_eq!(pool.held(), 0);
    }
}
