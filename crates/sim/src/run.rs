//! Many seeds of a world, on all cores: the first failing seeds, the sum of all counters, what never happened, and the
//! mutants with the number of seeds that it took to kill each. The one place of this room that looks at a real clock
//! and starts threads: worlds themselves know neither.

use crate::counters::Counters;
use crate::outcome::{Failure, Outcome};
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failing seeds that a run keeps; it stops there.
const FAILURES_MAX: usize = 10;
/// Seeds after which a mutant counts as surviving.
pub const SEEDS_TO_KILL_MAX: u64 = 3_000;

/// Which seeds, on how many threads.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// Threads; 0 for one per core.
    pub threads: usize,
}

/// What many seeds of one world gave.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Name of the world.
    pub world: &'static str,
    /// Seeds that were run.
    pub seeds: u64,
    /// Failing seeds in order, with what failed.
    pub failures: Vec<(u64, Failure)>,
    /// Counters that never came up though they must.
    pub missing: Vec<&'static str>,
    /// All counters.
    pub counters: Counters,
    /// Operations of clients.
    pub operations: u64,
    /// Virtual time in all worlds.
    pub virtual_time: Duration,
    /// Real time that it took.
    pub elapsed: Duration,
    /// Hash over the hashes of all seeds, in order: equal for equal runs.
    pub trace_hash: u64,
}

impl Summary {
    /// Whether nothing failed and nothing is missing.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.missing.is_empty()
    }
}

/// How a mutant ended.
#[derive(Clone, Debug)]
pub struct MutantResult {
    /// The world that it was let into.
    pub world: &'static str,
    /// Its name.
    pub mutant: String,
    /// Seeds until a checker noticed; `None` when it survived.
    pub seeds_to_kill: Option<u64>,
    /// What noticed.
    pub killed_by: String,
}

/// Runs one seed; a broken invariant (panic) is a failure like any other.
pub fn caught(seed: u64, world: &(dyn Fn(u64) -> Outcome + Sync)) -> Outcome {
    quiet_panics();
    IN_WORLD.with(|flag| flag.set(true));
    let result = catch_unwind(AssertUnwindSafe(|| world(seed)));
    IN_WORLD.with(|flag| flag.set(false));
    result.unwrap_or_else(|panic| {
        let detail = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let place = PANIC_PLACE.with(|place| place.take());
        Outcome {
            seed,
            trace_hash: 0,
            operations: 0,
            virtual_nanos: 0,
            log: LEFT_LOG.with(|left| left.take()),
            counters: Counters::default(),
            failure: Some(Failure::new("invariant holds", format!("{detail} ({place})"))),
        }
    })
}

thread_local! {
    static IN_WORLD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static PANIC_PLACE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
    static LEFT_LOG: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// What the nodes of a world had logged that a panic takes away now: [`caught`] puts it into the outcome.
pub(crate) fn leave_log(log: Vec<String>) {
    LEFT_LOG.with(|left| left.replace(log));
}

/// Panics inside a world are results, not news; elsewhere they are reported as before.
fn quiet_panics() {
    static DONE: std::sync::Once = std::sync::Once::new();
    DONE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_WORLD.with(std::cell::Cell::get) {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                PANIC_PLACE.with(|kept| *kept.borrow_mut() = place);
            } else {
                usual(info);
            }
        }));
    });
}

/// Runs the seeds of a plan; `progress` hears (done, all) from any thread.
pub fn run_seeds(
    name: &'static str,
    demanded: &[&'static str],
    plan: Plan,
    world: &(dyn Fn(u64) -> Outcome + Sync),
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Summary {
    let started = Instant::now();
    let gathered = Mutex::new(Gathered::default());
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads(plan.threads) {
            scope.spawn(|| {
                let mut own = Gathered::default();
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.seeds {
                        break;
                    }
                    own.take(caught(plan.first + number, world));
                    if own.failures.len() >= FAILURES_MAX {
                        stop.store(true, Ordering::Relaxed);
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, plan.seeds);
                }
                gathered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).merge(own);
            });
        }
    });
    let gathered = gathered.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut trace = Trace::default();
    gathered.hashes.values().for_each(|hash| trace.number(*hash));
    Summary {
        world: name,
        seeds: gathered.hashes.len() as u64,
        failures: gathered.failures.into_iter().collect(),
        missing: gathered.counters.missing(demanded),
        counters: gathered.counters,
        operations: gathered.operations,
        virtual_time: Duration::from_nanos(gathered.virtual_nanos),
        elapsed: started.elapsed(),
        trace_hash: trace.hash(),
    }
}

/// Lets a mutant live until a seed's world fails, at most [`SEEDS_TO_KILL_MAX`] seeds.
pub fn kill(
    world_name: &'static str,
    mutant: String,
    plan: Plan,
    world: &(dyn Fn(u64) -> Outcome + Sync),
) -> MutantResult {
    let next = AtomicU64::new(0);
    let killed: Mutex<BTreeMap<u64, Failure>> = Mutex::default();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads(plan.threads) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.seeds {
                        break;
                    }
                    if let Some(failure) = caught(plan.first + number, world).failure {
                        stop.store(true, Ordering::Relaxed);
                        killed
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .insert(number, failure);
                    }
                }
            });
        }
    });
    let killed = killed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let first = killed.into_iter().next();
    MutantResult {
        world: world_name,
        mutant,
        seeds_to_kill: first.as_ref().map(|(number, _)| number + 1),
        killed_by: first.map_or_else(String::new, |(_, failure)| failure.property),
    }
}

fn threads(wanted: usize) -> usize {
    if wanted > 0 { wanted } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

#[derive(Default)]
struct Gathered {
    hashes: BTreeMap<u64, u64>,
    failures: BTreeMap<u64, Failure>,
    counters: Counters,
    operations: u64,
    virtual_nanos: u64,
}

impl Gathered {
    fn take(&mut self, outcome: Outcome) {
        self.hashes.insert(outcome.seed, outcome.trace_hash);
        self.counters.merge(&outcome.counters);
        self.operations += outcome.operations;
        self.virtual_nanos = self.virtual_nanos.saturating_add(outcome.virtual_nanos);
        if let Some(failure) = outcome.failure {
            self.failures.insert(outcome.seed, failure);
        }
    }

    fn merge(&mut self, other: Gathered) {
        self.hashes.extend(other.hashes);
        self.failures.extend(other.failures);
        self.counters.merge(&other.counters);
        self.operations += other.operations;
        self.virtual_nanos = self.virtual_nanos.saturating_add(other.virtual_nanos);
    }
}
