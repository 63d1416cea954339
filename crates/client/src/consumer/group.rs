//! A consumer as a member of a classic group. What the caller has marked as done is committed now and then, before each
//! new round, and at the end: a record is read again after a crash, never skipped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka::wire::Str;

use super::membership::{Membership, wants_new_round};
use super::{Assigned, FetchConfig, Fetched, Reset};
use crate::admin::{Member, OffsetAt};
use crate::{Client, Error, TopicPartition};

/// How a member behaves; Kafka's names and defaults.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.id`.
    pub group: String,
    /// What to read.
    pub topics: Vec<Str>,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `max.poll.interval.ms`, to the coordinator the time a round may take.
    pub rebalance_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `auto.commit.interval.ms`.
    pub commit_interval: Duration,
    /// Where to start without a committed offset.
    pub start: Reset,
    /// How records are fetched.
    pub fetch: FetchConfig,
}

impl GroupConfig {
    /// Kafka's defaults.
    pub fn new(group: &str, topics: Vec<Str>, start: Reset) -> GroupConfig {
        GroupConfig {
            group: group.to_string(),
            topics,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(3),
            commit_interval: Duration::from_secs(5),
            start,
            fetch: FetchConfig { reset: start, ..FetchConfig::default() },
        }
    }
}

/// A member of a group with its partitions.
#[derive(Debug)]
pub struct GroupConsumer {
    client: Client,
    config: GroupConfig,
    membership: Membership,
    assigned: Option<Assigned>,
    partitions: Vec<TopicPartition>,
    /// Offsets to commit: behind the last record that is done.
    marked: BTreeMap<TopicPartition, i64>,
    committed_at: Instant,
}

impl GroupConsumer {
    /// Joins the group and waits for the first assignment.
    pub async fn join(client: &Client, config: GroupConfig) -> Result<GroupConsumer, Error> {
        for topic in &config.topics {
            client.topic(topic, false).await?;
        }
        let mut consumer = GroupConsumer {
            client: client.clone(),
            membership: Membership::new(client, &config),
            config,
            assigned: None,
            partitions: Vec::new(),
            marked: BTreeMap::new(),
            committed_at: Instant::now(),
        };
        consumer.settle().await?;
        Ok(consumer)
    }

    /// The partitions that are ours for now.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// What came next. Takes part in new rounds by itself.
    pub async fn next(&mut self) -> Result<Fetched, Error> {
        loop {
            if self.committed_at.elapsed() >= self.config.commit_interval {
                self.commit_or_rejoin().await?;
            }
            let unsettled = self.membership.unsettled.clone();
            let pause = self.config.commit_interval.saturating_sub(self.committed_at.elapsed());
            let came = async {
                match &mut self.assigned {
                    Some(assigned) => assigned.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                came = came => match came {
                    Some(came) => return came,
                    None => return Err(Error::Invalid("the fetchers have stopped".to_string())),
                },
                () = unsettled.notified() => {
                    self.commit_or_rejoin().await?;
                    self.settle().await?;
                }
                () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// Everything before `next` is done.
    pub fn mark(&mut self, at: &TopicPartition, next: i64) {
        if self.partitions.contains(at) {
            self.marked.insert(at.clone(), next);
        }
    }

    /// Commits what is marked.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.committed_at = Instant::now();
        if self.marked.is_empty() {
            return Ok(());
        }
        let member = Member { id: self.membership.member_id.clone(), generation: self.membership.generation };
        self.client.commit_offsets(&self.config.group, &member, &self.marked).await?;
        self.marked.clear();
        Ok(())
    }

    async fn commit_or_rejoin(&mut self) -> Result<(), Error> {
        match self.commit().await {
            // Our partitions may be somebody else's by now: the offsets stay as they are.
            Err(error) if wants_new_round(&error) => {
                self.membership.unsettled.notify_one();
                Ok(())
            }
            other => other,
        }
    }

    async fn settle(&mut self) -> Result<(), Error> {
        self.assigned = None;
        self.marked.clear();
        self.partitions = self.membership.settle().await?;
        let committed = self.client.committed_offsets(&self.config.group, Some(&self.partitions)).await?;
        let mut positions = BTreeMap::new();
        let mut missing = Vec::new();
        for at in &self.partitions {
            match committed.get(at) {
                Some(committed) => {
                    positions.insert(at.clone(), committed.offset);
                }
                None => missing.push(at.clone()),
            }
        }
        if let Some(at) = missing.first() {
            let wanted = match self.config.start {
                Reset::Earliest => OffsetAt::Earliest,
                Reset::Latest => OffsetAt::Latest,
                Reset::None => {
                    return Err(Error::Invalid(format!(
                        "group {} has no committed offset for partition {} of topic {}",
                        self.config.group, at.partition, at.topic
                    )));
                }
            };
            let wanted: Vec<_> = missing.into_iter().map(|at| (at, wanted)).collect();
            let found = self.client.list_offsets(&wanted).await?;
            positions.extend(found.into_iter().map(|(at, listed)| (at, listed.offset)));
        }
        if !positions.is_empty() {
            self.assigned = Some(Assigned::start(&self.client, positions, self.config.fetch));
        }
        Ok(())
    }

    /// Commits what is marked and leaves the group.
    pub async fn close(mut self) -> Result<(), Error> {
        let committed = match self.commit().await {
            Err(error) if wants_new_round(&error) => Ok(()),
            other => other,
        };
        let left = self.membership.leave().await;
        committed.and(left)
    }
}
