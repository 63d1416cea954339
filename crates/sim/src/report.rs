//! How results look: text for a person, JSON for a program. Every failure comes with the command that replays it.

use crate::run::{MutantResult, Summary};
use serde_json::{Value, json};
use std::fmt;

/// The command that replays one seed.
fn replay(world: &str, seed: u64) -> String {
    format!("sternpost sim --world {world} --seeds 1 --seed {seed}")
}

impl Summary {
    /// The result for a program.
    pub fn to_json(&self) -> Value {
        let failures: Vec<Value> = self
            .failures
            .iter()
            .map(|(seed, failure)| {
                json!({
                    "seed": seed,
                    "property": failure.property,
                    "detail": failure.detail,
                    "replay": replay(self.world, *seed),
                })
            })
            .collect();
        let counters: serde_json::Map<String, Value> =
            self.counters.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
        json!({
            "world": self.world,
            "clean": self.is_clean(),
            "seeds": self.seeds,
            "failures": failures,
            "never_happened": self.missing,
            "operations": self.operations,
            "virtual_seconds": self.virtual_time.as_secs_f64(),
            "seconds": self.elapsed.as_secs_f64(),
            "trace_hash": format!("{:016x}", self.trace_hash),
            "counters": counters,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.counters)?;
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        writeln!(
            out,
            "world {}: {} seeds, {} operations, {:.0} virtual seconds in {seconds:.1} s ({:.0} x real time), trace {:016x}",
            self.world,
            self.seeds,
            self.operations,
            self.virtual_time.as_secs_f64(),
            self.virtual_time.as_secs_f64() / seconds,
            self.trace_hash,
        )?;
        for (seed, failure) in &self.failures {
            writeln!(out, "seed {seed} FAILED: {}: {}", failure.property, failure.detail)?;
            writeln!(out, "    replay: {}", replay(self.world, *seed))?;
        }
        for name in &self.missing {
            writeln!(out, "never happened, so that nothing is proved about it: {name}")?;
        }
        writeln!(out, "{}", if self.is_clean() { "clean" } else { "NOT clean" })
    }
}

impl MutantResult {
    /// The result for a program.
    pub fn to_json(&self) -> Value {
        json!({
            "world": self.world,
            "mutant": self.mutant,
            "killed": self.seeds_to_kill.is_some(),
            "seeds_to_kill": self.seeds_to_kill,
            "killed_by": self.killed_by,
        })
    }
}

impl fmt::Display for MutantResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seeds_to_kill {
            Some(seeds) => write!(out, "{:<36} killed by seed {seeds:>5}: {}", self.mutant, self.killed_by),
            None => write!(out, "{:<36} SURVIVED", self.mutant),
        }
    }
}
