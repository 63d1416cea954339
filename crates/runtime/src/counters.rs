//! What the driver counts: connections, requests by API, bytes, time in storage. Written with relaxed atomics by every
//! thread, read by `metrics`.

use crate::histogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};

/// API keys counted by name; larger ones share the last place.
pub const API_KEYS_MAX: usize = 128;

/// A number that only grows, or a level.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes away (levels only).
    pub fn remove(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything counted.
#[derive(Debug)]
pub struct Counters {
    /// Open connections (a level).
    pub connections: Count,
    /// Connections accepted so far.
    pub connections_accepted: Count,
    /// Connections closed at once because of a limit.
    pub connections_refused: Count,
    /// Connections ended because of what the client did (bad frames, time-outs).
    pub connections_broken: Count,
    /// Requests that nobody worked on because their clients had closed the connection.
    pub requests_left_out: Count,
    /// Bytes read from clients.
    pub bytes_in: Count,
    /// Bytes written to clients.
    pub bytes_out: Count,
    /// Connections to peers that this node dialled and that are open (a level).
    pub peer_connections: Count,
    /// Connections of peers that broke, or that brought what is no message.
    pub peer_connections_broken: Count,
    /// Messages to peers that found no connection or no room.
    pub peer_messages_dropped: Count,
    /// Bytes read from peers.
    pub peer_bytes_in: Count,
    /// Bytes written to peers.
    pub peer_bytes_out: Count,
    /// From a request's last byte to its answer being ready to write, by API key. The count is the number of requests.
    pub requests: Vec<Histogram>,
    /// Group commits, write and fsync.
    pub wal_append_seconds: Histogram,
    /// Checkpoints.
    pub checkpoint_seconds: Histogram,
    /// Reads from segments.
    pub read_seconds: Histogram,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            connections: Count::default(),
            connections_accepted: Count::default(),
            connections_refused: Count::default(),
            connections_broken: Count::default(),
            requests_left_out: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            peer_connections: Count::default(),
            peer_connections_broken: Count::default(),
            peer_messages_dropped: Count::default(),
            peer_bytes_in: Count::default(),
            peer_bytes_out: Count::default(),
            requests: (0..API_KEYS_MAX).map(|_| Histogram::default()).collect(),
            wal_append_seconds: Histogram::default(),
            checkpoint_seconds: Histogram::default(),
            read_seconds: Histogram::default(),
        }
    }
}

impl Counters {
    /// The histogram of an API.
    pub fn request(&self, api_key: i16) -> &Histogram {
        let at = usize::try_from(api_key).unwrap_or(usize::MAX).min(API_KEYS_MAX - 1);
        &self.requests[at]
    }
}
