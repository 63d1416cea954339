//! Acked offset holds: the offset that an acknowledgement named shows that record. Premise: one acknowledged offset
//! that a reader saw, or that the final read covers.

use crate::ledger::{Ledger, Outcome};
use crate::{Property, Verdict};

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::AckedOffsetHolds);
    for produce in &ledger.produces {
        let Outcome::Acked(Some(base)) = produce.outcome else { continue };
        for (place, record) in produce.records.iter().enumerate() {
            let offset = base + place as i64;
            let seen = ledger.seen.get(&(produce.partition, offset));
            let read = ledger
                .finals
                .get(&produce.partition)
                .is_some_and(|log| offset >= log.log_start && !ledger.is_refused(produce.partition, offset));
            if seen.is_none() && !read {
                verdict.unjudged += 1;
                continue;
            }
            verdict.premises += 1;
            if seen != Some(&Some(*record)) {
                verdict.violation(|| {
                    format!(
                        "{:?} was told {record:?} is at {:?} {offset}, which shows {seen:?}",
                        produce.op, produce.partition
                    )
                });
            }
        }
    }
    verdict
}
