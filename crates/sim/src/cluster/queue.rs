//! The one heap of a world: what happens when. Events of the same moment come in an order that the seed decides.

use crate::dice::Dice;
use model::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// An event and its moment; ordered by the moment, then by a roll, then by age.
#[derive(Debug)]
struct Scheduled<E> {
    key: Reverse<(Mono, u64, u64)>,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// The heap and the virtual monotonic clock.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Scheduled<E>>,
    now: Mono,
    number: u64,
    dice: Dice,
}

impl<E> Queue<E> {
    /// Nothing is to happen yet; the clock stands at 1 s.
    pub fn new(dice: Dice) -> Queue<E> {
        Queue { heap: BinaryHeap::new(), now: Mono(1_000_000_000), number: 0, dice }
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Mono {
        self.now
    }

    /// Lets something happen at a moment; never before now.
    pub fn at(&mut self, moment: Mono, event: E) {
        self.number += 1;
        let key = Reverse((moment.max(self.now), self.dice.next(), self.number));
        self.heap.push(Scheduled { key, event });
    }

    /// Lets something happen after a while.
    pub fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now.plus(wait), event);
    }

    /// Moves the clock to the next event.
    pub fn pop(&mut self) -> Option<E> {
        let Scheduled { key: Reverse((moment, ..)), event } = self.heap.pop()?;
        self.now = moment;
        Some(event)
    }
}
