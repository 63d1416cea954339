//! Each checker finds the lie it is there for, in histories of an honest log that were doctored by one event; none
//! finds anything in the honest ones. The table is printed (`cargo test -p checker -- --nocapture`).

use crate::*;

/// A small linear congruential source: the checkers need variety, not quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// One batch of two records with these timestamps, acknowledged at `base`.
pub(crate) fn produce_stamped(history: &mut History, number: u64, base: i64, timestamps: [i64; 2]) {
    let (op, records) = (Op(number), vec![RecordId(2 * number), RecordId(2 * number + 1)]);
    let (producer, partition) = (Producer(0), Partition(0));
    history.push(Event::ProduceInvoked { op, producer, idempotent: true, partition, records });
    history.push(Event::Stamped { op, timestamps: timestamps.to_vec(), bytes: 100 });
    history.push(Event::ProduceAcked { op, base_offset: Some(base) });
}

/// An honest log with clients around it; writes the history as it happens.
struct Honest {
    dice: Dice,
    history: History,
    logs: [Vec<RecordId>; 2],
    starts: [i64; 2],
    committed: i64,
    next: u64,
}

impl Honest {
    fn run(seed: u64, steps: u32) -> History {
        let mut honest = Honest {
            dice: Dice(seed),
            history: History::default(),
            logs: Default::default(),
            starts: [0; 2],
            committed: 0,
            next: 0,
        };
        for _ in 0..steps {
            match honest.dice.roll(12) {
                0..5 => honest.produce(),
                5..8 => honest.fetch(),
                8 => honest.commit(),
                9 => honest.offset_fetch(),
                10 => honest.history.push(Event::Restarted),
                _ => honest.trim(),
            }
        }
        for log in 0..2u32 {
            let (records, high_watermark) = honest.slice(log, honest.starts[log as usize], usize::MAX);
            let log_start = honest.starts[log as usize];
            honest.history.push(Event::FinalLog {
                partition: Partition(log),
                log_start,
                high_watermark,
                records,
            });
        }
        honest.history
    }

    fn op(&mut self) -> Op {
        self.next += 1;
        Op(self.next)
    }

    fn slice(&self, log: u32, from: i64, count: usize) -> (Vec<SeenRecord>, i64) {
        let log = &self.logs[log as usize];
        let records = log.iter().enumerate().skip(from as usize).take(count);
        let seen = records.map(|(i, record)| SeenRecord { offset: i as i64, record: Some(*record) });
        (seen.collect(), log.len() as i64)
    }

    /// A plain producer (0) may stand twice when its answer was lost; an idempotent one (1) stands once.
    fn produce(&mut self) {
        let (op, log, producer) = (self.op(), self.dice.roll(2) as u32, self.dice.roll(2) as u32);
        let count = 1 + self.dice.roll(3);
        let records: Vec<RecordId> = (0..count).map(|i| RecordId(self.next * 10 + i)).collect();
        let partition = Partition(log);
        self.history.push(Event::ProduceInvoked {
            op,
            producer: Producer(producer),
            idempotent: producer == 1,
            partition,
            records: records.clone(),
        });
        let mut base_offset = Some(self.logs[log as usize].len() as i64);
        match self.dice.roll(8) {
            0 => self.history.push(Event::ProduceFailed { op }),
            1 => {
                if self.dice.roll(2) == 0 {
                    self.logs[log as usize].extend(&records);
                }
                self.history.push(Event::ProduceIndeterminate { op });
            }
            2 => {
                self.logs[log as usize].extend(&records);
                self.history.push(Event::ProduceRetried { op });
                if producer == 0 {
                    base_offset = Some(self.logs[log as usize].len() as i64);
                    self.logs[log as usize].extend(&records);
                }
                self.history.push(Event::ProduceAcked { op, base_offset });
            }
            _ => {
                self.logs[log as usize].extend(&records);
                self.history.push(Event::ProduceAcked { op, base_offset });
            }
        }
    }

