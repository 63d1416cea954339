//! `bench`: load for any cluster that speaks Kafka's protocol, and for the disk below it. Latencies are measured from the
//! moment a record should have been sent, so that a stalled server cannot hide behind a client that waits for it.

mod consume;
mod disk;
mod e2e;
mod load;
mod payload;
mod produce;
mod report;
mod tally;

use clap::Subcommand;

/// Measure a cluster (produce, consume, end to end) or a disk
#[derive(clap::Args, Debug)]
pub struct Bench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Produce(produce::Produce),
    Consume(consume::Consume),
    E2e(e2e::E2e),
    Disk(disk::Disk),
}

/// Runs the measurement.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Bench) -> Result<(), String> {
    match &word.verb {
        Verb::Produce(verb) => produce::run(verb),
        Verb::Consume(verb) => consume::run(verb),
        Verb::E2e(verb) => e2e::run(verb),
        Verb::Disk(verb) => disk::run(verb),
    }
}
