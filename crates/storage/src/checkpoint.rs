//! The two checkpoint slots, `checkpoint.0` and `checkpoint.1`: which segments there are, the shards' state at one
//! index, and how far the WAL was. The older slot is written, then synced; the newest whole one counts (rule 12).

use crate::disk::{Disk, DiskFile};
use crate::known::sync;
use crate::layout::{FORMAT_VERSION, Fields, is_sealed, padded, read, seal};
use crate::mutant::Mutant;
use bytes::Bytes;
use model::job::{SegmentMeta, ShardCheckpoint};
use model::{HardState, LogIndex, Offset, PartitionId, ShardId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};

const MAGIC: u64 = u64::from_le_bytes(*b"SPCHECKP");
/// Size of a slot's header, bytes.
const HEADER_BYTES: usize = 64;

/// Most bytes that a segment to be deleted takes in a slot: its partition (17 to 22) and its offset (up to 10).
const DELETE_BYTES_MAX: usize = 32;

/// Paths of the slots.
pub const SLOTS: [&str; 2] = ["checkpoint.0", "checkpoint.1"];

/// All segments of all partitions; a partition without any is not in it.
pub type Manifest = BTreeMap<PartitionId, Vec<SegmentMeta>>;

/// A checkpoint's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Counts up, from 1.
    pub sequence: u64,
    /// Newest WAL commit that was durable.
    pub synced_upto: u64,
    /// Epoch of the WAL file that was in use.
    pub epoch: u64,
    /// Nothing follows in the WAL, and nothing in it is needed.
    pub clean: bool,
    /// The shards.
    pub shards: Vec<ShardCheckpoint>,
    /// The segments.
    pub manifest: Manifest,
    /// Segments no longer referred to that may still have a name.
    pub deletes: Vec<(PartitionId, Offset)>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    synced_upto: u64,
    epoch: u64,
    clean: bool,
    shards: Vec<Shard>,
    partitions: Vec<(PartitionId, Vec<Segment>)>,
    deletes: Vec<(PartitionId, Offset)>,
}

#[derive(Serialize, Deserialize)]
struct Shard {
    shard: ShardId,
    applied: LogIndex,
    applied_term: Term,
    hard_state: HardState,
    members: Vec<u64>,
    state_size: u64,
}

#[derive(Serialize, Deserialize)]
struct Segment {
    base_offset: Offset,
    end_offset: Offset,
    size: u64,
    batch_bytes: u64,
    first_timestamp: i64,
    max_timestamp: i64,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// No such file.
    Missing,
    /// Not whole; why.
    Bad(String),
    /// Whole, of a format version that this program does not know.
    Version(u32),
    /// Whole.
    Whole(Box<Content>),
}

impl Slot {
    /// Its sequence, 0 when it is not whole.
    pub fn sequence(&self) -> u64 {
        match self {
            Slot::Whole(content) => content.sequence,
            _ => 0,
        }
    }
}

/// The bytes of a checkpoint: header and body, then the states as they are.
fn encode(content: &Content) -> Vec<u8> {
    let shards = content.shards.iter().map(|shard| Shard {
        shard: shard.shard,
        applied: shard.applied,
        applied_term: shard.applied_term,
        hard_state: shard.hard_state,
        members: shard.members.clone(),
        state_size: shard.state.len() as u64,
    });
    let partitions = content.manifest.iter().map(|(partition, segments)| {
        let segments = segments.iter().map(|meta| Segment {
            base_offset: meta.base_offset,
            end_offset: meta.end_offset,
            size: meta.size,
            batch_bytes: meta.batch_bytes,
            first_timestamp: meta.first_timestamp,
            max_timestamp: meta.max_timestamp,
        });
        (*partition, segments.collect())
    });
    let body = Body {
        synced_upto: content.synced_upto,
        epoch: content.epoch,
        clean: content.clean,
        shards: shards.collect(),
        partitions: partitions.collect(),
        deletes: content.deletes.clone(),
    };
    let body = postcard::to_stdvec(&body).expect("plain data in memory");
    let states_crc =
        content.shards.iter().fold(0, |crc, shard| model::checksum::crc32c_append(crc, &shard.state));
    let states_size: usize = content.shards.iter().map(|shard| shard.state.len()).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    for field in [content.sequence, body.len() as u64, states_size as u64] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&model::checksum::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&states_crc.to_le_bytes());
    out.resize(HEADER_BYTES - 4, 0);
    seal(&mut out, 0);
    out.extend_from_slice(&body);
    out
}

/// Reads a slot's bytes.
pub fn decode(bytes: &Bytes, mutant: Option<Mutant>) -> Slot {
    let check = mutant != Some(Mutant::CheckpointChecksumIgnored);
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Slot::Bad("shorter than a header".into()) };
    let mut fields = Fields::new(header);
    if fields.u64() != Some(MAGIC) || check && !is_sealed(header) {
        return Slot::Bad("bad header".into());
    }
    match fields.u32() {
        Some(FORMAT_VERSION) => {}
        other => return Slot::Version(other.unwrap_or(0)),
    }
    match decode_content(bytes, header, check) {
        Some(content) => Slot::Whole(Box::new(content)),
        None => Slot::Bad("bad checksum".into()),
    }
}

