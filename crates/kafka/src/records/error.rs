//! What can be wrong with record batches, and the error code that makes a stock producer do the right thing.

use model::ErrorCode;
use thiserror::Error;

/// Why records were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordsError {
    /// No batch at all.
    #[error("no record batch")]
    Empty,
    /// Fewer bytes than a batch says it has, or than a header.
    #[error("record batch ends early: {needed} bytes wanted, {remaining} there")]
    BatchTruncated {
        /// Bytes the batch takes.
        needed: usize,
        /// Bytes there.
        remaining: usize,
    },
    /// A length field that no batch can have.
    #[error("batch length {0}")]
    BatchLength(i32),
    /// A format other than v2.
    #[error("message format {0} is not supported, only v2")]
    OldFormat(i8),
    /// A batch above the topic's limit.
    #[error("record batch of {size} bytes is above the limit of {max}")]
    BatchTooLarge {
        /// Its size, bytes.
        size: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// More batches for one partition than a request may carry.
    #[error("more than {0} record batches for one partition")]
    TooManyBatches(usize),
    /// The checksum disagrees with the bytes.
    #[error("record batch checksum is {computed:#010x}, its header says {stated:#010x}")]
    Checksum {
        /// Over the bytes.
        computed: u32,
        /// In the header.
        stated: u32,
    },
    /// A record count that is not positive or disagrees with the offsets.
    #[error("record count {count} with last offset delta {last_offset_delta}")]
    Count {
        /// In the header.
        count: i32,
        /// In the header.
        last_offset_delta: i32,
    },
    /// A control batch or other attribute that clients may not send.
    #[error("attributes {0:#06x} are not for clients")]
    Attributes(i16),
    /// A timestamp type that only brokers set.
    #[error("a producer may not send LogAppendTime")]
    TimestampType,
    /// A timestamp out of range.
    #[error("the timestamp of record {index} is out of range")]
    Timestamp {
        /// Place in the batch.
        index: i32,
    },
    /// Producer id, epoch and sequence that do not go together.
    #[error("producer id {producer_id}, epoch {producer_epoch}, sequence {base_sequence} do not go together")]
    Producer {
        /// In the header.
        producer_id: i64,
        /// In the header.
        producer_epoch: i16,
        /// In the header.
        base_sequence: i32,
    },
    /// A codec number without meaning, or one that the request's version does not allow.
    #[error("compression type {0} is not supported here")]
    Codec(i16),
    /// Compressed bytes that are none.
    #[error("{codec} data is broken: {why}")]
    Compression {
        /// Codec name.
        codec: &'static str,
        /// What the decompressor says.
        why: String,
    },
    /// Records that are larger than allowed once decompressed.
    #[error("records are larger than {0} bytes when decompressed")]
    DecompressedTooLarge(usize),
    /// A record whose fields do not add up.
    #[error("record {index} is malformed: {why}")]
    Record {
        /// Place in the batch.
        index: i32,
        /// What is wrong.
        why: &'static str,
    },
    /// Bytes behind the last record.
    #[error("bytes behind the last record")]
    TrailingBytes,
}

impl RecordsError {
    /// Place of the record that is at fault, relative to the batch; `None` when the batch as a whole is.
    pub fn record(&self) -> Option<i32> {
        match self {
            RecordsError::Record { index, .. } | RecordsError::Timestamp { index } => Some(*index),
            _ => None,
        }
    }

    /// The code for the client, as Kafka answers the same fault.
    pub fn code(&self) -> ErrorCode {
        match self {
            RecordsError::BatchTruncated { .. }
            | RecordsError::BatchLength(_)
            | RecordsError::Checksum { .. } => ErrorCode::CorruptMessage,
            RecordsError::OldFormat(_) => ErrorCode::UnsupportedForMessageFormat,
            // A Java producer splits the batch and sends the halves.
            RecordsError::BatchTooLarge { .. } | RecordsError::DecompressedTooLarge(_) => {
                ErrorCode::MessageTooLarge
            }
            RecordsError::TimestampType | RecordsError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
            RecordsError::Codec(_) => ErrorCode::UnsupportedCompressionType,
            RecordsError::Empty
            | RecordsError::TooManyBatches(_)
            | RecordsError::Count { .. }
            | RecordsError::Attributes(_)
            | RecordsError::Producer { .. }
            | RecordsError::Compression { .. }
            | RecordsError::Record { .. }
            | RecordsError::TrailingBytes => ErrorCode::InvalidRecord,
        }
    }
}
