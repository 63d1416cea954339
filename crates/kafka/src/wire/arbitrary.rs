//! Seeded values for the tests of messages: edges of each type, short lists, texts beyond ASCII, and now and then bytes
//! large enough to be kept by reference.

use bytes::Bytes;

use super::{REFERENCE_SIZE_MIN, Records, Str, Uuid};

/// A stream of values from one seed (splitmix64).
pub(crate) struct Values {
    state: u64,
}

impl Values {
    pub(crate) fn new(seed: u64) -> Values {
        Values { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn edge(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => i64::MAX as u64,
            3 => i64::MIN as u64,
            4 => self.next() & 0xff,
            _ => self.next(),
        }
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.coin()
    }

    pub(crate) fn int8(&mut self) -> i8 {
        self.edge() as i8
    }

    pub(crate) fn int16(&mut self) -> i16 {
        self.edge() as i16
    }

    pub(crate) fn uint16(&mut self) -> u16 {
        self.edge() as u16
    }

    pub(crate) fn int32(&mut self) -> i32 {
        self.edge() as i32
    }

    pub(crate) fn int64(&mut self) -> i64 {
        self.edge() as i64
    }

    pub(crate) fn float64(&mut self) -> f64 {
        self.int32().into()
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let high = u128::from(self.next()) << 64;
        Uuid::from(high | u128::from(self.next()))
    }

    pub(crate) fn string(&mut self) -> Str {
        const LETTERS: [char; 8] = ['a', 'Z', '0', '-', '.', 'é', '漢', '🦀'];
        let length = if self.below(20) == 0 { 200 } else { self.below(12) };
        (0..length).map(|_| LETTERS[self.below(LETTERS.len())]).collect::<String>().into()
    }

    pub(crate) fn bytes(&mut self) -> Bytes {
        let length = if self.below(10) == 0 { REFERENCE_SIZE_MIN + self.below(3000) } else { self.below(40) };
        (0..length).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn records(&mut self) -> Records {
        (0..self.below(4)).map(|_| self.bytes()).collect()
    }

    pub(crate) fn option<T>(&mut self, value: impl FnOnce(&mut Values) -> T) -> Option<T> {
        self.option_if(true, value)
    }

    pub(crate) fn option_if<T>(
        &mut self,
        null_allowed: bool,
        value: impl FnOnce(&mut Values) -> T,
    ) -> Option<T> {
        if null_allowed && self.below(4) == 0 { None } else { Some(value(self)) }
    }

    pub(crate) fn list<T>(&mut self, mut value: impl FnMut(&mut Values) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| value(self)).collect()
    }
}
