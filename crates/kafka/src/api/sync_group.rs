//! SyncGroup (key 14): the leader brings the assignments of a generation, every member gets its own.

use broker::Request;
use broker::request::{SyncGroup, SyncGroupResponse as Answer};
use bytes::Bytes;
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::session::SessionError;
use crate::wire::Str;

use super::{Asked, Context};

/// First version that must name the protocol (KIP-559).
const PROTOCOL_FROM: i16 = 5;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: SyncGroupRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<SyncGroupResponse, Kept>, SessionError> {
    context.admit(ApiKey::SyncGroup, message.assignments.len())?;
    if version >= PROTOCOL_FROM && (message.protocol_type.is_none() || message.protocol_name.is_none()) {
        return Ok(Asked::Answer(SyncGroupResponse {
            error_code: ErrorCode::InconsistentGroupProtocol.code(),
            ..SyncGroupResponse::default()
        }));
    }
    let assignments = message.assignments.iter().map(|it| {
        // Copied: the group keeps it longer than the request.
        (it.member_id.to_string(), Bytes::copy_from_slice(&it.assignment))
    });
    let sync = SyncGroup {
        group: message.group_id.to_string(),
        generation: message.generation_id,
        member_id: message.member_id.to_string(),
        instance_id: message.group_instance_id.map(String::from),
        protocol_type: message.protocol_type.map(String::from),
        protocol: message.protocol_name.map(String::from),
        assignments: assignments.collect(),
    };
    Ok(Asked::Core(Request::SyncGroup(sync), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> SyncGroupResponse {
    SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: answer.error.code(),
        protocol_type: answer.protocol_type.map(Str::from),
        protocol_name: answer.protocol.map(Str::from),
        assignment: answer.assignment,
    }
}
