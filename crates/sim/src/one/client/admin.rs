//! The administrator: makes the topics, learns their ids, and deletes old records now and then.

use super::link::Link;
use super::{Client, Context, Place};
use bytes::Bytes;
use checker::Event;
use kafka::frame::decode_response;
use kafka::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use kafka::message::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use kafka::message::metadata::{MetadataRequest, MetadataRequestTopic};
use kafka::wire::{Str, Uuid};
use model::ErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Versions sent.
const CREATE_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
const DELETE_VERSION: i16 = 2;

/// A question under way.
enum Asked {
    Create { topic: usize },
    Ids,
    Delete { place: Place },
}

/// The administrator.
pub struct Admin {
    link: Link,
    asked: Option<Asked>,
    made: usize,
    deletes: bool,
    /// Log starts, as last told.
    starts: BTreeMap<u32, i64>,
}

impl Admin {
    pub fn new(context: &mut Context<'_>) -> Admin {
        Admin {
            link: Link::new("sim-admin"),
            asked: None,
            made: 0,
            deletes: context.dice.coin(),
            starts: BTreeMap::new(),
        }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        if self.made < context.topics.len() {
            let topic = CreatableTopic {
                name: context.topic_name(self.made),
                num_partitions: context.topics[self.made].partitions,
                replication_factor: -1,
                ..CreatableTopic::default()
            };
            let request =
                CreateTopicsRequest { topics: vec![topic], timeout_ms: 2_000, validate_only: false };
            self.link.send(&request, CREATE_VERSION, context);
            self.asked = Some(Asked::Create { topic: self.made });
        } else if context.topics.iter().any(|topic| topic.id.is_zero()) {
            let topics = context
                .topics
                .iter()
                .map(|topic| MetadataRequestTopic {
                    topic_id: Uuid::ZERO,
                    name: Some(Str::from_static(topic.name)),
                })
                .collect();
            let request = MetadataRequest {
                topics: Some(topics),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
            };
            self.link.send(&request, METADATA_VERSION, context);
            self.asked = Some(Asked::Ids);
        } else if self.deletes && !context.draining {
            let place = context.any_place();
            let before =
                self.starts.get(&place.partition.0).copied().unwrap_or(0) + context.dice.skewed(0, 30) as i64;
            context.record(Event::TrimInvoked { partition: place.partition, before });
            let partition = DeleteRecordsPartition { partition_index: place.index, offset: before };
            let topic =
                DeleteRecordsTopic { name: context.topic_name(place.topic), partitions: vec![partition] };
            let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000 };
            self.link.send(&request, DELETE_VERSION, context);
            self.asked = Some(Asked::Delete { place });
        }
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
            ErrorCode::None | ErrorCode::TopicAlreadyExists => {
                context.counters.count("client: topic made");
                self.made = topic + 1;
            }
            code => self.on_error(code, context),
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
            for topic in context.topics.iter_mut() {
                if answer.name.as_ref().is_some_and(|name| name.as_str() == topic.name) {
                    topic.id = answer.topic_id;
                }
            }
        }
    }

    fn on_deleted(&mut self, frame: Bytes, place: Place, context: &mut Context<'_>) {
        let response = match decode_response::<DeleteRecordsRequest>(frame, DELETE_VERSION) {
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

    fn on_error(&mut self, code: ErrorCode, context: &mut Context<'_>) {
        if !code.is_retriable() {
            context.fail(
                "errors fit what was asked",
                format!("the administrator was answered with {}", code.name()),
            );
        }
        context.counters.count("client: administrator refused, tries again");
    }

    /// Whether topics and their ids are known: the other clients may begin.
    pub fn has_topics(topics: &[super::Topic]) -> bool {
        topics.iter().all(|topic| !topic.id.is_zero())
    }
}

impl Client for Admin {
    fn wake(&mut self, context: &mut Context<'_>) {
        if self.link.is_overdue(context.now) {
            self.link.close(context);
            self.asked = None;
        }
        if self.asked.is_none() {
            if !self.link.connect(context) {
                return context.wake_soon(20_000);
            }
            self.ask(context);
        }
        if self.asked.is_some() || !context.draining {
            context.wake_in(Duration::from_millis(300));
        }
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        match self.asked.take() {
            Some(Asked::Create { topic }) => self.on_created(frame, topic, context),
            Some(Asked::Ids) => self.on_ids(frame, context),
            Some(Asked::Delete { place }) => self.on_deleted(frame, place, context),
            None => context.fail("answers belong to questions", "the administrator did not ask".into()),
        }
        let pause = if Admin::has_topics(context.topics) { 200_000 } else { 2_000 };
        context.wake_soon(pause);
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
        "the administrator waits for an answer".into()
    }
}
