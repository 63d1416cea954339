//! Consumers: of partitions that the caller names, and as a member of a classic group. Both fetch ahead into a short queue.

mod assigned;
mod fetcher;
mod group;
mod membership;
mod range;

pub use assigned::Assigned;
pub use fetcher::Fetched;
pub use group::{GroupConfig, GroupConsumer};

use std::time::Duration;

/// Where a partition is read from when its position is unknown or gone (Kafka: `auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The oldest record.
    Earliest,
    /// Only what comes from now on.
    Latest,
    /// Nowhere: an error.
    None,
}

/// How records are fetched; Kafka's names and defaults.
#[derive(Clone, Copy, Debug)]
pub struct FetchConfig {
    /// `fetch.max.wait.ms`.
    pub max_wait: Duration,
    /// `fetch.min.bytes`.
    pub min_bytes: i32,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
    /// `isolation.level`: whether records of open and aborted transactions are left out by the broker.
    pub read_committed: bool,
    /// What to do when a position does not exist.
    pub reset: Reset,
}

impl Default for FetchConfig {
    fn default() -> FetchConfig {
        FetchConfig {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            read_committed: false,
            reset: Reset::None,
        }
    }
}
