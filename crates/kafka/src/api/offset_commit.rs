//! OffsetCommit (key 8): remember positions of a group. A retention time of old clients is ignored (KIP-211).

use broker::Request;
use broker::request::{OffsetCommit, OffsetCommitResponse as Answer, OffsetToCommit};

use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::session::SessionError;

use super::topic_ref::{answered, asked};
use super::{Asked, Context};

/// First version that tells a group which does not exist from a generation which has passed.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// First version that names topics by id.
const BY_ID_FROM: i16 = 10;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: OffsetCommitRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<OffsetCommitResponse, Kept>, SessionError> {
    let entries = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::OffsetCommit, entries)?;
    let topics = message.topics.into_iter().map(|topic| {
        let positions = topic.partitions.into_iter().map(|partition| OffsetToCommit {
            index: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata.map(String::from),
        });
        (asked(&topic.name, topic.topic_id, version >= BY_ID_FROM), positions.collect())
    });
    let commit = OffsetCommit {
        group: message.group_id.to_string(),
        generation: message.generation_id_or_member_epoch,
        member_id: message.member_id.to_string(),
        instance_id: message.group_instance_id.map(String::from),
        topics: topics.collect(),
    };
    Ok(Asked::Core(Request::OffsetCommit(commit), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> OffsetCommitResponse {
    let code = |error| match error {
        ErrorCode::GroupIdNotFound if version < GROUP_ID_NOT_FOUND_FROM => {
            ErrorCode::IllegalGeneration.code()
        }
        error => error.code(),
    };
    let topics = answer.topics.into_iter().map(|(topic, partitions)| {
        let (name, topic_id) = answered(topic);
        let partitions = partitions.into_iter().map(|(partition_index, error)| {
            OffsetCommitResponsePartition { partition_index, error_code: code(error) }
        });
        OffsetCommitResponseTopic { name, topic_id, partitions: partitions.collect() }
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}
