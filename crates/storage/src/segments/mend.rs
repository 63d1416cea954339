//! A damaged segment is written anew beside the damaged one, in steps between checkpoints, and takes its name when it is whole
//! and durable. What no whole block holds is brought by the caller; the damaged bytes stay in `quarantine/` (rule 11).
//!
//! The manifest does not change: the same batches in as few blocks as possible take no more room than before, and the rest of
//! the file stays zero. Whoever dies on the way has the damaged file, as before.

use super::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, SegmentHeader, Stretch, decode_block};
use super::index::{self, BlockPlace, Index};
use super::{Segments, directory, path};
use crate::disk::{Disk, DiskFile, is_no_space};
use crate::known::sync;
use crate::layout::read;
use crate::mutant::Mutant;
use crate::sweep::QUARANTINE;
use model::job::{Done, JobError, Mended, SegmentMend, SegmentMeta};
use model::{Offset, PartitionId, StoredBatch};
use std::io::{self, IoSlice};
use std::mem;

/// Most damaged bytes of one segment that are kept in quarantine.
const QUARANTINED_BYTES_MAX: u64 = 16 << 20;
/// Damaged bytes copied at a time.
const COPIED_BYTES: usize = 1 << 20;

/// A segment that is being written anew.
pub(super) struct Mending<F> {
    partition: PartitionId,
    base_offset: Offset,
    staged: F,
    /// The damaged file, if there is one.
    old: Option<F>,
    index: Index,
    /// Where the staged file ends: its last sector's start, and what of that sector is in use.
    end: (u64, Vec<u8>),
    /// Not in a block yet: it is not known whether the block is full.
    pending: Vec<StoredBatch>,
    /// What comes next.
    next: Offset,
    /// Bytes of batches so far, and of those that were brought.
    batch_bytes: u64,
    brought: u64,
    /// Something that nobody reads stays away.
    is_shorter: bool,
    /// Where the last whole block of the damaged file ended, and the stretches without any: position and length.
    old_end: u64,
    holes: Vec<(u64, u64)>,
}

/// Path of the file that will be the segment.
fn staged_path(partition: &PartitionId, base_offset: Offset) -> String {
    format!("{}/{:020}.new", directory(partition), base_offset.0)
}

impl<D: Disk> Segments<D> {
    /// Goes on with mending one segment.
    ///
    /// # Errors
    /// `NoSpace`: nothing changed, try again later. `Damaged`: what was brought does not fit; nothing changed. `Device`: never
    /// use it again.
    pub fn mend(&mut self, job: SegmentMend) -> Result<Done, JobError> {
        self.known.usable()?;
        let key = (job.partition, job.base_offset);
        if self.mending.as_ref().is_some_and(|mending| (mending.partition, mending.base_offset) != key) {
            self.end_mend()?;
        }
        let metas = self.manifest.get(&job.partition);
        let Some(meta) =
            metas.and_then(|metas| metas.iter().find(|meta| meta.base_offset == job.base_offset)).copied()
        else {
            self.end_mend()?;
            return Ok(Done::Mend(Mended::Gone));
        };
        let mending = match self.mending.take() {
            Some(mending) => Ok(mending),
            None => self.begin_mend(job.partition, &meta),
        };
        let outcome = mending.and_then(|mut mending| {
            let step = self.mend_step(&mut mending, &meta, job);
            self.mending = Some(mending);
            step
        });
        match outcome {
            Ok(Ok(mended)) => {
                if let Mended::Whole { .. } = mended {
                    self.take_over(&meta)?;
                }
                Ok(Done::Mend(mended))
            }
            Ok(Err(detail)) => {
                self.end_mend()?;
                let detail = format!("{}: {detail}", path(&key.0, key.1));
                Err(JobError::Damaged { partition: key.0, base_offset: key.1, detail })
            }
            Err(error) if is_no_space(&error) => {
                self.end_mend()?;
                Err(JobError::NoSpace)
            }
            Err(error) => Err(self.known.fail("mend a segment", &error)),
        }
    }

