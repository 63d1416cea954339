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

/// The nodes of each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment(Vec<Vec<i32>>);

/// Reads an assignment as Kafka's tools write it: nodes with colons between, partitions with commas.
fn assignment(text: &str) -> Result<Assignment, String> {
    let node = |text: &str| {
        let id = text.trim().parse::<i32>().ok().filter(|id| *id >= 0);
        id.ok_or_else(|| {
            format!("'{text}' is no node id; wanted are nodes of each partition, such as 1:2:3,2:3:1")
        })
    };
    let partition = |text: &str| text.split(':').map(node).collect();
    text.split(',').map(partition).collect::<Result<_, _>>().map(Assignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_kafka_writes_them() {
        assert_eq!(assignment("1:2:3,2:3:1"), Ok(Assignment(vec![vec![1, 2, 3], vec![2, 3, 1]])));
        assert_eq!(assignment("7"), Ok(Assignment(vec![vec![7]])));
        for wrong in ["", "1,,2", "1:", "one", "-1", "1;2"] {
            assert!(assignment(wrong).is_err_and(|why| why.contains("is no node id")), "{wrong}");
        }
    }
}
