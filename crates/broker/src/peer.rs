//! What nodes tell each other: messages of shards' consensus, beats, and clients' requests that only the controller can
//! carry out. `wire` turns them into frames. The driver carries them; it may lose, delay and repeat any of them.

pub mod wire;

use crate::disks::{Named, REPLICA_MAX};
use crate::level::Level;
use crate::request::{
    AlterConfigs, AlterConfigsResponse, CreatePartitions, CreatePartitionsResponse, CreateTopics,
    CreateTopicsResponse, DeleteTopics, DeleteTopicsResponse, DescribeQuorumResponse, Endpoint,
    RemoveRaftVoter, RemoveRaftVoterResponse,
};
use model::{DiskId, LeaderEpoch, LogIndex, NodeId, Offset, PartitionId, ShardId, StoredBatch, Term};
use serde::{Deserialize, Serialize};

/// One message from a node to another.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// Of one shard's consensus.
    Consensus(consensus::Message),
    /// The sender lives, and this is what it leads.
    Beat(Box<Beat>),
    /// A request for the controller. The same number names the answer.
    Pass(u64, Box<Passed>),
    /// Its answer.
    Answer(u64, Box<PassedAnswer>),
    /// A replica that is far behind wants records that the log does not hold any more.
    Pull(Pull),
    /// Its answer.
    Range(Range),
    /// The sender's disk takes no part yet.
    Wait(Box<Wait>),
    /// The disk of the receiver that takes part, as the sender's catalogue has it.
    Named {
        /// Its id.
        disk: DiskId,
        /// Which of the node's replicas it is.
        replica: u32,
    },
    /// A client wants these shards led by the nodes that should lead them; the receiver leads them so far.
    Elect(Vec<ShardId>),
}

/// Sent to each peer every `consensus::HEARTBEAT_INTERVAL` by a node whose disk waits. From protocol level 3 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Where clients are to reach the sender.
    pub endpoint: Endpoint,
    /// Its disk.
    pub disk: DiskId,
    /// The disk whose place it is to take without anybody's word.
    pub replaces: Option<DiskId>,
    /// The highest protocol level that the sender knows.
    pub level: Level,
    /// The nodes that it has heard wait, too.
    pub heard: Vec<NodeId>,
}

/// Sent to each peer every `consensus::HEARTBEAT_INTERVAL`, and at once when the sender begins to lead. At protocol level 1 nothing goes
/// with it that follows `is_ready`.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// Where clients reach the sender.
    pub endpoint: Endpoint,
    /// The shards that it leads and serves.
    pub led: Vec<Led>,
    /// What it has applied of the metadata log.
    pub catalog: LogIndex,
    /// It takes records and shuts down nowhere.
    pub is_ready: bool,
    /// Shards that nobody leads as far as it knows, with the term of its replica: whoever took it for the leader in that term
    /// hears that it resigned.
    pub leaderless: Vec<(ShardId, Term)>,
    /// What making a commit durable took its disk on average, microseconds; `None` when nothing was committed lately.
    pub commit_micros: Option<u32>,
    /// The highest protocol level that the sender knows.
    pub level: Level,
    /// Its disk, if that has an id. From protocol level 3 on.
    pub disk: Option<Named>,
}

/// One shard that a node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Led {
    /// Which.
    pub shard: ShardId,
    /// The term in which it leads: of two that claim a shard the higher one is right.
    pub term: Term,
    /// The leader epoch that clients see.
    pub epoch: LeaderEpoch,
    /// Replicas that keep up, the leader included.
    pub in_sync: Vec<NodeId>,
    /// The shard has all that the catalogue wanted of it up to this entry of the metadata log; 0 while that is not known.
    pub driven: LogIndex,
}

/// What a node asks the controller to do for its client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Passed {
    /// New topics.
    CreateTopics(CreateTopics),
    /// Topics go.
    DeleteTopics(DeleteTopics),
    /// More partitions.
    CreatePartitions(CreatePartitions),
    /// Settings.
    AlterConfigs(AlterConfigs),
    /// A block of producer ids for the asking node.
    ProducerIds,
    /// How far the voters of the metadata group have come.
    DescribeQuorum,
    /// Another disk in the place of one. From protocol level 3 on.
    RemoveRaftVoter(RemoveRaftVoter),
}

/// What the controller answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassedAnswer {
    /// The metadata log's index that contains everything it did: whoever asked waits for it before it tells its client.
    pub catalog: LogIndex,
    /// What came of it.
    pub result: PassedResult,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PassedResult {
    /// The node asked is not the controller (any more).
    NotController,
    /// Of new topics.
    CreateTopics(CreateTopicsResponse),
    /// Of topics that go.
    DeleteTopics(DeleteTopicsResponse),
    /// Of more partitions.
    CreatePartitions(CreatePartitionsResponse),
    /// Of settings.
    AlterConfigs(AlterConfigsResponse),
    /// These ids are the asking node's alone.
    ProducerIds {
        /// First id.
        first: i64,
        /// Number of ids.
        count: i64,
    },
    /// Of a look at the quorum.
    DescribeQuorum(DescribeQuorumResponse),
    /// Of another disk. From protocol level 3 on.
    RemoveRaftVoter(RemoveRaftVoterResponse),
}

