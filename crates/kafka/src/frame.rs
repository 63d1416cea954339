//! Frames: a four-byte size and a message behind it, and the headers at the message's start. The first stop of a
//! request's bytes and the last of a response's. A size is judged before a byte is kept for it, and memory grows with
//! the bytes that came, not with the size that was claimed.

use bytes::{Buf, Bytes, BytesMut};
use model::{Buffer, Buffers};
use std::sync::Arc;
use thiserror::Error;

use crate::message::request_header::RequestHeader;
use crate::message::response_header::ResponseHeader;
use crate::message::{ApiKey, Message, Request};
use crate::wire::{DecodeError, Decoder, EncodeError, Encoder, Segments, Str};

/// Bytes of the size prefix.
pub const SIZE_BYTES: usize = 4;

/// Largest frame, bytes (Kafka: `socket.request.max.bytes`).
pub const FRAME_BYTES_MAX: usize = model::limits::REQUEST_BYTES_MAX;

/// Room made for a frame whose bytes have not come yet, bytes. It doubles as they do.
const RESERVED_BYTES_MIN: usize = 4 << 10;
/// Who sent so many bytes of a frame gets room for `RESERVED_FACTOR` times as many at once: each new room copies what came.
const RESERVED_FAST_BYTES: usize = 64 << 10;
/// See `RESERVED_FAST_BYTES`.
const RESERVED_FACTOR: usize = 16;
/// Frames from here on go into buffers that are used again.
const LARGE_FRAME_BYTES: usize = 256 << 10;

/// Why the byte stream holds no frame. The connection cannot go on: where the next frame starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The size is below zero.
    #[error("frame size {0} is negative")]
    Negative(i32),
    /// The size is zero.
    #[error("frame size is zero")]
    Empty,
    /// The size is above the limit.
    #[error("frame of {size} bytes is above the limit of {max}")]
    TooLarge {
        /// Size claimed, bytes.
        size: usize,
        /// Limit, bytes.
        max: usize,
    },
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    buffers: Option<Arc<Buffers>>,
    large: Option<Large>,
    /// Size of the last large frame: who sent it may send another, and gets room for it at once.
    large_bytes_last: usize,
}

/// A large frame under way.
#[derive(Debug)]
struct Large {
    memory: Buffer,
    came: usize,
    size: usize,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader::new(FRAME_BYTES_MAX)
    }
}

