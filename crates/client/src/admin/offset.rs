//! Offsets by time: start, end, or the first record at or after a timestamp.

use std::collections::BTreeMap;

use kafka::message::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use model::ErrorCode;

use crate::{Address, Client, Error, TopicPartition};

const REPLICA_ID_CLIENT: i32 = -1;
const TIMESTAMP_LATEST: i64 = -1;
const TIMESTAMP_EARLIEST: i64 = -2;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// Of the oldest record: the log start offset.
    Earliest,
    /// Behind the newest record that can be read.
    Latest,
    /// Of the first record with this timestamp (ms) or a later one.
    Timestamp(i64),
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 when no record has such a timestamp.
    pub offset: i64,
    /// Timestamp of the record, ms; -1 for start and end.
    pub timestamp: i64,
}

impl Client {
    /// Finds an offset in each partition; their leaders are asked, again when they have moved.
    pub async fn list_offsets(
        &self,
        wanted: &[(TopicPartition, OffsetAt)],
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, Error> {
        let mut found = BTreeMap::new();
        let mut missing: BTreeMap<TopicPartition, OffsetAt> = wanted.iter().cloned().collect();
        let deadline = std::time::Instant::now() + self.config().operation_timeout;
        let mut backoff = crate::backoff::Backoff::default();
        loop {
            let mut by_leader: BTreeMap<Address, Vec<(TopicPartition, OffsetAt)>> = BTreeMap::new();
            let mut last_error = None;
            for (at, which) in &missing {
                match self.leader(at) {
                    Ok(leader) => by_leader.entry(leader).or_default().push((at.clone(), *which)),
                    Err(error) => last_error = Some(error),
                }
            }
            for (leader, part) in by_leader {
                match self.list_offsets_at(&leader, &part, &mut found).await {
                    Ok(()) => {}
                    Err(error) if error.is_retriable() => last_error = Some(error),
                    Err(error) => return Err(error),
                }
            }
            missing.retain(|at, _| !found.contains_key(at));
            match last_error {
                _ if missing.is_empty() => return Ok(found),
                Some(error) if std::time::Instant::now() >= deadline => return Err(error),
                _ => {}
            }
            backoff.pause().await;
            let mut topics: Vec<_> = missing.keys().map(|at| at.topic.clone()).collect();
            topics.dedup();
            // A failed refresh leaves the old leaders: the next try tells.
            drop(self.refresh(&topics, false).await);
        }
    }

    async fn list_offsets_at(
        &self,
        leader: &Address,
        wanted: &[(TopicPartition, OffsetAt)],
        found: &mut BTreeMap<TopicPartition, ListedOffset>,
    ) -> Result<(), Error> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (at, which) in wanted {
            let timestamp = match which {
                OffsetAt::Earliest => TIMESTAMP_EARLIEST,
                OffsetAt::Latest => TIMESTAMP_LATEST,
                OffsetAt::Timestamp(timestamp) => *timestamp,
            };
            let partition =
                ListOffsetsPartition { partition_index: at.partition, timestamp, ..Default::default() };
            match topics.last_mut().filter(|topic| topic.name == at.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(ListOffsetsTopic { name: at.topic.clone(), partitions: vec![partition] }),
            }
        }
        let request = ListOffsetsRequest { replica_id: REPLICA_ID_CLIENT, topics, ..Default::default() };
        let answer = self.ask(leader, &request).await?;
        let mut refused = None;
        for topic in answer.topics {
            for partition in topic.partitions {
                let at = TopicPartition::new(&topic.name.detached(), partition.partition_index);
                match ErrorCode::from_code(partition.error_code) {
                    ErrorCode::None => {
                        let listed =
                            ListedOffset { offset: partition.offset, timestamp: partition.timestamp };
                        found.insert(at, listed);
                    }
                    code => {
                        let what =
                            format!("find an offset in partition {} of topic {}", at.partition, at.topic);
                        refused = Some(Error::refused(what, leader, code as i16, None));
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}
