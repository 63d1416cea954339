//! Log start moves: it never goes back, and never beyond the highest offset that anyone asked to trim to (a loss that
//! dresses up as retention). Premise: one answer that names a log start.

use crate::ledger::Ledger;
use crate::{Property, Verdict};

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::LogStartMoves);
    for observation in &ledger.observations {
        let Some(log_start) = observation.log_start else { continue };
        verdict.premises += 1;
        if log_start < observation.log_start_floor {
            verdict.violation(|| {
                format!(
                    "{:?}: log start {log_start} after {} was told",
                    observation.partition, observation.log_start_floor
                )
            });
        }
        // Where retention may trim too, `retention.rs` asks whether it had reason to.
        if log_start > observation.trim_ceiling && !ledger.retentions.contains_key(&observation.partition) {
            verdict.violation(|| {
                format!(
                    "{:?}: log start {log_start}, and nobody asked to trim beyond {}",
                    observation.partition, observation.trim_ceiling
                )
            });
        }
    }
    verdict
}
