//! Heartbeat (key 12): stay a member of a classic group.

use broker::Request;
use broker::request::{Heartbeat, HeartbeatResponse as Answer};

use crate::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::session::SessionError;

use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: HeartbeatRequest,
    _version: i16,
    _context: &mut Context<'_>,
) -> Result<Asked<HeartbeatResponse, Kept>, SessionError> {
    let heartbeat = Heartbeat {
        group: message.group_id.to_string(),
        generation: message.generation_id,
        member_id: message.member_id.to_string(),
        instance_id: message.group_instance_id.map(String::from),
    };
    Ok(Asked::Core(Request::Heartbeat(heartbeat), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> HeartbeatResponse {
    HeartbeatResponse { throttle_time_ms: 0, error_code: answer.error.code() }
}
