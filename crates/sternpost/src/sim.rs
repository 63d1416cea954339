//! `sim`: seeded worlds with faults, many at a time; one seed replayed; the mutants that the worlds must find.

use crate::output::Output;
use ::sim::faults::{self, Fault, RowResult};
use ::sim::run::{MutantResult, Plan, SEEDS_TO_KILL_MAX, caught};
use ::sim::worlds::{Mutant, World};
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Seeds of a run that does not say how many.
const SEEDS: u64 = 1_000;
/// The same for a row of the fault matrix.
const SEEDS_OF_ROW: u64 = 4;
/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 50;
/// With fewer seeds it is chance whether every rare fault came up.
const SEEDS_TO_DEMAND: u64 = 400;

/// Run simulated worlds: virtual clock, network and disk with faults, judged by checkers
#[derive(clap::Args, Debug)]
pub struct Sim {
    /// How many seeds; one seed is run twice and the traces are compared. Default: 1000
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Which kind of world: one, three, five (whole nodes with clients), storage, or quorum (three nodes of consensus); default:
    /// one
    #[arg(long)]
    world: Option<World>,
    /// Nodes of a whole cluster: 1, 3 or 5; the same as the worlds of that name
    #[arg(long, value_parser = world_of_nodes, conflicts_with = "world")]
    nodes: Option<World>,
    /// Let in known-bad variants and count the seeds until each is found: a name, or all
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// With one seed: print what the nodes logged, at which virtual time, in seconds
    #[arg(long)]
    log: bool,
    /// Run a row of the fault matrix by its number, all rows, or list them; with --mutant the row must find it. Default: 4 seeds each
    #[arg(long, value_name = "ROW", conflicts_with_all = ["world", "nodes"])]
    fault: Option<Fault>,
    /// Threads; 0 for one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Sim {
    /// The world that was named, one way or the other.
    fn world(&self) -> Option<World> {
        self.world.or(self.nodes)
    }
}

fn world_of_nodes(nodes: &str) -> Result<World, String> {
    match nodes {
        "1" => Ok(World::One),
        "3" => Ok(World::Three),
        "5" => Ok(World::Five),
        _ => Err("a cluster has 1, 3 or 5 nodes".to_owned()),
    }
}

/// Runs what the words say.
///
/// # Errors
/// One sentence: which seed broke what, what never happened, or which mutants live.
pub fn run(word: &Sim) -> Result<(), String> {
    if word.log && (word.seeds != Some(1) || word.mutant.is_some() && word.fault.is_none()) {
        return Err("--log wants one seed that is run: add --seeds 1".to_owned());
    }
    if let Some(fault) = word.fault {
        return faults(word, fault);
    }
    let world = word.world().unwrap_or(World::One);
    match &word.mutant {
        Some(name) => hunt(word, name),
        None if word.seeds == Some(1) => replay(word, world),
        None => swarm(word, world),
    }
}

fn swarm(word: &Sim, world: World) -> Result<(), String> {
    let plan = Plan { first: word.seed, seeds: word.seeds.unwrap_or(SEEDS), threads: word.threads };
    let progress = |done: u64, all: u64| {
        if std::io::stderr().is_terminal() && (done.is_multiple_of(PROGRESS_EVERY) || done == all) {
            eprint!("\r{done} of {all} seeds{}", if done == all { "\n" } else { "" });
        }
    };
    let summary = world.run_seeds(plan, SEEDS_TO_DEMAND, &progress);
    match word.output {
        Output::Json => println!("{}", summary.to_json()),
        Output::Text => {
            print!("{summary}");
            let failed = summary.failures.len() as u64;
            println!("sim: {} passed, {failed} failed", summary.seeds - failed);
        }
    }
    if let Some((seed, failure)) = summary.failures.first() {
        return Err(format!("seed {seed} broke \"{}\"", failure.property));
    }
    match summary.missing.as_slice() {
        [] => Ok(()),
        missing => Err(format!("never happened, so nothing was proved about it: {}", missing.join(", "))),
    }
}

fn replay(word: &Sim, world: World) -> Result<(), String> {
    let run = || caught(word.seed, &|seed| world.run(seed));
    let (first, second) = (run(), run());
    match word.output {
        Output::Json => println!(
            "{}",
            json!({
                "world": world.name(),
                "seed": word.seed,
                "trace_hash": format!("{:016x}", first.trace_hash),
                "same_twice": first == second,
                "operations": first.operations,
                "log": if word.log { json!(first.log) } else { Value::Null },
                "failure": first.failure.as_ref().map(|f| json!({"property": f.property, "detail": f.detail})),
            })
        ),
        Output::Text => {
            for line in first.log.iter().filter(|_| word.log) {
                println!("{line}");
            }
            print!("{}", first.counters);
            println!("seed {}: trace {:016x}, {} operations", word.seed, first.trace_hash, first.operations);
        }
    }
    if first != second {
        return Err(format!("seed {} gave two different traces: the world is not deterministic", word.seed));
    }
    match first.failure {
        Some(failure) => {
            Err(format!("seed {} broke \"{}\": {}", word.seed, failure.property, failure.detail))
        }
        None => Ok(()),
    }
}

/// Rows of the fault matrix. With a known-bad variant let in, a row is to fail.
fn faults(word: &Sim, fault: Fault) -> Result<(), String> {
    let plan = Plan { first: word.seed, seeds: word.seeds.unwrap_or(SEEDS_OF_ROW), threads: word.threads };
    let mutant = word.mutant.as_deref().map(faults::mutant).transpose()?;
    let results = faults::run(fault, plan, mutant, &mut |result| {
        if word.output == Output::Text {
            for line in result.log().iter().filter(|_| word.log) {
                println!("{line}");
            }
            println!("{result}");
        }
    });
    if word.output == Output::Json {
        println!("{}", Value::from_iter(results.iter().map(RowResult::to_json)));
    }
    let failures: Vec<String> = results.iter().filter_map(RowResult::failure).collect();
    let simulated = results.iter().filter(|result| result.is_simulated()).count();
    match (&word.mutant, failures.first()) {
        (None, None) => {
            if word.output == Output::Text {
                println!("faults: {simulated} passed, 0 failed");
            }
            Ok(())
        }
        (None, Some(first)) => Err(format!("{} of {simulated} rows failed; {first}", failures.len())),
        (Some(_), Some(_)) => Ok(()),
        (Some(name), None) => Err(format!("no row that was run noticed the mutant {name}")),
    }
}

fn hunt(word: &Sim, name: &str) -> Result<(), String> {
    let plan = Plan { first: word.seed, seeds: SEEDS_TO_KILL_MAX, threads: word.threads };
    let meant = Mutant::named(name)?;
    let mut results: Vec<MutantResult> = Vec::new();
    for mutant in meant.into_iter().filter(|mutant| word.world().is_none_or(|world| world == mutant.world()))
    {
        let result = mutant.kill(plan);
        if word.output == Output::Text {
            println!("{result}");
        }
        results.push(result);
    }
    let alive: Vec<&str> =
        results.iter().filter(|r| r.seeds_to_kill.is_none()).map(|r| r.mutant.as_str()).collect();
    match word.output {
        Output::Json => println!("{}", Value::from_iter(results.iter().map(MutantResult::to_json))),
        Output::Text => println!("mutants: {} passed, {} failed", results.len() - alive.len(), alive.len()),
    }
    match alive.as_slice() {
        [] if results.is_empty() => Err(format!("no mutant '{name}' is let into that world")),
        [] => Ok(()),
        alive => Err(format!("mutants that no seed found: {}", alive.join(", "))),
    }
}
