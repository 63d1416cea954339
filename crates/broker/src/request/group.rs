//! Consumer groups of the classic protocol and their offsets. Metadata and assignments of members are opaque bytes:
//! other users of the protocol (Connect, schema registries) put their own into them.

use super::{Endpoint, Refusal, TopicRef};
use bytes::Bytes;
use model::ErrorCode;
use std::time::Duration;

/// Who coordinates these groups.
#[derive(Clone, Debug)]
pub struct FindCoordinator {
    /// 0 group, 1 transaction, 2 share; others than 0 are refused until they exist.
    pub key_type: i8,
    /// Group ids.
    pub keys: Vec<String>,
}

/// Answer to `FindCoordinator`, in the request's order.
#[derive(Clone, Debug)]
pub struct FindCoordinatorResponse {
    /// Key and its node, or the reason why there is none.
    pub coordinators: Vec<(String, Result<Endpoint, Refusal>)>,
}

/// Join (KIP-62, KIP-345, KIP-394).
#[derive(Clone, Debug)]
pub struct JoinGroup {
    /// The group.
    pub group: String,
    /// Silence after which the member is taken for dead.
    pub session_timeout: Duration,
    /// Longest wait for members to join again.
    pub rebalance_timeout: Duration,
    /// Empty for a new member.
    pub member_id: String,
    /// Static identity (`group.instance.id`).
    pub instance_id: Option<String>,
    /// What kind of group ("consumer", "connect", "sr", …).
    pub protocol_type: String,
    /// Names and metadata, preferred first.
    pub protocols: Vec<(String, Bytes)>,
    /// Why the member joins, for the log.
    pub reason: Option<String>,
    /// Give a new member its id first and let it come again with it (JoinGroup v4+, KIP-394).
    pub requires_known_member_id: bool,
    /// The leader of an unchanged static group may be told to skip the assignment (JoinGroup v9+, KIP-814).
    pub supports_skipping_assignment: bool,
}

/// Answer to `JoinGroup`.
#[derive(Clone, Debug, Default)]
pub struct JoinGroupResponse {
    /// Success or the reason.
    pub error: ErrorCode,
    /// Generation, -1 on error.
    pub generation: i32,
    /// Kind of group.
    pub protocol_type: Option<String>,
    /// Protocol chosen.
    pub protocol: Option<String>,
    /// Member id of the leader.
    pub leader: String,
    /// The leader must not compute an assignment (KIP-814).
    pub skip_assignment: bool,
    /// The caller's member id.
    pub member_id: String,
    /// To the leader only: all members with instance id and metadata.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// Get an assignment; the leader brings all of them.
#[derive(Clone, Debug)]
pub struct SyncGroup {
    /// The group.
    pub group: String,
    /// Generation joined.
    pub generation: i32,
    /// Member.
    pub member_id: String,
    /// Static identity.
    pub instance_id: Option<String>,
    /// Must agree with the group's when given (v5+).
    pub protocol_type: Option<String>,
    /// Must agree with the group's when given (v5+).
    pub protocol: Option<String>,
    /// From the leader: member and assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// Answer to `SyncGroup`.
#[derive(Clone, Debug, Default)]
pub struct SyncGroupResponse {
    /// Success or the reason.
    pub error: ErrorCode,
    /// Kind of group.
    pub protocol_type: Option<String>,
    /// Protocol chosen.
    pub protocol: Option<String>,
    /// The member's share.
    pub assignment: Bytes,
}

/// Stay a member.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The group.
    pub group: String,
    /// Generation.
    pub generation: i32,
    /// Member.
    pub member_id: String,
    /// Static identity.
    pub instance_id: Option<String>,
}

/// Answer to `Heartbeat`.
#[derive(Clone, Debug)]
pub struct HeartbeatResponse {
    /// Success or the reason.
    pub error: ErrorCode,
}

/// Members leave.
#[derive(Clone, Debug)]
pub struct LeaveGroup {
    /// The group.
    pub group: String,
    /// Member id (may be empty for a static member) and instance id.
    pub members: Vec<(String, Option<String>)>,
}

/// Answer to `LeaveGroup`.
#[derive(Clone, Debug)]
pub struct LeaveGroupResponse {
    /// For the whole request.
    pub error: ErrorCode,
    /// Member id, instance id and result of each.
    pub members: Vec<(String, Option<String>, ErrorCode)>,
}

/// Remember positions.
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    /// The group.
    pub group: String,
    /// Generation (or member epoch), -1 for a client without membership.
    pub generation: i32,
    /// Member, empty without membership.
    pub member_id: String,
    /// Static identity.
    pub instance_id: Option<String>,
    /// Positions by topic. The node turns ids into names before the coordinator sees them.
    pub topics: Vec<(TopicRef, Vec<OffsetToCommit>)>,
}

/// One position.
#[derive(Clone, Debug)]
pub struct OffsetToCommit {
    /// Partition number.
    pub index: i32,
    /// Next offset the group will read.
    pub offset: i64,
    /// Epoch of the last record read, -1 for none.
    pub leader_epoch: i32,
    /// Free text of the client.
    pub metadata: Option<String>,
}

