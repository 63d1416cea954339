//! What the WAL and the segments tell each other: which checkpoint is durable, how far the WAL is, whether the device
//! failed. Each writes down the other's progress, so that a loss on one side is noticed from the other.

use model::job::{JobError, ShardCheckpoint};
use model::{LogIndex, ShardId};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::DiskFile;
use crate::mutant::Mutant;

/// Shared by `Wal` and `Segments` of one data directory.
#[derive(Debug, Default)]
pub struct Known(Mutex<State>);

/// The state behind the lock; never held over a disk call.
#[derive(Debug, Default)]
pub struct State {
    /// Sequence of the newest durable checkpoint.
    pub checkpoint: u64,
    /// Newest WAL commit that is durable.
    pub synced_upto: u64,
    /// Epoch of the WAL file in use.
    pub epoch: u64,
    /// Last index per shard in the WAL.
    pub last: BTreeMap<ShardId, LogIndex>,
    /// Last index per shard in the durable checkpoint.
    pub applied: BTreeMap<ShardId, LogIndex>,
    /// A clean checkpoint was written: nothing may follow.
    pub closed: bool,
    /// The last checkpoint found no space. Until one is durable the WAL takes no more than its commits need: what somebody
    /// frees is the checkpoint's, which gives WAL files back.
    pub checkpoint_lacks_space: bool,
    /// Why the device must not be used any more.
    pub failed: Option<String>,
}

impl Known {
    /// The state, locked for a moment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses work on a device that failed.
    pub fn usable(&self) -> Result<(), JobError> {
        match &self.state().failed {
            Some(detail) => Err(JobError::Device { detail: detail.clone() }),
            None => Ok(()),
        }
    }

    /// Marks the device as failed for good (rule 3) and says so.
    pub fn fail(&self, what: &str, error: &io::Error) -> JobError {
        let detail = format!("{what}: {error}");
        self.state().failed.get_or_insert_with(|| detail.clone());
        JobError::Device { detail }
    }

    /// Remembers a durable checkpoint.
    pub fn on_checkpoint(&self, sequence: u64, shards: &[ShardCheckpoint], clean: bool) {
        let mut state = self.state();
        state.checkpoint = sequence;
        state.applied = shards.iter().map(|shard| (shard.shard, shard.applied)).collect();
        state.closed |= clean;
    }
}

/// `fdatasync`, once (rule 3: an error is final).
pub fn sync<F: DiskFile>(file: &F, mutant: Option<Mutant>) -> io::Result<()> {
    match file.sync_data() {
        Err(_) if mutant == Some(Mutant::FsyncErrorRetried) => file.sync_data().or(Ok(())),
        other => other,
    }
}
