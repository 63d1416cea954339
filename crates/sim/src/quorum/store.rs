//! A node's storage: the real WAL, checkpoint and recovery over the simulated disk. The worlds of a quorum keep no
//! partitions, so that segments stay empty.

use crate::disk::SimDisk;
use model::job::{Checkpoint, JobError, ShardCheckpoint, WalAppend, WalRecycle};
use model::{Entry, HardState, NodeId, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{OpenError, Options, Segments, Wal, WalSizes, open};

/// Small files, so that recycling and rolling happen in every world.
const SIZES: WalSizes =
    WalSizes { first_file_bytes: 64 << 10, file_bytes: 128 << 10, spare_bytes_max: 512 << 10 };

/// What a shard has on disk.
#[derive(Clone, Debug, Default)]
pub struct ShardImage {
    pub checkpoint: Option<ShardCheckpoint>,
    pub hard_state: HardState,
    /// Consecutive, behind the checkpoint.
    pub entries: Vec<Entry>,
}

/// Storage of one life of a node.
pub struct Store {
    wal: Wal<SimDisk>,
    segments: Segments<SimDisk>,
}

/// What a start found.
pub struct Found {
    pub store: Store,
    pub shards: BTreeMap<ShardId, ShardImage>,
    /// Set when storage believes that acknowledged bytes are gone.
    pub damage: Option<String>,
}

impl Store {
    /// Recovers what the disk holds.
    pub fn open(disk: SimDisk, node: u64) -> Result<Found, OpenError> {
        let node = NodeId(node as i32);
        let options = Options { cluster: Some([7; 16]), node, disk: None, wal: SIZES, mutant: None };
        let opened = open(Arc::new(disk), options)?;
        let mut shards: BTreeMap<ShardId, ShardImage> = BTreeMap::new();
        for checkpoint in opened.recovered.shards {
            let image = shards.entry(checkpoint.shard).or_default();
            image.hard_state = checkpoint.hard_state;
            image.checkpoint = Some(checkpoint);
        }
        for (shard, hard_state) in opened.recovered.hard_states {
            shards.entry(shard).or_default().hard_state = hard_state;
        }
        for (shard, entries) in opened.recovered.entries {
            shards.entry(shard).or_default().entries = entries;
        }
        let store = Store { wal: opened.wal, segments: opened.segments };
        Ok(Found { store, shards, damage: opened.recovered.damage })
    }

    /// Makes an append durable; an empty one marks an idle disk.
    pub fn append(&mut self, append: WalAppend) -> Result<(), JobError> {
        self.wal.append(append).map(drop)
    }

    /// Makes all shards' states durable and lets the WAL go that they contain.
    pub fn checkpoint(&mut self, shards: Vec<ShardCheckpoint>) -> Result<(), JobError> {
        let keep_from = shards.iter().map(|shard| (shard.shard, shard.applied.next())).collect();
        self.segments.checkpoint(Checkpoint { shards, ..Checkpoint::default() })?;
        self.wal.recycle(&WalRecycle { keep_from }).map(drop)
    }
}
