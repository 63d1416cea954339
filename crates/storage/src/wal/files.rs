//! WAL files by name: `wal/<epoch, 20 digits>.wal` hold commits, `wal/<number>.spare` wait to be used. A file gets its
//! `.wal` name only after its header is durable, so that a bad header under such a name is damage and never a torn start.

use crate::disk::{Disk, DiskFile};
use crate::layout::{ZEROS, read};
use crate::wal::format::{BadHeader, FILE_HEADER_BYTES, FileHeader, SHARD_ROW_BYTES};
use model::limits::COMMIT_ALIGN_BYTES;
use std::io::{self, IoSlice};

/// The directory of the WAL.
pub const DIRECTORY: &str = "wal";
/// Bytes zeroed at a time: writing into allocated but never written blocks costs a journal commit on each fsync.
pub const ZERO_STEP_BYTES: u64 = 1 << 20;

/// Path of the file with this epoch.
pub fn path(epoch: u64) -> String {
    format!("{DIRECTORY}/{epoch:020}.wal")
}

/// Path of a file that waits.
pub fn spare_path(number: u64) -> String {
    format!("{DIRECTORY}/{number}.spare")
}

/// What is in the directory.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Epochs, rising.
    pub epochs: Vec<u64>,
    /// Numbers of the spare files.
    pub spares: Vec<u64>,
    /// Names that belong to nobody.
    pub unknown: Vec<String>,
}

/// Lists the WAL directory; empty when there is none.
pub fn names<D: Disk>(disk: &D) -> io::Result<Names> {
    let mut names = Names::default();
    let entries = match disk.list(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        other => other?,
    };
    for entry in entries {
        let epoch = entry.name.strip_suffix(".wal").filter(|digits| digits.len() == 20);
        let spare = entry.name.strip_suffix(".spare");
        match (epoch.and_then(|digits| digits.parse().ok()), spare.and_then(|digits| digits.parse().ok())) {
            (Some(epoch), _) if !entry.is_dir => names.epochs.push(epoch),
            (_, Some(number)) if !entry.is_dir => names.spares.push(number),
            _ => names.unknown.push(entry.name),
        }
    }
    names.epochs.sort_unstable();
    names.spares.sort_unstable();
    Ok(names)
}

/// Reads a file's header, all of its table. Most tables end in the first commit unit.
pub fn read_header<F: DiskFile>(file: &F) -> io::Result<Result<FileHeader, BadHeader>> {
    let first = read(file, 0, COMMIT_ALIGN_BYTES)?;
    let size = match FileHeader::shard_count(&first) {
        Ok(count) => FILE_HEADER_BYTES + count * SHARD_ROW_BYTES,
        Err(bad) => return Ok(Err(bad)),
    };
    let whole = if size > COMMIT_ALIGN_BYTES { read(file, 0, size)? } else { first };
    Ok(FileHeader::decode(&whole))
}

/// A preallocated file that waits to be used.
#[derive(Debug)]
pub struct Spare {
    /// Part of its name.
    pub number: u64,
    /// Bytes allocated.
    pub size: u64,
    /// Bytes from the start that were written before: fsync is cheap there.
    pub zeroed: u64,
}

/// Writes zeros over `from..to` of a file, without fsync.
pub fn zero<F: DiskFile>(file: &F, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let step = (to - at).min(ZERO_STEP_BYTES);
        let whole = vec![IoSlice::new(&ZEROS); step as usize / ZEROS.len()];
        let rest = step as usize % ZEROS.len();
        file.write_at(at, &whole)?;
        if rest > 0 {
            file.write_at(at + step - rest as u64, &[IoSlice::new(&ZEROS[..rest])])?;
        }
        at += step;
    }
    Ok(())
}
