//! `group`: list, describe, delete consumer groups, set and delete their offsets, on any Kafka cluster.

mod delete;
mod delete_offsets;
mod describe;
mod list;
mod reset;
mod scope;

use crate::cluster::block_on;
use clap::Subcommand;

/// List, describe and delete consumer groups, and reset or delete their offsets
#[derive(clap::Args, Debug)]
pub struct Group {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    List(list::List),
    Describe(describe::Describe),
    ResetOffsets(reset::ResetOffsets),
    DeleteOffsets(delete_offsets::DeleteOffsets),
    Delete(delete::Delete),
}

/// Runs the verb.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Group) -> Result<(), String> {
    block_on(async {
        match &word.verb {
            Verb::List(verb) => list::run(verb).await,
            Verb::Describe(verb) => describe::run(verb).await,
            Verb::ResetOffsets(verb) => reset::run(verb).await,
            Verb::DeleteOffsets(verb) => delete_offsets::run(verb).await,
            Verb::Delete(verb) => delete::run(verb).await,
        }
    })
}
