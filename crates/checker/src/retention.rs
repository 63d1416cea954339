//! Retention has reason: where records may go by age or by size, every acknowledged record below a log start was either
//! asked to be trimmed, or too old by the latest the node's clock ever showed, or lay below so many bytes as have to
//! stay. Premise: one log start that nobody asked for.

use crate::history::Partition;
use crate::ledger::{Ledger, Observation, Outcome, Produce, Retention};
use crate::{Property, Verdict};
use std::collections::{BTreeMap, HashMap};

/// Where copies of each produce were seen, first offsets.
type Places = HashMap<usize, Vec<i64>>;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::RetentionHasReason);
    if ledger.retentions.is_empty() {
        return verdict;
    }
    let places = places(ledger);
    let mut judged: BTreeMap<Partition, i64> = BTreeMap::new();
    for observation in &ledger.observations {
        let Some(retention) = ledger.retentions.get(&observation.partition) else { continue };
        let Some(log_start) = observation.log_start else { continue };
        let before = judged.entry(observation.partition).or_default();
        if log_start <= observation.trim_ceiling.max(*before) {
            continue;
        }
        // The first to see a log start saw it at the earliest time: nothing that came later can have been its reason.
        *before = log_start;
        verdict.premises += 1;
        judge(ledger, observation, log_start, retention, &places, &mut verdict);
    }
    verdict
}

fn places(ledger: &Ledger<'_>) -> Places {
    let mut places = Places::new();
    for (index, produce) in ledger.produces.iter().enumerate() {
        if let Outcome::Acked(Some(base)) = produce.outcome {
            places.entry(index).or_default().push(base);
        }
    }
    for ((_, offset), record) in &ledger.seen {
        let Some(sent) = record.and_then(|record| ledger.sent.get(&record)) else { continue };
        let found = places.entry(sent.produce).or_default();
        let base = offset - sent.place as i64;
        if !found.contains(&base) {
            found.push(base);
        }
    }
    places
}

fn judge(
    ledger: &Ledger<'_>,
    observation: &Observation<'_>,
    log_start: i64,
    retention: &Retention,
    places: &Places,
    verdict: &mut Verdict,
) {
    let here = || {
        let sent = ledger.produces.iter().enumerate();
        sent.filter(|(_, produce)| {
            produce.partition == observation.partition && produce.invoked_at < observation.at
        })
    };
    if let Some(bytes) = retention.bytes {
        let most: u64 = here().map(|(index, produce)| above(produce, places.get(&index), log_start)).sum();
        if most >= bytes {
            return;
        }
    }
    for (_, produce) in here() {
        let Outcome::Acked(Some(base)) = produce.outcome else { continue };
        for (place, timestamp) in produce.timestamps.iter().enumerate() {
            let offset = base + place as i64;
            let gone = offset >= observation.trim_ceiling && offset < log_start;
            let old = retention
                .millis
                .is_some_and(|millis| observation.clock_ms.saturating_sub(*timestamp) > millis);
            if gone && !old {
                verdict.violation(|| {
                    format!(
                        "{:?} {offset} of time {timestamp} is gone below log start {log_start} at {}, with {retention:?}",
                        observation.partition, observation.clock_ms
                    )
                });
                return;
            }
        }
    }
}

/// Bytes that a produce may have at or above an offset: copies seen there, and copies that nobody saw.
fn above(produce: &Produce<'_>, places: Option<&Vec<i64>>, offset: i64) -> u64 {
    let known = places.map_or(0, |places| places.len() as u64);
    let there = places.map_or(0, |places| places.iter().filter(|base| **base >= offset).count() as u64);
    let copies = if produce.idempotent { 1 } else { 1 + produce.retries };
    produce.bytes * (there + copies.saturating_sub(known))
}

#[cfg(test)]
mod tests {
    use crate::tests::produce_stamped;
    use crate::{Event, History, Op, Partition, Property, judge};

    /// Two batches of 100 bytes, of times 10 and 20; then a log start is told, at a time of the node's clock.
    fn violations(log_start: i64, clock_ms: i64, millis: Option<i64>, bytes: Option<u64>) -> (u64, u64) {
        let mut history = History::default();
        let partition = Partition(0);
        history.push(Event::RetentionSet { partition, millis, bytes });
        produce_stamped(&mut history, 1, 0, [10, 10]);
        produce_stamped(&mut history, 2, 2, [20, 20]);
        history.push(Event::FetchInvoked { op: Op(9), partition, node: None });
        history.push(Event::NodeClock { wall_ms: clock_ms });
        let records = Vec::new();
        history.push(Event::Fetched { op: Op(9), high_watermark: 4, log_start: Some(log_start), records });
        let judgement = judge(&history);
        let verdict = judgement.verdict(Property::RetentionHasReason);
        (verdict.premises, verdict.violations)
    }

    #[test]
    fn records_go_when_they_are_old_or_too_many() {
        assert_eq!(violations(0, 1_000, Some(5), None), (0, 0), "nothing went");
        assert_eq!(violations(2, 16, Some(5), None), (1, 0), "the first batch is older than 5 ms");
        assert_eq!(violations(2, 15, Some(5), None), (1, 1), "it is not yet");
        assert_eq!(violations(4, 16, Some(5), None), (1, 1), "the second one is not");
        assert_eq!(violations(2, 0, None, Some(100)), (1, 0), "100 bytes stay");
        assert_eq!(violations(2, 0, None, Some(101)), (1, 1), "101 do not");
        assert_eq!(violations(4, 0, None, Some(100)), (1, 1), "nothing stays");
    }
}
