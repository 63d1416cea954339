//! `sim`: seeded worlds with faults, many at a time; the mutants that they must find; one seed replayed.

use crate::output::Output;
use ::sim::outcome::Outcome;
use ::sim::run::{MutantResult, Plan, SEEDS_TO_KILL_MAX, Summary, kill, run_seeds};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 50;

/// Run simulated worlds: virtual clock, network and disk with faults, judged by checkers
#[derive(clap::Args, Debug)]
pub struct Sim {
    /// How many seeds, from --first on
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Replay one seed twice and compare the traces, instead of --seeds
    #[arg(long, conflicts_with_all = ["seeds", "first", "mutants", "mutant"])]
    seed: Option<u64>,
    /// Which kind of world
    #[arg(long, value_enum, default_value_t)]
    world: World,
    /// Let in the known-bad variants, one after the other, and count the seeds until each is found
    #[arg(long)]
    mutants: bool,
    /// Let in only variants whose name contains this
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Threads; 0 for one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Kinds of worlds.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum World {
    /// One node with everything: clients, wire, broker, storage.
    #[default]
    One,
    /// Storage alone, with many more crashes.
    Storage,
    /// Three nodes of consensus over storage.
    Quorum,
}

impl World {
    fn name(self) -> &'static str {
        match self {
            World::One => "one",
            World::Storage => "storage",
            World::Quorum => "quorum",
        }
    }

    fn demanded(self) -> &'static [&'static str] {
        match self {
            World::One => ::sim::one::DEMANDED,
            World::Storage => ::sim::storage_world::DEMANDED,
            World::Quorum => &::sim::quorum::DEMANDED,
        }
    }

    fn run(self, seed: u64) -> Outcome {
        match self {
            World::One => ::sim::one::run(seed, None),
            World::Storage => ::sim::storage_world::run(seed, None),
            World::Quorum => ::sim::quorum::run(seed, &::sim::quorum::Options::default()),
        }
    }

    /// Mutants that this world must find, by name.
    fn mutants(self) -> Vec<(String, Box<dyn Fn(u64) -> Outcome + Sync>)> {
        match self {
            World::One => ::sim::one::Mutant::all()
                .into_iter()
                .map(|mutant| -> (String, Box<dyn Fn(u64) -> Outcome + Sync>) {
                    (mutant.name(), Box::new(move |seed| ::sim::one::run(seed, Some(mutant))))
                })
                .collect(),
            World::Storage => storage::Mutant::ALL
                .iter()
                .map(|mutant| -> (String, Box<dyn Fn(u64) -> Outcome + Sync>) {
                    let mutant = *mutant;
                    (
                        format!("storage::{mutant:?}"),
                        Box::new(move |seed| ::sim::storage_world::run(seed, Some(mutant))),
                    )
                })
                .collect(),
            World::Quorum => consensus::Mutant::ALL
                .iter()
                .map(|mutant| -> (String, Box<dyn Fn(u64) -> Outcome + Sync>) {
                    let options =
                        ::sim::quorum::Options { mutant: Some(*mutant), ..::sim::quorum::Options::default() };
                    (
                        format!("consensus::{mutant:?}"),
                        Box::new(move |seed| ::sim::quorum::run(seed, &options)),
                    )
                })
                .collect(),
        }
    }
}

/// Runs what the words say.
///
/// # Errors
/// One sentence with the command that replays the first failing seed, or with what never happened, or which mutants live.
pub fn run(word: &Sim) -> Result<(), String> {
    if let Some(seed) = word.seed {
        return replay(word, seed);
    }
    if word.mutants || word.mutant.is_some() {
        return hunt(word);
    }
    let plan = Plan { first: word.first, seeds: word.seeds, threads: word.threads };
    let progress = |done: u64, all: u64| {
        if std::io::stderr().is_terminal() && (done.is_multiple_of(PROGRESS_EVERY) || done == all) {
            eprint!("\r{done} of {all} seeds");
            if done == all {
                eprintln!();
            }
        }
    };
    let world = word.world;
    let summary = run_seeds(world.name(), world.demanded(), plan, &|seed| world.run(seed), &progress);
    match word.output {
        Output::Json => println!("{}", summary_json(&summary)),
        Output::Text => print_summary(&summary),
    }
    verdict(&summary)
}

fn verdict(summary: &Summary) -> Result<(), String> {
    if let Some((seed, failure)) = summary.failures.first() {
        return Err(format!(
            "seed {seed} broke \"{}\"; replay: sternpost sim --world {} --seed {seed}",
            failure.property, summary.world
        ));
    }
    if !summary.missing.is_empty() {
        return Err(format!(
            "never happened, so nothing was proved about it: {}",
            summary.missing.join(", ")
        ));
    }
    Ok(())
}