/// Answer to `OffsetCommit`. A generation of a group that does not exist is `GroupIdNotFound` (v9+) or
/// `IllegalGeneration` (older, as Kafka does).
#[derive(Clone, Debug)]
pub struct OffsetCommitResponse {
    /// In the request's order.
    pub topics: Vec<(TopicRef, Vec<(i32, ErrorCode)>)>,
}

/// Forget positions (KIP-496).
#[derive(Clone, Debug)]
pub struct OffsetDelete {
    /// The group.
    pub group: String,
    /// Partitions by topic. Only topics that exist reach the coordinator.
    pub topics: Vec<(TopicRef, Vec<i32>)>,
}

/// Answer to `OffsetDelete`.
#[derive(Clone, Debug)]
pub struct OffsetDeleteResponse {
    /// For the whole request; with an error there are no topics.
    pub error: ErrorCode,
    /// In the request's order. A partition without a position counts as done.
    pub topics: Vec<(TopicRef, Vec<(i32, ErrorCode)>)>,
}

/// Read positions of groups.
#[derive(Clone, Debug)]
pub struct OffsetFetch {
    /// Each group.
    pub groups: Vec<OffsetFetchGroup>,
    /// Fail while transactions are undecided (none until they exist).
    pub require_stable: bool,
    /// Answer with topic ids instead of names where a topic has one (v10+).
    pub topic_ids: bool,
}

/// One group's question.
#[derive(Clone, Debug)]
pub struct OffsetFetchGroup {
    /// The group.
    pub group: String,
    /// Member (new protocol), if given.
    pub member_id: Option<String>,
    /// Member epoch, -1 for none.
    pub member_epoch: i32,
    /// `None`: all partitions with a position.
    pub topics: Option<Vec<(TopicRef, Vec<i32>)>>,
}

/// Answer to `OffsetFetch`.
#[derive(Clone, Debug)]
pub struct OffsetFetchResponse {
    /// In the request's order.
    pub groups: Vec<FetchedGroup>,
}

/// One group's positions.
#[derive(Clone, Debug)]
pub struct FetchedGroup {
    /// The group.
    pub group: String,
    /// For the whole group.
    pub error: ErrorCode,
    /// By topic.
    pub topics: Vec<(TopicRef, Vec<FetchedOffset>)>,
}

/// One position; offset -1 where the group has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// Partition number.
    pub index: i32,
    /// Next offset to read.
    pub offset: i64,
    /// Epoch committed with it, -1 for none.
    pub leader_epoch: i32,
    /// Free text committed with it.
    pub metadata: Option<String>,
    /// Success or the reason.
    pub error: ErrorCode,
}

/// Groups wanted.
#[derive(Clone, Debug)]
pub struct DescribeGroups {
    /// Group ids.
    pub groups: Vec<String>,
}

/// Answer to `DescribeGroups`, in the request's order.
#[derive(Clone, Debug)]
pub struct DescribeGroupsResponse {
    /// Results.
    pub groups: Vec<DescribedGroup>,
}

/// One group. A group that does not exist is `Dead` with `GroupIdNotFound` (v6+) or no error (older, as Kafka does).
#[derive(Clone, Debug)]
pub struct DescribedGroup {
    /// The group.
    pub group: String,
    /// Success or the reason.
    pub refusal: Refusal,
    /// State.
    pub state: GroupPhase,
    /// Kind of group.
    pub protocol_type: String,
    /// Protocol chosen; empty unless stable.
    pub protocol: String,
    /// Members.
    pub members: Vec<DescribedMember>,
}

/// One member.
#[derive(Clone, Debug)]
pub struct DescribedMember {
    /// Member id.
    pub member_id: String,
    /// Static identity.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it came from, with a leading slash as Kafka prints it.
    pub client_host: String,
    /// Metadata of the chosen protocol.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// State of a classic group; the names on the wire are `name()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupPhase {
    /// No members; offsets may be left.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Working.
    Stable,
    /// Gone.
    Dead,
}

impl GroupPhase {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            GroupPhase::Empty => "Empty",
            GroupPhase::PreparingRebalance => "PreparingRebalance",
            GroupPhase::CompletingRebalance => "CompletingRebalance",
            GroupPhase::Stable => "Stable",
            GroupPhase::Dead => "Dead",
        }
    }
}

/// All groups, filtered.
#[derive(Clone, Debug)]
pub struct ListGroups {
    /// State names (any case); empty: all.
    pub states: Vec<String>,
    /// Types ("classic", "consumer", any case); empty: all.
    pub types: Vec<String>,
}

/// Answer to `ListGroups`.
#[derive(Clone, Debug)]
pub struct ListGroupsResponse {
    /// For the whole request.
    pub error: ErrorCode,
    /// Group, kind of group and state.
    pub groups: Vec<(String, String, GroupPhase)>,
}

/// Groups that go.
#[derive(Clone, Debug)]
pub struct DeleteGroups {
    /// Group ids.
    pub groups: Vec<String>,
}

/// Answer to `DeleteGroups`, in the request's order.
#[derive(Clone, Debug)]
pub struct DeleteGroupsResponse {
    /// Group and result.
    pub groups: Vec<(String, ErrorCode)>,
}
