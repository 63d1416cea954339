//! Idempotence: what a partition remembers of a producer, and what it says to the producer's next batch
//! (KIP-98, KIP-360). Pure decisions; `partition` keeps the states.

use crate::request::TopicRef;
use model::{BatchHeader, ErrorCode, Mono, Offset, ProducerId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Batches remembered of each producer: as many as a stock client keeps in flight
/// (Kafka: `max.in.flight.requests.per.connection` ≤ 5 with idempotence).
pub const BATCHES_KEPT: usize = 5;

/// Producer states that a node remembers, some 300 bytes each; its shards share them evenly. In a shard without room a
/// producer that the partition does not know is refused: made-up ids must not push out what keeps honest producers' retries from
/// being appended twice.
pub const PRODUCERS_MAX: usize = 1_000_000;

/// Silence after which producers of a crowded shard are forgotten, if `producer.id.expiration.ms` is not shorter: much longer
/// than stock clients try to deliver a batch (`delivery.timeout.ms`: two minutes).
pub const CROWDED_EXPIRATION: Duration = Duration::from_secs(15 * 60);

/// One appended batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendedBatch {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
}

/// What a partition remembers of one producer id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// Incarnation that appended last.
    pub epoch: i16,
    /// The newest batches, oldest first.
    pub batches: VecDeque<AppendedBatch>,
    /// When the leader proposed the newest one, ms: what expiry counts from.
    pub appended_ms: i64,
}

/// What happens to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceVerdict {
    /// It is next: append it.
    Append,
    /// It was appended before, here: answer with that, once it is committed.
    Duplicate(AppendedBatch),
    /// It must not be appended.
    Refuse(ErrorCode),
}

