//! OffsetForLeaderEpoch (key 23): where a leader epoch ended, so that a client finds what a failover took (KIP-320).

use broker::Request;
use broker::request::{EpochQuery, OffsetForLeaderEpoch, OffsetForLeaderEpochResponse as Answer};

use crate::message::ApiKey;
use crate::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use crate::session::SessionError;

use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: OffsetForLeaderEpochRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<OffsetForLeaderEpochResponse, Kept>, SessionError> {
    let entries = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::OffsetForLeaderEpoch, entries)?;
    let topics = message.topics.iter().map(|topic| {
        let queries = topic.partitions.iter().map(|partition| EpochQuery {
            index: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            leader_epoch: partition.leader_epoch,
        });
        (topic.topic.to_string(), queries.collect())
    });
    let ask = OffsetForLeaderEpoch { topics: topics.collect() };
    Ok(Asked::Core(Request::OffsetForLeaderEpoch(ask), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> OffsetForLeaderEpochResponse {
    let topics = answer.topics.into_iter().map(|(topic, ends)| {
        let partitions = ends.iter().map(|end| EpochEndOffset {
            error_code: end.error.code(),
            partition: end.index,
            leader_epoch: end.leader_epoch,
            end_offset: end.end_offset,
        });
        OffsetForLeaderTopicResult { topic: topic.into(), partitions: partitions.collect() }
    });
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }
}
