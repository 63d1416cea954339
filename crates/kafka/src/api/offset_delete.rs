//! OffsetDelete (key 47): positions of a group go, in topics that it does not read (KIP-496).

use broker::Request;
use broker::request::{OffsetDelete, OffsetDeleteResponse as Answer};

use crate::message::ApiKey;
use crate::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::session::SessionError;
use crate::wire::Uuid;

use super::topic_ref::{answered, asked};
use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: OffsetDeleteRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<OffsetDeleteResponse, Kept>, SessionError> {
    let entries = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::OffsetDelete, entries)?;
    let topics = message.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
        (asked(&topic.name, Uuid::ZERO, false), partitions.collect())
    });
    let delete = OffsetDelete { group: message.group_id.to_string(), topics: topics.collect() };
    Ok(Asked::Core(Request::OffsetDelete(delete), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> OffsetDeleteResponse {
    let topics = answer.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition_index, error)| {
            OffsetDeleteResponsePartition { partition_index, error_code: error.code() }
        });
        OffsetDeleteResponseTopic { name: answered(topic).0, partitions: partitions.collect() }
    });
    OffsetDeleteResponse { error_code: answer.error.code(), throttle_time_ms: 0, topics: topics.collect() }
}
