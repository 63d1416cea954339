//! The administrator: makes the topics, learns their ids, deletes old records now and then, and lets one topic die and
//! be made again under its name.

use super::link::{Link, Target};
use super::{Client, Context, Place};
use bytes::Bytes;
use checker::{Event, Partition};
use kafka::frame::decode_response;
use kafka::message::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use kafka::message::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use kafka::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use kafka::message::metadata::{MetadataRequest, MetadataRequestTopic};
use kafka::wire::{Str, Uuid};
use model::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Versions sent.
const CREATE_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
const DELETE_RECORDS_VERSION: i16 = 2;
const DELETE_TOPICS_VERSION: i16 = 6;

/// A question under way.
enum Asked {
    Create { topic: usize },
    Ids,
    DeleteRecords { place: Place },
    DeleteTopic { topic: usize, id: Uuid },
}

/// A topic whose deletion was begun.
struct Dying {
    topic: usize,
    id: Uuid,
    sends: u32,
}

/// The administrator.
pub struct Admin {
    link: Link,
    asked: Option<Asked>,
    /// Topics that are there, as far as answers told.
    made: BTreeSet<usize>,
    /// Creations sent of the topic that is being made: an answer may have been lost.
    creations: u32,
    /// A creation went unanswered: it may still be on its way, and take the name at any time.
    lost_creation: bool,
    knows_ids: bool,
    dying: Option<Dying>,
    deletes: bool,
    /// Log starts, as last told.
    starts: BTreeMap<u32, i64>,
}

impl Admin {
    pub fn new(context: &mut Context<'_>) -> Admin {
        Admin {
            link: Link::new("sim-admin"),
            asked: None,
            made: BTreeSet::new(),
            creations: 0,
            lost_creation: false,
            knows_ids: false,
            dying: None,
            deletes: context.dice.coin(),
            starts: BTreeMap::new(),
        }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        if self.dying.is_some() {
            self.delete_topic(context);
        } else if let Some(topic) = (0..context.topics.len()).find(|topic| !self.made.contains(topic)) {
            self.create(topic, context);
        } else if context.topics.iter().any(|topic| topic.id.is_zero()) {
            self.ask_ids(context);
        } else if context.draining {
        } else if context.dice.below(4) == 0 {
            self.begin_deletion(context);
        } else if self.deletes {
            self.delete_records(context);
        }
    }

    fn create(&mut self, at: usize, context: &mut Context<'_>) {
        if !self.link.reach(&Target::Any, context) {
            return;
        }
        let known = &context.topics[at];
        let config = |(name, value): &(&'static str, i64)| CreatableTopicConfig {
            name: Str::from_static(name),
            value: Some(Str::from(value.to_string())),
        };
        let topic = CreatableTopic {
            name: Str::from_static(known.name),
            num_partitions: known.partitions,
            replication_factor: known.replicas as i16,
            configs: known.configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 2_000, validate_only: false };
        self.creations += 1;
        self.link.send(&request, CREATE_VERSION, context);
        self.asked = Some(Asked::Create { topic: at });
    }

