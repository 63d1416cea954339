//! Member ids: the client's name and 122 random bits in the form of a UUID. The bits come from a generator of the
//! coordinator, never from the environment, so that a simulated world repeats itself.

/// Longest part of a client's name in a member id, bytes: ids that were handed out must not take what a client likes.
const PREFIX_BYTES_MAX: usize = 255;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Identities {
    state: u64,
}

impl Identities {
    pub(super) fn new(seed: u64) -> Identities {
        Identities { state: seed }
    }

    /// Mixes in what differs from one leadership to the next, so that two leaders never hand out the same ids.
    pub(super) fn stir(&mut self, salt: u64) {
        self.state ^= salt;
        self.state = self.next();
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// `prefix-xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx`.
    pub(super) fn member_id(&mut self, prefix: &str) -> String {
        let prefix = &prefix[..prefix.floor_char_boundary(PREFIX_BYTES_MAX)];
        let high = self.next() & !0xf000 | 0x4000;
        let low = self.next() & (u64::MAX >> 2) | 1 << 63;
        format!(
            "{prefix}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Identities;

    #[test]
    fn ids_have_the_form_of_a_uuid_and_follow_the_seed() {
        let id = Identities::new(7).member_id("app");
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 8, 4, 4, 4, 12]);
        assert!(parts[3].starts_with('4') && parts[4].starts_with(['8', '9', 'a', 'b']));
        assert_eq!(id, Identities::new(7).member_id("app"));
        assert_eq!(Identities::new(7).member_id(&"é".repeat(200)).len(), 254 + 37);
        let mut stirred = Identities::new(7);
        stirred.stir(1);
        assert_ne!(id, stirred.member_id("app"));
    }
}
