//! What happened in a world, counted by name: faults that fired, recovery branches taken, operations done. A run over
//! many seeds demands that every name it knows came up: a fault that never fires proves nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    counts: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// One more.
    pub fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// `by` more; 0 makes the name known.
    pub fn add(&mut self, name: &'static str, by: u64) {
        *self.counts.entry(name).or_default() += by;
    }

    /// How often; 0 for an unknown name.
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Adds another world's counts.
    pub fn merge(&mut self, other: &Counters) {
        other.counts.iter().for_each(|(name, count)| self.add(name, *count));
    }

    /// All counts in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }

    /// Those of `demanded` that never came up.
    pub fn missing<'a>(&self, demanded: &[&'a str]) -> Vec<&'a str> {
        demanded.iter().copied().filter(|name| self.get(name) == 0).collect()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(name, count)| writeln!(out, "{name:<44} {count:>12}"))
    }
}
