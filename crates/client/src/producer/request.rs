//! One produce request with all its tries. A batch is sent again, byte for byte, until it is acknowledged, refused for good
//! or out of time; the broker tells a repeated one by its sequence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use model::ErrorCode;

use super::queue::Outgoing;
use super::{Delivery, Shared};
use crate::backoff::Backoff;
use crate::{Address, Error, TopicPartition};

/// Acknowledged by all in-sync replicas, which idempotence demands.
const ACKS_ALL: i16 = -1;

struct Sealed {
    partition: i32,
    tags: Vec<u64>,
    since: Instant,
    charged: usize,
    records: Bytes,
    /// Whether some try may have been written.
    in_doubt: bool,
}

/// Sends the batches to their leader, and what fails for now again, to whoever leads then.
pub(super) async fn run(shared: Arc<Shared>, lane: i32, batches: Vec<Outgoing>) {
    let mut left = Vec::with_capacity(batches.len());
    for batch in batches {
        let Outgoing { partition, builder, tags, since, charged } = batch;
        match builder.build() {
            Ok(records) => left.push(Sealed { partition, tags, since, charged, records, in_doubt: false }),
            Err(error) => {
                let sealed =
                    Sealed { partition, tags, since, charged, records: Bytes::new(), in_doubt: false };
                refuse(&shared, sealed, Error::Invalid(format!("cannot build the batch: {error}")));
            }
        }
    }
    let mut backoff = Backoff::default();
    loop {
        left = attempt(&shared, left).await;
        if left.is_empty() {
            break;
        }
        backoff.pause().await;
        // A failed refresh leaves the old leaders: the next try tells.
        drop(shared.client.refresh(std::slice::from_ref(&shared.topic), false).await);
    }
    shared.state().request_ended(lane);
    shared.work.notify_one();
}

/// One try; the batches that need another one.
async fn attempt(shared: &Arc<Shared>, batches: Vec<Sealed>) -> Vec<Sealed> {
    let mut by_leader: BTreeMap<Address, Vec<Sealed>> = BTreeMap::new();
    let mut again = Vec::new();
    for batch in batches {
        match shared.client.leader(&TopicPartition::new(&shared.topic, batch.partition)) {
            Ok(leader) => by_leader.entry(leader).or_default().push(batch),
            Err(error) => again.extend(judge(shared, batch, error)),
        }
    }
    for (leader, batches) in by_leader {
        again.extend(send(shared, &leader, batches).await);
    }
    again
}

async fn send(shared: &Arc<Shared>, leader: &Address, batches: Vec<Sealed>) -> Vec<Sealed> {
    let patience = shared.client.config().request_timeout;
    let partition_data = batches
        .iter()
        .map(|batch| PartitionProduceData { index: batch.partition, records: Some(batch.records.clone()) })
        .collect();
    let request = ProduceRequest {
        transactional_id: None,
        acks: ACKS_ALL,
        timeout_ms: i32::try_from(patience.as_millis()).unwrap_or(i32::MAX),
        topic_data: vec![TopicProduceData {
            name: shared.topic.clone(),
            partition_data,
            ..Default::default()
        }],
    };
    let answer = match shared.client.ask_within(leader, &request, patience).await {
        Ok(answer) => answer,
        Err(error) => {
            return batches.into_iter().filter_map(|batch| judge(shared, batch, error.clone())).collect();
        }
    };
    let mut answers: BTreeMap<i32, _> = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partition_responses)
        .map(|partition| (partition.index, partition))
        .collect();
    let mut again = Vec::new();
    for batch in batches {
        let what = format!("write to partition {} of topic {}", batch.partition, shared.topic);
        let Some(answer) = answers.remove(&batch.partition) else {
            let broker = leader.to_string();
            let why = format!("no word about partition {}", batch.partition);
            again.extend(judge(shared, batch, Error::Garbled { broker, api: "Produce", why }));
            continue;
        };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => deliver(shared, batch, Some(answer.base_offset)),
            // It came in with an earlier try, too long ago for the broker to know where.
            ErrorCode::DuplicateSequenceNumber => deliver(shared, batch, None),
            _ => {
                let message = answer.error_message.map(|words| words.to_string());
                again.extend(judge(shared, batch, Error::refused(what, leader, answer.error_code, message)));
            }
        }
    }
    again
}

