//! Consumer groups: who is there, what they have committed, new offsets, the end of a group.

use std::collections::BTreeMap;

use kafka::consumer_protocol;
use kafka::message::consumer_protocol_assignment::ConsumerProtocolAssignment;
use kafka::message::delete_groups::DeleteGroupsRequest;
use kafka::message::describe_groups::DescribeGroupsRequest;
use kafka::message::list_groups::ListGroupsRequest;
use kafka::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka::wire::Str;
use model::ErrorCode;

use super::words;
use crate::{Client, Error, TopicPartition};

/// A group in a list.
#[derive(Clone, Debug)]
pub struct GroupListing {
    /// Name.
    pub group: String,
    /// What its members are; `consumer` for consumers.
    pub protocol_type: String,
    /// State in Kafka's words; empty when the broker is too old to tell.
    pub state: String,
}

/// A member of a group, seen from outside.
#[derive(Clone, Debug)]
pub struct GroupMember {
    /// Id the coordinator gave.
    pub member_id: String,
    /// Name of a static member.
    pub instance_id: Option<String>,
    /// The client's name.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it has been assigned; empty when its bytes are not a consumer's.
    pub partitions: Vec<TopicPartition>,
}

/// A group in detail.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    /// Name.
    pub group: String,
    /// State in Kafka's words.
    pub state: String,
    /// What its members are.
    pub protocol_type: String,
    /// The assignor in use.
    pub assignor: String,
    /// Members.
    pub members: Vec<GroupMember>,
    /// The coordinator.
    pub coordinator: String,
}

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Of the next record to read.
    pub offset: i64,
    /// The committer's words.
    pub metadata: Option<String>,
}

/// Who commits.
#[derive(Clone, Debug)]
pub struct Member {
    /// Member id.
    pub id: Str,
    /// Generation.
    pub generation: i32,
}

impl Member {
    /// Somebody outside the group; accepted only while it has no members.
    pub fn outside() -> Member {
        Member { id: Str::default(), generation: -1 }
    }
}

