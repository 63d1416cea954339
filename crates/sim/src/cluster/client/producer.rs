//! A producer, idempotent or plain: batches in flight in order, sent again in order after anything went wrong. A plain
//! one has one batch in flight and may write it twice; an idempotent one has several and must not.

use super::link::{Link, Target};
use super::{Client, Context, HostIndex, Place};
use broker::request::ConnectionId;
use bytes::Bytes;
use checker::{Event, Op, RecordId};
use kafka::frame::decode_response;
use kafka::message::init_producer_id::InitProducerIdRequest;
use kafka::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka::records::{BatchBuilder, Codec, NewRecord};
use kafka::wire::Uuid;
use model::{ErrorCode, Mono};
use std::collections::{BTreeMap, VecDeque};

/// First version that names topics by id.
const BY_ID_VERSION: i16 = 13;
/// A record is at most so much older than its batch, milliseconds.
const AGE_MS_MAX: u64 = 400;
/// Timestamps kept for look-ups.
const TIMESTAMPS_MAX: usize = 64;
/// Most records of a batch.
const RECORDS_MAX: u64 = 4;
/// Offset of a byte of the batch's checksum: what a corrupting client changes.
const CRC_AT: usize = 17;

/// A batch on its way.
struct Batch {
    op: Op,
    place: Place,
    /// Of the topic when the batch was made: it must not reach a later topic of that name.
    topic_id: Uuid,
    bytes: Bytes,
    sends: u32,
    /// Host and life of the process that it was sent to last.
    process: (HostIndex, u64),
    sent: Mono,
    in_flight: bool,
    corrupt: bool,
}

/// The producer.
pub struct Producer {
    link: Link,
    key: checker::Producer,
    idempotent: bool,
    identity: Option<(i64, i16)>,
    asking_identity: bool,
    sequences: BTreeMap<u32, i32>,
    batches: VecDeque<Batch>,
    /// In the order of their answers.
    in_flight: VecDeque<Op>,
    window: usize,
    /// The connection that unanswered batches went over last.
    sent_over: Option<ConnectionId>,
    version: i16,
    acks: i16,
    codec: Codec,
    corrupts: bool,
    last_error: Option<ErrorCode>,
}

impl Producer {
    /// A producer that waits for no answer: each batch is sent once, and nobody knows what became of it.
    pub fn unanswered(context: &mut Context<'_>) -> Producer {
        Producer { acks: 0, corrupts: false, ..Producer::new(false, context) }
    }

    pub fn new(idempotent: bool, context: &mut Context<'_>) -> Producer {
        let mut link = Link::new("sim-producer");
        link.patience = context.patience.unwrap_or(link.patience);
        let dice = &mut *context.dice;
        Producer {
            link,
            key: context.ids.producer(),
            idempotent,
            identity: None,
            asking_identity: false,
            sequences: BTreeMap::new(),
            batches: VecDeque::new(),
            in_flight: VecDeque::new(),
            window: if idempotent { 1 + dice.index(5) } else { 1 },
            sent_over: None,
            version: [3, 7, 8, 9, 10, 11, 12, 13][dice.index(8)],
            acks: if idempotent || dice.coin() { -1 } else { 1 },
            codec: if dice.below(4) == 0 { Codec::Lz4 } else { Codec::None },
            corrupts: !idempotent && dice.coin(),
            last_error: None,
        }
    }

    /// Builds a batch for a partition; it takes the next sequences.
    fn new_batch(&mut self, place: Place, context: &mut Context<'_>) {
        let op = context.ids.op();
        let records: Vec<RecordId> =
            (0..context.dice.between(1, RECORDS_MAX)).map(|_| context.ids.record()).collect();
        let mut builder = BatchBuilder::new(self.codec);
        if let Some((id, epoch)) = self.identity.filter(|_| self.idempotent) {
            let sequence = self.sequences.entry(place.partition.0).or_default();
            builder = builder.producer(id, epoch, *sequence);
            *sequence += records.len() as i32;
        }
        let mut timestamps = Vec::with_capacity(records.len());
        for record in &records {
            let timestamp = context.wall.0 - context.dice.skewed(0, AGE_MS_MAX) as i64;
            timestamps.push(timestamp);
            let mut value = record.0.to_be_bytes().to_vec();
            value.resize(8 + context.dice.skewed(0, context.value_bytes_max) as usize, record.0 as u8);
            builder.push(&NewRecord { timestamp, value: Some(&value), ..NewRecord::default() });
        }
        let mut bytes = match builder.build() {
            Ok(bytes) => bytes,
            Err(error) => return context.fail("the client's own encoding", error.to_string()),
        };
        let corrupt = self.corrupts && context.dice.below(10) == 0;
        if corrupt {
            let mut spoiled = bytes.to_vec();
            spoiled[CRC_AT] ^= 0x40;
            bytes = spoiled.into();
        }
        context.record(Event::ProduceInvoked {
            op,
            producer: self.key,
            // Sent once over one connection: it stands once, and in order.
            idempotent: self.idempotent || self.acks == 0,
            partition: place.partition,
            records: records.clone(),
        });
        let newest = context.ids.timestamps.len().saturating_sub(TIMESTAMPS_MAX);
        context.ids.timestamps.drain(..newest);
        context.ids.timestamps.extend(&timestamps);
        context.record(Event::Stamped { op, timestamps, bytes: bytes.len() as u64 });
        if self.acks == 0 {
            context.ids.unanswered.extend(records);
        }
        let topic_id = context.topics[place.topic].id;
        let batch = Batch {
            op,
            place,
            topic_id,
            bytes,
            sends: 0,
            process: (0, 0),
            sent: context.now,
            in_flight: false,
            corrupt,
        };
        if self.acks != 0 {
            context.watch.asked(place.partition.0, context.now);
        }
        self.batches.push_back(batch);
    }

