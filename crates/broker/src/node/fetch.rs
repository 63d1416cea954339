//! Fetch: committed batches from memory, or from segments when they lie below it; otherwise wait until there is enough.

use super::{Node, Timer};
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::partition::Partition;
use crate::request::{
    Fetch, FetchPartition, FetchResponse, FetchedPartition, FetchedTopic, Response, Token, TopicRef,
};
use model::job::{Job, JobError, JobId, SegmentRead};
use model::{ErrorCode, LeaderEpoch, Mono, Now, Offset, PartitionId, StoredBatch};
use std::collections::BTreeSet;

/// Segment reads that may be under way at a time; the others wait their turn.
const READS_MAX: usize = 64;

/// A fetch that waits for more bytes.
#[derive(Debug)]
pub(super) struct Waiting {
    request: Fetch,
    deadline: (Mono, u64),
    registered: Vec<(usize, PartitionId)>,
}

/// A fetch whose segments are being read.
#[derive(Debug)]
pub(super) struct Reading {
    response: FetchResponse,
    remaining: usize,
}

/// Where a segment read's batches go.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadFor {
    /// To a client.
    Fetch {
        /// Its request.
        token: Token,
        /// Place in the answer.
        topic: usize,
        /// Place in the topic's answer.
        partition: usize,
        /// Offset wanted.
        offset: Offset,
    },
    /// To a replica that catches up.
    Pull(super::catch_up::PulledBy),
}

/// An answer as far as memory has it, and what segments must add.
struct Plan {
    response: FetchResponse,
    reads: Vec<(usize, usize, SegmentRead)>,
    bytes: usize,
    /// An error or a diverging epoch: answer at once.
    decided: bool,
}

impl Node {
    pub(super) fn fetch(&mut self, now: Now, token: Token, request: Fetch, out: &mut Vec<Effect>) {
        let plan = self.plan_fetch(&request);
        if plan.decided || plan.bytes >= request.bytes_min || request.wait_max.is_zero() {
            self.serve(token, plan, out);
            return;
        }
        let deadline = self.set_timer(now.mono.plus(request.wait_max), Timer::Fetch(token));
        let registered = self.register(token, &request);
        self.fetches.insert(token, Waiting { request, deadline, registered });
    }

    fn register(&mut self, token: Token, request: &Fetch) -> Vec<(usize, PartitionId)> {
        let mut registered = Vec::new();
        for topic in &request.topics {
            let Ok(found) = self.resolve(&topic.topic) else { continue };
            let (id, shards) = (found.id, found.shards.clone());
            for asked in &topic.partitions {
                let Some(shard) = usize::try_from(asked.index).ok().and_then(|index| shards.get(index))
                else {
                    continue;
                };
                let at = self.shard_index(*shard);
                let id = PartitionId { topic: id, index: asked.index };
                if let Some(partition) = self.shards[at].partitions.get_mut(&id) {
                    partition.fetches.insert(token);
                    registered.push((at, id));
                }
            }
        }
        registered
    }

    /// Looks again at the waiting fetches whose partitions changed.
    pub(super) fn wake_fetches(&mut self, out: &mut Vec<Effect>) {
        for token in std::mem::take(&mut self.woken) {
            let Some(waiting) = self.fetches.get(&token) else { continue };
            let plan = self.plan_fetch(&waiting.request);
            if plan.decided || plan.bytes >= waiting.request.bytes_min {
                self.forget_fetch(token);
                self.serve(token, plan, out);
            }
        }
    }

    pub(super) fn fetch_is_due(&mut self, token: Token, out: &mut Vec<Effect>) {
        let Some(waiting) = self.fetches.get(&token) else { return };
        let plan = self.plan_fetch(&waiting.request);
        self.forget_fetch(token);
        self.serve(token, plan, out);
    }

    pub(super) fn forget_fetch(&mut self, token: Token) {
        let Some(waiting) = self.fetches.remove(&token) else { return };
        self.timers.remove(&waiting.deadline);
        for (shard, id) in waiting.registered {
            if let Some(partition) = self.shards[shard].partitions.get_mut(&id) {
                partition.fetches.remove(&token);
            }
        }
    }

