//! Error answers in the shape of each request: when this node does not coordinate the group (any more), and when the
//! group may not be touched.

use super::{join, sync};
use crate::request::{
    DeleteGroupsResponse, DescribeGroupsResponse, DescribedGroup, FetchedGroup, GroupPhase,
    HeartbeatResponse, LeaveGroupResponse, ListGroupsResponse, OffsetCommit, OffsetCommitResponse,
    OffsetDeleteResponse, OffsetFetchResponse, Refusal, Request, Response,
};
use model::ErrorCode;

/// The same answer with an error instead of its content: the change it speaks of did not come about.
pub(super) fn refused(response: Response, code: ErrorCode) -> Response {
    match response {
        Response::JoinGroup(answer) => Response::JoinGroup(join::refusal(code, answer.member_id)),
        Response::SyncGroup(_) => Response::SyncGroup(sync::refusal(code)),
        Response::LeaveGroup(_) => {
            Response::LeaveGroup(LeaveGroupResponse { error: code, members: Vec::new() })
        }
        Response::OffsetCommit(mut answer) => {
            for (_, error) in answer.topics.iter_mut().flat_map(|(_, partitions)| partitions) {
                *error = code;
            }
            Response::OffsetCommit(answer)
        }
        Response::OffsetDelete(_) => {
            Response::OffsetDelete(OffsetDeleteResponse { error: code, topics: Vec::new() })
        }
        Response::DeleteGroups(mut answer) => {
            for (_, error) in &mut answer.groups {
                *error = code;
            }
            Response::DeleteGroups(answer)
        }
        other => unreachable!("only changes wait for a proposal, not {other:?}"),
    }
}

/// The answer to a request that is refused as a whole. Panics for requests that are not about groups.
pub(super) fn refuse(request: Request, code: ErrorCode) -> Response {
    match request {
        Request::JoinGroup(asked) => Response::JoinGroup(join::refusal(code, asked.member_id)),
        Request::SyncGroup(_) => Response::SyncGroup(sync::refusal(code)),
        Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse { error: code }),
        Request::LeaveGroup(_) => {
            Response::LeaveGroup(LeaveGroupResponse { error: code, members: Vec::new() })
        }
        Request::OffsetCommit(asked) => Response::OffsetCommit(commit(asked, code)),
        Request::OffsetDelete(_) => {
            Response::OffsetDelete(OffsetDeleteResponse { error: code, topics: Vec::new() })
        }
        Request::OffsetFetch(asked) => {
            let refuse = |group| FetchedGroup { group, error: code, topics: Vec::new() };
            let groups = asked.groups.into_iter().map(|asked| refuse(asked.group)).collect();
            Response::OffsetFetch(OffsetFetchResponse { groups })
        }
        Request::DescribeGroups(asked) => {
            let groups = asked.groups.into_iter().map(|group| undescribed(group, code.into())).collect();
            Response::DescribeGroups(DescribeGroupsResponse { groups })
        }
        Request::ListGroups(_) => {
            Response::ListGroups(ListGroupsResponse { error: code, groups: Vec::new() })
        }
        Request::DeleteGroups(asked) => {
            let groups = asked.groups.into_iter().map(|group| (group, code)).collect();
            Response::DeleteGroups(DeleteGroupsResponse { groups })
        }
        other => panic!("{} is no request to a group coordinator", other.name()),
    }
}

/// The same error for each partition.
pub(super) fn commit(request: OffsetCommit, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.into_iter().map(|(topic, partitions)| {
        (topic, partitions.into_iter().map(|partition| (partition.index, code)).collect())
    });
    OffsetCommitResponse { topics: topics.collect() }
}

/// A group of which nothing can be said.
pub(super) fn undescribed(group: String, refusal: Refusal) -> DescribedGroup {
    DescribedGroup {
        group,
        refusal,
        state: GroupPhase::Dead,
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
    }
}
