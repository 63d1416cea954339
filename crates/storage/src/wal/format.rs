//! Bytes of the WAL: file header, commit header, record header (docs/formats.md draws them). Reading trusts no
//! length: each is checked against the bytes at hand before anything is sliced, and nothing is allocated by them.

use crate::layout::{FORMAT_VERSION, Fields, ZEROS, is_sealed, padded, seal};
use crate::mutant::Mutant;
use bytes::Bytes;
use model::job::WalAppend;
use model::{Entry, EntryKind, HardState, LogIndex, Payload, ShardId, Term};
use std::collections::BTreeMap;
use std::io::IoSlice;

const FILE_MAGIC: u64 = u64::from_le_bytes(*b"SPWALFIL");
const COMMIT_MAGIC: u32 = u32::from_le_bytes(*b"SPWC");
/// Size of the fixed part of a file header, bytes.
pub const FILE_HEADER_BYTES: usize = 88;
/// Size of one shard's row in a file header, bytes.
pub const SHARD_ROW_BYTES: usize = 48;
/// Size of a commit header, bytes: within one sector, so that it is never torn.
pub const COMMIT_HEADER_BYTES: usize = 80;
/// Size of a record header, bytes.
pub const RECORD_HEADER_BYTES: usize = 48;
/// Shards that one file header can list: bounds what recovery reads for it.
pub const SHARDS_MAX: usize = 100_000;
/// Payload pieces up to this size are copied beside their header: one more piece for `pwritev` costs more.
const COPIED_PIECE_BYTES_MAX: usize = 1024;
/// The only lane so far. A shard and its votes live in one lane.
pub const LANE: u16 = 0;

const KIND_HARD_STATE: u8 = 16;

/// A shard's row at the start of each WAL file: its state before the file's first commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardRow {
    /// Vote and term.
    pub hard_state: HardState,
    /// First index that the WAL holds, 0 for none.
    pub first: LogIndex,
    /// Last index of the shard's log.
    pub last: LogIndex,
}

/// Why a file header was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// The bytes are not as they were written.
    Damaged(&'static str),
    /// Whole, but of a format version that this program does not know.
    Version(u32),
}

/// The start of a WAL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Counts up with each file that is taken into use, also when an old file is used anew.
    pub epoch: u64,
    /// Sequence of the file's first commit. Commits from here on in files of smaller epoch do not count.
    pub first_sequence: u64,
    /// Newest commit that was durable when the file came into use.
    pub synced_upto: u64,
    /// Hash of the commit before the first.
    pub previous_hash: u64,
    /// Newest checkpoint known durable.
    pub checkpoint: u64,
    /// Bytes preallocated.
    pub file_size: u64,
    /// Not 0: commits of earlier files count only below this sequence; those from here to `first_sequence` are lost, and
    /// a person accepted it (`sternpost recover`).
    pub cut_at: u64,
    /// State of all shards before the first commit.
    pub shards: BTreeMap<ShardId, ShardRow>,
}

impl FileHeader {
    /// Size on disk with that many shards, whole sectors, bytes.
    pub fn size(shard_count: usize) -> u64 {
        padded((FILE_HEADER_BYTES + shard_count * SHARD_ROW_BYTES) as u64)
    }

