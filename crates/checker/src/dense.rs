//! Offsets dense and monotonic: what one fetch returns counts up by one, and the final log holds every offset from its
//! start to its high watermark. Premise: two neighbours in one answer, or one final read.

use crate::Property;
use crate::Verdict;
use crate::ledger::Ledger;

pub fn check(ledger: &Ledger<'_>) -> Verdict {
    let mut verdict = Verdict::new(Property::OffsetsDense);
    for observation in &ledger.observations {
        for pair in observation.records.windows(2) {
            verdict.premises += 1;
            let (next, behind) = (pair[0].offset + 1, pair[1].offset);
            if behind != next + ledger.refused_between(observation.partition, next, behind) {
                verdict.violation(|| {
                    format!("{:?}: {} follows {}", observation.partition, pair[1].offset, pair[0].offset)
                });
            }
        }
    }
    for (partition, log) in &ledger.finals {
        verdict.premises += 1;
        let first = log.records.first().map_or(log.high_watermark, |record| record.offset);
        let end = log.records.last().map_or(log.log_start, |record| record.offset + 1);
        let before = ledger.refused_between(*partition, log.log_start, first);
        let behind = ledger.refused_between(*partition, end, log.high_watermark);
        if first - before != log.log_start || end + behind != log.high_watermark {
            verdict.violation(|| {
                format!(
                    "{partition:?}: the final log claims [{}, {}) and holds [{first}, {end})",
                    log.log_start, log.high_watermark
                )
            });
        }
    }
    verdict
}
