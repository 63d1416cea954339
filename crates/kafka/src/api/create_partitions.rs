//! CreatePartitions (key 37): more partitions for topics.

use broker::Request;
use broker::request::{CreatePartitions, CreatePartitionsResponse as Answer};

use crate::message::ApiKey;
use crate::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use crate::session::SessionError;

use super::topic_ref::{code_and_message, nodes, wait};
use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: CreatePartitionsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<CreatePartitionsResponse, Kept>, SessionError> {
    let assignments = message.topics.iter().flat_map(|topic| topic.assignments.iter().flatten());
    let replicas: usize = assignments.map(|assignment| 1 + assignment.broker_ids.len()).sum();
    context.admit(ApiKey::CreatePartitions, message.topics.len() + replicas)?;
    let topics = message.topics.iter().map(|topic| {
        let assignments = topic.assignments.iter().flatten().map(|assignment| nodes(&assignment.broker_ids));
        (topic.name.to_string(), topic.count, assignments.collect())
    });
    let create = CreatePartitions {
        topics: topics.collect(),
        validate_only: message.validate_only,
        timeout: wait(message.timeout_ms),
    };
    Ok(Asked::Core(Request::CreatePartitions(create), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> CreatePartitionsResponse {
    let results = answer.topics.into_iter().map(|(name, refusal)| {
        let (error_code, error_message) = code_and_message(refusal);
        CreatePartitionsTopicResult { name: name.into(), error_code, error_message }
    });
    CreatePartitionsResponse { throttle_time_ms: 0, results: results.collect() }
}
