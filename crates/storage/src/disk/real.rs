//! The real disk: `std::fs` for names, pwritev / fallocate / fdatasync / syncfs for bytes. Holds one open handle of
//! the data directory from the start, because `syncfs` reports only errors younger than the handle it is given.

use super::{DirEntry, Disk, DiskFile, FileWrite, direct};
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// Pieces that one `pwritev` takes (Linux: `IOV_MAX`).
const PIECES_PER_WRITE_MAX: usize = 1024;

/// Threads that write into many files: one alone waits for the disk most of its time (docs/decisions/0010).
const WRITERS: usize = 4;

/// Files for each of them: a few large ones keep the disk as busy from one thread.
const FILES_PER_WRITER: usize = 16;

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    handle: File,
    lock: Mutex<Option<File>>,
}

impl RealDisk {
    /// Uses `root` as data directory; makes it when it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let root = root.into();
        if !root.exists() {
            std::fs::create_dir_all(&root)?;
            let above = root.canonicalize()?;
            if let Some(parent) = above.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        RealDisk::existing(root)
    }

    /// Uses `root` as data directory, which must be there.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or what the system says.
    pub fn existing(root: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let root = root.into();
        let handle = File::open(&root)?;
        if !handle.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        Ok(RealDisk { root, handle, lock: Mutex::new(None) })
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        debug_assert!(!path.starts_with('/'));
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn open_buffered(&self, path: &str, options: &OpenOptions) -> io::Result<RealFile> {
        let file = options.open(self.at(path))?;
        Ok(RealFile { file, unbuffered: false, direct: AtomicBool::new(false) })
    }

    /// Past the page cache, where the file system can.
    fn open_direct(&self, path: &str, options: &OpenOptions) -> io::Result<RealFile> {
        match direct::open(&self.at(path), options)? {
            Some(file) => Ok(RealFile { file, unbuffered: true, direct: AtomicBool::new(true) }),
            None => self.open_buffered(path, options),
        }
    }
}

fn reading() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

fn writing() -> OpenOptions {
    let mut options = reading();
    options.write(true);
    options
}

fn making() -> OpenOptions {
    let mut options = writing();
    options.create(true).truncate(true);
    options
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create(&self, path: &str) -> io::Result<RealFile> {
        self.open_buffered(path, &making())
    }

    fn open(&self, path: &str) -> io::Result<RealFile> {
        self.open_buffered(path, &writing())
    }

    fn open_read(&self, path: &str) -> io::Result<RealFile> {
        self.open_buffered(path, &reading())
    }

    fn create_unbuffered(&self, path: &str) -> io::Result<RealFile> {
        self.open_direct(path, &making())
    }

    fn open_unbuffered(&self, path: &str) -> io::Result<RealFile> {
        self.open_direct(path, &writing())
    }

    fn open_read_unbuffered(&self, path: &str) -> io::Result<RealFile> {
        self.open_direct(path, &reading())
    }

    fn write_files(&self, writes: &[FileWrite<'_>]) -> io::Result<()> {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let write = || {
            while let Some(write) = writes.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = write.carry_out(self) {
                    next.store(writes.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..WRITERS.min(writes.len() / FILES_PER_WRITER) {
                // Without a further thread those that there are do it all.
                drop(Builder::new().name("segments".into()).spawn_scoped(scope, write));
            }
            write();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(path))
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.at(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.at(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.at(path))?.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.handle)?)
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.at(path))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a file name that is no UTF-8"));
            };
            entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.at(path).try_exists()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = rustix::fs::fstatvfs(&self.handle)?;
        Ok(state.f_bavail.saturating_mul(state.f_frsize))
    }

    fn lock(&self) -> io::Result<bool> {
        let mut held = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.is_some() {
            return Ok(false);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.at("lock"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                *held = Some(file);
                Ok(true)
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file of the machine's file system.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    /// Opened for whole commit units.
    unbuffered: bool,
    /// Goes past the page cache; no longer when the file system turns out to want larger units than ours.
    direct: AtomicBool,
}

impl RealFile {
    fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// The rest of this handle's life goes through the page cache.
    fn give_up_direct(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        rustix::fs::fcntl_setfl(&self.file, flags.difference(rustix::fs::OFlags::DIRECT))?;
        self.direct.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn read_buffered(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_vectored(&self, mut offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        for group in pieces.chunks(PIECES_PER_WRITE_MAX) {
            let mut owned: Vec<IoSlice<'_>> = group.to_vec();
            let mut rest: &mut [IoSlice<'_>] = &mut owned;
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        offset += count as u64;
                        IoSlice::advance_slices(&mut rest, count);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Writes aligned memory; past the page cache for as long as that works.
    fn write_direct(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.write_vectored(offset, &[IoSlice::new(bytes)]) {
            Err(error) if self.is_direct() && is_invalid(&error) => {
                self.give_up_direct()?;
                self.write_vectored(offset, &[IoSlice::new(bytes)])
            }
            other => other,
        }
    }
}

/// What the system says to direct transfers in units that it cannot do.
fn is_invalid(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_direct() {
            match direct::read(&self.file, offset, buffer) {
                Err(error) if is_invalid(&error) => self.give_up_direct()?,
                other => return other,
            }
        }
        self.read_buffered(offset, buffer)
    }

    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if !self.unbuffered {
            return self.write_vectored(offset, pieces);
        }
        let size: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        assert!(
            direct::is_whole(offset) && direct::is_whole(size),
            "an unbuffered file takes whole commit units"
        );
        direct::write_gathered(offset, pieces, |offset, bytes| self.write_direct(offset, bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // A file system without it (some network ones): real zeros behind what is there.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeros = vec![0; 1 << 20];
                let mut at = self.len()?;
                while at < len {
                    let count = (len - at).min(zeros.len() as u64);
                    self.write_at(at, &[IoSlice::new(&zeros[..count as usize])])?;
                    at += count;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