    fn fetch(&mut self) {
        let (op, log) = (self.op(), self.dice.roll(2) as u32);
        self.history.push(Event::FetchInvoked { op, partition: Partition(log), node: None });
        let start = self.starts[log as usize];
        let length = self.logs[log as usize].len() as u64 - start as u64;
        let from = start + self.dice.roll(length + 1) as i64;
        let (records, high_watermark) = self.slice(log, from, 5);
        self.history.push(Event::Fetched { op, high_watermark, log_start: Some(start), records });
    }

    fn commit(&mut self) {
        let op = self.op();
        self.committed += 1 + self.dice.roll(3) as i64;
        let (group, partition, offset) = (Group(0), Partition(0), self.committed);
        self.history.push(Event::CommitInvoked { op, group, partition, offset });
        self.history.push(Event::CommitAcked { op });
    }

    fn offset_fetch(&mut self) {
        let op = self.op();
        self.history.push(Event::OffsetFetchInvoked { op, group: Group(0), partition: Partition(0) });
        let offset = (self.committed > 0).then_some(self.committed);
        self.history.push(Event::OffsetFetched { op, offset });
    }

    fn trim(&mut self) {
        let log = self.dice.roll(2) as usize;
        let before = self.starts[log] + self.dice.roll(3) as i64;
        if before < self.logs[log].len() as i64 {
            self.history.push(Event::TrimInvoked { partition: Partition(log as u32), before });
            self.starts[log] = before;
        }
    }
}

/// Judged in small histories beside the checkers: the honest log here knows neither times nor retention.
const OF_THEIR_OWN: [Property; 2] = [Property::RetentionHasReason, Property::TimeFindsFirst];

/// A lie: changes one thing in an honest history, or says that this history has no place for it.
struct Lie {
    name: &'static str,
    breaks: Property,
    tell: fn(&mut Vec<Event>) -> Option<()>,
}

fn final_records(events: &mut [Event]) -> Option<(&mut Vec<SeenRecord>, &mut i64)> {
    events.iter_mut().rev().find_map(|event| match event {
        Event::FinalLog { records, high_watermark, .. } if records.len() > 3 => {
            Some((records, high_watermark))
        }
        _ => None,
    })
}

/// The last fetch with at least `count` records.
fn fetched(events: &mut [Event], count: usize) -> Option<(&mut Vec<SeenRecord>, &mut i64)> {
    events.iter_mut().rev().find_map(|event| match event {
        Event::Fetched { records, high_watermark, .. } if records.len() >= count => {
            Some((records, high_watermark))
        }
        _ => None,
    })
}

fn acked_record(events: &[Event], idempotent: bool) -> Option<(Partition, i64)> {
    let of: std::collections::HashMap<Op, Partition> = events
        .iter()
        .filter_map(|event| match event {
            Event::ProduceInvoked { op, partition, idempotent: is, .. } if *is == idempotent => {
                Some((*op, *partition))
            }
            _ => None,
        })
        .collect();
    events.iter().rev().find_map(|event| match event {
        Event::ProduceAcked { op, base_offset: Some(base) } => Some((*of.get(op)?, *base)),
        _ => None,
    })
}

/// Takes the offsets from `from` on of the partition out of everything seen.
fn cut(events: &mut [Event], cut: Partition, from: i64) {
    let mut partition_of = std::collections::HashMap::new();
    for event in events {
        match event {
            Event::FetchInvoked { op, partition, .. } => {
                partition_of.insert(*op, *partition);
            }
            Event::Fetched { op, records, .. } if partition_of.get(op) == Some(&cut) => {
                records.retain(|seen| seen.offset < from);
            }
            Event::FinalLog { partition, records, high_watermark, .. } if *partition == cut => {
                records.retain(|seen| seen.offset < from);
                *high_watermark = (*high_watermark).min(from);
            }
            _ => {}
        }
    }
}

