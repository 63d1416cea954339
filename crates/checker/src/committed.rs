//! Committed only: no fetch returns a record at or above the high watermark it tells. Premise: one fetch with records.

use crate::ledger::Ledger;
use crate::{Property, Verdict};

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::CommittedOnly);
    for observation in &ledger.observations {
        let Some(last) = observation.records.iter().map(|seen| seen.offset).max() else { continue };
        verdict.premises += 1;
        if last >= observation.high_watermark {
            verdict.violation(|| {
                format!(
                    "{:?} returned offset {last} with high watermark {}",
                    observation.partition, observation.high_watermark
                )
            });
        }
    }
    verdict
}