    fn serve(&mut self, token: Token, plan: Plan, out: &mut Vec<Effect>) {
        if plan.reads.is_empty() {
            self.reply_fetch(token, plan.response, out);
            return;
        }
        self.readings.insert(token, Reading { response: plan.response, remaining: plan.reads.len() });
        for (topic, partition, read) in plan.reads {
            let offset = read.offset;
            self.read_segment(read, ReadFor::Fetch { token, topic, partition, offset }, out);
        }
    }

    /// Starts a segment read, or lets it wait for those under way.
    pub(super) fn read_segment(&mut self, read: SegmentRead, place: ReadFor, out: &mut Vec<Effect>) {
        let id = self.next_job();
        self.counters.segment_reads += 1;
        if self.reads.len() < READS_MAX {
            out.push(Effect::Start { id, job: Job::Read(read) });
        } else {
            self.reads_queued.push_back((id, Job::Read(read)));
        }
        self.reads.insert(id, place);
    }

    pub(super) fn on_read(
        &mut self,
        id: JobId,
        result: Result<Vec<StoredBatch>, JobError>,
        out: &mut Vec<Effect>,
    ) {
        let Some(place) = self.reads.remove(&id) else { return };
        if let Some((id, job)) = self.reads_queued.pop_front() {
            out.push(Effect::Start { id, job });
        }
        let (token, topic, partition, offset) = match place {
            ReadFor::Fetch { token, topic, partition, offset } => (token, topic, partition, offset),
            ReadFor::Pull(by) => return self.on_pull_read(by, result, out),
        };
        let Some(mut reading) = self.readings.remove(&token) else { return };
        let asked = &mut reading.response.topics[topic];
        let slot = &mut asked.partitions[partition];
        match result {
            Ok(batches) => slot.batches = batches,
            Err(error) => {
                slot.error = self.refused_read(&asked.topic, slot.index, offset, &error, out);
            }
        }
        reading.remaining -= 1;
        if reading.remaining == 0 {
            self.reply_fetch(token, reading.response, out);
        } else {
            self.readings.insert(token, reading);
        }
    }

    /// What a reader is told whose segment could not be read: it may have been deleted since the read was planned.
    fn refused_read(
        &self,
        of: &TopicRef,
        index: i32,
        offset: Offset,
        error: &JobError,
        out: &mut Vec<Effect>,
    ) -> ErrorCode {
        match self.led_partition(of, index, -1) {
            Err(code) => code,
            Ok((partition, _)) if offset < partition.log.log_start => ErrorCode::OffsetOutOfRange,
            Ok(_) => {
                out.push(Effect::Log(LogLevel::Error, format!("read a segment: {error}")));
                ErrorCode::KafkaStorageError
            }
        }
    }

    fn reply_fetch(&mut self, token: Token, mut response: FetchResponse, out: &mut Vec<Effect>) {
        let partitions = || response.topics.iter().flat_map(|topic| &topic.partitions);
        self.counters.bytes_out += partitions()
            .flat_map(|partition| &partition.batches)
            .map(|batch| batch.size() as u64)
            .sum::<u64>();
        if self.config.mutant == Some(Mutant::FetchSkipsBatch) {
            let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.filter(|p| p.batches.len() > 1).for_each(|p| drop(p.batches.remove(0)));
        }
        self.reply(token, Response::Fetch(response), out);
    }

    fn plan_fetch(&self, request: &Fetch) -> Plan {
        let mut plan = Plan {
            response: FetchResponse {
                topics: Vec::with_capacity(request.topics.len()),
                endpoints: Vec::new(),
            },
            reads: Vec::new(),
            bytes: 0,
            decided: false,
        };
        let mut leaders = BTreeSet::new();
        let bytes_max = request.bytes_max.min(self.settings.fetch_bytes_max);
        for (at, topic) in request.topics.iter().enumerate() {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (slot, asked) in topic.partitions.iter().enumerate() {
                let room = bytes_max.saturating_sub(plan.bytes);
                let (mut answer, mut read) = self.read_partition(&topic.topic, asked, room, plan.bytes == 0);
                let is_last = at + 1 == request.topics.len() && slot + 1 == topic.partitions.len();
                if self.config.mutant == Some(Mutant::FetchStarvesLast) && is_last && at + slot > 0 {
                    answer.batches.clear();
                    read = None;
                }
                if answer.error == ErrorCode::NotLeaderOrFollower {
                    let shard = self.shard_of(&topic.topic, asked.index);
                    answer.current_leader = self.leader_hint(answer.error, shard, &mut leaders);
                }
                plan.decided |= !answer.error.is_none() || answer.diverging.is_some();
                plan.bytes += answer.batches.iter().map(StoredBatch::size).sum::<usize>();
                if let Some(read) = read {
                    plan.bytes += read.bytes_max.max(1);
                    plan.reads.push((at, slot, read));
                }
                partitions.push(answer);
            }
            plan.response.topics.push(FetchedTopic { topic: topic.topic.clone(), partitions });
        }
        plan.response.endpoints = self.endpoints_among(&leaders);
        plan
    }