fn print_summary(summary: &Summary) {
    print!("{}", summary.counters);
    for (seed, failure) in &summary.failures {
        println!("seed {seed}: {} is broken: {}", failure.property, failure.detail);
    }
    let virtual_s = summary.virtual_time.as_secs_f64();
    let real_s = summary.elapsed.as_secs_f64();
    println!(
        "{} seeds of world \"{}\": {} operations, {virtual_s:.0} virtual seconds in {real_s:.1} s ({:.0} × real time), trace {:016x}",
        summary.seeds,
        summary.world,
        summary.operations,
        virtual_s / real_s.max(0.001),
        summary.trace_hash
    );
    println!(
        "sim: {} passed, {} failed",
        summary.seeds - summary.failures.len() as u64,
        summary.failures.len()
    );
}

fn summary_json(summary: &Summary) -> Value {
    let counters: serde_json::Map<String, Value> =
        summary.counters.iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    let failures: Vec<Value> = summary
        .failures
        .iter()
        .map(|(seed, failure)| json!({"seed": seed, "property": failure.property, "detail": failure.detail}))
        .collect();
    json!({
        "world": summary.world,
        "seeds": summary.seeds,
        "operations": summary.operations,
        "virtual_seconds": summary.virtual_time.as_secs_f64(),
        "real_seconds": summary.elapsed.as_secs_f64(),
        "trace_hash": format!("{:016x}", summary.trace_hash),
        "missing": summary.missing,
        "failures": failures,
        "counters": counters,
    })
}

fn replay(word: &Sim, seed: u64) -> Result<(), String> {
    let world = word.world;
    let run = || ::sim::run::caught(seed, &|seed| world.run(seed));
    let (first, second) = (run(), run());
    let failure = first.failure.as_ref();
    match word.output {
        Output::Json => println!(
            "{}",
            json!({
                "world": world.name(),
                "seed": seed,
                "trace_hash": format!("{:016x}", first.trace_hash),
                "same_twice": first == second,
                "operations": first.operations,
                "failure": failure.map(|failure| json!({"property": failure.property, "detail": failure.detail})),
            })
        ),
        Output::Text => {
            print!("{}", first.counters);
            println!("seed {seed}: trace {:016x}, {} operations", first.trace_hash, first.operations);
        }
    }
    if first != second {
        return Err(format!("seed {seed} gave two different traces: the world is not deterministic"));
    }
    match failure {
        Some(failure) => Err(format!("seed {seed} broke \"{}\": {}", failure.property, failure.detail)),
        None => Ok(()),
    }
}

fn hunt(word: &Sim) -> Result<(), String> {
    let wanted = word.mutant.as_deref().unwrap_or_default();
    let plan = Plan { first: word.first, seeds: SEEDS_TO_KILL_MAX, threads: word.threads };
    let mut results: Vec<MutantResult> = Vec::new();
    for (name, world) in word.world.mutants().into_iter().filter(|(name, _)| name.contains(wanted)) {
        let result = kill(word.world.name(), name, plan, &*world);
        if word.output == Output::Text {
            match result.seeds_to_kill {
                Some(seeds) => println!(
                    "{:<44} killed after {seeds:>5} seeds by \"{}\"",
                    result.mutant, result.killed_by
                ),
                None => println!("{:<44} LIVES after {SEEDS_TO_KILL_MAX} seeds", result.mutant),
            }
        }
        results.push(result);
    }
    if results.is_empty() {
        return Err(format!("no mutant of world \"{}\" is called like {wanted:?}", word.world.name()));
    }
    let alive: Vec<&str> = results
        .iter()
        .filter(|result| result.seeds_to_kill.is_none())
        .map(|result| result.mutant.as_str())
        .collect();
    match word.output {
        Output::Json => {
            let rows: Vec<Value> = results
                .iter()
                .map(|result| json!({"mutant": result.mutant, "seeds_to_kill": result.seeds_to_kill, "killed_by": result.killed_by}))
                .collect();
            println!("{}", json!({"world": word.world.name(), "mutants": rows}));
        }
        Output::Text => println!("mutants: {} passed, {} failed", results.len() - alive.len(), alive.len()),
    }
    if alive.is_empty() { Ok(()) } else { Err(format!("mutants that no seed found: {}", alive.join(", "))) }
}
