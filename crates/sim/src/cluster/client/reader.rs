//! A reader: long-polls partitions from its own positions, looks at the newest offset, and jumps about.

use super::link::{Link, Target};
use super::{Client, Context, Place};
use bytes::Bytes;
use checker::{Event, Op, RecordId, SeenRecord};
use kafka::frame::decode_response;
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use kafka::message::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka::records::{Batches, records};
use model::ErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Decompressed bytes of a batch, at most.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Version of ListOffsets that readers send.
pub const LIST_OFFSETS_VERSION: i16 = 7;

/// First version of Fetch that names topics by id.
pub const BY_ID_VERSION: i16 = 13;

/// A question under way.
enum Asked {
    Fetch { op: Op, place: Place, position: i64 },
    Latest { op: Op },
    Earliest { place: Place },
    Time { op: Op },
    Buried,
}

/// The reader.
pub struct Reader {
    link: Link,
    positions: BTreeMap<u32, i64>,
    asked: Option<Asked>,
    version: i16,
}

/// A fetch of one partition.
pub fn fetch_request(
    context: &Context<'_>,
    place: Place,
    position: i64,
    wait_ms: i32,
    bytes_max: i32,
) -> FetchRequest {
    let partition = FetchPartition {
        partition: place.index,
        current_leader_epoch: -1,
        fetch_offset: position,
        partition_max_bytes: bytes_max,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: context.topic_name(place.topic),
        topic_id: context.topics[place.topic].id,
        partitions: vec![partition],
    };
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        max_bytes: bytes_max,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

/// A look-up of one special offset.
pub fn list_request(context: &Context<'_>, place: Place, timestamp: i64) -> ListOffsetsRequest {
    let partition =
        ListOffsetsPartition { partition_index: place.index, current_leader_epoch: -1, timestamp };
    let topic = ListOffsetsTopic { name: context.topic_name(place.topic), partitions: vec![partition] };
    ListOffsetsRequest { replica_id: -1, isolation_level: 0, topics: vec![topic], timeout_ms: 1_000 }
}

/// The offset that a look-up was answered with.
pub fn listed_offset(frame: Bytes) -> Result<Result<i64, ErrorCode>, String> {
    Ok(listed(frame)?.map(|(offset, _)| offset))
}

/// Offset and timestamp that a look-up was answered with.
fn listed(frame: Bytes) -> Result<Result<(i64, i64), ErrorCode>, String> {
    let (_, response) = decode_response::<ListOffsetsRequest>(frame, LIST_OFFSETS_VERSION)
        .map_err(|error| error.to_string())?;
    let answer = response
        .topics
        .first()
        .and_then(|topic| topic.partitions.first())
        .ok_or("no partition in the answer")?;
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(Ok((answer.offset, answer.timestamp))),
        code => Ok(Err(code)),
    }
}

/// The one partition of a fetch answer; `Err` with the code for the whole.
pub fn fetched_partition(frame: Bytes, version: i16) -> Result<Result<PartitionData, ErrorCode>, String> {
    let (_, response) = decode_response::<FetchRequest>(frame, version).map_err(|error| error.to_string())?;
    if response.error_code != 0 {
        return Ok(Err(ErrorCode::from_code(response.error_code)));
    }
    let answer = response.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    let answer = answer.ok_or("no partition in the answer")?;
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(Ok(answer)),
        code => Ok(Err(code)),
    }
}

/// The records of an answer at or above `position`; `None` as identity where bytes are no record of this world.
pub fn seen_records(answer: &mut PartitionData, position: i64) -> Vec<SeenRecord> {
    let Some(bytes) = answer.records.take() else { return Vec::new() };
    let mut seen = Vec::new();
    for batch in Batches::new(bytes.into_contiguous()) {
        let Ok((header, bytes)) = batch else {
            seen.push(SeenRecord { offset: position, record: None });
            break;
        };
        let first = seen.len();
        match records(&bytes, BATCH_BYTES_MAX) {
            Ok(iter) => seen.extend(iter.map(|record| match record {
                Ok(record) => SeenRecord { offset: record.offset, record: identity(record.value.as_ref()) },
                Err(_) => SeenRecord { offset: header.base_offset, record: None },
            })),
            Err(_) => seen.push(SeenRecord { offset: header.base_offset, record: None }),
        }
        seen[first..].iter().for_each(|record| debug_assert!(record.offset >= header.base_offset));
    }
    seen.retain(|record| record.offset >= position);
    seen
}

