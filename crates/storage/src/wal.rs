//! The write-ahead log: one group commit after the other, each one write and one fsync, in preallocated files that are
//! used again. The stop between `consensus` (what must be durable) and the acknowledgement. Invariant: a sector that
//! holds a durable commit is never written again while its file is in use, and nothing runs out of space inside a file.

pub mod files;
pub mod format;
pub mod replay;
pub mod verify;

use crate::disk::{Disk, DiskFile, is_no_space};
use crate::known::{Known, sync};
use crate::layout::padded;
use crate::mutant::Mutant;
use crate::sweep::QUARANTINE;
use files::{Spare, ZERO_STEP_BYTES};
use format::{COMMIT_HEADER_BYTES, Commit, CommitHeader, FileHeader, ShardRow, body_size};
use model::job::{Done, JobError, WalAppend, WalRecycle, WalRenewal, WalRoom};
use model::{LogIndex, ShardId};
use replay::{FileSpan, newer};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

/// Commits up to this size are worth zeroing ahead of in a fresh file; a larger one pays its own way.
const ZERO_AHEAD_COMMIT_BYTES_MAX: u64 = 256 << 10;
/// Damaged log files that are kept in `quarantine/`; further ones are used again or given back.
const QUARANTINED_FILES_MAX: usize = 4;

/// How large WAL files are and how many wait.
#[derive(Clone, Copy, Debug)]
pub struct WalSizes {
    /// First file of a process, bytes: small, so that a start is instant.
    pub first_file_bytes: u64,
    /// Every later file, bytes; a commit that does not fit gets a larger one of its own.
    pub file_bytes: u64,
    /// Files waiting to be used again beyond this many bytes are given back to the file system.
    pub spare_bytes_max: u64,
}

impl Default for WalSizes {
    fn default() -> WalSizes {
        WalSizes { first_file_bytes: 4 << 20, file_bytes: 64 << 20, spare_bytes_max: 512 << 20 }
    }
}

struct Current<F> {
    file: F,
    span: FileSpan,
    /// Where the next commit goes.
    at: u64,
    /// Bytes from the start that were written before.
    zeroed: u64,
}

/// The write side of the WAL. Lives on its own thread.
pub struct Wal<D: Disk> {
    disk: Arc<D>,
    known: Arc<Known>,
    mutant: Option<Mutant>,
    sizes: WalSizes,
    current: Option<Current<D::File>>,
    /// Files that a recovery would read, oldest first, without the current one.
    older: VecDeque<FileSpan>,
    spares: Vec<Spare>,
    spare_number: u64,
    epoch: u64,
    sequence: u64,
    hash: u64,
    /// The last commit only marks that the one before is durable.
    marked: bool,
    /// Newest checkpoint that the last commit names.
    checkpoint_named: u64,
    rows: BTreeMap<ShardId, ShardRow>,
    /// For the next file's header: where an accepted loss begins, 0 for none.
    cut_at: u64,
}

/// What a WAL starts from: the verdict of a recovery.
pub(crate) struct Start {
    pub sequence: u64,
    pub hash: u64,
    pub rows: BTreeMap<ShardId, ShardRow>,
    pub older: Vec<FileSpan>,
    pub spares: Vec<Spare>,
    pub spare_number: u64,
    pub epoch: u64,
    pub cut_at: u64,
}

