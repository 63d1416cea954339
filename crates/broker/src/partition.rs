//! One partition on this node: the replicated part (`PartitionLog`, changed by applied entries alone), the batches that
//! are still in memory, the segments below them, and what this node as leader has proposed but not yet seen committed.
//!
//! Stops on the walk of a record: `append` (propose) → consensus → WAL → `commit` (apply) → `read`. Order of offsets:
//! log start ≤ flushed ≤ log end (= high watermark) ≤ proposed end; segments end at `flushed`; the tail ends at log end.

use crate::producer::{self, AppendedBatch, ProducerState, SequenceVerdict};
use crate::request::Token;
use crate::shard::Then;
use model::job::SegmentMeta;
use model::{BatchHeader, ErrorCode, LeaderEpoch, LogIndex, Offset, PartitionId, ProducerId, StoredBatch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What every replica of a partition agrees on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionLog {
    /// How much of the metadata log was applied where its creation was proposed.
    pub created: LogIndex,
    /// First offset that may be read.
    pub log_start: Offset,
    /// Offset behind the last committed record: the high watermark.
    pub log_end: Offset,
    /// Leader epochs that appended something, with the first offset of each.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Idempotent producers.
    pub producers: BTreeMap<ProducerId, ProducerState>,
}

impl PartitionLog {
    /// The largest epoch at or below `epoch` that appended something, and where it ends. When what it appended was
    /// trimmed, the epoch itself ends where the log starts (as Kafka answers it): a reader that had come so far has
    /// missed nothing. `None` for no epoch.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if epoch.0 < 0 {
            return None;
        }
        let behind = self.epochs.partition_point(|(known, _)| *known <= epoch);
        let end = self.epochs.get(behind).map_or(self.log_end, |(_, start)| *start);
        let found = behind.checked_sub(1).map_or(epoch, |at| self.epochs[at].0);
        Some((found, end))
    }

    /// The epoch of the record at `offset`, -1 when unknown.
    pub fn epoch_at(&self, offset: Offset) -> i32 {
        let behind = self.epochs.partition_point(|(_, start)| *start <= offset);
        behind.checked_sub(1).map_or(-1, |at| self.epochs[at].0.0)
    }

    fn note_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, start));
        }
    }

    pub(crate) fn trim(&mut self, log_start: Offset) {
        assert!(log_start <= self.log_end, "the log start never passes the log end");
        self.log_start = self.log_start.max(log_start);
        // The epoch that the first offset lies in stays, with that offset as its start.
        let gone = self.epochs.partition_point(|(_, start)| *start <= self.log_start).saturating_sub(1);
        self.epochs.drain(..gone);
        if let Some((_, start)) = self.epochs.first_mut() {
            *start = (*start).max(self.log_start);
        }
    }
}

/// How an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendVerdict {
    /// Proposed at this offset.
    Proposed(Offset),
    /// Appended and committed before, at this offset.
    Committed(Offset),
    /// Proposed before, at this offset: wait until it is committed.
    InFlight(AppendedBatch),
    /// Refused.
    Refused(ErrorCode),
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its identity.
    pub id: PartitionId,
    /// The replicated part.
    pub log: PartitionLog,
    /// Files below `flushed`, in order.
    pub segments: Vec<SegmentMeta>,
    /// Offset behind the last record that is durable in a segment.
    pub flushed: Offset,
    /// Fetches that wait for more.
    pub fetches: BTreeSet<Token>,
    /// Duplicates that wait for the batch in flight: its last offset, and what is then to be done.
    pub duplicates: Vec<(Offset, Then)>,
    tail: VecDeque<StoredBatch>,
    proposed_end: Offset,
    proposed: BTreeMap<ProducerId, Proposed>,
    /// Producers in `proposed` that `log` does not know.
    newcomers: usize,
}

/// A producer with batches in flight.
#[derive(Clone, Debug)]
struct Proposed {
    state: ProducerState,
    in_flight: usize,
}

impl Partition {
    /// A partition that a catalogue of this age wanted.
    pub fn created(id: PartitionId, catalog: LogIndex) -> Partition {
        Partition::restored(id, PartitionLog { created: catalog, ..PartitionLog::default() }, Vec::new())
    }

    /// A partition as a checkpoint knows it.
    pub fn restored(id: PartitionId, log: PartitionLog, segments: Vec<SegmentMeta>) -> Partition {
        // At a checkpoint everything applied is in segments; a log that was trimmed to its end may have none. Segments of a
        // replica that was catching up may go on behind it, with records that are committed and not yet applied here.
        let last = segments.last().map(|last| last.end_offset);
        let reaches = last.is_none_or(|last| last >= log.log_end);
        assert!(reaches, "segments reach to where the checkpoint's log ends");
        let flushed = last.map_or(log.log_end, |last| last.max(log.log_end));
        Partition {
            id,
            proposed_end: log.log_end,
            log,
            segments,
            flushed,
            fetches: BTreeSet::new(),
            duplicates: Vec::new(),
            tail: VecDeque::new(),
            proposed: BTreeMap::new(),
            newcomers: 0,
        }
    }

