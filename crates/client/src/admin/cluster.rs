//! The cluster as a whole: its brokers, its metadata quorum, and whether a broker is there.

use std::collections::BTreeMap;

use kafka::message::describe_cluster::DescribeClusterRequest;
use kafka::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka::message::describe_log_dirs::DescribeLogDirsRequest;
use kafka::message::describe_quorum::{
    DescribeQuorumRequest, ReplicaState, RequestPartitionData, RequestTopicData,
};
use kafka::message::remove_raft_voter::RemoveRaftVoterRequest;
use kafka::wire::{Str, Uuid};

use super::config::RESOURCE_TOPIC;
use super::topic::only;
use super::words;
use crate::{Address, Client, Error};

/// Topic of Kafka's metadata quorum.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// Topics whose configs are asked for in one request.
const TOPICS_A_REQUEST_MAX: usize = 1_000;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Node id.
    pub id: i32,
    /// Where clients reach it.
    pub address: Address,
    /// Rack, if configured.
    pub rack: Option<String>,
}

/// A cluster and its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Cluster id.
    pub cluster_id: String,
    /// The broker that takes changes; -1 when unknown.
    pub controller_id: i32,
    /// Brokers alive, by id.
    pub brokers: Vec<Broker>,
}

/// The metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Node id of the leader.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// Offset behind the last committed entry.
    pub high_watermark: i64,
    /// Voters, by id.
    pub voters: Vec<Voter>,
    /// Disks that have no vote (yet), by their node's id.
    pub observers: Vec<Voter>,
}

/// A voter of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Node id.
    pub id: i32,
    /// Its disk (KIP-853: directory); none when the cluster does not tell.
    pub directory: Option<Uuid>,
    /// Offset behind the last entry that the leader knows it to have.
    pub log_end_offset: i64,
    /// Wall clock, ms, when it last had everything; -1: unknown.
    pub last_caught_up_ms: i64,
}

fn voter(state: &ReplicaState) -> Voter {
    Voter {
        id: state.replica_id,
        directory: Some(state.replica_directory_id).filter(|id| !id.is_zero()),
        log_end_offset: state.log_end_offset,
        last_caught_up_ms: state.last_caught_up_timestamp,
    }
}

impl Client {
    /// The cluster with the brokers that are alive.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, Error> {
        let request = DescribeClusterRequest::default();
        self.retried(|| async {
            let (broker, answer) = self.ask_any(&request).await?;
            if answer.error_code != 0 {
                let message = words(answer.error_message);
                return Err(Error::refused("describe the cluster", &broker, answer.error_code, message));
            }
            let mut brokers: Vec<Broker> = answer
                .brokers
                .into_iter()
                .map(|broker| Broker {
                    id: broker.broker_id,
                    address: Address {
                        host: (&*broker.host).into(),
                        port: u16::try_from(broker.port).unwrap_or(0),
                    },
                    rack: broker.rack.map(|rack| rack.to_string()),
                })
                .collect();
            brokers.sort_by_key(|broker| broker.id);
            Ok(ClusterDescription {
                cluster_id: answer.cluster_id.to_string(),
                controller_id: answer.controller_id,
                brokers,
            })
        })
        .await
    }

    /// The metadata quorum; none when the cluster has no such thing to tell of.
    pub async fn describe_quorum(&self) -> Result<Option<Quorum>, Error> {
        let request = DescribeQuorumRequest {
            topics: vec![RequestTopicData {
                topic_name: METADATA_TOPIC.into(),
                partitions: vec![RequestPartitionData { partition_index: 0 }],
            }],
        };
        let what = "describe the metadata quorum";
        let asked = self
            .retried(|| async {
                let (broker, answer) = self.ask_any(&request).await?;
                if answer.error_code != 0 {
                    let message = words(answer.error_message);
                    return Err(Error::refused(what, &broker, answer.error_code, message));
                }
                let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).collect();
                let partition = only(partition, &broker, "DescribeQuorum")?;
                match partition.error_code {
                    0 => Ok(partition),
                    code => Err(Error::refused(what, &broker, code, words(partition.error_message))),
                }
            })
            .await;
        let partition = match asked {
            Err(Error::Unsupported { .. }) => return Ok(None),
            other => other?,
        };
        let states = |states: &[ReplicaState]| {
            let mut voters: Vec<Voter> = states.iter().map(voter).collect();
            voters.sort_by_key(|voter| voter.id);
            voters
        };
        Ok(Some(Quorum {
            leader_id: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: states(&partition.current_voters),
            observers: states(&partition.observers),
        }))
    }

    /// Takes a node's disk out of the cluster (KIP-853). Asked once: whoever hears no answer looks at the quorum.
    pub async fn remove_voter(&self, node: i32, directory: Option<Uuid>) -> Result<(), Error> {
        let request = RemoveRaftVoterRequest {
            cluster_id: None,
            voter_id: node,
            voter_directory_id: directory.unwrap_or(Uuid::ZERO),
        };
        let (broker, answer) = self.ask_any(&request).await?;
        match answer.error_code {
            0 => Ok(()),
            code => {
                let what = format!("remove disk {} of node {node}", request.voter_directory_id);
                Err(Error::refused(&what, &broker, code, words(answer.error_message)))
            }
        }
    }

    /// Connects to a broker and learns its versions: it is there and answers.
    pub async fn reach(&self, broker: &Address) -> Result<(), Error> {
        self.connection(broker).await.map(drop)
    }

    /// Bytes that a broker holds of each partition, by topic and number (KIP-113).
    pub async fn held_bytes(&self, broker: &Address) -> Result<BTreeMap<(Str, i32), u64>, Error> {
        let answer = self.ask(broker, &DescribeLogDirsRequest { topics: None }).await?;
        let mut held = BTreeMap::new();
        for result in answer.results {
            if result.error_code != 0 {
                let what = format!("describe the log directory {}", &*result.log_dir);
                return Err(Error::refused(&what, broker, result.error_code, None));
            }
            for topic in result.topics {
                let name = topic.name.detached();
                let whole = topic.partitions.into_iter().filter(|partition| !partition.is_future_key);
                held.extend(whole.map(|partition| {
                    let bytes = u64::try_from(partition.partition_size).unwrap_or(0);
                    ((name.clone(), partition.partition_index), bytes)
                }));
            }
        }
        Ok(held)
    }

    /// The value of one config on each of these topics; topics that are gone by now are left out.
    pub async fn config_of_topics(
        &self,
        topics: &[Str],
        name: &str,
    ) -> Result<BTreeMap<Str, Option<String>>, Error> {
        let mut values = BTreeMap::new();
        for part in topics.chunks(TOPICS_A_REQUEST_MAX) {
            let resources = part.iter().map(|topic| DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: topic.clone(),
                configuration_keys: Some(vec![name.into()]),
            });
            let request = DescribeConfigsRequest { resources: resources.collect(), ..Default::default() };
            let (_, answer) = self.retried(|| self.ask_any(&request)).await?;
            for result in answer.results.into_iter().filter(|result| result.error_code == 0) {
                let value = result.configs.into_iter().find(|config| &*config.name == name);
                let value = value.and_then(|config| config.value).map(|value| value.to_string());
                values.insert(result.resource_name.detached(), value);
            }
        }
        Ok(values)
    }
}
