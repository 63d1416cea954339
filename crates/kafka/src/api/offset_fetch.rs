//! OffsetFetch (key 9): positions of one group until version 7, of several from 8 on.

use broker::Request;
use broker::request::{
    FetchedGroup, FetchedOffset, OffsetFetch, OffsetFetchGroup, OffsetFetchResponse as Answer, TopicRef,
};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::{answered, asked};
use super::{Asked, Context};

/// First version that can say that the whole group failed.
const GROUP_ERROR_FROM: i16 = 2;
/// First version that asks for several groups.
const BATCH_FROM: i16 = 8;
/// First version that names topics by id.
const BY_ID_FROM: i16 = 10;

/// What the answer needs from the question: the topics asked for, in versions that must repeat a group's error on each.
pub(crate) type Kept = Vec<OffsetFetchRequestTopic>;

/// Asks the core.
pub(crate) fn request(
    message: OffsetFetchRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<OffsetFetchResponse, Kept>, SessionError> {
    let of_topics = |topics: &Option<Vec<OffsetFetchRequestTopics>>| -> usize {
        topics.iter().flatten().map(|topic| 1 + topic.partition_indexes.len()).sum()
    };
    let single: usize = message.topics.iter().flatten().map(|topic| 1 + topic.partition_indexes.len()).sum();
    let several: usize = message.groups.iter().map(|group| 1 + of_topics(&group.topics)).sum();
    context.admit(ApiKey::OffsetFetch, single + several)?;
    let mut kept = Vec::new();
    let groups = if version < BATCH_FROM {
        let topics = message.topics.as_ref().map(|topics| {
            let named = topics
                .iter()
                .map(|topic| (TopicRef::Name(topic.name.to_string()), topic.partition_indexes.clone()));
            named.collect()
        });
        let group = message.group_id.to_string();
        if version < GROUP_ERROR_FROM {
            kept = message.topics.unwrap_or_default();
        }
        vec![OffsetFetchGroup { group, member_id: None, member_epoch: -1, topics }]
    } else {
        message.groups.into_iter().map(|group| read_group(group, version)).collect()
    };
    let fetch =
        OffsetFetch { groups, require_stable: message.require_stable, topic_ids: version >= BY_ID_FROM };
    Ok(Asked::Core(Request::OffsetFetch(fetch), kept))
}

fn read_group(group: OffsetFetchRequestGroup, version: i16) -> OffsetFetchGroup {
    let topics = group.topics.map(|topics| {
        let named = topics.into_iter().map(|topic| {
            (asked(&topic.name, topic.topic_id, version >= BY_ID_FROM), topic.partition_indexes)
        });
        named.collect()
    });
    OffsetFetchGroup {
        group: group.group_id.to_string(),
        member_id: group.member_id.map(String::from),
        member_epoch: group.member_epoch,
        topics,
    }
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    kept: Kept,
    _context: &mut Context<'_>,
) -> OffsetFetchResponse {
    if version >= BATCH_FROM {
        let groups = answer.groups.into_iter().map(write_group);
        return OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() };
    }
    let group = answer.groups.into_iter().next();
    let group = group.unwrap_or_else(|| FetchedGroup {
        group: String::new(),
        error: ErrorCode::UnknownServerError,
        topics: Vec::new(),
    });
    if version < GROUP_ERROR_FROM && !group.error.is_none() {
        let topics = kept.into_iter().map(|topic| refuse_topic(topic, group.error));
        return OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() };
    }
    let topics = group.topics.into_iter().map(|(topic, positions)| OffsetFetchResponseTopic {
        name: answered(topic).0,
        partitions: positions.into_iter().map(write_old).collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error.code(),
        ..OffsetFetchResponse::default()
    }
}

fn write_group(group: FetchedGroup) -> OffsetFetchResponseGroup {
    let topics = group.topics.into_iter().map(|(topic, positions)| {
        let (name, topic_id) = answered(topic);
        let partitions = positions.into_iter().map(|position| OffsetFetchResponsePartitions {
            partition_index: position.index,
            committed_offset: position.offset,
            committed_leader_epoch: position.leader_epoch,
            metadata: metadata(position.metadata),
            error_code: position.error.code(),
        });
        OffsetFetchResponseTopics { name, topic_id, partitions: partitions.collect() }
    });
    OffsetFetchResponseGroup {
        group_id: group.group.into(),
        topics: topics.collect(),
        error_code: group.error.code(),
    }
}

fn write_old(position: FetchedOffset) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: position.index,
        committed_offset: position.offset,
        committed_leader_epoch: position.leader_epoch,
        metadata: metadata(position.metadata),
        error_code: position.error.code(),
    }
}

/// Kafka answers an empty text where nothing was committed with the offset; clients count on it.
fn metadata(metadata: Option<String>) -> Option<Str> {
    Some(metadata.map_or_else(Str::default, Str::from))
}

fn refuse_topic(topic: OffsetFetchRequestTopic, error: ErrorCode) -> OffsetFetchResponseTopic {
    let partitions =
        topic.partition_indexes.into_iter().map(|partition_index| OffsetFetchResponsePartition {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: metadata(None),
            error_code: error.code(),
        });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
}
