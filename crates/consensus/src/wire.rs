//! Messages as bytes between nodes: own versioned frames with a checksum, decoded with every length checked against what
//! is there before anything is allocated. Payload is neither copied on the way out nor on the way in.
//!
//! ```text
//! size u32 | crc32c u32 of all that follows | version u8 | kind u8 | flags u8 | shard u32 | from u64 | to u64 | term u64
//! | fields of the kind | of an append: count u32, per entry {term u64, kind u8, descriptor size u32, payload size u32},
//! then all descriptors, then all payloads
//! ```
//! Big endian. `size` counts what follows it.

use crate::MEMBERS_MAX;
use crate::{Body, Message, Reject, Snapshot};
use bytes::{BufMut, Bytes, BytesMut};
use model::{Entry, EntryKind, LogIndex, Payload, ShardId, Term};

/// Largest frame taken, bytes. An append carries at least one entry, so this bounds an entry as well.
pub const FRAME_SIZE_MAX: usize = 64 << 20;
/// Most entries in one append.
const ENTRY_COUNT_MAX: usize = 1 << 16;
const VERSION: u8 = 1;
const SIZE_AND_CRC: usize = 8;
const ENTRY_HEAD: usize = 8 + 1 + 4 + 4;

const REJECT: u8 = 1;
const PRE: u8 = 2;
const TRANSFER: u8 = 4;
const HAS_READ: u8 = 8;

/// Why bytes are no message. The connection they came from is not to be trusted further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the fields need.
    #[error("the frame is cut short")]
    Short,
    /// More bytes than the fields need.
    #[error("the frame has bytes behind its end")]
    Long,
    /// The checksum does not match.
    #[error("the frame's checksum does not match")]
    Checksum,
    /// Written by a version that this node does not know.
    #[error("unknown frame version {0}")]
    Version(u8),
    /// A kind of message or entry that does not exist.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A count or size above its limit.
    #[error("{0} is above its limit")]
    Limit(&'static str),
}

/// The frame in pieces: fields first, then the payload as it lies in memory.
pub fn encode(message: &Message) -> Vec<Bytes> {
    let mut head = BytesMut::with_capacity(128);
    head.put_bytes(0, SIZE_AND_CRC);
    head.put_u8(VERSION);
    let (kind, flags) = kind_and_flags(&message.body);
    head.put_u8(kind);
    head.put_u8(flags);
    head.put_u32(message.shard.0);
    head.put_u64(message.from);
    head.put_u64(message.to);
    head.put_u64(message.term.0);
    let mut pieces = vec![Bytes::new()];
    encode_body(&message.body, &mut head, &mut pieces);

    let size = head.len() - 4 + pieces.iter().map(Bytes::len).sum::<usize>();
    head[..4].copy_from_slice(&(size as u32).to_be_bytes());
    let fields = model::checksum::crc32c(&head[SIZE_AND_CRC..]);
    let crc = pieces.iter().fold(fields, |crc, piece| model::checksum::crc32c_append(crc, piece));
    head[4..SIZE_AND_CRC].copy_from_slice(&crc.to_be_bytes());
    pieces[0] = head.freeze();
    pieces
}

fn kind_and_flags(body: &Body) -> (u8, u8) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    match body {
        Body::Append { .. } => (1, 0),
        Body::AppendResponse { reject, .. } => (2, flag(reject.is_some(), REJECT)),
        Body::Vote { pre, transfer, .. } => (3, flag(*pre, PRE) | flag(*transfer, TRANSFER)),
        Body::VoteResponse { pre, reject, .. } => (4, flag(*pre, PRE) | flag(*reject, REJECT)),
        Body::Heartbeat { read, .. } => (5, flag(read.is_some(), HAS_READ)),
        Body::HeartbeatResponse { read, .. } => (6, flag(read.is_some(), HAS_READ)),
        Body::TimeoutNow => (7, 0),
        Body::Snapshot(_) => (8, 0),
        Body::Lend { .. } => (9, 0),
    }
}

fn encode_body(body: &Body, head: &mut BytesMut, pieces: &mut Vec<Bytes>) {
    match body {
        Body::Append { previous, previous_term, commit, entries }
        | Body::Lend { previous, previous_term, commit, entries } => {
            [previous.0, previous_term.0, commit.0].into_iter().for_each(|field| head.put_u64(field));
            head.put_u32(entries.len() as u32);
            for entry in entries {
                head.put_u64(entry.term.0);
                head.put_u8(entry.kind as u8);
                head.put_u32(entry.descriptor.len() as u32);
                head.put_u32(entry.payload.size() as u32);
            }
            for entry in entries {
                head.put_slice(&entry.descriptor);
                pieces.extend_from_slice(entry.payload.pieces());
            }
        }
        Body::AppendResponse { index, commit, reject } => {
            head.put_u64(index.0);
            head.put_u64(commit.0);
            if let Some(reject) = reject {
                head.put_u64(reject.hint.0);
                head.put_u64(reject.hint_term.0);
            }
        }
        Body::Vote { last, last_term, commit, commit_term, .. } => {
            [last.0, last_term.0, commit.0, commit_term.0].into_iter().for_each(|field| head.put_u64(field));
        }
        Body::VoteResponse { commit, commit_term, .. } => {
            head.put_u64(commit.0);
            head.put_u64(commit_term.0);
        }
        Body::Heartbeat { commit, read } | Body::HeartbeatResponse { commit, read } => {
            head.put_u64(commit.0);
            if let Some(read) = read {
                head.put_u64(*read);
            }
        }
        Body::TimeoutNow => {}
        Body::Snapshot(snapshot) => {
            head.put_u64(snapshot.index.0);
            head.put_u64(snapshot.term.0);
            head.put_u32(snapshot.members.len() as u32);
            snapshot.members.iter().for_each(|voter| head.put_u64(*voter));
            head.put_u32(snapshot.state.len() as u32);
            pieces.push(snapshot.state.clone());
        }
    }
}

