//! The group coordinator of one shard (classic protocol): members, generations, committed offsets.
//!
//! Two halves. The table (`table`) is changed by the log alone and is the same on every replica. The leader's view
//! (`classic` and its rules) runs ahead of the log by the proposals under way; it decides what to propose, and no
//! answer leaves before everything it may have seen is applied (`flight`). When a proposal is dropped, the view of its
//! groups is thrown away and loaded again from the table.
//!
//! Stops of a commit: `Coordinator::on_request` → `offset` → `GroupEffect::Propose` → (log) → `Coordinator::apply` →
//! `Coordinator::on_applied` → `GroupEffect::Reply`.

mod classic;
mod command;
mod config;
mod coordinator;
mod describe;
mod expiry;
mod flight;
mod identity;
mod join;
mod leadership;
mod offset;
mod opaque;
mod rebalance;
mod refusal;
mod subscription;
mod sync;
mod table;
mod timer;
mod turn;

#[cfg(test)]
mod tests;

pub use command::{CommittedOffset, GroupCommand, Membership, StoredMember, StoredPhase, Ticket};
pub use config::{GroupConfig, GroupMutant};
pub use coordinator::{Coordinator, GroupEffect};
pub use opaque::Opaque;
pub use table::{GroupTable, Offsets, StoredGroup};
