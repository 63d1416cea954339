//! Zstandard, one frame or several. The window, which a frame's header chooses and a decompressor must allocate, is
//! capped.

use std::io::{self, Read};

use super::{Codec, Decompressor, broken};
use crate::records::RecordsError;

/// Largest window of a frame, as a power of two: 8 MiB, what the format asks every decompressor to support. Levels up to
/// 19 stay within it.
pub const WINDOW_LOG_MAX: u32 = 23;

/// What our own client compresses with; Kafka's default level too.
const LEVEL: i32 = 3;

pub(super) struct Zstd<'a>(zstd::stream::read::Decoder<'static, &'a [u8]>);

pub(super) fn decompressor(compressed: &[u8]) -> Result<Zstd<'_>, RecordsError> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(compressed).map_err(|e| broken(Codec::Zstd, e))?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|e| broken(Codec::Zstd, e))?;
    Ok(Zstd(decoder))
}

impl Read for Zstd<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Decompressor for Zstd<'_> {
    fn unread(&self) -> usize {
        self.0.get_ref().len()
    }
}

pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, LEVEL)
}
