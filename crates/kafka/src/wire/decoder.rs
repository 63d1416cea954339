//! Reads Kafka's primitive encodings from one shared buffer. Nothing is allocated for a length that the rest of the
//! buffer cannot hold, and the lists of one message have a common memory limit. Bytes and texts are slices of the buffer.

use bytes::Bytes;

use super::{DecodeError, Str, Uuid};

/// Memory that the lists of one message may take once decoded, bytes. A small frame can claim structs that are many
/// times larger in memory than on the wire; this bounds the product. 64 MiB hold metadata of about 500,000 partitions.
pub const ELEMENT_MEMORY_MAX: usize = 64 << 20;

/// Tagged fields in one struct. Kafka's own schemas use tags below 10; strangers' tags are skipped one by one.
pub const TAGGED_FIELDS_MAX: u32 = 1024;

/// Bytes of one text: what the older encodings can express, and Kafka's limit in all of them.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Elements reserved before the first one is decoded; the rest of a longer list when these turned out to be real.
const RESERVED_ELEMENTS_MAX: usize = 1024;

/// A cursor over the bytes of one message.
#[derive(Debug)]
pub struct Decoder {
    bytes: Bytes,
    at: usize,
    end: usize,
    element_memory_left: usize,
}

impl Decoder {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: Bytes) -> Decoder {
        let end = bytes.len();
        Decoder { bytes, at: 0, end, element_memory_left: ELEMENT_MEMORY_MAX }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Checks that everything was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    fn need(&self, needed: usize) -> Result<(), DecodeError> {
        if needed > self.remaining() {
            return Err(DecodeError::Truncated { needed, remaining: self.remaining() });
        }
        Ok(())
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(DecodeError::Truncated { needed: N, remaining: self.remaining() }),
        }
    }

    /// A byte that is a flag; any value but zero is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.fixed::<1>()? != [0])
    }

    /// One signed byte.
    pub fn int8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    /// Two bytes, signed.
    pub fn int16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    /// Two bytes, unsigned.
    pub fn uint16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    /// Four bytes, signed.
    pub fn int32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// Eight bytes, signed.
    pub fn int64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    /// Eight bytes, floating point.
    pub fn float64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.fixed()?))
    }

    /// An id.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.fixed()?))
    }

    /// An unsigned variable-length number of at most five bytes and 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// A compact length: the number on the wire is one more, zero means null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn length(raw: i64) -> Result<Option<usize>, DecodeError> {
        match raw {
            -1 => Ok(None),
            raw if raw < 0 => Err(DecodeError::NegativeLength(raw)),
            raw => Ok(Some(raw as usize)),
        }
    }

    fn take(&mut self, size: usize) -> Result<Bytes, DecodeError> {
        self.need(size)?;
        let taken = self.bytes.slice(self.at..self.at + size);
        self.at += size;
        Ok(taken)
    }

    /// A text or null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str>, DecodeError> {
        let length = if flexible { self.compact_length()? } else { Self::length(self.int16()?.into())? };
        let Some(length) = length else { return Ok(None) };
        if length == 0 {
            return Ok(Some(Str::default()));
        }
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::TextTooLong(length));
        }
        Str::from_utf8(self.take(length)?).map(Some)
    }

    /// A text.
    pub fn string(&mut self, flexible: bool) -> Result<Str, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let length = if flexible { self.compact_length()? } else { Self::length(self.int32()?.into())? };
        length.map(|length| self.take(length)).transpose()
    }

    /// Bytes.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// A list or null. `element_size_min` is the fewest bytes that one element takes, at least 1.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_size_min: usize,
        mut element: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let count = if flexible { self.compact_length()? } else { Self::length(self.int32()?.into())? };
        let Some(count) = count else { return Ok(None) };
        if count > self.remaining() / element_size_min.max(1) {
            return Err(DecodeError::ListTooLong { count, remaining: self.remaining() });
        }
        let memory = count.saturating_mul(size_of::<T>());
        self.element_memory_left =
            self.element_memory_left.checked_sub(memory).ok_or(DecodeError::TooManyElements)?;
        let mut list = Vec::with_capacity(count.min(RESERVED_ELEMENTS_MAX));
        for index in 0..count {
            if index == RESERVED_ELEMENTS_MAX {
                list.reserve_exact(count - index);
            }
            list.push(element(self)?);
        }
        Ok(Some(list))
    }

    /// A list.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_size_min: usize,
        element: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, element_size_min, element)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// A struct behind a presence byte: -1 for null, 1 for present.
    pub fn nullable_struct<T>(
        &mut self,
        value: impl FnOnce(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.int8()? {
            -1 => Ok(None),
            1 => value(self).map(Some),
            other => Err(DecodeError::Presence(other)),
        }
    }

    /// The tagged fields at the end of a flexible struct. `known` reads the field of a tag and says whether it knows
    /// it; a field it does not know is skipped, one it knows must fill its stated size.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Decoder, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        if count > TAGGED_FIELDS_MAX {
            return Err(DecodeError::TooManyTaggedFields(count));
        }
        let mut before = None;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if let Some(before) = before.filter(|before| tag <= *before) {
                return Err(DecodeError::TagOrder { tag, before });
            }
            before = Some(tag);
            let size = self.unsigned_varint()? as usize;
            self.need(size)?;
            let outer_end = self.end;
            self.end = self.at + size;
            if known(self, tag)? {
                if self.remaining() != 0 {
                    return Err(DecodeError::TaggedFieldSize { tag, left: self.remaining() });
                }
            } else {
                self.at = self.end;
            }
            self.end = outer_end;
        }
        Ok(())
    }

    /// Skips the tagged fields of a struct that defines none.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}
