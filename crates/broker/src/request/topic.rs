//! The catalogue: metadata, topics, partitions and settings.

use super::{Endpoint, Refusal, TopicRef};
use model::{ErrorCode, NodeId, TopicId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which topics, and whether to create those that are missing.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// `None`: all of them.
    pub topics: Option<Vec<TopicRef>>,
    /// Create what is missing, if the node's settings allow it.
    pub allow_auto_topic_creation: bool,
}

/// Answer to `Metadata`.
#[derive(Clone, Debug)]
pub struct MetadataResponse {
    /// Nodes alive.
    pub brokers: Vec<Endpoint>,
    /// Cluster id.
    pub cluster_id: String,
    /// Who takes admin requests.
    pub controller: NodeId,
    /// In the request's order; sorted by name when all were asked for.
    pub topics: Vec<TopicMetadata>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    /// Success or the reason.
    pub error: ErrorCode,
    /// Name; `None` only when asked by an id that nothing has.
    pub name: Option<String>,
    /// Id; zero when unknown.
    pub id: TopicId,
    /// Made by the system, not by a user.
    pub is_internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct PartitionMetadata {
    /// Success or the reason.
    pub error: ErrorCode,
    /// Partition number.
    pub index: i32,
    /// Leader; `None` while there is none.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub leader_epoch: i32,
    /// All replicas, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Those that keep up.
    pub in_sync: Vec<NodeId>,
    /// Those whose node is away.
    pub offline: Vec<NodeId>,
}

/// Topics with their partitions, page by page (KIP-966).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeTopicPartitions {
    /// Names; `None`: all topics.
    pub topics: Option<Vec<String>>,
    /// Most partitions in the answer, at least 1.
    pub partitions_max: usize,
    /// Where the page before ended; topics below are left out.
    pub cursor: Option<PartitionCursor>,
}

/// The first partition that a page does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCursor {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub index: i32,
}

/// Answer to `DescribeTopicPartitions`.
#[derive(Clone, Debug)]
pub struct DescribeTopicPartitionsResponse {
    /// Sorted by name, each once; of the first and the last maybe not all partitions.
    pub topics: Vec<TopicMetadata>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<PartitionCursor>,
}

/// The cluster.
#[derive(Clone, Debug)]
pub struct DescribeCluster {}

/// Answer to `DescribeCluster`.
#[derive(Clone, Debug)]
pub struct DescribeClusterResponse {
    /// Cluster id.
    pub cluster_id: String,
    /// Who takes admin requests.
    pub controller: NodeId,
    /// Nodes alive.
    pub brokers: Vec<Endpoint>,
}

/// New topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateTopics {
    /// Each on its own: one refused does not stop the others.
    pub topics: Vec<NewTopic>,
    /// Check only.
    pub validate_only: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// One new topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Number of partitions; -1: the node's `num.partitions`.
    pub partitions: i32,
    /// Replication factor; -1: the node's `default.replication.factor`.
    pub replication_factor: i16,
    /// Explicit replicas per partition; empty: the broker chooses.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Settings; a value of `None` means "the default".
    pub configs: Vec<(String, Option<String>)>,
}

/// Answer to `CreateTopics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateTopicsResponse {
    /// In the request's order.
    pub topics: Vec<CreatedTopic>,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Name as asked.
    pub name: String,
    /// Success or the reason.
    pub refusal: Refusal,
    /// Id; zero on error.
    pub id: TopicId,
    /// Partitions made, -1 on error.
    pub partitions: i32,
    /// Replicas each, -1 on error.
    pub replication_factor: i16,
    /// All settings in force.
    pub configs: Vec<ConfigEntry>,
}

/// Topics that go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteTopics {
    /// Which.
    pub topics: Vec<TopicRef>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Answer to `DeleteTopics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteTopicsResponse {
    /// In the request's order.
    pub topics: Vec<DeletedTopic>,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeletedTopic {
    /// Name, when known.
    pub name: Option<String>,
    /// Id, zero when unknown.
    pub id: TopicId,
    /// Success or the reason.
    pub refusal: Refusal,
}

/// More partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatePartitions {
    /// Name and the new total; explicit replicas for the new ones, empty: the broker chooses.
    pub topics: Vec<(String, i32, Vec<Vec<NodeId>>)>,
    /// Check only.
    pub validate_only: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// Answer to `CreatePartitions`: name, success or the reason, in the request's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatePartitionsResponse {
    /// Results.
    pub topics: Vec<(String, Refusal)>,
}

/// What has settings. Numbers on the wire: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigResource {
    /// A topic by name.
    Topic(String),
    /// A node by id, or all nodes (the empty name).
    Broker(Option<NodeId>),
    /// Anything else, by wire number and name: answered with `InvalidRequest`.
    Other(i8, String),
}

/// Settings wanted.
#[derive(Clone, Debug)]
pub struct DescribeConfigs {
    /// Each resource with the names wanted; `None`: all.
    pub resources: Vec<(ConfigResource, Option<Vec<String>>)>,
    /// With synonyms: where the value would come from next.
    pub include_synonyms: bool,
    /// With a sentence on each.
    pub include_documentation: bool,
}

/// Answer to `DescribeConfigs`.
#[derive(Clone, Debug)]
pub struct DescribeConfigsResponse {
    /// In the request's order.
    pub resources: Vec<DescribedResource>,
}

/// One resource's settings.
#[derive(Clone, Debug)]
pub struct DescribedResource {
    /// As asked.
    pub resource: ConfigResource,
    /// Success or the reason.
    pub refusal: Refusal,
    /// Sorted by name.
    pub configs: Vec<ConfigEntry>,
}

/// Where a setting's value comes from; numbers are Kafka's (`ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set on this node at run time.
    DynamicBroker = 2,
    /// Set for all nodes at run time.
    DynamicDefaultBroker = 3,
    /// Given at start.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// The kind of a value; numbers are Kafka's (`ConfigType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i8)]
pub enum ConfigKind {
    /// true or false.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32-bit number.
    Int = 3,
    /// 16-bit number.
    Short = 4,
    /// 64-bit number.
    Long = 5,
    /// Floating point.
    Double = 6,
    /// Comma-separated words.
    List = 7,
    /// A class name.
    Class = 8,
    /// A secret.
    Password = 9,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Value in force; `None` for secrets.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Kind of value.
    pub kind: ConfigKind,
    /// Cannot be changed at run time.
    pub read_only: bool,
    /// A secret.
    pub sensitive: bool,
    /// Where the value would come from, the one in force first: name, value, source.
    pub synonyms: Vec<(String, Option<String>, ConfigSource)>,
    /// A sentence.
    pub documentation: Option<String>,
}

/// What to do with one setting (KIP-339); numbers are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlterOp {
    /// Set it (0).
    Set,
    /// Back to what it would be without (1).
    Delete,
    /// Add words to a list (2).
    Append,
    /// Take words out of a list (3).
    Subtract,
}

/// Change settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlterConfigs {
    /// Each resource with its changes.
    pub resources: Vec<(ConfigResource, Vec<(String, AlterOp, Option<String>)>)>,
    /// The old call (key 33): what is not named goes back to its default.
    pub replace_all: bool,
    /// Check only.
    pub validate_only: bool,
}

/// Answer to `AlterConfigs`, in the request's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlterConfigsResponse {
    /// Results.
    pub resources: Vec<(ConfigResource, Refusal)>,
}
