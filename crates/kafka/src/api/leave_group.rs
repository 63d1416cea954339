//! LeaveGroup (key 13): members leave; one until version 2, several from 3 on (KIP-345).

use broker::Request;
use broker::request::{LeaveGroup, LeaveGroupResponse as Answer};

use crate::message::ApiKey;
use crate::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use crate::session::SessionError;
use crate::wire::Str;

use super::{Asked, Context};

/// First version that names several members.
const BATCH_FROM: i16 = 3;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: LeaveGroupRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<LeaveGroupResponse, Kept>, SessionError> {
    context.admit(ApiKey::LeaveGroup, message.members.len())?;
    let members = if version < BATCH_FROM {
        vec![(message.member_id.to_string(), None)]
    } else {
        let members = message.members.into_iter();
        members.map(|it| (it.member_id.to_string(), it.group_instance_id.map(String::from))).collect()
    };
    let leave = LeaveGroup { group: message.group_id.to_string(), members };
    Ok(Asked::Core(Request::LeaveGroup(leave), ()))
}

/// Writes the core's answer. The old versions have one code: the request's, or the only member's.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> LeaveGroupResponse {
    if version < BATCH_FROM {
        let of_member = answer.members.first().map_or(answer.error, |(_, _, error)| *error);
        let error = if answer.error.is_none() { of_member } else { answer.error };
        return LeaveGroupResponse { error_code: error.code(), ..LeaveGroupResponse::default() };
    }
    let members = answer.members.into_iter().map(|(member_id, instance_id, error)| MemberResponse {
        member_id: member_id.into(),
        group_instance_id: instance_id.map(Str::from),
        error_code: error.code(),
    });
    LeaveGroupResponse { throttle_time_ms: 0, error_code: answer.error.code(), members: members.collect() }
}
