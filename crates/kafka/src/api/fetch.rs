//! Fetch (key 1): from `broker/partition/read` to the socket. Batches go out as pieces of the log: 16 bytes with this
//! log's offset and epoch, then the rest by reference. Sessions are resolved before the core is asked.

use broker::Request;
use broker::request::{Fetch, FetchResponse as Answer, FetchedPartition, FetchedTopic};
use bytes::{BufMut, BytesMut};
use model::batch::{ATTRIBUTE_CODEC_MASK, PATCHED_BYTES};
use model::{ErrorCode, StoredBatch};

use crate::message::ApiKey;
use crate::message::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use crate::session::SessionError;
use crate::session::fetch_session::{Cut, NO_SESSION, as_asked};
use crate::wire::{Records, Str};

use super::topic_ref::{answered, size, wait};
use super::{Asked, Context};

/// First version with sessions (KIP-227).
const SESSIONS_FROM: i16 = 7;
/// First version whose clients read zstd (KIP-110).
const ZSTD_FROM: i16 = 10;
/// First version with diverging epochs and the current leader.
const LEADER_FROM: i16 = 12;
/// First version that names topics by id.
const BY_ID_FROM: i16 = 13;
/// First version with the addresses of current leaders (KIP-951).
const ENDPOINTS_FROM: i16 = 16;
/// The codec bits of zstd.
const CODEC_ZSTD: i16 = 4;

/// What the answer needs from the question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    cut: Cut,
    read_committed: bool,
}

/// Resolves the session and asks the core.
pub(crate) fn request(
    message: FetchRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<FetchResponse, Kept>, SessionError> {
    let entries: usize = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    let forgotten: usize = message.forgotten_topics_data.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::Fetch, entries + forgotten)?;
    // Nodes replicate by their own protocol: a fetch in a broker's name is never one of ours.
    if message.replica_id >= 0 || message.replica_state.replica_id >= 0 {
        return Ok(Asked::Answer(refuse_all(&message, version, ErrorCode::ClusterAuthorizationFailed)));
    }
    if !matches!(message.isolation_level, 0 | 1) {
        return Ok(Asked::Answer(refuse_all(&message, version, ErrorCode::InvalidRequest)));
    }
    let by_id = version >= BY_ID_FROM;
    let plan = if version < SESSIONS_FROM {
        Ok((Cut::Full { session_id: NO_SESSION }, as_asked(&message, by_id)))
    } else {
        context.fetch_sessions.plan(&message, by_id)
    };
    let (cut, topics) = match plan {
        Ok(plan) => plan,
        Err(code) => return Ok(Asked::Answer(session_error(code, NO_SESSION))),
    };
    let bytes_max = size(message.max_bytes).min(context.config.fetch_bytes_max);
    let read_committed = message.isolation_level == 1;
    let fetch = Fetch {
        wait_max: wait(message.max_wait_ms),
        // More than can be sent would wait in vain.
        bytes_min: size(message.min_bytes).min(bytes_max),
        bytes_max,
        read_committed,
        rack: message.rack_id.to_string(),
        topics,
    };
    Ok(Asked::Core(Request::Fetch(fetch), Kept { cut, read_committed }))
}

