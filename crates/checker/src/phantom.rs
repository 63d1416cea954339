//! No phantom: a record that a reader saw was sent to that partition before, was not refused for good, and did not
//! vanish: the final log still has it at its offset unless trimmed. Premise: one record seen.

use crate::ledger::{Ledger, Outcome};
use crate::{Partition, Property, RecordId, Verdict};
use std::collections::HashSet;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::NoPhantom);
    let last: HashSet<(Partition, i64)> = ledger
        .finals
        .iter()
        .flat_map(|(partition, log)| log.records.iter().map(|seen| (*partition, seen.offset)))
        .collect();
    for observation in &ledger.observations {
        for seen in observation.records {
            verdict.premises += 1;
            let place = (observation.partition, seen.offset);
            let Some((record, (produce, _))) =
                seen.record.and_then(|record| Some((record, ledger.sender(record)?)))
            else {
                verdict.violation(|| format!("{place:?} shows {:?}, which nobody sent", seen.record));
                continue;
            };
            if produce.partition != observation.partition {
                verdict.violation(|| {
                    format!("{place:?} shows {record:?}, which was sent to {:?}", produce.partition)
                });
            } else if produce.invoked_at > observation.at {
                verdict.violation(|| format!("{place:?} shows {record:?} before it was sent"));
            } else if produce.outcome == Outcome::Failed {
                verdict.violation(|| format!("{place:?} shows {record:?} of {:?}, which failed", produce.op));
            }
        }
    }
    for ((partition, offset), record) in &ledger.seen {
        if let Some(log) = ledger.finals.get(partition)
            && *offset >= log.log_start
            && !last.contains(&(*partition, *offset))
            && !ledger.is_refused(*partition, *offset)
        {
            vanished(&mut verdict, *partition, *offset, *record);
        }
    }
    verdict
}

fn vanished(verdict: &mut Verdict, partition: Partition, offset: i64, record: Option<RecordId>) {
    verdict
        .violation(|| format!("{record:?} was seen at {partition:?} {offset} and is not in the final log"));
}
