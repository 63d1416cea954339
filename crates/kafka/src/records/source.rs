//! Where the bytes of records come from: a slice, or a decompressor that is read through a small window and stopped at
//! a limit. The walk over records is the same for both.

use std::io::{ErrorKind, Read};

use super::RecordsError;

/// Bytes of decompressed data held at a time.
const WINDOW_BYTES: usize = 16 << 10;

/// A stream of bytes that can be read and skipped.
pub(super) trait Source {
    /// The next byte; `None` at the end.
    fn byte(&mut self) -> Result<Option<u8>, RecordsError>;

    /// Passes over `count` bytes; false when fewer are left.
    fn skip(&mut self, count: usize) -> Result<bool, RecordsError>;

    /// The bytes that can be had without another step; empty only at the end. They are passed with [`Self::skip`].
    fn window(&mut self) -> Result<&[u8], RecordsError>;

    /// Bytes passed so far.
    fn position(&self) -> u64;
}

/// Bytes in memory.
pub(super) struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SliceSource<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> SliceSource<'a> {
        SliceSource { bytes, at: 0 }
    }
}

impl Source for SliceSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<Option<u8>, RecordsError> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<bool, RecordsError> {
        if count > self.bytes.len() - self.at {
            return Ok(false);
        }
        self.at += count;
        Ok(true)
    }

    fn window(&mut self) -> Result<&[u8], RecordsError> {
        Ok(&self.bytes[self.at..])
    }

    fn position(&self) -> u64 {
        self.at as u64
    }
}

/// Bytes that a decompressor gives, at most `bytes_max` of them.
pub(super) struct StreamSource<R> {
    codec: &'static str,
    inner: R,
    window: Box<[u8]>,
    start: usize,
    end: usize,
    passed: u64,
    bytes_max: usize,
}

impl<R: Read> StreamSource<R> {
    pub(super) fn new(codec: &'static str, inner: R, bytes_max: usize) -> StreamSource<R> {
        let window = vec![0; WINDOW_BYTES].into_boxed_slice();
        StreamSource { codec, inner, window, start: 0, end: 0, passed: 0, bytes_max }
    }

    pub(super) fn inner(&self) -> &R {
        &self.inner
    }

    /// Refills an empty window; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, RecordsError> {
        let read = loop {
            match self.inner.read(&mut self.window) {
                Ok(read) => break read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::FileTooLarge => {
                    return Err(RecordsError::DecompressedTooLarge(self.bytes_max));
                }
                Err(e) => return Err(RecordsError::Compression { codec: self.codec, why: e.to_string() }),
            }
        };
        self.start = 0;
        self.end = read;
        if self.passed + read as u64 > self.bytes_max as u64 {
            return Err(RecordsError::DecompressedTooLarge(self.bytes_max));
        }
        Ok(read > 0)
    }
}

impl<R: Read> Source for StreamSource<R> {
    #[inline]
    fn byte(&mut self) -> Result<Option<u8>, RecordsError> {
        if self.start == self.end && !self.fill()? {
            return Ok(None);
        }
        let byte = self.window[self.start];
        self.start += 1;
        self.passed += 1;
        Ok(Some(byte))
    }

    fn skip(&mut self, mut count: usize) -> Result<bool, RecordsError> {
        while count > 0 {
            if self.start == self.end && !self.fill()? {
                return Ok(false);
            }
            let step = count.min(self.end - self.start);
            self.start += step;
            self.passed += step as u64;
            count -= step;
        }
        Ok(true)
    }

    fn window(&mut self) -> Result<&[u8], RecordsError> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(&self.window[self.start..self.end])
    }

    fn position(&self) -> u64 {
        self.passed
    }
}
