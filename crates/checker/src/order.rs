//! Order per producer. Of every producer: what it sent after an acknowledgement stands behind what was acknowledged.
//! Of an idempotent one: everything of it in a partition stands in the order it was sent. And the records of one
//! produce stand side by side. Premise: one record with a predecessor to compare with.

use crate::ledger::Ledger;
use crate::{Partition, Producer, Property, Verdict};
use std::collections::HashMap;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::ProducerOrder);
    let mut newest: HashMap<(Partition, Producer), (usize, usize)> = HashMap::new();
    let mut neighbour: Option<(Partition, i64, usize, usize)> = None;
    for ((partition, offset), record) in &ledger.seen {
        let Some(sent) = record.and_then(|record| ledger.sent.get(&record)) else {
            neighbour = None;
            continue;
        };
        let produce = &ledger.produces[sent.produce];
        if produce.own_acked_before >= 0 {
            verdict.premises += 1;
            if *offset <= produce.own_acked_before {
                verdict.violation(|| {
                    format!(
                        "{partition:?} {offset}: {record:?} was sent after its producer had offset {} acknowledged",
                        produce.own_acked_before
                    )
                });
            }
        }
        if produce.idempotent {
            let place = (sent.produce, sent.place);
            let before = newest.insert((*partition, produce.producer), place);
            verdict.premises += u64::from(before.is_some());
            if before.is_some_and(|before| before > place) {
                verdict.violation(|| {
                    format!("{partition:?} {offset}: {record:?} stands behind what its producer sent later")
                });
            }
        }
        let whole = match neighbour {
            Some((before_partition, before_offset, before, place))
                if before_partition == *partition && before_offset + 1 == *offset =>
            {
                let ended = place + 1 == ledger.produces[before].records.len();
                (before == sent.produce && sent.place == place + 1) || (ended && sent.place == 0)
            }
            _ => true,
        };
        if !whole {
            verdict.violation(|| {
                format!("{partition:?} {offset}: {record:?} is torn from the records sent with it")
            });
        }
        neighbour = Some((*partition, *offset, sent.produce, sent.place));
    }
    verdict
}
