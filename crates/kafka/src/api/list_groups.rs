//! ListGroups (key 16): all groups, filtered by state (version 4 on) and type (version 5 on).

use broker::Request;
use broker::request::{ListGroups, ListGroupsResponse as Answer};

use crate::message::ApiKey;
use crate::message::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::session::SessionError;
use crate::wire::Str;

use super::{Asked, Context};

/// The only type of group until others exist.
const TYPE: &str = "classic";

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: ListGroupsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<ListGroupsResponse, Kept>, SessionError> {
    context.admit(ApiKey::ListGroups, message.states_filter.len() + message.types_filter.len())?;
    let list = ListGroups {
        states: message.states_filter.iter().map(|state| state.to_string()).collect(),
        types: message.types_filter.iter().map(|kind| kind.to_string()).collect(),
    };
    Ok(Asked::Core(Request::ListGroups(list), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> ListGroupsResponse {
    let groups = answer.groups.into_iter().map(|(group, protocol_type, state)| ListedGroup {
        group_id: group.into(),
        protocol_type: protocol_type.into(),
        group_state: Str::from_static(state.name()),
        group_type: Str::from_static(TYPE),
    });
    ListGroupsResponse { throttle_time_ms: 0, error_code: answer.error.code(), groups: groups.collect() }
}
