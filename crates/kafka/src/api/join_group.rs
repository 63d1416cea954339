//! JoinGroup (key 11): become a member of a classic group and wait for its generation.

use broker::Request;
use broker::request::{JoinGroup, JoinGroupResponse as Answer};
use bytes::Bytes;

use crate::message::ApiKey;
use crate::message::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::wait;
use super::{Asked, Context};

/// First version with a rebalance time-out of its own.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// First version whose new members come back with the id they are told (KIP-394).
const KNOWN_MEMBER_FROM: i16 = 4;
/// First version whose answer may lack a protocol name.
const NULL_PROTOCOL_FROM: i16 = 7;
/// First version whose leader can be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: JoinGroupRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<JoinGroupResponse, Kept>, SessionError> {
    context.admit(ApiKey::JoinGroup, message.protocols.len())?;
    let rebalance_timeout_ms = if version < REBALANCE_TIMEOUT_FROM {
        message.session_timeout_ms
    } else {
        message.rebalance_timeout_ms
    };
    let protocols = message.protocols.iter().map(|protocol| {
        // Copied: the group keeps it longer than the request.
        (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata))
    });
    let join = JoinGroup {
        group: message.group_id.to_string(),
        session_timeout: wait(message.session_timeout_ms),
        rebalance_timeout: wait(rebalance_timeout_ms),
        member_id: message.member_id.to_string(),
        instance_id: message.group_instance_id.map(String::from),
        protocol_type: message.protocol_type.to_string(),
        protocols: protocols.collect(),
        reason: message.reason.map(String::from),
        requires_known_member_id: version >= KNOWN_MEMBER_FROM,
        supports_skipping_assignment: version >= SKIP_ASSIGNMENT_FROM,
    };
    Ok(Asked::Core(Request::JoinGroup(join), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> JoinGroupResponse {
    let members =
        answer.members.into_iter().map(|(member_id, instance_id, metadata)| JoinGroupResponseMember {
            member_id: member_id.into(),
            group_instance_id: instance_id.map(Str::from),
            metadata,
        });
    let generation_id = if answer.error.is_none() { answer.generation } else { -1 };
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: answer.error.code(),
        generation_id,
        protocol_type: answer.protocol_type.map(Str::from),
        protocol_name: answer.protocol.map(Str::from).or((version < NULL_PROTOCOL_FROM).then(Str::default)),
        leader: answer.leader.into(),
        skip_assignment: version >= SKIP_ASSIGNMENT_FROM && answer.skip_assignment,
        member_id: answer.member_id.into(),
        members: members.collect(),
    }
}