    /// Sends what waits for the node that the oldest of it goes to. Another node is reached when nothing is under way.
    fn send_waiting(&mut self, context: &mut Context<'_>) {
        let Some(oldest) = self.batches.iter().find(|batch| !batch.in_flight) else { return };
        if self.in_flight.is_empty() && !self.link.reach(&Target::Leader(oldest.place), context) {
            return;
        }
        let Some(host) = self.link.host() else { return };
        for batch in self.batches.iter_mut().filter(|batch| !batch.in_flight) {
            if !self.link.is_at_leader(batch.place, context) {
                continue;
            }
            batch.in_flight = true;
            self.in_flight.push_back(batch.op);
            batch.sends += 1;
            (batch.process, batch.sent) = ((host, context.lives[host]), context.now);
            if batch.sends > 1 {
                context.counters.count("client: produce sent again");
                context.record(Event::ProduceRetried { op: batch.op });
            }
            let partition =
                PartitionProduceData { index: batch.place.index, records: Some(batch.bytes.clone()) };
            let topic = TopicProduceData {
                name: context.topic_name(batch.place.topic),
                topic_id: batch.topic_id,
                partition_data: vec![partition],
            };
            let request = ProduceRequest {
                transactional_id: None,
                acks: self.acks,
                timeout_ms: 2_000,
                topic_data: vec![topic],
            };
            self.link.send(&request, self.version, context);
        }
        if self.acks == 0 {
            self.in_flight.clear();
            for batch in std::mem::take(&mut self.batches) {
                self.link.expects_no_answer();
                context.counters.count("client: produce sent without an answer");
                context.record(Event::ProduceIndeterminate { op: batch.op });
            }
        }
    }

    /// One batch, sent once. What goes over another connection may overtake it: there it comes from another producer.
    fn send_unanswered(&mut self, context: &mut Context<'_>) {
        let place = context.any_place(self.version >= BY_ID_VERSION);
        if context.draining || !self.link.reach(&Target::Leader(place), context) {
            return context.wake_soon(20_000);
        }
        // A question for leaders may have led elsewhere and back meanwhile.
        if std::mem::replace(&mut self.sent_over, self.link.connection()) != self.link.connection() {
            self.key = context.ids.producer();
        }
        self.new_batch(place, context);
        self.send_waiting(context);
        context.wake_soon(30_000);
    }

    /// Something went wrong: all of it again, in order, over a new connection.
    fn back_off(&mut self, context: &mut Context<'_>) {
        self.link.close(context);
        self.forget_connection(context);
        context.wake_soon(50_000);
    }

    fn forget_connection(&mut self, context: &mut Context<'_>) {
        if self.acks == 0 {
            // What is on its way over the old connection may arrive behind what comes over the next.
            self.key = context.ids.producer();
        }
        self.asking_identity = false;
        self.in_flight.clear();
        self.batches.iter_mut().for_each(|batch| batch.in_flight = false);
    }

    /// The client's process ends and another one begins: nobody knows what became of its batches.
    fn start_over(&mut self, context: &mut Context<'_>) {
        context.counters.count("client: producer started over");
        for batch in std::mem::take(&mut self.batches) {
            context.watch.dropped(batch.place.partition.0);
            context.record(Event::ProduceIndeterminate { op: batch.op });
        }
        self.key = context.ids.producer();
        self.identity = None;
        self.sequences.clear();
        self.back_off(context);
    }

    fn on_identity(&mut self, frame: Bytes, context: &mut Context<'_>) {
        self.asking_identity = false;
        match decode_response::<InitProducerIdRequest>(frame, 4) {
            Ok((_, response)) if response.error_code == 0 => {
                self.identity = Some((response.producer_id, response.producer_epoch));
                context.counters.count("client: producer identity given");
                context.wake_soon(100);
            }
            Ok((_, response)) => self.on_error(ErrorCode::from_code(response.error_code), context),
            Err(error) => context.fail("answers decode", format!("InitProducerId: {error}")),
        }
    }

