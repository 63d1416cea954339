//! How fast a node may fetch while it catches up: a bucket of bytes that fills at a steady rate. What was taken may be more than there was; then
//! nothing more may be taken until that has come in.

use model::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

/// Without a round for so long, a node had caught up.
const CAUGHT_UP_AFTER: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes per second; at least one.
    rate: u64,
    /// The same, as it was set.
    rate_set: u64,
    /// Most bytes that come together while nobody takes any.
    burst: i64,
    bytes: i64,
    at: Mono,
}

impl Throttle {
    /// A full one.
    pub(super) fn new(rate: u64, burst: u64) -> Throttle {
        let burst = i64::try_from(burst).unwrap_or(i64::MAX);
        Throttle { rate: rate.max(1), rate_set: rate.max(1), burst, bytes: burst, at: Mono(0) }
    }

    /// Bytes per second.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Twice as fast from now on.
    pub(super) fn double(&mut self) {
        self.rate = self.rate.saturating_mul(2);
    }

    /// As fast as it was set.
    pub(super) fn reset(&mut self) {
        self.rate = self.rate_set;
    }

    /// Whether something may be taken now, and if not, when.
    pub(super) fn opens_at(&mut self, now: Mono) -> Option<Mono> {
        let nanos = now.since(self.at).as_nanos();
        let came = i64::try_from(nanos * u128::from(self.rate) / 1_000_000_000).unwrap_or(i64::MAX);
        if came > 0 {
            self.bytes = self.bytes.saturating_add(came).min(self.burst);
            self.at = now;
        }
        let lack = u128::from(1i64.saturating_sub(self.bytes).max(0).unsigned_abs());
        let wait = (lack * 1_000_000_000).div_ceil(u128::from(self.rate));
        (lack > 0).then(|| self.at.plus(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))))
    }

    /// So many bytes are on their way.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many were asked for, and others came.
    pub(super) fn correct(&mut self, asked: usize, came: usize) {
        self.take(came);
        self.bytes = self.bytes.saturating_add(i64::try_from(asked).unwrap_or(i64::MAX)).min(self.burst);
    }
}

/// How much each round of catching up fetched: a round ends where the leader's log ended as it began.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<usize, Round>);

#[derive(Debug)]
struct Round {
    bytes: u64,
    ended: Mono,
}

impl Rounds {
    /// A round begins while there is no other. Whether it is the first after a node had caught up.
    pub(super) fn begins(&mut self, now: Mono) -> bool {
        let is_first = self.0.values().all(|round| now.since(round.ended) >= CAUGHT_UP_AFTER);
        if is_first {
            self.0.clear();
        }
        is_first
    }

    /// A shard's round has fetched so many bytes. Whether that is more than half of what the one before it fetched.
    pub(super) fn ended(&mut self, shard: usize, now: Mono, bytes: u64) -> bool {
        let before = self.0.insert(shard, Round { bytes, ended: now });
        before.is_some_and(|before| bytes > before.bytes / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn what_was_taken_comes_in_again_at_the_rate() {
        let mut throttle = Throttle::new(1_000, 100);
        assert_eq!(throttle.opens_at(Mono(5 * MILLI)), None, "it begins full");
        throttle.take(150);
        assert_eq!(
            throttle.opens_at(Mono(5 * MILLI)),
            Some(Mono(56 * MILLI)),
            "50 are missing, and one has to be there"
        );
        assert_eq!(throttle.opens_at(Mono(55 * MILLI)), Some(Mono(56 * MILLI)));
        assert_eq!(throttle.opens_at(Mono(56 * MILLI)), None);
        throttle.correct(100, 30);
        assert_eq!(throttle.bytes, 71);
        assert_eq!(throttle.opens_at(Mono(1_000_000 * MILLI)), None);
        assert_eq!(throttle.bytes, 100, "no more than a burst comes together");
    }

    #[test]
    fn looking_often_loses_nothing_and_extremes_do_not_overflow() {
        let mut throttle = Throttle::new(1_000, 100);
        assert_eq!(throttle.opens_at(Mono(0)), None);
        throttle.take(199);
        let opened = (1..).find(|at| throttle.opens_at(Mono(at * MILLI / 3)).is_none()).unwrap();
        assert_eq!(opened, 300, "100 bytes at one a millisecond");
        for rate in [0, 1, u64::MAX] {
            let mut extreme = Throttle::new(rate, u64::MAX);
            extreme.take(usize::MAX);
            extreme.take(usize::MAX);
            extreme.opens_at(Mono(u64::MAX));
            extreme.correct(usize::MAX, 0);
            extreme.correct(0, usize::MAX);
            extreme.opens_at(Mono(u64::MAX));
        }
    }
}
