//! What a run has counted: records sent, acknowledged, failed, received, and latencies as HDR histograms. The window says
//! what belongs to the result: what comes before is warm-up.

use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest latency kept apart, microseconds; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;

/// Latencies in microseconds.
#[derive(Debug)]
pub struct Latency(Mutex<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Latency {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS);
        Latency(Mutex::new(histogram.expect("the bounds are in order")))
    }
}

impl Latency {
    /// Adds some latencies, µs.
    pub fn add(&self, latencies: impl Iterator<Item = u64>) {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.for_each(|latency| histogram.saturating_record(latency.max(1)));
    }

    /// The latency in ms that this share of all stays at or below; 0 without any.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.value_at_quantile(share) as f64 / 1000.0
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The counters of a run.
#[derive(Debug)]
pub struct Tally {
    /// All moments count from here.
    pub epoch: Instant,
    /// First moment that counts, µs from the epoch.
    window_from: AtomicU64,
    /// First moment that no longer counts.
    window_to: AtomicU64,
    /// Records given to the producer.
    pub sent: AtomicU64,
    /// Records acknowledged, warm-up included.
    pub acked: AtomicU64,
    /// Records acknowledged inside the window.
    pub acked_in_window: AtomicU64,
    /// Records that were not written.
    pub failed: AtomicU64,
    /// Records read, warm-up included.
    pub received: AtomicU64,
    /// Bytes of values read.
    pub received_bytes: AtomicU64,
    /// Batches acknowledged inside the window.
    pub batches_in_window: AtomicU64,
    /// From the intended send to the acknowledgement.
    pub ack_latency: Latency,
    /// From the intended send to the reader.
    pub e2e_latency: Latency,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            epoch: Instant::now(),
            window_from: AtomicU64::new(0),
            window_to: AtomicU64::new(u64::MAX),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            acked_in_window: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            batches_in_window: AtomicU64::new(0),
            ack_latency: Latency::default(),
            e2e_latency: Latency::default(),
        }
    }
}

impl Tally {
    /// Now, µs from the epoch.
    pub fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Sets the window.
    pub fn set_window(&self, from: Duration, length: Duration) {
        let from = from.as_micros() as u64;
        self.window_from.store(from, Relaxed);
        self.window_to
            .store(from.saturating_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)), Relaxed);
    }

    /// Whether a moment counts.
    pub fn counts(&self, moment_us: u64) -> bool {
        (self.window_from.load(Relaxed)..self.window_to.load(Relaxed)).contains(&moment_us)
    }

    /// A batch has been acknowledged; `intended_us` are the moments its records should have been sent.
    pub fn acknowledged(&self, intended_us: &[u64]) {
        let now = self.now_us();
        let count = intended_us.len() as u64;
        self.acked.fetch_add(count, Relaxed);
        if self.counts(now) {
            self.acked_in_window.fetch_add(count, Relaxed);
            self.batches_in_window.fetch_add(1, Relaxed);
        }
        let counted = intended_us.iter().filter(|moment| self.counts(**moment));
        self.ack_latency.add(counted.map(|moment| now.saturating_sub(*moment)));
    }

    /// Records have been read; with the moments they should have been sent.
    pub fn read(&self, intended_us: impl Iterator<Item = u64>) {
        let now = self.now_us();
        let counted = intended_us.filter(|moment| self.counts(*moment));
        self.e2e_latency.add(counted.map(|moment| now.saturating_sub(moment)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let tally = Tally::default();
        tally.set_window(Duration::from_secs(3600), Duration::from_secs(1));
        tally.acknowledged(&[0, 1]);
        assert_eq!((tally.acked.load(Relaxed), tally.acked_in_window.load(Relaxed)), (2, 0));
        assert_eq!(tally.ack_latency.count(), 0);
        assert!(tally.counts(3_600_000_000) && !tally.counts(3_601_000_000));
        tally.set_window(Duration::ZERO, Duration::from_secs(3600));
        tally.acknowledged(&[0]);
        assert_eq!((tally.acked_in_window.load(Relaxed), tally.ack_latency.count()), (1, 1));
    }

    #[test]
    fn quantiles_are_in_milliseconds() {
        let latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.5), 0.0);
        latency.add(1..=1000);
        assert!((latency.quantile_ms(0.5) - 0.5).abs() < 0.01);
        assert!((latency.quantile_ms(1.0) - 1.0).abs() < 0.01);
        latency.add(std::iter::once(u64::MAX));
        assert!(latency.quantile_ms(1.0) >= 600_000.0);
    }
}
