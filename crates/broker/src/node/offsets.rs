//! Offsets by time and by epoch, and delete-records.

use super::Node;
use crate::command::Command;
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::partition::Partition;
use crate::request::{
    DeleteRecords, DeleteRecordsResponse, EpochEnd, EpochQuery, FoundOffset, ListOffsets,
    ListOffsetsPartition, ListOffsetsResponse, ListedPartition, ListedTopic, OffsetForLeaderEpoch,
    OffsetForLeaderEpochResponse, OffsetTarget, Part, Response, Token, TopicRef,
};
use crate::shard::Then;
use model::job::{Job, JobError, JobId, TimeLookup};
use model::{ErrorCode, LeaderEpoch, Now, Offset, StoredBatch};
use std::collections::BTreeMap;
use std::time::Duration;

/// Shortest wait for DeleteRecords. A client's time-out is for followers (librdkafka's default is 0: wait for none); Kafka's leader has
/// deleted before it looks at the time, ours when a majority has it.
const TRIM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// A `ListOffsets` whose segments are being looked through.
#[derive(Debug)]
pub(super) struct Lookups {
    response: ListOffsetsResponse,
    jobs: BTreeMap<JobId, Sought>,
}

/// What one look-up job is for.
#[derive(Clone, Debug)]
struct Sought {
    topic: usize,
    partition: usize,
    of: TopicRef,
    index: i32,
    timestamp: i64,
    from: Offset,
    /// Where memory began when the segments to look through were chosen.
    tail_start: Offset,
}

impl Node {
    pub(super) fn list_offsets(&mut self, token: Token, request: ListOffsets, out: &mut Vec<Effect>) {
        let mut lookups =
            Lookups { response: ListOffsetsResponse { topics: Vec::new() }, jobs: BTreeMap::new() };
        for (at, topic) in request.topics.into_iter().enumerate() {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (slot, asked) in topic.partitions.iter().enumerate() {
                let (answer, lookup) = self.list_partition(&topic.topic, asked);
                if let Some((lookup, tail_start)) = lookup {
                    let id = self.next_job();
                    let sought = Sought {
                        topic: at,
                        partition: slot,
                        of: topic.topic.clone(),
                        index: asked.index,
                        timestamp: lookup.timestamp,
                        from: lookup.from,
                        tail_start,
                    };
                    lookups.jobs.insert(id, sought);
                    out.push(Effect::Start { id, job: Job::Lookup(lookup) });
                }
                partitions.push(answer);
            }
            lookups.response.topics.push(ListedTopic { topic: topic.topic, partitions });
        }
        if lookups.jobs.is_empty() {
            self.reply(token, Response::ListOffsets(lookups.response), out);
        } else {
            self.lookups.insert(token, lookups);
        }
    }

    fn list_partition(
        &self,
        topic: &TopicRef,
        asked: &ListOffsetsPartition,
    ) -> (ListedPartition, Option<(TimeLookup, Offset)>) {
        let answer = |error, found| ListedPartition { index: asked.index, error, found };
        let (partition, epoch) = match self.led_partition(topic, asked.index, asked.current_leader_epoch) {
            Ok(found) => found,
            Err(code) => return (answer(code, FoundOffset::Nothing), None),
        };
        let log = &partition.log;
        let offset = |offset: Offset, leader_epoch| {
            (answer(ErrorCode::None, FoundOffset::Offset { offset: offset.0, leader_epoch }), None)
        };
        let timestamp = match asked.target {
            OffsetTarget::Latest => return offset(log.log_end, epoch.0),
            OffsetTarget::Earliest | OffsetTarget::EarliestLocal => {
                return offset(log.log_start, log.epoch_at(log.log_start));
            }
            OffsetTarget::LatestTiered => return (answer(ErrorCode::None, FoundOffset::Nothing), None),
            OffsetTarget::Timestamp(timestamp) => {
                timestamp + i64::from(self.config.mutant == Some(Mutant::TimeLookupLate))
            }
            OffsetTarget::MaxTimestamp => match partition.max_timestamp() {
                Some(timestamp) if log.log_start < log.log_end => timestamp,
                _ => return (answer(ErrorCode::None, FoundOffset::Nothing), None),
            },
        };
        let may_hold = |segment: &&model::job::SegmentMeta| {
            segment.max_timestamp >= timestamp
                && segment.end_offset > log.log_start
                && segment.base_offset < partition.tail_start()
        };
        let segments: Vec<_> = partition.segments.iter().filter(may_hold).copied().collect();
        if segments.is_empty() {
            let found = in_tail(partition.find_in_tail(timestamp), timestamp, log.log_start);
            return (answer(ErrorCode::None, found), None);
        }
        let lookup = TimeLookup { partition: partition.id, segments, timestamp, from: log.log_start };
        (answer(ErrorCode::None, FoundOffset::Nothing), Some((lookup, partition.tail_start())))
    }

