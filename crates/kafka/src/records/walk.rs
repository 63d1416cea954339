//! The walk over the records of one batch, number by number: counts, offset deltas, sizes and timestamps are checked,
//! keys and values are passed over. Nothing is kept but a position.

use std::ops::ControlFlow;

use model::BatchHeader;

use super::RecordsError;
use super::source::Source;

/// Where a record stands: its offset within the batch and its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPosition {
    /// Offset relative to the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp, ms.
    pub timestamp: i64,
}

/// Walks the `header.records_count` records of `source` and hands each position to `visit`, with whether the
/// record has a key; it may stop the walk. True when all records were seen; the source then stands behind the last one.
pub(super) fn walk<S: Source>(
    header: &BatchHeader,
    source: &mut S,
    mut visit: impl FnMut(RecordPosition, bool) -> ControlFlow<()>,
) -> Result<bool, RecordsError> {
    for index in 0..header.records_count {
        let (position, has_key) = record(header, source, index)?;
        if visit(position, has_key).is_break() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The record being read: where it ends, and what to say when it does not add up.
struct Cursor<'a, S> {
    source: &'a mut S,
    index: i32,
    end: u64,
}

fn record<S: Source>(
    header: &BatchHeader,
    source: &mut S,
    index: i32,
) -> Result<(RecordPosition, bool), RecordsError> {
    let mut cursor = Cursor { source, index, end: u64::MAX };
    let size = cursor.length()?.ok_or_else(|| cursor.error("size is negative"))?;
    cursor.end = cursor.source.position() + size as u64;
    cursor.byte()?; // attributes: none are defined
    let timestamp_delta = cursor.varint(10)?;
    let offset_delta = cursor.varint32()?;
    if offset_delta != index {
        return Err(cursor.error("offset deltas are not dense"));
    }
    let timestamp =
        header.base_timestamp.checked_add(timestamp_delta).ok_or(RecordsError::Timestamp { index })?;
    let key = cursor.length()?;
    cursor.skip(key.unwrap_or(0))?;
    let value = cursor.length()?;
    cursor.skip(value.unwrap_or(0))?;
    let header_count = cursor.length()?.ok_or_else(|| cursor.error("header count is negative"))?;
    for _ in 0..header_count {
        let key = cursor.length()?.ok_or_else(|| cursor.error("header key is null"))?;
        cursor.skip(key)?;
        let value = cursor.length()?;
        cursor.skip(value.unwrap_or(0))?;
    }
    if cursor.source.position() != cursor.end {
        return Err(cursor.error("fields are shorter than the record"));
    }
    Ok((RecordPosition { offset_delta, timestamp }, key.is_some()))
}

impl<S: Source> Cursor<'_, S> {
    #[cold]
    fn error(&self, why: &'static str) -> RecordsError {
        RecordsError::Record { index: self.index, why }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordsError> {
        if self.source.position() >= self.end {
            return Err(self.error("fields pass the record's end"));
        }
        match self.source.byte()? {
            Some(byte) => Ok(byte),
            None => Err(self.error("records end early")),
        }
    }

    fn skip(&mut self, count: usize) -> Result<(), RecordsError> {
        if count as u64 > self.end - self.source.position() {
            return Err(self.error("a field passes the record's end"));
        }
        match self.source.skip(count)? {
            true => Ok(()),
            false => Err(self.error("records end early")),
        }
    }

    /// A zigzag number of at most `bytes_max` bytes and 64 bits.
    #[inline(always)]
    fn varint(&mut self, bytes_max: u32) -> Result<i64, RecordsError> {
        let first = self.byte()?;
        let mut raw = u64::from(first & 0x7f);
        if first & 0x80 == 0 {
            return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
        for at in 1..bytes_max {
            let byte = self.byte()?;
            if at == 9 && byte > 1 {
                break;
            }
            raw |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(self.error("a number is too long"))
    }

    #[inline]
    fn varint32(&mut self) -> Result<i32, RecordsError> {
        let wide = self.varint(5)?;
        i32::try_from(wide).map_err(|_| self.error("a number is out of range"))
    }

    /// A length; -1 is `None`.
    #[inline]
    fn length(&mut self) -> Result<Option<usize>, RecordsError> {
        match self.varint32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(self.error("a length is negative")),
            },
        }
    }
}