fn identity(value: Option<&Bytes>) -> Option<RecordId> {
    let value = value?;
    let record = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    value[8..].iter().all(|byte| *byte == record as u8).then_some(RecordId(record))
}

impl Reader {
    pub fn new(context: &mut Context<'_>) -> Reader {
        let version = [4, 7, 11, 12, 13, 15, 16, 17, 18][context.dice.index(9)];
        Reader { link: Link::new("sim-reader"), positions: BTreeMap::new(), asked: None, version }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        let by_id = self.version >= BY_ID_VERSION;
        if by_id && context.dice.below(25) == 0 && self.ask_for_the_buried(context) {
            return;
        }
        let kind = context.dice.below(11);
        let place = context.any_place(by_id && kind > 2);
        if !self.link.reach(&Target::Leader(place), context) {
            return;
        }
        match kind {
            0 => {
                let op = context.ids.op();
                context.record(Event::FetchInvoked { op, partition: place.partition, node: None });
                self.link.send(&list_request(context, place, -1), LIST_OFFSETS_VERSION, context);
                self.asked = Some(Asked::Latest { op });
            }
            1 => {
                self.link.send(&list_request(context, place, -2), LIST_OFFSETS_VERSION, context);
                self.asked = Some(Asked::Earliest { place });
            }
            2 if !context.ids.timestamps.is_empty() => self.look_up_a_time(place, context),
            _ => {
                let position = self.positions.get(&place.partition.0).copied().unwrap_or(0);
                let position = if context.dice.below(6) == 0 && position > 0 {
                    context.dice.below(position as u64) as i64
                } else {
                    position
                };
                let op = context.ids.op();
                let node = context.source(self.link.host());
                context.record(Event::FetchInvoked { op, partition: place.partition, node });
                let wait_ms = context.dice.skewed(0, 500) as i32;
                let bytes_max = context.dice.skewed(1, 60_000) as i32;
                let request = fetch_request(context, place, position, wait_ms, bytes_max);
                self.link.send(&request, self.version, context);
                self.asked = Some(Asked::Fetch { op, place, position });
            }
        }
    }

    /// Mostly a time that a record carries: off by one shows there.
    fn look_up_a_time(&mut self, place: Place, context: &mut Context<'_>) {
        let at = context.dice.index(context.ids.timestamps.len());
        let timestamp = context.ids.timestamps[at] + i64::from(context.dice.below(4) == 0);
        let op = context.ids.op();
        context.record(Event::TimeSought { op, partition: place.partition, timestamp });
        self.link.send(&list_request(context, place, timestamp), LIST_OFFSETS_VERSION, context);
        self.asked = Some(Asked::Time { op });
    }

    /// A topic whose deletion was acknowledged is asked for by its id.
    fn ask_for_the_buried(&mut self, context: &mut Context<'_>) -> bool {
        let of = |(at, topic): (usize, &super::Topic)| topic.buried.last().map(|id| (at, *id));
        let Some((topic, id)) = context.topics.iter().enumerate().find_map(of) else { return false };
        if !self.link.reach(&Target::Leader(context.place(topic, 0)), context) {
            return false;
        }
        let mut request = fetch_request(context, context.place(topic, 0), 0, 0, 1_000);
        request.topics[0].topic_id = id;
        self.link.send(&request, self.version, context);
        self.asked = Some(Asked::Buried);
        true
    }

    fn on_buried(&mut self, frame: Bytes, context: &mut Context<'_>) {
        match fetched_partition(frame, self.version) {
            Ok(Err(ErrorCode::UnknownTopicId)) => context.counters.count("client: deleted topic unknown"),
            Ok(Err(code)) => self.on_error(code, context),
            // One node of several may hear later of it than the one that acknowledged the deletion.
            Ok(Ok(_)) if !context.is_alone() => context.counters.count("client: deleted topic still served"),
            Ok(Ok(answer)) => context.fail(
                "a deleted topic is gone",
                format!("a fetch by its id was answered, high watermark {}", answer.high_watermark),
            ),
            Err(error) => context.fail("answers decode", format!("Fetch: {error}")),
        }
    }

    fn on_time(&mut self, frame: Bytes, op: Op, context: &mut Context<'_>) {
        match listed(frame) {
            Ok(Ok((offset, timestamp))) => {
                let found = (offset >= 0).then_some((offset, timestamp));
                context.counters.count(match found {
                    Some(_) => "client: time found",
                    None => "client: time not found",
                });
                context.record(Event::TimeFound { op, found });
                context.ids.done += 1;
            }
            Ok(Err(code)) => self.on_error(code, context),
            Err(error) => context.fail("answers decode", format!("ListOffsets: {error}")),
        }
    }

