//! A real disk whose un-synced bytes and names live in this process's memory only: `kill -9` of such a process *is* a
//! power cut. For the power-cut runs against the real node (a start flag), never for production: it is slow and holds
//! everything that was not synced in memory.
//!
//! Bytes: each file keeps its un-synced writes by 4 KiB page; reads see them; `sync_data` writes them through and syncs.
//! Names: the directory tree is kept in memory as the process sees it; a file that is made gets a hidden real name in
//! `.shim/` at once, and its own name when its directory is synced. What is in `.shim/` at a start was lost by the cut.
//! One leniency: syncing a directory also keeps the directories above it.

use super::{DirEntry, Disk, DiskFile, RealDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const HIDDEN: &str = ".shim";
const PAGE: usize = 4096;

/// The disk.
pub struct ShimDisk {
    real: Arc<RealDisk>,
    names: Arc<Mutex<Names>>,
}

#[derive(Default)]
struct Names {
    /// What this process sees.
    files: BTreeMap<String, Arc<Inode>>,
    directories: BTreeSet<String>,
    /// Real names whose files this process no longer sees, by directory, until that is synced.
    gone: BTreeSet<String>,
    gone_directories: BTreeSet<String>,
    hidden: u64,
}

struct Inode {
    state: Mutex<State>,
}

struct State {
    /// Where the synced bytes are.
    real_path: String,
    len: u64,
    allocated: u64,
    /// Un-synced pages.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    /// Bytes of the real file from here on do not count (it was cut).
    real_len: u64,
}

/// An open file.
pub struct ShimFile {
    real: Arc<RealDisk>,
    inode: Arc<Inode>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl ShimDisk {
    /// Puts the shim over a data directory. Nothing in it changes before the first file is made: it may be something else's.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(real: RealDisk) -> io::Result<ShimDisk> {
        let mut names = Names::default();
        let mut waiting = vec![String::new()];
        while let Some(directory) = waiting.pop() {
            for entry in real.list(&directory)? {
                let path =
                    if directory.is_empty() { entry.name } else { format!("{directory}/{}", entry.name) };
                if path == HIDDEN || path == "lock" {
                    continue;
                }
                if entry.is_dir {
                    names.directories.insert(path.clone());
                    waiting.push(path);
                } else {
                    let len = real.open_read(&path)?.len()?;
                    names.files.insert(path.clone(), Inode::new(path, len));
                }
            }
        }
        Ok(ShimDisk { real: Arc::new(real), names: Arc::new(Mutex::new(names)) })
    }

    /// Drops what an earlier process had not synced.
    fn clear_hidden(&self) -> io::Result<()> {
        self.real.create_dir_all(HIDDEN)?;
        for entry in self.real.list(HIDDEN)? {
            self.real.unlink(&format!("{HIDDEN}/{}", entry.name))?;
        }
        Ok(())
    }

    fn file(&self, inode: Arc<Inode>) -> ShimFile {
        ShimFile { real: self.real.clone(), inode }
    }

    fn open_inode(&self, path: &str) -> io::Result<ShimFile> {
        let inode = locked(&self.names).files.get(path).cloned().ok_or_else(not_found)?;
        Ok(self.file(inode))
    }

    /// Makes the real directory look as this process sees it.
    fn settle_names(&self, names: &mut Names, path: &str) -> io::Result<()> {
        let inside = |name: &&String| parent(name) == path;
        for directory in names.directories.iter().filter(inside) {
            self.real.create_dir_all(directory)?;
        }
        for (name, inode) in names.files.iter().filter(|(name, _)| inside(name)) {
            let mut state = locked(&inode.state);
            if state.real_path != *name {
                self.real.rename(&state.real_path, name)?;
                state.real_path = name.clone();
            }
            names.gone.remove(name);
        }
        for name in names.gone.iter().filter(inside).cloned().collect::<Vec<_>>() {
            match self.real.unlink(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(names.gone.remove(&name)),
            }
        }
        for name in names.gone_directories.iter().filter(inside).cloned().collect::<Vec<_>>() {
            let left = names.gone.iter().filter(|gone| parent(gone) == name).cloned().collect::<Vec<_>>();
            left.iter().for_each(|gone| drop(self.real.unlink(gone)));
            names.gone.retain(|gone| !left.contains(gone));
            match self.real.remove_dir(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(names.gone_directories.remove(&name)),
            }
        }
        self.real.sync_dir(path)
    }
}

impl Inode {
    fn new(real_path: String, len: u64) -> Arc<Inode> {
        let state = State { real_path, len, allocated: 0, pages: BTreeMap::new(), real_len: len };
        Arc::new(Inode { state: Mutex::new(state) })
    }
}

impl Disk for ShimDisk {
    type File = ShimFile;

    fn create(&self, path: &str) -> io::Result<ShimFile> {
        let mut names = locked(&self.names);
        if !parent(path).is_empty() && !names.directories.contains(parent(path)) {
            return Err(not_found());
        }
        if let Some(inode) = names.files.get(path).cloned() {
            let file = self.file(inode);
            file.set_len(0)?;
            return Ok(file);
        }
        if names.hidden == 0 {
            self.clear_hidden()?;
        }
        names.hidden += 1;
        let hidden = format!("{HIDDEN}/{}", names.hidden);
        self.real.create(&hidden)?;
        let inode = Inode::new(hidden, 0);
        names.files.insert(path.into(), inode.clone());
        Ok(self.file(inode))
    }

    fn open(&self, path: &str) -> io::Result<ShimFile> {
        self.open_inode(path)
    }

    fn open_read(&self, path: &str) -> io::Result<ShimFile> {
        self.open_inode(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        let inode = names.files.remove(from).ok_or_else(not_found)?;
        let replaced = names.files.insert(to.into(), inode.clone());
        let gone = [Some(&inode), replaced.as_ref()].into_iter().flatten();
        let gone: Vec<String> = gone.map(|inode| locked(&inode.state).real_path.clone()).collect();
        // The file itself moves when its new directory is synced; what it replaces goes then, too.
        names.gone.extend(gone.into_iter().skip(1).filter(|path| path != to));
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        let inode = names.files.remove(path).ok_or_else(not_found)?;
        let real_path = locked(&inode.state).real_path.clone();
        if parent(&real_path) == HIDDEN {
            return self.real.unlink(&real_path);
        }
        names.gone.insert(real_path);
        Ok(())
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        let mut at = path;
        while !at.is_empty() {
            names.directories.insert(at.into());
            names.gone_directories.remove(at);
            at = parent(at);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        if !names.directories.contains(path) {
            return Err(not_found());
        }
        if names.files.keys().chain(&names.directories).any(|name| parent(name) == path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        names.directories.remove(path);
        names.gone_directories.insert(path.into());
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        if !path.is_empty() && !names.directories.contains(path) {
            return Err(not_found());
        }
        // Real directories above must be there for the files in this one to have a place.
        if !path.is_empty() {
            self.real.create_dir_all(path)?;
        }
        self.settle_names(&mut names, path)
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut names = locked(&self.names);
        let inodes: Vec<_> = names.files.values().cloned().collect();
        for inode in inodes {
            self.file(inode).flush(false)?;
        }
        let directories: Vec<_> =
            std::iter::once(String::new()).chain(names.directories.iter().cloned()).collect();
        for directory in directories {
            self.settle_names(&mut names, &directory)?;
        }
        self.real.sync_all()
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let names = locked(&self.names);
        if !path.is_empty() && !names.directories.contains(path) {
            return Err(not_found());
        }
        let last = |name: &String| name.rsplit('/').next().unwrap_or_default().to_string();
        let files = names.files.keys().filter(|name| parent(name) == path);
        let directories = names.directories.iter().filter(|name| parent(name) == path);
        let mut entries: Vec<DirEntry> =
            files.map(|name| DirEntry { name: last(name), is_dir: false }).collect();
        entries.extend(directories.map(|name| DirEntry { name: last(name), is_dir: true }));
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let names = locked(&self.names);
        Ok(names.files.contains_key(path) || names.directories.contains(path))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.real.free_bytes()
    }

    fn lock(&self) -> io::Result<bool> {
        self.real.lock()
    }
}

impl ShimFile {
    /// Writes the un-synced pages through.
    fn flush(&self, sync: bool) -> io::Result<()> {
        let mut state = locked(&self.inode.state);
        let file = self.real.open(&state.real_path)?;
        if state.real_len < file.len()? {
            file.set_len(state.real_len)?;
        }
        if state.allocated > 0 {
            file.allocate(state.allocated.min(state.len))?;
        }
        let len = state.len;
        for (page, bytes) in std::mem::take(&mut state.pages) {
            let at = page * PAGE as u64;
            let count = PAGE.min(len.saturating_sub(at) as usize);
            file.write_at(at, &[IoSlice::new(&bytes[..count])])?;
        }
        file.set_len(len)?;
        (state.real_len, state.allocated) = (len, 0);
        if sync { file.sync_data() } else { Ok(()) }
    }

    /// The page as it is seen now.
    fn page(&self, state: &State, page: u64) -> io::Result<Box<[u8; PAGE]>> {
        if let Some(bytes) = state.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let mut bytes = Box::new([0; PAGE]);
        let at = page * PAGE as u64;
        let count = PAGE.min(state.real_len.saturating_sub(at) as usize);
        if count > 0 {
            self.real.open_read(&state.real_path)?.read_at(at, &mut bytes[..count])?;
        }
        Ok(bytes)
    }
}

impl DiskFile for ShimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = locked(&self.inode.state);
        let count = buffer.len().min(state.len.saturating_sub(offset) as usize);
        let buffer = &mut buffer[..count];
        buffer.fill(0);
        let from_real = count.min(state.real_len.saturating_sub(offset) as usize);
        if from_real > 0 {
            self.real.open_read(&state.real_path)?.read_at(offset, &mut buffer[..from_real])?;
        }
        let end = offset + count as u64;
        for (page, bytes) in state.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let at = page * PAGE as u64;
            let (from, to) = (at.max(offset), (at + PAGE as u64).min(end));
            let source = &bytes[(from - at) as usize..(to - at) as usize];
            buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let mut state = locked(&self.inode.state);
        let mut at = offset;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let (page, skip) = (at / PAGE as u64, at as usize % PAGE);
                let count = rest.len().min(PAGE - skip);
                let mut bytes = if count == PAGE { Box::new([0; PAGE]) } else { self.page(&state, page)? };
                bytes[skip..skip + count].copy_from_slice(&rest[..count]);
                state.pages.insert(page, bytes);
                at += count as u64;
                rest = &rest[count..];
            }
        }
        state.len = state.len.max(at);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.flush(true)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = locked(&self.inode.state);
        if len > state.len && len > self.real.free_bytes()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.len = state.len.max(len);
        state.allocated = state.allocated.max(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.inode.state).len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = locked(&self.inode.state);
        if len < state.len {
            state.pages.split_off(&len.div_ceil(PAGE as u64));
            let page = len / PAGE as u64;
            if !len.is_multiple_of(PAGE as u64) {
                let mut bytes = self.page(&state, page)?;
                bytes[len as usize % PAGE..].fill(0);
                state.pages.insert(page, bytes);
            }
            state.real_len = state.real_len.min(len);
        }
        state.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(root: &std::path::Path) -> ShimDisk {
        ShimDisk::new(RealDisk::new(root).expect("a directory")).expect("a shim")
    }

    #[test]
    fn what_was_not_synced_is_gone_with_the_process() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = over(root.path());
        disk.create_dir_all("a").expect("made");
        let file = disk.create("a/x").expect("made");
        file.write_at(0, &[IoSlice::new(b"one")]).expect("written");
        file.sync_data().expect("synced");
        assert!(!over(root.path()).exists("a/x").expect("asked"), "its name was not synced");
        let disk = over(root.path());
        disk.create_dir_all("a").expect("made");
        let file = disk.create("a/x").expect("made");
        file.write_at(0, &[IoSlice::new(b"one")]).expect("written");
        file.sync_data().expect("synced");
        disk.sync_dir("a").expect("synced");
        disk.sync_dir("").expect("synced");
        file.write_at(1, &[IoSlice::new(b"XYZ")]).expect("written");
        disk.rename("a/x", "a/y").expect("renamed");
        let mut bytes = [0; 8];
        assert_eq!(disk.open("a/y").expect("there").read_at(0, &mut bytes).expect("read"), 4);
        assert_eq!(&bytes[..4], b"oXYZ");
        let disk = over(root.path());
        assert!(!disk.exists("a/y").expect("asked"));
        assert_eq!(disk.open("a/x").expect("there").read_at(0, &mut bytes).expect("read"), 3);
        assert_eq!(&bytes[..3], b"one");
        disk.rename("a/x", "a/y").expect("renamed");
        disk.sync_dir("a").expect("synced");
        let disk = over(root.path());
        assert_eq!(disk.list("a").expect("listed").len(), 1);
        disk.unlink("a/y").expect("gone");
        assert!(over(root.path()).exists("a/y").expect("asked"), "its removal was not synced");
    }
}
