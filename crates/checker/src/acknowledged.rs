//! Acknowledged-not-lost: each record of an acknowledged produce is in the final log of its partition, unless its
//! offset lies below a log start that someone asked for. Premise: one acknowledged record with a final read to look in.

use crate::ledger::{Ledger, Outcome};
use crate::{Property, RecordId, Verdict};
use std::collections::HashSet;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::AcknowledgedNotLost);
    let last: HashSet<(_, RecordId)> = ledger
        .finals
        .iter()
        .flat_map(|(partition, log)| log.records.iter().filter_map(|r| Some((*partition, r.record?))))
        .collect();
    for produce in &ledger.produces {
        let Outcome::Acked(base) = produce.outcome else { continue };
        let Some(log) = ledger.finals.get(&produce.partition) else {
            verdict.unjudged += produce.records.len() as u64;
            continue;
        };
        for (place, record) in produce.records.iter().enumerate() {
            let trimmed = match base {
                Some(base) => {
                    let offset = base + place as i64;
                    offset < log.log_start || ledger.is_refused(produce.partition, offset)
                }
                None => {
                    log.log_start > 0
                        || ledger.refused.iter().any(|(partition, ..)| *partition == produce.partition)
                }
            };
            let kept = last.contains(&(produce.partition, *record));
            if trimmed && !kept {
                verdict.unjudged += 1;
                continue;
            }
            verdict.premises += 1;
            if !kept {
                verdict.violation(|| {
                    format!(
                        "{record:?} acknowledged by {:?} at {base:?}+{place} of {:?} is not in the final log [{}, {})",
                        produce.op, produce.partition, log.log_start, log.high_watermark
                    )
                });
            }
        }
    }
    verdict
}
