//! The cluster as it was last described: brokers, topics, leaders. Replaced as a whole; topics are added as asked for.

use std::collections::BTreeMap;

use kafka::message::metadata::{MetadataResponse, MetadataResponseTopic};
use kafka::wire::{Str, Uuid};

use crate::Address;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: &Str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.clone(), partition }
    }
}

/// Brokers and topics.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// The broker that takes changes of topics; -1 when unknown.
    pub controller_id: i32,
    /// Brokers by node id.
    pub brokers: BTreeMap<i32, Address>,
    /// Topics by name.
    pub topics: BTreeMap<Str, TopicMetadata>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    /// Kafka's error for the topic as a whole; 0 for none.
    pub error_code: i16,
    /// Id.
    pub id: Uuid,
    /// Whether it belongs to the broker itself.
    pub internal: bool,
    /// Partitions, ascending from 0.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct PartitionMetadata {
    /// Index.
    pub partition: i32,
    /// Node id of the leader; -1 for none.
    pub leader: i32,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// Node ids of the replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Node ids of those in sync.
    pub isr: Vec<i32>,
}

impl Metadata {
    /// Takes over an answer; topics that it does not mention stay as they were.
    pub(crate) fn merge(&mut self, answer: &MetadataResponse) {
        self.cluster_id = answer.cluster_id.as_ref().map(ToString::to_string);
        self.controller_id = answer.controller_id;
        if !answer.brokers.is_empty() {
            let address = |port: i32| u16::try_from(port).unwrap_or(0);
            self.brokers = answer
                .brokers
                .iter()
                .map(|broker| {
                    (broker.node_id, Address { host: (&*broker.host).into(), port: address(broker.port) })
                })
                .collect();
        }
        for topic in &answer.topics {
            if let Some(name) = &topic.name {
                self.topics.insert(name.detached(), TopicMetadata::from(topic));
            }
        }
    }

    /// Leader of a partition, when it has one.
    pub fn leader(&self, at: &TopicPartition) -> Option<i32> {
        let topic = self.topics.get(&at.topic)?;
        let partition = topic.partitions.get(usize::try_from(at.partition).ok()?)?;
        (partition.leader >= 0).then_some(partition.leader)
    }
}

impl From<&MetadataResponseTopic> for TopicMetadata {
    fn from(topic: &MetadataResponseTopic) -> TopicMetadata {
        let mut partitions: Vec<PartitionMetadata> = topic
            .partitions
            .iter()
            .map(|partition| PartitionMetadata {
                partition: partition.partition_index,
                leader: partition.leader_id,
                leader_epoch: partition.leader_epoch,
                replicas: partition.replica_nodes.clone(),
                isr: partition.isr_nodes.clone(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.partition);
        TopicMetadata {
            error_code: topic.error_code,
            id: topic.topic_id,
            internal: topic.is_internal,
            partitions,
        }
    }
}
