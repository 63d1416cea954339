//! A disk in memory that keeps apart what is visible and what is durable, can fail at any call, and can be cut off:
//! un-synced sectors and names are then kept, lost or (sectors) garbled by a seed.

use crate::disk::{DirEntry, Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies there: this and all later calls fail.
    Die,
    /// The call fails.
    Io,
    /// The call says that space ran out, if it is one that can.
    NoSpace,
    /// As `NoSpace`, and no file can be synced.
    NoSpaceNoSync,
    /// No space for as long as some is put by for a start.
    NoSpaceBesideReserve,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    allocated: u64,
}

impl Inode {
    /// What is visible becomes durable.
    fn settle(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.bytes.len()));
            if from < to {
                self.durable[from..to].copy_from_slice(&self.bytes[from..to]);
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir,
}

/// A change of a name that is not durable yet.
#[derive(Clone, Debug)]
enum NameChange {
    Set(String, Node),
    Remove(String),
    Rename(String, String, usize),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<NameChange>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    seed: u64,
    /// Calls that the fault hit.
    hits: u64,
}

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// An open file.
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
}

/// A small generator: the tests' only randomness.
pub fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[allow(dead_code)]
impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while locked")
    }

    /// Counts a call and lets it fail when its time has come.
    fn call(&self, grows: bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.calls += 1;
        if state.dead {
            return Err(io::Error::other("dead"));
        }
        match state.fault {
            Some((at, Fault::Die)) if state.calls == at => {
                state.dead = true;
                state.hits += 1;
                Err(io::Error::other("died"))
            }
            Some((at, Fault::Io)) if state.calls == at => {
                state.hits += 1;
                Err(io::Error::other("input/output error"))
            }
            Some((at, Fault::NoSpace | Fault::NoSpaceNoSync))
                if state.calls >= at && state.calls < at + 40 && grows =>
            {
                state.hits += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some((_, Fault::NoSpaceBesideReserve)) if grows && state.names.contains_key("reserve") => {
                state.hits += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(state),
        }
    }

    /// Lets the call `after` calls from now fail.
    pub fn fail_after(&self, after: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.calls + after, fault));
    }

    /// Takes a planned fault back; says how often it struck.
    pub fn heal(&self) -> u64 {
        let mut state = self.state();
        state.fault = None;
        std::mem::take(&mut state.hits)
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// A new process on the same disk.
    pub fn after_process_crash(&self) -> MemoryDisk {
        let mut state = self.state();
        MemoryDisk(Arc::new(Mutex::new(State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable: state.durable.clone(),
            pending: state.pending.clone(),
            seed: next(&mut state.seed),
            ..State::default()
        })))
    }

    /// The disk as a power cut leaves it.
    pub fn after_power_cut(&self, seed: u64) -> MemoryDisk {
        let state = self.state();
        let mut seed = seed;
        let mut inodes = Vec::new();
        let mode = next(&mut seed) % 3;
        for inode in &state.inodes {
            let mut bytes = inode.durable.clone();
            if mode > 0 && next(&mut seed).is_multiple_of(2) {
                bytes.resize(inode.bytes.len(), 0);
            }
            for &sector in &inode.dirty {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(bytes.len()));
                if from >= to || mode == 0 {
                    continue;
                }
                match next(&mut seed) % 8 {
                    0..4 => {
                        let to = to.min(inode.bytes.len());
                        if from < to {
                            bytes[from..to].copy_from_slice(&inode.bytes[from..to]);
                        }
                    }
                    4 => bytes[from..to].fill(next(&mut seed) as u8),
                    _ => {}
                }
            }
            let allocated = inode.allocated;
            inodes.push(Inode { durable: bytes.clone(), bytes, dirty: BTreeSet::new(), allocated });
        }
        let mut names = state.durable.clone();
        // None, the first ones, or each for itself: nobody promises an order.
        let first = next(&mut seed) as usize % (state.pending.len() + 1);
        let mut survives = |at: usize| match mode {
            0 => false,
            1 => at < first,
            _ => next(&mut seed).is_multiple_of(2),
        };
        let kept = state.pending.iter().enumerate().filter(|(at, _)| survives(*at));
        kept.for_each(|(_, change)| apply(&mut names, change));
        // A name in a directory that is lost is lost with it.
        let reachable = |names: &BTreeMap<String, Node>, name: &str| {
            parent(name).is_empty() || names.get(parent(name)) == Some(&Node::Dir)
        };
        while let Some(lost) = names.keys().find(|name| !reachable(&names, name)).cloned() {
            names.remove(&lost);
        }
        let durable = names.clone();
        MemoryDisk(Arc::new(Mutex::new(State { inodes, names, durable, seed, ..State::default() })))
    }

    /// Changes one byte of a file, visible and durable.
    pub fn rot(&self, path: &str, at: usize) {
        let mut state = self.state();
        let Some(Node::File(inode)) = state.names.get(path).cloned() else { panic!("no file {path}") };
        let inode = &mut state.inodes[inode];
        inode.bytes[at] ^= 0x55;
        inode.durable = inode.bytes.clone();
    }

    /// A file's visible bytes.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.state();
        let Some(Node::File(inode)) = state.names.get(path).cloned() else { panic!("no file {path}") };
        state.inodes[inode].bytes.clone()
    }

    /// Puts a file there, durable.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.inodes.len();
        let content = Inode { bytes: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() };
        state.inodes.push(content);
        let mut directory = parent(path);
        while !directory.is_empty() {
            state.names.insert(directory.into(), Node::Dir);
            state.durable.insert(directory.into(), Node::Dir);
            directory = parent(directory);
        }
        state.names.insert(path.into(), Node::File(inode));
        state.durable.insert(path.into(), Node::File(inode));
    }

    /// All visible file names.
    pub fn files(&self) -> Vec<String> {
        let state = self.state();
        state.names.iter().filter(|(_, node)| **node != Node::Dir).map(|(name, _)| name.clone()).collect()
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &NameChange) {
    match change {
        NameChange::Set(path, node) => {
            names.insert(path.clone(), node.clone());
        }
        NameChange::Remove(path) => drop(names.remove(path)),
        NameChange::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), Node::File(*inode));
        }
    }
}

