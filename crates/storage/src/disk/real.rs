//! The real disk: `std::fs` for names, pwritev / fallocate / fdatasync / syncfs for bytes. Holds one open handle of
//! the data directory from the start, because `syncfs` reports only errors younger than the handle it is given.

use super::{DirEntry, Disk, DiskFile};
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Pieces that one `pwritev` takes (Linux: `IOV_MAX`).
const PIECES_PER_WRITE_MAX: usize = 1024;

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
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create(&self, path: &str) -> io::Result<RealFile> {
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.at(path))?;
        Ok(RealFile(options))
    }

    fn open(&self, path: &str) -> io::Result<RealFile> {
        Ok(RealFile(OpenOptions::new().read(true).write(true).open(self.at(path))?))
    }

    fn open_read(&self, path: &str) -> io::Result<RealFile> {
        Ok(RealFile(File::open(self.at(path))?))
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
pub struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, mut offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        for group in pieces.chunks(PIECES_PER_WRITE_MAX) {
            let mut owned: Vec<IoSlice<'_>> = group.to_vec();
            let mut rest: &mut [IoSlice<'_>] = &mut owned;
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.0, rest, offset) {
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

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
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
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
