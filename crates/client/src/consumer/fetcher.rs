//! Fetches some partitions from the one broker that leads them, one request after the other, until a partition can no
//! longer be fetched there. Positions move on by whole batches; the queue behind it is short, so a slow reader slows it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka::message::fetch::{AbortedTransaction, FetchPartition, FetchRequest, FetchTopic};
use kafka::records::{Batches, Record, records};
use kafka::wire::Str;
use model::ErrorCode;
use tokio::sync::mpsc;

use super::FetchConfig;
use crate::{Address, Client, Error, TopicPartition};

/// Largest batch a consumer unpacks, bytes.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Bytes of one partition that came with one answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where from.
    pub at: TopicPartition,
    /// Offset that was asked for; batches may start before it.
    pub from: i64,
    /// Offset behind the last batch.
    pub next: i64,
    /// End of what can be read.
    pub high_watermark: i64,
    /// Whole record batches.
    pub bytes: Bytes,
    /// Producers whose transactions were aborted, with the first offset of each transaction.
    aborted: Vec<(i64, i64)>,
}

impl Fetched {
    /// The records from the asked offset on; markers and aborted transactions are left out.
    pub fn records(&self) -> Result<Vec<Record>, Error> {
        let wrong = |why: String| {
            Error::Invalid(format!(
                "partition {} of topic {} holds records that cannot be read: {why}",
                self.at.partition, self.at.topic
            ))
        };
        let mut found = Vec::new();
        let mut aborting: BTreeSet<i64> = BTreeSet::new();
        let mut aborted = self.aborted.iter().peekable();
        for batch in Batches::new(self.bytes.clone()) {
            let (header, bytes) = batch.map_err(|error| wrong(error.to_string()))?;
            let last = header.base_offset + i64::from(header.last_offset_delta);
            while let Some((_, producer)) = aborted.next_if(|(first, _)| *first <= last) {
                aborting.insert(*producer);
            }
            let unpacked =
                records(&bytes, DECOMPRESSED_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
            if unpacked.is_control() {
                aborting.remove(&header.producer_id);
                continue;
            }
            let transactional = header.attributes & model::batch::ATTRIBUTE_TRANSACTIONAL != 0;
            if transactional && aborting.contains(&header.producer_id) {
                continue;
            }
            for record in unpacked {
                let record = record.map_err(|error| wrong(error.to_string()))?;
                if record.offset >= self.from {
                    found.push(record);
                }
            }
        }
        Ok(found)
    }
}

/// Why a fetcher gave partitions back.
pub(super) struct GivenBack {
    /// The partitions with their positions.
    pub positions: BTreeMap<TopicPartition, i64>,
    /// The reason for each that has its own.
    pub errors: BTreeMap<TopicPartition, Error>,
}

/// Fetches until something goes wrong; `None` when nobody wants the records any more.
pub(super) async fn run(
    client: Client,
    leader: Address,
    mut positions: BTreeMap<TopicPartition, i64>,
    config: FetchConfig,
    queue: mpsc::Sender<Result<Fetched, Error>>,
) -> Option<GivenBack> {
    loop {
        let request = request(&positions, &config);
        let patience = client.config().request_timeout + config.max_wait;
        let answer = match client.ask_within(&leader, &request, patience).await {
            Ok(answer) => answer,
            Err(error) => {
                let errors = positions.keys().map(|at| (at.clone(), error.clone())).collect();
                return Some(GivenBack { positions, errors });
            }
        };
        let mut errors = BTreeMap::new();
        if answer.error_code != 0 {
            let error = Error::refused("fetch", &leader, answer.error_code, None);
            errors = positions.keys().map(|at| (at.clone(), error.clone())).collect();
        }
        let mut arrived = Vec::new();
        for topic in answer.responses {
            for partition in topic.partitions {
                let at = TopicPartition::new(&topic.topic, partition.partition_index);
                let Some((at, position)) = positions.get_key_value(&at).map(|(at, from)| (at.clone(), *from))
                else {
                    continue;
                };
                if partition.error_code != 0 {
                    let what =
                        format!("read offset {position} of partition {} of topic {}", at.partition, at.topic);
                    errors.insert(at, Error::refused(what, &leader, partition.error_code, None));
                    continue;
                }
                let bytes = partition.records.unwrap_or_default().into_contiguous();
                let next = next_position(&bytes, position);
                if next > position {
                    let mut aborted: Vec<(i64, i64)> = partition
                        .aborted_transactions
                        .unwrap_or_default()
                        .iter()
                        .map(|AbortedTransaction { producer_id, first_offset }| (*first_offset, *producer_id))
                        .collect();
                    aborted.sort_unstable();
                    positions.insert(at.clone(), next);
                    let high_watermark = partition.high_watermark;
                    arrived.push(Fetched { at, from: position, next, high_watermark, bytes, aborted });
                }
            }
        }
        for fetched in arrived {
            queue.send(Ok(fetched)).await.ok()?;
        }
        if !errors.is_empty() {
            return Some(GivenBack { positions, errors });
        }
        if queue.is_closed() {
            return None;
        }
    }
}

/// The offset behind the last whole batch; bytes that are no batch leave it where it is.
fn next_position(bytes: &Bytes, position: i64) -> i64 {
    Batches::new(bytes.clone())
        .map_while(Result::ok)
        .map(|(header, _)| header.base_offset + i64::from(header.last_offset_delta) + 1)
        .last()
        .map_or(position, |next| next.max(position))
}

fn request(positions: &BTreeMap<TopicPartition, i64>, config: &FetchConfig) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (at, position) in positions {
        let partition = FetchPartition {
            partition: at.partition,
            fetch_offset: *position,
            partition_max_bytes: config.partition_max_bytes,
            ..Default::default()
        };
        match topics.last_mut().filter(|topic| topic.topic == at.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: Str::clone(&at.topic),
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    FetchRequest {
        max_wait_ms: i32::try_from(config.max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.min_bytes,
        max_bytes: config.max_bytes,
        isolation_level: i8::from(config.read_committed),
        topics,
        ..Default::default()
    }
}

/// Whether the position does not exist there.
pub(super) fn is_out_of_range(error: &Error) -> bool {
    error.code() == Some(ErrorCode::OffsetOutOfRange)
}