/// Reads one whole frame, its size field included. Entries and payloads share the frame's memory.
pub fn decode(frame: Bytes) -> Result<Message, WireError> {
    if frame.len() > FRAME_SIZE_MAX {
        return Err(WireError::Limit("frame size"));
    }
    let mut rest = Reader(frame);
    let size = rest.u32()? as usize;
    let crc = rest.u32()?;
    if size != rest.0.len() + 4 {
        return Err(if size > rest.0.len() + 4 { WireError::Short } else { WireError::Long });
    }
    if model::checksum::crc32c(&rest.0) != crc {
        return Err(WireError::Checksum);
    }
    let version = rest.u8()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let (kind, flags) = (rest.u8()?, rest.u8()?);
    let shard = ShardId(rest.u32()?);
    let (from, to, term) = (rest.u64()?, rest.u64()?, Term(rest.u64()?));
    let body = decode_body(kind, flags, shard, &mut rest)?;
    if !rest.0.is_empty() {
        return Err(WireError::Long);
    }
    Ok(Message { shard, from, to, term, body })
}

fn decode_body(kind: u8, flags: u8, shard: ShardId, rest: &mut Reader) -> Result<Body, WireError> {
    let is_set = |flag: u8| flags & flag != 0;
    Ok(match kind {
        1 => {
            let (previous, previous_term, commit, entries) = decode_entries(shard, rest)?;
            Body::Append { previous, previous_term, commit, entries }
        }
        2 => {
            let (index, commit) = (rest.index()?, rest.index()?);
            let reject = if is_set(REJECT) {
                Some(Reject { hint: rest.index()?, hint_term: Term(rest.u64()?) })
            } else {
                None
            };
            Body::AppendResponse { index, commit, reject }
        }
        3 => Body::Vote {
            pre: is_set(PRE),
            last: rest.index()?,
            last_term: Term(rest.u64()?),
            commit: rest.index()?,
            commit_term: Term(rest.u64()?),
            transfer: is_set(TRANSFER),
        },
        4 => Body::VoteResponse {
            pre: is_set(PRE),
            reject: is_set(REJECT),
            commit: rest.index()?,
            commit_term: Term(rest.u64()?),
        },
        5 | 6 => {
            let commit = rest.index()?;
            let read = if is_set(HAS_READ) { Some(rest.u64()?) } else { None };
            if kind == 5 {
                Body::Heartbeat { commit, read }
            } else {
                Body::HeartbeatResponse { commit, read }
            }
        }
        7 => Body::TimeoutNow,
        8 => {
            let (index, term) = (rest.index()?, Term(rest.u64()?));
            let count = rest.u32()? as usize;
            if count > MEMBERS_MAX {
                return Err(WireError::Limit("number of members"));
            }
            let members = (0..count).map(|_| rest.u64()).collect::<Result<_, _>>()?;
            let size = rest.u32()? as usize;
            Body::Snapshot(Snapshot { index, term, members, state: rest.take(size)? })
        }
        9 => {
            let (previous, previous_term, commit, entries) = decode_entries(shard, rest)?;
            Body::Lend { previous, previous_term, commit, entries }
        }
        other => return Err(WireError::Kind(other)),
    })
}

/// What stands before the first entry, the sender's commit index, and the entries.
type Consecutive = (LogIndex, Term, LogIndex, Vec<Entry>);

fn decode_entries(shard: ShardId, rest: &mut Reader) -> Result<Consecutive, WireError> {
    let (previous, previous_term, commit) = (rest.index()?, Term(rest.u64()?), rest.index()?);
    let count = rest.u32()? as usize;
    if count > ENTRY_COUNT_MAX {
        return Err(WireError::Limit("number of entries"));
    }
    let mut heads = Reader(rest.take(count * ENTRY_HEAD)?);
    let mut table = Vec::with_capacity(count);
    for _ in 0..count {
        let term = Term(heads.u64()?);
        let kind = match heads.u8()? {
            1 => EntryKind::Normal,
            2 => EntryKind::ConfChange,
            other => return Err(WireError::Kind(other)),
        };
        table.push((term, kind, heads.u32()? as usize, heads.u32()? as usize));
    }
    let mut entries = Vec::with_capacity(count);
    let mut index = previous;
    for (term, kind, descriptor_size, _) in &table {
        index = LogIndex(index.0.checked_add(1).ok_or(WireError::Limit("index"))?);
        let descriptor = rest.take(*descriptor_size)?;
        entries.push(Entry {
            shard,
            term: *term,
            index,
            kind: *kind,
            descriptor,
            payload: Payload::default(),
        });
    }
    for (entry, (_, _, _, payload_size)) in entries.iter_mut().zip(&table) {
        entry.payload = Payload::from(rest.take(*payload_size)?);
    }
    Ok((previous, previous_term, commit, entries))
}

struct Reader(Bytes);

impl Reader {
    fn take(&mut self, size: usize) -> Result<Bytes, WireError> {
        if size > self.0.len() {
            return Err(WireError::Short);
        }
        Ok(self.0.split_to(size))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.0.first_chunk::<N>().copied().ok_or(WireError::Short)?;
        bytes::Buf::advance(&mut self.0, N);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn index(&mut self) -> Result<LogIndex, WireError> {
        Ok(LogIndex(self.u64()?))
    }
}