    fn begin_mend(&self, partition: PartitionId, meta: &SegmentMeta) -> io::Result<Mending<D::File>> {
        // Of a partition whose directory somebody took away nothing is there at all.
        self.disk.create_dir_all(&directory(&partition))?;
        let staged = self.disk.create_unbuffered(&staged_path(&partition, meta.base_offset))?;
        let old = match self.disk.open_read_unbuffered(&path(&partition, meta.base_offset)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        Ok(Mending {
            partition,
            base_offset: meta.base_offset,
            staged,
            old,
            index: Index::rebuilt(),
            end: (0, Vec::new()),
            pending: Vec::new(),
            next: meta.base_offset,
            batch_bytes: 0,
            brought: 0,
            is_shorter: false,
            old_end: 0,
            holes: Vec::new(),
        })
    }

    /// One step; what is wrong with the batches that were brought, for a person, when they do not fit.
    fn mend_step(
        &self,
        mending: &mut Mending<D::File>,
        meta: &SegmentMeta,
        job: SegmentMend,
    ) -> io::Result<Result<Mended, String>> {
        if let Some(old) = &mending.old {
            // Where too much cannot be read the blocks behind it are as good as not there.
            let _unreadable = mending.index.extend(old, meta.size);
        }
        let header = SegmentHeader {
            partition: mending.partition,
            base_offset: mending.base_offset,
            made_by: self.sequence,
        };
        let mut stretch = Stretch::behind(header, mem::take(&mut mending.end));
        let mut bytes = 0;
        for batch in job.batches {
            if mending.next < batch.base_offset && batch.base_offset <= job.needed_from {
                mending.pass(&mut stretch, batch.base_offset);
            }
            if batch.base_offset != mending.next || batch.next_offset() > meta.end_offset {
                return Ok(Err(format!(
                    "offset {} was brought where {} is lacking",
                    batch.base_offset.0, mending.next.0
                )));
            }
            mending.brought += batch.size() as u64;
            mending.push(&mut stretch, batch);
        }
        let mended = loop {
            if mending.next >= meta.end_offset {
                break None;
            }
            if bytes >= job.bytes_max {
                break Some(Mended::Copied);
            }
            match mending.whole_block(mending.next, self.mutant) {
                Some((place, batches)) => {
                    bytes += place.size as usize;
                    mending.old_end = mending.old_end.max(place.end());
                    batches.into_iter().for_each(|batch| mending.push(&mut stretch, batch));
                }
                None => {
                    let (to, position) = mending.behind_hole(meta, self.mutant);
                    mending.holes.push((mending.old_end, position.saturating_sub(mending.old_end)));
                    mending.old_end = mending.old_end.max(position);
                    if to <= job.needed_from {
                        mending.pass(&mut stretch, to);
                        continue;
                    }
                    break Some(Mended::Lacks { from: mending.next.max(job.needed_from), to });
                }
            }
        };
        if mended.is_none() {
            mending.flush(&mut stretch);
        }
        let end = stretch.finish();
        mending.staged.write_at(stretch.start(), &stretch.slices())?;
        mending.end = stretch.end();
        if let Some(mended) = mended {
            return Ok(Ok(mended));
        }
        if mending.batch_bytes != meta.batch_bytes && !mending.is_shorter {
            let (is, was) = (mending.batch_bytes, meta.batch_bytes);
            return Ok(Err(format!(
                "{is} bytes of records now, {was} before the damage: another replica has others"
            )));
        }
        assert!(end <= meta.size, "the same batches in no more blocks take no more room");
        mending.staged.set_len(meta.size)?;
        Ok(Ok(Mended::Whole { brought: mending.brought }))
    }

    /// The staged file is whole: makes it durable, puts the damaged bytes aside, and gives it the segment's name.
    fn take_over(&mut self, meta: &SegmentMeta) -> Result<(), JobError> {
        let mending = self.mending.take().expect("a step has just ended");
        let staged = staged_path(&mending.partition, mending.base_offset);
        let place = path(&mending.partition, mending.base_offset);
        let fail = |error: io::Error| self.known.fail("mend a segment", &error);
        sync(&mending.staged, self.mutant).map_err(fail)?;
        match self.put_aside(&mending, &place) {
            Err(error) if !is_no_space(&error) => return Err(fail(error)),
            _ => {}
        }
        match self.disk.rename(&staged, &place) {
            Err(error) if is_no_space(&error) => {
                self.mending = Some(mending);
                self.end_mend()?;
                return Err(JobError::NoSpace);
            }
            other => other.map_err(fail)?,
        }
        self.disk.sync_dir(&directory(&mending.partition)).map_err(fail)?;
        match self.disk.unlink(&index::path(&mending.partition, mending.base_offset)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        self.indexed.remove(&(mending.partition, meta.base_offset));
        self.readers.forget(mending.partition, meta.base_offset);
        Ok(())
    }

    /// Keeps the damaged bytes, as many as there is room for: they are evidence, and nothing depends on them.
    fn put_aside(&self, mending: &Mending<D::File>, place: &str) -> io::Result<()> {
        let Some(old) = &mending.old else { return Ok(()) };
        let size = old.len()?;
        self.disk.create_dir_all(QUARANTINE)?;
        let mut left = QUARANTINED_BYTES_MAX;
        for (position, length) in &mending.holes {
            let length = (*length).min(size.saturating_sub(*position)).min(left);
            if length == 0 {
                continue;
            }
            left -= length;
            let to = format!("{QUARANTINE}/{}@{position}", place.replace('/', "_"));
            copy(old, (*position, length), &self.disk.create(&to)?)?;
        }
        self.disk.sync_dir(QUARANTINE)?;
        self.disk.sync_dir("")
    }

    /// Gives up a mend that nobody needs any more.
    pub(super) fn end_needless_mend(&mut self, is_last: bool) -> Result<(), JobError> {
        let is_needed = |mending: &Mending<D::File>| {
            !is_last && super::refers(&self.manifest, &mending.partition, mending.base_offset)
        };
        if self.mending.as_ref().is_some_and(is_needed) { Ok(()) } else { self.end_mend() }
    }

    fn end_mend(&mut self) -> Result<(), JobError> {
        let Some(mending) = self.mending.take() else { return Ok(()) };
        match self.disk.unlink(&staged_path(&mending.partition, mending.base_offset)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.known.fail("give up mending a segment", &error))
            }
            _ => Ok(()),
        }
    }
}

