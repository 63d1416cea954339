//! RemoveRaftVoter (key 81): one of a node's disks takes part no longer (KIP-853). Here a node's place is never empty: the disk of
//! that node that waits takes it.

use broker::Request;
use broker::request::{RemoveRaftVoter, RemoveRaftVoterResponse as Answer};
use model::{DiskId, NodeId};

use crate::message::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use crate::session::SessionError;
use crate::wire::Uuid;

use super::topic_ref::code_and_message;
use super::{Asked, Context};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: RemoveRaftVoterRequest,
    _version: i16,
    _context: &mut Context<'_>,
) -> Result<Asked<RemoveRaftVoterResponse, Kept>, SessionError> {
    let disk = message.voter_directory_id;
    Ok(Asked::Core(
        Request::RemoveRaftVoter(RemoveRaftVoter {
            cluster_id: message.cluster_id.map(|id| id.to_string()).filter(|id| !id.is_empty()),
            node: NodeId(message.voter_id),
            disk: (disk != Uuid::ZERO).then_some(DiskId(disk.0)),
        }),
        (),
    ))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> RemoveRaftVoterResponse {
    let (error_code, error_message) = code_and_message(answer.refusal);
    RemoveRaftVoterResponse { throttle_time_ms: 0, error_code, error_message }
}
