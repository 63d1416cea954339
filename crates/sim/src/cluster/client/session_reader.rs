//! A reader with a fetch session: it names each partition once, then only what changed, and hears only of partitions
//! with news. It must miss nothing: at the end it goes on until it stands at the end of every partition it reads.

use super::link::{Link, Target};
use super::reader::{LIST_OFFSETS_VERSION, list_request, listed_offset, seen_records};
use super::{Client, Context, Place};
use bytes::Bytes;
use checker::{Event, Op};
use kafka::frame::decode_response;
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, PartitionData};
use model::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// First version that names topics by id.
const BY_ID_VERSION: i16 = 13;
/// Fetches without anything new, one after the other, before the reader asks where the partitions end.
const QUIET_FETCHES: u32 = 3;
/// Fetches from one of several nodes before the reader goes on to the next.
const FETCHES_AT_A_NODE: u32 = 12;

/// A question under way.
enum Asked {
    Fetch { ops: BTreeMap<u32, Op> },
    Earliest { at: usize },
    Latest { at: usize },
}

/// One partition that is read.
struct Position {
    place: Place,
    offset: i64,
    /// Where the node was last told to read; none when the session does not know the partition.
    told: Option<i64>,
    /// The reader does not want it for now.
    is_paused: bool,
    /// Its start must be asked for.
    is_lost: bool,
    /// The end to be reached, once nothing new is written.
    end: Option<i64>,
}

impl Position {
    fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }
}

/// The reader.
pub struct SessionReader {
    link: Link,
    version: i16,
    session: i32,
    epoch: i32,
    positions: Vec<Position>,
    asked: Option<Asked>,
    is_draining: bool,
    quiet: u32,
    /// The position whose leader is read from, with whatever else that leads.
    turn: usize,
    /// Fetches from there.
    fetches: u32,
}

impl SessionReader {
    pub fn new(context: &mut Context<'_>) -> SessionReader {
        let mut positions = Vec::new();
        for (topic, known) in context.topics.iter().enumerate().filter(|(_, known)| !known.mortal) {
            positions.extend((0..known.partitions).map(|index| Position {
                place: context.place(topic, index),
                offset: 0,
                told: None,
                is_paused: false,
                is_lost: false,
                end: None,
            }));
        }
        SessionReader {
            link: Link::new("sim-session"),
            version: [7, 11, 12, 13, 15, 17, 18][context.dice.index(7)],
            session: 0,
            epoch: 0,
            positions,
            asked: None,
            is_draining: false,
            quiet: 0,
            turn: 0,
            fetches: 0,
        }
    }

    /// The next full fetch opens another session.
    fn forget_session(&mut self) {
        (self.session, self.epoch, self.asked) = (0, 0, None);
        self.positions.iter_mut().for_each(|position| position.told = None);
    }

    /// Of several nodes the session is with one at a time.
    fn reach(&mut self, context: &mut Context<'_>) -> bool {
        let here = self.is_here(context);
        let is_done = |(position, here): (&Position, &bool)| !here || position.is_at_end();
        let all_done = context.draining && self.positions.iter().zip(&here).all(is_done);
        if !context.is_alone() && (all_done || self.fetches >= FETCHES_AT_A_NODE) {
            self.turn = context.dice.index(self.positions.len());
            (self.fetches, self.quiet) = (0, 0);
        }
        let before = self.link.host();
        let reached = self.link.reach(&Target::Leader(self.positions[self.turn].place), context);
        if self.link.host() != before {
            self.forget_session();
        }
        reached
    }

    /// Which positions are read from the node at hand.
    fn is_here(&self, context: &Context<'_>) -> Vec<bool> {
        self.positions.iter().map(|position| self.link.is_at_leader(position.place, context)).collect()
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        let here = self.is_here(context);
        let of_here = |wanted: &dyn Fn(&Position) -> bool| {
            self.positions.iter().zip(&here).position(|(position, here)| *here && wanted(position))
        };
        if let Some(at) = of_here(&|position| position.is_lost) {
            let request = list_request(context, self.positions[at].place, -2);
            self.link.send(&request, LIST_OFFSETS_VERSION, context);
            self.asked = Some(Asked::Earliest { at });
            return;
        }
        if context.draining
            && self.quiet >= QUIET_FETCHES
            && let Some(at) = of_here(&|position| position.end.is_none())
        {
            let request = list_request(context, self.positions[at].place, -1);
            self.link.send(&request, LIST_OFFSETS_VERSION, context);
            self.asked = Some(Asked::Latest { at });
            return;
        }
        self.fetches += 1;
        self.fetch(&here, context);
    }