    fn on_error(&mut self, code: ErrorCode, context: &mut Context<'_>) {
        self.last_error = Some(code);
        // Never out of order: it sends what is not answered again, in order, over one connection at a time.
        if !code.is_retriable() {
            context.fail("errors fit what was asked", format!("a produce was answered with {}", code.name()));
        }
        context.counters.count(code.name());
        context.counters.count("client: produce refused, tried again");
        self.link.mislead();
        self.back_off(context);
    }

    fn on_produced(&mut self, frame: Bytes, context: &mut Context<'_>) {
        let response = match decode_response::<ProduceRequest>(frame, self.version) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("Produce: {error}")),
        };
        let Some(answer) = response.responses.first().and_then(|topic| topic.partition_responses.first())
        else {
            return context.fail("answers complete", "Produce: no partition in the answer".into());
        };
        let answered = self.in_flight.pop_front();
        let batch = self.batches.iter().find(|batch| Some(batch.op) == answered);
        let batch = batch.expect("an answer belongs to the oldest batch under way");
        let (op, corrupt, sends, sent) = (batch.op, batch.corrupt, batch.sends, batch.sent);
        let (host, life) = batch.process;
        let place = (batch.place.partition.0, batch.process);
        let in_one_life = batch.sends == 1 && life == context.lives[host];
        if answer.index != batch.place.index {
            return context
                .fail("answers in order", format!("asked {}, told {}", batch.place.index, answer.index));
        }
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                if sends == 1
                    && let Err(failure) = context.watch.judge_ack(host, sent)
                {
                    context.failure.get_or_insert(failure);
                }
                let base_offset = (answer.base_offset >= 0).then_some(answer.base_offset);
                if let Some(base) = base_offset.filter(|_| in_one_life) {
                    context.epochs.placed(place.0, base, place.1);
                }
                self.finish(op, Event::ProduceAcked { op, base_offset }, context);
            }
            ErrorCode::DuplicateSequenceNumber => {
                self.finish(op, Event::ProduceAcked { op, base_offset: None }, context);
            }
            ErrorCode::CorruptMessage | ErrorCode::InvalidRecord if corrupt => {
                context.counters.count("client: corrupt batch refused");
                self.finish(op, Event::ProduceFailed { op }, context);
            }
            ErrorCode::UnknownTopicId if context.topics[batch.place.topic].id != batch.topic_id => {
                // An earlier attempt may have been appended before the topic went.
                context.counters.count("client: produce to a deleted topic");
                self.finish(op, Event::ProduceIndeterminate { op }, context);
            }
            code => self.on_error(code, context),
        }
    }

    fn finish(&mut self, op: Op, event: Event, context: &mut Context<'_>) {
        if let Some(batch) = self.batches.iter().find(|batch| batch.op == op) {
            let partition = batch.place.partition.0;
            match event {
                Event::ProduceAcked { .. } => context.watch.acknowledged(partition, context.now),
                _ => context.watch.dropped(partition),
            }
        }
        self.batches.retain(|batch| batch.op != op);
        context.ids.done += 1;
        context.counters.count("client: produce answered");
        context.record(event);
        context.wake_soon(200);
    }
}

impl Client for Producer {
    fn wake(&mut self, context: &mut Context<'_>) {
        if self.link.is_overdue(context.now) {
            context.counters.count("client: answer overdue");
            if context.patience.is_some() {
                // Stock clients ask for the leaders anew. Elsewhere kept seeds stay what they were.
                self.link.mislead();
            }
            return self.back_off(context);
        }
        if !context.draining && context.dice.below(300) == 0 {
            return self.start_over(context);
        }
        if context.draining && self.batches.is_empty() {
            return;
        }
        if self.acks == 0 {
            return self.send_unanswered(context);
        }
        if self.idempotent && self.identity.is_none() {
            if !self.asking_identity {
                if !self.link.reach(&Target::Any, context) {
                    return context.wake_soon(20_000);
                }
                self.asking_identity = true;
                let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
                self.link.send(&request, 4, context);
            }
            return context.wake_soon(500_000);
        }
        self.send_waiting(context);
        if !context.draining && self.batches.len() < self.window {
            let place = context.any_place(self.version >= BY_ID_VERSION);
            self.new_batch(place, context);
            self.send_waiting(context);
        }
        if self.in_flight.is_empty() {
            // Nobody listens, or nobody knows yet where to send.
            return context.wake_soon(20_000);
        }
        context.wake_soon(if self.batches.len() < self.window { 2_000 } else { 500_000 });
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        if self.asking_identity { self.on_identity(frame, context) } else { self.on_produced(frame, context) }
    }

    fn lost(&mut self, context: &mut Context<'_>) {
        self.link.lost();
        self.forget_connection(context);
        context.wake_soon(10_000);
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }

    fn describe(&self) -> String {
        let sends: Vec<u32> = self.batches.iter().map(|batch| batch.sends).collect();
        let error = self.last_error.map_or("none", ErrorCode::name);
        format!("{:?}: batches sent {sends:?} times without success, last error {error}", self.key)
    }
}
