//! What one seed of a world gives: the hash of all that happened, counts, and the first thing that was wrong.

use crate::counters::Counters;

/// A promise that did not hold in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the property.
    pub property: String,
    /// What was seen, for a person.
    pub detail: String,
}

impl Failure {
    /// A broken property in words.
    pub fn new(property: impl Into<String>, detail: impl Into<String>) -> Failure {
        Failure { property: property.into(), detail: detail.into() }
    }
}

/// One seed's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash of everything that happened; equal for two runs of a seed.
    pub trace_hash: u64,
    /// Operations that clients (or the stand-in for the core) completed.
    pub operations: u64,
    /// Virtual time that passed, nanoseconds.
    pub virtual_nanos: u64,
    /// What the nodes logged, at which virtual time, in order; only whole nodes have a log.
    pub log: Vec<String>,
    /// Faults, recovery branches, checker premises.
    pub counters: Counters,
    /// The first broken promise; `None` for a clean world.
    pub failure: Option<Failure>,
}
