//! The catalogue: topics, their partitions' shards, settings and producer-id blocks. State machine of the metadata
//! group: changed by `apply` alone, the same on every replica.

use crate::disks::{Disks, Named};
use crate::level::{Level, OLDEST};
use model::{LogIndex, NodeId, PartitionId, ShardId, TopicId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// Coordinator partitions: group ids hash to one of them, each lives in a shard. Fixed for the life of a cluster.
pub const COORDINATOR_PARTITIONS: usize = 64;

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CatalogCommand {
    /// First entry of a new cluster: where the coordinator partitions live.
    Format {
        /// One shard for each coordinator partition.
        coordinators: Vec<ShardId>,
    },
    /// A new topic.
    CreateTopic {
        /// Its name; not in use.
        name: String,
        /// Its id; never used before.
        id: TopicId,
        /// The shard of each partition.
        shards: Vec<ShardId>,
        /// What was set on it.
        configs: BTreeMap<String, String>,
    },
    /// More partitions at the end of a topic.
    AddPartitions {
        /// The topic.
        id: TopicId,
        /// Number before; another number: no effect.
        from: u32,
        /// The shard of each new partition.
        shards: Vec<ShardId>,
    },
    /// The topic is gone; its partitions follow.
    DeleteTopic {
        /// The topic.
        id: TopicId,
    },
    /// The whole set of a topic's own settings.
    SetTopicConfigs {
        /// The topic.
        id: TopicId,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// The whole set of settings that were changed at run time, of one node or (`None`) of all.
    SetNodeConfigs {
        /// Which node.
        node: Option<NodeId>,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// Producer ids up to here are given away.
    AllocateProducerIds {
        /// First id of the block.
        first: i64,
        /// Number of ids.
        count: i64,
    },
    /// More shards, on some of the nodes.
    AddShards {
        /// Number of the first, the others behind it; not the next free one: no effect.
        first: ShardId,
        /// The nodes of each, the one that leads it when nothing is amiss first.
        replicas: Vec<Vec<NodeId>>,
    },
    /// The partitions of these deleted topics are gone from every shard: their names are free.
    ForgetTopics {
        /// Which.
        ids: Vec<TopicId>,
    },
    /// Every node of the cluster knows this protocol level.
    RaiseLevel {
        /// The level; not higher than before: no effect.
        to: Level,
    },
    /// A disk of a node takes part from now on, in the place of the one before. From protocol level 3 on.
    NameDisk {
        /// The node.
        node: NodeId,
        /// The disk; one that does not follow the one before: no effect.
        named: Named,
    },
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// The shard of each partition.
    pub shards: Vec<ShardId>,
    /// What was set on it.
    pub configs: BTreeMap<String, String>,
}

impl Topic {
    /// Its partitions with their shards.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, ShardId)> + '_ {
        self.shards.iter().enumerate().map(|(index, shard)| (self.partition(index), *shard))
    }

    /// One of them; `None` when there is none of this number.
    pub fn partition_at(&self, index: usize) -> Option<(PartitionId, ShardId)> {
        self.shards.get(index).map(|shard| (self.partition(index), *shard))
    }

    fn partition(&self, index: usize) -> PartitionId {
        PartitionId { topic: self.id, index: i32::try_from(index).expect("partition numbers fit") }
    }
}

/// All topics, with the count of their partitions beside them. On disk the map alone.
#[derive(Clone, Debug, Default, PartialEq)]
struct Topics {
    by_id: BTreeMap<TopicId, Topic>,
    partition_count: u64,
    /// Names with `.` or `_`, as `folded` makes them.
    folded: BTreeSet<(String, TopicId)>,
}

/// The name with `.` and `_` taken for the same, as names of metrics have them; none when it has neither.
pub fn folded(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

impl Serialize for Topics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.by_id.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Topics, D::Error> {
        let by_id = BTreeMap::<TopicId, Topic>::deserialize(deserializer)?;
        let partition_count = by_id.values().map(|topic| topic.shards.len() as u64).sum();
        let folded = by_id.values().filter_map(|topic| Some((folded(&topic.name)?, topic.id))).collect();
        Ok(Topics { by_id, partition_count, folded })
    }
}

/// The whole catalogue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    topics: Topics,
    names: BTreeMap<String, TopicId>,
    coordinators: Vec<ShardId>,
    node_configs: BTreeMap<Option<NodeId>, BTreeMap<String, String>>,
    next_producer_id: i64,
    partitions_placed: u64,
    /// The nodes of the shards from `ShardId::FIRST_PLACED` on, the one that leads first.
    placed_shards: Vec<Vec<NodeId>>,
    dying: BTreeMap<TopicId, Dying>,
    /// The protocol level; 0 before it was raised for the first time.
    level: Level,
    /// A state has them behind everything else.
    #[serde(skip)]
    disks: Disks,
}

/// A deleted topic whose partitions are not known to be gone from every shard. Until they are, a node whose catalogue is older
/// may serve it under its name: no other topic gets that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dying {
    /// Its name.
    pub name: String,
    /// The shards that had its partitions.
    pub shards: BTreeSet<ShardId>,
    /// The entry of the metadata log that deleted it.
    pub since: LogIndex,
}

