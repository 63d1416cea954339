//! Known-bad variants of the broker, for the simulator to kill. Off in normal use; each is one branch at the place of
//! the rule that it breaks.

use serde::{Deserialize, Serialize};

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mutant {
    /// Produce is answered when the batch is proposed, before it is durable.
    AckBeforeCommit,
    /// A duplicate of a batch in flight is answered at once instead of with that batch.
    DuplicateAckedEarly,
    /// An empty disk takes part at once where the cluster knows another one of its node.
    EmptyTakesPart,
    /// A disk whose place another one has goes on.
    ReplacedGoesOn,
    /// Sequences are not checked: a retry is appended again.
    SequenceUnchecked,
    /// Producer states are left out of checkpoints.
    ProducersForgotten,
    /// Produce answers the offset before the one that the batch has.
    OffsetMisreported,
    /// A fetch starts one batch too late.
    FetchSkipsBatch,
    /// The checkpoint says that one batch more is in the segments than there is.
    FlushSkipsBatch,
    /// The leader epoch stays as it was after a restart.
    EpochNotBumped,
    /// The log start goes back to 0 at a restart.
    LogStartForgotten,
    /// The WAL is recycled when a checkpoint starts instead of when it is durable.
    RecycleEarly,
    /// Retention takes one segment more than is too old or too many.
    RetentionOneTooMany,
    /// The deletion of a topic is answered when it is proposed, before it is durable.
    DeletionAckedEarly,
    /// What is applied depends on the node that applies it, as if that read its clock.
    ApplyReadsClock,
    /// A deleted topic's name is free at once, while nodes may still serve it.
    DeletionNotAwaited,
    /// The protocol level is raised when a majority of the nodes knows it.
    LevelOfMajority,
    /// A look-up by time misses records of exactly that time.
    TimeLookupLate,
    /// Of several partitions of a fetch the last one is never read.
    FetchStarvesLast,
    /// A replica that catches up takes the first records of a partition for all of them.
    ManifestMissesRange,
    /// What a damaged segment lacks is left out of the new one.
    MendSkipsLacking,
    /// Damage that was found is forgotten.
    DamageForgotten,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: &'static [Mutant] = &[
        Mutant::AckBeforeCommit,
        Mutant::DuplicateAckedEarly,
        Mutant::EmptyTakesPart,
        Mutant::ReplacedGoesOn,
        Mutant::SequenceUnchecked,
        Mutant::ProducersForgotten,
        Mutant::OffsetMisreported,
        Mutant::FetchSkipsBatch,
        Mutant::FlushSkipsBatch,
        Mutant::EpochNotBumped,
        Mutant::LogStartForgotten,
        Mutant::RecycleEarly,
        Mutant::RetentionOneTooMany,
        Mutant::DeletionAckedEarly,
        Mutant::ApplyReadsClock,
        Mutant::DeletionNotAwaited,
        Mutant::LevelOfMajority,
        Mutant::TimeLookupLate,
        Mutant::FetchStarvesLast,
        Mutant::ManifestMissesRange,
        Mutant::MendSkipsLacking,
        Mutant::DamageForgotten,
    ];
}
