//! Bytes of a segment: a header that says whose it is, then blocks of whole record batches as readers see them. Each
//! block's checksum covers where it belongs as well as its bytes, because a producer's CRC leaves out offset and epoch
//! and stays valid on old content put back (rule 9).

use crate::layout::{FORMAT_VERSION, Fields, ZEROS, is_sealed, padded, seal};
use bytes::Bytes;
use model::limits::COMMIT_ALIGN_BYTES;
use model::{LeaderEpoch, Offset, PartitionId, StoredBatch, TopicId};
use std::io::IoSlice;

const MAGIC: u64 = u64::from_le_bytes(*b"SPSEGMNT");
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"SPBL");
/// Size of a segment's header, bytes.
pub const HEADER_BYTES: usize = 64;
/// Size of a block's header, bytes.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// A block is closed when it holds this many bytes of batches; a larger batch is a block of its own.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Batches up to this size are copied beside their header.
const COPIED_BATCH_BYTES_MAX: usize = 1024;

/// The start of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The partition.
    pub partition: PartitionId,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Sequence of the checkpoint that made the file: until that is durable, nobody refers to it.
    pub made_by: u64,
}

impl SegmentHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.partition.index.to_le_bytes());
        out.extend_from_slice(&self.partition.topic.0);
        out.extend_from_slice(&self.base_offset.0.to_le_bytes());
        out.extend_from_slice(&self.made_by.to_le_bytes());
        out.resize(from + HEADER_BYTES - 4, 0);
        seal(out, from);
    }

    /// Reads a header.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, String> {
        let raw = bytes.get(..HEADER_BYTES).ok_or("shorter than a header")?;
        let mut fields = Fields::new(raw);
        if fields.u64() != Some(MAGIC) || !is_sealed(raw) {
            return Err("bad segment header".into());
        }
        match fields.u32() {
            Some(FORMAT_VERSION) => {}
            other => return Err(format!("format version {} is unknown", other.unwrap_or(0))),
        }
        let mut header = || {
            let index = i32::from_le_bytes(fields.array()?);
            let partition = PartitionId { topic: TopicId(fields.array()?), index };
            Some(SegmentHeader { partition, base_offset: Offset(fields.i64()?), made_by: fields.u64()? })
        };
        header().ok_or_else(|| "bad segment header".into())
    }
}

/// The start of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Bytes of batches behind the header.
    pub size: u32,
    /// Offset of the first record.
    pub first_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Largest timestamp, ms.
    pub max_timestamp: i64,
    /// Number of batches.
    pub batch_count: u32,
    /// CRC-32C over partition, segment and batches.
    pub body_crc: u32,
    /// Where in the file the block stands.
    pub position: u64,
    /// Leader epoch of the first batch.
    pub leader_epoch: LeaderEpoch,
}

impl BlockHeader {
    fn write(&self, out: &mut [u8]) {
        let mut raw = Vec::with_capacity(BLOCK_HEADER_BYTES);
        raw.extend_from_slice(&BLOCK_MAGIC.to_le_bytes());
        raw.extend_from_slice(&self.size.to_le_bytes());
        raw.extend_from_slice(&self.first_offset.0.to_le_bytes());
        raw.extend_from_slice(&self.last_offset.0.to_le_bytes());
        raw.extend_from_slice(&self.max_timestamp.to_le_bytes());
        raw.extend_from_slice(&self.batch_count.to_le_bytes());
        raw.extend_from_slice(&self.body_crc.to_le_bytes());
        raw.extend_from_slice(&self.position.to_le_bytes());
        raw.extend_from_slice(&self.leader_epoch.0.to_le_bytes());
        raw.resize(BLOCK_HEADER_BYTES - 4, 0);
        seal(&mut raw, 0);
        out.copy_from_slice(&raw);
    }

    /// Reads the header of the block at `position`; `None` when no block begins there.
    pub fn decode(bytes: &[u8], position: u64) -> Option<BlockHeader> {
        let raw = bytes.get(..BLOCK_HEADER_BYTES)?;
        let mut fields = Fields::new(raw);
        if fields.u32()? != BLOCK_MAGIC || !is_sealed(raw) {
            return None;
        }
        let header = BlockHeader {
            size: fields.u32()?,
            first_offset: Offset(fields.i64()?),
            last_offset: Offset(fields.i64()?),
            max_timestamp: fields.i64()?,
            batch_count: fields.u32()?,
            body_crc: fields.u32()?,
            position: fields.u64()?,
            leader_epoch: LeaderEpoch(fields.u32()?.cast_signed()),
        };
        let ordered = header.first_offset <= header.last_offset && header.last_offset.0 < i64::MAX;
        (header.position == position && ordered).then_some(header)
    }
}

/// CRC-32C of what a block belongs to; its batches' bytes are appended.
fn crc_of_place(partition: PartitionId, base_offset: Offset) -> u32 {
    let crc = model::checksum::crc32c(&partition.topic.0);
    let crc = model::checksum::crc32c_append(crc, &partition.index.to_le_bytes());
    model::checksum::crc32c_append(crc, &base_offset.0.to_le_bytes())
}

