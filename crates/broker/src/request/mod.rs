//! What a client may ask and what it is told, in the broker's own words: no wire versions, no encodings. Each wire face
//! (`kafka`, later others) translates to and from these. One file per family; request and response stand together.

pub mod cluster;
pub mod data;
pub mod group;
pub mod topic;

use model::{ErrorCode, NodeId, TopicId};
use serde::{Deserialize, Serialize};

pub use cluster::*;
pub use data::*;
pub use group::*;
pub use topic::*;

/// Names one request for the length of its life, so that its answer finds the way back. Never used twice in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One of the partitions, topics or resources that an answer speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// Whose answer.
    pub token: Token,
    /// Its place among all of them.
    pub number: u32,
}

/// Names one client connection. Never used twice in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Who asks, as far as an answer or a log line needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// `client.id` of the request header; empty when none was sent.
    pub client_id: String,
    /// Address of the peer, without the port; what group descriptions show.
    pub host: String,
}

/// Who asks, and by which token the answer finds back.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Names the question.
    pub token: Token,
    /// Where it came from.
    pub connection: ConnectionId,
    /// Who.
    pub client: &'a ClientInfo,
}

/// A topic as a request names it: old versions by name, new ones by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id; the zero id is never valid.
    Id(TopicId),
}

/// A code with a sentence for a person. `code == None` means success and an absent message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What a client acts on.
    pub code: ErrorCode,
    /// What a person reads, where the answer has room for it.
    pub message: Option<String>,
}

impl Refusal {
    /// Success.
    pub const OK: Refusal = Refusal { code: ErrorCode::None, message: None };

    /// A code and its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: Some(message.into()) }
    }

    /// Whether this is success.
    pub fn is_ok(&self) -> bool {
        self.code.is_none()
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, message: None }
    }
}

/// A node and where clients reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The node.
    pub node: NodeId,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Rack, if configured.
    pub rack: Option<String>,
}

macro_rules! exchange {
    ($($(#[$doc:meta])* $name:ident($request:ty => $response:ty)),* $(,)?) => {
        /// One question to the node.
        #[derive(Clone, Debug)]
        pub enum Request { $($(#[$doc])* $name($request)),* }

        /// Its answer, of the same name. `acks=0` produce gets none on the wire.
        #[derive(Clone, Debug)]
        pub enum Response { $($(#[$doc])* $name($response)),* }

        impl Request {
            /// The name, for metrics and traces.
            pub fn name(&self) -> &'static str {
                match self { $(Request::$name(_) => stringify!($name)),* }
            }
        }
    };
}

impl Request {
    /// Whether it is of no use once its client has closed the connection: nobody can be told what was read, and a batch for
    /// which all replicas must acknowledge counts as not written until somebody was told, and is sent again. Work for clients
    /// that have given up is what keeps a retry storm going.
    pub fn is_for_its_answer(&self) -> bool {
        match self {
            Request::Produce(produce) => produce.acks == ACKS_ALL,
            Request::Fetch(_) => true,
            _ => false,
        }
    }
}

exchange! {
    /// Append record batches.
    Produce(Produce => ProduceResponse),
    /// Read record batches, waiting for them if asked to.
    Fetch(Fetch => FetchResponse),
    /// Offsets by timestamp or special name.
    ListOffsets(ListOffsets => ListOffsetsResponse),
    /// Where a leader epoch ended.
    OffsetForLeaderEpoch(OffsetForLeaderEpoch => OffsetForLeaderEpochResponse),
    /// Raise the log start.
    DeleteRecords(DeleteRecords => DeleteRecordsResponse),
    /// An identity for an idempotent producer.
    InitProducerId(InitProducerId => InitProducerIdResponse),
    /// Topics, partitions, leaders, nodes.
    Metadata(Metadata => MetadataResponse),
    /// Topics and partitions, page by page.
    DescribeTopicPartitions(DescribeTopicPartitions => DescribeTopicPartitionsResponse),
    /// The cluster and its nodes.
    DescribeCluster(DescribeCluster => DescribeClusterResponse),
    /// What this node has on disk.
    DescribeLogDirs(DescribeLogDirs => DescribeLogDirsResponse),
    /// Who votes in the metadata group.
    DescribeQuorum(DescribeQuorum => DescribeQuorumResponse),
    /// Give a node's place to its disk that waits.
    RemoveRaftVoter(RemoveRaftVoter => RemoveRaftVoterResponse),
    /// Let the preferred leaders lead.
    ElectLeaders(ElectLeaders => ElectLeadersResponse),
    /// New topics.
    CreateTopics(CreateTopics => CreateTopicsResponse),
    /// Topics and their data go.
    DeleteTopics(DeleteTopics => DeleteTopicsResponse),
    /// More partitions for topics.
    CreatePartitions(CreatePartitions => CreatePartitionsResponse),
    /// Settings of topics and nodes.
    DescribeConfigs(DescribeConfigs => DescribeConfigsResponse),
    /// Change settings (both Kafka calls; the old one replaces the whole set).
    AlterConfigs(AlterConfigs => AlterConfigsResponse),
    /// Which node coordinates a group.
    FindCoordinator(FindCoordinator => FindCoordinatorResponse),
    /// Become a member and wait for the generation.
    JoinGroup(JoinGroup => JoinGroupResponse),
    /// Get the assignment of the generation.
    SyncGroup(SyncGroup => SyncGroupResponse),
    /// Stay a member.
    Heartbeat(Heartbeat => HeartbeatResponse),
    /// Leave.
    LeaveGroup(LeaveGroup => LeaveGroupResponse),
    /// Remember positions.
    OffsetCommit(OffsetCommit => OffsetCommitResponse),
    /// Forget positions.
    OffsetDelete(OffsetDelete => OffsetDeleteResponse),
    /// Read positions.
    OffsetFetch(OffsetFetch => OffsetFetchResponse),
    /// Groups with their members.
    DescribeGroups(DescribeGroups => DescribeGroupsResponse),
    /// All groups.
    ListGroups(ListGroups => ListGroupsResponse),
    /// Empty groups and their offsets go.
    DeleteGroups(DeleteGroups => DeleteGroupsResponse),
}
