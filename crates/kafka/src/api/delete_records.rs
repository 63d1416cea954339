//! DeleteRecords (key 21): raise the log start of partitions.

use broker::Request;
use broker::request::{DeleteRecords, DeleteRecordsResponse as Answer};

use crate::message::ApiKey;
use crate::message::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::session::SessionError;

use super::topic_ref::wait;
use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: DeleteRecordsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DeleteRecordsResponse, Kept>, SessionError> {
    let entries = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::DeleteRecords, entries)?;
    let topics = message.topics.iter().map(|topic| {
        let starts = topic.partitions.iter().map(|partition| (partition.partition_index, partition.offset));
        (topic.name.to_string(), starts.collect())
    });
    let delete = DeleteRecords { topics: topics.collect(), timeout: wait(message.timeout_ms) };
    Ok(Asked::Core(Request::DeleteRecords(delete), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DeleteRecordsResponse {
    let topics = answer.topics.into_iter().map(|(name, starts)| {
        let partitions = starts.into_iter().map(|(partition_index, low_watermark, error)| {
            DeleteRecordsPartitionResult { partition_index, low_watermark, error_code: error.code() }
        });
        DeleteRecordsTopicResult { name: name.into(), partitions: partitions.collect() }
    });
    DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() }
}