/// Checks a block's bytes and cuts them into batches, which share them.
///
/// # Errors
/// What is wrong, for a person.
pub fn decode_block(
    partition: PartitionId,
    base_offset: Offset,
    header: &BlockHeader,
    body: &Bytes,
    verify: bool,
) -> Result<Vec<StoredBatch>, &'static str> {
    if body.len() != header.size as usize {
        return Err("the file ends inside a block");
    }
    if verify && model::checksum::crc32c_append(crc_of_place(partition, base_offset), body) != header.body_crc
    {
        return Err("bad block checksum");
    }
    let mut batches = Vec::new();
    let mut at = 0;
    let mut next = header.first_offset;
    while at < body.len() {
        let size = model::BatchHeader::read(&body[at..]).and_then(|batch| batch.size());
        let end = size.and_then(|size| at.checked_add(size)).filter(|end| *end <= body.len());
        let batch =
            end.and_then(|end| StoredBatch::from_log(body.slice(at..end))).ok_or("not a whole batch")?;
        if verify && batch.base_offset != next {
            return Err("offsets do not follow each other");
        }
        next = batch.next_offset();
        at += batch.size();
        batches.push(batch);
    }
    let whole = batches.len() == header.batch_count as usize && next == header.last_offset.plus(1);
    if verify && !whole { Err("a block without all its batches") } else { Ok(batches) }
}

/// A stretch of blocks ready to be written at one position: copied bytes, and the large batches that go in between.
#[derive(Debug)]
pub struct Stretch {
    place_crc: u32,
    start: u64,
    at: u64,
    copied: Vec<u8>,
    pieces: Vec<(usize, Bytes)>,
    open: Option<(usize, BlockHeader)>,
    /// Headers of the blocks, in order.
    pub blocks: Vec<BlockHeader>,
}

impl Stretch {
    /// Begins at `start`, a whole sector (0 writes the segment's header first).
    pub fn new(segment: SegmentHeader, start: u64) -> Stretch {
        assert_eq!(padded(start), start, "a stretch begins with a sector");
        let mut copied = Vec::new();
        if start == 0 {
            segment.encode(&mut copied);
        }
        let place_crc = crc_of_place(segment.partition, segment.base_offset);
        let at = start + copied.len() as u64;
        Stretch { place_crc, start, at, copied, pieces: Vec::new(), open: None, blocks: Vec::new() }
    }

    /// Goes on without a gap where another stretch ended: at `start`, a whole sector, with the `head` of it that is written already.
    pub fn behind(segment: SegmentHeader, (start, head): (u64, Vec<u8>)) -> Stretch {
        let mut stretch = Stretch::new(segment, start);
        if start > 0 || !head.is_empty() {
            (stretch.at, stretch.copied) = (start + head.len() as u64, head);
        }
        stretch
    }

    /// Where `behind` goes on, once finished.
    pub fn end(&self) -> (u64, Vec<u8>) {
        let start = self.at - self.at % COMMIT_ALIGN_BYTES as u64;
        let mut head = vec![0; (self.at - start) as usize];
        let mut left = head.len();
        let slices = self.slices();
        let (_padding, bytes) = slices.split_last().expect("the padding is always there");
        for slice in bytes.iter().rev() {
            let count = slice.len().min(left);
            head[left - count..left].copy_from_slice(&slice[slice.len() - count..]);
            left -= count;
        }
        (start, head)
    }

    /// Adds a batch.
    pub fn push(&mut self, batch: &StoredBatch) {
        let full =
            self.open.as_ref().is_some_and(|(_, block)| block.size as usize + batch.size() > BLOCK_BYTES);
        if full {
            self.close();
        }
        if self.open.is_none() {
            let header = BlockHeader {
                size: 0,
                first_offset: batch.base_offset,
                last_offset: batch.base_offset,
                max_timestamp: batch.max_timestamp,
                batch_count: 0,
                body_crc: self.place_crc,
                position: self.at,
                leader_epoch: batch.leader_epoch,
            };
            self.open = Some((self.copied.len(), header));
            self.copied.resize(self.copied.len() + BLOCK_HEADER_BYTES, 0);
            self.at += BLOCK_HEADER_BYTES as u64;
        }
        let (_, block) = self.open.as_mut().expect("just opened");
        let (prefix, rest) = (batch.prefix(), batch.rest());
        block.body_crc =
            model::checksum::crc32c_append(model::checksum::crc32c_append(block.body_crc, &prefix), &rest);
        block.size += u32::try_from(batch.size()).expect("a batch is limited");
        block.last_offset = batch.last_offset();
        block.max_timestamp = block.max_timestamp.max(batch.max_timestamp);
        block.batch_count += 1;
        self.copied.extend_from_slice(&prefix);
        if rest.len() <= COPIED_BATCH_BYTES_MAX {
            self.copied.extend_from_slice(&rest);
        } else {
            self.pieces.push((self.copied.len(), rest));
        }
        self.at += batch.size() as u64;
    }

    /// The next batch begins a block.
    pub fn close(&mut self) {
        if let Some((place, header)) = self.open.take() {
            header.write(&mut self.copied[place..place + BLOCK_HEADER_BYTES]);
            self.blocks.push(header);
        }
    }

    /// Closes the last block and returns where the stretch ends: a whole sector.
    pub fn finish(&mut self) -> u64 {
        self.close();
        padded(self.at)
    }

    /// All bytes in order, padding included, once finished.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len() * 2 + 2);
        let mut at = 0;
        for (position, piece) in &self.pieces {
            slices.push(IoSlice::new(&self.copied[at..*position]));
            slices.push(IoSlice::new(piece));
            at = *position;
        }
        slices.push(IoSlice::new(&self.copied[at..]));
        slices.push(IoSlice::new(&ZEROS[..(padded(self.at) - self.at) as usize]));
        slices
    }

    /// Where it begins.
    pub fn start(&self) -> u64 {
        self.start
    }
}