    pub(super) fn on_lookup(
        &mut self,
        id: JobId,
        result: Result<Option<StoredBatch>, JobError>,
        out: &mut Vec<Effect>,
    ) {
        let Some(token) =
            self.lookups.iter().find(|(_, l)| l.jobs.contains_key(&id)).map(|(token, _)| *token)
        else {
            return;
        };
        let mut lookups = self.lookups.remove(&token).expect("just found");
        let sought = lookups.jobs.remove(&id).expect("just found");
        let slot = &mut lookups.response.topics[sought.topic].partitions[sought.partition];
        let timestamp = sought.timestamp;
        match (result, self.led_partition(&sought.of, sought.index, -1)) {
            (_, Err(code)) => slot.error = code,
            (found, Ok((partition, _))) if is_outdated(&found, &sought, partition) => {
                // What was found, or its segment, went since, or left memory for a segment: the same question again.
                let target = OffsetTarget::Timestamp(timestamp);
                let asked = ListOffsetsPartition { index: sought.index, current_leader_epoch: -1, target };
                let (answer, again) = self.list_partition(&sought.of, &asked);
                *slot = answer;
                if let Some((lookup, tail_start)) = again {
                    let id = self.next_job();
                    lookups.jobs.insert(id, Sought { from: lookup.from, tail_start, ..sought });
                    out.push(Effect::Start { id, job: Job::Lookup(lookup) });
                }
            }
            (Err(error), Ok(_)) => {
                out.push(Effect::Log(LogLevel::Error, format!("look up a time: {error}")));
                slot.error = ErrorCode::KafkaStorageError;
            }
            (Ok(Some(batch)), Ok((partition, _))) => {
                slot.found = in_tail(Some(&batch), timestamp, partition.log.log_start);
            }
            (Ok(None), Ok((partition, _))) => {
                slot.found = in_tail(partition.find_in_tail(timestamp), timestamp, partition.log.log_start);
            }
        }
        if lookups.jobs.is_empty() {
            self.reply(token, Response::ListOffsets(lookups.response), out);
        } else {
            self.lookups.insert(token, lookups);
        }
    }

    pub(super) fn offset_for_leader_epoch(
        &mut self,
        token: Token,
        request: OffsetForLeaderEpoch,
        out: &mut Vec<Effect>,
    ) {
        let answer = |name: &String, asked: &EpochQuery| {
            let (error, found) = match self.led_partition(
                &TopicRef::Name(name.clone()),
                asked.index,
                asked.current_leader_epoch,
            ) {
                Err(code) => (code, None),
                Ok((partition, current)) => {
                    let wanted = LeaderEpoch(asked.leader_epoch);
                    let end = if wanted == current {
                        Some((current, partition.log.log_end))
                    } else if wanted > current {
                        None
                    } else {
                        partition.log.epoch_end(wanted)
                    };
                    (ErrorCode::None, end)
                }
            };
            let (leader_epoch, end_offset) = found.map_or((-1, -1), |(epoch, end)| (epoch.0, end.0));
            EpochEnd { index: asked.index, error, leader_epoch, end_offset }
        };
        let topics = request
            .topics
            .iter()
            .map(|(name, asked)| (name.clone(), asked.iter().map(|asked| answer(name, asked)).collect()))
            .collect();
        self.reply(token, Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { topics }), out);
    }

    pub(super) fn delete_records(
        &mut self,
        now: Now,
        token: Token,
        request: DeleteRecords,
        out: &mut Vec<Effect>,
    ) {
        let mut waiting = Vec::new();
        let mut part = Part { token, number: 0 };
        let mut topics = Vec::with_capacity(request.topics.len());
        for (name, asked) in request.topics {
            let topic = TopicRef::Name(name.clone());
            let mut results = Vec::with_capacity(asked.len());
            let id = self.resolve(&topic).map(|found| found.id);
            let settings = id.ok().and_then(|id| self.topic_settings(id));
            for (index, offset) in asked {
                let trim = match &settings {
                    // A compacted topic keeps the last record of each key.
                    Some(settings) if !settings.may_delete => Err(ErrorCode::PolicyViolation),
                    _ => self.trim_to(&topic, index, offset),
                };
                match trim {
                    Err(code) => results.push((index, -1, code)),
                    Ok((id, shard, log_start)) => {
                        waiting.push(part.number);
                        let trim = Command::Trim { partition: id, log_start };
                        self.shards[shard].add(trim, Some(Then::Gathered(part)));
                        results.push((index, log_start.0, ErrorCode::None));
                    }
                }
                part.number += 1;
            }
            topics.push((name, results));
        }
        let response = Response::DeleteRecords(DeleteRecordsResponse { topics });
        let timeout = request.timeout.max(TRIM_TIMEOUT_MIN);
        self.gather(token, response, waiting, Some(now.mono.plus(timeout)), out);
    }

    fn trim_to(
        &self,
        topic: &TopicRef,
        index: i32,
        offset: i64,
    ) -> Result<(model::PartitionId, usize, Offset), ErrorCode> {
        let (partition, _) = self.led_partition(topic, index, -1)?;
        if self.frozen.is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        let end = partition.log.log_end;
        let wanted = if offset == -1 { end } else { Offset(offset) };
        if wanted < Offset(0) || wanted > end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let shard = self.resolve(topic)?.shards[index as usize];
        Ok((partition.id, self.shard_index(shard), wanted.max(partition.log.log_start)))
    }
}

/// Whether the partition moved on under a look-up: the log start has passed what it found or may have taken its segment
/// away, or records that were in memory when it began are in a segment now.
fn is_outdated(
    found: &Result<Option<StoredBatch>, JobError>,
    sought: &Sought,
    partition: &Partition,
) -> bool {
    match found {
        Ok(Some(batch)) => batch.next_offset() <= partition.log.log_start,
        Ok(None) => sought.tail_start < partition.tail_start(),
        Err(_) => sought.from < partition.log.log_start,
    }
}

fn in_tail(batch: Option<&StoredBatch>, timestamp: i64, from: Offset) -> FoundOffset {
    match batch {
        Some(batch) => FoundOffset::InBatch { batch: batch.clone(), timestamp, from: from.0 },
        None => FoundOffset::Nothing,
    }
}
