//! Reading ahead: who reads a segment in order finds the next stretch in memory, read while the last one was on its way to the
//! client. Records go past the page cache (docs/decisions/0006), so nobody else does this. Bounded in bytes and in places.

use model::{Offset, PartitionId, StoredBatch};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of batches read ahead and not yet asked for.
pub const AHEAD_BYTES_MAX: usize = 32 << 20;
/// Places at which a reader is expected.
pub const AHEAD_PLACES_MAX: usize = 4096;

/// An offset of a partition at which somebody may go on reading.
pub type Place = (PartitionId, Offset);

#[derive(Debug)]
enum State {
    /// Somebody read up to here; `in_order`: not for the first time.
    Expected { in_order: bool },
    /// Being read ahead.
    UnderWay,
    /// Read ahead.
    Ready(Vec<StoredBatch>),
}

/// What was found at a place; it is taken away with that.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody was expected here.
    Nothing,
    /// Somebody was.
    Expected,
    /// Batches, read ahead.
    Ready(Vec<StoredBatch>),
}

/// The places where readers are expected.
#[derive(Debug, Default)]
pub struct Ahead {
    places: Mutex<Places>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Places {
    states: BTreeMap<Place, State>,
    /// In the order in which they were put in; some may be gone.
    order: VecDeque<Place>,
    bytes: usize,
}

impl Ahead {
    /// Takes what is at a place, waiting for it where it is being read.
    pub fn take(&self, place: Place) -> Found {
        let mut places = self.lock();
        while matches!(places.states.get(&place), Some(State::UnderWay)) {
            places = self.changed.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
        match places.remove(place) {
            None => Found::Nothing,
            Some(State::Ready(batches)) => Found::Ready(batches),
            Some(State::Expected { .. } | State::UnderWay) => Found::Expected,
        }
    }

    /// Somebody read up to here.
    pub fn expect(&self, place: Place, in_order: bool) {
        self.lock().put(place, State::Expected { in_order });
    }

    /// Batches that begin here were read and not given away.
    pub fn keep(&self, place: Place, batches: Vec<StoredBatch>) {
        self.lock().put(place, State::Ready(batches));
    }

    /// Whether reading ahead from here is worth it: a reader that goes on in order is expected.
    pub fn is_wanted(&self, place: Place) -> bool {
        matches!(self.lock().states.get(&place), Some(State::Expected { in_order: true }))
    }

    /// Begins to read ahead; false: no longer wanted.
    pub fn begin(&self, place: Place) -> bool {
        let mut places = self.lock();
        match places.states.get_mut(&place) {
            Some(state @ State::Expected { in_order: true }) => {
                *state = State::UnderWay;
                true
            }
            _ => false,
        }
    }

    /// Ends what `begin` began: with batches, or with none when they could not be read.
    pub fn end(&self, place: Place, batches: Vec<StoredBatch>) {
        let mut places = self.lock();
        if matches!(places.states.get(&place), Some(State::UnderWay)) {
            places.remove(place);
            if batches.is_empty() {
                places.put(place, State::Expected { in_order: false });
            } else {
                places.put(place, State::Ready(batches));
            }
        }
        drop(places);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn put(&mut self, place: Place, state: State) {
        self.remove(place);
        self.bytes += size(&state);
        self.states.insert(place, state);
        self.order.push_back(place);
        while self.order.len() > AHEAD_PLACES_MAX || self.bytes > AHEAD_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            // One that is being read stays known, so that nobody reads it twice.
            if !matches!(self.states.get(&oldest), Some(State::UnderWay)) {
                self.remove(oldest);
            }
        }
    }

    fn remove(&mut self, place: Place) -> Option<State> {
        let state = self.states.remove(&place)?;
        self.bytes -= size(&state);
        Some(state)
    }
}

fn size(state: &State) -> usize {
    match state {
        State::Ready(batches) => batches.iter().map(StoredBatch::size).sum(),
        State::Expected { .. } | State::UnderWay => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::history::{batch, partition};
    use model::{LeaderEpoch, ShardId};
    use std::sync::Arc;

    fn at(offset: i64) -> Place {
        (partition(ShardId(1)), Offset(offset))
    }

    fn batches(offset: i64, size: usize) -> Vec<StoredBatch> {
        vec![StoredBatch::new(Offset(offset), LeaderEpoch(1), batch(offset as u64, 1, size))]
    }

    #[test]
    fn only_who_reads_in_order_is_read_ahead_for() {
        let ahead = Ahead::default();
        assert_eq!(ahead.take(at(0)), Found::Nothing);
        ahead.expect(at(1), false);
        assert!(!ahead.is_wanted(at(1)) && !ahead.begin(at(1)));
        assert_eq!(ahead.take(at(1)), Found::Expected);
        ahead.expect(at(2), true);
        assert!(ahead.is_wanted(at(2)) && ahead.begin(at(2)) && !ahead.begin(at(2)));
        ahead.end(at(2), batches(2, 100));
        assert_eq!(ahead.take(at(2)), Found::Ready(batches(2, 100)));
        assert_eq!(ahead.take(at(2)), Found::Nothing);
    }

    #[test]
    fn a_reader_waits_for_what_is_being_read() {
        let ahead = Arc::new(Ahead::default());
        ahead.expect(at(5), true);
        assert!(ahead.begin(at(5)));
        let other = ahead.clone();
        let waiting = std::thread::spawn(move || other.take(at(5)));
        ahead.end(at(5), batches(5, 10));
        assert_eq!(waiting.join().unwrap(), Found::Ready(batches(5, 10)));
        // A failed one leaves the reader to find out itself.
        ahead.expect(at(6), true);
        assert!(ahead.begin(at(6)));
        ahead.end(at(6), Vec::new());
        assert!(!ahead.is_wanted(at(6)));
        assert_eq!(ahead.take(at(6)), Found::Expected);
    }

    #[test]
    fn bytes_and_places_are_bounded() {
        let ahead = Ahead::default();
        for offset in 0..100 {
            ahead.keep(at(offset), batches(offset, 1 << 20));
        }
        assert!(ahead.lock().bytes <= AHEAD_BYTES_MAX);
        assert_eq!(ahead.take(at(0)), Found::Nothing);
        assert!(matches!(ahead.take(at(99)), Found::Ready(_)));
        for offset in 0..2 * AHEAD_PLACES_MAX as i64 {
            ahead.expect(at(offset), true);
        }
        assert!(ahead.lock().states.len() <= AHEAD_PLACES_MAX);
        assert_eq!(ahead.lock().bytes, 0);
    }
}
