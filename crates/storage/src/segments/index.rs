//! Where the blocks of a segment are: by offset and by time. Built from the block headers; the `.idx` file beside a
//! segment only saves reading those. It is disposable: never synced, checked against the blocks, rebuilt when bad.

use crate::disk::{Disk, DiskFile, is_unreadable};
use crate::layout::{Fields, is_sealed, padded, read, seal};
use crate::segments::format::{BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES};
use bytes::Bytes;
use model::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};

const MAGIC: u64 = u64::from_le_bytes(*b"SPINDEX1");
/// Blocks that make an index file longer: 4 MiB of full blocks; fewer are read from the segment itself.
pub const CHUNK_BLOCKS: usize = 64;
const CHUNK_HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 32;
/// An index file longer than this is not read: the segment's own headers are.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes read at a time when walking headers.
const WALK_BYTES: usize = 4096;
/// Sectors of one segment that are passed by because they cannot be read: a device that gives up on one takes its time.
const UNREADABLE_MAX: usize = 16;

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Where its header begins.
    pub position: u64,
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Largest timestamp in it, ms.
    pub max_timestamp: i64,
    /// Bytes of batches.
    pub size: u32,
    /// Offset of its last record, from the first.
    pub last_delta: u32,
}

impl BlockPlace {
    /// Offset of its last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.first_offset.0.saturating_add(i64::from(self.last_delta)))
    }

    /// Position behind it.
    pub fn end(&self) -> u64 {
        self.position + BLOCK_HEADER_BYTES as u64 + u64::from(self.size)
    }

    /// From its header; `None` for a header that claims more records than a block can have.
    pub fn of(header: &BlockHeader) -> Option<BlockPlace> {
        Some(BlockPlace {
            position: header.position,
            first_offset: header.first_offset,
            max_timestamp: header.max_timestamp,
            size: header.size,
            last_delta: u32::try_from(header.last_offset.0.checked_sub(header.first_offset.0)?).ok()?,
        })
    }
}

/// Path of a segment's index.
pub fn path(partition: &PartitionId, base_offset: Offset) -> String {
    format!("{}/{:020}.idx", super::directory(partition), base_offset.0)
}

/// Adds blocks to an index file. A failure costs a later reader some time and nothing else, so it is not reported.
pub fn append<D: Disk>(disk: &D, partition: &PartitionId, base_offset: Offset, blocks: &[BlockHeader]) {
    let places: Vec<BlockPlace> = blocks.iter().filter_map(BlockPlace::of).collect();
    let path = path(partition, base_offset);
    let chunk = encode(&places);
    let _disposable = disk.open(&path).or_else(|_| disk.create(&path)).and_then(|file| {
        let at = file.len()?;
        file.write_at(at, &[IoSlice::new(&chunk)])
    });
}

fn encode(places: &[BlockPlace]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHUNK_HEADER_BYTES + places.len() * ENTRY_BYTES);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&(places.len() as u32).to_le_bytes());
    for place in places {
        out.extend_from_slice(&place.position.to_le_bytes());
        out.extend_from_slice(&place.first_offset.0.to_le_bytes());
        out.extend_from_slice(&place.max_timestamp.to_le_bytes());
        out.extend_from_slice(&place.size.to_le_bytes());
        out.extend_from_slice(&place.last_delta.to_le_bytes());
    }
    seal(&mut out, 0);
    out
}

/// Reads the chunks of an index file up to the first bad one.
fn decode(mut bytes: &[u8]) -> BTreeMap<u64, BlockPlace> {
    let mut places = BTreeMap::new();
    loop {
        let mut fields = Fields::new(bytes);
        let (Some(MAGIC), Some(count)) = (fields.u64(), fields.u32()) else { return places };
        let size = CHUNK_HEADER_BYTES + count as usize * ENTRY_BYTES;
        let Some(chunk) = bytes.get(..size).filter(|chunk| is_sealed(chunk)) else { return places };
        for _ in 0..count {
            let mut place = || {
                Some(BlockPlace {
                    position: fields.u64()?,
                    first_offset: Offset(fields.i64()?),
                    max_timestamp: fields.i64()?,
                    size: fields.u32()?,
                    last_delta: fields.u32()?,
                })
            };
            places.extend(place().map(|place| (place.position, place)));
        }
        bytes = &bytes[chunk.len()..];
    }
}

