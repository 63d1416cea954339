//! Reads record batches back: cut into batches, and each lazily into records (a client), or only as far as a timestamp
//! (the broker). Keys and values are slices of the batch, or of its decompressed copy, whose size is bounded.

use std::ops::ControlFlow;

use bytes::Bytes;
use model::BatchHeader;
use model::batch::{ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, HEADER_BYTES, crc_of};

use super::compression::{self, Consumed, Consumer};
use super::source::{SliceSource, Source};
use super::validate::split_header;
use super::walk::{RecordPosition, walk};
use super::{Codec, RecordsError};

/// Cuts fetched bytes into whole batches. A fetch may end inside a batch: the iteration ends there without an error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The batches of one partition in a fetch response.
    pub fn new(bytes: Bytes) -> Batches {
        Batches { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match split_header(&self.rest) {
            Ok((header, size)) => Some(Ok((header, self.rest.split_to(size)))),
            Err(error) => {
                self.rest.clear();
                match error {
                    RecordsError::BatchTruncated { .. } => None,
                    error => Some(Err(error)),
                }
            }
        }
    }
}

/// A record as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset in the partition.
    pub offset: i64,
    /// Timestamp, ms.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; keys may repeat.
    pub headers: Vec<RecordHeader>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Key; UTF-8 by convention.
    pub key: Bytes,
    /// Value.
    pub value: Option<Bytes>,
}

/// The records of one batch, one at a time; ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter {
    header: BatchHeader,
    body: Bytes,
    at: usize,
    index: i32,
}

/// Opens one whole batch: the checksum is compared, the records are decompressed if they must be, up to
/// `decompressed_bytes_max` bytes.
pub fn records(batch: &Bytes, decompressed_bytes_max: usize) -> Result<RecordIter, RecordsError> {
    let (header, size) = split_header(batch)?;
    let batch = batch.slice(..size);
    let computed = crc_of(&batch);
    if computed != header.crc {
        return Err(RecordsError::Checksum { computed, stated: header.crc });
    }
    let body = batch.slice(HEADER_BYTES..);
    let body = match Codec::from_attributes(header.attributes)? {
        Codec::None => body,
        codec => compression::stream(codec, &body, decompressed_bytes_max, Whole)?,
    };
    Ok(RecordIter { header, body, at: 0, index: 0 })
}

/// The first record of a whole, valid batch whose timestamp is `timestamp` or later.
pub fn first_at_or_after(
    batch: &Bytes,
    timestamp: i64,
    decompressed_bytes_max: usize,
) -> Result<Option<RecordPosition>, RecordsError> {
    seek(batch, timestamp, decompressed_bytes_max).map(|(found, _)| found)
}

/// As [`first_at_or_after`], with the bytes of records that were looked at: what the search has cost.
pub fn seek(
    batch: &Bytes,
    timestamp: i64,
    decompressed_bytes_max: usize,
) -> Result<(Option<RecordPosition>, usize), RecordsError> {
    let (header, size) = split_header(batch)?;
    if header.max_timestamp < timestamp {
        return Ok((None, 0));
    }
    if header.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
        return Ok((Some(RecordPosition { offset_delta: 0, timestamp: header.max_timestamp }), 0));
    }
    let body = &batch[HEADER_BYTES..size];
    let seek = Seek { header: &header, timestamp };
    match Codec::from_attributes(header.attributes)? {
        Codec::None => Ok(seek.consume(&mut SliceSource::new(body))?.output),
        codec => compression::stream(codec, body, decompressed_bytes_max, seek),
    }
}

/// Looks for the first record at or after a timestamp and stops there.
struct Seek<'a> {
    header: &'a BatchHeader,
    timestamp: i64,
}

impl Consumer for Seek<'_> {
    type Output = (Option<RecordPosition>, usize);

    fn consume<S: Source>(self, source: &mut S) -> Result<Consumed<Self::Output>, RecordsError> {
        let mut found = None;
        let complete = walk(self.header, source, |position, _| {
            if position.timestamp < self.timestamp {
                return ControlFlow::Continue(());
            }
            found = Some(position);
            ControlFlow::Break(())
        })?;
        Ok(Consumed { output: (found, source.position() as usize), complete })
    }
}

/// Keeps everything: for a client that wants the records themselves.
struct Whole;

impl Consumer for Whole {
    type Output = Bytes;

    fn consume<S: Source>(self, source: &mut S) -> Result<Consumed<Bytes>, RecordsError> {
        let mut whole = Vec::new();
        loop {
            let window = source.window()?;
            if window.is_empty() {
                break;
            }
            whole.extend_from_slice(window);
            let passed = window.len();
            source.skip(passed)?;
        }
        Ok(Consumed { output: whole.into(), complete: true })
    }
}

impl RecordIter {
    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Whether the batch is a transaction's marker and not user data.
    pub fn is_control(&self) -> bool {
        self.header.attributes & ATTRIBUTE_CONTROL != 0
    }

    fn error(&self, why: &'static str) -> RecordsError {
        RecordsError::Record { index: self.index, why }
    }

    fn varint(&mut self) -> Result<i64, RecordsError> {
        let mut raw: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.body.get(self.at).ok_or(self.error("records end early"))?;
            self.at += 1;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(self.error("a number is too long"))
    }

    fn bytes(&mut self) -> Result<Option<Bytes>, RecordsError> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.error("a length is negative"))?;
        if length > self.body.len() - self.at {
            return Err(self.error("a field passes the end of the records"));
        }
        let bytes = self.body.slice(self.at..self.at + length);
        self.at += length;
        Ok(Some(bytes))
    }

    fn record(&mut self) -> Result<Record, RecordsError> {
        let size = self.varint()?;
        let end = usize::try_from(size).ok().and_then(|size| size.checked_add(self.at));
        let end = end.filter(|end| *end <= self.body.len()).ok_or(self.error("size passes the records"))?;
        self.at += 1; // attributes: none are defined
        let timestamp_delta = self.varint()?;
        let offset_delta = self.varint()?;
        let key = self.bytes()?;
        let value = self.bytes()?;
        let count = usize::try_from(self.varint()?).map_err(|_| self.error("header count is negative"))?;
        // A header takes two bytes or more.
        if count > (self.body.len() - self.at) / 2 {
            return Err(self.error("header count passes the records"));
        }
        let mut headers = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let key = self.bytes()?.ok_or(self.error("header key is null"))?;
            headers.push(RecordHeader { key, value: self.bytes()? });
        }
        if self.at != end {
            return Err(self.error("fields disagree with the record's size"));
        }
        let index = self.index;
        self.index += 1;
        let timestamp = if self.header.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
            self.header.max_timestamp
        } else {
            self.header
                .base_timestamp
                .checked_add(timestamp_delta)
                .ok_or(RecordsError::Timestamp { index })?
        };
        let offset = self.header.base_offset.checked_add(offset_delta);
        let offset = offset.ok_or(self.error("offset delta is out of range"))?;
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.records_count {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.index = self.header.records_count;
        }
        Some(record)
    }
}