    fn read_partition(
        &self,
        topic: &TopicRef,
        asked: &FetchPartition,
        room: usize,
        is_first: bool,
    ) -> (FetchedPartition, Option<SegmentRead>) {
        let mut answer = FetchedPartition {
            index: asked.index,
            error: ErrorCode::None,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            current_leader: None,
            batches: Vec::new(),
        };
        let (partition, epoch) = match self.led_partition(topic, asked.index, asked.current_leader_epoch) {
            Ok(found) => found,
            Err(code) => {
                answer.error = code;
                return (answer, None);
            }
        };
        let log = &partition.log;
        answer.high_watermark = log.log_end.0;
        answer.last_stable_offset = log.log_end.0;
        answer.log_start_offset = log.log_start.0;
        if let Some(diverging) = diverging(partition, epoch, asked) {
            answer.diverging = Some(diverging);
            return (answer, None);
        }
        if asked.offset < log.log_start.0 || asked.offset > log.log_end.0 {
            answer.error = ErrorCode::OffsetOutOfRange;
            return (answer, None);
        }
        let bytes_max = asked.bytes_max.min(room);
        if asked.offset == log.log_end.0 || (bytes_max == 0 && !is_first) {
            return (answer, None);
        }
        let offset = Offset(asked.offset);
        match partition.read_tail(offset, bytes_max) {
            Some(batches) => {
                // Only the very first batch of an answer may be larger than the room.
                if is_first || batches.iter().map(StoredBatch::size).sum::<usize>() <= room {
                    answer.batches = batches;
                }
                (answer, None)
            }
            None => match partition.segment_of(offset) {
                Some(segment) => {
                    (answer, Some(SegmentRead { partition: partition.id, segment, offset, bytes_max }))
                }
                None => {
                    answer.error = ErrorCode::KafkaStorageError; // quarantined: never served, not forgotten
                    (answer, None)
                }
            },
        }
    }

    /// The partition, if this node leads it and the client's epoch is right; with the epoch in force.
    pub(super) fn led_partition(
        &self,
        topic: &TopicRef,
        index: i32,
        current_leader_epoch: i32,
    ) -> Result<(&Partition, LeaderEpoch), ErrorCode> {
        let found = self.resolve(topic)?;
        let shard = usize::try_from(index).ok().and_then(|index| found.shards.get(index));
        let shard = &self.shards[self.shard_index(*shard.ok_or(ErrorCode::UnknownTopicOrPartition)?)];
        let id = PartitionId { topic: found.id, index };
        if !shard.serving && self.frozen.is_none() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let partition = shard.partitions.get(&id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        match current_leader_epoch {
            epoch if epoch >= 0 && epoch < shard.epoch.0 => Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > shard.epoch.0 => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok((partition, shard.epoch)),
        }
    }
}

/// Where the client's log and this one part, if they do (KIP-595).
fn diverging(partition: &Partition, current: LeaderEpoch, asked: &FetchPartition) -> Option<(i32, i64)> {
    if asked.last_fetched_epoch < 0 {
        return None;
    }
    let last = LeaderEpoch(asked.last_fetched_epoch);
    if last == current && asked.offset <= partition.log.log_end.0 {
        return None;
    }
    match partition.log.epoch_end(last) {
        Some((epoch, end)) if epoch < last || end.0 < asked.offset => Some((epoch.0, end.0)),
        _ => None,
    }
}
