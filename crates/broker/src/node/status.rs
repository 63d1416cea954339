//! The node at one moment, for metrics, health and the console.

use super::Node;
use crate::event::Status;

impl Node {
    pub(super) fn status(&self) -> Status {
        let mut conditions = Vec::new();
        conditions.extend(self.frozen.clone());
        if self.start.is_some() {
            conditions.push("starting: the log is being applied".to_owned());
        }
        if (self.refuses_records() || self.wal.wanted > 0) && self.is_ready() {
            conditions.push("the disk is full: records are refused, reads and deletes work".to_owned());
        }
        conditions.extend(self.checkpoint.trouble.clone());
        let leaderless = (0..self.shards.len()).filter(|at| self.leadership(*at).is_none()).count();
        if leaderless > 0 && self.is_ready() {
            conditions.push(format!("{leaderless} of {} shards have no leader", self.shards.len()));
        }
        Status {
            ready: self.is_ready(),
            conditions,
            topics: self.catalog.topic_count() as u64,
            partitions: self.shards.iter().map(|shard| shard.partitions.len() as u64).sum(),
            shards: self.shards.len() as u64,
            groups: self.shards.iter().map(|shard| shard.coordinator.group_count() as u64).sum(),
            delayed_produces: self.gathers.len() as u64,
            delayed_fetches: self.fetches.len() as u64,
            tail_bytes: self.tail_bytes as u64,
            wal_held_bytes: self.wal.held,
            wal_room_bytes: self.wal.room.bytes,
            wal_appends_total: self.wal.appends_total,
            checkpoints_total: self.checkpoint.total,
            batches_in_total: self.counters.batches_in,
            bytes_in_total: self.counters.bytes_in,
            bytes_out_total: self.counters.bytes_out,
            segment_reads_total: self.counters.segment_reads,
        }
    }
}
