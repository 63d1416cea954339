//! DeleteGroups (key 42): empty groups and their offsets go.

use broker::Request;
use broker::request::{DeleteGroups, DeleteGroupsResponse as Answer};

use crate::message::ApiKey;
use crate::message::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::session::SessionError;

use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: DeleteGroupsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DeleteGroupsResponse, Kept>, SessionError> {
    context.admit(ApiKey::DeleteGroups, message.groups_names.len())?;
    let groups = message.groups_names.iter().map(|group| group.to_string()).collect();
    Ok(Asked::Core(Request::DeleteGroups(DeleteGroups { groups }), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DeleteGroupsResponse {
    let results = answer.groups.into_iter().map(|(group, error)| DeletableGroupResult {
        group_id: group.into(),
        error_code: error.code(),
        ..DeletableGroupResult::default()
    });
    DeleteGroupsResponse { throttle_time_ms: 0, results: results.collect() }
}
