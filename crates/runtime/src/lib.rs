//! The real driver of a node: tokio tasks for sockets, storage threads, the real clocks. A record's way in: `listener` →
//! `connection` (frames, decoding, validation) → `driver` → `core` (`Node::step`) → `lanes` (the WAL) → `driver` → `core` →
//! `mailbox` → `connection` → out. Messages of other nodes come and go through `peers`. Everything between two stops is bounded by a named limit.

mod clock;
mod complaint;
mod connection;
mod core;
mod counters;
mod driver;
mod gate;
mod histogram;
mod lanes;
mod listener;
mod mailbox;
mod metrics;
mod peers;
mod server;
mod volume;

/// The registry of settings, for those who gather values.
pub use broker::config as settings;
pub use driver::Ended;
pub use listener::{bind, display};
pub use metrics::CONTENT_TYPE as METRICS_CONTENT_TYPE;
pub use server::{Listeners, Observer, Server, Started, raise_descriptor_limit};
