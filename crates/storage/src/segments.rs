//! The write side of the segments: one checkpoint after the other moves committed batches into per-partition files,
//! makes them durable, and only then writes the slot that refers to them. Lives on its own thread. Invariant: what the
//! durable checkpoint refers to is durable and is never written again; what it does not refer to is nobody's promise.

mod ahead;
pub mod format;
pub mod index;
mod mend;
pub mod read;

use crate::checkpoint::{self, Content, Failed, Manifest};
use crate::disk::{Disk, DiskFile, FileWrite, is_no_space};
use crate::known::{Known, sync};
use crate::mutant::Mutant;
use crate::reserve::Reserve;
use format::{BlockHeader, SegmentHeader, Stretch};
use model::job::{Checkpoint, Done, JobError, PartitionSegments, SegmentFlush, SegmentMeta, ShardCheckpoint};
use model::{Offset, PartitionId, StoredBatch};
use read::OpenSegments;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// The directory of all segments.
pub const DIRECTORY: &str = "segments";
/// Up to this many files are synced one by one; more, and one `syncfs` is cheaper (docs/decisions/0003).
pub const SYNC_EACH_MAX: usize = 4;

/// Stretches that are written together: at most so many files, and about so many bytes, which are summed and then copied: more would
/// leave the processor's cache in between.
const TOGETHER_FILES_MAX: usize = 256;
const TOGETHER_BYTES_MAX: u64 = 4 << 20;

/// Directory of a topic.
pub fn topic_directory(partition: &PartitionId) -> String {
    format!("{DIRECTORY}/{}", partition.topic.hex())
}

/// Directory of a partition.
pub fn directory(partition: &PartitionId) -> String {
    format!("{DIRECTORY}/{}/{}", partition.topic.hex(), partition.index)
}

/// Path of a segment.
pub fn path(partition: &PartitionId, base_offset: Offset) -> String {
    format!("{}/{:020}.seg", directory(partition), base_offset.0)
}

/// The write side of segments and checkpoint.
pub struct Segments<D: Disk> {
    disk: Arc<D>,
    known: Arc<Known>,
    mutant: Option<Mutant>,
    manifest: Manifest,
    /// The shards of the newest checkpoint.
    shards: Vec<ShardCheckpoint>,
    /// Checkpoints that only let segments go.
    releases: u64,
    sequence: u64,
    /// Slot of the newest checkpoint.
    slot: usize,
    /// No longer referred to; their names are still to be taken away.
    deletes: BTreeSet<(PartitionId, Offset)>,
    /// Names taken away, not yet durably so.
    unlinked: BTreeSet<(PartitionId, Offset)>,
    indexed: BTreeMap<(PartitionId, Offset), Vec<BlockHeader>>,
    /// Partitions whose directories were synced since the start.
    named: BTreeSet<PartitionId>,
    readers: Arc<OpenSegments<D::File>>,
    reserve: Reserve,
    mending: Option<mend::Mending<D::File>>,
}

/// What a segment's file gets.
struct Addition {
    path: String,
    is_new: bool,
    stretch: Stretch,
}

impl Addition {
    fn write(&self) -> FileWrite<'_> {
        let (path, offset, pieces) = (self.path.clone(), self.stretch.start(), self.stretch.slices());
        FileWrite { path, is_new: self.is_new, offset, pieces }
    }
}

/// What a checkpoint did so far.
struct Work<F> {
    manifest: Manifest,
    changed: BTreeSet<PartitionId>,
    /// Not written yet.
    stretches: Vec<Addition>,
    stretched_bytes: u64,
    touched: Vec<F>,
    created: Vec<(PartitionId, Offset)>,
    directories: BTreeSet<String>,
    blocks: Vec<((PartitionId, Offset), Vec<BlockHeader>)>,
    sealed: Vec<(PartitionId, Offset)>,
    syncs_each: bool,
}