    /// The header's bytes, padded.
    pub fn encode(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.shards.len() * SHARD_ROW_BYTES);
        for (shard, row) in &self.shards {
            table.extend_from_slice(&u64::from(shard.0).to_le_bytes());
            let HardState { term, vote, commit } = row.hard_state;
            for field in [term.0, vote, commit.0, row.first.0, row.last.0] {
                table.extend_from_slice(&field.to_le_bytes());
            }
        }
        let size = FileHeader::size(self.shards.len());
        let mut out = Vec::with_capacity(size as usize);
        out.extend_from_slice(&FILE_MAGIC.to_le_bytes());
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(LANE).to_le_bytes());
        for field in [
            self.epoch,
            self.first_sequence,
            self.synced_upto,
            self.previous_hash,
            self.checkpoint,
            self.file_size,
            self.cut_at,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&(self.shards.len() as u32).to_le_bytes());
        out.extend_from_slice(&model::checksum::crc32c(&table).to_le_bytes());
        out.extend_from_slice(&(size as u32).to_le_bytes());
        seal(&mut out, 0);
        out.extend_from_slice(&table);
        out.resize(size as usize, 0);
        out
    }

    /// Shards that the header at the start of `bytes` lists, when it is one: how much to read for all of it.
    pub fn shard_count(bytes: &[u8]) -> Result<usize, BadHeader> {
        let fixed = bytes.get(..FILE_HEADER_BYTES).ok_or(BadHeader::Damaged("shorter than a header"))?;
        let mut fields = Fields::new(fixed);
        if fields.u64() != Some(FILE_MAGIC) {
            return Err(BadHeader::Damaged("no WAL file header"));
        }
        if !is_sealed(fixed) {
            return Err(BadHeader::Damaged("bad header checksum"));
        }
        match fields.u32() {
            Some(FORMAT_VERSION) => {}
            other => return Err(BadHeader::Version(other.unwrap_or(0))),
        }
        let count = Fields::new(&fixed[72..]).u32().unwrap_or(u32::MAX) as usize;
        if count > SHARDS_MAX { Err(BadHeader::Damaged("too many shards")) } else { Ok(count) }
    }

    /// Reads a header; `bytes` must reach to the end of its table.
    pub fn decode(bytes: &[u8]) -> Result<FileHeader, BadHeader> {
        let count = FileHeader::shard_count(bytes)?;
        let table = bytes
            .get(FILE_HEADER_BYTES..FILE_HEADER_BYTES + count * SHARD_ROW_BYTES)
            .ok_or(BadHeader::Damaged("shard table cut off"))?;
        FileHeader::fields(bytes, table).ok_or(BadHeader::Damaged("bad shard table"))
    }

    fn fields(bytes: &[u8], table: &[u8]) -> Option<FileHeader> {
        let mut fields = Fields::new(bytes.get(16..)?);
        let mut header = FileHeader {
            epoch: fields.u64()?,
            first_sequence: fields.u64()?,
            synced_upto: fields.u64()?,
            previous_hash: fields.u64()?,
            checkpoint: fields.u64()?,
            file_size: fields.u64()?,
            cut_at: fields.u64()?,
            shards: BTreeMap::new(),
        };
        let _count = fields.u32()?;
        if header.first_sequence == 0 {
            return None;
        }
        if fields.u32()? != model::checksum::crc32c(table) {
            return None;
        }
        let mut rows = Fields::new(table);
        for _ in 0..table.len() / SHARD_ROW_BYTES {
            let shard = ShardId(u32::try_from(rows.u64()?).ok()?);
            let hard_state =
                HardState { term: Term(rows.u64()?), vote: rows.u64()?, commit: LogIndex(rows.u64()?) };
            let row = ShardRow { hard_state, first: LogIndex(rows.u64()?), last: LogIndex(rows.u64()?) };
            header.shards.insert(shard, row);
        }
        Some(header)
    }
}

/// What a commit is written with besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// The file's epoch.
    pub epoch: u64,
    /// Counts the commits of this data directory, from 1, without gaps.
    pub sequence: u64,
    /// Newest commit known durable when this one was written.
    pub synced_upto: u64,
    /// Newest checkpoint known durable when this one was written.
    pub checkpoint: u64,
    /// Hash of the commit before.
    pub previous_hash: u64,
    /// Bytes on disk, header and padding included.
    pub size: u64,
    /// Bytes of records.
    pub body_size: u64,
    /// Number of records.
    pub record_count: u32,
    /// CRC-32C of all record headers, and with them of all payload checksums.
    pub body_crc: u32,
    /// CRC-32C of this header.
    pub crc: u32,
}

impl CommitHeader {
    /// What the next commit calls the previous hash.
    pub fn hash(&self) -> u64 {
        u64::from(self.crc) << 32 | u64::from(self.body_crc)
    }

