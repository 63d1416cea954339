//! Prefix stable: an offset shows the same record to every reader at every time. Premise: one offset seen again after
//! a restart that lay between (seeing it twice in one life is compared too, yet proves less and does not count).

use crate::ledger::Ledger;
use crate::{Partition, Property, RecordId, Verdict};
use std::collections::HashMap;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::PrefixStable);
    let mut first: HashMap<(Partition, i64), (Option<RecordId>, u32)> = HashMap::new();
    for observation in &ledger.observations {
        for seen in observation.records {
            let place = (observation.partition, seen.offset);
            let (record, restarts) = *first.entry(place).or_insert((seen.record, observation.restarts));
            if restarts < observation.restarts {
                verdict.premises += 1;
            }
            if record != seen.record {
                verdict.violation(|| format!("{place:?} showed {record:?}, later {:?}", seen.record));
            }
        }
    }
    verdict
}
