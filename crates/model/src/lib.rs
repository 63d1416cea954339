//! The nouns of Sternpost: ids, offsets, epochs, record batches, error codes, log entries, storage jobs and
//! virtual time. Every other room speaks in these; this room knows none of them. Pure: no I/O, no clock, no
//! randomness.

pub mod batch;
pub mod buffers;
pub mod checksum;
pub mod entry;
pub mod error;
pub mod ids;
pub mod job;
pub mod limits;
pub mod name;
mod owner;
pub mod time;

pub use batch::{BatchHeader, Places, RecordFacts, StoredBatch};
pub use buffers::{Buffer, Buffers};
pub use entry::{Entry, EntryKind, HardState, LogIndex, Payload, Term};
pub use error::ErrorCode;
pub use ids::{
    DiskId, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, ShardId,
    TopicId,
};
pub use owner::{Owner, Waits};
pub use time::{Mono, Now, WallMs};
