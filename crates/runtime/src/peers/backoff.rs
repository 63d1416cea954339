//! When a connection is tried again: at once after one that held, then after pauses that double, each a little different, so
//! that nodes which lost each other together do not come back in step.

use std::time::Duration;

/// First pause.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause: a peer that comes back is found after so long, if it does not come by itself before.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A connection that held for so long was a good one; one that did not counts as another failure.
const STEADY_AFTER: Duration = Duration::from_secs(1);

/// The pauses of one connection.
#[derive(Debug)]
pub struct Backoff {
    /// `None`: the next try is at once.
    pause: Option<Duration>,
    random: u64,
}

impl Backoff {
    /// Fresh; the seed makes it differ from others.
    pub fn new(seed: u64) -> Backoff {
        Backoff { pause: None, random: seed | 1 }
    }

    /// A connection ended after `lived`, or never came about (zero): how long to wait before the next try.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY_AFTER {
            self.pause = None;
        }
        let Some(pause) = self.pause else {
            self.pause = Some(PAUSE_MIN);
            return if lived.is_zero() { self.jittered(PAUSE_MIN) } else { Duration::ZERO };
        };
        self.pause = Some((pause * 2).min(PAUSE_MAX));
        self.jittered(pause)
    }

    /// Between half and the whole of it.
    fn jittered(&mut self, pause: Duration) -> Duration {
        // xorshift: any spread will do here.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let permille = u32::try_from(self.random % 500).expect("below 500");
        pause * (1000 - permille) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_after_a_good_one_then_ever_later() {
        let mut backoff = Backoff::new(7);
        assert_eq!(backoff.after(STEADY_AFTER), Duration::ZERO);
        let mut sum = Duration::ZERO;
        for _ in 0..20 {
            let pause = backoff.after(Duration::ZERO);
            assert!(pause <= PAUSE_MAX);
            assert!(pause >= PAUSE_MIN / 2);
            sum += pause;
        }
        assert!(sum > PAUSE_MAX * 5, "{sum:?}");
        assert_eq!(backoff.after(STEADY_AFTER), Duration::ZERO);
    }

    #[test]
    fn connections_that_break_at_once_do_not_spin() {
        let mut backoff = Backoff::new(9);
        let sum: Duration = (0..100).map(|_| backoff.after(Duration::from_millis(1))).sum();
        assert!(sum > Duration::from_secs(20), "{sum:?}");
    }
}