const LIES: &[Lie] = &[
    Lie {
        name: "the log's end with an acknowledged record is gone",
        breaks: Property::AcknowledgedNotLost,
        tell: |events| {
            let (partition, base) = acked_record(events, true)?;
            cut(events, partition, base);
            Some(())
        },
    },
    Lie {
        name: "an acknowledged record was replaced by another's copy",
        breaks: Property::AcknowledgedNotLost,
        tell: |events| {
            let (partition, base) = acked_record(events, true)?;
            let records = events.iter_mut().rev().find_map(|event| match event {
                Event::FinalLog { records, partition: p, .. } if *p == partition => Some(records),
                _ => None,
            })?;
            let at = records.iter().position(|seen| seen.offset == base)?;
            records[at].record = records[at.checked_sub(1)?].record;
            Some(())
        },
    },
    Lie {
        name: "a record that nobody sent",
        breaks: Property::NoPhantom,
        tell: |events| {
            final_records(events)?.0[1].record = Some(RecordId(u64::MAX));
            Some(())
        },
    },
    Lie {
        name: "bytes that are no record",
        breaks: Property::NoPhantom,
        tell: |events| {
            fetched(events, 1)?.0[0].record = None;
            Some(())
        },
    },
    Lie {
        name: "seen at the end, then vanished",
        breaks: Property::NoPhantom,
        tell: |events| {
            let (records, high_watermark) = final_records(events)?;
            let gone = records.pop()?;
            *high_watermark -= 1;
            fetched(events, 1)?.0.push(gone);
            Some(())
        },
    },
    Lie {
        name: "a refused produce is visible",
        breaks: Property::NoPhantom,
        tell: |events| {
            let op = events.iter().find_map(|event| match event {
                Event::ProduceAcked { op, base_offset: Some(base) } if *base > 12 => Some(*op),
                _ => None,
            })?;
            for event in events {
                if matches!(event, Event::ProduceAcked { op: acked, .. } if *acked == op) {
                    *event = Event::ProduceFailed { op };
                }
            }
            Some(())
        },
    },
    Lie {
        name: "a record of another partition",
        breaks: Property::NoPhantom,
        tell: |events| {
            let mut finals = events.iter_mut().filter_map(|event| match event {
                Event::FinalLog { records, .. } if !records.is_empty() => Some(records),
                _ => None,
            });
            let (one, two) = (finals.next()?, finals.next()?);
            one[0].record = two[0].record;
            Some(())
        },
    },
    Lie {
        name: "a record seen before it was sent",
        breaks: Property::NoPhantom,
        tell: |events| {
            let seen = events.iter().find_map(|event| match event {
                Event::Fetched { records, .. } => records.last().copied(),
                _ => None,
            })?;
            let sent = events.iter().position(|event| {
                matches!(event, Event::ProduceInvoked { records, .. } if records.contains(&seen.record.expect("honest")))
            })?;
            let event = events.remove(sent);
            let Event::ProduceInvoked { op, .. } = &event else { return None };
            let op = *op;
            events.retain(|event| {
                !matches!(event, Event::ProduceAcked { op: o, .. } | Event::ProduceRetried { op: o }
                    | Event::ProduceFailed { op: o } | Event::ProduceIndeterminate { op: o } if *o == op)
            });
            let end = events.len() - 2;
            events.insert(end, event);
            Some(())
        },
    },
    Lie {
        name: "an offset is skipped",
        breaks: Property::OffsetsDense,
        tell: |events| {
            fetched(events, 3)?.0.remove(1);
            Some(())
        },
    },
    Lie {
        name: "an offset is given twice",
        breaks: Property::OffsetsDense,
        tell: |events| {
            let (records, _) = final_records(events)?;
            records[2].offset = records[1].offset;
            Some(())
        },
    },
    Lie {
        name: "the final log ends before its high watermark",
        breaks: Property::OffsetsDense,
        tell: |events| {
            final_records(events)?.0.pop();
            Some(())
        },
    },
    Lie {
        name: "an offset shows another record after a restart",
        breaks: Property::PrefixStable,
        tell: |events| {
            let restart = events.iter().rposition(|event| *event == Event::Restarted)?;
            let seen = events[..restart].iter().rev().find_map(|event| match event {
                Event::Fetched { records, .. } => records.first().copied(),
                _ => None,
            })?;
            let before = events[..restart].iter_mut().rev().find_map(|event| match event {
                Event::Fetched { records, .. } if records.first() == Some(&seen) => records.first_mut(),
                _ => None,
            })?;
            before.record = Some(RecordId(seen.record?.0 + 1));
            // Only where the partition's first records are not trimmed away is there a second sighting.
            events.iter().rev().take(2).find_map(|event| match event {
                Event::FinalLog { records, .. } if records.contains(&seen) => Some(()),
                _ => None,
            })
        },
    },
    Lie {
        name: "an idempotent producer's records swapped",
        breaks: Property::ProducerOrder,
        tell: |events| {
            let own: std::collections::HashSet<RecordId> = events
                .iter()
                .filter_map(|event| match event {
                    Event::ProduceInvoked { idempotent: true, records, .. } => Some(records.clone()),
                    _ => None,
                })
                .flatten()
                .collect();
            let (records, _) = final_records(events)?;
            let mut at =
                (0..records.len()).filter(|i| records[*i].record.is_some_and(|record| own.contains(&record)));
            let (one, two) = (at.next()?, at.next()?);
            let other = records[two].record;
            records[two].record = std::mem::replace(&mut records[one].record, other);
            let cut = events.len() - 2;
            events.retain({
                let mut i = 0;
                move |event| {
                    i += 1;
                    i > cut || !matches!(event, Event::Fetched { .. } | Event::FetchInvoked { .. })
                }
            });
            Some(())
        },
    },
    Lie {
        name: "a later produce stands before what was acknowledged",
        breaks: Property::ProducerOrder,
        tell: |events| {
            let at = events.iter().position(
                |event| matches!(event, Event::ProduceAcked { base_offset: Some(base), .. } if *base < 4),
            )?;
            if let Event::ProduceAcked { base_offset, .. } = &mut events[at] {
                *base_offset = Some(10_000);
            }
            Some(())
        },
    },
    Lie {
        name: "one produce torn by another's record",
        breaks: Property::ProducerOrder,
        tell: |events| {
            events.retain(|event| !matches!(event, Event::Fetched { .. } | Event::FetchInvoked { .. }));
            let whole = events.iter().rev().find_map(|event| match event {
                Event::ProduceInvoked { records, .. } if records.len() == 3 => Some(records.clone()),
                _ => None,
            })?;
            let (records, _) = final_records(events)?;
            let at = records.iter().position(|seen| seen.record == Some(whole[1]))?;
            let other = records.first()?.record;
            records[at].record = other;
            (at > 1).then_some(())
        },
    },
    Lie {
        name: "an idempotent produce stands twice",
        breaks: Property::Idempotence,
        tell: |events| {
            let (partition, base) = acked_record(events, true)?;
            for event in events {
                if let Event::FinalLog { partition: p, records, high_watermark, .. } = event
                    && *p == partition
                {
                    let copy = records.iter().find(|seen| seen.offset == base)?.record;
                    records.push(SeenRecord { offset: *high_watermark, record: copy });
                    *high_watermark += 1;
                }
            }
            Some(())
        },
    },
    Lie {
        name: "the acknowledgement named another offset",
        breaks: Property::AckedOffsetHolds,
        tell: |events| {
            events.iter_mut().rev().find_map(|event| match event {
                Event::ProduceAcked { base_offset: Some(base), .. } if *base > 8 => {
                    *base += 1;
                    Some(())
                }
                _ => None,
            })
        },
    },
    Lie {
        name: "records above the high watermark",
        breaks: Property::CommittedOnly,
        tell: |events| {
            let (records, high_watermark) = fetched(events, 2)?;
            *high_watermark = records.last()?.offset;
            Some(())
        },
    },
    Lie {
        name: "the high watermark went back",
        breaks: Property::HighWatermarkNeverBack,
        tell: |events| {
            let at = events.iter().rposition(|event| matches!(event, Event::Fetched { .. }))?;
            let Event::Fetched { op, high_watermark, .. } = events[at] else { return None };
            let partition = events.iter().find_map(|event| match event {
                Event::FetchInvoked { op: asked, partition, .. } if *asked == op => Some(*partition),
                _ => None,
            })?;
            let op = Op(u64::MAX);
            let high_watermark = (high_watermark > 0).then_some(high_watermark - 1)?;
            let answer = Event::Fetched { op, high_watermark, log_start: None, records: Vec::new() };
            events.splice(at + 1..at + 1, [Event::FetchInvoked { op, partition, node: None }, answer]);
            Some(())
        },
    },
    Lie {
        name: "the log start hides a loss",
        breaks: Property::LogStartMoves,
        tell: |events| {
            events.iter_mut().rev().find_map(|event| match event {
                Event::FinalLog { log_start, high_watermark, records, .. } if !records.is_empty() => {
                    *log_start = *high_watermark;
                    records.clear();
                    Some(())
                }
                _ => None,
            })
        },
    },
    Lie {
        name: "the log start went back",
        breaks: Property::LogStartMoves,
        tell: |events| {
            let at = events
                .iter()
                .rposition(|event| matches!(event, Event::FinalLog { log_start, .. } if *log_start > 0))?;
            let Event::FinalLog { partition, log_start, high_watermark, .. } = &mut events[at] else {
                return None;
            };
            let (op, partition, high_watermark) = (Op(u64::MAX), *partition, *high_watermark);
            let told = Some(std::mem::replace(log_start, 0));
            let answer = Event::Fetched { op, high_watermark, log_start: told, records: Vec::new() };
            events.splice(at..at, [Event::FetchInvoked { op, partition, node: None }, answer]);
            Some(())
        },
    },
    Lie {
        name: "a group's offset went back to an older commit",
        breaks: Property::GroupOffsetNeverBack,
        tell: |events| {
            let values: Vec<i64> = events
                .iter()
                .filter_map(|event| match event {
                    Event::CommitInvoked { offset, .. } => Some(*offset),
                    _ => None,
                })
                .collect();
            events.iter_mut().rev().find_map(|event| match event {
                Event::OffsetFetched { offset: Some(offset), .. } => {
                    *offset = *values.iter().rev().find(|value| **value < *offset)?;
                    Some(())
                }
                _ => None,
            })
        },
    },
    Lie {
        name: "a group's offset was forgotten",
        breaks: Property::GroupOffsetNeverBack,
        tell: |events| {
            events.iter_mut().rev().find_map(|event| match event {
                Event::OffsetFetched { offset, .. } if offset.is_some() => {
                    *offset = None;
                    Some(())
                }
                _ => None,
            })
        },
    },
    Lie {
        name: "a group's offset that nobody committed",
        breaks: Property::GroupOffsetNeverBack,
        tell: |events| {
            events.iter_mut().rev().find_map(|event| match event {
                Event::OffsetFetched { offset: Some(offset), .. } => {
                    *offset += 1_000_000;
                    Some(())
                }
                _ => None,
            })
        },
    },
];