    fn ask_ids(&mut self, context: &mut Context<'_>) {
        if !self.link.reach(&Target::Any, context) {
            return;
        }
        let named = |topic: &super::Topic| MetadataRequestTopic {
            topic_id: Uuid::ZERO,
            name: Some(Str::from_static(topic.name)),
        };
        let request = MetadataRequest {
            topics: Some(context.topics.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.link.send(&request, METADATA_VERSION, context);
        self.asked = Some(Asked::Ids);
    }

    /// From here on nobody begins anything new with the topic; what is under way may still reach it.
    fn begin_deletion(&mut self, context: &mut Context<'_>) {
        let Some(topic) = (0..context.topics.len()).find(|at| context.topics[*at].mortal) else { return };
        let id = std::mem::replace(&mut context.topics[topic].id, Uuid::ZERO);
        self.dying = Some(Dying { topic, id, sends: 0 });
        self.delete_topic(context);
    }

    fn delete_topic(&mut self, context: &mut Context<'_>) {
        if !self.link.reach(&Target::Any, context) {
            return;
        }
        let Some(dying) = &mut self.dying else { return };
        dying.sends += 1;
        let (topic, id) = (dying.topic, dying.id);
        let state = DeleteTopicState { name: None, topic_id: id };
        let request = DeleteTopicsRequest { topics: vec![state], topic_names: Vec::new(), timeout_ms: 2_000 };
        self.link.send(&request, DELETE_TOPICS_VERSION, context);
        self.asked = Some(Asked::DeleteTopic { topic, id });
    }

    fn delete_records(&mut self, context: &mut Context<'_>) {
        let place = context.any_place(false);
        if !self.link.reach(&Target::Leader(place), context) {
            return;
        }
        let before =
            self.starts.get(&place.partition.0).copied().unwrap_or(0) + context.dice.skewed(0, 30) as i64;
        context.record(Event::TrimInvoked { partition: place.partition, before });
        let partition = DeleteRecordsPartition { partition_index: place.index, offset: before };
        let topic = DeleteRecordsTopic { name: context.topic_name(place.topic), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000 };
        self.link.send(&request, DELETE_RECORDS_VERSION, context);
        self.asked = Some(Asked::DeleteRecords { place });
    }

    fn on_created(&mut self, frame: Bytes, topic: usize, context: &mut Context<'_>) {
        let response = match decode_response::<CreateTopicsRequest>(frame, CREATE_VERSION) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("CreateTopics: {error}")),
        };
        let code = response
            .topics
            .first()
            .map_or(ErrorCode::UnknownServerError, |topic| ErrorCode::from_code(topic.error_code));
        match code {
            ErrorCode::TopicAlreadyExists if !self.lost_creation => {
                context.fail("a deleted topic is gone", "its name is still taken".into());
            }
            ErrorCode::None | ErrorCode::TopicAlreadyExists => {
                let again = !context.topics[topic].buried.is_empty();
                context.counters.count(if again { "client: topic made again" } else { "client: topic made" });
                self.made.insert(topic);
                self.knows_ids = false;
                self.creations = 0;
            }
            code => {
                // A creation whose time was up may still be carried out.
                self.lost_creation = true;
                self.on_error(code, context);
            }
        }
    }

