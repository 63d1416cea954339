//! Batches for this room's tests.

use bytes::Bytes;
use model::batch::{BatchHeader, HEADER_BYTES, LENGTH_END, crc_of};

/// A batch of `count` records with an opaque body of `body` bytes; `producer` is (id, first sequence).
pub fn batch(count: i32, timestamp: i64, producer: Option<(i64, i32)>, body: usize) -> Bytes {
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
        producer_id: producer.map_or(-1, |(id, _)| id),
        producer_epoch: if producer.is_some() { 0 } else { -1 },
        base_sequence: producer.map_or(-1, |(_, sequence)| sequence),
        records_count: count,
    };
    let mut bytes = vec![7; HEADER_BYTES + body];
    header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
    header.crc = crc_of(&bytes);
    header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
    bytes.into()
}
