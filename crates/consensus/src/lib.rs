//! Quorum replication of one shard's log: elect, replicate, commit. Wraps the `raft` crate behind own nouns, so that the
//! library can be replaced and none of its types leaves this room.
//!
//! Stop on the walk of a record: `broker/partition/append → consensus/propose → storage/wal → (peers) →
//! consensus/commit → broker/partition/commit`. Pure: no clock, no thread, no file, no socket; randomness from a seed.
//!
//! - `group`: one replica of one shard, and the order of the driver's duties
//! - `ready`: what a group wants done
//! - `log`: the part of the log that is kept in memory, payload beside raft's own entries
//! - `message`, `translate`, `wire`: what replicas tell each other; to raft's form in memory; to bytes
//! - `members`, `membership`: who takes part, and changes of that
//! - `evidence`, `failover`: is a peer node gone? opens the vote filter and starts elections by rank
//! - `mutant`: known-bad variants for the simulator

mod config;
mod evidence;
mod failover;
mod group;
mod log;
mod members;
mod membership;
mod message;
mod mutant;
mod random;
mod ready;
mod translate;
mod wire;

#[cfg(test)]
mod tests;

pub use config::{Config, RestoreError, Restored};
pub use evidence::{Evidence, HEARTBEAT_INTERVAL, SILENCE_MAX, SILENCE_MIN, candidate_rank};
pub use failover::{CANDIDATE_STEP, Failover, NO_LEADER_PATIENCE, RETRY, RETRY_MAX};
pub use group::{Group, Halt, Position, ProposeError, StepError};
pub use members::{MEMBERS_MAX, Members, RAFT_ID_END};
pub use membership::{Change, ChangeError};
pub use message::{Body, Message, Reject};
pub use mutant::Mutant;
pub use random::Random;
pub use ready::{Read, Ready, Role, RoleChange, Snapshot};
pub use wire::{FRAME_SIZE_MAX, WireError, decode, encode};
