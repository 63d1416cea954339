//! A small Kafka client over our own codec, for the command line and the load generator. It sees a cluster as any user
//! does: addresses, versions, leaders, error codes. Nothing here knows which broker answers.

mod address;
pub mod admin;
mod backoff;
mod cluster;
mod connection;
mod consumer;
mod error;
mod metadata;
mod partitioner;
pub mod producer;
mod versions;

pub use address::Address;
pub use cluster::{Client, Config};
pub use consumer::{Assigned, FetchConfig, Fetched, GroupConfig, GroupConsumer, Reset};
pub use error::Error;
pub use metadata::{Metadata, PartitionMetadata, TopicMetadata, TopicPartition};
pub use partitioner::{murmur2, partition_of_key};
pub use producer::{Delivery, Producer, ProducerConfig};
