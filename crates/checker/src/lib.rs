//! Judges a history of client operations: what was acknowledged and lost, seen and never sent, duplicated, reordered,
//! or taken back. Each checker is a file named for its property. Pure; the simulator and the drill both use it, so it
//! knows nothing of brokers: only what a client can see. A checker that had nothing to check says so (`premises` 0).
//! Cost: O(n log n) in the number of records and events.

mod acked_offset;
mod acknowledged;
mod committed;
mod dense;
mod group_offset;
pub mod history;
mod idempotence;
mod ledger;
mod log_start;
mod order;
mod phantom;
mod prefix;
mod retention;
#[cfg(test)]
mod tests;
mod time;
mod verdict;
mod watermark;

pub use history::{Event, Group, History, Op, Partition, Producer, RecordId, SeenRecord};
pub use verdict::{Judgement, Property, Verdict};

/// Judges one history by every property. The order of the verdicts is that of [`Property::ALL`].
pub fn judge(history: &History) -> Judgement {
    let ledger = ledger::Ledger::new(history);
    let verdicts = Property::ALL
        .iter()
        .map(|property| match property {
            Property::AcknowledgedNotLost => acknowledged::check(&ledger),
            Property::NoPhantom => phantom::check(&ledger),
            Property::OffsetsDense => dense::check(&ledger),
            Property::PrefixStable => prefix::check(&ledger),
            Property::ProducerOrder => order::check(&ledger),
            Property::Idempotence => idempotence::check(&ledger),
            Property::AckedOffsetHolds => acked_offset::check(&ledger),
            Property::CommittedOnly => committed::check(&ledger),
            Property::HighWatermarkNeverBack => watermark::check(&ledger),
            Property::LogStartMoves => log_start::check(&ledger),
            Property::RetentionHasReason => retention::check(&ledger),
            Property::TimeFindsFirst => time::check(&ledger),
            Property::GroupOffsetNeverBack => group_offset::check(history),
        })
        .collect();
    Judgement { verdicts }
}
