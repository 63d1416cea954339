//! What this node has on disk, by partition (KIP-113).

use super::Node;
use crate::catalog::Topic;
use crate::event::Effect;
use crate::partition::Partition;
use crate::request::{DescribeLogDirs, DescribeLogDirsResponse, HeldPartition, Response, Token};
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    pub(super) fn describe_log_dirs(
        &mut self,
        token: Token,
        request: &DescribeLogDirs,
        out: &mut Vec<Effect>,
    ) {
        let topics = match &request.topics {
            None => self.catalog.topics().map(|topic| self.held(topic, 0..topic.shards.len())).collect(),
            Some(asked) => {
                // Each once: adding up a partition takes as long as it has batches in memory.
                let mut wanted: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
                for (name, indexes) in asked {
                    let indexes = indexes.iter().filter_map(|index| usize::try_from(*index).ok());
                    wanted.entry(name).or_default().extend(indexes);
                }
                let found = wanted.into_iter().filter_map(|(name, indexes)| {
                    Some(self.held(self.catalog.by_name(name)?, indexes.into_iter()))
                });
                found.filter(|(_, partitions)| !partitions.is_empty()).collect()
            }
        };
        let (path, volume) = (self.config.log_dir.clone(), self.volume);
        let response = DescribeLogDirsResponse { path, topics, volume };
        self.reply(token, Response::DescribeLogDirs(response), out);
    }

    /// The partitions of a topic that are on this node, among those of these numbers; of one whose records are still being fetched, what
    /// is here so far.
    fn held(&self, topic: &Topic, indexes: impl Iterator<Item = usize>) -> (String, Vec<HeldPartition>) {
        let held = indexes.filter_map(|index| {
            let (id, shard) = topic.partition_at(index)?;
            let partition = self.shards[self.shard_index(shard)].partitions.get(&id);
            let arrived = self.arrived_bytes(&id);
            (partition.is_some() || arrived > 0).then(|| HeldPartition {
                index: id.index,
                bytes: arrived + partition.map_or(0, Partition::held_bytes),
            })
        });
        (topic.name.clone(), held.collect())
    }
}
