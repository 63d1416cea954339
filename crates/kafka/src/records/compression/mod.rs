//! Codecs of record batches: one file each, all as bounded streams on the way in.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::Read;

use super::RecordsError;
use super::source::{Source, StreamSource};

pub use self::zstd::WINDOW_LOG_MAX as ZSTD_WINDOW_LOG_MAX;

/// How the records of a batch are compressed; the numbers are the attribute bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, with the framing of the Java library or bare.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec that batch attributes name.
    pub fn from_attributes(attributes: i16) -> Result<Codec, RecordsError> {
        match attributes & model::batch::ATTRIBUTE_CODEC_MASK {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            other => Err(RecordsError::Codec(other)),
        }
    }

    /// Kafka's name (`compression.type`).
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec with this name of Kafka's.
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Compresses the records of one batch.
    pub(super) fn compress(self, records: Vec<u8>) -> std::io::Result<Vec<u8>> {
        match self {
            Codec::None => Ok(records),
            Codec::Gzip => gzip::compress(&records),
            Codec::Snappy => snappy::compress(&records),
            Codec::Lz4 => lz4::compress(&records),
            Codec::Zstd => zstd::compress(&records),
        }
    }
}

/// A stream of decompressed bytes over one compressed block.
pub(super) trait Decompressor: Read {
    /// Compressed bytes that were not needed.
    fn unread(&self) -> usize;
}

/// What is done with decompressed bytes, whichever codec they come from.
pub(super) trait Consumer {
    /// Result.
    type Output;

    /// Reads the source; standing behind its last byte is checked by the caller when `complete` says so.
    fn consume<S: Source>(self, source: &mut S) -> Result<Consumed<Self::Output>, RecordsError>;
}

/// What a consumer gives back.
pub(super) struct Consumed<T> {
    /// Result.
    pub(super) output: T,
    /// Whether it read to where the data must end.
    pub(super) complete: bool,
}

/// Streams `compressed` through the decompressor of `codec`, at most `bytes_max` decompressed bytes.
///
/// # Panics
/// For [`Codec::None`], which is no stream.
pub(super) fn stream<C: Consumer>(
    codec: Codec,
    compressed: &[u8],
    bytes_max: usize,
    consumer: C,
) -> Result<C::Output, RecordsError> {
    match codec {
        Codec::None => panic!("uncompressed records are walked in place"),
        Codec::Gzip => run(codec, gzip::decompressor(compressed), bytes_max, consumer),
        Codec::Snappy => run(codec, snappy::decompressor(compressed, bytes_max)?, bytes_max, consumer),
        Codec::Lz4 => run(codec, lz4::decompressor(compressed)?, bytes_max, consumer),
        Codec::Zstd => run(codec, zstd::decompressor(compressed)?, bytes_max, consumer),
    }
}

fn run<D: Decompressor, C: Consumer>(
    codec: Codec,
    decompressor: D,
    bytes_max: usize,
    consumer: C,
) -> Result<C::Output, RecordsError> {
    let mut source = StreamSource::new(codec.name(), decompressor, bytes_max);
    let consumed = consumer.consume(&mut source)?;
    // The read that finds the end also makes the decompressor check its trailer.
    if consumed.complete && (source.byte()?.is_some() || source.inner().unread() > 0) {
        return Err(RecordsError::TrailingBytes);
    }
    Ok(consumed.output)
}

/// Error of a decompressor that is not an I/O error.
fn broken(codec: Codec, why: impl std::fmt::Display) -> RecordsError {
    RecordsError::Compression { codec: codec.name(), why: why.to_string() }
}
