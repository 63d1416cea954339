//! A running hash of everything a world did: two runs of one seed must end with the same one.

use crate::dice::mix;

/// The hash so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    hash: u64,
    steps: u64,
}

impl Trace {
    /// Takes a number in.
    pub fn number(&mut self, number: u64) {
        self.steps += 1;
        self.hash = mix(self.hash.rotate_left(5) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.steps);
    }

    /// Takes bytes in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.number(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder().iter().fold(1, |rest, byte| rest << 8 | u64::from(*byte));
        self.number(rest);
    }

    /// The hash of all that was taken in.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
