//! The read side of the segments: whole batches from an offset on, and the first batch at or above a time. Used by
//! many threads at once. Invariant: no byte leaves that its block's checksum does not cover, and none from behind the
//! size that the caller knows from a durable checkpoint.

use crate::disk::{Disk, is_unreadable};
use crate::known::Known;
use crate::layout::{read, read_units};
use crate::lru::Lru;
use crate::mutant::Mutant;
use crate::segments::ahead::{Ahead, Found};
use crate::segments::format::{BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES, SegmentHeader, decode_block};
use crate::segments::index::{BlockPlace, Index};
use crate::segments::path;
use crate::wal::verify;
use bytes::Bytes;
use model::job::{Done, JobError, LogPlace, SegmentMeta, SegmentRead, TimeLookup};
use model::{Buffers, Offset, PartitionId, StoredBatch};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Segments kept open for reading, each with its index in memory.
const OPEN_SEGMENTS_MAX: usize = 128;
/// Bytes that one read takes from the disk at a time.
const READ_BYTES_MAX: usize = 4 << 20;
/// Memory of earlier reads kept for the next ones, bytes.
const IDLE_BUFFER_BYTES_MAX: usize = 16 << 20;

/// One segment with its index.
struct OpenSegment<F> {
    file: F,
    index: Mutex<Index>,
}

type Key = (PartitionId, Offset);

/// Segments open for reading. Shared with the write side, which lets go of what it deletes: an open file keeps its
/// space.
pub struct OpenSegments<F> {
    read: Mutex<Lru<Key, Arc<OpenSegment<F>>>>,
    /// The one that is being verified. It stands for itself: who goes through all segments must not push out those that are read.
    verified: Mutex<Option<(Key, Arc<OpenSegment<F>>)>>,
}

impl<F> OpenSegments<F> {
    pub(crate) fn new() -> OpenSegments<F> {
        OpenSegments { read: Mutex::new(Lru::new(OPEN_SEGMENTS_MAX)), verified: Mutex::new(None) }
    }

