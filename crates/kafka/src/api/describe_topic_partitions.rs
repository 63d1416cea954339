//! DescribeTopicPartitions (key 75): topics with their partitions, page by page (KIP-966). Replicas that may be elected outside the
//! in-sync ones do not exist here: who leads has everything acknowledged, always. Their lists are empty, as Kafka's are while all is well.

use broker::Request;
use broker::request::{
    DescribeTopicPartitions, DescribeTopicPartitionsResponse as Answer, PartitionCursor, PartitionMetadata,
    TopicMetadata,
};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::{numbers, size, uuid};
use super::{Asked, Context, operations};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core. A cursor must lie in a topic that is asked for.
pub(crate) fn request(
    message: DescribeTopicPartitionsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DescribeTopicPartitionsResponse, Kept>, SessionError> {
    context.admit(ApiKey::DescribeTopicPartitions, message.topics.len())?;
    let is_asked =
        |cursor: &Str| message.topics.is_empty() || message.topics.iter().any(|topic| topic.name == *cursor);
    if let Some(cursor) = &message.cursor
        && (cursor.partition_index < 0 || !is_asked(&cursor.topic_name))
    {
        return Ok(Asked::Answer(refuse_all(&message, ErrorCode::InvalidRequest)));
    }
    let names = message.topics.iter().map(|topic| topic.name.to_string());
    let cursor = message.cursor.as_ref().map(|cursor| PartitionCursor {
        topic: cursor.topic_name.to_string(),
        index: cursor.partition_index,
    });
    let describe = DescribeTopicPartitions {
        topics: (!message.topics.is_empty()).then(|| names.collect()),
        partitions_max: size(message.response_partition_limit).max(1),
        cursor,
    };
    Ok(Asked::Core(Request::DescribeTopicPartitions(describe), ()))
}

/// Writes the core's answer. Nobody needs to ask for the sets of authorized operations.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeTopicPartitionsResponse {
    DescribeTopicPartitionsResponse {
        throttle_time_ms: 0,
        topics: answer.topics.into_iter().map(write_topic).collect(),
        next_cursor: answer
            .next
            .map(|next| ResponseCursor { topic_name: next.topic.into(), partition_index: next.index }),
    }
}

fn write_topic(topic: TopicMetadata) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: topic.error.code(),
        name: topic.name.map(Str::from),
        topic_id: uuid(topic.id),
        is_internal: topic.is_internal,
        partitions: topic.partitions.iter().map(write_partition).collect(),
        topic_authorized_operations: operations::told(true, topic.error.code(), operations::TOPIC),
    }
}

/// A partition without a leader is no error here, unlike in Metadata: the leader is -1.
fn write_partition(partition: &PartitionMetadata) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        error_code: 0,
        partition_index: partition.index,
        leader_id: partition.leader.map_or(-1, |node| node.0),
        leader_epoch: partition.leader_epoch,
        replica_nodes: numbers(&partition.replicas),
        isr_nodes: numbers(&partition.in_sync),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: numbers(&partition.offline),
    }
}

fn refuse_all(message: &DescribeTopicPartitionsRequest, code: ErrorCode) -> DescribeTopicPartitionsResponse {
    let topics = message.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(topic.name.clone()),
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..DescribeTopicPartitionsResponse::default() }
}
