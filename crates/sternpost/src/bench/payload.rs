//! Record values that do not compress, and the moment of sending in their first bytes.

/// Smallest value, bytes: the moment fits.
pub const VALUE_BYTES_MIN: usize = 8;
/// Seed of the bytes: every run writes the same.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A value of `size` bytes, at least the smallest.
pub fn value(size: usize) -> Vec<u8> {
    let mut state = SEED;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size.max(VALUE_BYTES_MIN) {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size.max(VALUE_BYTES_MIN));
    bytes
}

/// Puts a moment into a value.
pub fn stamp(value: &mut [u8], moment_us: u64) {
    value[..8].copy_from_slice(&moment_us.to_le_bytes());
}

/// The moment in a value.
pub fn stamped(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_moment() {
        let mut bytes = value(100);
        assert_eq!(bytes.len(), 100);
        stamp(&mut bytes, 77);
        assert_eq!(stamped(&bytes), Some(77));
        assert_eq!(value(1).len(), VALUE_BYTES_MIN);
        assert_eq!(stamped(b"short"), None);
    }
}
