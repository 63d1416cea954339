//! DescribeGroups (key 15): groups with their members. A group that does not exist is dead; from version 6 on the answer
//! also says so by GROUP_ID_NOT_FOUND (KIP-1043).

use broker::Request;
use broker::request::{DescribeGroups, DescribeGroupsResponse as Answer, DescribedGroup as Described};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::code_and_message;
use super::{Asked, Context, operations};

/// First version that says when a group does not exist, and why another is refused.
const NOT_FOUND_FROM: i16 = 6;

/// Whether the sets of authorized operations were asked for.
pub(crate) type Kept = bool;

/// Asks the core.
pub(crate) fn request(
    message: DescribeGroupsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DescribeGroupsResponse, Kept>, SessionError> {
    context.admit(ApiKey::DescribeGroups, message.groups.len())?;
    let groups = message.groups.iter().map(|group| group.to_string()).collect();
    let kept = message.include_authorized_operations;
    Ok(Asked::Core(Request::DescribeGroups(DescribeGroups { groups }), kept))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeGroupsResponse {
    let groups = answer.groups.into_iter().map(|group| write_group(group, version, kept));
    DescribeGroupsResponse { throttle_time_ms: 0, groups: groups.collect() }
}

fn write_group(group: Described, version: i16, kept: Kept) -> DescribedGroup {
    let (mut error_code, mut error_message) = code_and_message(group.refusal);
    if version < NOT_FOUND_FROM {
        error_message = None;
        if error_code == ErrorCode::GroupIdNotFound.code() {
            error_code = 0;
        }
    }
    let members = group.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member_id.into(),
        group_instance_id: member.instance_id.map(Str::from),
        client_id: member.client_id.into(),
        client_host: member.client_host.into(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribedGroup {
        error_code,
        error_message,
        group_id: group.group.into(),
        group_state: Str::from_static(group.state.name()),
        protocol_type: group.protocol_type.into(),
        protocol_data: group.protocol.into(),
        members: members.collect(),
        authorized_operations: operations::told(kept, error_code, operations::GROUP),
    }
}
