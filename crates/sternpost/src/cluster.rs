//! How the words that talk to a cluster reach it, what they print, and how they say what went wrong: data on stdout, talk on
//! stderr, one sentence with a hint for each error. And the word about the cluster itself.

mod catching_up;
mod health;
mod replace_node;
mod status;

use crate::output::Output;
use clap::Subcommand;
use client::{Address, Client, Config, Error};
use comfy_table::{Cell, ContentArrangement, Table, presets};
use kafka::wire::Str;
use model::ErrorCode;
use serde_json::Value;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// Show how a cluster is
#[derive(clap::Args, Debug)]
pub struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Status(status::Status),
    ReplaceNode(replace_node::ReplaceNode),
}

/// Runs the verb.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Cluster) -> Result<(), String> {
    block_on(async {
        match &word.verb {
            Verb::Status(verb) => status::run(verb).await,
            Verb::ReplaceNode(verb) => replace_node::run(verb).await,
        }
    })
}

/// Where the cluster is
#[derive(clap::Args, Debug, Clone)]
pub struct ClusterArgs {
    /// Brokers to ask first; one that answers is enough
    #[arg(
        short,
        long,
        env = "STERNPOST_BOOTSTRAP_SERVER",
        default_value = "localhost:9092",
        value_name = "HOST:PORT,..."
    )]
    pub bootstrap_server: String,
    /// Longest time for one operation with all its tries, ms
    #[arg(long, default_value_t = 60_000, value_name = "MS", hide_short_help = true)]
    pub api_timeout_ms: u64,
    /// What is printed on stdout
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

impl ClusterArgs {
    /// A client of the cluster.
    ///
    /// # Errors
    /// One clear sentence.
    pub async fn client(&self) -> Result<Client, String> {
        let bootstrap = Address::list(&self.bootstrap_server).map_err(|error| sentence(&error))?;
        let mut config = Config::new(bootstrap);
        let timeout = Duration::from_millis(self.api_timeout_ms);
        config.operation_timeout = timeout;
        config.request_timeout = config.request_timeout.min(timeout);
        config.connect_timeout = config.connect_timeout.min(timeout);
        Client::connect(config).await.map_err(|error| sentence(&error))
    }

    /// Prints a result: the value as one line of JSON, or what `text` makes of it.
    pub fn show(&self, value: &Value, text: impl FnOnce() -> String) {
        match self.output {
            Output::Json => print(&value.to_string()),
            Output::Text => print(&text()),
        }
    }
}

/// Runs a word's work.
///
/// # Errors
/// The work's own sentence.
pub fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?
        .block_on(work)
}

/// An error as one sentence, with what to do about it.
pub fn sentence(error: &Error) -> String {
    let hint = match error {
        Error::NoBroker { .. } => "start one with `sternpost serve`, or name yours with --bootstrap-server",
        Error::UnknownTopic(_) => {
            "`sternpost topic list` shows those that do, `sternpost topic create` makes one"
        }
        Error::UnknownPartition { .. } => "`sternpost topic describe` shows its partitions",
        Error::Disconnected { .. } => {
            "its log says why; one whose disk takes no part yet sends its clients to the other nodes"
        }
        Error::Unsupported { .. } => "it is too old for this word, or lacks this part of Kafka's API",
        _ => match error.code() {
            Some(ErrorCode::UnknownTopicOrPartition) => "`sternpost topic list` shows what there is",
            Some(ErrorCode::TopicAlreadyExists) => "`sternpost topic alter` changes it",
            Some(ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId) => "stop its consumers first",
            Some(ErrorCode::GroupSubscribedToTopic) => "stop the consumers of that topic first",
            Some(ErrorCode::GroupIdNotFound) => "`sternpost group list` shows those there are",
            Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge) => {
                "the topic's config max.message.bytes is the limit"
            }
            _ => return error.to_string(),
        },
    };
    format!("{error}; {hint}")
}

/// Prints a line on stdout. Who reads it may stop reading: then nothing is left to do.
pub fn print(line: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}") {
        let calm = error.kind() == ErrorKind::BrokenPipe;
        if !calm {
            eprintln!("error: cannot write to stdout: {error}");
        }
        std::process::exit(i32::from(!calm));
    }
}

/// A table without lines, so that it can be cut with tools as well as read.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(Cell::new));
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_string()).collect();
    lines.join("\n")
}

/// `1 partition`, `2 partitions`.
pub fn counted(count: i64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What is said when records could not be written.
pub fn not_written(count: u64, why: &str) -> String {
    let (s, were) = if count == 1 { ("", "was") } else { ("s", "were") };
    format!("{count} record{s} {were} not written: {why}")
}

/// Reads `name=value`.
///
/// # Errors
/// When there is no name.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_string(), value.to_string())),
        _ => Err("name=value is wanted".to_string()),
    }
}

/// Names given one by one or with `--topic`, each once.
pub fn names(positional: &[String], flagged: &[String]) -> Vec<Str> {
    let mut names: Vec<Str> = Vec::new();
    for name in positional.iter().chain(flagged).flat_map(|names| names.split(',')) {
        let name = Str::from(name);
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_string(), "b=c".to_string())));
        assert_eq!(pair("a="), Ok(("a".to_string(), String::new())));
        assert!(pair("a").is_err());
        assert!(pair("=b").is_err());
    }

    #[test]
    fn names_come_once() {
        let of = |a: &[&str], b: &[&str]| {
            let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            names(&own(a), &own(b)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&["a", "b"], &["c,a", ""]), "a b c");
    }

    #[test]
    fn tables_have_no_lines_and_no_trailing_spaces() {
        let shown = table(["NAME", "N"], [["flights".to_string(), "12".to_string()]]);
        assert_eq!(shown, "NAME     N\nflights  12");
    }

    #[test]
    fn errors_carry_a_hint() {
        let error = Error::NoBroker { addresses: "a:1".to_string(), why: "connection refused".to_string() };
        assert_eq!(
            sentence(&error),
            "no broker answers at a:1 (connection refused); start one with `sternpost serve`, or name yours \
             with --bootstrap-server"
        );
    }
}