/// All blocks of one segment, as far as it was looked at.
#[derive(Debug)]
pub struct Index {
    places: Vec<BlockPlace>,
    upto: u64,
    hints: BTreeMap<u64, BlockPlace>,
}

impl Index {
    /// Starts with what the index file says; without one, with nothing.
    pub fn load<D: Disk>(disk: &D, partition: &PartitionId, base_offset: Offset) -> Index {
        let bytes = disk.open_read(&path(partition, base_offset)).and_then(|file| {
            let size = file.len()?.min(FILE_BYTES_MAX);
            read(&file, 0, size as usize)
        });
        let hints = bytes.map(|bytes| decode(&bytes)).unwrap_or_default();
        Index { places: Vec::new(), upto: HEADER_BYTES as u64, hints }
    }

    /// Without trust in any index file.
    pub fn rebuilt() -> Index {
        Index { places: Vec::new(), upto: HEADER_BYTES as u64, hints: BTreeMap::new() }
    }

    /// Goes on to `size`. Where no block begins, looks again at the next sector: the hole shows in the offsets.
    ///
    /// # Errors
    /// What the system says, of sectors that cannot be read only when they are many.
    pub fn extend<F: DiskFile>(&mut self, file: &F, size: u64) -> io::Result<()> {
        let mut window = Bytes::new();
        let (mut window_at, mut unreadable) = (0, 0);
        while self.upto < size {
            let at = self.upto;
            let place = match self.hints.remove(&at) {
                Some(place) => Some(place),
                None => {
                    let inside =
                        at >= window_at && at + BLOCK_HEADER_BYTES as u64 <= window_at + window.len() as u64;
                    if !inside {
                        // The sector behind the header's may be the one that cannot be read.
                        let walked =
                            read(file, at, WALK_BYTES).or_else(|_| read(file, at, BLOCK_HEADER_BYTES));
                        window = match walked {
                            Err(error) if is_unreadable(&error) && unreadable < UNREADABLE_MAX => {
                                unreadable += 1;
                                Bytes::new()
                            }
                            other => other?,
                        };
                        window_at = at;
                    }
                    let raw = window.get((at - window_at) as usize..).unwrap_or_default();
                    BlockHeader::decode(raw, at).as_ref().and_then(BlockPlace::of)
                }
            };
            let follows = |place: &BlockPlace| {
                place.end() <= size
                    && self.places.last().is_none_or(|last| last.last_offset() < place.first_offset)
            };
            match place.filter(follows) {
                Some(place) => {
                    self.upto = place.end();
                    self.places.push(place);
                }
                None => self.upto = padded(at + 1).min(size),
            }
        }
        self.hints.clear();
        Ok(())
    }

    /// The block that holds `offset`, by number.
    pub fn find(&self, offset: Offset) -> Option<usize> {
        let behind = self.places.partition_point(|place| place.first_offset <= offset);
        let number = behind.checked_sub(1)?;
        (offset <= self.places[number].last_offset()).then_some(number)
    }

    /// Where to look for the first record with a timestamp at or above `timestamp`: the first offset from `from` up to
    /// `end` whose block has one, or that no block is known to hold, for nobody knows what stood in a hole. `None` when
    /// all blocks are known and have none.
    pub fn first_since(&self, timestamp: i64, from: Offset, end: Offset) -> Option<Offset> {
        let mut next = from;
        let first = self.places.partition_point(|place| place.last_offset() < from);
        for place in self.from(first) {
            if place.first_offset > next || place.max_timestamp >= timestamp {
                break;
            }
            next = Offset(place.last_offset().0.saturating_add(1));
        }
        (next < end).then_some(next)
    }

    /// The blocks from a number on.
    pub fn from(&self, number: usize) -> &[BlockPlace] {
        self.places.get(number..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_up_to_the_first_bad_one() {
        let place = |n: u64| BlockPlace {
            position: n * 4096,
            first_offset: Offset(n as i64 * 10),
            max_timestamp: 5,
            size: 7,
            last_delta: 9,
        };
        let mut bytes = encode(&[place(1), place(2)]);
        let whole = bytes.len();
        bytes.extend(encode(&[place(3)]));
        assert_eq!(decode(&bytes).len(), 3);
        bytes[whole + 20] ^= 1;
        assert_eq!(decode(&bytes).into_values().collect::<Vec<_>>(), [place(1), place(2)]);
        assert!(decode(&bytes[..5]).is_empty());
    }
}
