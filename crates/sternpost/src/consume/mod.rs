//! `consume`: records of a topic on stdout, of all partitions or one, from an offset, a time or a group's committed offset.

mod record_format;

use crate::cluster::{ClusterArgs, block_on, pair, sentence};
use crate::moment;
use crate::output::Output;
use client::admin::OffsetAt;
use client::{
    Assigned, Client, Error, FetchConfig, Fetched, GroupConfig, GroupConsumer, Reset, TopicPartition,
};
use kafka::wire::Str;
use record_format::RecordFormat;
use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Bytes that wait for stdout, at most; what came with one answer is written before the next is awaited.
const STDOUT_BUFFER_BYTES: usize = 64 << 10;

/// Print records of a topic
#[derive(clap::Args, Debug)]
pub struct Consume {
    /// The topic
    #[arg(short, long)]
    topic: String,
    /// Start with the oldest record, or a group without committed offsets there
    #[arg(long)]
    from_beginning: bool,
    /// Read as a member of a consumer group, and commit what was printed
    #[arg(short, long, conflicts_with_all = ["partition", "offset", "from_timestamp"])]
    group: Option<String>,
    /// Read this partition only
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Start at an offset, at the earliest or the latest
    #[arg(
        long,
        value_name = "OFFSET|earliest|latest",
        value_parser = start,
        conflicts_with_all = ["from_beginning", "from_timestamp"]
    )]
    offset: Option<Start>,
    /// Start with the first record of this time or later
    #[arg(long, value_name = "TIME", value_parser = moment::timestamp, conflicts_with = "from_beginning")]
    from_timestamp: Option<i64>,
    /// Stop after so many records
    #[arg(short, long, value_name = "N")]
    max_messages: Option<u64>,
    /// Stop when no record has come for so long, ms
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// Stop at the end the partitions have now
    #[arg(short, long)]
    exit: bool,
    /// read_committed leaves out records of open and aborted transactions
    #[arg(long, default_value = "read_uncommitted", value_parser = ["read_uncommitted", "read_committed"])]
    isolation_level: String,
    /// What is printed: print.key, print.value, print.timestamp, print.partition, print.offset, print.headers,
    /// key.separator (tab), line.separator, headers.separator (,), null.literal
    #[arg(long, visible_alias = "formatter-property", value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// Print key and value with this between; short for print.key=true and key.separator
    #[arg(short, long, value_name = "TEXT")]
    key_separator: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Where to start.
#[derive(Clone, Copy, Debug)]
enum Start {
    Earliest,
    Latest,
    Offset(i64),
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" | "beginning" => Ok(Start::Earliest),
        "latest" | "end" => Ok(Start::Latest),
        text => match text.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err("an offset, earliest or latest is wanted".to_string()),
        },
    }
}

/// Runs the word.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Consume) -> Result<(), String> {
    if matches!(word.offset, Some(Start::Offset(_))) && word.partition.is_none() {
        return Err("--offset with a number needs --partition: offsets of different partitions have nothing in common"
            .to_string());
    }
    let json = word.cluster.output == Output::Json;
    let format = RecordFormat::new(&word.property, word.key_separator.as_deref(), json)?;
    block_on(async {
        let client = word.cluster.client().await?;
        let topic = Str::from(&*word.topic);
        let source = Source::open(word, &client, &topic).await.map_err(|error| sentence(&error))?;
        consume(word, &format, source).await
    })
}

enum Source {
    Assigned { consumer: Assigned, ends: BTreeMap<TopicPartition, i64> },
    Group { consumer: Box<GroupConsumer>, ends: BTreeMap<TopicPartition, i64> },
}