    fn on_ids(&mut self, frame: Bytes, context: &mut Context<'_>) {
        let response = match decode_response::<MetadataRequest>(frame, METADATA_VERSION) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("Metadata: {error}")),
        };
        for answer in &response.topics {
            let code = ErrorCode::from_code(answer.error_code);
            if code != ErrorCode::None {
                self.on_error(code, context);
                continue;
            }
            let named =
                |topic: &super::Topic| answer.name.as_ref().is_some_and(|name| name.as_str() == topic.name);
            let Some(at) = context.topics.iter().position(named) else { continue };
            let is_alone = context.is_alone();
            let topic = &mut context.topics[at];
            if topic.buried.contains(&answer.topic_id) {
                if !is_alone {
                    context.counters.count("client: id of a deleted topic told");
                    continue;
                }
                let detail = format!("{} has its old id again", topic.name);
                context.fail("a topic made again has a new id", detail);
                return;
            }
            if topic.id.is_zero() {
                topic.id = answer.topic_id;
                Admin::tell_retention(at, context);
            }
        }
        self.knows_ids = Admin::has_topics(context.topics);
    }

    /// The checkers hear of what may go by age or size.
    fn tell_retention(at: usize, context: &mut Context<'_>) {
        let topic = context.topics[at].clone();
        let of = |name| topic.configs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let (millis, bytes) = (of("retention.ms"), of("retention.bytes"));
        if millis.is_none() && bytes.is_none() {
            return;
        }
        for partition in (topic.first..).map(Partition).take(topic.partitions as usize) {
            let bytes = bytes.map(i64::unsigned_abs);
            context.record(Event::RetentionSet { partition, millis, bytes });
        }
    }

    fn on_records_deleted(&mut self, frame: Bytes, place: Place, context: &mut Context<'_>) {
        let response = match decode_response::<DeleteRecordsRequest>(frame, DELETE_RECORDS_VERSION) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("DeleteRecords: {error}")),
        };
        let Some(answer) = response.topics.first().and_then(|topic| topic.partitions.first()) else {
            return context.fail("answers complete", "DeleteRecords: no partition".into());
        };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                context.counters.count("client: records deleted");
                context.ids.done += 1;
                self.starts.insert(place.partition.0, answer.low_watermark);
            }
            ErrorCode::OffsetOutOfRange => context.counters.count("client: delete out of range"),
            code => self.on_error(code, context),
        }
    }

    fn on_topic_deleted(&mut self, frame: Bytes, at: usize, id: Uuid, context: &mut Context<'_>) {
        let response = match decode_response::<DeleteTopicsRequest>(frame, DELETE_TOPICS_VERSION) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("DeleteTopics: {error}")),
        };
        let code = response
            .responses
            .first()
            .map_or(ErrorCode::UnknownServerError, |topic| ErrorCode::from_code(topic.error_code));
        let sent_before = self.dying.as_ref().is_some_and(|dying| dying.sends > 1);
        match code {
            ErrorCode::UnknownTopicId if !sent_before => {
                context.fail("a topic stays until it is deleted", "it is not known by its id".into());
            }
            ErrorCode::None | ErrorCode::UnknownTopicId => {
                context.counters.count("client: topic deleted");
                context.ids.done += 1;
                self.dying = None;
                self.made.remove(&at);
                self.knows_ids = false;
                let first = context.ids.partitions(context.topics[at].partitions);
                let topic = &mut context.topics[at];
                topic.buried.push(id);
                topic.first = first;
            }
            code => self.on_error(code, context),
        }
    }

    fn on_error(&mut self, code: ErrorCode, context: &mut Context<'_>) {
        if !code.is_retriable() {
            context.fail(
                "errors fit what was asked",
                format!("the administrator was answered with {}", code.name()),
            );
        }
        context.counters.count("client: administrator refused, tries again");
        self.link.mislead();
    }

    /// Whether topics and their ids are known: the other clients may begin.
    pub fn has_topics(topics: &[super::Topic]) -> bool {
        topics.iter().all(|topic| !topic.id.is_zero())
    }

    fn forget_question(&mut self) {
        self.lost_creation |= matches!(self.asked.take(), Some(Asked::Create { .. }));
    }

    fn has_work(&self, context: &Context<'_>) -> bool {
        self.dying.is_some()
            || self.made.len() < context.topics.len()
            || !Admin::has_topics(context.topics)
            || !context.draining
    }
}

impl Client for Admin {
    fn wake(&mut self, context: &mut Context<'_>) {
        if self.link.is_overdue(context.now) {
            self.link.close(context);
            self.forget_question();
        }
        if self.asked.is_none() && self.has_work(context) {
            self.ask(context);
            if self.asked.is_none() && self.has_work(context) {
                return context.wake_soon(20_000);
            }
        }
        if self.asked.is_some() || self.has_work(context) {
            context.wake_in(Duration::from_millis(300));
        }
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        match self.asked.take() {
            Some(Asked::Create { topic }) => self.on_created(frame, topic, context),
            Some(Asked::Ids) => self.on_ids(frame, context),
            Some(Asked::DeleteRecords { place }) => self.on_records_deleted(frame, place, context),
            Some(Asked::DeleteTopic { topic, id }) => self.on_topic_deleted(frame, topic, id, context),
            None => context.fail("answers belong to questions", "the administrator did not ask".into()),
        }
        let pause = if Admin::has_topics(context.topics) { 200_000 } else { 2_000 };
        context.wake_soon(pause);
    }

    fn lost(&mut self, context: &mut Context<'_>) {
        self.link.lost();
        self.forget_question();
        context.wake_soon(10_000);
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn is_idle(&self) -> bool {
        self.asked.is_none() && self.is_settled()
    }

    fn is_settled(&self) -> bool {
        self.dying.is_none() && self.creations == 0 && self.knows_ids
    }

    fn describe(&self) -> String {
        let (dying, creations) = (self.dying.is_some(), self.creations);
        format!("the administrator waits for an answer (deletes: {dying}, creations sent: {creations})")
    }
}