    /// Closes a segment that was deleted or written anew, once its last reader is done.
    pub(crate) fn forget(&self, partition: PartitionId, base_offset: Offset) {
        let key = (partition, base_offset);
        lock(&self.read).remove(&key);
        lock(&self.verified).take_if(|(verified, _)| *verified == key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads segments.
pub struct Reader<D: Disk> {
    disk: Arc<D>,
    mutant: Option<Mutant>,
    open: Arc<OpenSegments<D::File>>,
    known: Arc<Known>,
    ahead: Ahead,
    buffers: Arc<Buffers>,
}

/// Where something failed its checks.
struct Bad(String);

impl<D: Disk> Reader<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        mutant: Option<Mutant>,
        open: Arc<OpenSegments<D::File>>,
        known: Arc<Known>,
    ) -> Reader<D> {
        let buffers = Buffers::new(IDLE_BUFFER_BYTES_MAX);
        Reader { disk, mutant, open, known, ahead: Ahead::default(), buffers }
    }

    /// Batches from the one that holds `offset` on; none when the offset is behind the segment's end.
    ///
    /// # Errors
    /// `Damaged`: these offsets fail their checks, or the medium does not give them back. `Device`: the system's word.
    pub fn read(&self, job: &SegmentRead) -> Result<Done, JobError> {
        let found = self.ahead.take((job.partition, job.offset));
        let in_order = found != Found::Nothing;
        let (batches, rest) = match found {
            Found::Ready(batches) => fitting(batches, job.bytes_max),
            Found::Nothing | Found::Expected => {
                (self.batches(&job.partition, &job.segment, job.offset, job.bytes_max)?, Vec::new())
            }
        };
        if let Some(end) = batches.last().map(StoredBatch::next_offset) {
            if !rest.is_empty() {
                self.ahead.keep((job.partition, end), rest);
            } else if end < job.segment.end_offset {
                self.ahead.expect((job.partition, end), in_order);
            }
        }
        Ok(Done::Read(batches))
    }

    /// Reads as `read` does, only to see whether all is whole; says up to where. A segment that is gone through in order is opened
    /// where that begins, by its name: whoever has it open still would not notice that somebody took it away.
    ///
    /// # Errors
    /// As for `read`.
    pub fn verify(&self, job: &SegmentRead) -> Result<Done, JobError> {
        let (partition, meta) = (&job.partition, &job.segment);
        let key = (*partition, meta.base_offset);
        if job.offset >= meta.end_offset {
            return Ok(Done::Verify(None));
        }
        let begun = lock(&self.open.verified).take();
        let open = match begun.filter(|(verified, _)| *verified == key && job.offset > meta.base_offset) {
            Some((_, open)) => open,
            None => Arc::new(self.open_new(partition, meta)?),
        };
        lock(&open.index).extend(&open.file, meta.size).map_err(|error| failed(partition, meta, &error))?;
        let batches = self.batches_of(&open, partition, meta, job.offset, job.bytes_max)?;
        let next = batches.last().map(StoredBatch::next_offset);
        if next.is_some_and(|next| next < meta.end_offset) {
            *lock(&self.open.verified) = Some((key, open));
        }
        Ok(Done::Verify(next))
    }

    /// Looks whether what the next start reads is whole: some of the log from a place on, and behind its end the checkpoint.
    ///
    /// # Errors
    /// `DamagedLog`: it is not. `Device`: the system's word.
    pub fn verify_log(&self, from: Option<LogPlace>, bytes_max: usize) -> Result<Done, JobError> {
        Ok(Done::VerifyLog(verify::verify(&*self.disk, &self.known, from, bytes_max)?))
    }

    /// What to read ahead once this job is done: nothing, unless its reader goes through the segment in order.
    pub fn next(&self, job: &SegmentRead, done: &Result<Done, JobError>) -> Option<SegmentRead> {
        let Ok(Done::Read(batches)) = done else { return None };
        let next = SegmentRead { offset: batches.last()?.next_offset(), ..job.clone() };
        self.ahead.is_wanted((next.partition, next.offset)).then_some(next)
    }

    /// Reads what `next` said, for the reader that is expected there. What goes wrong is left for that reader to find.
    pub fn read_ahead(&self, job: &SegmentRead) {
        let place = (job.partition, job.offset);
        if self.ahead.begin(place) {
            let batches = self.batches(&job.partition, &job.segment, job.offset, job.bytes_max);
            self.ahead.end(place, batches.unwrap_or_default());
        }
    }

    /// The first batch with a timestamp at or above the one given, of those that end behind `from`.
    ///
    /// # Errors
    /// As for `read`; also for offsets before that batch that no whole block holds: the first one may be there.
    pub fn lookup(&self, job: &TimeLookup) -> Result<Done, JobError> {
        let segments = job.segments.iter();
        let wanted =
            segments.filter(|meta| meta.max_timestamp >= job.timestamp && meta.end_offset > job.from);
        for meta in wanted {
            let open = self.open(&job.partition, meta)?;
            let mut offset = job.from.max(meta.base_offset);
            while offset < meta.end_offset {
                let next = {
                    let index = lock(&open.index);
                    index.first_since(job.timestamp, offset, meta.end_offset)
                };
                let Some(next) = next else { break };
                let batches = self.block(&job.partition, meta, next)?;
                offset = batches.last().map_or(meta.end_offset, StoredBatch::next_offset);
                let found = batches.into_iter().find(|batch| batch.max_timestamp >= job.timestamp);
                if found.is_some() {
                    return Ok(Done::Lookup(found));
                }
            }
        }
        Ok(Done::Lookup(None))
    }

    fn block(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
        offset: Offset,
    ) -> Result<Vec<StoredBatch>, JobError> {
        self.batches(partition, meta, offset, crate::segments::format::BLOCK_BYTES)
    }

    fn batches(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
        offset: Offset,
        bytes_max: usize,
    ) -> Result<Vec<StoredBatch>, JobError> {
        if offset >= meta.end_offset {
            return Ok(Vec::new());
        }
        let open = self.open(partition, meta)?;
        self.batches_of(&open, partition, meta, offset, bytes_max)
    }

    fn batches_of(
        &self,
        open: &OpenSegment<D::File>,
        partition: &PartitionId,
        meta: &SegmentMeta,
        offset: Offset,
        bytes_max: usize,
    ) -> Result<Vec<StoredBatch>, JobError> {
        let failed = |error: io::Error| failed(partition, meta, &error);
        let offset = offset.max(meta.base_offset);
        match self.try_batches(open, partition, meta, offset, bytes_max).map_err(failed)? {
            Ok(batches) => return Ok(batches),
            Err(Bad(_)) => {
                // Perhaps only the index is bad.
                let mut index = Index::rebuilt();
                index.extend(&open.file, meta.size).map_err(failed)?;
                *lock(&open.index) = index;
            }
        }
        let again = self.try_batches(open, partition, meta, offset, bytes_max).map_err(failed)?;
        again.map_err(|Bad(what)| damaged(partition, meta, &format!("at offset {}: {what}", offset.0)))
    }

    fn try_batches(
        &self,
        open: &OpenSegment<D::File>,
        partition: &PartitionId,
        meta: &SegmentMeta,
        offset: Offset,
        bytes_max: usize,
    ) -> io::Result<Result<Vec<StoredBatch>, Bad>> {
        let places: Vec<BlockPlace> = {
            let index = lock(&open.index);
            let Some(first) = index.find(offset) else {
                return Ok(Err(Bad("no whole block holds it".into())));
            };
            let mut bytes = 0;
            let within = index.from(first).iter().take_while(|place| {
                // Blocks that do not fit are not read in vain; the first one must be, whatever its size.
                let wanted = bytes == 0 || bytes + place.size as usize <= bytes_max.min(READ_BYTES_MAX);
                bytes += place.size as usize;
                wanted && place.end() <= meta.size
            });
            within.copied().collect()
        };
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(Err(Bad("its block ends behind the segment".into())));
        };
        let upto =
            |end: u64| read_units(&open.file, first.position, (end - first.position) as usize, &self.buffers);
        let bytes = match upto(last.end()) {
            // Perhaps what cannot be read stands behind the first block.
            Err(error) if is_unreadable(&error) && places.len() > 1 => upto(first.end())?,
            other => other?,
        };
        let mut batches: Vec<StoredBatch> = Vec::new();
        let mut total = 0;
        for place in &places {
            let block = match self.verified(&bytes, first.position, place, partition, meta) {
                Ok(block) => block,
                Err(what) if batches.is_empty() => return Ok(Err(Bad(what.into()))),
                // What is whole is served; asking for the rest names the damage.
                Err(_) => return Ok(Ok(batches)),
            };
            for batch in block {
                if batch.last_offset() < offset {
                    continue;
                }
                let follows = batches.last().is_none_or(|last| last.next_offset() == batch.base_offset);
                total += batch.size();
                if !batches.is_empty() && (total > bytes_max || !follows) {
                    return Ok(Ok(batches));
                }
                batches.push(batch);
            }
        }
        Ok(if batches.is_empty() { Err(Bad("no batch holds it".into())) } else { Ok(batches) })
    }