impl Source {
    async fn open(word: &Consume, client: &Client, topic: &Str) -> Result<Source, Error> {
        let metadata = client.topic(topic, false).await?;
        let fetch = FetchConfig {
            read_committed: word.isolation_level == "read_committed",
            ..FetchConfig::default()
        };
        let count = metadata.partitions.len();
        let partitions: Vec<TopicPartition> = match word.partition {
            Some(partition) if partition as usize >= count => {
                return Err(Error::UnknownPartition { topic: topic.to_string(), partition, count });
            }
            Some(partition) => vec![TopicPartition::new(topic, partition)],
            None => (0..count as i32).map(|partition| TopicPartition::new(topic, partition)).collect(),
        };
        let list = |which: OffsetAt| partitions.iter().map(|at| (at.clone(), which)).collect::<Vec<_>>();
        let mut ends = BTreeMap::new();
        if word.exit {
            let latest = client.list_offsets(&list(OffsetAt::Latest)).await?;
            ends = latest.into_iter().map(|(at, listed)| (at, listed.offset)).collect();
        }
        if let Some(group) = &word.group {
            let start = if word.from_beginning { Reset::Earliest } else { Reset::Latest };
            let mut config = GroupConfig::new(group, vec![topic.clone()], start);
            config.fetch = FetchConfig { reset: start, ..fetch };
            let consumer = Box::new(GroupConsumer::join(client, config).await?);
            let ours = consumer.partitions().to_vec();
            let committed = client.committed_offsets(group, Some(&ours)).await?;
            let starts = client.list_offsets(&list(OffsetAt::Earliest)).await?;
            ends.retain(|at, end| {
                let begin = starts.get(at).map_or(0, |start| start.offset);
                let begin = match committed.get(at) {
                    Some(committed) => committed.offset.max(begin),
                    None if word.from_beginning => begin,
                    None => *end,
                };
                ours.contains(at) && begin < *end
            });
            return Ok(Source::Group { consumer, ends });
        }
        let which = match (word.offset, word.from_timestamp) {
            (Some(Start::Earliest), _) => OffsetAt::Earliest,
            (_, Some(timestamp)) => OffsetAt::Timestamp(timestamp),
            _ if word.from_beginning => OffsetAt::Earliest,
            _ => OffsetAt::Latest,
        };
        let mut positions: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut newest = Vec::new();
        for (at, listed) in client.list_offsets(&list(which)).await? {
            match word.offset {
                Some(Start::Offset(offset)) => drop(positions.insert(at, offset)),
                // No record is that young.
                _ if listed.offset < 0 => newest.push((at, OffsetAt::Latest)),
                _ => drop(positions.insert(at, listed.offset)),
            }
        }
        if !newest.is_empty() {
            let found = client.list_offsets(&newest).await?;
            positions.extend(found.into_iter().map(|(at, listed)| (at, listed.offset)));
        }
        if word.exit {
            let starts = client.list_offsets(&list(OffsetAt::Earliest)).await?;
            ends.retain(|at, end| {
                positions[at] < *end && starts.get(at).is_none_or(|start| start.offset < *end)
            });
        }
        Ok(Source::Assigned { consumer: Assigned::start(client, positions, fetch), ends })
    }

    fn ends(&mut self) -> &mut BTreeMap<TopicPartition, i64> {
        match self {
            Source::Assigned { ends, .. } | Source::Group { ends, .. } => ends,
        }
    }

    async fn next(&mut self) -> Result<Fetched, Error> {
        match self {
            Source::Assigned { consumer, .. } => consumer
                .next()
                .await
                .unwrap_or_else(|| Err(Error::Invalid("the fetchers have stopped".to_string()))),
            Source::Group { consumer, .. } => consumer.next().await,
        }
    }
}

async fn consume(word: &Consume, format: &RecordFormat, mut source: Source) -> Result<(), String> {
    let mut stdout = BufWriter::with_capacity(STDOUT_BUFFER_BYTES, std::io::stdout());
    let mut count = 0u64;
    let idle = word.timeout_ms.map_or(Duration::MAX, Duration::from_millis);
    let mut outcome = Ok(());
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| format!("cannot listen for signals: {error}"))?;
    let enough = |count: u64| word.max_messages.is_some_and(|max| count >= max);
    while !(enough(count) || word.exit && source.ends().is_empty()) {
        let fetched = tokio::select! {
            next = tokio::time::timeout(idle, source.next()) => match next {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(error)) => {
                    outcome = Err(sentence(&error));
                    break;
                }
                Err(_) => break,
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        let printed = print_records(format, &fetched, word.max_messages, &mut count, &mut stdout);
        let next = match printed {
            Ok(next) => next,
            Err(Stop::Reader) => break,
            Err(Stop::Error(why)) => {
                outcome = Err(why);
                break;
            }
        };
        source.ends().retain(|at, end| *at != fetched.at || next < *end);
        if let Source::Group { consumer, .. } = &mut source {
            consumer.mark(&fetched.at, next);
        }
    }
    if let Source::Group { consumer, .. } = source {
        let closed = consumer.close().await.map_err(|error| sentence(&error));
        outcome = outcome.and(closed);
    }
    eprintln!("{count} record{} read", if count == 1 { "" } else { "s" });
    outcome
}

enum Stop {
    /// Nobody reads stdout any more.
    Reader,
    Error(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        match error.kind() {
            ErrorKind::BrokenPipe => Stop::Reader,
            _ => Stop::Error(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Prints what came; the offset behind the last record printed.
fn print_records(
    format: &RecordFormat,
    fetched: &Fetched,
    max: Option<u64>,
    count: &mut u64,
    stdout: &mut impl Write,
) -> Result<i64, Stop> {
    let records = fetched.records().map_err(|error| Stop::Error(sentence(&error)))?;
    let mut next = fetched.next;
    for record in records {
        if max.is_some_and(|max| *count >= max) {
            next = record.offset;
            break;
        }
        format.write(stdout, &fetched.at, &record)?;
        *count += 1;
    }
    stdout.flush()?;
    Ok(next)
}
