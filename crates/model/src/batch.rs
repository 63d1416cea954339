//! Record batch, format v2 (Kafka: `DefaultRecordBatch`): a view over the 61 header bytes, and a stored batch: the
//! producer's bytes with the offset and leader epoch this log gave them. The batch's own CRC covers everything from
//! the attributes on, so that the two fields a broker fills in do not change it.

use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use bytes::Bytes;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before what `batch_length` counts: base offset and the length itself.
pub const LENGTH_END: usize = 12;
/// Bytes that this log replaces: base offset (8), batch length (4, unchanged), partition leader epoch (4).
pub const PATCHED_BYTES: usize = 16;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

/// Attribute bit: timestamps are the broker's (`LogAppendTime`).
pub const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
/// Attribute bit: part of a transaction.
pub const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
/// Attribute bit: a marker of a transaction, not user data.
pub const ATTRIBUTE_CONTROL: i16 = 1 << 5;
/// Attribute bits that name the compression codec.
pub const ATTRIBUTE_CODEC_MASK: i16 = 0b111;

/// The header of one record batch, decoded. Field names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes behind the length field.
    pub batch_length: i32,
    /// Leader epoch when the batch was appended.
    pub partition_leader_epoch: i32,
    /// Format version; 2 here.
    pub magic: i8,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control.
    pub attributes: i16,
    /// Offset of the last record, relative.
    pub last_offset_delta: i32,
    /// Timestamp the records' deltas count from, ms.
    pub base_timestamp: i64,
    /// Largest timestamp of the records, ms.
    pub max_timestamp: i64,
    /// Idempotent producer, -1 for none.
    pub producer_id: i64,
    /// Its incarnation, -1 for none.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 for none.
    pub base_sequence: i32,
    /// Number of records.
    pub records_count: i32,
}

/// Most runs of records that `Places` names.
const RUNS_MAX: usize = 1000;

/// Places of a batch's records, in their order, kept as runs of neighbours. Of more than a thousand runs the last ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The first run needs no memory of its own: mostly all records are alike, or none is meant.
    first: Option<(i32, i32)>,
    more: Vec<(i32, i32)>,
}

impl Places {
    /// Adds a place behind those that are there.
    fn push(&mut self, place: i32) {
        let runs = self.more.len() + 1;
        match self.more.last_mut().or(self.first.as_mut()) {
            None => self.first = Some((place, place)),
            Some((_, last)) if last.checked_add(1) == Some(place) => *last = place,
            Some(_) if runs < RUNS_MAX => self.more.push((place, place)),
            Some(_) => {}
        }
    }

    /// No place at all.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.first.iter().chain(&self.more).flat_map(|(from, to)| *from..=*to)
    }
}

impl FromIterator<i32> for Places {
    /// The places must ascend.
    fn from_iter<I: IntoIterator<Item = i32>>(places: I) -> Places {
        let mut all = Places::default();
        places.into_iter().for_each(|place| all.push(place));
        all
    }
}

/// What the records of a batch are like, as far as a topic's settings ask. Places are relative to the base offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFacts {
    /// First record with the oldest timestamp, ms; `None` when no record has one (Kafka: -1).
    pub oldest: Option<(i32, i64)>,
    /// First record with the newest timestamp, ms.
    pub newest: Option<(i32, i64)>,
    /// Records without a key.
    pub keyless: Places,
}

impl RecordFacts {
    /// Looks at the record at a place. In the order of places.
    pub fn see(&mut self, place: i32, timestamp: i64, has_key: bool) {
        if timestamp != NO_TIMESTAMP {
            if self.oldest.is_none_or(|(_, oldest)| timestamp < oldest) {
                self.oldest = Some((place, timestamp));
            }
            if self.newest.is_none_or(|(_, newest)| timestamp > newest) {
                self.newest = Some((place, timestamp));
            }
        }
        if !has_key {
            self.keyless.push(place);
        }
    }
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; `None` when fewer than 61 are there. Checks nothing else.
    pub fn read(bytes: &[u8]) -> Option<BatchHeader> {
        let header: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let i16_at = |at: usize| i16::from_be_bytes([header[at], header[at + 1]]);
        let i32_at = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let i64_at = |at: usize| i64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        Some(BatchHeader {
            base_offset: i64_at(0),
            batch_length: i32_at(8),
            partition_leader_epoch: i32_at(12),
            magic: header[MAGIC_AT] as i8,
            crc: i32_at(CRC_AT) as u32,
            attributes: i16_at(ATTRIBUTES_AT),
            last_offset_delta: i32_at(23),
            base_timestamp: i64_at(27),
            max_timestamp: i64_at(35),
            producer_id: i64_at(43),
            producer_epoch: i16_at(51),
            base_sequence: i32_at(53),
            records_count: i32_at(57),
        })
    }

