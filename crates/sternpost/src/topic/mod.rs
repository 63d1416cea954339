//! `topic`: create, list, describe, alter and delete topics of any Kafka cluster.

mod alter;
mod create;
mod delete;
mod describe;
mod list;

use crate::cluster::block_on;
use clap::Subcommand;

/// Create, list, describe, alter and delete topics
#[derive(clap::Args, Debug)]
pub struct Topic {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Create(create::Create),
    List(list::List),
    Describe(describe::Describe),
    Alter(alter::Alter),
    Delete(delete::Delete),
}

/// Runs the verb.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Topic) -> Result<(), String> {
    block_on(async {
        match &word.verb {
            Verb::Create(verb) => create::run(verb).await,
            Verb::List(verb) => list::run(verb).await,
            Verb::Describe(verb) => describe::run(verb).await,
            Verb::Alter(verb) => alter::run(verb).await,
            Verb::Delete(verb) => delete::run(verb).await,
        }
    })
}