#[test]
fn honest_histories_are_clean_and_every_premise_fires() {
    let mut premises = vec![0; Property::ALL.len()];
    for seed in 0..300 {
        let judgement = judge(&Honest::run(seed, 120));
        assert!(judgement.is_clean(), "seed {seed}\n{judgement}");
        for (sum, verdict) in premises.iter_mut().zip(&judgement.verdicts) {
            *sum += verdict.premises;
        }
    }
    for (property, premises) in Property::ALL.iter().zip(premises) {
        if OF_THEIR_OWN.contains(property) {
            continue;
        }
        println!("{:<26} {premises} premises in 300 honest histories", property.name());
        assert!(premises > 0, "{property:?} never had anything to check");
    }
}

#[test]
fn every_lie_is_found_wherever_it_can_be_told() {
    let mut bad = false;
    for lie in LIES {
        let (mut told, mut found) = (0, 0);
        for seed in 0..100 {
            let mut history = Honest::run(seed, 120);
            if (lie.tell)(history.events_mut()).is_some() {
                told += 1;
                found += u32::from(judge(&history).verdict(lie.breaks).violations > 0);
            }
        }
        println!("{:<26} {found:>3} of {told:>3} found: {}", lie.breaks.name(), lie.name);
        bad |= told <= 10 || found != told;
    }
    assert!(!bad, "a lie of the table was missed or could hardly be told");
    for property in Property::ALL.iter().filter(|property| !OF_THEIR_OWN.contains(property)) {
        assert!(LIES.iter().any(|lie| lie.breaks == *property), "no lie proves {property:?}");
    }
}

