//! A shard's log entry as consensus orders it and the WAL keeps it: a small descriptor that says what it does, and
//! the payload (record batches as producers sent them) beside it, never copied.

use crate::ShardId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Raft term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

/// Position in a shard's log, from 1; 0 means "before the first entry".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The index behind this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}

/// What consensus itself must know of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntryKind {
    /// A command for the shard's state machine (or, with an empty descriptor, a new leader's first entry).
    Normal = 1,
    /// A change of the voter set, encoded by `consensus`.
    ConfChange = 2,
}

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose log.
    pub shard: ShardId,
    /// Term of the leader that proposed it.
    pub term: Term,
    /// Its position.
    pub index: LogIndex,
    /// What consensus does with it.
    pub kind: EntryKind,
    /// What the state machine does with it (opaque below `broker`).
    pub descriptor: Bytes,
    /// The bytes the descriptor speaks of.
    pub payload: Payload,
}

/// A run of bytes in pieces; two payloads are equal when the joined bytes are.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pieces: Vec<Bytes>,
    size: usize,
}

impl Payload {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        self.size += piece.len();
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// Bytes in all pieces.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All bytes in one piece; copies only when there are several.
    pub fn join(&self) -> Bytes {
        match self.pieces.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }

    /// Reads the payload piece by piece in the sizes the descriptor names.
    pub fn reader(&self) -> PayloadReader<'_> {
        PayloadReader { rest: &self.pieces, at: 0 }
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Payload {
        let mut payload = Payload::default();
        payload.push(piece);
        payload
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        self.size == other.size
            && self.pieces.iter().flatten().zip(other.pieces.iter().flatten()).all(|(a, b)| a == b)
    }
}

impl Eq for Payload {}

/// Cuts a payload into runs of known sizes.
#[derive(Debug)]
pub struct PayloadReader<'a> {
    rest: &'a [Bytes],
    at: usize,
}

impl PayloadReader<'_> {
    /// The next `size` bytes, or `None` when fewer are left. Shares the buffer when the run lies in one piece.
    pub fn take(&mut self, size: usize) -> Option<Bytes> {
        if size == 0 {
            return Some(Bytes::new());
        }
        let first = self.rest.first()?;
        if first.len() - self.at >= size {
            let run = first.slice(self.at..self.at + size);
            self.advance(size);
            return Some(run);
        }
        let left: usize = self.rest.iter().map(Bytes::len).sum::<usize>() - self.at;
        if left < size {
            return None;
        }
        let mut run = Vec::with_capacity(size);
        while run.len() < size {
            let piece = &self.rest[0][self.at..];
            let part = piece.len().min(size - run.len());
            run.extend_from_slice(&piece[..part]);
            self.advance(part);
        }
        Some(run.into())
    }

    /// Whether every byte was taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn advance(&mut self, by: usize) {
        self.at += by;
        if self.at == self.rest[0].len() {
            self.rest = &self.rest[1..];
            self.at = 0;
        }
    }
}

/// What a voter must never forget (Raft paper, figure 2, "persistent state"): fsynced before any answer that relies on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Who got this node's vote in that term; 0 is nobody (Raft ids count from 1).
    pub vote: u64,
    /// Newest index known committed; a hint, not a promise.
    pub commit: LogIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(pieces: &[&'static [u8]]) -> Payload {
        let mut payload = Payload::default();
        pieces.iter().for_each(|piece| payload.push(Bytes::from_static(piece)));
        payload
    }

    #[test]
    fn equality_ignores_where_pieces_end() {
        assert_eq!(payload(&[b"ab", b"", b"c"]), payload(&[b"abc"]));
        assert_ne!(payload(&[b"ab"]), payload(&[b"abc"]));
        assert_ne!(payload(&[b"abd"]), payload(&[b"abc"]));
    }

    #[test]
    fn reader_takes_runs_within_and_across_pieces() {
        let source = payload(&[b"abc", b"de"]);
        let mut reader = source.reader();
        assert_eq!(reader.take(2).as_deref(), Some(&b"ab"[..]));
        assert_eq!(reader.take(2).as_deref(), Some(&b"cd"[..]));
        assert_eq!(reader.take(2), None);
        assert!(!reader.is_empty());
        assert_eq!(reader.take(1).as_deref(), Some(&b"e"[..]));
        assert!(reader.is_empty());
    }
}
