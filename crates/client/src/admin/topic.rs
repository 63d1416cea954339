//! Topics: create, delete, more partitions, and records given up at the head.

use std::collections::BTreeMap;

use kafka::message::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka::message::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka::message::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use kafka::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use kafka::wire::{Str, Uuid};

use super::words;
use crate::{Address, Client, Error, TopicPartition};

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Name.
    pub name: Str,
    /// Partitions; -1 for the broker's default.
    pub partitions: i32,
    /// Replicas of each; -1 for the broker's default.
    pub replication_factor: i16,
    /// The nodes of each partition, the preferred leader first; partitions and replication factor are -1 then. Empty: the broker
    /// places them.
    pub assignments: Vec<Vec<i32>>,
    /// Configs by name.
    pub configs: Vec<(String, String)>,
}

/// A topic as it was made.
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    /// Id; zero when the broker does not tell.
    pub id: Uuid,
    /// Partitions; -1 when the broker does not tell.
    pub partitions: i32,
    /// Replicas of each; -1 when the broker does not tell.
    pub replication_factor: i16,
}

impl Client {
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Makes a topic, or only says whether it could be made.
    pub async fn create_topic(&self, topic: &NewTopic, validate_only: bool) -> Result<CreatedTopic, Error> {
        let configs = topic.configs.iter();
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.clone(),
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                assignments: (0..)
                    .zip(&topic.assignments)
                    .map(|(partition_index, nodes)| CreatableReplicaAssignment {
                        partition_index,
                        broker_ids: nodes.clone(),
                    })
                    .collect(),
                configs: configs
                    .map(|(name, value)| CreatableTopicConfig {
                        name: Str::from(&**name),
                        value: Some(Str::from(&**value)),
                    })
                    .collect(),
            }],
            timeout_ms: self.timeout_ms(),
            validate_only,
        };
        let what = format!("create topic {}", topic.name);
        self.retried(|| async {
            let (broker, answer) = self.ask_controller(&request).await?;
            let result = only(answer.topics, &broker, "CreateTopics")?;
            match result.error_code {
                0 => Ok(CreatedTopic {
                    id: result.topic_id,
                    partitions: result.num_partitions,
                    replication_factor: result.replication_factor,
                }),
                code => Err(Error::refused(&what, &broker, code, words(result.error_message))),
            }
        })
        .await
    }

    /// Deletes a topic with all its records.
    pub async fn delete_topic(&self, name: &Str) -> Result<(), Error> {
        let by_state = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.clone()), ..Default::default() }],
            topic_names: Vec::new(),
            timeout_ms: self.timeout_ms(),
        };
        let by_name =
            DeleteTopicsRequest { topics: Vec::new(), topic_names: vec![name.clone()], ..by_state.clone() };
        let what = format!("delete topic {name}");
        self.retried(|| async {
            let (broker, answer) = match self.ask_controller(&by_state).await {
                // An older version has no place for it.
                Err(Error::Invalid(_)) => self.ask_controller(&by_name).await?,
                other => other?,
            };
            let result = only(answer.responses, &broker, "DeleteTopics")?;
            match result.error_code {
                0 => Ok(()),
                code => Err(Error::refused(&what, &broker, code, words(result.error_message))),
            }
        })
        .await
    }

    /// Raises a topic's number of partitions to `count`. `assignments` names the nodes of each new one, the preferred leader first;
    /// `None`: the broker places them.
    pub async fn create_partitions(
        &self,
        name: &Str,
        count: i32,
        assignments: Option<&[Vec<i32>]>,
        validate_only: bool,
    ) -> Result<(), Error> {
        let given = |nodes: &Vec<i32>| CreatePartitionsAssignment { broker_ids: nodes.clone() };
        let assignments = assignments.map(|sets| sets.iter().map(given).collect());
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: name.clone(), count, assignments }],
            timeout_ms: self.timeout_ms(),
            validate_only,
        };
        let what = format!("give topic {name} {count} partitions");
        self.retried(|| async {
            let (broker, answer) = self.ask_controller(&request).await?;
            let result = only(answer.results, &broker, "CreatePartitions")?;
            match result.error_code {
                0 => Ok(()),
                code => Err(Error::refused(&what, &broker, code, words(result.error_message))),
            }
        })
        .await
    }

    /// Gives up the records below an offset of each partition (-1: all); the log start offsets then.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let mut starts = BTreeMap::new();
        for (at, offset) in before {
            let request = DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: at.topic.clone(),
                    partitions: vec![DeleteRecordsPartition {
                        partition_index: at.partition,
                        offset: *offset,
                    }],
                }],
                timeout_ms: self.timeout_ms(),
            };
            let what = format!("delete records of partition {} of topic {}", at.partition, at.topic);
            let start = self
                .retried(|| async {
                    let broker = self.leader(at)?;
                    let answer = self.ask(&broker, &request).await?;
                    let topic = only(answer.topics, &broker, "DeleteRecords")?;
                    let partition = only(topic.partitions, &broker, "DeleteRecords")?;
                    match partition.error_code {
                        0 => Ok(partition.low_watermark),
                        code => {
                            self.refresh(std::slice::from_ref(&at.topic), false).await?;
                            Err(Error::refused(&what, &broker, code, None))
                        }
                    }
                })
                .await?;
            starts.insert(at.clone(), start);
        }
        Ok(starts)
    }
}

/// The one answer to a question about one thing.
pub(super) fn only<T>(answers: Vec<T>, broker: &Address, api: &'static str) -> Result<T, Error> {
    answers.into_iter().next().ok_or_else(|| Error::Garbled {
        broker: broker.to_string(),
        api,
        why: "it says nothing about what was asked".to_string(),
    })
}