impl State {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    fn touch(&mut self, inode: usize, from: u64, bytes: &[u8]) {
        let inode = &mut self.inodes[inode];
        let end = from as usize + bytes.len();
        if inode.bytes.len() < end {
            inode.bytes.resize(end, 0);
        }
        inode.bytes[from as usize..end].copy_from_slice(bytes);
        inode.dirty.extend(from as usize / SECTOR..end.div_ceil(SECTOR));
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn create(&self, path: &str) -> io::Result<MemoryFile> {
        let mut state = self.call(true)?;
        if !parent(path).is_empty() && state.names.get(parent(path)) != Some(&Node::Dir) {
            return Err(not_found());
        }
        let inode = match state.names.get(path) {
            Some(Node::File(inode)) => {
                let inode = *inode;
                let old = &mut state.inodes[inode];
                old.dirty.extend(0..old.bytes.len().div_ceil(SECTOR));
                old.bytes.clear();
                state.inodes[inode].allocated = 0;
                inode
            }
            _ => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change(NameChange::Set(path.into(), Node::File(inode)));
                inode
            }
        };
        Ok(MemoryFile { disk: self.clone(), inode })
    }

    fn open(&self, path: &str) -> io::Result<MemoryFile> {
        let state = self.call(false)?;
        match state.names.get(path) {
            Some(Node::File(inode)) => Ok(MemoryFile { disk: self.clone(), inode: *inode }),
            _ => Err(not_found()),
        }
    }