impl Client {
    /// Groups of all brokers, by name.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        let request = ListGroupsRequest::default();
        let mut groups = Vec::new();
        for broker in self.metadata().brokers.values() {
            let answer = self
                .retried(|| async {
                    let answer = self.ask(broker, &request).await?;
                    match answer.error_code {
                        0 => Ok(answer),
                        code => Err(Error::refused("list groups", broker, code, None)),
                    }
                })
                .await?;
            groups.extend(answer.groups.into_iter().map(|group| GroupListing {
                group: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups.dedup_by(|a, b| a.group == b.group);
        Ok(groups)
    }

    /// A group with its members. One that does not exist is `Dead`, as Kafka says it.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, Error> {
        let request = DescribeGroupsRequest { groups: vec![Str::from(group)], ..Default::default() };
        let what = format!("describe group {group}");
        let answer = self
            .ask_coordinator(group, &what, &request, |answer| {
                // Later versions say so with an error too.
                let unknown = ErrorCode::GroupIdNotFound as i16;
                answer
                    .groups
                    .first()
                    .map_or(-1, |group| if group.error_code == unknown { 0 } else { group.error_code })
            })
            .await?;
        let coordinator = self.coordinator(group).await?.to_string();
        let described = answer.groups.into_iter().next().unwrap_or_default();
        let members = described.members.into_iter().map(|member| GroupMember {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|name| name.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            partitions: consumer_protocol::decode::<ConsumerProtocolAssignment>(member.member_assignment)
                .map(|assignment| {
                    let topics = assignment.assigned_partitions.into_iter();
                    let partitions = topics.flat_map(|topic| {
                        let name = topic.topic.detached();
                        topic
                            .partitions
                            .into_iter()
                            .map(move |partition| TopicPartition::new(&name, partition))
                    });
                    partitions.collect()
                })
                .unwrap_or_default(),
        });
        Ok(GroupDescription {
            group: group.to_string(),
            state: if described.group_state.is_empty() {
                "Dead".into()
            } else {
                described.group_state.to_string()
            },
            protocol_type: described.protocol_type.to_string(),
            assignor: described.protocol_data.to_string(),
            members: members.collect(),
            coordinator,
        })
    }

    /// Deletes a group that has no members, with its offsets.
    pub async fn delete_group(&self, group: &str) -> Result<(), Error> {
        let request = DeleteGroupsRequest { groups_names: vec![Str::from(group)] };
        let what = format!("delete group {group}");
        self.ask_coordinator(group, &what, &request, |answer| {
            answer.results.first().map_or(-1, |result| result.error_code)
        })
        .await
        .map(drop)
    }

    /// Deletes offsets that a group has committed, in topics that none of its members reads. The broker's verdict for
    /// each partition.
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, ErrorCode>, Error> {
        let mut by_topic: BTreeMap<&Str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for at in partitions {
            let partition = OffsetDeleteRequestPartition { partition_index: at.partition };
            by_topic.entry(&at.topic).or_default().push(partition);
        }
        let topics = by_topic
            .into_iter()
            .map(|(name, partitions)| OffsetDeleteRequestTopic { name: name.clone(), partitions });
        let request = OffsetDeleteRequest { group_id: Str::from(group), topics: topics.collect() };
        let what = format!("delete offsets of group {group}");
        let answer = self.ask_coordinator(group, &what, &request, |answer| answer.error_code).await?;
        let topics = answer.topics.into_iter().map(|topic| (topic.name.detached(), topic.partitions));
        let verdicts = topics.flat_map(|(name, partitions)| {
            partitions.into_iter().map(move |partition| {
                let at = TopicPartition::new(&name, partition.partition_index);
                (at, ErrorCode::from_code(partition.error_code))
            })
        });
        Ok(verdicts.collect())
    }

    /// What a group has committed, for some partitions or for all.
    pub async fn committed_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Error> {
        let by_topic = partitions.map(|partitions| {
            let mut by_topic: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
            for at in partitions {
                by_topic.entry(at.topic.clone()).or_default().push(at.partition);
            }
            by_topic
        });
        let what = format!("read the offsets of group {group}");
        let topics = by_topic.as_ref().map(|topics| {
            let topics = topics.iter();
            topics
                .map(|(name, indexes)| OffsetFetchRequestTopics {
                    name: name.clone(),
                    partition_indexes: indexes.clone(),
                    ..Default::default()
                })
                .collect()
        });
        let batched = OffsetFetchRequest {
            group_id: Str::default(),
            topics: Some(Vec::new()),
            groups: vec![OffsetFetchRequestGroup {
                group_id: Str::from(group),
                member_id: None,
                member_epoch: -1,
                topics,
            }],
            require_stable: false,
        };
        let single = OffsetFetchRequest {
            group_id: Str::from(group),
            topics: by_topic.map(|topics| {
                topics
                    .into_iter()
                    .map(|(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes })
                    .collect()
            }),
            groups: Vec::new(),
            require_stable: false,
        };
        let code = |answer: &kafka::message::offset_fetch::OffsetFetchResponse| {
            answer.groups.first().map_or(answer.error_code, |group| group.error_code)
        };
        let answer = match self.ask_coordinator(group, &what, &batched, code).await {
            // An older version has no place for several groups.
            Err(Error::Invalid(_)) => self.ask_coordinator(group, &what, &single, code).await?,
            other => other?,
        };
        let mut found = BTreeMap::new();
        let mut keep = |topic: &Str, partition: i32, offset: i64, metadata: Option<Str>| {
            if offset >= 0 {
                let committed = CommittedOffset { offset, metadata: words(metadata) };
                found.insert(TopicPartition::new(&topic.detached(), partition), committed);
            }
        };
        for topic in answer.groups.into_iter().flat_map(|group| group.topics) {
            for partition in topic.partitions {
                keep(&topic.name, partition.partition_index, partition.committed_offset, partition.metadata);
            }
        }
        for topic in answer.topics {
            for partition in topic.partitions {
                keep(&topic.name, partition.partition_index, partition.committed_offset, partition.metadata);
            }
        }
        Ok(found)
    }

    /// Commits offsets for a group.
    pub async fn commit_offsets(
        &self,
        group: &str,
        member: &Member,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Error> {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (at, offset) in offsets {
            let partition = OffsetCommitRequestPartition {
                partition_index: at.partition,
                committed_offset: *offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(Str::default()),
            };
            match topics.last_mut().filter(|topic| topic.name == at.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetCommitRequestTopic {
                    name: at.topic.clone(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let request = OffsetCommitRequest {
            group_id: Str::from(group),
            generation_id_or_member_epoch: member.generation,
            member_id: member.id.clone(),
            topics,
            ..Default::default()
        };
        let what = format!("commit offsets of group {group}");
        self.ask_coordinator(group, &what, &request, |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).find(|code| *code != 0).unwrap_or(0)
        })
        .await
        .map(drop)
    }
}
