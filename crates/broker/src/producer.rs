//! Idempotence: what a partition remembers of a producer, and what it says to the producer's next batch
//! (KIP-98, KIP-360). Pure decisions; `partition` keeps the states.

use crate::request::TopicRef;
use model::{BatchHeader, ErrorCode, Offset, ProducerId};
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

/// First batches that were refused for now, remembered until they come again.
///
/// With a producer that a partition does not know any sequence may begin (KIP-360), so what a client sent behind a refused
/// first batch would go first, and the first one never. Lives in the leader's memory: with another leader the client's
/// connection, and what was sent over it, is gone.
#[derive(Debug, Default)]
pub struct Refused {
    places: BTreeMap<Place, (i16, i32)>,
    order: VecDeque<Place>,
}

/// Topic (as the client names it: it may not be there yet), partition and producer.
type Place = (TopicRef, i32, ProducerId);

/// Refused first batches remembered; of more the oldest are forgotten.
pub const REFUSED_MAX: usize = 4096;

impl Refused {
    /// Remembers a batch of a producer that the partition does not know, unless one before it is remembered.
    pub fn remember(&mut self, topic: &TopicRef, index: i32, header: &BatchHeader) {
        let Some((id, ..)) = header.producer() else { return };
        let place = (topic.clone(), index, id);
        let known = self.places.get(&place).copied();
        if known.is_some_and(|(epoch, _)| epoch == header.producer_epoch) {
            return;
        }
        if known.is_none() {
            self.order.push_back(place.clone());
        }
        self.places.insert(place, (header.producer_epoch, header.base_sequence));
        while self.order.len() > REFUSED_MAX {
            self.order.pop_front().map(|oldest| self.places.remove(&oldest));
        }
    }

    /// Whether another batch must come first. A sequence of 0 begins anew and never waits.
    pub fn holds_back(&self, topic: &TopicRef, index: i32, header: &BatchHeader) -> bool {
        let Some((id, ..)) = header.producer().filter(|_| !self.places.is_empty()) else { return false };
        let first = self.places.get(&(topic.clone(), index, id));
        header.base_sequence != 0
            && first.is_some_and(|(epoch, sequence)| {
                *epoch == header.producer_epoch && *sequence != header.base_sequence
            })
    }

    /// The partition knows the producer now.
    pub fn forget(&mut self, topic: &TopicRef, index: i32, header: &BatchHeader) {
        if let Some((id, ..)) = header.producer().filter(|_| !self.places.is_empty()) {
            let place = (topic.clone(), index, id);
            if self.places.remove(&place).is_some() {
                self.order.retain(|other| *other != place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As when the topic is not there yet, or the disk full, for a producer's first batch, and not for its second.
    #[test]
    fn what_follows_a_refused_first_batch_does_not_go_first() {
        let mut refused = Refused::default();
        refused.remember(&topic(), 0, &header(0, 0, 3));
        refused.remember(&topic(), 0, &header(0, 3, 4));
        assert!(refused.holds_back(&topic(), 0, &header(0, 3, 4)));
        assert!(!refused.holds_back(&topic(), 0, &header(0, 0, 3)));
        assert!(!refused.holds_back(&topic(), 1, &header(0, 3, 4)), "another partition");
        assert!(!refused.holds_back(&topic(), 0, &header(1, 3, 4)), "another life of the producer");
        refused.forget(&topic(), 0, &header(0, 0, 3));
        assert!(!refused.holds_back(&topic(), 0, &header(0, 3, 4)));
        // The topic was deleted and made again: the producer begins with 0 there.
        refused.remember(&topic(), 0, &header(0, 7, 1));
        assert!(!refused.holds_back(&topic(), 0, &header(0, 0, 3)));
    }

    #[test]
    fn refused_batches_are_bounded() {
        let mut refused = Refused::default();
        for index in 0..=REFUSED_MAX as i32 {
            refused.remember(&topic(), index, &header(0, 0, 1));
        }
        assert_eq!((refused.places.len(), refused.order.len()), (REFUSED_MAX, REFUSED_MAX));
        assert!(!refused.holds_back(&topic(), 0, &header(0, 1, 1)), "the oldest is forgotten");
        assert!(refused.holds_back(&topic(), 1, &header(0, 1, 1)));
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
