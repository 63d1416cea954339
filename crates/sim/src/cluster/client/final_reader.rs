//! The last reader of a world: after everything is healed it reads every partition from its first to its last offset;
//! what it finds is what the checkers take for the truth.

use super::link::{Link, Target};
use super::reader::{
    LIST_OFFSETS_VERSION, fetch_request, fetched_partition, list_request, listed_offset, seen_records,
};
use super::{Client, Context, Place};
use bytes::Bytes;
use checker::{Event, SeenRecord};
use kafka::records::Batches;
use kafka::wire::Records;
use model::ErrorCode;
use std::time::Duration;

/// Version of Fetch sent.
const FETCH_VERSION: i16 = 12;
/// Bytes asked for at a time.
const FETCH_BYTES: i32 = 100_000;

/// Where the reading of the partition at hand stands.
#[derive(Default)]
enum Stage {
    #[default]
    Start,
    End {
        log_start: i64,
    },
    Records {
        log_start: i64,
        high_watermark: i64,
        position: i64,
        records: Vec<SeenRecord>,
    },
}

/// The reader.
pub struct FinalReader {
    link: Link,
    places: Vec<Place>,
    stage: Stage,
    asked: bool,
}

impl FinalReader {
    pub fn new(context: &Context<'_>) -> FinalReader {
        let mut places = Vec::new();
        for (topic, known) in context.topics.iter().enumerate() {
            places.extend((0..known.partitions).map(|index| context.place(topic, index)));
        }
        FinalReader { link: Link::new("sim-final"), places, stage: Stage::Start, asked: false }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        let Some(place) = self.places.last().copied() else { return };
        if !self.link.reach(&Target::Leader(place), context) {
            return context.wake_in(Duration::from_millis(5));
        }
        self.asked = true;
        match &self.stage {
            Stage::Start => self.link.send(&list_request(context, place, -2), LIST_OFFSETS_VERSION, context),
            Stage::End { .. } => {
                self.link.send(&list_request(context, place, -1), LIST_OFFSETS_VERSION, context)
            }
            Stage::Records { position, .. } => {
                let request = fetch_request(context, place, *position, 0, FETCH_BYTES);
                self.link.send(&request, FETCH_VERSION, context);
            }
        }
    }

    fn take(&mut self, frame: Bytes, context: &mut Context<'_>) -> Result<(), String> {
        match std::mem::take(&mut self.stage) {
            Stage::Start => {
                let log_start = match listed_offset(frame)? {
                    Ok(log_start) => log_start,
                    Err(code) => return self.refused(code, Stage::Start, context),
                };
                self.stage = Stage::End { log_start };
            }
            Stage::End { log_start } => {
                let high_watermark = match listed_offset(frame)? {
                    Ok(high_watermark) => high_watermark,
                    Err(code) => return self.refused(code, Stage::End { log_start }, context),
                };
                let records = Vec::new();
                self.stage = Stage::Records { log_start, high_watermark, position: log_start, records };
            }
            Stage::Records { log_start, high_watermark, position, mut records } => {
                let place = self.places.last().copied().ok_or("an answer without a question")?;
                let mut answer = match fetched_partition(frame, FETCH_VERSION)? {
                    Ok(answer) => answer,
                    Err(ErrorCode::KafkaStorageError) if context.is_damaged(place, position) => {
                        context.counters.count("client: damaged offset refused to the last reader");
                        let (partition, from, to) = (place.partition, position, position + 1);
                        context.record(Event::Refused { partition, from, to });
                        self.stage = Stage::Records { log_start, high_watermark, position: to, records };
                        self.close_partition(context);
                        return Ok(());
                    }
                    // Retention goes on; what came up to here no longer says what the log holds.
                    Err(ErrorCode::OffsetOutOfRange) if context.has_retention(place) => return Ok(()),
                    Err(code) => {
                        let stage = Stage::Records { log_start, high_watermark, position, records };
                        return self.refused(code, stage, context);
                    }
                };
                self.note_epochs(answer.records.clone(), context);
                let more = seen_records(&mut answer, position);
                if more.is_empty() && position < high_watermark {
                    return Err(format!("nothing came at {position}, the log ends at {high_watermark}"));
                }
                let position = more.last().map_or(position, |record| record.offset + 1);
                records.extend(more);
                self.stage = Stage::Records { log_start, high_watermark, position, records };
            }
        }
        self.close_partition(context);
        Ok(())
    }

    /// Leaders go back to where they belong for a while after everything was healed, where there are several nodes. A topic
    /// made just before may wait for a disk that hangs in a call from before that: its leader has not made the partition
    /// yet. Nothing else is an excuse, and the time to settle down bounds both.
    fn refused(&mut self, code: ErrorCode, stage: Stage, context: &mut Context<'_>) -> Result<(), String> {
        context.counters.count(match code {
            ErrorCode::NotLeaderOrFollower if !context.is_alone() => {
                "client: last reader goes to another leader"
            }
            ErrorCode::UnknownTopicOrPartition => "client: last reader waits for a topic",
            _ => return Err(format!("answered with {}", code.name())),
        });
        self.link.mislead();
        self.stage = stage;
        Ok(())
    }

    fn note_epochs(&self, records: Option<Records>, context: &mut Context<'_>) {
        let Some(place) = self.places.last() else { return };
        let bytes = records.map(Records::into_contiguous).unwrap_or_default();
        for (header, _) in Batches::new(bytes).flatten() {
            context.epochs.found(place.partition.0, header.base_offset, header.partition_leader_epoch);
        }
    }

    /// The partition is read when the records reach the high watermark. What lies behind came later: an abandoned copy of
    /// a plain producer's request may still be on its way when everybody has their answers.
    fn close_partition(&mut self, context: &mut Context<'_>) {
        let Stage::Records { log_start, high_watermark, position, records } = &self.stage else { return };
        if position < high_watermark {
            return;
        }
        let Some(place) = self.places.pop() else { return };
        let unanswered = records
            .iter()
            .filter(|seen| seen.record.is_some_and(|record| context.ids.unanswered.contains(&record)));
        context.counters.add("client: record sent without an answer found", unanswered.count() as u64);
        context.record(Event::NodeClock { wall_ms: context.node_clock_ms });
        context.record(Event::FinalLog {
            partition: place.partition,
            log_start: *log_start,
            high_watermark: *high_watermark,
            records: records.iter().filter(|record| record.offset < *high_watermark).cloned().collect(),
        });
        self.stage = Stage::Start;
    }
}

impl Client for FinalReader {
    fn wake(&mut self, context: &mut Context<'_>) {
        if self.asked || self.places.is_empty() {
            return;
        }
        self.ask(context);
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        self.asked = false;
        if let Err(detail) = self.take(frame, context) {
            let place = self.places.last().copied();
            context.fail("everything is readable after healing", format!("{place:?}: {detail}"));
        }
        context.wake_in(Duration::from_micros(50));
    }

    fn lost(&mut self, context: &mut Context<'_>) {
        self.link.lost();
        self.asked = false;
        context.wake_in(Duration::from_millis(5));
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn is_idle(&self) -> bool {
        self.places.is_empty()
    }

    fn describe(&self) -> String {
        format!("the last reader has {} partitions before it", self.places.len())
    }
}
