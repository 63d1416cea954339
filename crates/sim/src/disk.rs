//! A disk that tears, loses, fails, fills up and stalls, all from a seed. It is one `storage::Disk` per life of the
//! simulated process: after a crash every call of that life fails with [`CRASHED`], and [`SimDisk::restart`] gives the
//! disk of the next life. A crash can be set for any coming call; it strikes before the call, within it or behind it.
//!
//! Process crash: the cache stays. Power cut: only what was synced is certain; each sector and each change of a name
//! since then is kept, lost, torn or garbled for itself (`file.rs`, `tree.rs`).

mod file;
#[cfg(test)]
mod tests;
mod tree;

use crate::counters::Counters;
use crate::dice::{Dice, mix};
use crate::trace::Trace;
use file::PAGE_BYTES;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use storage::disk::{DirEntry, Disk, DiskFile};
pub use tree::Harm;
use tree::{Inode, Tree};

/// What Linux says when a device fails.
const EIO: i32 = 5;
/// Counts reads that failed.
const READ_ERROR: &str = "disk: read error";
/// The text of the error that a call of a crashed process gets.
pub const CRASHED: &str = "simulated crash";

/// How the process of one life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; what it wrote stays readable, synced or not.
    Process,
    /// The machine loses power.
    Power,
}

/// How often what goes wrong, in ten thousand calls of the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// `sync_data` or `sync_all` fails, and the kernel forgets the pages.
    pub sync_error: u32,
    /// `write_at` fails behind a part of its bytes.
    pub write_error: u32,
    /// `read_at` fails.
    pub read_error: u32,
    /// A call takes up to 10 s.
    pub stall: u32,
    /// Every call takes this many times as long; 0 and 1 are the usual time.
    pub slowness: u32,
}

/// A crash that waits for its call.
#[derive(Clone, Copy, Debug)]
struct Fuse {
    calls_left: u64,
    kind: Crash,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    life: u64,
    locked: bool,
    crashed: Option<Crash>,
    fuse: Option<Fuse>,
    faults: DiskFaults,
    capacity: u64,
    dice: Dice,
    counters: Counters,
    trace: Trace,
    elapsed: Duration,
    calls: u64,
}

/// The simulated disk, as the process of one life holds it. Clones are the same disk in the same life.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

/// What a call is, for faults, time and the trace.
#[derive(Clone, Copy)]
enum Call {
    Read(u64),
    Write(u64),
    Sync,
    Names,
    Look,
}

