//! What the storage world writes: valid record batches with random bodies, unique in every byte pattern, so that two
//! of them are never mistaken for each other.

use crate::dice::Dice;
use bytes::Bytes;
use model::batch::{BatchHeader, HEADER_BYTES, LENGTH_END, crc_of};
use model::{Entry, EntryKind, LogIndex, PartitionId, ShardId, Term};

/// One batch of 1 to 5 records and `body` bytes behind the header.
pub fn batch(dice: &mut Dice, body: usize, timestamp: i64) -> Bytes {
    let count = dice.between(1, 5) as i32;
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: (HEADER_BYTES - LENGTH_END + body) as i32,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: count,
    };
    let mut bytes = vec![0; HEADER_BYTES + body];
    let mut word = dice.next();
    for chunk in bytes[HEADER_BYTES..].chunks_mut(8) {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) | 1;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    let mut head = [0; HEADER_BYTES];
    header.write(&mut head);
    bytes[..HEADER_BYTES].copy_from_slice(&head);
    header.crc = crc_of(&bytes);
    header.write(&mut head);
    bytes[..HEADER_BYTES].copy_from_slice(&head);
    bytes.into()
}

/// An entry that puts `batch` into `partition`; a leader's empty first entry without one.
pub fn entry(
    dice: &mut Dice,
    shard: ShardId,
    term: u64,
    index: u64,
    batch: Option<(PartitionId, Bytes)>,
) -> Entry {
    let (descriptor, payload) = match batch {
        Some((partition, bytes)) => {
            let mut descriptor = partition.topic.0.to_vec();
            descriptor.extend_from_slice(&dice.next().to_le_bytes());
            (Bytes::from(descriptor), split(dice, bytes))
        }
        None => (Bytes::new(), model::Payload::default()),
    };
    Entry { shard, term: Term(term), index: LogIndex(index), kind: EntryKind::Normal, descriptor, payload }
}

/// A payload comes in any number of pieces.
fn split(dice: &mut Dice, bytes: Bytes) -> model::Payload {
    let mut payload = model::Payload::default();
    let at = dice.index(bytes.len() + 1);
    payload.push(bytes.slice(..at));
    payload.push(bytes.slice(at..));
    payload
}
