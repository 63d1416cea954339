//! The read side of the segments: whole batches from an offset on, and the first batch at or above a time. Used by
//! many threads at once. Invariant: no byte leaves that its block's checksum does not cover, and none from behind the
//! size that the caller knows from a durable checkpoint.

use crate::disk::Disk;
use crate::layout::{read, read_units};
use crate::lru::Lru;
use crate::mutant::Mutant;
use crate::segments::ahead::{Ahead, Found};
use crate::segments::format::{BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES, SegmentHeader, decode_block};
use crate::segments::index::{BlockPlace, Index};
use crate::segments::path;
use bytes::Bytes;
use model::job::{Done, JobError, SegmentMeta, SegmentRead, TimeLookup};
use model::{Buffers, Offset, PartitionId, StoredBatch};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Segments open for reading. Shared with the write side, which lets go of what it deletes: an open file keeps its
/// space.
pub struct OpenSegments<F>(Mutex<Lru<(PartitionId, Offset), Arc<OpenSegment<F>>>>);

impl<F> OpenSegments<F> {
    pub(crate) fn new() -> OpenSegments<F> {
        OpenSegments(Mutex::new(Lru::new(OPEN_SEGMENTS_MAX)))
    }

    /// Closes a segment that was deleted, once its last reader is done.
    pub(crate) fn forget(&self, partition: PartitionId, base_offset: Offset) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(partition, base_offset));
    }
}

/// Reads segments.
pub struct Reader<D: Disk> {
    disk: Arc<D>,
    mutant: Option<Mutant>,
    open: Arc<OpenSegments<D::File>>,
    ahead: Ahead,
    buffers: Arc<Buffers>,
}

/// Where something failed its checks.
struct Bad(String);

impl<D: Disk> Reader<D> {
    pub(crate) fn new(disk: Arc<D>, mutant: Option<Mutant>, open: Arc<OpenSegments<D::File>>) -> Reader<D> {
        Reader { disk, mutant, open, ahead: Ahead::default(), buffers: Buffers::new(IDLE_BUFFER_BYTES_MAX) }
    }

    /// Batches from the one that holds `offset` on; none when the offset is behind the segment's end.
    ///
    /// # Errors
    /// `Damaged`: these offsets fail their checks. `Device`: the system's word.
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
                    let index = open.index.lock().unwrap_or_else(PoisonError::into_inner);
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
        let place = path(partition, meta.base_offset);
        let offset = offset.max(meta.base_offset);
        let open = self.open(partition, meta)?;
        match self
            .try_batches(&open, partition, meta, offset, bytes_max)
            .map_err(|error| device(&place, &error))?
        {
            Ok(batches) => return Ok(batches),
            Err(Bad(_)) => {
                // Perhaps only the index is bad.
                let mut index = Index::rebuilt();
                index.extend(&open.file, meta.size).map_err(|error| device(&place, &error))?;
                *open.index.lock().unwrap_or_else(PoisonError::into_inner) = index;
            }
        }
        let again = self.try_batches(&open, partition, meta, offset, bytes_max);
        again.map_err(|error| device(&place, &error))?.map_err(|Bad(what)| JobError::Damaged {
            detail: format!("{place} at offset {}: {what}", offset.0),
        })
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
            let index = open.index.lock().unwrap_or_else(PoisonError::into_inner);
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
        let bytes =
            read_units(&open.file, first.position, (last.end() - first.position) as usize, &self.buffers)?;
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
        let place = path(partition, meta.base_offset);
        let found = self.open.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key);
        let open = match found {
            Some(open) => open,
            None => {
                let open = Arc::new(self.open_new(partition, meta, &place)?);
                self.open.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, open.clone());
                open
            }
        };
        let mut index = open.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.extend(&open.file, meta.size).map_err(|error| device(&place, &error))?;
        drop(index);
        Ok(open)
    }

    fn open_new(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
        place: &str,
    ) -> Result<OpenSegment<D::File>, JobError> {
        let damaged = |detail| JobError::Damaged { detail };
        let file = self.disk.open_read_unbuffered(place).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(format!("{place} is missing")),
            _ => device(place, &error),
        })?;
        let raw = read(&file, 0, HEADER_BYTES).map_err(|error| device(place, &error))?;
        let header = SegmentHeader::decode(&raw).map_err(|what| damaged(format!("{place}: {what}")))?;
        if header.partition != *partition || header.base_offset != meta.base_offset {
            return Err(damaged(format!("{place} is another segment's file")));
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

fn device(place: &str, error: &io::Error) -> JobError {
    JobError::Device { detail: format!("read {place}: {error}") }
}
