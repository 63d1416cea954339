//! Kafka's 16-byte ids (topics, members of the new protocols). Shown as Kafka shows them: URL-safe base64, no padding.

use std::fmt;

/// A 16-byte id; all zeroes means none.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// No id.
    pub const ZERO: Uuid = Uuid([0; 16]);

    /// Whether it is the id that means none.
    pub fn is_zero(self) -> bool {
        self == Uuid::ZERO
    }
}

impl From<u128> for Uuid {
    fn from(number: u128) -> Uuid {
        Uuid(number.to_be_bytes())
    }
}

impl From<Uuid> for u128 {
    fn from(id: Uuid) -> u128 {
        u128::from_be_bytes(id.0)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = u128::from(*self);
        for at in 0..22 {
            // 128 bits are 21 groups of six and one of two, which stands in the high bits of the last letter.
            let six = if at < 21 { (number >> (122 - 6 * at)) & 63 } else { (number << 4) & 63 };
            f.write_str(&char::from(ALPHABET[six as usize]).to_string())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
