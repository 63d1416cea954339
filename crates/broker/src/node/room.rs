//! Room of the WAL: below a reserve of it records are refused, so that metadata, deletes and positions still find some.

use super::{NO_SPACE_RETRY, Node, Timer};
use crate::shard::Shard;
use model::Now;
use model::job::WalAppend;

impl Node {
    /// While records are refused for want of room, only an append can bring news of more: an empty one asks.
    pub(super) fn consider_room(&mut self, now: Now) {
        let is_short = self.wal.room.bytes < self.config.wal_reserve_bytes || self.wal.wanted > 0;
        if is_short && self.wal.under_way.is_none() && !self.wal.probe_waits {
            self.wal.probe_waits = true;
            self.set_timer(now.mono.plus(NO_SPACE_RETRY), Timer::Append);
        }
    }

    /// Whether records are refused because the disk is (nearly) full.
    pub(super) fn refuses_records(&self) -> bool {
        let memory_is_full = self.is_tail_full() && self.checkpoint.lacks_space();
        self.wal.full || self.wal.room.bytes < self.config.wal_reserve_bytes || memory_is_full
    }

    /// Whether the log may lack room for a batch behind all that was taken before it: an append that does not fit would stand in the
    /// way of whatever gives space back. Counted twice: the end of a file that the next commit does not fit into is lost.
    pub(super) fn lacks_room(&self, bytes: u64) -> bool {
        let wal = &self.wal;
        if !wal.room.is_all {
            return false; // there is always a whole file more
        }
        let under_way = wal.under_way.as_ref().map_or(0, |job| staged_bytes(&job.append));
        let pending: usize = self.shards.iter().map(Shard::pending_bytes).sum();
        let waiting = (staged_bytes(&wal.staged) + under_way + pending) as u64;
        wal.room.bytes < self.config.wal_reserve_bytes + 2 * (waiting + bytes)
    }

    /// Forgets that a batch was refused for want of room once it would be taken.
    pub(super) fn look_for_wanted_room(&mut self) {
        if self.wal.wanted > 0 && !self.lacks_room(self.wal.wanted) {
            self.wal.wanted = 0;
        }
    }
}

pub(super) fn staged_bytes(append: &WalAppend) -> usize {
    append.entries.iter().map(|entry| entry.descriptor.len() + entry.payload.size()).sum()
}