    /// Reads and checks a header at the start of `bytes`.
    pub fn decode(bytes: &[u8], mutant: Option<Mutant>) -> Option<CommitHeader> {
        let raw = bytes.get(..COMMIT_HEADER_BYTES)?;
        let mut fields = Fields::new(raw);
        if fields.u32()? != COMMIT_MAGIC || fields.u32()? != u32::from(LANE) {
            return None;
        }
        if !is_sealed(raw) && mutant != Some(Mutant::WalChecksumIgnored) {
            return None;
        }
        let header = CommitHeader {
            epoch: fields.u64()?,
            sequence: fields.u64()?,
            synced_upto: fields.u64()?,
            checkpoint: fields.u64()?,
            previous_hash: fields.u64()?,
            size: fields.u64()?,
            body_size: fields.u64()?,
            record_count: fields.u32()?,
            body_crc: fields.u32()?,
            crc: Fields::new(&raw[COMMIT_HEADER_BYTES - 4..]).u32()?,
        };
        let needed = header.body_size.checked_add(COMMIT_HEADER_BYTES as u64)?;
        (needed <= header.size).then_some(header)
    }
}

/// Bytes of records that an append makes, without header and padding.
pub fn body_size(append: &WalAppend) -> u64 {
    let entries = append
        .entries
        .iter()
        .map(|entry| (RECORD_HEADER_BYTES + entry.descriptor.len() + entry.payload.size()) as u64)
        .sum::<u64>();
    entries + (append.hard_states.len() * RECORD_HEADER_BYTES) as u64
}

/// A commit ready to be written: what was copied, and where the pieces that were not belong in between.
#[derive(Debug)]
pub struct Commit {
    copied: Vec<u8>,
    /// (position in `copied` before which the piece belongs, the piece)
    pieces: Vec<(usize, Bytes)>,
    padding: usize,
    /// The header as written.
    pub header: CommitHeader,
}

impl Commit {
    /// Lays out an append; of `header`, `body_size`, counts and checksums are filled in here.
    pub fn encode(append: &WalAppend, mut header: CommitHeader) -> Commit {
        let mut copied = Vec::with_capacity(COMMIT_HEADER_BYTES + append.entries.len() * 512);
        copied.resize(COMMIT_HEADER_BYTES, 0);
        let mut pieces = Vec::new();
        let mut body_crc = 0;
        let mut uncopied = 0;
        for (shard, hard_state) in &append.hard_states {
            let head = record_header(KIND_HARD_STATE, *shard, hard_state, 0, 0, 0);
            body_crc = model::checksum::crc32c_append(body_crc, &head);
            copied.extend_from_slice(&head);
        }
        for entry in &append.entries {
            let mut crc = model::checksum::crc32c(&entry.descriptor);
            for piece in entry.payload.pieces() {
                crc = model::checksum::crc32c_append(crc, piece);
            }
            let fields = HardState { term: entry.term, vote: 0, commit: entry.index };
            let (descriptor, payload) = (entry.descriptor.len(), entry.payload.size());
            let head = record_header(entry.kind as u8, entry.shard, &fields, crc, descriptor, payload);
            body_crc = model::checksum::crc32c_append(body_crc, &head);
            copied.extend_from_slice(&head);
            copied.extend_from_slice(&entry.descriptor);
            for piece in entry.payload.pieces() {
                if piece.len() <= COPIED_PIECE_BYTES_MAX {
                    copied.extend_from_slice(piece);
                } else {
                    uncopied += piece.len();
                    pieces.push((copied.len(), piece.clone()));
                }
            }
        }
        let total = copied.len() + uncopied;
        header.body_size = (total - COMMIT_HEADER_BYTES) as u64;
        header.record_count = (append.entries.len() + append.hard_states.len()) as u32;
        header.body_crc = body_crc;
        assert!(header.size >= total as u64, "room was made for all of it");
        header.write(&mut copied);
        Commit { copied, pieces, padding: header.size as usize - total, header }
    }

    /// The commit as pieces of memory in order, padding included.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len() * 2 + 2);
        let mut at = 0;
        for (position, piece) in &self.pieces {
            if *position > at {
                slices.push(IoSlice::new(&self.copied[at..*position]));
                at = *position;
            }
            slices.push(IoSlice::new(piece));
        }
        if at < self.copied.len() {
            slices.push(IoSlice::new(&self.copied[at..]));
        }
        let mut padding = self.padding;
        while padding > 0 {
            let part = padding.min(ZEROS.len());
            slices.push(IoSlice::new(&ZEROS[..part]));
            padding -= part;
        }
        slices
    }
}