/// Whether the broker may have written the batch all the same. Only of what it refuses before it writes the sequences may be
/// used again: a record under a sequence that is taken would be thrown away as a duplicate.
fn may_be_written(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::NoBroker { .. } | Error::NoLeader { .. } | Error::Invalid(_) => false,
        _ => !matches!(
            error.code(),
            Some(
                ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::NotLeaderOrFollower
                    | ErrorCode::LeaderNotAvailable
                    | ErrorCode::NotEnoughReplicas
                    | ErrorCode::ThrottlingQuotaExceeded
                    | ErrorCode::CorruptMessage
                    | ErrorCode::MessageTooLarge
                    | ErrorCode::RecordListTooLarge
                    | ErrorCode::InvalidRecord
                    | ErrorCode::InvalidTimestamp
                    | ErrorCode::InvalidTopicException
                    | ErrorCode::UnsupportedCompressionType
                    | ErrorCode::TopicAuthorizationFailed
                    | ErrorCode::PolicyViolation
            )
        ),
    }
}

/// Whether a batch is tried again: as long as the error may pass and its time is not over.
fn judge(shared: &Shared, mut batch: Sealed, error: Error) -> Option<Sealed> {
    batch.in_doubt |= may_be_written(&error);
    let may_pass = error.is_retriable() || error.code() == Some(ErrorCode::UnknownTopicOrPartition);
    if may_pass && batch.since.elapsed() < shared.config.delivery_timeout {
        return Some(batch);
    }
    refuse(shared, batch, error);
    None
}

fn deliver(shared: &Shared, batch: Sealed, base_offset: Option<i64>) {
    settle(shared, &batch);
    (shared.on_delivery)(Delivery {
        partition: batch.partition,
        tags: batch.tags,
        outcome: Ok(base_offset.filter(|offset| *offset >= 0)),
    });
    shared.room.notify_waiters();
}

fn refuse(shared: &Shared, batch: Sealed, error: Error) {
    if batch.in_doubt {
        shared.state().lose_identity();
    } else {
        shared.state().give_back(batch.partition, batch.tags.len());
    }
    settle(shared, &batch);
    (shared.on_delivery)(Delivery { partition: batch.partition, tags: batch.tags, outcome: Err(error) });
    shared.room.notify_waiters();
}

fn settle(shared: &Shared, batch: &Sealed) {
    let metadata = shared.client.metadata();
    let leader = metadata.leader(&TopicPartition::new(&shared.topic, batch.partition));
    shared.state().settle(batch.partition, batch.charged, leader);
}

/// Gives up what waits: no producer id is to be had.
pub(super) fn fail_waiting(shared: &Shared, error: &Error) {
    let drained = shared.state().drain_waiting();
    for (partition, tags) in drained {
        (shared.on_delivery)(Delivery { partition, tags, outcome: Err(error.clone()) });
    }
    shared.room.notify_waiters();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_used_again_only_when_nothing_can_have_been_written() {
        let refused = |code: ErrorCode| Error::refused("write", &"b:1", code as i16, None);
        for code in [ErrorCode::MessageTooLarge, ErrorCode::NotLeaderOrFollower, ErrorCode::NotEnoughReplicas]
        {
            assert!(!may_be_written(&refused(code)), "{code:?}");
        }
        for code in [
            ErrorCode::NotEnoughReplicasAfterAppend,
            ErrorCode::RequestTimedOut,
            ErrorCode::OutOfOrderSequenceNumber,
            ErrorCode::UnknownProducerId,
            ErrorCode::InvalidProducerEpoch,
            ErrorCode::UnknownServerError,
        ] {
            assert!(may_be_written(&refused(code)), "{code:?}");
        }
        assert!(may_be_written(&Error::Disconnected { broker: "b:1".into(), why: "gone".into() }));
        assert!(!may_be_written(&Error::Connect { broker: "b:1".into(), why: "refused".into() }));
    }
}
