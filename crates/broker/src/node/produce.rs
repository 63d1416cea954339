//! Produce: check each batch, give it its offsets, propose it. The answer leaves when all are committed, which means
//! fsynced on a majority; `acks=1` is answered like `acks=all`.

use super::Node;
use super::topics::OFFSETS_TOPIC;
use crate::command::Command;
use crate::config::{TimestampType, TopicSettings};
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::partition::{AppendVerdict, Partition};
use crate::request::{
    ACKS_ALL, BatchRefusal, Part, Produce, ProducePartition, ProduceResponse, ProducedBatch,
    ProducedPartition, ProducedTopic, Refusal, Response, Token, TopicRef,
};
use crate::shard::Then;
use bytes::Bytes;
use model::batch::with_append_time;
use model::{ErrorCode, Now, PartitionId, RecordFacts, ShardId};
use std::collections::BTreeSet;

/// Batches below this size are copied, so that a few of them do not keep a large request buffer in memory.
const COPY_BELOW_BYTES: usize = 2 << 10;

/// Why a producer that its partition does not know is refused.
const CROWDED_TEXT: &str = "the partition's shard remembers as many idempotent producers as it may; silent ones are forgotten after 15 minutes";

/// The request that a batch came with.
#[derive(Clone, Copy)]
struct Question {
    now: Now,
    part: Part,
    acks: i16,
}

/// How one batch went.
struct Outcome {
    refusal: BatchRefusal,
    base_offset: i64,
    log_append_time_ms: i64,
    log_start_offset: i64,
    waits: bool,
}

