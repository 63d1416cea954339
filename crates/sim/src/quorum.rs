//! Worlds of a quorum: three nodes (or more) of consensus over simulated disks and a simulated network. One seed is one
//! world: it runs under faults, is healed, and must then serve again and agree.

mod checker;
mod failover;
mod faults;
mod network;
mod node;
mod store;
#[cfg(test)]
mod tests;
mod world;

pub use failover::{Gaps, Loss, failover};
pub use faults::DEMANDED;

use crate::counters::Counters;
use crate::outcome::{Failure, Outcome};
use consensus::Mutant;
use model::ShardId;
use std::time::Duration;
use world::World;

/// What kind of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything may go wrong.
    Swarm,
    /// Nothing goes wrong but what the caller does.
    Calm,
}

/// A world's size and variant.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes, each a voter of every shard.
    pub nodes: u64,
    /// Raft groups.
    pub shards: u32,
    /// Clients; each writes to and reads from one shard.
    pub clients: usize,
    /// How long a client waits for an answer before it asks another node.
    pub patience: Duration,
    /// A client's rest between two operations.
    pub think: Duration,
    /// Virtual time under faults.
    pub faulty: Duration,
    /// Virtual time in which a healed world must serve and agree.
    pub healing: Duration,
    /// What kind of world.
    pub plan: Plan,
    /// A known-bad variant to be found.
    pub mutant: Option<Mutant>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            nodes: 3,
            shards: 2,
            clients: 4,
            patience: Duration::from_millis(400),
            think: Duration::from_millis(20),
            faulty: Duration::from_secs(6),
            healing: Duration::from_secs(6),
            plan: Plan::Swarm,
            mutant: None,
        }
    }
}

/// Runs one world.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut world = World::new(seed, options);
    let start = world.now;
    world.begin_faults();
    world.run_until(start.plus(options.faulty));
    if world.checker.failure.is_none() {
        world.heal();
        let done: Vec<u64> = world.clients.iter().map(|client| client.done).collect();
        world.run_until(start.plus(options.faulty + options.healing));
        check_liveness(&mut world, &done);
        check_convergence(&mut world);
        world.checker.at_end();
    }
    outcome(world, start)
}

/// After the heal every client gets answers again: at least this many, in `Options::healing`.
const ANSWERS_AFTER_HEAL_MIN: u64 = 50;

fn check_liveness(world: &mut World, before: &[u64]) {
    for (client, before) in before.iter().enumerate() {
        let answers = world.clients[client].done - before;
        if answers < ANSWERS_AFTER_HEAL_MIN {
            let (shard, waiting) = (world.clients[client].shard, world.waiting(client));
            let detail = format!("client {client} of {shard:?} got {answers} answers, waits for {waiting:?}");
            world.checker.fail("a healed world serves", detail);
        }
    }
}

/// Clients stop; all replicas must reach the same state.
fn check_convergence(world: &mut World) {
    if world.checker.failure.is_some() {
        return;
    }
    world.stop_clients();
    let until = world.now.plus(Duration::from_secs(2));
    world.run_until(until);
    for shard in (0..world.options.shards).map(ShardId) {
        let newest = world.newest_applied(shard);
        let states: Vec<_> = world
            .hosts
            .iter()
            .map(|host| {
                host.process
                    .as_ref()
                    .and_then(|process| process.replicas.get(&shard))
                    .map(|replica| replica.state)
            })
            .collect();
        if states.iter().any(|state| state.is_none_or(|state| state.index != newest)) {
            world.checker.fail("replicas agree in the end", format!("{shard:?}: {states:?}"));
        }
    }
}

fn outcome(mut world: World, start: model::Mono) -> Outcome {
    let mut counters = std::mem::take(&mut world.checker.counters);
    counters.add("world: events", world.events);
    for host in &world.hosts {
        counters.merge(&host.disk.counters());
        counters.add("disk: calls", host.disk.calls());
        world.trace.number(host.disk.trace_hash());
    }
    Outcome {
        seed: world.seed,
        trace_hash: world.trace.hash(),
        operations: world.clients.iter().map(|client| client.done).sum(),
        virtual_nanos: world.now.0 - start.0,
        log: Vec::new(),
        counters,
        failure: world.checker.failure.take(),
    }
}

/// Many worlds together.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Worlds run.
    pub seeds: u64,
    /// Operations that clients completed.
    pub operations: u64,
    /// Virtual time in all of them, nanoseconds.
    pub virtual_nanos: u64,
    /// All counts.
    pub counters: Counters,
    /// The worlds that broke a promise.
    pub failures: Vec<(u64, Failure)>,
}

impl Summary {
    /// Adds one world.
    pub fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.operations += outcome.operations;
        self.virtual_nanos += outcome.virtual_nanos;
        self.counters.merge(&outcome.counters);
        self.failures.extend(outcome.failure.map(|failure| (outcome.seed, failure)));
    }
}

/// Runs worlds one after the other.
pub fn run_many(seeds: std::ops::Range<u64>, options: &Options) -> Summary {
    let mut summary = Summary::default();
    seeds.for_each(|seed| summary.add(run(seed, options)));
    summary
}

/// Worlds needed to find a mutant, and the property that found it; `None` when all of `seeds` let it live.
pub fn hunt(mutant: Mutant, seeds: std::ops::Range<u64>, options: &Options) -> Option<(u64, Failure)> {
    let options = Options { mutant: Some(mutant), ..options.clone() };
    let first = seeds.start;
    seeds.into_iter().find_map(|seed| run(seed, &options).failure.map(|failure| (seed - first + 1, failure)))
}
