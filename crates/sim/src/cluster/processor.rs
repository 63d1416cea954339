//! The processor under a node's process. Normally a process gets it whenever something happens to it. On a machine with more
//! runnable threads than cores it runs for a slice and then waits while others run; what comes meanwhile is handled in its
//! order when its turn comes. Disks and network go on: they need no processor here.

use super::{Happening, HostIndex, World};
use model::Mono;
use std::time::Duration;

/// What others want of a processor, microseconds: bounds of what the seed rolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contention {
    /// How long the process runs when it is its turn.
    pub slice: (u64, u64),
    /// How long it waits then, mostly towards the first.
    pub wait: (u64, u64),
}

/// Four runnable threads for each core under Linux's scheduler: a slice is 3 ms and a tick, three others have theirs between two
/// of the process, and whoever ran ahead of its share waits for several rounds of them.
pub const FOUR_PER_CORE: Contention = Contention { slice: (3_000, 4_000), wait: (9_000, 40_000) };

/// A host's processor as the process there sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processor {
    /// Others want it too.
    contention: Option<Contention>,
    /// Others have it.
    away: Option<Away>,
    /// Slices begun.
    slices: u64,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    since: Mono,
    until: Mono,
}

impl Processor {
    /// Whether others have it. They do until the process was told that it goes on: what comes at that very moment must not overtake
    /// what waits.
    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }
}

impl World {
    /// From now on others want every host's processor.
    pub(super) fn contend(&mut self, contention: Contention) {
        for at in 0..self.hosts.len() {
            let processor = &mut self.hosts[at].processor;
            if processor.contention.replace(contention).is_none() {
                self.queue.after(Duration::ZERO, Happening::Preempted(at, processor.slices));
            }
        }
    }

    /// The processors are there for the nodes again.
    pub(super) fn end_contention(&mut self) {
        for at in 0..self.hosts.len() {
            let processor = &mut self.hosts[at].processor;
            (processor.contention, processor.away) = (None, None);
            self.go_on(at);
        }
    }

    /// The slice of this number is over.
    pub(super) fn on_preempted(&mut self, at: HostIndex, slice: u64) {
        let processor = &self.hosts[at].processor;
        let Some(Contention { wait, .. }) = processor.contention.filter(|_| slice == processor.slices) else {
            return;
        };
        let wait = Duration::from_micros(self.dice.skewed(wait.0, wait.1));
        self.counters.count("world: process waited for its processor");
        self.away_for(at, wait);
    }

    /// The process will have been without its processor for so long when it gets it next.
    pub(super) fn stall(&mut self, at: HostIndex, wait: Duration) {
        self.counters.count("world: process stalled");
        self.away_for(at, wait);
    }

    fn away_for(&mut self, at: HostIndex, wait: Duration) {
        let now = self.queue.now();
        let away = self.hosts[at].processor.away.get_or_insert(Away { since: now, until: now });
        let until = away.since.plus(wait);
        if until > away.until {
            away.until = until;
            self.queue.at(until, Happening::Scheduled(at));
        }
    }

    /// The process may have its processor again.
    pub(super) fn on_scheduled(&mut self, at: HostIndex) {
        let now = self.queue.now();
        let processor = &mut self.hosts[at].processor;
        if processor.away.take_if(|away| away.until <= now).is_none() {
            return;
        }
        processor.slices += 1;
        if let Some(Contention { slice, .. }) = processor.contention {
            let slice = Duration::from_micros(self.dice.between(slice.0, slice.1));
            self.queue.after(slice, Happening::Preempted(at, processor.slices));
        }
        self.go_on(at);
    }

    /// What came for a process while it did not run, in order.
    pub(super) fn go_on(&mut self, at: HostIndex) {
        if self.stands_still(at) {
            return;
        }
        let life = self.hosts[at].life;
        for happening in std::mem::take(&mut self.hosts[at].held) {
            if self.hosts[at].life == life {
                self.happen(happening);
            }
        }
    }

    /// Whether what comes for the process must wait.
    pub(super) fn stands_still(&self, at: HostIndex) -> bool {
        let host = &self.hosts[at];
        host.is_stopped || host.processor.is_away()
    }
}