    fn on_fetched(&mut self, frame: Bytes, op: Op, place: Place, position: i64, context: &mut Context<'_>) {
        match fetched_partition(frame, self.version) {
            Ok(Ok(mut answer)) => {
                let records = seen_records(&mut answer, position);
                if let Some(last) = records.last() {
                    self.positions.insert(place.partition.0, last.offset + 1);
                    context.counters.count("client: fetch with records");
                } else {
                    context.counters.count("client: fetch without records");
                }
                if let Some(first) = records.first()
                    && first.offset != position
                    && first.record.is_some()
                {
                    context.fail(
                        "a fetch begins where it was asked to",
                        format!("{:?}: asked {position}, got {}", place.partition, first.offset),
                    );
                }
                let log_start = (answer.log_start_offset >= 0).then_some(answer.log_start_offset);
                let high_watermark = answer.high_watermark;
                context.record(Event::NodeClock { wall_ms: context.node_clock_ms });
                context.record(Event::Fetched { op, high_watermark, log_start, records });
                context.ids.done += 1;
            }
            Ok(Err(ErrorCode::OffsetOutOfRange)) if context.topics[place.topic].mortal => {
                // Its start is asked for by name, and that may be the next topic's.
                context.counters.count("client: fetch out of range");
                self.positions.remove(&place.partition.0);
            }
            Ok(Err(ErrorCode::OffsetOutOfRange)) => {
                context.counters.count("client: fetch out of range");
                self.positions.remove(&place.partition.0);
                self.link.send(&list_request(context, place, -2), LIST_OFFSETS_VERSION, context);
                self.asked = Some(Asked::Earliest { place });
            }
            Ok(Err(ErrorCode::KafkaStorageError)) if context.is_damaged(place, position) => {
                context.counters.count("client: damaged range refused");
                self.positions.insert(place.partition.0, position + 1);
            }
            Ok(Err(code)) => self.on_error(code, context),
            Err(error) => context.fail("answers decode", format!("Fetch: {error}")),
        }
    }

    fn on_error(&mut self, code: ErrorCode, context: &mut Context<'_>) {
        if !code.is_retriable() || code == ErrorCode::KafkaStorageError && !context.was_harmed {
            context.fail("errors fit what was asked", format!("a reader was answered with {}", code.name()));
        }
        context.counters.count("client: reader refused, tries again");
        self.link.mislead();
    }

    fn on_listed(&mut self, frame: Bytes, context: &mut Context<'_>) -> Option<i64> {
        match listed_offset(frame) {
            Ok(Ok(offset)) => return Some(offset),
            Ok(Err(code)) => self.on_error(code, context),
            Err(error) => context.fail("answers decode", format!("ListOffsets: {error}")),
        }
        None
    }
}

impl Client for Reader {
    fn wake(&mut self, context: &mut Context<'_>) {
        if self.link.is_overdue(context.now) {
            context.counters.count("client: answer overdue");
            self.link.close(context);
            self.asked = None;
        }
        if self.asked.is_some() {
            return context.wake_in(Duration::from_millis(500));
        }
        if context.draining {
            return;
        }
        self.ask(context);
        if self.asked.is_none() {
            return context.wake_soon(20_000);
        }
        context.wake_in(Duration::from_millis(500));
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        match self.asked.take() {
            Some(Asked::Fetch { op, place, position }) => {
                self.on_fetched(frame, op, place, position, context)
            }
            Some(Asked::Latest { op }) => {
                if let Some(high_watermark) = self.on_listed(frame, context) {
                    context.counters.count("client: newest offset listed");
                    let records = Vec::new();
                    context.record(Event::Fetched { op, high_watermark, log_start: None, records });
                    context.ids.done += 1;
                }
            }
            Some(Asked::Earliest { place }) => {
                if let Some(offset) = self.on_listed(frame, context) {
                    context.counters.count("client: oldest offset listed");
                    self.positions.insert(place.partition.0, offset);
                }
            }
            Some(Asked::Time { op }) => self.on_time(frame, op, context),
            Some(Asked::Buried) => self.on_buried(frame, context),
            None => context
                .fail("answers belong to questions", "a reader got an answer it did not ask for".into()),
        }
        context.wake_soon(5_000);
    }

    fn lost(&mut self, context: &mut Context<'_>) {
        self.link.lost();
        self.asked = None;
        context.wake_soon(10_000);
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    fn describe(&self) -> String {
        format!("a reader waits for {} answers", self.link.awaited())
    }
}
