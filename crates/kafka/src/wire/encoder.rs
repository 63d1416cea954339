//! Writes Kafka's primitive encodings as a list of segments: small values gather in one growing buffer, large byte
//! values are kept by reference, so that a fetch response goes out in one vectored write and no payload is copied.

use bytes::{BufMut, Bytes, BytesMut};

use super::decoder::STRING_BYTES_MAX;
use super::{EncodeError, Records, Str, Uuid};

/// Byte values of this size and more are kept by reference, bytes. Below it a copy costs less than one more segment.
pub const REFERENCE_SIZE_MIN: usize = 1024;

/// Bytes of a frame's size prefix.
const FRAME_PREFIX_BYTES: usize = 4;

/// Room made at the start of a frame, bytes: most answers fit.
const FRAME_RESERVED_BYTES: usize = 512;

/// An encoded message as pieces to be written in order.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    pieces: Vec<Bytes>,
    size: usize,
}

impl Segments {
    /// Bytes in all pieces.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The pieces in order, owned.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// The bytes in one buffer; copies when there is more than one piece.
    pub fn into_contiguous(mut self) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces.remove(0),
            _ => self.pieces.concat().into(),
        }
    }
}

/// Gathers one message.
#[derive(Debug, Default)]
pub struct Encoder {
    /// Pieces that are complete.
    done: Vec<Bytes>,
    /// Bytes in `done`.
    done_size: usize,
    /// The piece that grows.
    open: BytesMut,
    /// Whether four bytes at the very start wait for the frame's size.
    framed: bool,
}

impl Encoder {
    /// An encoder for a bare message.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// An encoder for a frame: [`Encoder::finish_frame`] fills in the size prefix.
    pub fn framed() -> Encoder {
        let mut encoder = Encoder { framed: true, ..Encoder::default() };
        encoder.open.reserve(FRAME_RESERVED_BYTES);
        encoder.open.put_bytes(0, FRAME_PREFIX_BYTES);
        encoder
    }

    /// Bytes written so far, a frame's prefix included.
    pub fn size(&self) -> usize {
        self.done_size + self.open.len()
    }

    /// The bare message.
    ///
    /// # Panics
    /// When the encoder was made for a frame.
    pub fn finish(mut self) -> Segments {
        assert!(!self.framed, "a frame ends with finish_frame");
        self.close();
        Segments { size: self.done_size, pieces: self.done }
    }

    /// The frame, its size prefix filled in; an error when it is beyond 2 GiB.
    ///
    /// # Panics
    /// When the encoder was not made for a frame.
    pub fn finish_frame(mut self) -> Result<Segments, EncodeError> {
        assert!(self.framed, "a frame starts with framed");
        let size = self.size() - FRAME_PREFIX_BYTES;
        let prefix = i32::try_from(size).map_err(|_| EncodeError::TooLong(size))?.to_be_bytes();
        match self.done.first_mut() {
            // The first piece shares its allocation with the one that grows: a copy, but of less than what large
            // payloads leave between them.
            Some(first) => {
                let mut copy = BytesMut::from(&first[..]);
                copy[..FRAME_PREFIX_BYTES].copy_from_slice(&prefix);
                *first = copy.freeze();
            }
            None => self.open[..FRAME_PREFIX_BYTES].copy_from_slice(&prefix),
        }
        self.close();
        Ok(Segments { size: self.done_size, pieces: self.done })
    }

    /// Completes the piece that grows.
    fn close(&mut self) {
        if !self.open.is_empty() {
            let piece = self.open.split().freeze();
            self.done_size += piece.len();
            self.done.push(piece);
        }
    }

    /// Writes bytes, by reference when they are large.
    pub fn raw(&mut self, bytes: &Bytes) {
        if bytes.len() < REFERENCE_SIZE_MIN {
            self.open.put_slice(bytes);
            return;
        }
        self.close();
        self.done_size += bytes.len();
        self.done.push(bytes.clone());
    }

    /// A flag.
    pub fn bool(&mut self, value: bool) {
        self.open.put_u8(u8::from(value));
    }

    /// One signed byte.
    pub fn int8(&mut self, value: i8) {
        self.open.put_i8(value);
    }

    /// Two bytes, signed.
    pub fn int16(&mut self, value: i16) {
        self.open.put_i16(value);
    }

    /// Two bytes, unsigned.
    pub fn uint16(&mut self, value: u16) {
        self.open.put_u16(value);
    }

    /// Four bytes, signed.
    pub fn int32(&mut self, value: i32) {
        self.open.put_i32(value);
    }

