//! DeleteTopics (key 20): topics go, by name, or from version 6 on by name or id.

use broker::Request;
use broker::request::{DeleteTopics, DeleteTopicsResponse as Answer, TopicRef};
use model::{ErrorCode, TopicId};

use crate::message::ApiKey;
use crate::message::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::{code_and_message, uuid, wait};
use super::{Asked, Context};

/// First version with ids, and with names that may be null.
const BY_ID_FROM: i16 = 6;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: DeleteTopicsRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DeleteTopicsResponse, Kept>, SessionError> {
    context.admit(ApiKey::DeleteTopics, message.topics.len() + message.topic_names.len())?;
    let topics = if version < BY_ID_FROM {
        message.topic_names.iter().map(|name| TopicRef::Name(name.to_string())).collect()
    } else {
        let named: Option<Vec<_>> = message.topics.iter().map(topic).collect();
        match named {
            Some(named) => named,
            None => return Ok(Asked::Answer(refuse_all(&message))),
        }
    };
    let delete = DeleteTopics { topics, timeout: wait(message.timeout_ms) };
    Ok(Asked::Core(Request::DeleteTopics(delete), ()))
}

/// The topic, unless both or neither of name and id are given.
fn topic(topic: &DeleteTopicState) -> Option<TopicRef> {
    match (&topic.name, topic.topic_id.is_zero()) {
        (Some(name), true) => Some(TopicRef::Name(name.to_string())),
        (None, false) => Some(TopicRef::Id(TopicId(topic.topic_id.0))),
        _ => None,
    }
}

fn refuse_all(message: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let responses = message.topics.iter().map(|topic| DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(Str::from_static("each topic must be given by name or by id, not both")),
    });
    DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() }
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DeleteTopicsResponse {
    let responses = answer.topics.into_iter().map(|topic| {
        let (error_code, error_message) = code_and_message(topic.refusal);
        DeletableTopicResult {
            name: topic.name.map(Str::from).or((version < BY_ID_FROM).then(Str::default)),
            topic_id: uuid(topic.id),
            error_code,
            error_message,
        }
    });
    DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() }
}