impl<D: Disk> Segments<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        known: Arc<Known>,
        mutant: Option<Mutant>,
        (content, slot): (Content, usize),
        leftovers: Vec<(PartitionId, Offset)>,
        readers: Arc<OpenSegments<D::File>>,
        reserve: Reserve,
    ) -> Segments<D> {
        Segments {
            disk,
            known,
            mutant,
            manifest: content.manifest,
            shards: content.shards,
            releases: 0,
            sequence: content.sequence,
            slot,
            deletes: content.deletes.into_iter().chain(leftovers).collect(),
            unlinked: BTreeSet::new(),
            indexed: BTreeMap::new(),
            named: BTreeSet::new(),
            readers,
            reserve,
            mending: None,
        }
    }

    /// Makes batches and state durable together. Without space for the batches, first lets go what nobody needs any more.
    ///
    /// # Errors
    /// `NoSpace`: nothing changed but that trimmed and dropped segments may be gone; try again later. `Device`: never use it again.
    pub fn checkpoint(&mut self, job: Checkpoint) -> Result<Done, JobError> {
        self.known.usable()?;
        let outcome = match self.attempt(&job) {
            Err(JobError::NoSpace) if self.release(&job)? => self.attempt(&job),
            Ok(done) => {
                let put_by = self.reserve.put_by(&*self.disk);
                put_by.map_err(|error| self.known.fail("put space by for a start", &error))?;
                Ok(done)
            }
            Err(error) => Err(error),
        };
        self.known.state().checkpoint_lacks_space = matches!(outcome, Err(JobError::NoSpace));
        outcome
    }

    /// How often segments were let go for want of space.
    pub fn releases(&self) -> u64 {
        self.releases
    }

    fn attempt(&mut self, job: &Checkpoint) -> Result<Done, JobError> {
        let mut work = self.work(job.flushes.len());
        for flush in &job.flushes {
            if let Err(error) = self.flush(&mut work, flush) {
                return Err(self.give_up(&work, "write a segment", error));
            }
        }
        if let Err(error) = self.write_stretches(&mut work) {
            return Err(self.give_up(&work, "write a segment", error));
        }
        let deletes = self.deletes_after(&mut work, job);
        self.record(&mut work, job.shards.clone(), job.clean, deletes)?;
        self.write_indexes(std::mem::take(&mut work.blocks), &work.sealed);
        // What an earlier attempt let go is news as well.
        work.changed.extend(job.trims.iter().map(|(partition, _)| *partition));
        let segments = |partition: &PartitionId| self.manifest.get(partition).cloned().unwrap_or_default();
        let changed = work
            .changed
            .iter()
            .map(|partition| PartitionSegments { partition: *partition, segments: segments(partition) });
        Ok(Done::Checkpoint { changed: changed.collect() })
    }

    /// Records that trimmed and dropped segments are gone, and nothing else: the shards stay where the last checkpoint has them, and the
    /// WAL, which is kept from there, has the entries that trimmed and dropped (docs/decisions/0008). Needs no space. `false` when there is
    /// nothing to let go, or no space even for that.
    fn release(&mut self, job: &Checkpoint) -> Result<bool, JobError> {
        let mut work = self.work(0);
        let deletes = self.deletes_after(&mut work, job);
        if deletes.is_empty() {
            return Ok(false);
        }
        let shards = match self.mutant {
            Some(Mutant::ReleaseTakesNewState) => job.shards.clone(),
            _ => self.shards.clone(),
        };
        match self.record(&mut work, shards, false, deletes) {
            Ok(()) => self.releases += 1,
            Err(JobError::NoSpace) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn work(&self, flushes: usize) -> Work<D::File> {
        Work {
            manifest: self.manifest.clone(),
            changed: BTreeSet::new(),
            stretches: Vec::new(),
            stretched_bytes: 0,
            touched: Vec::new(),
            created: Vec::new(),
            directories: BTreeSet::new(),
            blocks: Vec::new(),
            sealed: Vec::new(),
            syncs_each: flushes <= SYNC_EACH_MAX && self.unlinked.len() <= SYNC_EACH_MAX,
        }
    }

    /// Takes trimmed and dropped segments out of the manifest; what nobody refers to then.
    fn deletes_after(&self, work: &mut Work<D::File>, job: &Checkpoint) -> BTreeSet<(PartitionId, Offset)> {
        let mut deletes: BTreeSet<_> = self.deletes.difference(&self.unlinked).copied().collect();
        deletes.extend(trim(work, job));
        deletes.retain(|(partition, base)| !refers(&work.manifest, partition, *base));
        deletes
    }

    /// Makes the next slot durable with what it refers to; only then takes names away.
    fn record(
        &mut self,
        work: &mut Work<D::File>,
        shards: Vec<ShardCheckpoint>,
        clean: bool,
        deletes: BTreeSet<(PartitionId, Offset)>,
    ) -> Result<(), JobError> {
        if self.mutant == Some(Mutant::DeleteBeforeCheckpoint) {
            deletes.iter().for_each(|(partition, base)| drop(self.disk.unlink(&path(partition, *base))));
        }
        self.make_durable(work)?;
        self.named.extend(work.blocks.iter().map(|((partition, _), _)| *partition));
        let content = self.content(std::mem::take(&mut work.manifest), shards, clean, &deletes);
        let slot = if self.mutant == Some(Mutant::CheckpointOneSlot) { 0 } else { 1 - self.slot };
        match checkpoint::write(&*self.disk, slot, &content, self.mutant) {
            Ok(()) => {}
            Err(Failed::Before(error)) => return Err(self.give_up(work, "write a checkpoint", error)),
            Err(Failed::Sync(error)) => return Err(self.known.fail("sync a checkpoint", &error)),
        }
        self.known.on_checkpoint(content.sequence, &content.shards, content.clean);
        (self.slot, self.sequence, self.shards) = (slot, content.sequence, content.shards);
        (self.deletes, self.unlinked) = (deletes, BTreeSet::new());
        self.manifest = content.manifest;
        self.end_needless_mend(content.clean)?;
        self.unlink_deletes()
    }

    /// The segments of all partitions, as the durable checkpoint has them.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn content(
        &self,
        manifest: Manifest,
        shards: Vec<ShardCheckpoint>,
        clean: bool,
        deletes: &BTreeSet<(PartitionId, Offset)>,
    ) -> Content {
        let state = self.known.state();
        // A clean end must not hide entries that only the WAL has.
        let applied: BTreeMap<_, _> = shards.iter().map(|shard| (shard.shard, shard.applied)).collect();
        let covered =
            state.last.iter().all(|(shard, last)| applied.get(shard).is_some_and(|applied| last <= applied));
        Content {
            sequence: self.sequence + 1,
            synced_upto: state.synced_upto,
            epoch: state.epoch,
            clean: clean && covered,
            shards,
            manifest,
            deletes: deletes.iter().copied().collect(),
        }
    }

    /// Writes one partition's batches, rolling where it is time to.
    fn flush(&self, work: &mut Work<D::File>, flush: &SegmentFlush) -> io::Result<()> {
        let partition = flush.partition;
        let Some(first) = flush.batches.first() else { return Ok(()) };
        work.changed.insert(partition);
        let mut segments = work.manifest.remove(&partition).unwrap_or_default();
        if let Some(newest) = segments.last() {
            assert_eq!(newest.end_offset, first.base_offset, "a flush follows the partition's segments");
        } else {
            // The directories may exist, made by a process that died before it synced them.
            work.directories.extend([topic_directory(&partition), DIRECTORY.into()]);
            self.disk.create_dir_all(&directory(&partition))?;
        }
        let mut rest = flush.batches.as_slice();
        while let Some(first) = rest.first() {
            let is_new = match segments.last() {
                Some(newest) => is_full(newest, first, flush) || self.is_missing(&partition, newest)?,
                None => true,
            };
            if is_new {
                work.sealed.extend(segments.last().map(|sealed| (partition, sealed.base_offset)));
                segments.push(SegmentMeta {
                    base_offset: first.base_offset,
                    end_offset: first.base_offset,
                    size: 0,
                    batch_bytes: 0,
                    first_timestamp: first.max_timestamp,
                    max_timestamp: first.max_timestamp,
                });
            }
            let meta = segments.last_mut().expect("there is one");
            let taken = self.extend(work, partition, meta, rest, flush, is_new)?;
            rest = &rest[taken..];
        }
        work.manifest.insert(partition, segments);
        Ok(())
    }

    /// Somebody took the file away: what follows goes into another one, and it is mended for itself.
    fn is_missing(&self, partition: &PartitionId, newest: &SegmentMeta) -> io::Result<bool> {
        Ok(newest.size > 0 && !self.disk.exists(&path(partition, newest.base_offset))?)
    }

    /// Appends batches to one segment until it is full; says how many.
    fn extend(
        &self,
        work: &mut Work<D::File>,
        partition: PartitionId,
        meta: &mut SegmentMeta,
        batches: &[StoredBatch],
        flush: &SegmentFlush,
        is_new: bool,
    ) -> io::Result<usize> {
        let key = (partition, meta.base_offset);
        let path = path(&partition, meta.base_offset);
        if is_new {
            work.created.push(key);
        }
        // A process that gave a mended file its name may have died before the name was durable: what goes into the file goes with it.
        if is_new || !self.named.contains(&partition) {
            work.directories.insert(directory(&partition));
        }
        let header = SegmentHeader { partition, base_offset: meta.base_offset, made_by: self.sequence + 1 };
        let start = match self.mutant {
            Some(Mutant::SegmentTailTrusted) if !is_new => {
                crate::layout::padded(self.disk.open_unbuffered(&path)?.len()?)
            }
            _ => meta.size,
        };
        let mut stretch = Stretch::new(header, start);
        let mut taken = 0;
        for batch in batches {
            assert_eq!(batch.base_offset, meta.end_offset, "batches follow each other");
            if taken > 0 && is_full(meta, batch, flush) {
                break;
            }
            stretch.push(batch);
            meta.end_offset = batch.next_offset();
            meta.batch_bytes += batch.size() as u64;
            meta.max_timestamp = meta.max_timestamp.max(batch.max_timestamp);
            taken += 1;
        }
        meta.size = stretch.finish();
        work.blocks.push((key, std::mem::take(&mut stretch.blocks)));
        work.stretched_bytes += meta.size - stretch.start();
        work.stretches.push(Addition { path, is_new, stretch });
        if work.stretches.len() >= TOGETHER_FILES_MAX || work.stretched_bytes >= TOGETHER_BYTES_MAX {
            self.write_stretches(work)?;
        }
        Ok(taken)
    }

    /// Writes what was gathered.
    fn write_stretches(&self, work: &mut Work<D::File>) -> io::Result<()> {
        let stretches = std::mem::take(&mut work.stretches);
        work.stretched_bytes = 0;
        let writes: Vec<FileWrite<'_>> = stretches.iter().map(Addition::write).collect();
        if !work.syncs_each {
            return self.disk.write_files(&writes);
        }
        for write in &writes {
            work.touched.push(write.carry_out(&*self.disk)?);
        }
        Ok(())
    }

    /// Everything that the next slot will refer to (rule 6).
    fn make_durable(&self, work: &Work<D::File>) -> Result<(), JobError> {
        let fail = |error| self.known.fail("sync segments", &error);
        if self.mutant == Some(Mutant::SegmentNotSynced) {
            return Ok(());
        }
        if !work.syncs_each {
            return self.disk.sync_all().map_err(fail);
        }
        for file in &work.touched {
            sync(file, self.mutant).map_err(fail)?;
        }
        if self.mutant == Some(Mutant::DirectoryNotSynced) {
            return Ok(());
        }
        let mut directories = work.directories.clone();
        for (partition, _) in &self.unlinked {
            directories.extend([directory(partition), topic_directory(partition), DIRECTORY.into()]);
        }
        // The directories of dropped partitions may be gone themselves.
        for directory in &directories {
            match self.disk.sync_dir(directory) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && !work.directories.contains(directory) => {}
                other => other.map_err(fail)?,
            }
        }
        Ok(())
    }

    /// Takes back what an attempt made that nobody refers to.
    fn give_up(&mut self, work: &Work<D::File>, what: &str, error: io::Error) -> JobError {
        if !is_no_space(&error) {
            return self.known.fail(what, &error);
        }
        for (partition, base) in &work.created {
            if let Err(error) = self.unlink(partition, *base) {
                return self.known.fail("give a segment back", &error);
            }
        }
        // Durably gone before the next checkpoint counts, or a power cut brings back what no checkpoint knows.
        self.unlinked.extend(work.created.iter().copied());
        JobError::NoSpace
    }

    /// Takes names away that the durable checkpoint does not refer to any more.
    fn unlink_deletes(&mut self) -> Result<(), JobError> {
        for (partition, base) in &self.deletes {
            self.unlink(partition, *base).map_err(|error| self.known.fail("delete a segment", &error))?;
            self.unlinked.insert((*partition, *base));
            self.indexed.remove(&(*partition, *base));
            self.readers.forget(*partition, *base);
        }
        let partitions: BTreeSet<_> = self.deletes.iter().map(|(partition, _)| *partition).collect();
        for partition in partitions.iter().filter(|partition| !self.manifest.contains_key(*partition)) {
            self.named.remove(partition);
            for directory in [directory(partition), topic_directory(partition)] {
                match self.disk.remove_dir(&directory) {
                    Ok(()) => {}
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                        ) => {}
                    Err(error) => return Err(self.known.fail("delete a directory", &error)),
                }
            }
        }
        Ok(())
    }

    fn unlink(&self, partition: &PartitionId, base: Offset) -> io::Result<()> {
        for path in [path(partition, base), index::path(partition, base)] {
            match self.disk.unlink(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Indexes are disposable: what cannot be written is rebuilt by whoever reads.
    fn write_indexes(
        &mut self,
        blocks: Vec<((PartitionId, Offset), Vec<BlockHeader>)>,
        sealed: &[(PartitionId, Offset)],
    ) {
        for (key, new) in blocks {
            let waiting = self.indexed.entry(key).or_default();
            waiting.extend(new);
            let is_sealed = sealed.contains(&key) && waiting.len() > 1;
            if waiting.len() >= index::CHUNK_BLOCKS || is_sealed {
                let chunk = std::mem::take(waiting);
                index::append(&*self.disk, &key.0, key.1, &chunk);
            }
        }
        for key in sealed {
            self.indexed.remove(key);
        }
    }
}

/// Whether a segment must not take this batch.
fn is_full(segment: &SegmentMeta, batch: &StoredBatch, flush: &SegmentFlush) -> bool {
    let bytes = segment.batch_bytes + batch.size() as u64 > flush.roll_bytes;
    let age = batch.max_timestamp.saturating_sub(segment.first_timestamp);
    segment.batch_bytes > 0 && (bytes || u64::try_from(age).is_ok_and(|age| age > flush.roll_ms))
}

/// Whether the manifest has this segment.
fn refers(manifest: &Manifest, partition: &PartitionId, base: Offset) -> bool {
    manifest.get(partition).is_some_and(|segments| segments.iter().any(|segment| segment.base_offset == base))
}

/// Takes trimmed and dropped segments out of the manifest; says which.
fn trim<F>(work: &mut Work<F>, job: &Checkpoint) -> Vec<(PartitionId, Offset)> {
    let mut gone = Vec::new();
    let starts = job.trims.iter().copied();
    for (partition, start) in starts.chain(job.drops.iter().map(|partition| (*partition, Offset(i64::MAX)))) {
        let Some(segments) = work.manifest.get_mut(&partition) else { continue };
        let count = segments.iter().take_while(|segment| segment.end_offset <= start).count();
        if count > 0 {
            gone.extend(segments.drain(..count).map(|segment| (partition, segment.base_offset)));
            work.changed.insert(partition);
        }
        if segments.is_empty() {
            work.manifest.remove(&partition);
        }
    }
    gone
}