    /// Judges a batch of an idempotent producer against everything appended, in flight included.
    pub fn judge(&self, header: &BatchHeader) -> AppendVerdict {
        let Some((id, ..)) = header.producer() else {
            return AppendVerdict::Proposed(self.proposed_end);
        };
        match producer::judge(self.producer(id), header) {
            SequenceVerdict::Append => AppendVerdict::Proposed(self.proposed_end),
            SequenceVerdict::Refuse(code) => AppendVerdict::Refused(code),
            SequenceVerdict::Duplicate(before) if before.last_offset < self.log.log_end => {
                AppendVerdict::Committed(before.base_offset)
            }
            SequenceVerdict::Duplicate(before) => AppendVerdict::InFlight(before),
        }
    }

    fn producer(&self, id: ProducerId) -> Option<&ProducerState> {
        self.proposed.get(&id).map(|proposed| &proposed.state).or_else(|| self.log.producers.get(&id))
    }

    /// The sequence that it expects of the batch's producer; `None` when it does not know it, or the batch has none.
    pub fn next_sequence(&self, header: &BatchHeader) -> Option<i32> {
        let (id, epoch, _) = header.producer()?;
        Some(producer::next_sequence(self.producer(id)?, epoch))
    }

    /// Whether anything of the batch's producer was appended, in flight included.
    pub fn knows_producer(&self, header: &BatchHeader) -> bool {
        header.producer().is_none_or(|(id, ..)| self.producer(id).is_some())
    }

    /// Takes the next offsets for a batch that `judge` let through. Returns its base offset.
    pub fn propose(&mut self, header: &BatchHeader, at_ms: i64) -> Offset {
        let base_offset = self.proposed_end;
        self.proposed_end = base_offset.plus(i64::from(header.last_offset_delta) + 1);
        if let Some((id, ..)) = header.producer() {
            let before = match self.proposed.remove(&id) {
                Some(Proposed { state, in_flight }) => (Some(state), in_flight),
                None => {
                    let known = self.log.producers.get(&id).cloned();
                    self.newcomers += usize::from(known.is_none());
                    (known, 0)
                }
            };
            let state = producer::appended(before.0, header, base_offset, at_ms);
            self.proposed.insert(id, Proposed { state, in_flight: before.1 + 1 });
        }
        base_offset
    }

    /// Offset behind the last proposed record.
    pub fn proposed_end(&self) -> Offset {
        self.proposed_end
    }

    /// Forgets what was proposed and not committed: this node is no leader any more, or starts as one.
    pub fn forget_proposed(&mut self) {
        self.proposed_end = self.log.log_end;
        self.proposed.clear();
        self.newcomers = 0;
        self.duplicates.clear();
    }

    /// Applies a committed batch: the log grows, readers may see it.
    ///
    /// # Panics
    /// When the batch does not continue the log: what was acknowledged at an offset must be there.
    ///
    /// Returns the bytes that memory holds for it: none when a segment has it already.
    pub fn commit(&mut self, batch: StoredBatch, at_ms: i64) -> usize {
        assert_eq!(batch.base_offset, self.log.log_end, "a committed batch continues its partition's log");
        self.log.note_epoch(batch.leader_epoch, batch.base_offset);
        self.log.log_end = batch.next_offset();
        let header = batch.header();
        if let Some((id, ..)) = header.producer() {
            let before = self.log.producers.remove(&id);
            let is_new = before.is_none();
            let state = producer::appended(before, &header, batch.base_offset, at_ms);
            self.log.producers.insert(id, state);
            if let Some(proposed) = self.proposed.get_mut(&id) {
                self.newcomers -= usize::from(is_new);
                proposed.in_flight = proposed.in_flight.saturating_sub(1);
                if proposed.in_flight == 0 {
                    self.proposed.remove(&id);
                }
            }
        }
        self.proposed_end = self.proposed_end.max(self.log.log_end);
        if batch.next_offset() <= self.flushed {
            return 0;
        }
        let size = batch.size();
        self.tail.push_back(batch);
        size
    }

    /// Applies that producers are forgotten.
    pub fn forget_producers(&mut self, producers: &[ProducerId]) {
        for id in producers {
            if self.log.producers.remove(id).is_some() && self.proposed.contains_key(id) {
                self.newcomers += 1;
            }
        }
    }

