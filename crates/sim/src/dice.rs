//! The only source of chance in a simulated world: a seed in, the same rolls out on every machine (SplitMix64).

/// A seeded source of rolls.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice whose rolls follow from `seed` alone.
    pub fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not give neighbouring worlds.
        let mut dice = Dice { state: seed ^ 0x5bf0_3635_d1a2_4e9b };
        dice.state = dice.next();
        dice
    }

    /// Dice of their own for one part of the world, so that a roll more there changes nothing here.
    pub fn fork(&mut self) -> Dice {
        Dice::new(self.next())
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait, reason = "dice never run out; an iterator may")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `end`, which must not be 0.
    #[track_caller]
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "a roll needs at least one side");
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `first..=last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// An index below `length`, which must not be 0.
    #[track_caller]
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True `in_10_000` times of ten thousand.
    pub fn chance(&mut self, in_10_000: u32) -> bool {
        in_10_000 > 0 && self.below(10_000) < u64::from(in_10_000)
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Mostly small numbers, now and then large ones: `first..=last` with every magnitude equally likely.
    pub fn skewed(&mut self, first: u64, last: u64) -> u64 {
        let bits = 64 - (last - first + 1).leading_zeros();
        let reach = (1u64 << self.below(u64::from(bits) + 1)).min(last - first + 1);
        first + self.below(reach)
    }
}

/// Spreads a number over all 64 bits.
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_gives_the_same_rolls_and_every_side_comes_up() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..200).map(|_| dice.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        assert!((0..6).all(|side| rolls(7).contains(&side)));
        let mut dice = Dice::new(1);
        assert!((0..1000).map(|_| dice.skewed(3, 500)).all(|n| (3..=500).contains(&n)));
        assert!((0..1000).all(|_| dice.skewed(4, 4) == 4));
    }
}