impl SimDisk {
    /// An empty disk of `capacity` bytes.
    pub fn new(seed: u64, capacity: u64) -> SimDisk {
        let state = State {
            tree: Tree::default(),
            life: 0,
            locked: false,
            crashed: None,
            fuse: None,
            faults: DiskFaults::default(),
            capacity,
            dice: Dice::new(seed),
            counters: Counters::default(),
            trace: Trace::default(),
            elapsed: Duration::ZERO,
            calls: 0,
        };
        SimDisk { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// Changes the size of the device; below what is used, nothing can be added.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.state().tree.used
    }

    /// Lets the process crash at the `calls`-th call from now on (1 is the next one).
    pub fn crash_at_call(&self, calls: u64, kind: Crash) {
        self.state().fuse = Some(Fuse { calls_left: calls.max(1), kind });
    }

    /// Takes a waiting crash away.
    pub fn disarm(&self) {
        self.state().fuse = None;
    }

    /// How this life ended, if it did.
    pub fn crashed(&self) -> Option<Crash> {
        self.state().crashed
    }

    /// Lets the process die between two calls.
    pub fn crash(&self, kind: Crash) {
        let mut state = self.state();
        state.crashed.get_or_insert(kind);
    }

    /// The disk of the next life: what the crash (or, without one, the end of the process) left of it.
    pub fn restart(&self) -> SimDisk {
        let mut state = self.state();
        let kind = state.crashed.take().unwrap_or(Crash::Process);
        state.life += 1;
        state.locked = false;
        state.fuse = None;
        match kind {
            Crash::Process => state.tree.forget_unreachable(),
            Crash::Power => state.cut_power(),
        }
        SimDisk { state: Arc::clone(&self.state), life: state.life }
    }

    /// Harms one of the wanted files under `directory`; says which one. `None` when there is nothing to harm.
    pub fn harm(&self, harm: Harm, directory: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let state = &mut *self.state();
        let harmed = state.tree.harm(&mut state.dice, harm, directory, is_wanted)?;
        state.counters.count(match harm {
            Harm::Bit => "disk: durable bit rotten",
            Harm::Cut => "disk: file cut",
            Harm::Gone => "disk: file gone",
            Harm::Head => "disk: head of a file damaged",
            Harm::Misplaced => "disk: a page written over another",
        });
        Some(harmed)
    }

    /// Names in a directory as the running system sees them; no call of the process, so no time passes and nothing fails.
    pub fn peek(&self, directory: &str) -> Vec<String> {
        let names = self.state().tree.list(directory).unwrap_or_default();
        names.into_iter().map(|(name, _)| name).collect()
    }

    /// How often a read has failed.
    pub fn read_errors(&self) -> u64 {
        self.state().counters.get(READ_ERROR)
    }

    /// Virtual time that calls took since this was last asked.
    pub fn take_elapsed(&self) -> Duration {
        std::mem::take(&mut self.state().elapsed)
    }

    /// Calls so far, in all lives.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Faults that fired, by name.
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// Hash of all calls and faults so far.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace.hash()
    }

    /// One call: takes its time, meets its fault or its crash, else does `action`. `partly` is what a call does that
    /// fails or is cut off within.
    fn call<T>(
        &self,
        call: Call,
        name: u64,
        action: impl FnOnce(&mut State) -> io::Result<T>,
        partly: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.state();
        let state = &mut *state;
        if state.crashed.is_some() || state.life != self.life {
            return Err(crash_error());
        }
        state.calls += 1;
        state.spend(call);
        state.trace.number(name ^ mix(call_number(call)));
        if let Some(fuse) = &mut state.fuse {
            fuse.calls_left -= 1;
            if fuse.calls_left == 0 {
                return state.strike(call, action, partly);
            }
        }
        if let Some(error) = state.fault(call) {
            partly(state);
            return Err(error);
        }
        let result = action(state);
        state.trace.number(u64::from(result.is_ok()));
        result
    }
}

fn nothing(_: &mut State) {}

fn crash_error() -> io::Error {
    io::Error::other(CRASHED)
}

fn device_error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

fn call_number(call: Call) -> u64 {
    match call {
        Call::Read(bytes) => bytes << 3,
        Call::Write(bytes) => bytes << 3 | 1,
        Call::Sync => 2,
        Call::Names => 3,
        Call::Look => 4,
    }
}

fn name_number(path: &str) -> u64 {
    path.bytes().fold(17, |number, byte| mix(number ^ u64::from(byte)))
}

impl State {
    fn spend(&mut self, call: Call) {
        let usual = match call {
            Call::Read(bytes) => 20_000 + bytes,
            Call::Write(bytes) => 10_000 + bytes,
            Call::Sync => 200_000 + self.dice.below(600_000),
            Call::Names => 20_000,
            Call::Look => 5_000,
        };
        let slowness = self.faults.slowness.max(1);
        if slowness > 1 {
            self.counters.count("disk: slow call");
        }
        self.elapsed += Duration::from_nanos(usual * u64::from(slowness));
        if self.dice.chance(self.faults.stall) {
            self.counters.count("disk: stalled call");
            self.elapsed += Duration::from_millis(self.dice.between(100, 10_000));
        }
    }

