//! Builds record batches for our own client, the simulations and the tests.

use bytes::Bytes;
use model::BatchHeader;
use model::batch::{ATTRIBUTE_TRANSACTIONAL, HEADER_BYTES, LENGTH_END, crc_of};

use super::validate::{MAGIC, write_header};
use super::{Codec, RecordsError};

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Timestamp, ms.
    pub timestamp: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order; keys may repeat.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Gathers the records of one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Codec,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(codec: Codec) -> BatchBuilder {
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: codec as i16,
            last_offset_delta: -1,
            base_timestamp: 0,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records_count: 0,
        };
        BatchBuilder { header, codec, records: Vec::new(), scratch: Vec::new() }
    }

    /// Sets the idempotent producer and the sequence of the first record.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = producer_epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.header.attributes |= ATTRIBUTE_TRANSACTIONAL;
        self
    }

    /// Sets the first record's offset, as in a log.
    pub fn base_offset(mut self, base_offset: i64) -> BatchBuilder {
        self.header.base_offset = base_offset;
        self
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.header.records_count
    }

    /// Bytes so far, before compression.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, record: &NewRecord) {
        let header = &mut self.header;
        if header.records_count == 0 {
            header.base_timestamp = record.timestamp;
            header.max_timestamp = record.timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(record.timestamp);
        let body = &mut self.scratch;
        body.clear();
        body.push(0);
        put_varint(body, record.timestamp.wrapping_sub(header.base_timestamp));
        put_varint(body, header.records_count.into());
        put_bytes(body, record.key);
        put_bytes(body, record.value);
        put_varint(body, record.headers.len() as i64);
        for (key, value) in record.headers {
            put_bytes(body, Some(key.as_bytes()));
            put_bytes(body, *value);
        }
        put_varint(&mut self.records, body.len() as i64);
        self.records.extend_from_slice(body);
        header.last_offset_delta += 1;
        header.records_count += 1;
    }

    /// The batch, compressed and with its checksum.
    pub fn build(self) -> Result<Bytes, RecordsError> {
        let BatchBuilder { mut header, codec, records, .. } = self;
        if header.records_count == 0 {
            return Err(RecordsError::Empty);
        }
        let broken =
            |e: std::io::Error| RecordsError::Compression { codec: codec.name(), why: e.to_string() };
        let body = codec.compress(records).map_err(broken)?;
        let mut batch = Vec::with_capacity(HEADER_BYTES + body.len());
        batch.resize(HEADER_BYTES, 0);
        batch.extend_from_slice(&body);
        let size = batch.len() - LENGTH_END;
        header.batch_length =
            i32::try_from(size).map_err(|_| RecordsError::BatchTooLarge { size, max: i32::MAX as usize })?;
        write_header(&mut batch, &header);
        header.crc = crc_of(&batch);
        write_header(&mut batch, &header);
        Ok(batch.into())
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// A zigzag variable-length number.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}