impl CommitHeader {
    /// Writes the header into the first bytes of `out` and keeps its checksum.
    fn write(&mut self, out: &mut [u8]) {
        let mut raw = Vec::with_capacity(COMMIT_HEADER_BYTES);
        raw.extend_from_slice(&COMMIT_MAGIC.to_le_bytes());
        raw.extend_from_slice(&u32::from(LANE).to_le_bytes());
        for field in [
            self.epoch,
            self.sequence,
            self.synced_upto,
            self.checkpoint,
            self.previous_hash,
            self.size,
            self.body_size,
        ] {
            raw.extend_from_slice(&field.to_le_bytes());
        }
        raw.extend_from_slice(&self.record_count.to_le_bytes());
        raw.extend_from_slice(&self.body_crc.to_le_bytes());
        raw.extend_from_slice(&0u32.to_le_bytes());
        seal(&mut raw, 0);
        self.crc = Fields::new(&raw[COMMIT_HEADER_BYTES - 4..]).u32().expect("just written");
        out[..COMMIT_HEADER_BYTES].copy_from_slice(&raw);
    }
}

/// `fields` holds an entry's term and index (as `commit`), or a whole hard state.
fn record_header(
    kind: u8,
    shard: ShardId,
    fields: &HardState,
    payload_crc: u32,
    descriptor_size: usize,
    payload_size: usize,
) -> [u8; RECORD_HEADER_BYTES] {
    let mut head = [0; RECORD_HEADER_BYTES];
    head[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    head[8] = kind;
    head[12..16].copy_from_slice(&shard.0.to_le_bytes());
    head[16..24].copy_from_slice(&fields.term.0.to_le_bytes());
    head[24..32].copy_from_slice(&fields.commit.0.to_le_bytes());
    head[32..40].copy_from_slice(&fields.vote.to_le_bytes());
    head[40..44].copy_from_slice(&u32::try_from(descriptor_size).expect("limited").to_le_bytes());
    head[44..48].copy_from_slice(&u32::try_from(payload_size).expect("limited").to_le_bytes());
    let crc = model::checksum::crc32c(&head[4..]);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Reads the records of a commit; `None` when anything in it is not as it was written.
pub fn decode_body(header: &CommitHeader, body: &Bytes, mutant: Option<Mutant>) -> Option<WalAppend> {
    let check = mutant != Some(Mutant::WalChecksumIgnored);
    if body.len() as u64 != header.body_size {
        return None;
    }
    let mut append = WalAppend::default();
    let mut at = 0;
    let mut body_crc = 0;
    for _ in 0..header.record_count {
        let head = body.get(at..at + RECORD_HEADER_BYTES)?;
        at += RECORD_HEADER_BYTES;
        let mut fields = Fields::new(head);
        let head_crc = fields.u32()?;
        if check && model::checksum::crc32c(&head[4..]) != head_crc {
            return None;
        }
        body_crc = model::checksum::crc32c_append(body_crc, head);
        let payload_crc = fields.u32()?;
        let kind = fields.u8()?;
        let _reserved = fields.array::<3>()?;
        let shard = ShardId(fields.u32()?);
        let (term, index, vote) = (Term(fields.u64()?), LogIndex(fields.u64()?), fields.u64()?);
        let descriptor_end = at.checked_add(fields.u32()? as usize)?;
        let payload_end = descriptor_end.checked_add(fields.u32()? as usize)?;
        let content = body.get(at..payload_end)?;
        if check && model::checksum::crc32c(content) != payload_crc {
            return None;
        }
        let kind = match kind {
            KIND_HARD_STATE => {
                append.hard_states.push((shard, HardState { term, vote, commit: index }));
                continue;
            }
            1 => EntryKind::Normal,
            2 => EntryKind::ConfChange,
            _ => return None,
        };
        let descriptor = body.slice(at..descriptor_end);
        let payload = Payload::from(body.slice(descriptor_end..payload_end));
        append.entries.push(Entry { shard, term, index, kind, descriptor, payload });
        at = payload_end;
    }
    let whole = at == body.len() && (!check || body_crc == header.body_crc);
    whole.then_some(append)
}
