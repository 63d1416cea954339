//! Durations counted in fixed buckets, without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds are 50 µs and its doubles: the last finite one is 26 s.
pub const BUCKETS: usize = 20;
const FIRST_NANOS: u64 = 50_000;

/// Counts of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (0..BUCKETS).find(|i| nanos <= FIRST_NANOS << i).unwrap_or(BUCKETS);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Upper bounds in seconds with the counts at or below them; the count of all; the sum in seconds.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut total = 0;
        let mut rows = Vec::with_capacity(BUCKETS);
        for (i, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            if i < BUCKETS {
                rows.push(((FIRST_NANOS << i) as f64 / 1e9, total));
            }
        }
        (rows, total, self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_below_their_bounds() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(50));
        histogram.observe(Duration::from_micros(51));
        histogram.observe(Duration::from_secs(1000));
        let (rows, total, sum) = histogram.read();
        assert_eq!(rows[0], (0.00005, 1));
        assert_eq!(rows[1], (0.0001, 2));
        assert_eq!(rows[BUCKETS - 1].1, 2);
        assert_eq!(total, 3);
        assert!(sum > 1000.0);
    }
}
