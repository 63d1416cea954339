//! Which disk of each node takes part, and as which of the node's replicas: part of the catalogue. A disk that is lost gives its place
//! to another as the next replica, so that nothing which the lost one had promised is expected of it.

use model::{DiskId, NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Replicas that one node may have had: consensus keeps other things above their number.
pub const REPLICA_MAX: u32 = (1 << 29) - 1;

/// A disk that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub disk: DiskId,
    /// Which of the node's replicas it is.
    pub replica: u32,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disks {
    named: BTreeMap<NodeId, Named>,
    /// Shards whose first voters were not everybody's first replica: which they were, in the order of the shard's nodes.
    born: BTreeMap<ShardId, Vec<u32>>,
}

impl Disks {
    /// Nothing was named: as before protocol level 3.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.born.is_empty()
    }

    /// The disk of a node that takes part; `None` as long as none was named.
    pub fn named(&self, node: NodeId) -> Option<Named> {
        self.named.get(&node).copied()
    }

    /// Which of a node's replicas takes part: the first one as long as none was named.
    pub fn replica(&self, node: NodeId) -> u32 {
        self.named.get(&node).map_or(0, |named| named.replica)
    }

    /// Names the disk that takes part from now on. Says whether it does: it must be the one behind the last one, and before any was
    /// named the first, or the second when the first is lost.
    pub fn name(&mut self, node: NodeId, named: Named) -> bool {
        let fits = match self.named.get(&node) {
            Some(before) => {
                named.replica == before.replica + 1
                    && named.disk != before.disk
                    && named.replica <= REPLICA_MAX
            }
            None => named.replica <= 1,
        };
        if fits {
            self.named.insert(node, named);
        }
        fits
    }

    /// A shard comes about on these nodes: its first voters are the replicas that they have now.
    pub fn bear(&mut self, shard: ShardId, nodes: &[NodeId]) {
        let replicas: Vec<u32> = nodes.iter().map(|node| self.replica(*node)).collect();
        if replicas.iter().any(|replica| *replica > 0) {
            self.born.insert(shard, replicas);
        }
    }

    /// The replica that the node in this place of a shard's nodes had when the shard came about.
    pub fn first_replica(&self, shard: ShardId, place: usize) -> u32 {
        self.born.get(&shard).and_then(|replicas| replicas.get(place)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(disk: u8, replica: u32) -> Named {
        Named { disk: DiskId([disk; 16]), replica }
    }

    #[test]
    fn each_replica_follows_the_one_before_on_another_disk() {
        let mut disks = Disks::default();
        let node = NodeId(4);
        assert!(!disks.name(node, named(1, 2)), "two were lost before any was named");
        assert!(disks.name(node, named(1, 0)));
        assert_eq!((disks.named(node), disks.replica(node)), (Some(named(1, 0)), 0));
        assert!(!disks.name(node, named(2, 0)), "it has one");
        assert!(!disks.name(node, named(2, 2)));
        assert!(!disks.name(node, named(1, 1)), "that is no other disk");
        assert!(disks.name(node, named(2, 1)));
        assert!(!disks.name(node, named(3, 1)), "another came first");
        assert_eq!(disks.replica(node), 1);
        let mut lost = Disks::default();
        assert!(lost.name(node, named(1, 1)));
        assert_eq!((lost.replica(node), lost.replica(NodeId(5))), (1, 0));
    }

    #[test]
    fn a_shard_keeps_who_its_first_voters_were() {
        let mut disks = Disks::default();
        let nodes = [NodeId(1), NodeId(2)];
        disks.bear(ShardId(1 << 16), &nodes);
        assert!(disks.is_empty(), "nothing to remember");
        disks.name(nodes[1], named(1, 0));
        disks.name(nodes[1], named(2, 1));
        disks.bear(ShardId(9), &nodes);
        disks.name(nodes[1], named(3, 2));
        assert_eq!([0, 1].map(|place| disks.first_replica(ShardId(9), place)), [0, 1]);
        assert_eq!(disks.first_replica(ShardId(8), 1), 0);
    }
}