    fn fault(&mut self, call: Call) -> Option<io::Error> {
        let (rate, name) = match call {
            Call::Read(_) => (self.faults.read_error, READ_ERROR),
            Call::Write(_) => (self.faults.write_error, "disk: write error"),
            Call::Sync => (self.faults.sync_error, "disk: sync error"),
            Call::Names | Call::Look => return None,
        };
        if !self.dice.chance(rate) {
            return None;
        }
        self.counters.count(name);
        Some(device_error())
    }

    fn strike<T>(
        &mut self,
        call: Call,
        action: impl FnOnce(&mut State) -> io::Result<T>,
        partly: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let fuse = self.fuse.take().expect("a crash waits for this call");
        match self.dice.below(3) {
            0 => {}
            1 => partly(self),
            // The answer of the call is lost with the process.
            _ => drop(action(self)),
        }
        self.crashed = Some(fuse.kind);
        self.counters.count(match (call, fuse.kind) {
            (Call::Write(_), Crash::Process) => "disk: process crash within a write",
            (Call::Write(_), Crash::Power) => "disk: power cut within a write",
            (Call::Sync, Crash::Process) => "disk: process crash within a sync",
            (Call::Sync, Crash::Power) => "disk: power cut within a sync",
            (Call::Names, Crash::Process) => "disk: process crash at a change of names",
            (Call::Names, Crash::Power) => "disk: power cut at a change of names",
            (Call::Read(_) | Call::Look, Crash::Process) => "disk: process crash at a look",
            (Call::Read(_) | Call::Look, Crash::Power) => "disk: power cut at a look",
        });
        Err(crash_error())
    }

    fn cut_power(&mut self) {
        let sector_bytes = if self.dice.coin() { 512 } else { PAGE_BYTES as usize };
        if self.tree.unsynced_files() > 0 {
            self.counters.count("disk: power cut with unsynced bytes");
        }
        let counts = self.tree.power_cut(&mut self.dice, sector_bytes);
        for (name, count) in [
            ("disk: name change lost", counts.names_lost),
            ("disk: unsynced name change kept", counts.names_kept),
            ("disk: unsynced sector lost", counts.sectors.old),
            ("disk: unsynced sector kept", counts.sectors.new),
            ("disk: sector shorn", counts.sectors.shorn),
            ("disk: sector garbled", counts.sectors.garbage),
        ] {
            self.counters.add(name, count);
            self.trace.number(count);
        }
    }

