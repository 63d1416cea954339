//! LZ4 frames. Blocks are at most 4 MiB by the format, which bounds memory; the old frame format with larger blocks is
//! refused, as Kafka does. We write independent blocks: Kafka's Java client refuses linked ones.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Codec, Decompressor, broken};
use crate::records::RecordsError;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAGS_AT: usize = 4;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const END_MARK: [u8; 4] = [0; 4];
const CHECKSUM_BYTES: usize = 4;

pub(super) struct Lz4<'a>(FrameDecoder<&'a [u8]>);

/// A frame that starts with the right magic and ends with an end mark: the library takes a missing one for the end.
pub(super) fn decompressor(compressed: &[u8]) -> Result<Lz4<'_>, RecordsError> {
    if !compressed.starts_with(&MAGIC) {
        return Err(broken(Codec::Lz4, "no LZ4 frame"));
    }
    let flags = *compressed.get(FLAGS_AT).ok_or_else(|| broken(Codec::Lz4, "no frame header"))?;
    let checksum = if flags & FLAG_CONTENT_CHECKSUM != 0 { CHECKSUM_BYTES } else { 0 };
    let body = compressed.len().checked_sub(checksum).and_then(|end| compressed.get(FLAGS_AT..end));
    if !body.is_some_and(|body| body.ends_with(&END_MARK)) {
        return Err(broken(Codec::Lz4, "no end mark"));
    }
    Ok(Lz4(FrameDecoder::new(compressed)))
}

impl Read for Lz4<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Decompressor for Lz4<'_> {
    fn unread(&self) -> usize {
        self.0.get_ref().len()
    }
}

pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes)?;
    encoder.finish().map_err(io::Error::other)
}