    /// Writes the header's 61 bytes.
    pub fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[MAGIC_AT] = self.magic as u8;
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&self.crc.to_be_bytes());
        out[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.records_count.to_be_bytes());
    }

    /// Size of the whole batch in bytes as its header claims; `None` when the claim is below a header's size.
    pub fn size(&self) -> Option<usize> {
        let size = usize::try_from(self.batch_length).ok()? + LENGTH_END;
        (size >= HEADER_BYTES).then_some(size)
    }

    /// Whether an idempotent producer wrote it.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// The producer, its epoch and the batch's first sequence; `None` without a producer.
    pub fn producer(&self) -> Option<(ProducerId, ProducerEpoch, i32)> {
        self.has_producer().then_some((ProducerId(self.producer_id), self.producer_epoch, self.base_sequence))
    }
}

/// CRC-32C of a whole batch's covered part (attributes to the end). `batch` must be at least a header long.
pub fn crc_of(batch: &[u8]) -> u32 {
    crate::checksum::crc32c(&batch[ATTRIBUTES_AT..])
}

/// A batch in the log: the bytes as the producer sent them, beside the offset and epoch that replace the first 16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Leader epoch of the append.
    pub leader_epoch: LeaderEpoch,
    /// Offset of the last record, relative.
    pub last_offset_delta: i32,
    /// Largest timestamp, ms.
    pub max_timestamp: i64,
    bytes: Bytes,
}

impl StoredBatch {
    /// Places a validated batch at `base_offset`. `bytes` must hold exactly one batch, header included.
    ///
    /// # Panics
    /// When `bytes` is shorter than a header or its length field disagrees: validation comes first.
    pub fn new(base_offset: Offset, leader_epoch: LeaderEpoch, bytes: Bytes) -> StoredBatch {
        let header = BatchHeader::read(&bytes).expect("a validated batch has a header");
        assert_eq!(header.size(), Some(bytes.len()), "a validated batch is as long as it says");
        assert!(header.last_offset_delta >= 0);
        StoredBatch {
            base_offset,
            leader_epoch,
            last_offset_delta: header.last_offset_delta,
            max_timestamp: header.max_timestamp,
            bytes,
        }
    }

    /// Reads a batch whose first 16 bytes are already those of this log (a segment's).
    /// `None` when it is no whole batch.
    pub fn from_log(bytes: Bytes) -> Option<StoredBatch> {
        let header = BatchHeader::read(&bytes)?;
        if header.size() != Some(bytes.len()) || header.last_offset_delta < 0 {
            return None;
        }
        Some(StoredBatch {
            base_offset: Offset(header.base_offset),
            leader_epoch: LeaderEpoch(header.partition_leader_epoch),
            last_offset_delta: header.last_offset_delta,
            max_timestamp: header.max_timestamp,
            bytes,
        })
    }

    /// Whether its checksum is right.
    pub fn is_intact(&self) -> bool {
        BatchHeader::read(&self.bytes).is_some_and(|header| header.crc == crc_of(&self.bytes))
    }

    /// Offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta) + 1)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Size in bytes, header included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The decoded header with this log's offset and epoch in it.
    pub fn header(&self) -> BatchHeader {
        let mut header = BatchHeader::read(&self.bytes).expect("checked at construction");
        header.base_offset = self.base_offset.0;
        header.partition_leader_epoch = self.leader_epoch.0;
        header
    }