    fn reserve(&mut self, space: u64) -> io::Result<()> {
        if space > 0 && self.tree.used + space > self.capacity {
            self.counters.count("disk: no space");
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Writes the first `count` bytes of the pieces, or as many as there is room for.
    fn write(&mut self, inode: Inode, offset: u64, pieces: &[IoSlice<'_>], count: u64) -> io::Result<()> {
        let needed = self.tree.file(inode).space_needed(offset + count);
        let reserved = self.reserve(needed);
        let fits = match reserved {
            Ok(()) => count,
            Err(_) => {
                let room = self.capacity.saturating_sub(self.tree.used) / PAGE_BYTES * PAGE_BYTES;
                let allocated = self.tree.file(inode).allocated.next_multiple_of(PAGE_BYTES);
                (allocated + room).saturating_sub(offset).min(count)
            }
        };
        self.tree.with_file(inode, |file| {
            let (mut at, end) = (offset, offset + fits);
            for piece in pieces {
                let part = &piece[..piece.len().min((end - at) as usize)];
                file.write(at, part);
                at += part.len() as u64;
            }
        });
        reserved
    }

    fn write_partly(&mut self, inode: Inode, offset: u64, pieces: &[IoSlice<'_>], count: u64) {
        let count = self.dice.index(count as usize + 1) as u64;
        if self.write(inode, offset, pieces, count).is_ok() {
            self.counters.count("disk: short write");
        }
    }

    /// What is written, for the trace; preallocation writes one piece many times.
    fn trace_pieces(&mut self, pieces: &[IoSlice<'_>]) {
        let mut before: &[u8] = &[];
        for piece in pieces {
            if !std::ptr::eq(before, &**piece) {
                self.trace.number(u64::from(model::checksum::crc32c(piece)));
            }
            before = piece;
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, path: &str) -> io::Result<SimFile> {
        let create = |state: &mut State| {
            if state.tree.find_file(path).is_err() {
                state.reserve(PAGE_BYTES)?;
            }
            state.tree.create(path)
        };
        let inode = self.call(Call::Names, name_number(path), create, nothing)?;
        Ok(SimFile { disk: self.clone(), inode, writable: true })
    }

    fn open(&self, path: &str) -> io::Result<SimFile> {
        let inode = self.call(Call::Look, name_number(path), |state| state.tree.find_file(path), nothing)?;
        Ok(SimFile { disk: self.clone(), inode, writable: true })
    }

    fn open_read(&self, path: &str) -> io::Result<SimFile> {
        let file = self.open(path)?;
        Ok(SimFile { writable: false, ..file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let name = name_number(from) ^ name_number(to).rotate_left(1);
        self.call(Call::Names, name, |state| state.tree.rename(from, to), nothing)
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.call(Call::Names, name_number(path), |state| state.tree.unlink(path), nothing)
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.call(Call::Names, name_number(path), |state| state.tree.create_dir_all(path), nothing)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.call(Call::Names, name_number(path), |state| state.tree.remove_dir(path), nothing)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.call(Call::Sync, name_number(path), |state| state.tree.sync_dir(path), nothing)
    }

    fn sync_all(&self) -> io::Result<()> {
        let all = |state: &mut State| {
            state.tree.sync_all();
            Ok(())
        };
        self.call(Call::Sync, 1, all, |state| state.tree.fail_sync_all(&mut state.dice))
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let names = self.call(Call::Look, name_number(path), |state| state.tree.list(path), nothing)?;
        Ok(names.into_iter().map(|(name, is_dir)| DirEntry { name, is_dir }).collect())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.call(Call::Look, name_number(path), |state| Ok(state.tree.find(path).is_ok()), nothing)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.call(Call::Look, 2, |state| Ok(state.capacity.saturating_sub(state.tree.used)), nothing)
    }

    fn lock(&self) -> io::Result<bool> {
        self.call(Call::Look, 3, |state| Ok(!std::mem::replace(&mut state.locked, true)), nothing)
    }
}

/// An open file of one life.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: Inode,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(ErrorKind::PermissionDenied.into()) }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let call = Call::Read(buffer.len() as u64);
        let read = |state: &mut State| Ok(state.tree.file(self.inode).read(offset, buffer));
        self.disk.call(call, self.inode ^ offset << 16, read, nothing)
    }

    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.check_writable()?;
        let count = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.disk.call(
            Call::Write(count),
            self.inode ^ offset << 16,
            |state| {
                state.trace_pieces(pieces);
                state.write(self.inode, offset, pieces, count)
            },
            |state| state.write_partly(self.inode, offset, pieces, count),
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        let sync = |state: &mut State| {
            state.tree.with_file(self.inode, |file| file.sync());
            Ok(())
        };
        let fail = |state: &mut State| {
            let State { tree, dice, .. } = state;
            tree.with_file(self.inode, |file| file.fail_sync(dice));
        };
        self.disk.call(Call::Sync, self.inode, sync, fail)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let allocate = |state: &mut State| {
            state.reserve(state.tree.file(self.inode).space_needed(len))?;
            state.tree.with_file(self.inode, |file| file.allocate(len));
            Ok(())
        };
        self.disk.call(Call::Names, self.inode ^ len << 16, allocate, nothing)
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.call(Call::Look, self.inode, |state| Ok(state.tree.file(self.inode).len()), nothing)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let set_len = |state: &mut State| {
            state.tree.with_file(self.inode, |file| file.set_len(len));
            Ok(())
        };
        self.disk.call(Call::Names, self.inode ^ len << 16 ^ 1, set_len, nothing)
    }
}
