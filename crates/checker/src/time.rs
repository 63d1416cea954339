//! Time finds first: the record that a look-up by time names carries the time it tells, at or after the one asked for,
//! and no acknowledged record before it (nor, for "none", any at all) does. Premise: one look-up that a record which was
//! acknowledged before and never trimmed had to satisfy.

use crate::ledger::{Ledger, Outcome, TimeLookup};
use crate::{Property, Verdict};

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::TimeFindsFirst);
    for lookup in &ledger.lookups {
        if let Some((offset, timestamp)) = lookup.found {
            let record = ledger.seen.get(&(lookup.partition, offset)).copied().flatten();
            let carried = record.and_then(|record| {
                let (produce, place) = ledger.sender(record)?;
                produce.timestamps.get(place).copied()
            });
            let lies = carried.is_some_and(|carried| carried != timestamp);
            if timestamp < lookup.timestamp
                || (lies && !is_behind_cut_batch(ledger, lookup, offset, timestamp))
            {
                verdict.violation(|| {
                    format!(
                        "{:?}: the first record since {} is said to be {offset} of {timestamp}, which carries {carried:?}",
                        lookup.partition, lookup.timestamp
                    )
                });
            }
        }
        // What was trimmed at any time may have been gone when the question came.
        let retained = ledger.finals.get(&lookup.partition).map(|log| log.log_start);
        let floor = match (ledger.retentions.contains_key(&lookup.partition), retained) {
            (false, retained) => lookup.trim_ceiling.min(retained.unwrap_or(i64::MAX)),
            (true, Some(retained)) => retained,
            (true, None) => {
                verdict.unjudged += 1;
                continue;
            }
        };
        let end = lookup.found.map_or(i64::MAX, |(offset, _)| offset);
        let known = ledger.produces.iter().filter(|produce| {
            produce.partition == lookup.partition && produce.acked_at.is_some_and(|at| at < lookup.asked_at)
        });
        let mut first = i64::MAX;
        for produce in known {
            let Outcome::Acked(Some(base)) = produce.outcome else { continue };
            let fits = produce
                .timestamps
                .iter()
                .zip(base..)
                .find(|(timestamp, offset)| **timestamp >= lookup.timestamp && *offset >= floor);
            first = first.min(fits.map_or(i64::MAX, |(_, offset)| offset));
        }
        verdict.premises += u64::from(first < i64::MAX);
        if first < end {
            verdict.violation(|| {
                format!(
                    "{:?}: asked for the first record since {}, told {:?}, and {first} was acknowledged before",
                    lookup.partition, lookup.timestamp, lookup.found
                )
            });
        }
    }
    verdict
}

/// Whether the answer names the place behind a batch that a trim cut, with that batch's largest time: nothing before it
/// is missed, and the record there carries a time of its own.
fn is_behind_cut_batch(ledger: &Ledger<'_>, lookup: &TimeLookup, offset: i64, timestamp: i64) -> bool {
    ledger.produces.iter().any(|produce| {
        let first = offset - produce.records.len() as i64;
        // Nobody knows where copies of a plain produce stand that was sent again, nor whether one of unknown end stands.
        let stands = || match produce.outcome {
            Outcome::Acked(Some(base)) => base == first || (!produce.idempotent && produce.retries > 0),
            Outcome::Acked(None) | Outcome::Indeterminate => true,
            Outcome::Failed => false,
        };
        produce.partition == lookup.partition
            && first < lookup.trim_ceiling
            && produce.timestamps.iter().max() == Some(&timestamp)
            && stands()
    })
}

#[cfg(test)]
mod tests {
    use crate::tests::produce_stamped;
    use crate::{Event, History, Op, Partition, Property, RecordId, SeenRecord, judge};

    /// Records of times 10, 12, 11 and 20 at offsets 0 to 3, then one look-up.
    fn violations(timestamp: i64, found: Option<(i64, i64)>) -> u64 {
        let mut history = History::default();
        let partition = Partition(0);
        produce_stamped(&mut history, 1, 0, [10, 12]);
        produce_stamped(&mut history, 2, 2, [11, 20]);
        history.push(Event::TimeSought { op: Op(9), partition, timestamp });
        history.push(Event::TimeFound { op: Op(9), found });
        let records = (0..4).map(|at| SeenRecord { offset: at, record: Some(RecordId(2 + at as u64)) });
        let records = records.collect();
        history.push(Event::FinalLog { partition, log_start: 0, high_watermark: 4, records });
        judge(&history).verdict(Property::TimeFindsFirst).violations
    }

    #[test]
    fn the_first_record_at_or_after_a_time_is_the_answer() {
        for (timestamp, offset, told) in [(0, 0, 10), (10, 0, 10), (11, 1, 12), (12, 1, 12), (13, 3, 20)] {
            assert_eq!(violations(timestamp, Some((offset, told))), 0, "first since {timestamp}");
        }
        assert_eq!(violations(21, None), 0);
        assert_eq!(violations(11, Some((2, 11))), 1, "1 was before");
        assert_eq!(violations(20, None), 1, "3 was there");
        assert_eq!(violations(11, Some((1, 11))), 1, "1 carries 12");
        assert_eq!(violations(13, Some((1, 12))), 1, "12 is not after 13");
    }
}
