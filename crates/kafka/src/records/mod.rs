//! Record batches, format v2: validated without being unpacked on their way in, read lazily and built for our own
//! client, the simulations and the tests. The header's 61 bytes are `model::batch`.

mod builder;
mod compression;
mod error;
mod read;
mod source;
#[cfg(test)]
mod tests;
mod validate;
mod walk;

pub use builder::{BatchBuilder, NewRecord};
pub use compression::{Codec, ZSTD_WINDOW_LOG_MAX};
pub use error::RecordsError;
pub use read::{Batches, Record, RecordHeader, RecordIter, first_at_or_after, records, seek};
pub use validate::{DECOMPRESSED_BYTES_MAX, Limits, ValidatedBatch, validate};
pub use walk::RecordPosition;
