//! LZ4 frames. Blocks are at most 4 MiB by the format, which bounds memory; the old frame format with larger blocks is
//! refused, as Kafka does. We write independent blocks: Kafka's Java client refuses linked ones.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Codec, Decompressor, broken};
use crate::records::RecordsError;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAGS_AT: usize = 4;
const FLAG_DICTIONARY_ID: u8 = 1;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_BLOCK_CHECKSUM: u8 = 1 << 4;
/// Magic, flags, block descriptor and header checksum.
const HEADER_BYTES_MIN: usize = 7;
const CONTENT_SIZE_BYTES: usize = 8;
const DICTIONARY_ID_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// In a block's size: the block is not compressed.
const RAW_BLOCK: u32 = 1 << 31;

pub(super) struct Lz4<'a>(FrameDecoder<&'a [u8]>);

/// A frame that starts with the right magic and has an end mark: the library takes a missing one for the end.
pub(super) fn decompressor(compressed: &[u8]) -> Result<Lz4<'_>, RecordsError> {
    if !compressed.starts_with(&MAGIC) {
        return Err(broken(Codec::Lz4, "no LZ4 frame"));
    }
    if frame_end(compressed).is_none() {
        return Err(broken(Codec::Lz4, "no end mark"));
    }
    Ok(Lz4(FrameDecoder::new(compressed)))
}

/// Where the frame ends, going from block to block; `None` when it is cut off. Looking at the last bytes is not enough:
/// a block's own may be zeroes.
fn frame_end(frame: &[u8]) -> Option<usize> {
    let flags = *frame.get(FLAGS_AT)?;
    let when = |flag: u8, bytes: usize| if flags & flag != 0 { bytes } else { 0 };
    let mut at = HEADER_BYTES_MIN
        + when(FLAG_CONTENT_SIZE, CONTENT_SIZE_BYTES)
        + when(FLAG_DICTIONARY_ID, DICTIONARY_ID_BYTES);
    loop {
        let size = u32::from_le_bytes(*frame.get(at..)?.first_chunk()?);
        at += size_of::<u32>();
        if size == 0 {
            let end = at + when(FLAG_CONTENT_CHECKSUM, CHECKSUM_BYTES);
            return (end <= frame.len()).then_some(end);
        }
        at = at.checked_add((size & !RAW_BLOCK) as usize)? + when(FLAG_BLOCK_CHECKSUM, CHECKSUM_BYTES);
    }
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
