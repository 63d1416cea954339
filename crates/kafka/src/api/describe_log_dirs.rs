//! DescribeLogDirs (key 35): how large the partitions on this node are (KIP-113). A node has one directory, and its replicas are never
//! moved between directories, so no future replicas are told.

use broker::Request;
use broker::request::{DescribeLogDirs, DescribeLogDirsResponse as Answer};

use crate::message::ApiKey;
use crate::message::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::session::SessionError;

use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: DescribeLogDirsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DescribeLogDirsResponse, Kept>, SessionError> {
    let asked = message.topics.as_deref().unwrap_or_default();
    context.admit(ApiKey::DescribeLogDirs, asked.iter().map(|topic| 1 + topic.partitions.len()).sum())?;
    let topics = message
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect());
    Ok(Asked::Core(Request::DescribeLogDirs(DescribeLogDirs { topics }), ()))
}

/// Writes the core's answer. The sizes of the volume (version 4) keep Kafka's value for unknown, -1.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeLogDirsResponse {
    let topics = answer.topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|held| DescribeLogDirsPartition {
            partition_index: held.index,
            partition_size: i64::try_from(held.bytes).unwrap_or(i64::MAX),
            // How far a replica's log end is behind the high watermark that it knows: here they are one.
            offset_lag: 0,
            is_future_key: false,
        });
        DescribeLogDirsTopic { name: name.into(), partitions: partitions.collect() }
    });
    let result = DescribeLogDirsResult {
        log_dir: answer.path.into(),
        topics: topics.collect(),
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}
