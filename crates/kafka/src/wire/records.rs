//! Record batches of one partition on their way out: pieces of the log, sent without being joined.

use bytes::Bytes;

/// A list of pieces whose bytes in order are the record batches.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pieces: Vec<Bytes>,
    size: usize,
}

impl Records {
    /// No bytes yet.
    pub fn new() -> Records {
        Records::default()
    }

    /// Adds a piece behind the others.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.size += piece.len();
            self.pieces.push(piece);
        }
    }

    /// Bytes in all pieces.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The bytes in one buffer; copies when there is more than one piece.
    pub fn into_contiguous(mut self) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces.remove(0),
            _ => self.pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        let mut records = Records::new();
        records.push(bytes);
        records
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Records {
        let mut records = Records::new();
        pieces.into_iter().for_each(|piece| records.push(piece));
        records
    }
}

/// Equal when the bytes are, however they are cut.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        self.size == other.size && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}
