//! What a node is told when it starts.

use crate::config::NodeSettings;
use crate::group::GroupMutant;
use crate::level::Level;
use crate::mutant::Mutant;
use crate::request::Endpoint;
use model::{NodeId, Owner};

/// Who a node is and how it is set.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its id.
    pub node: NodeId,
    /// Its disk.
    pub owner: Owner,
    /// The nodes of the cluster, this one among them, in order of their ids: one, three or five.
    pub voters: Vec<NodeId>,
    /// The cluster's id, as clients see it.
    pub cluster_id: String,
    /// Where clients reach it.
    pub endpoint: Endpoint,
    /// The data directory, as clients see it.
    pub log_dir: String,
    /// Source of every random choice (topic ids, member ids).
    pub seed: u64,
    /// Settings given at start.
    pub settings: NodeSettings,
    /// The highest protocol level that it speaks.
    pub level: Level,
    /// Data shards of a new cluster; an existing one keeps at least what it has.
    pub data_shards: u32,
    /// Budget of committed batches in memory, bytes.
    pub tail_bytes_max: usize,
    /// A checkpoint starts when so many bytes of batches are committed and in no segment.
    pub checkpoint_bytes: usize,
    /// Bytes of log entries that stay in memory for followers that are behind, all shards together.
    pub log_kept_bytes: u64,
    /// Bytes of records that a replica which catches up asks for at a time.
    pub pull_bytes: u32,
    /// A checkpoint starts when a restart would read so many WAL bytes.
    pub wal_held_bytes_max: u64,
    /// Preallocated WAL bytes below which records are refused: what is left is for metadata, deletes and positions.
    pub wal_reserve_bytes: u64,
    /// For the simulator only.
    pub mutant: Option<Mutant>,
    /// For the simulator only.
    pub group_mutant: Option<GroupMutant>,
    /// For the simulator only.
    pub consensus_mutant: Option<consensus::Mutant>,
}
