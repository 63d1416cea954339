//! The one binary: each word of the command line is a file of its own, and this one only sends it there. Data goes to
//! stdout, talk to stderr; an error is one sentence and exit code 1 (2 for a wrong command line).

mod bench;
mod caution;
mod cluster;
mod completions;
mod consume;
mod group;
mod inspect;
mod moment;
mod nodes;
mod output;
mod produce;
mod recover;
mod serve;
mod settings;
mod sim;
mod topic;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A fault-tolerant event platform that Kafka clients speak to: acknowledged means fsynced
#[derive(Parser, Debug)]
#[command(name = "sternpost", version, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand, Debug)]
enum Word {
    Serve(serve::Serve),
    Topic(topic::Topic),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Group(group::Group),
    Cluster(cluster::Cluster),
    Bench(bench::Bench),
    Inspect(inspect::Inspect),
    Recover(recover::Recover),
    Completions(completions::Completions),
    Sim(sim::Sim),
}

fn main() -> ExitCode {
    let outcome = match Command::parse().word {
        Word::Serve(word) => serve::run(&word),
        Word::Topic(word) => topic::run(&word),
        Word::Produce(word) => produce::run(&word),
        Word::Consume(word) => consume::run(&word),
        Word::Group(word) => group::run(&word),
        Word::Cluster(word) => cluster::run(&word),
        Word::Bench(word) => bench::run(&word),
        Word::Inspect(word) => inspect::run(&word),
        Word::Recover(word) => recover::run(&word),
        Word::Completions(word) => completions::run(&word),
        Word::Sim(word) => sim::run(&word),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