impl Outcome {
    fn refused(refusal: impl Into<BatchRefusal>) -> Outcome {
        Outcome {
            refusal: refusal.into(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            waits: false,
        }
    }
}

impl Node {
    pub(super) fn produce(&mut self, now: Now, token: Token, request: Produce, out: &mut Vec<Effect>) {
        let mut part = Part { token, number: 0 };
        let mut waiting = Vec::new();
        let mut leaders = BTreeSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let place = self.resolve(&topic.topic).and_then(|found| match found.name.as_str() {
                OFFSETS_TOPIC => Err(ErrorCode::InvalidTopicException), // internal: no client writes there
                _ => Ok((found.id, found.shards.clone())),
            });
            let settings = place.as_ref().ok().and_then(|(id, _)| self.topic_settings(*id));
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let index = asked.index;
                let header = asked.batch.as_ref().ok().map(|batch| batch.header);
                let outcome = match (&place, &settings) {
                    (Ok((id, shards)), Some(settings)) => {
                        let shard = usize::try_from(index).ok().and_then(|index| shards.get(index)).copied();
                        let id = PartitionId { topic: *id, index };
                        let question = Question { now, part, acks: request.acks };
                        self.append(question, (&topic.topic, id), shard, asked, settings)
                    }
                    (Err(code), _) => Outcome::refused(*code),
                    (_, None) => Outcome::refused(ErrorCode::UnknownTopicOrPartition),
                };
                if outcome.refusal.refusal.code == ErrorCode::PolicyViolation {
                    self.report_crowd(out);
                }
                let code = outcome.refusal.refusal.code;
                if let Some(header) = header
                    && code.is_retriable()
                {
                    self.refused.remember(now.mono, &topic.topic, index, &header, code);
                }
                waiting.extend(outcome.waits.then_some(part.number));
                part.number += 1;
                let shard =
                    place.as_ref().ok().and_then(|(_, shards)| shards.get(usize::try_from(index).ok()?));
                let current_leader = self.leader_hint(code, shard.copied(), &mut leaders);
                partitions.push(ProducedPartition {
                    index,
                    current_leader,
                    refusal: outcome.refusal.refusal,
                    record_errors: outcome.refusal.records,
                    base_offset: outcome.base_offset,
                    log_append_time_ms: outcome.log_append_time_ms,
                    log_start_offset: outcome.log_start_offset,
                });
            }
            topics.push(ProducedTopic { topic: topic.topic, partitions });
        }
        if self.config.mutant == Some(Mutant::AckBeforeCommit) {
            waiting.clear();
        }
        let response =
            Response::Produce(ProduceResponse { topics, endpoints: self.endpoints_among(&leaders) });
        self.gather(token, response, waiting, Some(now.mono.plus(request.timeout)), out);
    }

    fn report_crowd(&mut self, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.crowd_reported, true) {
            let text = format!("a new producer was refused: {CROWDED_TEXT}");
            out.push(Effect::Log(LogLevel::Warn, text));
        }
    }

    fn append(
        &mut self,
        Question { now, part, acks }: Question,
        (topic, id): (&TopicRef, PartitionId),
        shard: Option<ShardId>,
        asked: ProducePartition,
        settings: &TopicSettings,
    ) -> Outcome {
        let batch = match asked.batch {
            Ok(batch) => batch,
            Err(refusal) => return Outcome::refused(refusal),
        };
        let Some(shard) = shard else { return Outcome::refused(ErrorCode::UnknownTopicOrPartition) };
        let at = self.shard_index(shard);
        if !self.shards[at].serving && self.frozen.is_none() {
            return Outcome::refused(ErrorCode::NotLeaderOrFollower);
        }
        let checked = self.check_batch(at, (now, acks), &batch, settings);
        let checked =
            checked.and_then(|()| self.replicas_for_ack(at, acks, settings).map_err(BatchRefusal::from));
        let replicas = match checked {
            Ok(replicas) => replicas,
            Err(refusal) => return Outcome::refused(refusal),
        };
        let mutant = self.config.mutant;
        let then = match replicas {
            Some(replicas) => Then::Replicated(part, replicas),
            None => Then::Gathered(part),
        };
        let shard = &mut self.shards[at];
        let has_room = shard.has_room_for_producer();
        let Some(partition) = shard.partitions.get_mut(&id) else {
            return Outcome::refused(ErrorCode::UnknownTopicOrPartition);
        };
        let log_start_offset = partition.log.log_start.0;
        let mut verdict = partition.judge(&batch.header);
        if mutant == Some(Mutant::SequenceUnchecked) {
            verdict = AppendVerdict::Proposed(partition.proposed_end());
        }
        let goes_first =
            matches!(verdict, AppendVerdict::Proposed(_)) && !partition.knows_producer(&batch.header);
        if goes_first && !has_room {
            return Outcome::refused(Refusal::new(ErrorCode::PolicyViolation, CROWDED_TEXT));
        }
        if goes_first || matches!(verdict, AppendVerdict::Refused(ErrorCode::OutOfOrderSequenceNumber)) {
            let next = partition.next_sequence(&batch.header);
            if let Some(reason) = self.refused.holds_back(now.mono, topic, id.index, &batch.header, next) {
                return Outcome::refused(reason);
            }
        }
        if !matches!(verdict, AppendVerdict::Refused(_)) {
            self.refused.forget(topic, id.index, &batch.header);
        }
        let stamped = settings.timestamp_type == TimestampType::LogAppendTime;
        let outcome = |base_offset: i64, waits| Outcome {
            refusal: BatchRefusal::default(),
            base_offset,
            log_append_time_ms: if stamped { now.wall.0 } else { -1 },
            log_start_offset,
            waits,
        };
        match verdict {
            AppendVerdict::Refused(code) => match self.confirm_refusal(at, part, code) {
                true => outcome(-1, true),
                false => Outcome::refused(code),
            },
            AppendVerdict::Committed(base_offset) => {
                // Nobody knows its entry any more; what is applied by now is that or behind it.
                let replicas = replicas.inspect(|replicas| self.await_replicas(at, part, *replicas));
                outcome(base_offset.0, replicas.is_some())
            }
            AppendVerdict::InFlight(before) => {
                let early = mutant == Some(Mutant::DuplicateAckedEarly);
                if !early {
                    partition.duplicates.push((before.last_offset, then));
                }
                outcome(before.base_offset.0, !early)
            }
            AppendVerdict::Proposed(_) => {
                let propose = |partition: &mut Partition| partition.propose(&batch.header, now.wall.0);
                let base_offset = shard.change(id, propose).expect("looked at");
                let bytes =
                    if stamped { with_append_time(&batch.bytes, now.wall.0) } else { unpinned(batch.bytes) };
                let size = u32::try_from(bytes.len()).expect("a batch is smaller than a request");
                let command = Command::Append { partition: id, base_offset, leader_epoch: shard.epoch, size };
                shard.add_with(command, bytes, Some(then));
                self.counters.batches_in += 1;
                self.counters.bytes_in += u64::from(size);
                let shown = if mutant == Some(Mutant::OffsetMisreported) {
                    (base_offset.0 - 1).max(0)
                } else {
                    base_offset.0
                };
                outcome(shown, true)
            }
        }
    }

    fn check_batch(
        &mut self,
        at: usize,
        (now, acks): (Now, i16),
        batch: &ProducedBatch,
        settings: &TopicSettings,
    ) -> Result<(), BatchRefusal> {
        if let Some(reason) = &self.frozen {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, reason.clone()).into());
        }
        let full = || {
            let text = "the disk is full: records are refused until there is space";
            Err(Refusal::new(ErrorCode::KafkaStorageError, text).into())
        };
        if self.refuses_records() {
            return full();
        }
        let replicas = self.replica_count(at);
        if acks == ACKS_ALL && settings.min_insync_replicas > replicas {
            let text = format!(
                "min.insync.replicas is {}, but the topic has {replicas} replica{}",
                settings.min_insync_replicas,
                if replicas == 1 { "" } else { "s" }
            );
            return Err(Refusal::new(ErrorCode::NotEnoughReplicas, text).into());
        }
        if batch.bytes.len() > settings.message_bytes_max {
            let text = format!(
                "a batch of {} bytes is above max.message.bytes={}",
                batch.bytes.len(),
                settings.message_bytes_max
            );
            return Err(Refusal::new(ErrorCode::MessageTooLarge, text).into());
        }
        check_records(now, &batch.facts, settings)?;
        let size = batch.bytes.len() as u64;
        if self.lacks_room(size) {
            self.wal.wanted = self.wal.wanted.max(size);
            return full();
        }
        Ok(())
    }
}