    fn fetch(&mut self, here: &[bool], context: &mut Context<'_>) {
        let forgotten = self.pause(here, context);
        let bytes_max = context.dice.skewed(1, 60_000) as i32;
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut ops = BTreeMap::new();
        let node = context.source(self.link.host());
        for (position, _) in
            self.positions.iter_mut().zip(here).filter(|(position, here)| **here && !position.is_paused)
        {
            let op = context.ids.op();
            context.record(Event::FetchInvoked { op, partition: position.place.partition, node });
            ops.insert(position.place.partition.0, op);
            if position.told == Some(position.offset) {
                continue;
            }
            position.told = Some(position.offset);
            let partition = FetchPartition {
                partition: position.place.index,
                current_leader_epoch: -1,
                fetch_offset: position.offset,
                partition_max_bytes: 20_000,
                ..FetchPartition::default()
            };
            topics.push(FetchTopic {
                topic: context.topic_name(position.place.topic),
                topic_id: context.topics[position.place.topic].id,
                partitions: vec![partition],
            });
        }
        if self.epoch > 0 {
            context.counters.count("client: incremental fetch");
        }
        let request = FetchRequest {
            max_wait_ms: if context.draining { 20 } else { context.dice.skewed(0, 300) as i32 },
            min_bytes: 1,
            max_bytes: bytes_max,
            session_id: self.session,
            session_epoch: self.epoch,
            topics,
            forgotten_topics_data: forgotten,
            ..FetchRequest::default()
        };
        self.link.send(&request, self.version, context);
        self.asked = Some(Asked::Fetch { ops });
    }

    /// Now and then a partition leaves the session, or comes back.
    fn pause(&mut self, here: &[bool], context: &mut Context<'_>) -> Vec<ForgottenTopic> {
        let awake = self.positions.iter().zip(here).filter(|(position, here)| **here && !position.is_paused);
        let awake = awake.count();
        if context.draining || awake == 0 {
            self.positions.iter_mut().for_each(|position| position.is_paused = false);
        }
        if context.draining || self.positions.len() < 2 || context.dice.below(12) > 0 {
            return Vec::new();
        }
        let at = context.dice.index(self.positions.len());
        let position = &mut self.positions[at];
        if position.is_paused {
            position.is_paused = false;
            return Vec::new();
        }
        if awake < 2 {
            return Vec::new();
        }
        position.is_paused = true;
        if position.told.take().is_none() || self.epoch == 0 {
            return Vec::new();
        }
        context.counters.count("client: partition left the session");
        let topic = position.place.topic;
        vec![ForgottenTopic {
            topic: context.topic_name(topic),
            topic_id: context.topics[topic].id,
            partitions: vec![position.place.index],
        }]
    }