impl<F: DiskFile> Mending<F> {
    /// The next batch. Blocks are filled as far as they get, whatever the steps: no other way takes less room.
    fn push(&mut self, stretch: &mut Stretch, batch: StoredBatch) {
        let pending: usize = self.pending.iter().map(StoredBatch::size).sum();
        if pending + batch.size() > BLOCK_BYTES {
            self.flush(stretch);
        }
        self.next = batch.next_offset();
        self.batch_bytes += batch.size() as u64;
        self.pending.push(batch);
    }

    fn flush(&mut self, stretch: &mut Stretch) {
        mem::take(&mut self.pending).iter().for_each(|batch| stretch.push(batch));
    }

    /// Leaves out what nobody reads, up to this offset. The offsets of one block follow each other: the next one begins here.
    fn pass(&mut self, stretch: &mut Stretch, to: Offset) {
        self.flush(stretch);
        stretch.close();
        (self.next, self.is_shorter) = (to, true);
    }

    /// The damaged file's block that begins with this offset, if it is whole.
    fn whole_block(&self, offset: Offset, mutant: Option<Mutant>) -> Option<(BlockPlace, Vec<StoredBatch>)> {
        let place = *self.index.from(self.index.find(offset)?).first()?;
        (place.first_offset == offset).then_some(())?;
        Some((place, self.verified(&place, mutant)?))
    }

    fn verified(&self, place: &BlockPlace, mutant: Option<Mutant>) -> Option<Vec<StoredBatch>> {
        let size = BLOCK_HEADER_BYTES + place.size as usize;
        let raw = read(self.old.as_ref()?, place.position, size).ok()?;
        let header = BlockHeader::decode(&raw, place.position)?;
        let verify = mutant != Some(Mutant::MendTrustsBlocks);
        decode_block(self.partition, self.base_offset, &header, &raw.slice(BLOCK_HEADER_BYTES..), verify).ok()
    }

    /// The first offset behind `next` that a whole block begins with, and where that block stands.
    fn behind_hole(&self, meta: &SegmentMeta, mutant: Option<Mutant>) -> (Offset, u64) {
        let mut places = self.index.from(0).iter().filter(|place| place.first_offset > self.next);
        let whole = places.find(|place| self.verified(place, mutant).is_some());
        whole.map_or((meta.end_offset, meta.size), |place| (place.first_offset, place.position))
    }
}

fn copy<F: DiskFile>(from: &F, (position, length): (u64, u64), to: &F) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        // What cannot be read is no evidence.
        let Ok(bytes) = read(from, position + at, COPIED_BYTES.min((length - at) as usize)) else { break };
        if bytes.is_empty() {
            break;
        }
        to.write_at(at, &[IoSlice::new(&bytes)])?;
        at += bytes.len() as u64;
    }
    to.sync_data()
}
