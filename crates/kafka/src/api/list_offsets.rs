//! ListOffsets (key 2): offsets by timestamp. Negative timestamps have names of their own, each from some version on. The
//! core finds the batch; the record inside it is found here, on the connection's task, by a bounded decompression.

use broker::Request;
use broker::request::{
    FoundOffset, ListOffsets, ListOffsetsPartition, ListOffsetsResponse as Answer, ListOffsetsTopic,
    ListedPartition, OffsetTarget,
};
use model::{ErrorCode, StoredBatch};

use crate::message::ApiKey;
use crate::message::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::records::{self, RecordsError};
use crate::session::SessionError;
use crate::wire::Uuid;

use super::topic_ref::{answered, asked};
use super::{Asked, Context, DecompressionBudget};

/// First version with leader epochs.
const EPOCH_FROM: i16 = 4;

/// What the answer needs from the question: partitions refused here, by place (topic, partition) in ascending order.
pub(crate) type Kept = Vec<RefusedPlace>;

/// A partition that the core was not asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedPlace {
    topic: usize,
    partition: usize,
    index: i32,
    code: ErrorCode,
}

/// Asks the core for all that the version allows.
pub(crate) fn request(
    message: ListOffsetsRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<ListOffsetsResponse, Kept>, SessionError> {
    let entries = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::ListOffsets, entries)?;
    let request_refusal = if message.replica_id >= 0 {
        Some(ErrorCode::ClusterAuthorizationFailed)
    } else if !matches!(message.isolation_level, 0 | 1) {
        Some(ErrorCode::InvalidRequest)
    } else {
        None
    };
    let mut refused = Vec::new();
    let mut topics = Vec::with_capacity(message.topics.len());
    for (topic_at, topic) in message.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (partition_at, partition) in topic.partitions.iter().enumerate() {
            let target = match request_refusal {
                Some(code) => Err(code),
                None => target(partition.timestamp, version),
            };
            let index = partition.partition_index;
            match target {
                Ok(target) => partitions.push(ListOffsetsPartition {
                    index,
                    current_leader_epoch: partition.current_leader_epoch,
                    target,
                }),
                Err(code) => {
                    refused.push(RefusedPlace { topic: topic_at, partition: partition_at, index, code });
                }
            }
        }
        topics.push(ListOffsetsTopic { topic: asked(&topic.name, Uuid::ZERO, false), partitions });
    }
    let list = ListOffsets { read_committed: message.isolation_level == 1, topics };
    Ok(Asked::Core(Request::ListOffsets(list), refused))
}

/// What a timestamp stands for in `version`.
fn target(timestamp: i64, version: i16) -> Result<OffsetTarget, ErrorCode> {
    let (target, from) = match timestamp {
        0.. => (OffsetTarget::Timestamp(timestamp), 1),
        -1 => (OffsetTarget::Latest, 1),
        -2 => (OffsetTarget::Earliest, 1),
        -3 => (OffsetTarget::MaxTimestamp, 7),
        -4 => (OffsetTarget::EarliestLocal, 8),
        -5 => (OffsetTarget::LatestTiered, 9),
        // The earliest offset that tiering has still to copy (KIP-1023's companion): as -5, none without tiering.
        -6 => (OffsetTarget::LatestTiered, 11),
        _ => return Err(ErrorCode::InvalidRequest),
    };
    if version < from { Err(ErrorCode::UnsupportedVersion) } else { Ok(target) }
}

/// Writes the core's answer and puts what was refused here back to its place.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    kept: Kept,
    context: &mut Context<'_>,
) -> ListOffsetsResponse {
    let mut budget = DecompressionBudget::new(context.config);
    let mut refused = kept.into_iter().peekable();
    let topics = answer.topics.into_iter().enumerate().map(|(topic_at, topic)| {
        let (name, _) = answered(topic.topic);
        let mut partitions: Vec<_> = topic
            .partitions
            .iter()
            .map(|partition| write_partition(partition, version, &mut budget))
            .collect();
        while let Some(place) = refused.next_if(|place| place.topic == topic_at) {
            partitions.insert(place.partition, write_error(place.index, place.code));
        }
        ListOffsetsTopicResponse { name, partitions }
    });
    ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn write_error(partition_index: i32, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: code.code(),
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    }
}

fn write_partition(
    partition: &ListedPartition,
    version: i16,
    budget: &mut DecompressionBudget,
) -> ListOffsetsPartitionResponse {
    if !partition.error.is_none() {
        return write_error(partition.index, partition.error);
    }
    let (timestamp, offset, epoch) = match &partition.found {
        FoundOffset::Nothing => (-1, -1, -1),
        FoundOffset::Offset { offset, leader_epoch } => (-1, *offset, *leader_epoch),
        FoundOffset::InBatch { batch, timestamp, from } => match find(batch, *timestamp, *from, budget) {
            Ok((timestamp, offset)) => (timestamp, offset, batch.leader_epoch.0),
            Err(code) => return write_error(partition.index, code),
        },
    };
    let leader_epoch = if version >= EPOCH_FROM { epoch } else { -1 };
    ListOffsetsPartitionResponse {
        partition_index: partition.index,
        error_code: 0,
        timestamp,
        offset,
        leader_epoch,
    }
}

/// Timestamp and offset of the batch's first record at or after `timestamp` and at or behind `from`. When records before
/// `from` were all there is, the place behind the batch: reading on from there misses nothing.
fn find(
    batch: &StoredBatch,
    timestamp: i64,
    from: i64,
    budget: &mut DecompressionBudget,
) -> Result<(i64, i64), ErrorCode> {
    // It was whole when it was appended: what fails now, the disk took since.
    let damaged = |_: RecordsError| ErrorCode::CorruptMessage;
    // Clients ask again, for the partitions that are left.
    let bytes_max = budget.next().ok_or(ErrorCode::OffsetNotAvailable)?;
    let base = batch.base_offset.0;
    let sought = records::seek(batch.as_produced(), timestamp, bytes_max);
    budget.spend(sought.as_ref().ok().map(|(_, cost)| *cost));
    let (found, _) = sought.map_err(damaged)?;
    if let Some(record) = found
        && base + i64::from(record.offset_delta) >= from
    {
        return Ok((record.timestamp, base + i64::from(record.offset_delta)));
    }
    // The log starts inside this batch: look through all of it, once in a log's life.
    budget.spend(None);
    for record in records::records(&batch.to_contiguous(), bytes_max).map_err(damaged)? {
        let record = record.map_err(damaged)?;
        if record.offset >= from && record.timestamp >= timestamp {
            return Ok((record.timestamp, record.offset));
        }
    }
    Ok((batch.max_timestamp, batch.next_offset().0))
}
