//! Snappy: blocks in the framing of the Java library (a magic, two versions, then sized blocks), or one bare block as
//! some clients send. A block is decompressed whole; the format cannot grow data by more than a known factor, so that
//! a block's claimed size is checked against its compressed size before memory is taken.

use std::io::{self, Read};

use super::{Codec, Decompressor, broken};
use crate::records::RecordsError;

/// Start of the Java library's framing.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version, compatible version.
const XERIAL_HEADER_BYTES: usize = 16;
/// Version that we write; the lowest and the compatible one.
const XERIAL_VERSION: [u8; 4] = [0, 0, 0, 1];
/// Uncompressed bytes of a block that we write, as the Java library does.
const BLOCK_BYTES: usize = 32 << 10;
/// A copy of 64 bytes takes two bytes or more: no block grows by more than this factor (and a few bytes).
const GROWTH_MAX: usize = 32;

pub(super) struct Snappy<'a> {
    rest: &'a [u8],
    framed: bool,
    bytes_max: usize,
    block: Vec<u8>,
    at: usize,
    library: snap::raw::Decoder,
}

pub(super) fn decompressor(compressed: &[u8], bytes_max: usize) -> Result<Snappy<'_>, RecordsError> {
    let framed = compressed.starts_with(&XERIAL_MAGIC);
    let rest = if framed {
        compressed
            .get(XERIAL_HEADER_BYTES..)
            .ok_or_else(|| broken(Codec::Snappy, "framing header ends early"))?
    } else {
        compressed
    };
    Ok(Snappy { rest, framed, bytes_max, block: Vec::new(), at: 0, library: snap::raw::Decoder::new() })
}

impl Snappy<'_> {
    /// Decompresses the next block; false when there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let compressed = if self.framed {
            let early = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let (size, rest) = self.rest.split_first_chunk::<4>().ok_or_else(early)?;
            let size = u32::from_be_bytes(*size) as usize;
            let block = rest.get(..size).ok_or_else(early)?;
            self.rest = &rest[size..];
            block
        } else {
            std::mem::take(&mut self.rest)
        };
        let size = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
        if size > compressed.len().saturating_mul(GROWTH_MAX) {
            return Err(io::Error::other("a block claims more than the format can hold"));
        }
        if size > self.bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.block.resize(size, 0);
        let written = self.library.decompress(compressed, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(written);
        self.at = 0;
        Ok(true)
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let size = out.len().min(self.block.len() - self.at);
        out[..size].copy_from_slice(&self.block[self.at..self.at + size]);
        self.at += size;
        Ok(size)
    }
}

impl Decompressor for Snappy<'_> {
    fn unread(&self) -> usize {
        self.rest.len()
    }
}

pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() / 2);
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSION);
    out.extend_from_slice(&XERIAL_VERSION);
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        let size = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}