    fn open_read(&self, path: &str) -> io::Result<MemoryFile> {
        self.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call(false)?;
        let node = state.names.get(from).cloned().ok_or_else(not_found)?;
        let Node::File(inode) = node else {
            // With all that is in it, each name for itself: harsher than any file system.
            let below = format!("{from}/");
            let inside = state.names.iter().filter(|(name, _)| *name == from || name.starts_with(&below));
            let inside: Vec<_> = inside.map(|(name, node)| (name.clone(), node.clone())).collect();
            for (name, node) in &inside {
                let moved = format!("{to}{}", &name[from.len()..]);
                state.change(NameChange::Set(moved, node.clone()));
            }
            inside.into_iter().rev().for_each(|(name, _)| state.change(NameChange::Remove(name)));
            return Ok(());
        };
        if parent(from) == parent(to) {
            state.change(NameChange::Rename(from.into(), to.into(), inode));
        } else {
            state.change(NameChange::Set(to.into(), Node::File(inode)));
            state.change(NameChange::Remove(from.into()));
        }
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut state = self.call(false)?;
        if !matches!(state.names.get(path), Some(Node::File(_))) {
            return Err(not_found());
        }
        state.change(NameChange::Remove(path.into()));
        Ok(())
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let mut state = self.call(true)?;
        let mut at = 0;
        while at < path.len() {
            at = path[at + 1..].find('/').map_or(path.len(), |next| at + 1 + next);
            if !state.names.contains_key(&path[..at]) {
                state.change(NameChange::Set(path[..at].into(), Node::Dir));
            }
        }
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.call(false)?;
        if state.names.get(path) != Some(&Node::Dir) {
            return Err(not_found());
        }
        if state.names.keys().any(|name| parent(name) == path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(NameChange::Remove(path.into()));
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.call(false)?;
        if !path.is_empty() && !state.names.contains_key(path) {
            return Err(not_found());
        }
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            let inside = match &change {
                NameChange::Set(name, _) | NameChange::Remove(name) => parent(name) == path,
                NameChange::Rename(from, to, _) => parent(from) == path && parent(to) == path,
            };
            if inside { apply(&mut state.durable, &change) } else { state.pending.push(change) }
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.call(false)?;
        let pending = std::mem::take(&mut state.pending);
        pending.iter().for_each(|change| apply(&mut state.durable, change));
        state.inodes.iter_mut().for_each(Inode::settle);
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let state = self.call(false)?;
        if !path.is_empty() && state.names.get(path) != Some(&Node::Dir) {
            return Err(not_found());
        }
        let inside = state.names.iter().filter(|(name, _)| parent(name) == path);
        Ok(inside
            .map(|(name, node)| DirEntry {
                name: name.rsplit('/').next().expect("a name").into(),
                is_dir: *node == Node::Dir,
            })
            .collect())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.call(false)?.names.contains_key(path))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self) -> io::Result<bool> {
        drop(self.call(false)?);
        Ok(true)
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.call(false)?;
        let bytes = &state.inodes[self.inode].bytes;
        let from = (offset as usize).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let mut whole = Vec::new();
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        let reserved = self.disk.state().inodes[self.inode].allocated;
        match self.disk.call(offset + whole.len() as u64 > reserved) {
            Ok(mut state) => state.touch(self.inode, offset, &whole),
            Err(error) => {
                // A part of it may have been written.
                let mut state = self.disk.state();
                let part = next(&mut state.seed) as usize % (whole.len() + 1);
                if error.to_string() != "dead" {
                    state.touch(self.inode, offset, &whole[..part]);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.call(false)?;
        if let Some((_, Fault::NoSpaceNoSync)) = state.fault {
            return Err(io::Error::other("input/output error"));
        }
        state.inodes[self.inode].settle();
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let reserved = self.disk.state().inodes[self.inode].allocated;
        let mut state = self.disk.call(len > reserved)?;
        let inode = &mut state.inodes[self.inode];
        if (inode.bytes.len() as u64) < len {
            inode.dirty.insert(inode.bytes.len() / SECTOR);
            inode.bytes.resize(len as usize, 0);
        }
        inode.allocated = inode.allocated.max(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.call(false)?;
        Ok(state.inodes[self.inode].bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.call(true)?;
        let inode = &mut state.inodes[self.inode];
        inode.dirty.extend(len as usize / SECTOR..inode.bytes.len().div_ceil(SECTOR));
        inode.bytes.resize(len as usize, 0);
        Ok(())
    }
}
