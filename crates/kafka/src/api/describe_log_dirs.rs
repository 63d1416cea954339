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

/// Kafka's value for a size that is not known.
const UNKNOWN_BYTES: i64 = -1;

/// Writes the core's answer. Sizes of the volume are told from version 4 on.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeLogDirsResponse {
    let topics = answer.topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|held| DescribeLogDirsPartition {
            partition_index: held.index,
            partition_size: size(held.bytes),
            // How far a replica's log end is behind the high watermark that it knows: here they are one.
            offset_lag: 0,
            is_future_key: false,
        });
        DescribeLogDirsTopic { name: name.into(), partitions: partitions.collect() }
    });
    let result = DescribeLogDirsResult {
        log_dir: answer.path.into(),
        topics: topics.collect(),
        total_bytes: answer.volume.map_or(UNKNOWN_BYTES, |volume| size(volume.total_bytes)),
        usable_bytes: answer.volume.map_or(UNKNOWN_BYTES, |volume| size(volume.usable_bytes)),
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