/// Cuts the core's answer to the session and writes it.
pub(crate) fn response(answer: Answer, version: i16, kept: Kept, context: &mut Context<'_>) -> FetchResponse {
    let mut tell = Vec::new();
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    if let Err(code) = context.fetch_sessions.note(kept.cut, partitions, |news| tell.push(news)) {
        let (Cut::Full { session_id } | Cut::Incremental { session_id, .. }) = kept.cut;
        return session_error(code, session_id);
    }
    let batches =
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| &partition.batches);
    let mut prefixes = BytesMut::with_capacity(batches.map(Vec::len).sum::<usize>() * PATCHED_BYTES);
    let mut tell = tell.into_iter();
    let mut responses = Vec::with_capacity(answer.topics.len());
    for FetchedTopic { topic, partitions } in answer.topics {
        let mut told = Vec::with_capacity(partitions.len());
        for partition in partitions {
            if tell.next().expect("one for each partition") {
                told.push(write_partition(partition, version, kept.read_committed, &mut prefixes));
            }
        }
        if !told.is_empty() {
            let (topic, topic_id) = answered(topic);
            responses.push(FetchableTopicResponse { topic, topic_id, partitions: told });
        }
    }
    let (Cut::Full { session_id } | Cut::Incremental { session_id, .. }) = kept.cut;
    let endpoints = answer.endpoints.into_iter().filter(|_| version >= ENDPOINTS_FROM);
    let node_endpoints = endpoints.map(|node| NodeEndpoint {
        node_id: node.node.0,
        host: node.host.into(),
        port: node.port.into(),
        rack: node.rack.map(Str::from),
    });
    FetchResponse {
        throttle_time_ms: 0,
        error_code: 0,
        session_id,
        responses,
        node_endpoints: node_endpoints.collect(),
    }
}

fn write_partition(
    partition: FetchedPartition,
    version: i16,
    read_committed: bool,
    prefixes: &mut BytesMut,
) -> PartitionData {
    let mut data = PartitionData {
        partition_index: partition.index,
        error_code: partition.error.code(),
        high_watermark: partition.high_watermark,
        last_stable_offset: partition.last_stable_offset,
        log_start_offset: partition.log_start_offset,
        aborted_transactions: read_committed.then(Vec::new),
        records: Some(Records::new()),
        ..PartitionData::default()
    };
    if version >= LEADER_FROM {
        if let Some((epoch, end_offset)) = partition.diverging {
            data.diverging_epoch = EpochEndOffset { epoch, end_offset };
        }
        if let Some((node, leader_epoch)) = partition.current_leader {
            data.current_leader = LeaderIdAndEpoch { leader_id: node.0, leader_epoch };
        }
    }
    if version < ZSTD_FROM && partition.batches.iter().any(is_zstd) {
        data.error_code = ErrorCode::UnsupportedCompressionType.code();
        data.high_watermark = -1;
        data.last_stable_offset = -1;
        data.log_start_offset = -1;
        return data;
    }
    data.records = Some(write_batches(&partition.batches, prefixes));
    data
}

fn is_zstd(batch: &StoredBatch) -> bool {
    batch.header().attributes & ATTRIBUTE_CODEC_MASK == CODEC_ZSTD
}

/// The batches as readers must see them, without copying what stands behind their prefixes. A batch whose bytes already
/// have this log's prefix (a segment's) goes out in one piece.
fn write_batches(batches: &[StoredBatch], prefixes: &mut BytesMut) -> Records {
    let mut records = Records::new();
    for batch in batches {
        let prefix = batch.prefix();
        if batch.as_produced()[..PATCHED_BYTES] == prefix {
            records.push(batch.as_produced().clone());
        } else {
            prefixes.put_slice(&prefix);
            records.push(prefixes.split().freeze());
            records.push(batch.rest());
        }
    }
    records
}

/// An answer of the session as a whole.
fn session_error(code: ErrorCode, session_id: i32) -> FetchResponse {
    FetchResponse { error_code: code.code(), session_id, ..FetchResponse::default() }
}

fn refuse_all(message: &FetchRequest, version: i16, code: ErrorCode) -> FetchResponse {
    if version >= SESSIONS_FROM {
        return session_error(code, NO_SESSION);
    }
    let topics = message.topics.iter().map(|topic| FetchableTopicResponse {
        topic: topic.topic.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionData {
                partition_index: partition.partition,
                error_code: code.code(),
                high_watermark: -1,
                records: Some(Records::new()),
                ..PartitionData::default()
            })
            .collect(),
    });
    FetchResponse { responses: topics.collect(), ..FetchResponse::default() }
}
