//! The cluster's nodes: what each holds on disk, who votes in the metadata group, who is to lead.

use super::Refusal;
use model::{DiskId, ErrorCode, LeaderEpoch, NodeId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How large the partitions on this node are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeLogDirs {
    /// Topics by name with partitions; `None`: all of them.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
}

/// Answer to `DescribeLogDirs`: a node has one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeLogDirsResponse {
    /// Its path.
    pub path: String,
    /// Those that were asked for and are here, by topic.
    pub topics: Vec<(String, Vec<HeldPartition>)>,
    /// The volume that it lies on; `None`: not known.
    pub volume: Option<Volume>,
}

/// Sizes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What may still be written, bytes.
    pub usable_bytes: u64,
}

/// A partition on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPartition {
    /// Partition number.
    pub index: i32,
    /// Bytes of its segment files, and of committed batches that are so far in the node's log alone.
    pub bytes: u64,
}

/// Who votes in the metadata group, and how far each has come. Only the controller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeQuorum {}

/// Answer to `DescribeQuorum`. Offsets count the entries of the metadata log from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeQuorumResponse {
    /// Success or the reason; everything else is empty then.
    pub error: ErrorCode,
    /// The controller.
    pub leader: NodeId,
    /// Its leader epoch.
    pub epoch: LeaderEpoch,
    /// Offset behind the last committed entry.
    pub high_watermark: u64,
    /// In the order of their ids.
    pub voters: Vec<QuorumVoter>,
    /// Disks that take no part yet: they wait until they are named, or learn what the voters have. As the node knows that answers the client.
    #[serde(skip)]
    pub observers: Vec<QuorumVoter>,
}

/// One voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumVoter {
    /// Which node.
    pub node: NodeId,
    /// Where the other nodes reach it: host and port. `None` for a node of one, which has no such address.
    pub address: Option<(String, u16)>,
    /// Offset behind the last entry that the leader knows to be on its disk; of the leader's own log, durable or not.
    pub log_end: u64,
    /// Wall clock, ms, when it had everything committed: now, or unknown.
    pub caught_up_at_ms: Option<i64>,
    /// Its disk, as the node knows that answers the client; `None`: it was never named.
    #[serde(skip)]
    pub disk: Option<DiskId>,
}

/// Give a node's place to the disk of that node that waits (KIP-853).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRaftVoter {
    /// The cluster that is meant; `None`: whichever it is.
    pub cluster_id: Option<String>,
    /// The node.
    pub node: NodeId,
    /// The disk that takes part so far; `None`: none was ever named.
    pub disk: Option<DiskId>,
}

/// Answer to `RemoveRaftVoter`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRaftVoterResponse {
    /// Success or the reason.
    pub refusal: Refusal,
}

/// Which election (numbers are Kafka's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The preferred replica is to lead (0).
    Preferred,
    /// Any replica is to lead, records lost or not (1). Never done here.
    Unclean,
}

/// Let partitions be led by whom they should be led by (KIP-460).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeaders {
    /// Which election.
    pub kind: ElectionKind,
    /// Topics by name with partitions; `None`: all that need it, and only they are answered.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Answer to `ElectLeaders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeadersResponse {
    /// By topic: partition number with success or the reason.
    pub topics: Vec<(String, Vec<(i32, Refusal)>)>,
}
