//! InitProducerId (key 22): an identity for an idempotent producer. With a transactional id it is refused until
//! transactions exist, with UNSUPPORTED_VERSION: Java, librdkafka and franz-go take it as final and print that the broker
//! does not support the version. A code of authorization would send people to look for ACLs, a coordinator's code would
//! make the clients try for ever.

use broker::Request;
use broker::request::{InitProducerId, InitProducerIdResponse as Answer};
use model::ErrorCode;

use crate::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::session::SessionError;

use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core for a producer without transactions.
pub(crate) fn request(
    message: InitProducerIdRequest,
    _version: i16,
    _context: &mut Context<'_>,
) -> Result<Asked<InitProducerIdResponse, Kept>, SessionError> {
    let refusal = match &message.transactional_id {
        Some(id) if id.is_empty() => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::UnsupportedVersion),
        // Both or neither: an identity is an id and its epoch.
        None if (message.producer_id < 0) != (message.producer_epoch < 0) => Some(ErrorCode::InvalidRequest),
        None => None,
    };
    if let Some(code) = refusal {
        return Ok(Asked::Answer(InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        }));
    }
    let ask = InitProducerId {
        transactional_id: None,
        producer_id: message.producer_id,
        producer_epoch: message.producer_epoch,
    };
    Ok(Asked::Core(Request::InitProducerId(ask), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: answer.error.code(),
        producer_id: answer.producer_id,
        producer_epoch: answer.producer_epoch,
        ..InitProducerIdResponse::default()
    }
}