impl<D: Disk> Wal<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        known: Arc<Known>,
        mutant: Option<Mutant>,
        sizes: WalSizes,
        start: Start,
    ) -> Wal<D> {
        Wal {
            disk,
            known,
            mutant,
            sizes,
            current: None,
            older: start.older.into(),
            spares: start.spares,
            spare_number: start.spare_number,
            epoch: start.epoch,
            sequence: start.sequence,
            hash: start.hash,
            marked: start.sequence == 0,
            checkpoint_named: 0,
            rows: start.rows,
            cut_at: start.cut_at,
        }
    }

    /// Writes the tail that recovery read into a new file and makes all of it durable at once (rule 2).
    ///
    /// # Errors
    /// `NoSpace` leaves everything as it was.
    pub(crate) fn begin(&mut self, tail: &[(CommitHeader, WalAppend)]) -> Result<(), JobError> {
        if !self.older.is_empty() && self.mutant != Some(Mutant::NameCacheTrusted) {
            // A power cut keeps or loses each new name for itself: those that the new file follows must not go without it.
            self.sync_directory()?;
        }
        let commits: u64 = tail.iter().map(|(_, append)| self.commit_size(append)).sum();
        let last = tail.last().map_or(self.sequence, |(header, _)| header.sequence);
        let header_size = FileHeader::size(self.rows.len());
        let size = self.sizes.first_file_bytes.max(padded(header_size + commits));
        let spare = match self.take_spare(header_size + commits) {
            Some(spare) => spare,
            None => self.allocate(size, true)?,
        };
        let (file, span) = self.prepare(&spare, last)?;
        let mut at = header_size;
        let mut current = Current { file, span, at, zeroed: spare.zeroed };
        for (_, append) in tail {
            let commit = self.encode(append, current.span.epoch, last);
            current
                .file
                .write_at(at, &commit.slices())
                .map_err(|error| self.known.fail("rewrite the end of the WAL", &error))?;
            at += commit.header.size;
            self.took(&commit, append, &mut current.span);
        }
        current.at = at;
        self.publish(current, spare.number)?;
        self.marked = tail.last().is_none_or(|(_, append)| is_marker(append));
        self.known.state().synced_upto = self.sequence;
        Ok(())
    }

    /// Makes an append durable. An empty one marks the commit before it as durable, when it does not stand so yet:
    /// called when the disk goes idle (rule 7).
    ///
    /// # Errors
    /// `NoSpace`: no preallocated room, and none to be had; nothing changed. `Device`: never use it again.
    pub fn append(&mut self, append: WalAppend) -> Result<Done, JobError> {
        self.known.usable()?;
        if self.known.state().closed && is_marker(&append) {
            return Ok(self.done()); // an idle moment during a clean shutdown: there is nothing to mark any more
        }
        if self.known.state().closed {
            return Err(JobError::Device { detail: "append after a clean shutdown".into() });
        }
        if !is_marker(&append) || !self.marked {
            self.check_order(&append);
            self.commit(&append)?;
        }
        if self.wants_spare() {
            self.allocate_spare()?;
        }
        Ok(self.done())
    }

    /// Lets files go that hold only what a durable checkpoint covers, oldest first.
    ///
    /// # Errors
    /// `NoSpace`: nothing was let go. `Device`: never use it again.
    pub fn recycle(&mut self, recycle: &WalRecycle) -> Result<Done, JobError> {
        self.known.usable()?;
        let keep: BTreeMap<ShardId, LogIndex> = recycle.keep_from.iter().copied().collect();
        let needless = |span: &FileSpan| {
            span.newest.iter().all(|(shard, newest)| keep.get(shard).is_some_and(|keep| newest < keep))
        };
        let count = self.older.iter().take_while(|span| needless(span)).count();
        if count == 0 {
            return Ok(self.done());
        }
        if self.checkpoint_named < self.known.state().checkpoint && !self.known.state().closed {
            // From here on the checkpoint is needed: if it is ever unreadable, the WAL must say so.
            self.commit(&WalAppend::default())?;
        }
        self.let_go(count)?;
        match self.done() {
            Done::Append { room, held } => Ok(Done::Recycle { room, held }),
            other => Ok(other),
        }
    }

    /// Lets the oldest files go, to be used again as far as that is worth it.
    fn let_go(&mut self, count: usize) -> Result<(), JobError> {
        for span in self.older.drain(..count).collect::<Vec<_>>() {
            let waiting: u64 = self.spares.iter().map(|spare| spare.size).sum();
            let path = files::path(span.epoch);
            let kept = waiting + span.size <= self.sizes.spare_bytes_max;
            let outcome = if kept {
                let number = self.next_spare_number();
                self.spares.push(Spare { number, size: span.size, zeroed: span.size });
                self.disk.rename(&path, &files::spare_path(number))
            } else {
                self.disk.unlink(&path)
            };
            match outcome {
                // Somebody took it away; then nothing waits under the other name.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.spares.retain(|spare| !kept || spare.number != self.spare_number);
                }
                other => other.map_err(|error| self.known.fail("let a WAL file go", &error))?,
            }
        }
        self.sync_directory()
    }

    /// Makes an append durable in a new file that begins at the newest durable checkpoint, as the first file of a start does, and lets
    /// all other files go. Until the new file has its name, everything is as it was.
    ///
    /// # Errors
    /// As for `append`.
    pub fn renew(&mut self, renewal: WalRenewal) -> Result<Done, JobError> {
        self.known.usable()?;
        if self.known.state().closed {
            return Err(JobError::Device { detail: "append after a clean shutdown".into() });
        }
        let append = renewal.append;
        self.check_order(&append);
        self.check_renewal(&append);
        let needed = FileHeader::size(self.rows.len()) + self.commit_size(&append);
        let spare = match self.take_spare(needed) {
            Some(spare) => spare,
            None => self.allocate(self.sizes.file_bytes.max(padded(needed)), false)?,
        };
        for (shard, row) in &mut self.rows {
            row.last = self.known.state().applied.get(shard).copied().unwrap_or_default();
            row.first = LogIndex(0);
        }
        let last = self.sequence + 1;
        let (file, mut span) = self.prepare(&spare, last)?;
        let at = FileHeader::size(self.rows.len());
        let commit = self.encode(&append, span.epoch, last);
        file.write_at(at, &commit.slices()).map_err(|error| self.known.fail("renew the WAL", &error))?;
        let end = at + commit.header.size;
        self.took(&commit, &append, &mut span);
        self.publish(Current { file, span, at: end, zeroed: spare.zeroed.max(end) }, spare.number)?;
        self.marked = is_marker(&append);
        self.known.state().synced_upto = self.sequence;
        self.put_aside(renewal.damaged)?;
        let older = self.older.len();
        self.let_go(older)?;
        Ok(self.done())
    }

    /// Keeps a damaged file as evidence.
    fn put_aside(&mut self, epoch: u64) -> Result<(), JobError> {
        let fail = |error| self.known.fail("put a damaged WAL file aside", &error);
        self.disk.create_dir_all(QUARANTINE).map_err(fail)?;
        let names = self.disk.list(QUARANTINE).map_err(fail)?;
        let is_log = |name: &str| name.starts_with("wal_");
        let is_listed = self.older.iter().any(|span| span.epoch == epoch);
        if is_listed && names.iter().filter(|entry| is_log(&entry.name)).count() < QUARANTINED_FILES_MAX {
            let path = files::path(epoch);
            let kept = format!("{QUARANTINE}/{}", path.replace('/', "_"));
            match self.disk.rename(&path, &kept) {
                // Gone is one way of being damaged.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
                _ => self.older.retain(|span| span.epoch != epoch),
            }
            self.disk.sync_dir(QUARANTINE).map_err(fail)?;
            self.disk.sync_dir("").map_err(fail)?;
        }
        Ok(())
    }

    /// A small piece of work for a moment without appends: preallocates the next file, and writes zeros into it, so that
    /// its fsyncs will be cheap. `false` when there is nothing left to do.
    ///
    /// # Errors
    /// `Device`: never use it again.
    pub fn upkeep(&mut self) -> Result<bool, JobError> {
        self.known.usable()?;
        if self.wants_spare() {
            return self.allocate_spare();
        }
        let Some(spare) = self.spares.iter_mut().find(|spare| spare.zeroed < spare.size) else {
            return Ok(false);
        };
        let to = (spare.zeroed + ZERO_STEP_BYTES).min(spare.size);
        let fail = |error| self.known.fail("zero a spare WAL file", &error);
        let file = self.disk.open_unbuffered(&files::spare_path(spare.number)).map_err(fail)?;
        files::zero(&file, spare.zeroed, to).map_err(fail)?;
        sync(&file, self.mutant).map_err(fail)?;
        spare.zeroed = to;
        Ok(true)
    }

    /// Preallocated bytes left for appends.
    pub fn room(&self) -> u64 {
        let header = FileHeader::size(self.rows.len());
        let current = self.current.as_ref().map_or(0, |current| current.span.size - current.at);
        current + self.spares.iter().map(|spare| spare.size.saturating_sub(header)).sum::<u64>()
    }

    /// Bytes that a recovery would read.
    pub fn held(&self) -> u64 {
        self.older.iter().map(|span| span.used).sum::<u64>()
            + self.current.as_ref().map_or(0, |current| current.at)
    }

    fn done(&self) -> Done {
        let room = WalRoom { bytes: self.room(), is_all: !self.has_whole_spare() };
        Done::Append { room, held: self.held() }
    }

    fn commit_size(&self, append: &WalAppend) -> u64 {
        let size = COMMIT_HEADER_BYTES as u64 + body_size(append);
        if self.mutant == Some(Mutant::CommitNotPadded) { size } else { padded(size) }
    }

    /// A shard's log has no holes: an entry follows the last one, or the checkpoint, or replaces a suffix.
    fn check_order(&self, append: &WalAppend) {
        let mut last: BTreeMap<ShardId, LogIndex> = BTreeMap::new();
        for entry in &append.entries {
            let last = last.entry(entry.shard).or_insert_with(|| {
                let applied = self.known.state().applied.get(&entry.shard).copied().unwrap_or_default();
                self.rows.get(&entry.shard).map_or(LogIndex(0), |row| row.last).max(applied)
            });
            assert!(entry.index.0 > 0, "indexes count from 1");
            assert!(
                entry.index <= last.next(),
                "a hole in the log of shard {}: entry {} behind {}",
                entry.shard.0,
                entry.index.0,
                last.0
            );
            *last = entry.index;
        }
    }

    /// Whatever the log holds behind the checkpoint is in the append that will stand for it.
    fn check_renewal(&self, append: &WalAppend) {
        let state = self.known.state();
        for (shard, row) in &self.rows {
            let applied = state.applied.get(shard).copied().unwrap_or_default();
            let mut entries = append.entries.iter().filter(|entry| entry.shard == *shard);
            let is_there = row.last <= applied || entries.any(|entry| entry.index <= applied.next());
            assert!(is_there, "a renewal without the log of shard {} behind {}", shard.0, applied.0);
        }
    }

    fn encode(&self, append: &WalAppend, epoch: u64, synced_upto: u64) -> Commit {
        let header = CommitHeader {
            epoch,
            sequence: self.sequence + 1,
            synced_upto,
            checkpoint: self.known.state().checkpoint,
            previous_hash: self.hash,
            size: self.commit_size(append),
            body_size: 0,
            record_count: 0,
            body_crc: 0,
            crc: 0,
        };
        Commit::encode(append, header)
    }

    /// One write, one fsync.
    fn commit(&mut self, append: &WalAppend) -> Result<(), JobError> {
        let size = self.commit_size(append);
        self.make_room(size)?;
        let mut current = self.current.take().expect("room was made");
        let commit = self.encode(append, current.span.epoch, self.sequence);
        let end = current.at + size;
        // Space never runs out inside a file (rule 13): what is written was allocated before.
        assert!(end <= current.span.size, "a commit stays within its preallocated file");
        let fail = |error| self.known.fail("append to the WAL", &error);
        current.file.write_at(current.at, &commit.slices()).map_err(fail)?;
        if end > current.zeroed && size <= ZERO_AHEAD_COMMIT_BYTES_MAX {
            let to = (end + ZERO_STEP_BYTES).min(current.span.size);
            files::zero(&current.file, end, to).map_err(fail)?;
            current.zeroed = to;
        }
        let only_votes = append.entries.is_empty() && !append.hard_states.is_empty();
        let skipped = self.mutant == Some(Mutant::AckBeforeFsync)
            || self.mutant == Some(Mutant::VoteNotSynced) && only_votes;
        if !skipped {
            sync(&current.file, self.mutant).map_err(fail)?;
        }
        current.at = end;
        self.took(&commit, append, &mut current.span);
        current.span.used = current.at;
        self.current = Some(current);
        self.marked = is_marker(append);
        self.known.state().synced_upto = self.sequence;
        Ok(())
    }

    /// Remembers what a commit did.
    fn took(&mut self, commit: &Commit, append: &WalAppend, span: &mut FileSpan) {
        self.sequence = commit.header.sequence;
        self.hash = commit.header.hash();
        self.checkpoint_named = commit.header.checkpoint;
        for (shard, hard_state) in &append.hard_states {
            let row = self.rows.entry(*shard).or_default();
            row.hard_state = newer(row.hard_state, *hard_state);
        }
        for entry in &append.entries {
            let row = self.rows.entry(entry.shard).or_default();
            row.last = entry.index;
            if row.first.0 == 0 || entry.index < row.first {
                row.first = entry.index;
            }
            let newest = span.newest.entry(entry.shard).or_default();
            *newest = (*newest).max(entry.index);
        }
        let mut state = self.known.state();
        for entry in &append.entries {
            state.last.insert(entry.shard, entry.index);
        }
    }

    fn make_room(&mut self, size: u64) -> Result<(), JobError> {
        let behind_end = self.mutant == Some(Mutant::WritesBehindPreallocation);
        if self.current.as_ref().is_some_and(|current| current.at + size <= current.span.size || behind_end) {
            return Ok(());
        }
        let header_size = FileHeader::size(self.rows.len());
        let spare = match self.take_spare(header_size + size) {
            Some(spare) => spare,
            None => self.allocate(self.sizes.file_bytes.max(padded(header_size + size)), false)?,
        };
        let (file, span) = self.prepare(&spare, self.sequence)?;
        let current = Current { file, span, at: header_size, zeroed: spare.zeroed.max(header_size) };
        self.publish(current, spare.number)
    }

    /// Writes the header that the file will have under its next name.
    fn prepare(&mut self, spare: &Spare, synced_upto: u64) -> Result<(D::File, FileSpan), JobError> {
        let checkpoint = self.known.state().checkpoint;
        let mut shards = self.rows.clone();
        if self.mutant == Some(Mutant::HardStateNotCarried) {
            shards.values_mut().for_each(|row| row.hard_state = Default::default());
        }
        let header = FileHeader {
            epoch: self.epoch + 1,
            first_sequence: self.sequence + 1,
            synced_upto,
            previous_hash: self.hash,
            checkpoint,
            file_size: spare.size,
            cut_at: std::mem::take(&mut self.cut_at),
            shards,
        };
        let fail = |error| self.known.fail("begin a WAL file", &error);
        let file = self.disk.open_unbuffered(&files::spare_path(spare.number)).map_err(fail)?;
        file.write_at(0, &[IoSlice::new(&header.encode())]).map_err(fail)?;
        self.epoch = header.epoch;
        self.checkpoint_named = checkpoint;
        Ok((file, FileSpan { epoch: header.epoch, size: spare.size, used: 0, newest: BTreeMap::new() }))
    }

    /// Makes the file durable, then its name; from then on it is the current one.
    fn publish(&mut self, mut current: Current<D::File>, spare: u64) -> Result<(), JobError> {
        let fail = |error| self.known.fail("begin a WAL file", &error);
        sync(&current.file, self.mutant).map_err(fail)?;
        self.disk.rename(&files::spare_path(spare), &files::path(current.span.epoch)).map_err(fail)?;
        self.sync_directory()?;
        current.span.used = current.at;
        self.known.state().epoch = current.span.epoch;
        let before = self.current.replace(current);
        self.older.extend(before.map(|before| before.span));
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), JobError> {
        if self.mutant == Some(Mutant::DirectoryNotSynced) {
            return Ok(());
        }
        self.disk
            .sync_dir(files::DIRECTORY)
            .map_err(|error| self.known.fail("sync the WAL directory", &error))
    }

    fn next_spare_number(&mut self) -> u64 {
        self.spare_number += 1;
        self.spare_number
    }

    /// The smallest waiting file that is large enough, well-written ones first.
    fn take_spare(&mut self, size: u64) -> Option<Spare> {
        let fitting = self.spares.iter().enumerate().filter(|(_, spare)| spare.size >= size);
        let best = fitting.min_by_key(|(_, spare)| (spare.zeroed < spare.size, spare.size))?.0;
        Some(self.spares.swap_remove(best))
    }

    /// Whether a file of full size waits: a smaller one (left by a crash or by an earlier setting) is not room enough.
    fn has_whole_spare(&self) -> bool {
        self.spares.iter().any(|spare| spare.size >= self.sizes.file_bytes)
    }

    /// Whether the next file is to be allocated. Not while a checkpoint lacks the space for it.
    fn wants_spare(&self) -> bool {
        !self.has_whole_spare() && !self.known.state().checkpoint_lacks_space
    }

    fn allocate_spare(&mut self) -> Result<bool, JobError> {
        match self.allocate(self.sizes.file_bytes, false) {
            Ok(spare) => self.spares.push(spare),
            Err(JobError::NoSpace) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// A new file with all its blocks. Out of space: as if nothing had been tried.
    fn allocate(&mut self, size: u64, zeroed: bool) -> Result<Spare, JobError> {
        let number = self.next_spare_number();
        let path = files::spare_path(number);
        let made = self.disk.create_unbuffered(&path).and_then(|file| {
            file.allocate(size)?;
            if zeroed { files::zero(&file, 0, size) } else { Ok(()) }
        });
        match made {
            Ok(()) => Ok(Spare { number, size, zeroed: if zeroed { size } else { 0 } }),
            Err(error) if is_no_space(&error) => match self.disk.unlink(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(self.known.fail("give a WAL file back", &error))
                }
                _ => Err(JobError::NoSpace),
            },
            Err(error) => Err(self.known.fail("preallocate a WAL file", &error)),
        }
    }
}

fn is_marker(append: &WalAppend) -> bool {
    append.entries.is_empty() && append.hard_states.is_empty()
}