#[test]
fn an_empty_history_checks_nothing_and_says_so() {
    let judgement = judge(&History::default());
    assert!(judgement.is_clean());
    assert!(judgement.verdicts.iter().all(|verdict| verdict.premises == 0));
    assert!(judgement.to_string().contains("nothing to check"));
}

#[test]
fn acknowledged_without_a_final_read_is_unjudged_not_clean() {
    let mut history = History::default();
    let (op, partition) = (Op(1), Partition(0));
    let records = vec![RecordId(1), RecordId(2)];
    history.push(Event::ProduceInvoked { op, producer: Producer(0), idempotent: true, partition, records });
    history.push(Event::ProduceAcked { op, base_offset: Some(0) });
    assert_eq!(judge(&history).verdict(Property::AcknowledgedNotLost).unjudged, 2);
}

#[test]
fn a_commit_without_an_answer_may_take_effect_at_any_time() {
    let (group, partition) = (Group(0), Partition(0));
    let mut history = History::default();
    let commit = |op, offset| Event::CommitInvoked { op: Op(op), group, partition, offset };
    history.push(commit(1, 5));
    history.push(commit(2, 9));
    history.push(Event::CommitAcked { op: Op(2) });
    for (op, told) in [(3, 9), (4, 5)] {
        history.push(Event::OffsetFetchInvoked { op: Op(op), group, partition });
        history.push(Event::OffsetFetched { op: Op(op), offset: Some(told) });
    }
    assert!(judge(&history).is_clean(), "5 was still on its way");
}

#[test]
fn a_leader_that_was_replaced_is_held_against_itself() {
    let partition = Partition(0);
    let fetched = |answers: &[(Option<u32>, i64)]| {
        let mut history = History::default();
        for (op, (node, high_watermark)) in answers.iter().enumerate() {
            let (op, high_watermark) = (Op(op as u64), *high_watermark);
            history.push(Event::FetchInvoked { op, partition, node: *node });
            history.push(Event::Fetched { op, high_watermark, log_start: None, records: Vec::new() });
        }
        let broken: Vec<Property> = judge(&history).broken().map(|verdict| verdict.property).collect();
        broken
    };
    assert_eq!(fetched(&[(Some(1), 10), (Some(2), 5), (Some(2), 5)]), []);
    assert_eq!(fetched(&[(Some(1), 10), (Some(2), 5), (Some(2), 4)]), [Property::HighWatermarkNeverBack]);
    assert_eq!(fetched(&[(Some(1), 10), (None, 5)]), [Property::HighWatermarkNeverBack]);
}
