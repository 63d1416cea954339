//! Membership of a classic group: join, let the leader assign, sync, and beat until the coordinator wants a new round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka::consumer_protocol;
use kafka::message::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition as Wire};
use kafka::message::consumer_protocol_subscription::ConsumerProtocolSubscription;
use kafka::message::heartbeat::HeartbeatRequest;
use kafka::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use kafka::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use kafka::message::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka::wire::Str;
use model::ErrorCode;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::GroupConfig;
use super::range::{Subscriber, assign};
use crate::backoff::Backoff;
use crate::{Client, Error, TopicPartition};

const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
/// Version of the bytes in which members tell subscriptions and assignments.
const CONSUMER_PROTOCOL_VERSION: i16 = 1;

/// A place in one generation of a group.
#[derive(Debug)]
pub(super) struct Membership {
    client: Client,
    config: GroupConfig,
    pub member_id: Str,
    pub generation: i32,
    /// Told when the coordinator wants a new round.
    pub unsettled: Arc<Notify>,
    heartbeat: Option<JoinHandle<()>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop_beating();
    }
}

fn invalid(why: impl ToString) -> Error {
    Error::Invalid(format!("the group protocol's bytes make no sense: {}", why.to_string()))
}

/// Whether an error means that the round starts anew.
pub(super) fn wants_new_round(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId)
    )
}

impl Membership {
    pub fn new(client: &Client, config: &GroupConfig) -> Membership {
        Membership {
            client: client.clone(),
            config: config.clone(),
            member_id: Str::default(),
            generation: -1,
            unsettled: Arc::default(),
            heartbeat: None,
        }
    }

    fn stop_beating(&mut self) {
        if let Some(task) = self.heartbeat.take() {
            task.abort();
        }
    }

    /// Joins and syncs until a round is complete; the partitions that are ours.
    pub async fn settle(&mut self) -> Result<Vec<TopicPartition>, Error> {
        self.stop_beating();
        let mut backoff = Backoff::default();
        loop {
            let round = async {
                let joined = self.join().await?;
                self.sync(joined).await
            };
            match round.await {
                Ok(partitions) => {
                    self.start_beating();
                    return Ok(partitions);
                }
                Err(error) if wants_new_round(&error) => {
                    if error.code() == Some(ErrorCode::UnknownMemberId) {
                        self.member_id = Str::default();
                    }
                    backoff.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn join(&mut self) -> Result<JoinGroupResponse, Error> {
        let subscription =
            ConsumerProtocolSubscription { topics: self.config.topics.clone(), ..Default::default() };
        let metadata =
            consumer_protocol::encode(&subscription, CONSUMER_PROTOCOL_VERSION).map_err(invalid)?;
        let what = format!("join group {}", self.config.group);
        loop {
            let request = JoinGroupRequest {
                group_id: Str::from(&*self.config.group),
                session_timeout_ms: millis(self.config.session_timeout),
                rebalance_timeout_ms: millis(self.config.rebalance_timeout),
                member_id: self.member_id.clone(),
                protocol_type: PROTOCOL_TYPE.into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: ASSIGNOR.into(),
                    metadata: metadata.clone(),
                }],
                ..Default::default()
            };
            // The answer comes when all members have joined.
            let patience = self.config.rebalance_timeout + self.client.config().request_timeout;
            let required = ErrorCode::MemberIdRequired as i16;
            let answer = self
                .client
                .ask_coordinator_within(&self.config.group, &what, &request, patience, |answer| {
                    if answer.error_code == required { 0 } else { answer.error_code }
                })
                .await?;
            self.member_id = answer.member_id.detached();
            if answer.error_code != required {
                self.generation = answer.generation_id;
                return Ok(answer);
            }
        }
    }

    async fn sync(&mut self, joined: JoinGroupResponse) -> Result<Vec<TopicPartition>, Error> {
        let assignments = match joined.leader == joined.member_id && !joined.skip_assignment {
            true => self.assign(&joined).await?,
            false => Vec::new(),
        };
        let request = SyncGroupRequest {
            group_id: Str::from(&*self.config.group),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(ASSIGNOR.into()),
            assignments,
            ..Default::default()
        };
        let what = format!("sync with group {}", self.config.group);
        let patience = self.config.rebalance_timeout + self.client.config().request_timeout;
        let answer = self
            .client
            .ask_coordinator_within(&self.config.group, &what, &request, patience, |answer| answer.error_code)
            .await?;
        if answer.assignment.is_empty() {
            return Ok(Vec::new());
        }
        let assignment: ConsumerProtocolAssignment =
            consumer_protocol::decode(answer.assignment).map_err(invalid)?;
        let partitions_of = |wire: &Wire| {
            let topic = wire.topic.detached();
            wire.partitions.iter().map(move |partition| TopicPartition::new(&topic, *partition)).collect()
        };
        Ok(assignment.assigned_partitions.iter().flat_map::<Vec<_>, _>(partitions_of).collect())
    }

    /// The leader's work: who gets which partitions.
    async fn assign(&self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, Error> {
        let mut subscribers = Vec::new();
        for member in &joined.members {
            let subscription: ConsumerProtocolSubscription =
                consumer_protocol::decode(member.metadata.clone()).map_err(invalid)?;
            subscribers.push(Subscriber {
                member_id: member.member_id.clone(),
                instance_id: member.group_instance_id.clone(),
                topics: subscription.topics,
            });
        }
        let mut topics: Vec<Str> = subscribers.iter().flat_map(|member| member.topics.clone()).collect();
        topics.sort();
        topics.dedup();
        let metadata = self.client.retried(|| self.client.refresh(&topics, false)).await?;
        let counts: BTreeMap<Str, usize> = topics
            .into_iter()
            .filter_map(|topic| {
                let count = metadata.topics.get(&topic)?.partitions.len();
                (count > 0).then_some((topic, count))
            })
            .collect();
        let mut assignments = Vec::new();
        for (member_id, topics) in assign(&subscribers, &counts) {
            let assigned_partitions =
                topics.into_iter().map(|(topic, partitions)| Wire { topic, partitions }).collect();
            let assignment =
                ConsumerProtocolAssignment { assigned_partitions, user_data: Some(Bytes::new()) };
            let assignment =
                consumer_protocol::encode(&assignment, CONSUMER_PROTOCOL_VERSION).map_err(invalid)?;
            assignments.push(SyncGroupRequestAssignment { member_id, assignment });
        }
        Ok(assignments)
    }

    fn start_beating(&mut self) {
        let client = self.client.clone();
        let group = self.config.group.clone();
        let interval = self.config.heartbeat_interval;
        let unsettled = self.unsettled.clone();
        let request = HeartbeatRequest {
            group_id: Str::from(&*group),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            ..Default::default()
        };
        self.heartbeat = Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let beat =
                    client.ask_coordinator(&group, "stay in the group", &request, |answer| answer.error_code);
                // Whatever the reason, a new round finds out.
                if beat.await.is_err() {
                    return unsettled.notify_one();
                }
            }
        }));
    }

    /// Leaves the group, so that the others need not wait for the session's end.
    pub async fn leave(&mut self) -> Result<(), Error> {
        self.stop_beating();
        let request = LeaveGroupRequest {
            group_id: Str::from(&*self.config.group),
            members: vec![MemberIdentity { member_id: self.member_id.clone(), ..Default::default() }],
            ..Default::default()
        };
        let what = format!("leave group {}", self.config.group);
        self.client
            .ask_coordinator(&self.config.group, &what, &request, |answer| answer.error_code)
            .await
            .map(drop)
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
