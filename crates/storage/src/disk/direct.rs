//! Reading and writing past the page cache (`O_DIRECT`): positions, lengths and memory must be whole sectors, which this file
//! sees to. What every record is written with: without it each byte is copied into the page cache twice, and pages that
//! nobody reads push out those that somebody does (docs/decisions/0006).

use model::limits::COMMIT_ALIGN_BYTES;
use rustix::fs::OFlags;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes gathered for one write, and read at a time into memory that is not aligned.
const BOUNCE_BYTES: usize = 1 << 20;

thread_local! {
    static BOUNCE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Opens past the page cache; `None`: this file system has no such thing.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<Option<File>> {
    match options.clone().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a position or a length is whole commit units.
pub fn is_whole(bytes: u64) -> bool {
    bytes.is_multiple_of(COMMIT_ALIGN_BYTES as u64)
}

/// Where in `memory` the first aligned byte is; `memory` must be a commit unit longer than what is needed.
fn aligned(memory: &[u8]) -> usize {
    let skip = memory.as_ptr().align_offset(COMMIT_ALIGN_BYTES);
    assert!(skip < COMMIT_ALIGN_BYTES, "bytes can be aligned");
    skip
}

fn with_bounce<T>(body: impl FnOnce(&mut [u8]) -> T) -> T {
    BOUNCE.with_borrow_mut(|memory| {
        if memory.is_empty() {
            memory.resize(BOUNCE_BYTES + COMMIT_ALIGN_BYTES, 0);
        }
        let skip = aligned(memory);
        body(&mut memory[skip..skip + BOUNCE_BYTES])
    })
}

/// Gathers pieces that together are whole commit units, and hands them to `write` in aligned memory.
pub fn write_gathered(
    mut offset: u64,
    pieces: &[IoSlice<'_>],
    mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    with_bounce(|memory| {
        let mut held = 0;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let count = rest.len().min(memory.len() - held);
                memory[held..held + count].copy_from_slice(&rest[..count]);
                held += count;
                rest = &rest[count..];
                if held == memory.len() {
                    write(offset, memory)?;
                    offset += held as u64;
                    held = 0;
                }
            }
        }
        if held > 0 { write(offset, &memory[..held]) } else { Ok(()) }
    })
}

/// Reads as far as the file reaches, through aligned memory where `buffer` is not.
pub fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let is_aligned = buffer.as_ptr().align_offset(COMMIT_ALIGN_BYTES) == 0;
    if is_aligned && is_whole(offset) && is_whole(buffer.len() as u64) {
        return read_whole(file, offset, buffer);
    }
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        let start = at - at % COMMIT_ALIGN_BYTES as u64;
        let skip = (at - start) as usize;
        let wanted = (skip + buffer.len() - done).next_multiple_of(COMMIT_ALIGN_BYTES);
        let (count, whole) = with_bounce(|memory| {
            let wanted = wanted.min(memory.len());
            let got = read_whole(file, start, &mut memory[..wanted])?;
            let count = got.saturating_sub(skip).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&memory[skip..skip + count]);
            io::Result::Ok((count, got == wanted))
        })?;
        done += count;
        if !whole {
            break;
        }
    }
    Ok(done)
}

fn read_whole(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    // A count that is not whole is the file's end.
    while done < buffer.len() && is_whole(done as u64) {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
