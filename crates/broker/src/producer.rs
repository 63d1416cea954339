//! Idempotence: what a partition remembers of a producer, and what it says to the producer's next batch
//! (KIP-98, KIP-360). Pure decisions; `partition` keeps the states.

use model::{BatchHeader, ErrorCode, Offset};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Batches remembered of each producer: as many as a stock client keeps in flight
/// (Kafka: `max.in.flight.requests.per.connection` ≤ 5 with idempotence).
pub const BATCHES_KEPT: usize = 5;

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

#[cfg(test)]
mod tests {
    use super::*;

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