impl FrameReader {
    /// A reader that refuses frames above `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> FrameReader {
        FrameReader {
            buffer: BytesMut::new(),
            frame_bytes_max,
            buffers: None,
            large: None,
            large_bytes_last: 0,
        }
    }

    /// Large frames go into these: the driver then asks for [`Self::room`] before each read.
    #[must_use]
    pub fn with_buffers(self, buffers: Arc<Buffers>) -> FrameReader {
        FrameReader { buffers: Some(buffers), ..self }
    }

    /// Changes the limit, as after authentication.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Where a driver reads into while a large frame is under way; say with [`Self::came`] how much it was.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        let (large, buffers) = (self.large.as_mut()?, self.buffers.as_ref()?);
        let length = large.memory.as_ref().len();
        if large.came == length && length < large.size {
            let mut memory = buffers.take(large.size.min(large.came * RESERVED_FACTOR));
            memory.as_mut()[..large.came].copy_from_slice(large.memory.as_ref());
            large.memory = memory;
        }
        let end = large.memory.as_ref().len().min(large.size);
        Some(&mut large.memory.as_mut()[large.came..end])
    }

    /// So many bytes of [`Self::room`] are filled now; call [`Self::next_frame`] then.
    pub fn came(&mut self, count: usize) {
        let large = self.large.as_mut().expect("there was room for a large frame");
        large.came += count;
        assert!(large.came <= large.size, "no more than there was room for");
    }

    /// Where a driver reads into otherwise; call [`Self::next_frame`] after each read.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Adds bytes that came while no large frame is under way.
    pub fn feed(&mut self, bytes: &[u8]) {
        assert!(self.large.is_none(), "a large frame's bytes go into its room");
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that came and belong to no complete frame yet.
    pub fn buffered(&self) -> usize {
        self.large.as_ref().map_or(self.buffer.len(), |large| SIZE_BYTES + large.came)
    }

    /// The next whole frame without its size; `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(large) = self.large.take_if(|large| large.came == large.size) {
            self.large_bytes_last = large.size;
            return Ok(Some(Bytes::from_owner(large.memory).slice(..large.size)));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let Some(prefix) = self.buffer.first_chunk::<SIZE_BYTES>() else {
            return Ok(None);
        };
        let size = match i32::from_be_bytes(*prefix) {
            0 => return Err(FrameError::Empty),
            raw if raw < 0 => return Err(FrameError::Negative(raw)),
            raw => raw as usize,
        };
        if size > self.frame_bytes_max {
            return Err(FrameError::TooLarge { size, max: self.frame_bytes_max });
        }
        let whole = SIZE_BYTES + size;
        if self.buffer.len() < whole {
            let missing = whole - self.buffer.len();
            let came = self.buffer.len();
            if let Some(buffers) = self.buffers.as_ref()
                && size >= LARGE_FRAME_BYTES
                && came >= RESERVED_FAST_BYTES
            {
                let room = (came * RESERVED_FACTOR).max(self.large_bytes_last);
                let mut memory = buffers.take(size.min(room));
                let came = came - SIZE_BYTES;
                memory.as_mut()[..came].copy_from_slice(&self.buffer[SIZE_BYTES..]);
                self.buffer = BytesMut::new();
                self.large = Some(Large { memory, came, size });
                return Ok(None);
            }
            let factor = if came >= RESERVED_FAST_BYTES { RESERVED_FACTOR } else { 1 };
            self.buffer.reserve(missing.min((came * factor).max(RESERVED_BYTES_MIN)));
            return Ok(None);
        }
        self.buffer.advance(SIZE_BYTES);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }
}

/// Reads the header of a request; `buf` then stands at the body. The API key decides the header's version.
pub fn decode_request_header(buf: &mut Decoder) -> Result<(ApiKey, RequestHeader), DecodeError> {
    let request_api_key = buf.int16()?;
    let key = ApiKey::from_code(request_api_key).ok_or(DecodeError::UnknownApiKey(request_api_key))?;
    let request_api_version = buf.int16()?;
    let correlation_id = buf.int32()?;
    let mut header =
        RequestHeader { request_api_key, request_api_version, correlation_id, ..RequestHeader::default() };
    let header_version = key.request_header_version(request_api_version);
    if header_version >= 1 {
        // Never compact: a broker must be able to read it before it knows the version.
        header.client_id = buf.nullable_string(false)?;
    }
    if header_version >= 2 {
        buf.skip_tagged_fields()?;
    }
    Ok((key, header))
}

/// A whole request frame.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
) -> Result<Segments, EncodeError> {
    let mut out = Encoder::framed();
    let header = RequestHeader {
        request_api_key: R::KEY.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    header.encode(&mut out, R::KEY.request_header_version(version))?;
    request.encode(&mut out, version)?;
    out.finish_frame()
}

/// A whole response frame; `body` writes what follows the header.
pub fn encode_response(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Result<Segments, EncodeError> {
    let mut out = Encoder::framed();
    ResponseHeader { correlation_id }.encode(&mut out, key.response_header_version(version))?;
    body(&mut out)?;
    out.finish_frame()
}

/// Reads a response frame to its end: correlation id and body.
pub fn decode_response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut buf = Decoder::new(frame);
    let header = ResponseHeader::decode(&mut buf, R::KEY.response_header_version(version))?;
    let body = <R::Response as Message>::decode(&mut buf, version)?;
    buf.finish()?;
    Ok((header.correlation_id, body))
}

#[cfg(test)]
mod tests;
