//! Large buffers that are used again. Memory that is fresh from the system costs a fault and a cleared page for each 4 KiB,
//! which is more than the copy into it; memory that was used before costs nothing. What is in a buffer when it is taken is
//! whatever was there: its user shows only what it wrote (docs/decisions/0009).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A buffer may be so many times as long as what is asked for.
const LARGER_FACTOR_MAX: usize = 4;
/// Lengths are multiples of this part of the next power of two, so that asking for about as much finds one that fits.
const STEPS_PER_DOUBLING: usize = 8;

/// Buffers that nobody uses at the moment, up to a limit in bytes.
#[derive(Debug)]
pub struct Buffers {
    idle: Mutex<Idle>,
    kept_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The smallest `bytes` since the last trim: so much was never needed.
    bytes_min: usize,
}

/// Memory of somebody's own; it goes back when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    home: Arc<Buffers>,
}

impl Buffers {
    /// Keeps at most `kept_bytes_max` bytes that nobody uses; those given back last stay.
    pub fn new(kept_bytes_max: usize) -> Arc<Buffers> {
        Arc::new(Buffers { idle: Mutex::default(), kept_bytes_max })
    }

    /// A buffer of at least `size` bytes.
    pub fn take(self: &Arc<Self>, size: usize) -> Buffer {
        let length = size.next_multiple_of((size.next_power_of_two() / STEPS_PER_DOUBLING).max(1));
        let memory = self.lock().take(size).unwrap_or_else(|| vec![0; length]);
        Buffer { memory, home: self.clone() }
    }

    /// Gives the system what nobody needed since the last call.
    pub fn trim(&self) {
        let mut idle = self.lock();
        let kept = idle.bytes - idle.bytes_min;
        let gone = idle.shrink(kept);
        idle.bytes_min = idle.bytes;
        drop(idle);
        drop(gone); // the system takes its time: nobody waits for that
    }

    /// Bytes kept that nobody uses.
    pub fn idle_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// The newest that fits: most likely in the processor's cache.
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        let fits = |memory: &Vec<u8>| memory.len() >= size && memory.len() / LARGER_FACTOR_MAX <= size;
        let at = self.buffers.iter().rposition(fits)?;
        let memory = self.buffers.remove(at)?;
        self.bytes -= memory.len();
        self.bytes_min = self.bytes_min.min(self.bytes);
        Some(memory)
    }

    /// Lets go of the oldest until no more than `kept` bytes are left.
    fn shrink(&mut self, kept: usize) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while self.bytes > kept {
            let Some(oldest) = self.buffers.pop_front() else { break };
            self.bytes -= oldest.len();
            gone.push(oldest);
        }
        self.bytes_min = self.bytes_min.min(self.bytes);
        gone
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut idle = self.home.lock();
        idle.bytes += memory.len();
        idle.buffers.push_back(memory);
        let gone = idle.shrink(self.home.kept_bytes_max);
        drop(idle);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again() {
        let buffers = Buffers::new(1 << 20);
        let mut first = buffers.take(100_000);
        first.as_mut()[7] = 42;
        let place = first.as_ref().as_ptr();
        drop(first);
        assert!(buffers.idle_bytes() >= 100_000);
        let second = buffers.take(90_000);
        assert_eq!((second.as_ref().as_ptr(), second.as_ref()[7]), (place, 42));
        assert_eq!(buffers.idle_bytes(), 0);
        let third = buffers.take(90_000);
        assert_ne!(third.as_ref().as_ptr(), place, "in use");
    }

    #[test]
    fn a_much_larger_or_smaller_one_is_not_taken() {
        let buffers = Buffers::new(1 << 20);
        drop(buffers.take(100_000));
        assert!(buffers.take(10_000).as_ref().len() < 20_000);
        assert!(buffers.take(200_000).as_ref().len() >= 200_000);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let buffers = Buffers::new(250_000);
        let taken: Vec<Buffer> = (0..3).map(|_| buffers.take(100_000)).collect();
        let newest = taken[2].as_ref().as_ptr();
        drop(taken);
        assert!((100_000..=250_000).contains(&buffers.idle_bytes()));
        assert_eq!(buffers.take(100_000).as_ref().as_ptr(), newest);
        drop(buffers.take(300_000));
        assert!(buffers.idle_bytes() <= 250_000);
    }

    #[test]
    fn what_nobody_needs_goes_with_the_second_trim() {
        let buffers = Buffers::new(1 << 20);
        let taken: Vec<Buffer> = (0..3).map(|_| buffers.take(100_000)).collect();
        drop(taken);
        buffers.trim();
        let kept = buffers.idle_bytes();
        assert!(kept >= 300_000, "all of it was needed since the last trim");
        drop(buffers.take(100_000));
        buffers.trim();
        assert_eq!(buffers.idle_bytes(), kept / 3, "one was needed");
        buffers.trim();
        assert_eq!(buffers.idle_bytes(), 0);
    }
}