/// The sequence `count` records behind `sequence`; sequences wrap to 0 behind 2^31-1.
pub fn sequence_plus(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

/// Judges a batch with a producer id against what is remembered (`None`: nothing).
pub fn judge(state: Option<&ProducerState>, header: &BatchHeader) -> SequenceVerdict {
    let Some(state) = state else {
        return SequenceVerdict::Append; // KIP-360: a forgotten producer goes on with whatever sequence it has
    };
    if header.producer_epoch < state.epoch {
        return SequenceVerdict::Refuse(ErrorCode::InvalidProducerEpoch);
    }
    if header.producer_epoch > state.epoch {
        return match header.base_sequence {
            0 => SequenceVerdict::Append,
            _ => SequenceVerdict::Refuse(ErrorCode::OutOfOrderSequenceNumber),
        };
    }
    let last_sequence = sequence_plus(header.base_sequence, header.last_offset_delta);
    let same = |batch: &&AppendedBatch| {
        batch.first_sequence == header.base_sequence && batch.last_sequence == last_sequence
    };
    if let Some(before) = state.batches.iter().find(same) {
        return SequenceVerdict::Duplicate(*before);
    }
    match state.batches.back() {
        Some(newest) if sequence_plus(newest.last_sequence, 1) != header.base_sequence => {
            SequenceVerdict::Refuse(ErrorCode::OutOfOrderSequenceNumber)
        }
        _ => SequenceVerdict::Append,
    }
}

/// The sequence that comes next of a producer's incarnation, by what is remembered of the producer.
pub fn next_sequence(state: &ProducerState, epoch: i16) -> i32 {
    match state.batches.back() {
        Some(newest) if state.epoch == epoch => sequence_plus(newest.last_sequence, 1),
        _ => 0,
    }
}

/// The state after the batch was appended at `base_offset`.
pub fn appended(
    state: Option<ProducerState>,
    header: &BatchHeader,
    base_offset: Offset,
    at_ms: i64,
) -> ProducerState {
    let mut state = match state {
        Some(state) if state.epoch == header.producer_epoch => state,
        _ => ProducerState { epoch: header.producer_epoch, batches: VecDeque::new(), appended_ms: at_ms },
    };
    state.batches.push_back(AppendedBatch {
        first_sequence: header.base_sequence,
        last_sequence: sequence_plus(header.base_sequence, header.last_offset_delta),
        base_offset,
        last_offset: base_offset.plus(i64::from(header.last_offset_delta)),
    });
    while state.batches.len() > BATCHES_KEPT {
        state.batches.pop_front();
    }
    state.appended_ms = at_ms;
    state
}

/// Whether `sequence` is `other` or lies behind it. Sequences wrap: half of them lie behind any one.
fn is_at_or_behind(sequence: i32, other: i32) -> bool {
    (i64::from(sequence) - i64::from(other)) & i64::from(i32::MAX) <= i64::from(i32::MAX) / 2
}

/// Batches that were refused for now, remembered until they come again.
///
/// What a client sent behind such a batch is refused for the same reason and not as out of order: librdkafka answers
/// OUT_OF_ORDER_SEQUENCE_NUMBER by numbering anew whatever it has not had an answer to, of all partitions, and what was written
/// of that stands twice then. And with a producer that a partition does not know any sequence may begin (KIP-360), so what came
/// behind would go first, and the first batch never. Lives in the leader's memory: with another leader the client's connection,
/// and what was sent over it, is gone.
#[derive(Debug, Default)]
pub struct Refused {
    places: BTreeMap<Place, RefusedRun>,
    order: VecDeque<Place>,
}

/// Topic (as the client names it: it may not be there yet), partition and producer.
type Place = (TopicRef, i32, ProducerId);

/// Batches that follow each other and were refused for now.
#[derive(Clone, Copy, Debug)]
struct RefusedRun {
    epoch: i16,
    /// Sequence of the first record.
    first: i32,
    /// The sequence behind the last record.
    behind: i32,
    /// Why the first batch was refused.
    code: ErrorCode,
    at: Mono,
}

/// Producers and partitions with refused batches that are remembered; of more the oldest are forgotten.
pub const REFUSED_MAX: usize = 4096;

/// A batch that did not come again for so long was given up (stock clients' `delivery.timeout.ms`): what follows it does not
/// wait any more.
pub const REFUSED_FOR: Duration = Duration::from_secs(120);

impl Refused {
    /// Remembers that a batch was refused with this code.
    pub fn remember(
        &mut self,
        now: Mono,
        topic: &TopicRef,
        index: i32,
        header: &BatchHeader,
        code: ErrorCode,
    ) {
        let Some((id, epoch, sequence)) = header.producer() else { return };
        let place = (topic.clone(), index, id);
        let behind = sequence_plus(sequence, header.last_offset_delta.saturating_add(1));
        match self.places.get_mut(&place) {
            Some(run) if run.epoch == epoch && run.is_awaited(now) => {
                if run.behind == sequence {
                    run.behind = behind;
                }
                return;
            }
            Some(_) => {}
            None => self.order.push_back(place.clone()),
        }
        self.places.insert(place, RefusedRun { epoch, first: sequence, behind, code, at: now });
        while self.order.len() > REFUSED_MAX {
            self.order.pop_front().map(|oldest| self.places.remove(&oldest));
        }
    }

    /// Why a batch must wait for another one. `next`: the sequence that the partition expects of the producer, if it knows it. A
    /// sequence of 0 begins anew and never waits.
    pub fn holds_back(
        &self,
        now: Mono,
        topic: &TopicRef,
        index: i32,
        header: &BatchHeader,
        next: Option<i32>,
    ) -> Option<ErrorCode> {
        let (id, ..) = header.producer().filter(|_| !self.places.is_empty())?;
        let run = self.places.get(&(topic.clone(), index, id))?;
        let is_lacking = |next: i32| {
            is_at_or_behind(next, run.first)
                && !is_at_or_behind(next, run.behind)
                && is_at_or_behind(header.base_sequence, next)
        };
        let waits = header.base_sequence != 0
            && run.epoch == header.producer_epoch
            && run.first != header.base_sequence
            && run.is_awaited(now)
            && next.is_none_or(is_lacking);
        waits.then_some(run.code)
    }

    /// This batch is in the log: it waits for nothing, and nothing waits for it.
    pub fn forget(&mut self, topic: &TopicRef, index: i32, header: &BatchHeader) {
        let Some((id, ..)) = header.producer().filter(|_| !self.places.is_empty()) else { return };
        let place = (topic.clone(), index, id);
        let comes_again = |run: &RefusedRun| {
            [0, run.first].contains(&header.base_sequence) || run.epoch != header.producer_epoch
        };
        if self.places.get(&place).is_some_and(comes_again) {
            self.places.remove(&place);
            self.order.retain(|other| *other != place);
        }
    }
}

impl RefusedRun {
    fn is_awaited(&self, now: Mono) -> bool {
        now.since(self.at) < REFUSED_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1);
    const LEADER: Option<ErrorCode> = Some(ErrorCode::NotLeaderOrFollower);

    fn refused(batches: &[(i16, i32, i32)]) -> Refused {
        let mut refused = Refused::default();
        for (epoch, sequence, count) in batches {
            let header = header(*epoch, *sequence, *count);
            refused.remember(NOW, &topic(), 0, &header, ErrorCode::NotLeaderOrFollower);
        }
        refused
    }

    /// As when the topic is not there yet, or the disk full, for a producer's first batch, and not for its second.
    #[test]
    fn what_follows_a_refused_first_batch_does_not_go_first() {
        let mut refused = refused(&[(0, 0, 3), (0, 3, 4)]);
        let held = |refused: &Refused, index, epoch, sequence| {
            refused.holds_back(NOW, &topic(), index, &header(epoch, sequence, 4), None)
        };
        assert_eq!(held(&refused, 0, 0, 3), LEADER);
        assert_eq!(held(&refused, 0, 0, 0), None);
        assert_eq!(held(&refused, 1, 0, 3), None, "another partition");
        assert_eq!(held(&refused, 0, 1, 3), None, "another life of the producer");
        refused.forget(&topic(), 0, &header(0, 0, 3));
        assert_eq!(held(&refused, 0, 0, 3), None);
        // The topic was deleted and made again: the producer begins with 0 there.
        refused.remember(NOW, &topic(), 0, &header(0, 7, 1), ErrorCode::KafkaStorageError);
        assert_eq!(held(&refused, 0, 0, 0), None);
        assert_eq!(
            held(&refused, 0, 0, 8),
            Some(ErrorCode::KafkaStorageError),
            "the reason of the first one"
        );
    }

    /// As when a node begins to lead between a producer's fourth batch on its way and the fifth.
    #[test]
    fn what_follows_a_refused_batch_of_a_known_producer_is_not_out_of_order() {
        let refused = refused(&[(1, 7, 3), (1, 10, 1)]);
        let held =
            |now, next, sequence| refused.holds_back(now, &topic(), 0, &header(1, sequence, 2), Some(next));
        assert_eq!(held(NOW, 7, 11), LEADER);
        assert_eq!(held(NOW, 10, 11), LEADER, "the first one was a duplicate, the second one lacks");
        assert_eq!(held(NOW, 6, 11), None, "something before lacks, too");
        assert_eq!(held(NOW, 11, 12), None, "they are here by now, and another one lacks");
        assert_eq!(held(NOW, 11, 8), None, "another cut of old ones");
        assert_eq!(held(NOW, 7, i32::MAX / 2 + 10), None, "that far behind is before");
        assert_eq!(held(NOW.plus(REFUSED_FOR), 7, 11), None, "it was given up");
    }

    #[test]
    fn only_the_refused_batch_itself_lets_the_others_go_on() {
        let mut refused = refused(&[(1, i32::MAX, 2)]);
        let held = |refused: &Refused| refused.holds_back(NOW, &topic(), 0, &header(1, 3, 1), Some(i32::MAX));
        refused.forget(&topic(), 0, &header(1, i32::MAX - 4, 4));
        assert_eq!(held(&refused), LEADER, "a duplicate of one before came, and sequences wrap");
        refused.forget(&topic(), 0, &header(1, i32::MAX, 2));
        assert_eq!(held(&refused), None);
    }

    #[test]
    fn refused_batches_are_bounded() {
        let mut refused = Refused::default();
        for index in 0..=REFUSED_MAX as i32 {
            refused.remember(NOW, &topic(), index, &header(0, 0, 1), ErrorCode::NotLeaderOrFollower);
        }
        assert_eq!((refused.places.len(), refused.order.len()), (REFUSED_MAX, REFUSED_MAX));
        let held = |index| refused.holds_back(NOW, &topic(), index, &header(0, 1, 1), None);
        assert_eq!(held(0), None, "the oldest is forgotten");
        assert_eq!(held(1), LEADER);
    }

    fn topic() -> TopicRef {
        TopicRef::Name("t".to_owned())
    }

    fn header(epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            batch_length: 49,
            partition_leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence: sequence,
            records_count: count,
        }
    }

    fn after(batches: &[(i32, i32)]) -> ProducerState {
        let mut offset = Offset(0);
        let mut state = None;
        for (sequence, count) in batches {
            state = Some(appended(state, &header(1, *sequence, *count), offset, 0));
            offset = offset.plus(i64::from(*count));
        }
        state.expect("some batch")
    }

    #[test]
    fn in_order_duplicates_gaps_and_epochs() {
        let state = after(&[(0, 3), (3, 2)]);
        assert_eq!(judge(Some(&state), &header(1, 5, 1)), SequenceVerdict::Append);
        assert!(
            matches!(judge(Some(&state), &header(1, 0, 3)), SequenceVerdict::Duplicate(b) if b.base_offset == Offset(0))
        );
        assert!(
            matches!(judge(Some(&state), &header(1, 3, 2)), SequenceVerdict::Duplicate(b) if b.last_offset == Offset(4))
        );
        let gap = SequenceVerdict::Refuse(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(judge(Some(&state), &header(1, 6, 1)), gap);
        assert_eq!(judge(Some(&state), &header(1, 3, 1)), gap, "another cut of an old batch is no duplicate");
        assert_eq!(judge(Some(&state), &header(2, 1, 1)), gap, "a new epoch starts at 0");
        assert_eq!(judge(Some(&state), &header(2, 0, 1)), SequenceVerdict::Append);
        assert_eq!(
            judge(Some(&state), &header(0, 5, 1)),
            SequenceVerdict::Refuse(ErrorCode::InvalidProducerEpoch)
        );
        assert_eq!(judge(None, &header(0, 77, 1)), SequenceVerdict::Append);
    }

    #[test]
    fn five_batches_are_remembered() {
        let state = after(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert!(matches!(judge(Some(&state), &header(1, 1, 1)), SequenceVerdict::Duplicate(_)));
        assert!(matches!(judge(Some(&state), &header(1, 0, 1)), SequenceVerdict::Refuse(_)));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_plus(i32::MAX, 1), 0);
        let state = after(&[(i32::MAX - 1, 2)]);
        assert_eq!(judge(Some(&state), &header(1, 0, 1)), SequenceVerdict::Append);
        let wrapping = after(&[(i32::MAX, 3)]);
        assert_eq!(wrapping.batches[0].last_sequence, 1);
        assert_eq!(judge(Some(&wrapping), &header(1, 2, 1)), SequenceVerdict::Append);
    }
}