    /// Eight bytes, signed.
    pub fn int64(&mut self, value: i64) {
        self.open.put_i64(value);
    }

    /// Eight bytes, floating point.
    pub fn float64(&mut self, value: f64) {
        self.open.put_f64(value);
    }

    /// An id.
    pub fn uuid(&mut self, value: Uuid) {
        self.open.put_slice(&value.0);
    }

    /// An unsigned variable-length number.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.open.put_u8((value as u8) | 0x80);
            value >>= 7;
        }
        self.open.put_u8(value as u8);
    }

    /// A length that is one more on the wire, zero for null.
    fn compact_length(&mut self, length: Option<usize>) -> Result<(), EncodeError> {
        let raw = match length {
            None => 0,
            Some(length) => i32::try_from(length).map_err(|_| EncodeError::TooLong(length))? as u32 + 1,
        };
        self.unsigned_varint(raw);
        Ok(())
    }

    fn length32(&mut self, length: Option<usize>) -> Result<(), EncodeError> {
        let raw = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?,
        };
        self.int32(raw);
        Ok(())
    }

    /// A text or null.
    pub fn nullable_string(&mut self, value: Option<&Str>, flexible: bool) -> Result<(), EncodeError> {
        let length = value.map(|value| value.len());
        if let Some(length) = length.filter(|length| *length > STRING_BYTES_MAX) {
            return Err(EncodeError::TooLong(length));
        }
        if flexible {
            self.compact_length(length)?;
        } else {
            self.int16(length.map_or(-1, |length| length as i16));
        }
        if let Some(value) = value {
            self.open.put_slice(value.as_bytes());
        }
        Ok(())
    }

    /// A text.
    pub fn string(&mut self, value: &Str, flexible: bool) -> Result<(), EncodeError> {
        self.nullable_string(Some(value), flexible)
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, value: Option<&Bytes>, flexible: bool) -> Result<(), EncodeError> {
        self.nullable_array_len(value.map(Bytes::len), flexible)?;
        if let Some(value) = value {
            self.raw(value);
        }
        Ok(())
    }

    /// Bytes.
    pub fn bytes(&mut self, value: &Bytes, flexible: bool) -> Result<(), EncodeError> {
        self.nullable_bytes(Some(value), flexible)
    }

    /// Record batches or null.
    pub fn nullable_records(&mut self, value: Option<&Records>, flexible: bool) -> Result<(), EncodeError> {
        self.nullable_array_len(value.map(Records::size), flexible)?;
        for piece in value.iter().flat_map(|records| records.pieces()) {
            self.raw(piece);
        }
        Ok(())
    }

    /// Length of a list or null.
    pub fn nullable_array_len(&mut self, len: Option<usize>, flexible: bool) -> Result<(), EncodeError> {
        if flexible { self.compact_length(len) } else { self.length32(len) }
    }

    /// Length of a list.
    pub fn array_len(&mut self, len: usize, flexible: bool) -> Result<(), EncodeError> {
        self.nullable_array_len(Some(len), flexible)
    }

    /// A struct behind a presence byte: -1 for null, 1 for present.
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Encoder, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            None => {
                self.int8(-1);
                Ok(())
            }
            Some(value) => {
                self.int8(1);
                write(self, value)
            }
        }
    }

    /// The end of a flexible struct without tagged fields.
    pub fn no_tagged_fields(&mut self) {
        self.open.put_u8(0);
    }

    /// The end of a flexible struct.
    pub fn tagged_fields(&mut self, fields: TaggedFields) -> Result<(), EncodeError> {
        self.unsigned_varint(fields.0.len() as u32);
        for (tag, content) in fields.0 {
            self.unsigned_varint(tag);
            let size = content.size();
            self.unsigned_varint(u32::try_from(size).map_err(|_| EncodeError::TooLong(size))?);
            for piece in content.pieces() {
                self.raw(piece);
            }
        }
        Ok(())
    }
}

/// Tagged fields that differ from their defaults, by ascending tag.
#[derive(Debug, Default)]
pub struct TaggedFields(Vec<(u32, Segments)>);

impl TaggedFields {
    /// Adds the field that `write` writes.
    ///
    /// # Panics
    /// When `tag` is not above the last one.
    pub fn add(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        assert!(self.0.last().is_none_or(|(last, _)| *last < tag), "tags ascend");
        let mut out = Encoder::new();
        write(&mut out)?;
        self.0.push((tag, out.finish()));
        Ok(())
    }
}
