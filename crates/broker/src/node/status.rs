//! The node at one moment, for metrics, health and the console; and whether the cluster can do without one of its nodes.

use super::Node;
use super::pace::slow_words;
use crate::event::Status;
use model::NodeId;
use std::collections::BTreeSet;

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
        conditions.extend(self.slow_disk().map(slow_words));
        conditions.extend(self.mending.words());
        conditions.extend(self.scrub.words());
        if self.stopping.is_some() {
            conditions.push("stopping".to_owned());
        }
        if self.waiting.is_some() {
            conditions.extend(self.waiting_words());
        } else if self.is_ready() {
            conditions.extend(self.nodes_away());
            conditions.extend(self.leaderless());
        }
        Status {
            ready: self.is_ready() && self.stopping.is_none() && self.controller().is_some(),
            conditions,
            must_stay: self.must_stay(),
            level: self.catalog.level(),
            topics: self.catalog.topic_count() as u64,
            partitions: self.shards.iter().map(|shard| shard.partitions.len() as u64).sum(),
            shards: self.shards.len() as u64,
            elections_total: self.shards.iter().map(|shard| shard.group.elections()).sum(),
            leader_changes_total: self.shards.iter().map(|shard| shard.group.leader_changes()).sum(),
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
            damaged_segments: self.damaged_segments(),
            mended_segments_total: self.mending.mended_total,
            mended_bytes_total: self.mending.brought_bytes_total,
            scrub_passes_total: self.scrub_passes(),
            log_renewals_total: self.scrub.renewals_total,
        }
    }

    /// A sentence for each other node that does not take part.
    fn nodes_away(&self) -> Vec<String> {
        let away =
            self.others().filter(|node| !self.is_up(**node)).map(|node| match self.endpoint_of(*node) {
                _ if self.waiting_disk(*node).is_some() => {
                    format!(
                        "node {id} waits: its disk takes no part (`sternpost cluster replace-node {id}`)",
                        id = node.0
                    )
                }
                None => format!("node {} is not heard", node.0),
                Some(_) => format!("node {} is heard and not ready: it starts or stops", node.0),
            });
        away.collect()
    }

    fn leaderless(&self) -> Option<String> {
        let count = (0..self.shards.len()).filter(|at| self.leadership(*at).is_none()).count();
        (count > 0).then(|| format!("{count} of {} shards have no leader", self.shards.len()))
    }

    /// Why no node may be taken down now: without any one of those that are up, every shard must keep a majority in sync. As far as is
    /// known here: who leads tells the others by its beats, which are a moment old.
    fn must_stay(&self) -> Vec<String> {
        if self.is_alone() {
            return vec!["this is the only node".to_owned()];
        }
        let is_here = self.is_ready() && self.stopping.is_none();
        let mut whys: Vec<String> =
            (!is_here).then(|| "this node is not ready".to_owned()).into_iter().collect();
        let up = self.config.voters.iter().filter(|node| self.is_up(**node)).count();
        if up <= self.config.voters.len() / 2 + 1 {
            whys.extend(self.nodes_away());
        }
        whys.extend(self.leaderless());
        whys.extend(self.bare_majorities());
        whys
    }

    /// A sentence about the shards that have no replica in sync to spare.
    fn bare_majorities(&self) -> Option<String> {
        let mut behind: BTreeSet<NodeId> = BTreeSet::new();
        let mut count = 0;
        for at in 0..self.shards.len() {
            let Some(leadership) = self.leadership(at) else { continue };
            let replicas = self.replicas(self.shards[at].id);
            // What is on one node goes with it at any time.
            if replicas.len() > 1 && leadership.in_sync.len() <= self.majority(at) {
                count += 1;
                behind.extend(replicas.iter().filter(|node| !leadership.in_sync.contains(node)));
            }
        }
        let nodes: Vec<String> = behind.iter().map(|node| node.0.to_string()).collect();
        (count > 0).then(|| {
            format!(
                "{count} of {} shards would keep no majority in sync (behind: node {})",
                self.shards.len(),
                nodes.join(", node ")
            )
        })
    }
}
