//! High watermark never back: a fetch sent after someone was told a high watermark, or had a produce acknowledged,
//! is told at least that much. Premise: one answer with such a floor.

use crate::ledger::Ledger;
use crate::{Property, Verdict};

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::HighWatermarkNeverBack);
    for observation in &ledger.observations {
        if observation.watermark_floor == 0 {
            continue;
        }
        verdict.premises += 1;
        if observation.high_watermark < observation.watermark_floor {
            verdict.violation(|| {
                format!(
                    "{:?} (event {}) was told high watermark {} after {} was known",
                    observation.partition,
                    observation.at,
                    observation.high_watermark,
                    observation.watermark_floor
                )
            });
        }
    }
    verdict
}
