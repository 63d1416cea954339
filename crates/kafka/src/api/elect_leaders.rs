//! ElectLeaders (key 43): let partitions be led by their preferred replicas (KIP-460).

use broker::Request;
use broker::request::{ElectLeaders, ElectLeadersResponse as Answer, ElectionKind};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::session::SessionError;

use super::topic_ref::{code_and_message, wait};
use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: ElectLeadersRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<ElectLeadersResponse, Kept>, SessionError> {
    let asked = message.topic_partitions.as_deref().unwrap_or_default();
    context.admit(ApiKey::ElectLeaders, asked.iter().map(|topic| 1 + topic.partitions.len()).sum())?;
    let kind = match message.election_type {
        _ if version == 0 => ElectionKind::Preferred,
        0 => ElectionKind::Preferred,
        1 => ElectionKind::Unclean,
        _ => return Ok(Asked::Answer(refuse_all(&message, ErrorCode::InvalidRequest))),
    };
    let topics = message
        .topic_partitions
        .map(|topics| topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect());
    let timeout = wait(message.timeout_ms);
    Ok(Asked::Core(Request::ElectLeaders(ElectLeaders { kind, topics, timeout }), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> ElectLeadersResponse {
    let topics = answer.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition_id, refusal)| {
            let (error_code, error_message) = code_and_message(refusal);
            PartitionResult { partition_id, error_code, error_message }
        });
        ReplicaElectionResult { topic: topic.into(), partition_result: partitions.collect() }
    });
    ElectLeadersResponse { replica_election_results: topics.collect(), ..ElectLeadersResponse::default() }
}

fn refuse_all(message: &ElectLeadersRequest, code: ErrorCode) -> ElectLeadersResponse {
    let topics = message.topic_partitions.iter().flatten().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition_id| PartitionResult {
            partition_id: *partition_id,
            error_code: code.code(),
            error_message: Some("election types are 0 (preferred) and 1 (unclean)".into()),
        });
        ReplicaElectionResult { topic: topic.topic.clone(), partition_result: partitions.collect() }
    });
    ElectLeadersResponse {
        error_code: code.code(),
        replica_election_results: topics.collect(),
        ..ElectLeadersResponse::default()
    }
}
