//! What a checker says: how often its premise held, what it could not judge, and what it found broken.

use std::fmt;

/// Violations kept in words per property; the count goes on.
const DETAILS_MAX: usize = 8;

/// A promise that a history can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Every acknowledged record is in the final log, unless it was trimmed.
    AcknowledgedNotLost,
    /// Every record seen was sent to that partition, not refused, and is still there at the end.
    NoPhantom,
    /// Offsets of a partition have no gap and no repetition within what a reader gets.
    OffsetsDense,
    /// An offset always shows the same record, over restarts too.
    PrefixStable,
    /// A producer's records stand in the order it sent them.
    ProducerOrder,
    /// A record of an idempotent producer stands at one offset only.
    Idempotence,
    /// A record stands at the offset its acknowledgement named.
    AckedOffsetHolds,
    /// A reader gets only records below the high watermark told with them.
    CommittedOnly,
    /// The high watermark never goes back, nor below what was acknowledged.
    HighWatermarkNeverBack,
    /// The log start never goes back, nor beyond what someone asked to trim.
    LogStartMoves,
    /// Where retention may trim, nothing goes that is neither old enough nor beyond the size that has to stay.
    RetentionHasReason,
    /// A look-up by time finds the first record at or after it.
    TimeFindsFirst,
    /// A group's committed offset is the newest acknowledged one, never an older one.
    GroupOffsetNeverBack,
}

impl Property {
    /// Every property, in the order of reports.
    pub const ALL: &'static [Property] = &[
        Property::AcknowledgedNotLost,
        Property::NoPhantom,
        Property::OffsetsDense,
        Property::PrefixStable,
        Property::ProducerOrder,
        Property::Idempotence,
        Property::AckedOffsetHolds,
        Property::CommittedOnly,
        Property::HighWatermarkNeverBack,
        Property::LogStartMoves,
        Property::RetentionHasReason,
        Property::TimeFindsFirst,
        Property::GroupOffsetNeverBack,
    ];

    /// The name in reports and counters.
    pub fn name(self) -> &'static str {
        match self {
            Property::AcknowledgedNotLost => "acknowledged-not-lost",
            Property::NoPhantom => "no-phantom",
            Property::OffsetsDense => "offsets-dense",
            Property::PrefixStable => "prefix-stable",
            Property::ProducerOrder => "producer-order",
            Property::Idempotence => "idempotence",
            Property::AckedOffsetHolds => "acked-offset-holds",
            Property::CommittedOnly => "committed-only",
            Property::HighWatermarkNeverBack => "high-watermark-never-back",
            Property::LogStartMoves => "log-start-moves",
            Property::RetentionHasReason => "retention-has-reason",
            Property::TimeFindsFirst => "time-finds-first",
            Property::GroupOffsetNeverBack => "group-offset-never-back",
        }
    }
}

/// One property's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The property.
    pub property: Property,
    /// How often there was something to check. 0: this verdict proves nothing.
    pub premises: u64,
    /// How often something should have been checked and the history lacks what is needed.
    pub unjudged: u64,
    /// How often it was broken.
    pub violations: u64,
    /// The first violations in words.
    pub details: Vec<String>,
}

impl Verdict {
    pub(crate) fn new(property: Property) -> Verdict {
        Verdict { property, premises: 0, unjudged: 0, violations: 0, details: Vec::new() }
    }

    /// Counts one violation; `detail` is only asked for words that are kept.
    pub(crate) fn violation(&mut self, detail: impl FnOnce() -> String) {
        self.violations += 1;
        if self.details.len() < DETAILS_MAX {
            self.details.push(detail());
        }
    }
}

/// All properties' results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// One per property, in the order of [`Property::ALL`].
    pub verdicts: Vec<Verdict>,
}

impl Judgement {
    /// Whether nothing was found broken.
    pub fn is_clean(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.violations == 0)
    }

    /// The broken properties.
    pub fn broken(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.violations > 0)
    }

    /// One property's result.
    pub fn verdict(&self, property: Property) -> &Verdict {
        self.verdicts.iter().find(|verdict| verdict.property == property).expect("judged by every property")
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.verdicts {
            let word = match (verdict.violations, verdict.premises) {
                (0, 0) => "nothing to check",
                (0, _) => "holds",
                _ => "BROKEN",
            };
            writeln!(
                out,
                "{:<26} {word}: checked {}, unjudged {}, violations {}",
                verdict.property.name(),
                verdict.premises,
                verdict.unjudged,
                verdict.violations
            )?;
            verdict.details.iter().try_for_each(|detail| writeln!(out, "    {detail}"))?;
        }
        Ok(())
    }
}