/// Most records that an answer names for one batch: as many as clients put into a batch by default at most (librdkafka's `batch.num.messages`).
const RECORDS_NAMED_MAX: usize = 10_000;

/// Rules of the topic for single records. Those without a key are named, for a client may send the others again; of timestamps the worst.
fn check_records(now: Now, facts: &RecordFacts, settings: &TopicSettings) -> Result<(), BatchRefusal> {
    if settings.compact && !facts.keyless.is_empty() {
        let text = "a record without a key cannot be kept in a compacted topic".to_owned();
        let records =
            facts.keyless.iter().take(RECORDS_NAMED_MAX).map(|place| (place, text.clone())).collect();
        return Err(BatchRefusal { refusal: Refusal::new(ErrorCode::InvalidRecord, text), records });
    }
    if settings.timestamp_type != TimestampType::CreateTime {
        return Ok(());
    }
    let from = now.wall.0.saturating_sub(settings.timestamp_before_ms_max);
    let to = now.wall.0.saturating_add(settings.timestamp_after_ms_max);
    let early = facts.oldest.filter(|(_, timestamp)| *timestamp < from);
    let late = facts.newest.filter(|(_, timestamp)| *timestamp > to);
    let mut records: Vec<(i32, String)> = early
        .into_iter()
        .chain(late)
        .map(|(place, timestamp)| {
            (
                place,
                format!("timestamp {timestamp} of record {place} is out of range, which is {from} to {to}"),
            )
        })
        .collect();
    records.sort_unstable();
    match records.first() {
        None => Ok(()),
        Some((_, text)) => {
            Err(BatchRefusal { refusal: Refusal::new(ErrorCode::InvalidTimestamp, text.clone()), records })
        }
    }
}

fn unpinned(bytes: Bytes) -> Bytes {
    if bytes.len() < COPY_BELOW_BYTES { Bytes::copy_from_slice(&bytes) } else { bytes }
}