impl Catalog {
    /// Whether the first entry of the cluster was applied.
    pub fn is_formatted(&self) -> bool {
        !self.coordinators.is_empty()
    }

    /// A topic by name.
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.names.get(name).map(|id| &self.topics.by_id[id])
    }

    /// A topic by id.
    pub fn by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.by_id.get(&id)
    }

    /// A topic whose name is like this one but for `.` and `_`.
    pub fn like(&self, name: &str) -> Option<&Topic> {
        let wanted = (folded(name)?, TopicId([0; 16]));
        let (found, id) = self.topics.folded.range(&wanted..).next()?;
        (*found == wanted.0).then(|| &self.topics.by_id[id])
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().map(|id| &self.topics.by_id[id])
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.by_id.len()
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> u64 {
        self.topics.partition_count
    }

    /// Where the coordinator of `group` lives; `None` before the cluster is formatted.
    pub fn coordinator_shard(&self, group: &str) -> Option<ShardId> {
        let slot = model::checksum::crc32c(group.as_bytes()) as usize % COORDINATOR_PARTITIONS;
        self.coordinators.get(slot).copied()
    }

    /// What was set at run time for a node, or (`None`) for all.
    pub fn node_configs(&self, node: Option<NodeId>) -> Option<&BTreeMap<String, String>> {
        self.node_configs.get(&node)
    }

    /// First producer id that nobody has.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Counts the partitions ever placed: the next ones go to the shards behind.
    pub fn partitions_placed(&self) -> u64 {
        self.partitions_placed
    }

    /// The nodes of the shards from `ShardId::FIRST_PLACED` on, each with the one that leads it when nothing is amiss first.
    pub fn placed_shards(&self) -> &[Vec<NodeId>] {
        &self.placed_shards
    }

    /// Number of the next shard that is placed on some of the nodes.
    pub fn next_shard(&self) -> ShardId {
        let count = u32::try_from(self.placed_shards.len()).expect("shards are few");
        ShardId(ShardId::FIRST_PLACED.0 + count)
    }

    /// Deleted topics whose partitions are not gone yet.
    pub fn dying(&self) -> &BTreeMap<TopicId, Dying> {
        &self.dying
    }

    /// The protocol level: what every node of the cluster knows.
    pub fn level(&self) -> Level {
        self.level.max(OLDEST)
    }

    /// Which disk of each node takes part.
    pub fn disks(&self) -> &Disks {
        &self.disks
    }

    /// A state keeps them behind everything else: before protocol level 3 there were none.
    pub(crate) fn take_disks(&mut self, disks: Disks) {
        self.disks = disks;
    }

    /// A deleted topic of this name.
    pub fn dying_by_name(&self, name: &str) -> Option<TopicId> {
        self.dying.iter().find(|(_, dying)| dying.name == name).map(|(id, _)| *id)
    }

    /// Applies one command, of the metadata log's entry `at`. Returns what it changed for the controller to drive; `None` when it had
    /// no effect.
    pub fn apply(&mut self, command: CatalogCommand, at: LogIndex) -> Option<CatalogChange> {
        match command {
            CatalogCommand::Format { coordinators } => {
                if self.is_formatted() {
                    return None;
                }
                assert_eq!(coordinators.len(), COORDINATOR_PARTITIONS);
                self.coordinators = coordinators;
                Some(CatalogChange::Formatted)
            }
            CatalogCommand::CreateTopic { name, id, shards, configs } => {
                if self.names.contains_key(&name) || self.topics.by_id.contains_key(&id) {
                    return None;
                }
                self.check_shards(&shards);
                self.partitions_placed += shards.len() as u64;
                self.names.insert(name.clone(), id);
                self.topics.folded.extend(folded(&name).map(|folded| (folded, id)));
                let topic = Topic { name, id, shards, configs };
                let created = topic.partitions().collect();
                self.topics.partition_count += topic.shards.len() as u64;
                self.topics.by_id.insert(id, topic);
                Some(CatalogChange::PartitionsAdded(created))
            }
            CatalogCommand::AddPartitions { id, from, shards } => {
                let topic = self.topics.by_id.get_mut(&id)?;
                let before = topic.shards.len();
                if before != from as usize {
                    return None;
                }
                self.partitions_placed += shards.len() as u64;
                self.topics.partition_count += shards.len() as u64;
                topic.shards.extend(&shards);
                let added = topic.partitions().skip(before).collect();
                self.check_shards(&shards);
                Some(CatalogChange::PartitionsAdded(added))
            }
            CatalogCommand::DeleteTopic { id } => {
                let topic = self.topics.by_id.remove(&id)?;
                self.topics.partition_count -= topic.shards.len() as u64;
                self.names.remove(&topic.name);
                folded(&topic.name).map(|folded| self.topics.folded.remove(&(folded, id)));
                let shards = topic.shards.iter().copied().collect();
                self.dying.insert(id, Dying { name: topic.name.clone(), shards, since: at });
                Some(CatalogChange::TopicDeleted {
                    partitions: topic.partitions().collect(),
                    name: topic.name,
                })
            }
            CatalogCommand::SetTopicConfigs { id, configs } => {
                self.topics.by_id.get_mut(&id)?.configs = configs;
                Some(CatalogChange::Configs)
            }
            CatalogCommand::SetNodeConfigs { node, configs } => {
                self.node_configs.insert(node, configs);
                Some(CatalogChange::Configs)
            }
            CatalogCommand::AllocateProducerIds { first, count } => {
                if first != self.next_producer_id || count <= 0 {
                    return None;
                }
                self.next_producer_id += count;
                Some(CatalogChange::ProducerIds { first, count })
            }
            CatalogCommand::AddShards { first, replicas } => {
                if first != self.next_shard() {
                    return None;
                }
                for (at, nodes) in replicas.iter().enumerate() {
                    self.disks.bear(ShardId(first.0 + at as u32), nodes);
                }
                self.placed_shards.extend(replicas);
                Some(CatalogChange::ShardsAdded)
            }
            CatalogCommand::ForgetTopics { ids } => {
                let gone = ids.into_iter().filter(|id| self.dying.remove(id).is_some()).collect();
                Some(CatalogChange::TopicsGone(gone))
            }
            CatalogCommand::RaiseLevel { to } => {
                if to <= self.level {
                    return None;
                }
                self.level = to;
                Some(CatalogChange::Level)
            }
            CatalogCommand::NameDisk { node, named } => {
                self.disks.name(node, named).then_some(CatalogChange::DiskNamed(node))
            }
        }
    }
}

