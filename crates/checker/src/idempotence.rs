//! Idempotence: a record of an idempotent producer stands at one offset. Premise: one such record whose produce was
//! sent more than once and that a reader saw.

use crate::ledger::Ledger;
use crate::{Property, RecordId, Verdict};
use std::collections::HashMap;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::Idempotence);
    let mut places: HashMap<RecordId, i64> = HashMap::new();
    for ((partition, offset), record) in &ledger.seen {
        let Some(record) = *record else { continue };
        let Some((produce, _)) = ledger.sender(record) else { continue };
        if !produce.idempotent {
            continue;
        }
        verdict.premises += u64::from(produce.retries > 0);
        if let Some(first) = places.insert(record, *offset) {
            verdict.violation(|| {
                format!(
                    "{record:?} of idempotent {:?} stands at {partition:?} {first} and {offset}",
                    produce.producer
                )
            });
        }
    }
    verdict
}
