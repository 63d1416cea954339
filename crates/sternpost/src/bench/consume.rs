//! `bench consume`: how fast what lies in a topic is read back, unpacked and counted.

use super::load::TopicArgs;
use super::report::{Progress, rounded, text};
use super::tally::Tally;
use crate::cluster::{block_on, sentence};
use client::admin::OffsetAt;
use client::{Assigned, FetchConfig, TopicPartition};
use kafka::wire::Str;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use tokio::task::JoinSet;

/// Read back everything that a topic holds now
#[derive(clap::Args, Debug)]
pub struct Consume {
    #[command(flatten)]
    topic: TopicArgs,
    /// Consumers, each with connections and partitions of its own
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: u64,
    /// Stop after about so many records
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// Most bytes of one partition in one answer
    #[arg(long, default_value_t = FetchConfig::default().partition_max_bytes, value_name = "BYTES")]
    partition_max_bytes: i32,
}

/// Runs the load.
pub fn run(word: &Consume) -> Result<(), String> {
    block_on(async {
        let client = word.topic.client().await?;
        let name = Str::from(&*word.topic.topic);
        let topic = client.topic(&name, false).await.map_err(|error| sentence(&error))?;
        let list = |which: OffsetAt| {
            let partitions = topic.partitions.iter();
            partitions
                .map(|partition| (TopicPartition::new(&name, partition.partition), which))
                .collect::<Vec<_>>()
        };
        let starts =
            client.list_offsets(&list(OffsetAt::Earliest)).await.map_err(|error| sentence(&error))?;
        let ends = client.list_offsets(&list(OffsetAt::Latest)).await.map_err(|error| sentence(&error))?;
        let filled: Vec<(TopicPartition, i64, i64)> = starts
            .into_iter()
            .map(|(at, start)| {
                let end = ends.get(&at).map_or(start.offset, |end| end.offset);
                (at, start.offset, end)
            })
            .filter(|(_, start, end)| start < end)
            .collect();
        let expected: i64 = filled.iter().map(|(_, start, end)| end - start).sum();
        if expected == 0 {
            return Err(format!("topic {name} holds no records; `sternpost bench produce` writes some"));
        }
        let tally = Arc::new(Tally::default());
        let progress = Progress::start(&tally, "read", |tally| &tally.received);
        let begun = Instant::now();
        let mut readers = JoinSet::new();
        for reader in 0..word.clients as usize {
            let mine: Vec<_> = filled.iter().skip(reader).step_by(word.clients as usize).cloned().collect();
            if !mine.is_empty() {
                let client = word.topic.client().await?;
                client.topic(&name, false).await.map_err(|error| sentence(&error))?;
                let fetch =
                    FetchConfig { partition_max_bytes: word.partition_max_bytes, ..FetchConfig::default() };
                let records_max = word.records.unwrap_or(u64::MAX);
                readers.spawn(read(client, mine, fetch, records_max, tally.clone()));
            }
        }
        while let Some(ended) = readers.join_next().await {
            ended.map_err(|error| format!("a reader stopped: {error}"))??;
        }
        drop(progress);
        let seconds = begun.elapsed().as_secs_f64();
        let (records, bytes) = (tally.received.load(Relaxed), tally.received_bytes.load(Relaxed));
        let value = json!({
            "bench": "consume", "topic": word.topic.topic, "partitions": topic.partitions.len(),
            "clients": word.clients, "expected": expected, "records": records, "seconds": rounded(seconds, 3),
            "records_per_s": rounded(records as f64 / seconds, 1),
            "mb_per_s": rounded(bytes as f64 / seconds / 1e6, 2),
        });
        word.topic.cluster.show(&value, || text(&value));
        Ok(())
    })
}

async fn read(
    client: client::Client,
    partitions: Vec<(TopicPartition, i64, i64)>,
    fetch: FetchConfig,
    records_max: u64,
    tally: Arc<Tally>,
) -> Result<(), String> {
    let positions = partitions.iter().map(|(at, start, _)| (at.clone(), *start)).collect();
    let mut left: BTreeMap<TopicPartition, i64> =
        partitions.into_iter().map(|(at, _, end)| (at, end)).collect();
    let mut consumer = Assigned::start(&client, positions, fetch);
    while !left.is_empty() && tally.received.load(Relaxed) < records_max {
        let fetched = match consumer.next().await {
            Some(fetched) => fetched.map_err(|error| sentence(&error))?,
            None => return Err("the fetchers have stopped".to_string()),
        };
        let Some(end) = left.get(&fetched.at).copied() else { continue };
        let records = fetched.records().map_err(|error| sentence(&error))?;
        let counted = records.iter().filter(|record| record.offset < end);
        let (count, bytes) = counted.fold((0, 0), |(count, bytes), record| {
            (count + 1, bytes + record.value.as_ref().map_or(0, bytes::Bytes::len))
        });
        tally.received.fetch_add(count, Relaxed);
        tally.received_bytes.fetch_add(bytes as u64, Relaxed);
        if fetched.next >= end {
            left.remove(&fetched.at);
        }
    }
    Ok(())
}
