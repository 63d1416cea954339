//! Fixed fields of the on-disk structures: little endian, read with a bound on every access, written in order.

use bytes::{Bytes, BytesMut};
use model::Buffers;
use model::limits::COMMIT_ALIGN_BYTES;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use std::io::{self, IoSlice};

/// Version of every format in this room; a file with another one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// `size` rounded up to whole commit units.
pub fn padded(size: u64) -> u64 {
    size.next_multiple_of(COMMIT_ALIGN_BYTES as u64)
}

/// Zeros to pad with.
pub static ZEROS: [u8; COMMIT_ALIGN_BYTES] = [0; COMMIT_ALIGN_BYTES];

/// Reads fields one after the other; `None` once the bytes end.
#[derive(Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next eight bytes, signed.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

/// Closes a header: appends the CRC-32C of `out[from..]`.
pub fn seal(out: &mut Vec<u8>, from: usize) {
    let crc = model::checksum::crc32c(&out[from..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Whether `header` ends with the CRC-32C of what stands before.
pub fn is_sealed(header: &[u8]) -> bool {
    header
        .split_last_chunk::<4>()
        .is_some_and(|(body, crc)| model::checksum::crc32c(body) == u32::from_le_bytes(*crc))
}

/// Reads up to `size` bytes at `offset`; fewer only where the file ends. `size` must be bounded by the caller.
pub fn read<F: DiskFile>(file: &F, offset: u64, size: usize) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(size);
    let count = file.read_at(offset, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer.freeze())
}

/// Writes a small file anew, durable, in one step: aside, under `staged`, then it takes the name.
pub fn replace<D: Disk>(disk: &D, staged: &str, path: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(staged)?;
    file.write_at(0, &[IoSlice::new(bytes)])?;
    file.sync_data()?;
    disk.rename(staged, path)?;
    disk.sync_dir("")
}

/// Like `read`, taking the whole commit units around what is wanted into aligned memory of `buffers`: for files opened
/// unbuffered, where the bytes then come from the device without a copy.
pub fn read_units<F: DiskFile>(
    file: &F,
    offset: u64,
    size: usize,
    buffers: &Arc<Buffers>,
) -> io::Result<Bytes> {
    let unit = COMMIT_ALIGN_BYTES as u64;
    let start = offset - offset % unit;
    let wanted = padded(offset + size as u64 - start) as usize;
    let mut buffer = buffers.take(wanted + COMMIT_ALIGN_BYTES);
    let skip = buffer.as_ref().as_ptr().align_offset(COMMIT_ALIGN_BYTES).min(COMMIT_ALIGN_BYTES);
    let count = file.read_at(start, &mut buffer.as_mut()[skip..skip + wanted])?;
    let from = (offset - start) as usize;
    let bytes = Bytes::from_owner(buffer).slice(skip..skip + count);
    Ok(bytes.slice(from.min(count)..count.min(from + size)))
}