    /// Producers that it remembers, in flight included.
    pub fn producer_count(&self) -> usize {
        self.log.producers.len() + self.newcomers
    }

    /// Applies a new log start. What lies below is not served any more; files go at the next checkpoint.
    pub fn trim(&mut self, log_start: Offset) {
        self.log.trim(log_start.min(self.log.log_end));
    }

    /// First offset in memory; the log end when nothing is.
    pub fn tail_start(&self) -> Offset {
        self.tail.front().map_or(self.log.log_end, |batch| batch.base_offset)
    }

    /// Batches that are committed and not yet in a segment.
    pub fn unflushed(&self) -> Vec<StoredBatch> {
        self.tail.iter().skip(self.tail_index(self.flushed)).cloned().collect()
    }

    /// Whether something committed is not yet in a segment.
    pub fn is_dirty(&self) -> bool {
        self.flushed < self.log.log_end
    }

    /// Drops the oldest batch from memory if a segment has it. Returns its size, 0 when memory holds none; `None` when it must
    /// stay.
    pub fn evict(&mut self) -> Option<usize> {
        let Some(oldest) = self.tail.front() else { return Some(0) };
        if oldest.next_offset() > self.flushed {
            return None;
        }
        self.tail.pop_front().map(|batch| batch.size())
    }

    /// Segments that came before the partition itself: records that are committed and not yet applied here.
    pub fn adopt(&mut self, segments: Vec<SegmentMeta>) {
        self.flushed = self.flushed.max(segments.last().map_or(Offset(0), |last| last.end_offset));
        self.segments = segments;
    }

    /// Where its records end on this node's disk and in its memory, applied or not.
    pub fn held_end(&self) -> Offset {
        self.flushed.max(self.log.log_end)
    }

    /// The first offset that can be read from disk or memory.
    pub fn first_held(&self) -> Offset {
        self.segments.first().map_or(self.tail_start(), |first| first.base_offset)
    }

    /// Bytes of batches in memory.
    pub fn tail_bytes(&self) -> usize {
        self.tail.iter().map(StoredBatch::size).sum()
    }

    /// Bytes of its segment files, and of committed batches that are in no segment yet: those are in the node's log.
    pub fn held_bytes(&self) -> u64 {
        let in_segments: u64 = self.segments.iter().map(|segment| segment.size).sum();
        let behind = self.tail.iter().skip(self.tail_index(self.flushed)).map(StoredBatch::size);
        in_segments + behind.sum::<usize>() as u64
    }

    /// Committed batches from memory, from the one that holds `offset` on, at most `bytes_max` but at least one.
    /// `None` when the offset lies below the tail: a segment has it.
    pub fn read_tail(&self, offset: Offset, bytes_max: usize) -> Option<Vec<StoredBatch>> {
        if offset >= self.log.log_end {
            return Some(Vec::new());
        }
        if offset < self.tail_start() {
            return None;
        }
        let mut bytes = 0;
        let fits = |batch: &&StoredBatch| {
            let first = bytes == 0;
            bytes += batch.size();
            first || bytes <= bytes_max
        };
        Some(self.tail.iter().skip(self.tail_index(offset)).take_while(fits).cloned().collect())
    }

    /// Whether a segment lies wholly below the log start.
    pub fn has_trimmed_segment(&self) -> bool {
        self.segments.first().is_some_and(|segment| segment.end_offset <= self.log.log_start)
    }

    /// The segment that holds `offset`.
    pub fn segment_of(&self, offset: Offset) -> Option<SegmentMeta> {
        let behind = self.segments.partition_point(|segment| segment.base_offset <= offset);
        self.segments.get(behind.checked_sub(1)?).copied().filter(|segment| offset < segment.end_offset)
    }

    /// The first segment that has offsets at or behind this one.
    pub fn segment_behind(&self, offset: Offset) -> Option<SegmentMeta> {
        let first = self.segments.partition_point(|segment| segment.end_offset <= offset);
        self.segments.get(first).copied()
    }

    /// The first batch in memory at or behind the log start with a timestamp at or above `timestamp_ms`.
    pub fn find_in_tail(&self, timestamp_ms: i64) -> Option<&StoredBatch> {
        self.tail.iter().find(|b| b.max_timestamp >= timestamp_ms && b.next_offset() > self.log.log_start)
    }

    /// Largest timestamp of all records that may be read; `None` for an empty log.
    pub fn max_timestamp(&self) -> Option<i64> {
        let flushed = self.segments.iter().map(|segment| segment.max_timestamp);
        flushed.chain(self.tail.iter().map(|batch| batch.max_timestamp)).max()
    }

