//! gzip (RFC 1952), one member. Its window is 32 KiB, so memory is bounded by the format.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::Decompressor;

pub(super) struct Gzip<'a>(GzDecoder<&'a [u8]>);

pub(super) fn decompressor(compressed: &[u8]) -> Gzip<'_> {
    Gzip(GzDecoder::new(compressed))
}

impl Read for Gzip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Decompressor for Gzip<'_> {
    fn unread(&self) -> usize {
        self.0.get_ref().len()
    }
}

pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}