    /// The first 16 bytes as readers must see them; [`Self::rest`] follows.
    pub fn prefix(&self) -> [u8; PATCHED_BYTES] {
        let mut prefix = [0; PATCHED_BYTES];
        prefix[..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        prefix[8..12].copy_from_slice(&self.bytes[8..12]);
        prefix[12..].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        prefix
    }

    /// Everything behind [`Self::prefix`], shared with the buffer it came in.
    pub fn rest(&self) -> Bytes {
        self.bytes.slice(PATCHED_BYTES..)
    }

    /// The batch as the producer sent it: what the WAL keeps.
    pub fn as_produced(&self) -> &Bytes {
        &self.bytes
    }

    /// One contiguous copy as readers must see it.
    pub fn to_contiguous(&self) -> Bytes {
        let mut whole = Vec::with_capacity(self.bytes.len());
        whole.extend_from_slice(&self.prefix());
        whole.extend_from_slice(&self.bytes[PATCHED_BYTES..]);
        whole.into()
    }
}

/// The same batch with the broker's time in place of the producer's (Kafka: `message.timestamp.type=LogAppendTime`):
/// attribute and maximum are set, the CRC is computed anew. `bytes` must hold one validated batch.
pub fn with_append_time(bytes: &Bytes, timestamp_ms: i64) -> Bytes {
    let mut copy = bytes.to_vec();
    let mut header = BatchHeader::read(&copy).expect("a validated batch has a header");
    header.attributes |= ATTRIBUTE_LOG_APPEND_TIME;
    header.max_timestamp = timestamp_ms;
    let mut head = [0; HEADER_BYTES];
    header.write(&mut head);
    copy[..HEADER_BYTES].copy_from_slice(&head);
    header.crc = crc_of(&copy);
    header.write(&mut head);
    copy[..HEADER_BYTES].copy_from_slice(&head);
    copy.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_runs_up_to_a_limit() {
        let places: Places = [0, 1, 2, 7, 9, 10].into_iter().collect();
        assert_eq!((places.first, &places.more[..]), (Some((0, 2)), &[(7, 7), (9, 10)][..]));
        assert_eq!(places.iter().collect::<Vec<_>>(), [0, 1, 2, 7, 9, 10]);
        assert!(Places::default().is_empty() && Places::default().iter().next().is_none());
        let scattered: Places = (0..5000).map(|place| place * 2).collect();
        assert_eq!(scattered.iter().count(), RUNS_MAX);
        let all: Places = (0..1_000_000).collect();
        assert!(all.more.is_empty() && all.iter().count() == 1_000_000);
    }

    fn sample(body: &[u8]) -> Bytes {
        let mut header = BatchHeader {
            base_offset: 0,
            batch_length: (HEADER_BYTES - LENGTH_END + body.len()) as i32,
            partition_leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: 2,
            base_timestamp: 5,
            max_timestamp: 9,
            producer_id: 7,
            producer_epoch: 1,
            base_sequence: 40,
            records_count: 3,
        };
        let mut bytes = [0; HEADER_BYTES].to_vec();
        bytes.extend_from_slice(body);
        header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
        header.crc = crc_of(&bytes);
        header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
        bytes.into()
    }

    #[test]
    fn header_round_trip_and_placing() {
        let bytes = sample(b"payload");
        let batch = StoredBatch::new(Offset(100), LeaderEpoch(4), bytes.clone());
        assert_eq!(batch.next_offset(), Offset(103));
        let whole = batch.to_contiguous();
        assert_eq!(
            StoredBatch::from_log(whole.clone()).map(|b| (b.base_offset, b.leader_epoch)),
            Some((Offset(100), LeaderEpoch(4)))
        );
        assert_eq!(
            crc_of(&whole),
            BatchHeader::read(&whole).expect("header").crc,
            "placing leaves the CRC right"
        );
        assert_eq!([&batch.prefix()[..], &batch.rest()[..]].concat(), whole);
    }

    #[test]
    fn append_time_sets_the_maximum_and_keeps_the_crc_right() {
        let stamped = with_append_time(&sample(b"x"), 1234);
        let header = BatchHeader::read(&stamped).expect("header");
        assert_eq!(
            (header.max_timestamp, header.attributes & ATTRIBUTE_LOG_APPEND_TIME),
            (1234, ATTRIBUTE_LOG_APPEND_TIME)
        );
        assert_eq!(header.crc, crc_of(&stamped));
    }

    #[test]
    fn short_or_lying_bytes_are_no_batch() {
        let bytes = sample(b"payload");
        assert!(BatchHeader::read(&bytes[..60]).is_none());
        assert!(StoredBatch::from_log(bytes.slice(..bytes.len() - 1)).is_none());
    }
}