/// Committed batches of one partition, wanted by a replica that installs a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Names the answer.
    pub number: u64,
    /// The shard.
    pub shard: ShardId,
    /// The partition.
    pub partition: PartitionId,
    /// The first batch holds this offset.
    pub offset: Offset,
    /// About so many bytes; at least one batch.
    pub bytes_max: u32,
    /// The state that is installed contains the shard's log up to here.
    pub state: LogIndex,
}

/// What a `Pull` brings.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Of the `Pull`.
    pub number: u64,
    /// Consecutive committed batches; none: this node does not have them (yet).
    pub batches: Vec<StoredBatch>,
    /// Set when what was wanted is gone: the first offset that there is.
    pub starts_at: Option<Offset>,
}

/// News of the connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The peer accepted the connection and said who it is.
    Up,
    /// The connection broke, or messages were dropped because too many waited: what was under way may be lost.
    Lost,
    /// Nobody listens there: the process is gone.
    Refused,
}

/// Which connection a message goes over. Each is in order; between them there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Beats: small, never behind data.
    Beats = 0,
    /// Entries and everything else of consensus; requests passed on.
    Log = 1,
    /// States and ranges for replicas that are far behind.
    Bulk = 2,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 3] = [Stream::Beats, Stream::Log, Stream::Bulk];
}

/// What a message costs in memory beside its payload, bytes.
const MESSAGE_BYTES: usize = 256;
/// What a request that is passed on counts for, bytes: few are under way, and most are far smaller.
const PASSED_BYTES: usize = 4 << 10;

impl PeerMessage {
    /// About what the message holds in memory, bytes, for limits of queues.
    pub fn size(&self) -> usize {
        let consensus::Message { body, .. } = match self {
            PeerMessage::Beat(_)
            | PeerMessage::Wait(_)
            | PeerMessage::Named { .. }
            | PeerMessage::Pull(_)
            | PeerMessage::Elect(_) => return MESSAGE_BYTES,
            PeerMessage::Range(range) => {
                return range.batches.iter().map(|batch| MESSAGE_BYTES + batch.size()).sum();
            }
            PeerMessage::Pass(..) | PeerMessage::Answer(..) => return PASSED_BYTES,
            PeerMessage::Consensus(message) => message,
        };
        let carried = match body {
            consensus::Body::Append { entries, .. } | consensus::Body::Lend { entries, .. } => entries
                .iter()
                .map(|entry| MESSAGE_BYTES + entry.descriptor.len() + entry.payload.size())
                .sum(),
            consensus::Body::Snapshot(snapshot) => snapshot.state.len(),
            _ => 0,
        };
        MESSAGE_BYTES + carried
    }

    /// The connection that it goes over.
    pub fn stream(&self) -> Stream {
        match self {
            PeerMessage::Beat(_) | PeerMessage::Wait(_) | PeerMessage::Named { .. } => Stream::Beats,
            PeerMessage::Consensus(message) if matches!(message.body, consensus::Body::Snapshot(_)) => {
                Stream::Bulk
            }
            PeerMessage::Pull(_) | PeerMessage::Range(_) => Stream::Bulk,
            PeerMessage::Consensus(_)
            | PeerMessage::Pass(..)
            | PeerMessage::Answer(..)
            | PeerMessage::Elect(_) => Stream::Log,
        }
    }
}

/// Above the bits of a raft id that name the node stand those of its replica.
const REPLICA_SHIFT: u32 = 32;

/// The raft id of a node's replica: raft counts from 1, nodes and replicas from 0.
pub fn raft_id(node: NodeId, replica: u32) -> u64 {
    let node = u64::try_from(node.0).expect("node ids are not negative") + 1;
    assert!(replica <= REPLICA_MAX, "a node has few replicas");
    node | u64::from(replica) << REPLICA_SHIFT
}

/// The node behind a raft id; `None` for ids that no node has.
pub fn node_of(raft_id: u64) -> Option<NodeId> {
    let node = raft_id & ((1 << REPLICA_SHIFT) - 1);
    let id = node.checked_sub(1).filter(|_| raft_id < consensus::RAFT_ID_END)?;
    i32::try_from(id).ok().map(NodeId)
}

/// Which of its node's replicas a raft id names.
pub fn replica_of(raft_id: u64) -> u32 {
    u32::try_from(raft_id >> REPLICA_SHIFT).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_ids_name_node_and_replica() {
        for (node, replica) in [(0, 0), (1, 0), (i32::MAX, 0), (7, 3), (i32::MAX, REPLICA_MAX)] {
            let id = raft_id(NodeId(node), replica);
            assert_eq!((node_of(id), replica_of(id)), (Some(NodeId(node)), replica));
            assert!(id < consensus::RAFT_ID_END);
        }
        assert_eq!(raft_id(NodeId(2), 0), 3, "as before there were replicas");
        for id in [0, 1 << REPLICA_SHIFT, u64::from(u32::MAX), consensus::RAFT_ID_END | 1, u64::MAX] {
            assert_eq!(node_of(id), None, "{id:x}");
        }
    }
}
