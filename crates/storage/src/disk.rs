//! The disk as storage sees it: every call that can fail, tear or be lost goes through these two traits, so that the
//! real disk and the simulated one run the same code above. Paths are relative to the data directory, `/` between
//! names, no leading slash; `""` is the data directory itself.
//!
//! What survives what: after a *process* crash everything that a call returned from is there. After a *power* cut
//! only this is certain: file bytes and length as of the last `sync_data` of that file, names as of the last
//! `sync_dir` of their directory, and everything as of the last `sync_all`.

mod direct;
mod real;
pub mod shim;

pub use real::RealDisk;

use std::io::{self, IoSlice};

/// A directory tree. Shared by all storage threads.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Makes a file, or empties the one that is there; open for reading and writing. The name is durable after
    /// `sync_dir` of its directory.
    ///
    /// # Errors
    /// What the system says; `StorageFull` when there is no space: then nothing changed.
    fn create(&self, path: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, path: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading only: its `write_at`, `allocate` and `set_len` fail.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open_read(&self, path: &str) -> io::Result<Self::File>;

    /// Like `create`, for what is written once and in whole commit units (`COMMIT_ALIGN_BYTES`): `write_at` must keep to them.
    /// Bytes go past the page cache where the file system can, so that a record costs no copy there and pushes nothing out.
    ///
    /// # Errors
    /// As `create`.
    fn create_unbuffered(&self, path: &str) -> io::Result<Self::File> {
        self.create(path)
    }

    /// Like `open`, on the terms of `create_unbuffered`.
    ///
    /// # Errors
    /// As `open`.
    fn open_unbuffered(&self, path: &str) -> io::Result<Self::File> {
        self.open(path)
    }

    /// Like `open_read`, past the page cache where the file system can: reads of whole commit units are best.
    ///
    /// # Errors
    /// As `open_read`.
    fn open_read_unbuffered(&self, path: &str) -> io::Result<Self::File> {
        self.open_read(path)
    }

    /// Writes into several files, none of them twice, each on the terms of `create_unbuffered`; several at a time, where the disk
    /// gains by that.
    ///
    /// # Errors
    /// One of those that went wrong. Any of the files may have been made, emptied or written.
    fn write_files(&self, writes: &[FileWrite<'_>]) -> io::Result<()> {
        writes.iter().try_for_each(|write| write.carry_out(self).map(drop))
    }

    /// Gives a file or directory another name in one step; a file of that name is replaced. Durable after `sync_dir` of both
    /// directories. Open files stay open.
    ///
    /// # Errors
    /// What the system says; nothing changed then.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away. Open files stay readable.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn unlink(&self, path: &str) -> io::Result<()>;

    /// Makes a directory and those above it; no error when it is there. Each new one is durable after `sync_dir` of
    /// the directory that holds it.
    ///
    /// # Errors
    /// What the system says; some of the directories may have been made.
    fn create_dir_all(&self, path: &str) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty`, or what the system says.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Makes the names in this directory durable: creations, renames, removals.
    ///
    /// # Errors
    /// Any error means that the device must not be trusted again.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Makes every file and every name durable (Linux: `syncfs`).
    ///
    /// # Errors
    /// Any error, also of writes that happened since the disk was opened, means that the device must not be trusted again.
    fn sync_all(&self) -> io::Result<()>;

    /// What is in a directory, in the order of the names.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>>;

    /// Whether a file or directory of this name is there.
    ///
    /// # Errors
    /// What the system says, other than that it is not there.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Bytes that this process may still allocate.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Keeps other processes out of the data directory for as long as this disk lives (file `lock`); `false` when one
    /// is in. The lock goes with the process that holds it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self) -> io::Result<bool>;
}

/// Bytes for one file, in whole commit units.
#[derive(Debug)]
pub struct FileWrite<'a> {
    /// The file.
    pub path: String,
    /// It is made or emptied first; else it is there.
    pub is_new: bool,
    /// Where the bytes go.
    pub offset: u64,
    /// The bytes, one piece behind the other.
    pub pieces: Vec<IoSlice<'a>>,
}

impl FileWrite<'_> {
    /// Opens and writes; the handle, for a sync.
    ///
    /// # Errors
    /// What the system says.
    pub fn carry_out<D: Disk + ?Sized>(&self, disk: &D) -> io::Result<D::File> {
        let file =
            if self.is_new { disk.create_unbuffered(&self.path) } else { disk.open_unbuffered(&self.path) }?;
        file.write_at(self.offset, &self.pieces)?;
        Ok(file)
    }
}

/// An open file. Positions are explicit, so that one handle serves many threads.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset` on as far as the file reaches and says how many bytes that was.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all pieces one behind the other from `offset` on; grows the file when needed. Sectors may reach the
    /// disk in any order, or some of them never, until `sync_data`.
    ///
    /// # Errors
    /// Any part may have been written. `StorageFull` never comes for bytes that `allocate` reserved.
    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()>;

    /// Makes the file's bytes and length durable (Linux: `fdatasync`), not its name.
    ///
    /// # Errors
    /// Any error means that the device must not be trusted again: a second try may say yes and mean no.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space for the bytes `0..len`; the file is at least `len` long afterwards, new bytes read as zero
    /// (Linux: `fallocate`).
    ///
    /// # Errors
    /// `StorageFull`: the length is unchanged. Or what the system says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or lengthens (with zeros) the file.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last part of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Whether an error of a read says that the medium does not give its bytes back. That is damage like bytes that are wrong: others
/// have them. Every other error is the system's or the process's own trouble.
pub fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const OF_THE_MEDIUM: [Errno; 6] =
        [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::UCLEAN, Errno::BADMSG, Errno::REMOTEIO];
    OF_THE_MEDIUM.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether an error says that space ran out (also of a quota).
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