    fn tail_index(&self, offset: Offset) -> usize {
        self.tail.partition_point(|batch| batch.next_offset() <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::batch;
    use model::TopicId;

    fn partition() -> Partition {
        Partition::created(PartitionId { topic: TopicId([1; 16]), index: 0 }, LogIndex(1))
    }

    fn append(
        partition: &mut Partition,
        count: i32,
        epoch: i32,
        producer: Option<(i64, i32)>,
    ) -> StoredBatch {
        let bytes = batch(count, 1000, producer, 50);
        let header = BatchHeader::read(&bytes).expect("header");
        let base = partition.propose(&header, 5);
        StoredBatch::new(base, LeaderEpoch(epoch), bytes)
    }

    #[test]
    fn offsets_are_dense_and_reads_see_committed_only() {
        let mut p = partition();
        let first = append(&mut p, 3, 0, None);
        let second = append(&mut p, 2, 0, None);
        assert_eq!(
            (first.base_offset, second.base_offset, p.proposed_end()),
            (Offset(0), Offset(3), Offset(5))
        );
        assert_eq!(p.read_tail(Offset(0), 1 << 20), Some(vec![]));
        p.commit(first.clone(), 5);
        assert_eq!(p.read_tail(Offset(2), 1 << 20), Some(vec![first]));
        p.commit(second.clone(), 5);
        assert_eq!(p.read_tail(Offset(0), 1).map(|b| b.len()), Some(1), "the first batch always fits");
        assert_eq!(p.read_tail(Offset(4), 1 << 20), Some(vec![second]));
        assert_eq!(p.log.log_end, Offset(5));
    }

    #[test]
    fn duplicates_in_flight_and_committed() {
        let mut p = partition();
        let sent = append(&mut p, 2, 0, Some((9, 0)));
        let header = sent.header();
        assert!(matches!(p.judge(&header), AppendVerdict::InFlight(b) if b.last_offset == Offset(1)));
        p.commit(sent, 5);
        assert_eq!(p.judge(&header), AppendVerdict::Committed(Offset(0)));
        let mut lost = p.clone();
        append(&mut lost, 1, 0, Some((9, 2)));
        lost.forget_proposed();
        assert_eq!(lost.proposed_end(), Offset(2));
        assert_eq!(lost.judge(&header), AppendVerdict::Committed(Offset(0)));
    }

    #[test]
    fn producers_are_counted_once_in_flight_and_committed() {
        let mut p = partition();
        let first = append(&mut p, 1, 0, Some((9, 0)));
        let second = append(&mut p, 1, 0, Some((9, 1)));
        append(&mut p, 1, 0, Some((8, 0)));
        assert_eq!(p.producer_count(), 2);
        p.commit(first, 5);
        assert_eq!(p.producer_count(), 2);
        p.forget_producers(&[ProducerId(9), ProducerId(7)]);
        assert_eq!(p.producer_count(), 2, "its second batch is in flight");
        p.commit(second, 5);
        assert_eq!(p.producer_count(), 2);
        p.forget_proposed();
        assert_eq!(p.producer_count(), 1);
        p.forget_producers(&[ProducerId(9)]);
        assert_eq!(p.producer_count(), 0);
    }

    #[test]
    fn eviction_needs_a_flush_and_reads_below_the_tail_need_a_segment() {
        let mut p = partition();
        for _ in 0..3 {
            let b = append(&mut p, 1, 0, None);
            p.commit(b, 5);
        }
        assert_eq!(p.unflushed().len(), 3);
        assert_eq!(p.evict(), None);
        p.flushed = Offset(2);
        assert!(p.evict().is_some());
        assert_eq!(p.read_tail(Offset(0), 100), None);
        assert_eq!(p.unflushed().len(), 1);
        assert!(p.evict().is_some());
        assert_eq!(p.evict(), None, "not flushed yet");
    }

    #[test]
    fn epochs_end_where_the_next_begins() {
        let mut p = partition();
        for epoch in [0, 0, 2] {
            let b = append(&mut p, 2, epoch, None);
            p.commit(b, 5);
        }
        assert_eq!(p.log.epoch_end(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(4))));
        assert_eq!(p.log.epoch_end(LeaderEpoch(1)), Some((LeaderEpoch(0), Offset(4))));
        assert_eq!(p.log.epoch_end(LeaderEpoch(9)), Some((LeaderEpoch(2), Offset(6))));
        assert_eq!(p.log.epoch_at(Offset(3)), 0);
        p.trim(Offset(5));
        assert_eq!(p.log.epochs, vec![(LeaderEpoch(2), Offset(5))]);
        assert_eq!(p.log.epoch_end(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(5))));
        assert_eq!(p.log.epoch_end(LeaderEpoch(-1)), None);
        assert_eq!(partition().log.epoch_end(LeaderEpoch(3)), Some((LeaderEpoch(3), Offset(0))));
    }
}