fn decode_content(bytes: &Bytes, header: &[u8], check: bool) -> Option<Content> {
    let mut fields = Fields::new(header.get(16..)?);
    let sequence = fields.u64()?;
    let body_end = HEADER_BYTES.checked_add(usize::try_from(fields.u64()?).ok()?)?;
    let states_end = body_end.checked_add(usize::try_from(fields.u64()?).ok()?)?;
    let (body_crc, states_crc) = (fields.u32()?, fields.u32()?);
    let body = bytes.get(HEADER_BYTES..body_end)?;
    let states = bytes.get(body_end..states_end)?;
    if check && (model::checksum::crc32c(body) != body_crc || model::checksum::crc32c(states) != states_crc) {
        return None;
    }
    let body: Body = postcard::from_bytes(body).ok()?;
    let mut at = body_end;
    let mut shards = Vec::with_capacity(body.shards.len());
    for shard in body.shards {
        let end = at.checked_add(usize::try_from(shard.state_size).ok()?).filter(|end| *end <= states_end)?;
        shards.push(ShardCheckpoint {
            shard: shard.shard,
            applied: shard.applied,
            applied_term: shard.applied_term,
            hard_state: shard.hard_state,
            members: shard.members,
            state: bytes.slice(at..end),
        });
        at = end;
    }
    let partitions = body.partitions.into_iter().map(|(partition, segments)| {
        let segments = segments.into_iter().map(|segment| SegmentMeta {
            base_offset: segment.base_offset,
            end_offset: segment.end_offset,
            size: segment.size,
            batch_bytes: segment.batch_bytes,
            first_timestamp: segment.first_timestamp,
            max_timestamp: segment.max_timestamp,
        });
        (partition, segments.collect())
    });
    Some(Content {
        sequence,
        synced_upto: body.synced_upto,
        epoch: body.epoch,
        clean: body.clean,
        shards,
        manifest: partitions.collect(),
        deletes: body.deletes,
    })
}

/// Reads both slots.
pub fn read_slots<D: Disk>(disk: &D, mutant: Option<Mutant>) -> io::Result<[Slot; 2]> {
    let slot = |path| -> io::Result<Slot> {
        let file = match disk.open_read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Slot::Missing),
            other => other?,
        };
        let size = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        Ok(decode(&read(&file, 0, size)?, mutant))
    };
    Ok([slot(SLOTS[0])?, slot(SLOTS[1])?])
}

/// The slot that counts.
pub fn newest(slots: &[Slot; 2]) -> Option<usize> {
    let best = if slots[1].sequence() > slots[0].sequence() { 1 } else { 0 };
    (slots[best].sequence() > 0).then_some(best)
}

/// How writing a slot failed.
#[derive(Debug)]
pub enum Failed {
    /// Before anything was changed that counts: full is an answer.
    Before(io::Error),
    /// In the sync: final.
    Sync(io::Error),
}

/// Writes a checkpoint into a slot, and makes it durable.
pub fn write<D: Disk>(
    disk: &D,
    slot: usize,
    content: &Content,
    mutant: Option<Mutant>,
) -> Result<(), Failed> {
    let path = SLOTS[slot];
    let head = encode(content);
    reserve(disk, SLOTS[1 - slot], size(content, &head)).map_err(Failed::Before)?;
    if !disk.exists(path).map_err(Failed::Before)? {
        // A name that an attempt without space leaves behind would be there, and durable only by chance.
        return place(disk, slot, (content, &head), mutant);
    }
    let file = disk.open(path).map_err(Failed::Before)?;
    fill(&file, (content, &head), mutant)
}

/// Space in the other slot, if there is one, for the next checkpoint: one that only lets segments go never lacks it.
fn reserve<D: Disk>(disk: &D, path: &str, size: u64) -> io::Result<()> {
    if !disk.exists(path)? {
        return Ok(()); // an empty file would be taken for a slot that was cut off
    }
    let file = disk.open(path)?;
    if file.len()? < size { file.allocate(size) } else { Ok(()) }
}

/// Bytes that a slot takes: with those that it will take when all its segments are let go.
fn size(content: &Content, head: &[u8]) -> u64 {
    let states: usize = content.shards.iter().map(|shard| shard.state.len()).sum();
    let segments: usize = content.manifest.values().map(Vec::len).sum();
    padded((head.len() + states + segments * DELETE_BYTES_MAX) as u64)
}

/// Replaces a slot in one step by the same content, durable: for a slot that may only be in the page cache (rule 2).
/// Neither the other slot nor this one is ever without its content meanwhile.
pub fn settle<D: Disk>(disk: &D, slot: usize, content: &Content) -> Result<(), Failed> {
    place(disk, slot, (content, &encode(content)), None)
}

/// Gives a slot's name to a file that is whole and durable.
fn place<D: Disk>(
    disk: &D,
    slot: usize,
    whole: (&Content, &[u8]),
    mutant: Option<Mutant>,
) -> Result<(), Failed> {
    const STAGED: &str = "checkpoint.new";
    let file = disk.create(STAGED).map_err(Failed::Before)?;
    fill(&file, whole, mutant)?;
    disk.rename(STAGED, SLOTS[slot]).map_err(Failed::Before)?;
    if mutant != Some(Mutant::DirectoryNotSynced) {
        disk.sync_dir("").map_err(Failed::Sync)?;
    }
    Ok(())
}

fn fill<F: DiskFile>(
    file: &F,
    (content, head): (&Content, &[u8]),
    mutant: Option<Mutant>,
) -> Result<(), Failed> {
    file.allocate(size(content, head)).map_err(Failed::Before)?;
    let states = content.shards.iter().filter(|shard| !shard.state.is_empty());
    let pieces: Vec<IoSlice<'_>> =
        std::iter::once(IoSlice::new(head)).chain(states.map(|shard| IoSlice::new(&shard.state))).collect();
    file.write_at(0, &pieces).map_err(Failed::Before)?;
    if mutant != Some(Mutant::CheckpointNotSynced) {
        sync(file, mutant).map_err(Failed::Sync)?;
    }
    Ok(())
}
