//! FindCoordinator (key 10): which node coordinates a group. One key until version 3, several from 4 on.

use broker::Request;
use broker::request::{FindCoordinator, FindCoordinatorResponse as Answer, Refusal};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::code_and_message;
use super::{Asked, Context};

/// First version that asks for several keys.
const BATCH_FROM: i16 = 4;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: FindCoordinatorRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<FindCoordinatorResponse, Kept>, SessionError> {
    context.admit(ApiKey::FindCoordinator, message.coordinator_keys.len())?;
    let keys = if version < BATCH_FROM {
        vec![message.key.to_string()]
    } else {
        message.coordinator_keys.iter().map(|key| key.to_string()).collect()
    };
    let find = FindCoordinator { key_type: message.key_type, keys };
    Ok(Asked::Core(Request::FindCoordinator(find), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> FindCoordinatorResponse {
    let mut coordinators = answer.coordinators.into_iter().map(|(key, found)| {
        let (node, refusal) = match found {
            Ok(node) => (Some(node), Refusal::OK),
            Err(refusal) => (None, refusal),
        };
        let (error_code, error_message) = code_and_message(refusal);
        let (node_id, port) = node.as_ref().map_or((-1, -1), |node| (node.node.0, node.port.into()));
        let host = node.map_or_else(Str::default, |node| node.host.into());
        Coordinator { key: key.into(), node_id, host, port, error_code, error_message }
    });
    if version >= BATCH_FROM {
        return FindCoordinatorResponse {
            error_message: None,
            coordinators: coordinators.collect(),
            ..FindCoordinatorResponse::default()
        };
    }
    let one = coordinators.next().unwrap_or_else(|| Coordinator {
        node_id: -1,
        port: -1,
        error_code: ErrorCode::CoordinatorNotAvailable.code(),
        ..Coordinator::default()
    });
    FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..FindCoordinatorResponse::default()
    }
}
