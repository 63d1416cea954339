//! Produce (key 0): batches on their way to `broker/partition/append`. Each partition's batch is validated here, on the
//! connection's task; a bad one is refused by itself and the others go on. Payload bytes stay slices of the request.

use broker::Request;
use broker::request::{
    BatchRefusal, Produce, ProducePartition, ProduceResponse as Answer, ProduceTopic, ProducedBatch,
    ProducedPartition, Refusal,
};
use bytes::Bytes;
use model::ErrorCode;
use model::batch::{ATTRIBUTE_CODEC_MASK, ATTRIBUTE_TRANSACTIONAL};

use crate::message::ApiKey;
use crate::message::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::records::{self, RecordsError};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::{answered, asked, code_and_message, wait};
use super::{Asked, Context, DecompressionBudget, NO_TRANSACTIONS};

/// First version that names topics by id.
const BY_ID_FROM: i16 = 13;
/// First version that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// First version that names the new leader (KIP-951).
const LEADER_FROM: i16 = 10;

/// Whether the client wants an answer (`acks` is not 0).
pub(crate) type Kept = bool;

/// Validates the batches and asks the core.
pub(crate) fn request(
    message: ProduceRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<ProduceResponse, Kept>, SessionError> {
    let entries = message.topic_data.iter().map(|topic| 1 + topic.partition_data.len()).sum();
    context.admit(ApiKey::Produce, entries)?;
    let refusal = if !matches!(message.acks, -1..=1) {
        Some(Refusal::new(ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1 (all)"))
    } else if names_a_partition_twice(&message.topic_data, version >= BY_ID_FROM) {
        Some(Refusal::new(ErrorCode::InvalidRequest, "the request names a partition twice"))
    } else {
        None
    };
    if let Some(refusal) = refusal {
        return if message.acks == 0 {
            Err(SessionError::SilentProduce { code: refusal.code })
        } else {
            Ok(Asked::Answer(refuse_all(&message, &refusal)))
        };
    }
    let mut budget = DecompressionBudget::new(context.config);
    let topics = message.topic_data.into_iter().map(|topic| ProduceTopic {
        topic: asked(&topic.name, topic.topic_id, version >= BY_ID_FROM),
        partitions: topic
            .partition_data
            .into_iter()
            .map(|partition| ProducePartition {
                index: partition.index,
                batch: validate(partition.records, version, &mut budget),
            })
            .collect(),
    });
    let produce = Produce { acks: message.acks, timeout: wait(message.timeout_ms), topics: topics.collect() };
    let wants_reply = produce.acks != 0;
    Ok(Asked::Core(Request::Produce(produce), wants_reply))
}

/// One partition's batch, or why it is refused. The batch's size is judged by the core, which knows the topic's limit.
fn validate(
    records: Option<Bytes>,
    version: i16,
    budget: &mut DecompressionBudget,
) -> Result<ProducedBatch, BatchRefusal> {
    let Some(decompressed_bytes_max) = budget.next() else {
        let why =
            "the request's batches together are too large when decompressed; send fewer of them at a time";
        return Err(Refusal::new(ErrorCode::MessageTooLarge, why).into());
    };
    let limits = records::Limits {
        batch_bytes_max: usize::MAX,
        decompressed_bytes_max,
        batches_max: 1,
        zstd_allowed: version >= ZSTD_FROM,
    };
    let mut batches = records::validate(records.unwrap_or_default(), &limits).map_err(|error| {
        if matches!(error, RecordsError::DecompressedTooLarge(_) | RecordsError::Compression { .. }) {
            budget.spend(None);
        }
        let text = error.to_string();
        BatchRefusal {
            refusal: Refusal::new(error.code(), text.clone()),
            records: error.record().map(|place| (place, text)).into_iter().collect(),
        }
    })?;
    let batch = batches.pop().expect("validation passes one batch or fails");
    if batch.header.attributes & ATTRIBUTE_CODEC_MASK != 0 {
        budget.spend(Some(batch.records_size));
    }
    if batch.header.attributes & ATTRIBUTE_TRANSACTIONAL != 0 {
        return Err(Refusal::new(ErrorCode::InvalidTxnState, NO_TRANSACTIONS).into());
    }
    Ok(ProducedBatch { header: batch.header, bytes: batch.bytes, facts: batch.facts })
}

/// Whether two entries stand for one partition: the core appends at most one batch to each.
fn names_a_partition_twice(topics: &[TopicProduceData], by_id: bool) -> bool {
    if let [topic] = topics
        && topic.partition_data.is_sorted_by(|one, next| one.index < next.index)
    {
        return false;
    }
    let mut places: Vec<_> = topics
        .iter()
        .flat_map(|topic| {
            let name = if by_id { &topic.topic_id.0[..] } else { topic.name.as_bytes() };
            topic.partition_data.iter().map(move |partition| (name, partition.index))
        })
        .collect();
    places.sort_unstable();
    places.windows(2).any(|pair| pair[0] == pair[1])
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> ProduceResponse {
    let responses = answer.topics.into_iter().map(|topic| {
        let (name, topic_id) = answered(topic.topic);
        let partitions = topic.partitions.into_iter().map(|partition| write_partition(partition, version));
        TopicProduceResponse { name, topic_id, partition_responses: partitions.collect() }
    });
    let responses = responses.collect();
    let endpoints = answer.endpoints.into_iter().filter(|_| version >= LEADER_FROM);
    let node_endpoints = endpoints.map(|node| NodeEndpoint {
        node_id: node.node.0,
        host: node.host.into(),
        port: node.port.into(),
        rack: node.rack.map(Str::from),
    });
    ProduceResponse { responses, throttle_time_ms: 0, node_endpoints: node_endpoints.collect() }
}

fn write_partition(partition: ProducedPartition, version: i16) -> PartitionProduceResponse {
    let (error_code, error_message) = code_and_message(partition.refusal);
    let record_errors = partition.record_errors.into_iter().map(|(batch_index, text)| {
        BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(text.into()) }
    });
    let leader = partition.current_leader.filter(|_| version >= LEADER_FROM);
    PartitionProduceResponse {
        index: partition.index,
        error_code,
        base_offset: partition.base_offset,
        log_append_time_ms: partition.log_append_time_ms,
        log_start_offset: partition.log_start_offset,
        record_errors: record_errors.collect(),
        error_message,
        current_leader: leader.map_or_else(LeaderIdAndEpoch::default, |(node, leader_epoch)| {
            LeaderIdAndEpoch { leader_id: node.0, leader_epoch }
        }),
    }
}

fn refuse_all(message: &ProduceRequest, refusal: &Refusal) -> ProduceResponse {
    let refuse = |topic: &TopicProduceData| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| PartitionProduceResponse {
                index: partition.index,
                error_code: refusal.code.code(),
                base_offset: -1,
                error_message: refusal.message.as_deref().map(Str::from),
                ..PartitionProduceResponse::default()
            })
            .collect(),
    };
    ProduceResponse {
        responses: message.topic_data.iter().map(refuse).collect(),
        ..ProduceResponse::default()
    }
}

/// Ends a produce that wants no answer: nothing is sent, and a failure closes the connection, which is the only way to
/// tell the client (as Kafka does).
pub(crate) fn end_silently(answer: &Answer) -> Result<(), SessionError> {
    let mut refusals =
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| &partition.refusal);
    match refusals.find(|refusal| !refusal.is_ok()) {
        None => Ok(()),
        Some(refusal) => Err(SessionError::SilentProduce { code: refusal.code }),
    }
}