    fn on_fetched(&mut self, frame: Bytes, ops: &BTreeMap<u32, Op>, context: &mut Context<'_>) {
        let response = match decode_response::<FetchRequest>(frame, self.version) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("Fetch: {error}")),
        };
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            code @ (ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch) => {
                // A session lives as long as its connection, and this reader counts its fetches.
                return context.fail("a session goes on", format!("refused with {}", code.name()));
            }
            code => {
                self.forget_session();
                return self.on_error(code, context);
            }
        }
        if self.epoch == 0 {
            if response.session_id == 0 {
                return context.fail("a session is opened", "the full fetch was answered without".into());
            }
            context.counters.count("client: fetch session opened");
            self.session = response.session_id;
        }
        self.epoch += 1;
        let mut heard = BTreeSet::new();
        let mut anything = false;
        for topic in response.responses {
            for answer in topic.partitions {
                let named = |position: &Position| {
                    let known = &context.topics[position.place.topic];
                    let is_topic = if self.version >= BY_ID_VERSION {
                        known.id == topic.topic_id
                    } else {
                        topic.topic.as_str() == known.name
                    };
                    is_topic && position.place.index == answer.partition_index
                };
                let Some(at) = self.positions.iter().position(named) else {
                    return context
                        .fail("a session tells what was asked", format!("{topic:?}", topic = topic.topic));
                };
                heard.insert(at);
                anything |= self.on_partition(at, answer, ops, context);
            }
        }
        self.quiet = if anything { 0 } else { self.quiet + 1 };
        let all = self.positions.iter().filter(|position| !position.is_paused).count();
        if heard.len() < all {
            context.counters.count("client: incremental answer left partitions out");
        }
    }

    /// Takes one partition's news; whether there were records.
    fn on_partition(
        &mut self,
        at: usize,
        mut answer: PartitionData,
        ops: &BTreeMap<u32, Op>,
        context: &mut Context<'_>,
    ) -> bool {
        let position = &mut self.positions[at];
        let (place, offset) = (position.place, position.offset);
        let Some(op) = ops.get(&place.partition.0).copied() else {
            context.fail("a session forgets what left it", format!("{:?} was told", place.partition));
            return false;
        };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                position.is_lost = true;
                return true;
            }
            ErrorCode::KafkaStorageError if context.is_damaged(place, offset) => {
                position.offset += 1;
                return true;
            }
            code => {
                self.on_error(code, context);
                return true;
            }
        }
        let records = seen_records(&mut answer, offset);
        if let Some(first) = records.first()
            && first.offset != offset
            && first.record.is_some()
        {
            let detail = format!("{:?}: asked {offset}, got {}", place.partition, first.offset);
            context.fail("a session misses nothing", detail);
        }
        let any = !records.is_empty();
        if let Some(last) = records.last() {
            position.offset = last.offset + 1;
            context.counters.count("client: records over a session");
        }
        let log_start = (answer.log_start_offset >= 0).then_some(answer.log_start_offset);
        context.record(Event::NodeClock { wall_ms: context.node_clock_ms });
        let high_watermark = answer.high_watermark;
        context.record(Event::Fetched { op, high_watermark, log_start, records });
        context.ids.done += 1;
        any
    }

    fn on_offset(&mut self, frame: Bytes, at: usize, is_end: bool, context: &mut Context<'_>) {
        match listed_offset(frame) {
            Ok(Ok(offset)) if is_end => self.positions[at].end = Some(offset),
            Ok(Ok(offset)) => {
                let position = &mut self.positions[at];
                position.is_lost = false;
                position.offset = offset;
            }
            Ok(Err(code)) => self.on_error(code, context),
            Err(error) => context.fail("answers decode", format!("ListOffsets: {error}")),
        }
    }

    fn on_error(&mut self, code: ErrorCode, context: &mut Context<'_>) {
        if !code.is_retriable() || code == ErrorCode::KafkaStorageError && !context.was_harmed {
            let detail = format!("a reader with a session was answered with {}", code.name());
            context.fail("errors fit what was asked", detail);
        }
        context.counters.count("client: reader refused, tries again");
        if !context.is_alone() {
            self.link.mislead();
            self.link.close(context);
            self.forget_session();
        }
    }

    fn is_at_end(&self) -> bool {
        self.positions.iter().all(Position::is_at_end)
    }
}

impl Client for SessionReader {
    fn wake(&mut self, context: &mut Context<'_>) {
        self.is_draining = context.draining;
        if self.link.is_overdue(context.now) {
            context.counters.count("client: answer overdue");
            self.link.close(context);
            self.forget_session();
        }
        if self.asked.is_some() {
            return context.wake_in(Duration::from_millis(500));
        }
        if context.draining && self.is_at_end() {
            return;
        }
        if !self.reach(context) {
            return context.wake_soon(20_000);
        }
        self.ask(context);
        context.wake_in(Duration::from_millis(500));
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        match self.asked.take() {
            Some(Asked::Fetch { ops }) => self.on_fetched(frame, &ops, context),
            Some(Asked::Earliest { at }) => self.on_offset(frame, at, false, context),
            Some(Asked::Latest { at }) => self.on_offset(frame, at, true, context),
            None => context.fail("answers belong to questions", "a reader did not ask".into()),
        }
        context.wake_soon(5_000);
    }

    fn lost(&mut self, context: &mut Context<'_>) {
        self.link.lost();
        self.forget_session();
        context.wake_soon(10_000);
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn is_idle(&self) -> bool {
        self.is_draining && self.asked.is_none() && self.is_at_end()
    }

    fn describe(&self) -> String {
        let stands: Vec<(u32, i64, Option<i64>)> = self
            .positions
            .iter()
            .map(|position| (position.place.partition.0, position.offset, position.end))
            .collect();
        format!("a reader with a session stands at (partition, offset, end) {stands:?}")
    }
}
