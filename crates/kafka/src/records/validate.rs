//! Validation of what a producer sent for one partition: the stop between the decoded request and the append. A batch
//! that passes holds what its header says; it is not unpacked, and its bytes stay as they came.

use std::ops::ControlFlow;

use bytes::Bytes;
use model::batch::{
    ATTRIBUTE_CODEC_MASK, ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, ATTRIBUTE_TRANSACTIONAL,
    HEADER_BYTES, crc_of,
};
use model::{BatchHeader, RecordFacts};

use super::compression::{self, Consumed, Consumer};
use super::source::{SliceSource, Source};
use super::walk::walk;
use super::{Codec, RecordsError};

/// The only record format.
pub(super) const MAGIC: i8 = 2;

/// Decompressed records of one batch, bytes. A producer's batch is at most a few MiB before compression; 64 MiB leave
/// room for odd settings and end a bomb after some hundredths of a second.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Batches for one partition in one request; Kafka's clients send one, Kafka refuses more.
const BATCHES_MAX: usize = 1;

/// Attributes that a producer may set.
const ATTRIBUTES_ALLOWED: i16 = ATTRIBUTE_CODEC_MASK | ATTRIBUTE_LOG_APPEND_TIME | ATTRIBUTE_TRANSACTIONAL;

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest batch, bytes (Kafka: `max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Decompressed records of one batch, bytes.
    pub decompressed_bytes_max: usize,
    /// Batches for one partition.
    pub batches_max: usize,
    /// Whether zstd is allowed; Produce has it from version 7.
    pub zstd_allowed: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            batch_bytes_max: model::limits::MESSAGE_BYTES_MAX_DEFAULT,
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
            batches_max: BATCHES_MAX,
            zstd_allowed: true,
        }
    }
}

/// A batch that holds what its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// Its header; the maximum timestamp is the records'.
    pub header: BatchHeader,
    /// Its bytes: the producer's, unless the header's maximum timestamp was wrong and was put right.
    pub bytes: Bytes,
    /// What its records are like.
    pub facts: RecordFacts,
    /// Bytes of its records once decompressed: what the check has cost.
    pub records_size: usize,
}

/// Checks the batches of one partition. The first fault refuses all of them.
pub fn validate(records: Bytes, limits: &Limits) -> Result<Vec<ValidatedBatch>, RecordsError> {
    if records.is_empty() {
        return Err(RecordsError::Empty);
    }
    let mut rest = records;
    let mut batches = Vec::with_capacity(1);
    while !rest.is_empty() {
        if batches.len() == limits.batches_max {
            return Err(RecordsError::TooManyBatches(limits.batches_max));
        }
        batches.push(batch(&mut rest, limits)?);
    }
    Ok(batches)
}

/// Takes one batch from the front of `rest`.
fn batch(rest: &mut Bytes, limits: &Limits) -> Result<ValidatedBatch, RecordsError> {
    let (header, size) = split_header(rest)?;
    if size > limits.batch_bytes_max {
        return Err(RecordsError::BatchTooLarge { size, max: limits.batch_bytes_max });
    }
    let bytes = rest.split_to(size);
    let computed = crc_of(&bytes);
    if computed != header.crc {
        return Err(RecordsError::Checksum { computed, stated: header.crc });
    }
    let codec = check_header(&header, limits)?;
    let body = &bytes[HEADER_BYTES..];
    let (seen, records_size) = match codec {
        Codec::None => in_place(&header, body)?,
        codec => compression::stream(codec, body, limits.decompressed_bytes_max, Survey { header: &header })?,
    };
    let mut header = header;
    let bytes = if seen.max_timestamp == header.max_timestamp {
        bytes
    } else {
        header.max_timestamp = seen.max_timestamp;
        with_header(&bytes, &mut header)
    };
    Ok(ValidatedBatch { header, bytes, facts: seen.facts, records_size })
}

/// The header at the front of `bytes` and the size of its batch, all of which is there.
pub(super) fn split_header(bytes: &Bytes) -> Result<(BatchHeader, usize), RecordsError> {
    /// Where every format has its magic.
    const MAGIC_AT: usize = 16;
    let remaining = bytes.len();
    // The magic first: older formats have shorter headers, and their senders should learn that it is the format.
    match bytes.get(MAGIC_AT) {
        Some(magic) if *magic as i8 != MAGIC => return Err(RecordsError::OldFormat(*magic as i8)),
        _ => {}
    }
    let header =
        BatchHeader::read(bytes).ok_or(RecordsError::BatchTruncated { needed: HEADER_BYTES, remaining })?;
    let size = header.size().ok_or(RecordsError::BatchLength(header.batch_length))?;
    if size > remaining {
        return Err(RecordsError::BatchTruncated { needed: size, remaining });
    }
    Ok((header, size))
}

/// Everything that the header alone can get wrong.
fn check_header(header: &BatchHeader, limits: &Limits) -> Result<Codec, RecordsError> {
    let attributes = header.attributes;
    if attributes & ATTRIBUTE_CONTROL != 0 || attributes & !ATTRIBUTES_ALLOWED != 0 {
        return Err(RecordsError::Attributes(attributes));
    }
    if attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
        return Err(RecordsError::TimestampType);
    }
    let count = header.records_count;
    if count <= 0 || header.last_offset_delta != count - 1 {
        return Err(RecordsError::Count { count, last_offset_delta: header.last_offset_delta });
    }
    let idempotent = header.producer_id >= 0;
    let whole = header.producer_epoch >= 0 && header.base_sequence >= 0;
    let transactional = attributes & ATTRIBUTE_TRANSACTIONAL != 0;
    if header.producer_id < -1 || (idempotent && !whole) || (transactional && !idempotent) {
        return Err(RecordsError::Producer {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    }
    let codec = Codec::from_attributes(attributes)?;
    if codec == Codec::Zstd && !limits.zstd_allowed {
        return Err(RecordsError::Codec(attributes & ATTRIBUTE_CODEC_MASK));
    }
    Ok(codec)
}

fn in_place(header: &BatchHeader, body: &[u8]) -> Result<(Seen, usize), RecordsError> {
    let mut source = SliceSource::new(body);
    let seen = Survey { header }.consume(&mut source)?.output;
    if source.byte()?.is_some() {
        return Err(RecordsError::TrailingBytes);
    }
    Ok(seen)
}

/// What a walk over all records has found.
struct Seen {
    facts: RecordFacts,
    max_timestamp: i64,
}

/// Walks all records and keeps what they are like, and how many bytes there were.
struct Survey<'a> {
    header: &'a BatchHeader,
}

impl Consumer for Survey<'_> {
    type Output = (Seen, usize);

    fn consume<S: Source>(self, source: &mut S) -> Result<Consumed<Self::Output>, RecordsError> {
        let mut seen = Seen { facts: RecordFacts::default(), max_timestamp: i64::MIN };
        walk(self.header, source, |record, has_key| {
            seen.facts.see(record.offset_delta, record.timestamp, has_key);
            seen.max_timestamp = seen.max_timestamp.max(record.timestamp);
            ControlFlow::Continue(())
        })?;
        Ok(Consumed { output: (seen, source.position() as usize), complete: true })
    }
}

/// A copy of the batch under a changed header, its checksum made anew.
fn with_header(bytes: &Bytes, header: &mut BatchHeader) -> Bytes {
    let mut copy = bytes.to_vec();
    write_header(&mut copy, header);
    header.crc = crc_of(&copy);
    write_header(&mut copy, header);
    copy.into()
}

pub(super) fn write_header(batch: &mut [u8], header: &BatchHeader) {
    let head: &mut [u8; HEADER_BYTES] = batch.first_chunk_mut().expect("a batch is at least a header long");
    header.write(head);
}