impl Catalog {
    /// A deleted topic that was never placed.
    #[cfg(test)]
    pub fn mark_dying(&mut self, id: TopicId, dying: Dying) {
        self.dying.insert(id, dying);
    }

    /// As version 2 had it.
    #[cfg(test)]
    pub fn forget_what_version_2_lacks(&mut self) {
        self.placed_shards.clear();
        self.dying.clear();
        self.level = 0;
    }

    fn check_shards(&self, shards: &[ShardId]) {
        let next = self.next_shard();
        assert!(shards.iter().all(|shard| *shard < next), "partitions are placed in shards that there are");
    }
}

/// What an applied command changed.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogChange {
    /// The cluster has its first entry.
    Formatted,
    /// These partitions are to be created in their shards.
    PartitionsAdded(Vec<(PartitionId, ShardId)>),
    /// These partitions are to go from their shards, and the groups' positions in the topic too.
    TopicDeleted {
        /// Its name.
        name: String,
        /// Its partitions.
        partitions: Vec<(PartitionId, ShardId)>,
    },
    /// Settings changed.
    Configs,
    /// A block of producer ids may be given out.
    ProducerIds {
        /// First id.
        first: i64,
        /// Number of ids.
        count: i64,
    },
    /// There are more shards.
    ShardsAdded,
    /// Nothing is left of these deleted topics.
    TopicsGone(Vec<TopicId>),
    /// The protocol level was raised.
    Level,
    /// Another disk of this node takes part.
    DiskNamed(NodeId),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(catalog: &mut Catalog, command: CatalogCommand) -> Option<CatalogChange> {
        catalog.apply(command, LogIndex(7))
    }

    fn create(catalog: &mut Catalog, name: &str, id: u8, partitions: u32) -> Option<CatalogChange> {
        apply(
            catalog,
            CatalogCommand::CreateTopic {
                name: name.into(),
                id: TopicId([id; 16]),
                shards: (0..partitions).map(|p| ShardId(1 + p % 4)).collect(),
                configs: BTreeMap::new(),
            },
        )
    }

    #[test]
    fn create_again_and_delete() {
        let mut catalog = Catalog::default();
        assert!(create(&mut catalog, "a", 1, 3).is_some());
        assert_eq!(create(&mut catalog, "a", 2, 3), None, "the name is taken");
        assert_eq!(create(&mut catalog, "b", 1, 3), None, "the id is taken");
        assert_eq!(catalog.by_name("a").map(|t| t.shards.len()), Some(3));
        let id = TopicId([1; 16]);
        assert!(
            apply(&mut catalog, CatalogCommand::AddPartitions { id, from: 3, shards: vec![ShardId(2)] })
                .is_some()
        );
        assert_eq!(
            apply(&mut catalog, CatalogCommand::AddPartitions { id, from: 3, shards: vec![ShardId(2)] }),
            None
        );
        assert!(
            matches!(apply(&mut catalog, CatalogCommand::DeleteTopic { id }), Some(CatalogChange::TopicDeleted { partitions, .. }) if partitions.len() == 4)
        );
        assert!(catalog.by_name("a").is_none());
        assert_eq!((catalog.partitions_placed(), catalog.partition_count()), (4, 0));
    }

    #[test]
    fn partitions_are_counted_over_a_snapshot() {
        let mut catalog = Catalog::default();
        create(&mut catalog, "a", 1, 3);
        create(&mut catalog, "b", 2, 5);
        apply(&mut catalog, CatalogCommand::DeleteTopic { id: TopicId([1; 16]) });
        let bytes = postcard::to_allocvec(&catalog).expect("plain data");
        let read: Catalog = postcard::from_bytes(&bytes).expect("as written");
        assert_eq!((read.partition_count(), &read), (5, &catalog));
    }

    /// Also of two that were made before they were kept apart.
    #[test]
    fn names_alike_are_found_as_long_as_they_are_there() {
        let mut catalog = Catalog::default();
        create(&mut catalog, "a.b_c", 1, 1);
        create(&mut catalog, "a_b.c", 2, 1);
        create(&mut catalog, "abc", 3, 1);
        let like = |catalog: &Catalog, name| catalog.like(name).map(|topic| topic.id.0[0]);
        assert_eq!(like(&catalog, "a_b_c"), Some(1));
        apply(&mut catalog, CatalogCommand::DeleteTopic { id: TopicId([1; 16]) });
        let bytes = postcard::to_allocvec(&catalog).expect("plain data");
        let mut read: Catalog = postcard::from_bytes(&bytes).expect("as written");
        assert_eq!((like(&read, "a.b.c"), &read), (Some(2), &catalog));
        assert_eq!((like(&read, "abc"), like(&read, "a.b"), like(&read, "a.b.c.d")), (None, None, None));
        apply(&mut read, CatalogCommand::DeleteTopic { id: TopicId([2; 16]) });
        assert_eq!(like(&read, "a.b.c"), None);
    }

    #[test]
    fn shards_are_added_behind_those_there_are() {
        let mut catalog = Catalog::default();
        let add = |first: u32, nodes: &[&[i32]]| CatalogCommand::AddShards {
            first: ShardId(ShardId::FIRST_PLACED.0 + first),
            replicas: nodes.iter().map(|nodes| nodes.iter().copied().map(NodeId).collect()).collect(),
        };
        assert_eq!(apply(&mut catalog, add(0, &[&[1], &[2]])), Some(CatalogChange::ShardsAdded));
        assert_eq!(apply(&mut catalog, add(0, &[&[3]])), None, "the number is taken");
        assert_eq!(apply(&mut catalog, add(3, &[&[3]])), None, "that would leave a gap");
        assert!(apply(&mut catalog, add(2, &[&[3, 1, 2]])).is_some());
        assert_eq!(catalog.placed_shards().last(), Some(&[3, 1, 2].map(NodeId).to_vec()));
        assert_eq!(catalog.next_shard(), ShardId(ShardId::FIRST_PLACED.0 + 3));
    }

    #[test]
    fn producer_ids_are_given_once() {
        let mut catalog = Catalog::default();
        assert!(apply(&mut catalog, CatalogCommand::AllocateProducerIds { first: 0, count: 10 }).is_some());
        assert_eq!(apply(&mut catalog, CatalogCommand::AllocateProducerIds { first: 0, count: 10 }), None);
        assert_eq!(catalog.next_producer_id(), 10);
    }
}