    fn verified(
        &self,
        bytes: &Bytes,
        start: u64,
        place: &BlockPlace,
        partition: &PartitionId,
        meta: &SegmentMeta,
    ) -> Result<Vec<StoredBatch>, &'static str> {
        let skip = (place.position - start) as usize;
        let raw = bytes.get(skip..).unwrap_or_default();
        let header = BlockHeader::decode(raw, place.position).ok_or("bad block header")?;
        if BlockPlace::of(&header) != Some(*place) {
            return Err("a block that the index does not know");
        }
        let body_at = skip + BLOCK_HEADER_BYTES;
        let end = body_at + header.size as usize;
        if end > bytes.len() {
            return Err("the file ends inside a block");
        }
        let verify = self.mutant != Some(Mutant::BlockChecksumIgnored);
        decode_block(*partition, meta.base_offset, &header, &bytes.slice(body_at..end), verify)
    }

    /// The segment with its index reaching to the size that the caller knows.
    fn open(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
    ) -> Result<Arc<OpenSegment<D::File>>, JobError> {
        let key = (*partition, meta.base_offset);
        let found = lock(&self.open.read).get(&key);
        let open = match found {
            Some(open) => open,
            None => {
                let open = Arc::new(self.open_new(partition, meta)?);
                lock(&self.open.read).put(key, open.clone());
                open
            }
        };
        lock(&open.index).extend(&open.file, meta.size).map_err(|error| failed(partition, meta, &error))?;
        Ok(open)
    }

    fn open_new(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
    ) -> Result<OpenSegment<D::File>, JobError> {
        let damaged = |what: &str| damaged(partition, meta, what);
        let failed = |error: io::Error| failed(partition, meta, &error);
        let place = path(partition, meta.base_offset);
        let file = self.disk.open_read_unbuffered(&place).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged("is missing"),
            _ => failed(error),
        })?;
        let raw = read(&file, 0, HEADER_BYTES).map_err(failed)?;
        let header =
            SegmentHeader::decode(&raw).map_err(|what| damaged(&format!("has a bad header: {what}")))?;
        if header.partition != *partition || header.base_offset != meta.base_offset {
            return Err(damaged("is another segment's file"));
        }
        let index = Mutex::new(Index::load(&*self.disk, partition, meta.base_offset));
        Ok(OpenSegment { file, index })
    }
}

/// What goes into an answer of `bytes_max`, the first batch whatever its size, and what is left.
fn fitting(mut batches: Vec<StoredBatch>, bytes_max: usize) -> (Vec<StoredBatch>, Vec<StoredBatch>) {
    let mut bytes = 0;
    let within = batches.iter().take_while(|batch| {
        bytes += batch.size();
        bytes <= bytes_max
    });
    let count = within.count().max(1).min(batches.len());
    let rest = batches.split_off(count);
    (batches, rest)
}

fn damaged(partition: &PartitionId, meta: &SegmentMeta, what: &str) -> JobError {
    let detail = format!("{} {what}", path(partition, meta.base_offset));
    JobError::Damaged { partition: *partition, base_offset: meta.base_offset, detail }
}

fn failed(partition: &PartitionId, meta: &SegmentMeta, error: &io::Error) -> JobError {
    if is_unreadable(error) {
        return damaged(partition, meta, &format!("cannot be read: {error}"));
    }
    JobError::Device { detail: format!("read {}: {error}", path(partition, meta.base_offset)) }
}
