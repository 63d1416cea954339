//! `produce`: lines from stdin or a file become records of a topic, acknowledged by all in-sync replicas and without
//! duplicates. Each line goes as soon as it is there.

mod line;

use crate::cluster::{ClusterArgs, block_on, not_written, pair, sentence, table};
use crate::moment;
use client::{Delivery, Error, Producer, ProducerConfig};
use indicatif::{ProgressBar, ProgressStyle};
use kafka::records::{Codec, NewRecord};
use line::LineFormat;
pub use line::{flag, unescaped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Longest line, bytes: a record above Kafka's largest request cannot be sent.
const LINE_BYTES_MAX: u64 = 100 << 20;
/// Lines that wait to be sent.
const LINES_QUEUED_MAX: usize = 1024;
/// Lines between two looks at the progress bar.
const LINES_PER_LOOK: u64 = 256;

/// Write lines as records to a topic
#[derive(clap::Args, Debug)]
pub struct Produce {
    /// The topic; the broker makes it when it is missing and auto.create.topics.enable is on
    #[arg(short, long)]
    topic: String,
    /// Read lines from a file instead of stdin
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// How lines are read: parse.key, key.separator (tab), parse.headers, headers.delimiter (tab), headers.separator (,),
    /// headers.key.separator (:), null.marker, ignore.error
    #[arg(long, visible_alias = "reader-property", value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// Lines are KEY, separator, VALUE; short for parse.key=true and key.separator
    #[arg(short, long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header for every record
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Write to this partition only; the key decides without
    #[arg(long)]
    partition: Option<i32>,
    /// Timestamp of the records; now without
    #[arg(long, value_name = "TIME", value_parser = moment::timestamp)]
    timestamp: Option<i64>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, visible_alias = "compression-type", default_value = "none", value_parser = codec)]
    compression_codec: Codec,
    /// Largest batch before compression, bytes
    #[arg(long, default_value_t = ProducerConfig::default().batch_bytes, value_name = "BYTES")]
    batch_size: usize,
    /// How long a record is tried, ms
    #[arg(long, default_value_t = 120_000, value_name = "MS")]
    timeout_ms: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Reads a codec's name.
///
/// # Errors
/// The names there are.
pub fn codec(name: &str) -> Result<Codec, String> {
    Codec::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Codec::ALL.iter().map(|codec| codec.name()).collect();
        format!("one of {} is wanted", names.join(", "))
    })
}

/// Now, ms since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What has been written so far.
#[derive(Default)]
struct Written {
    /// Records with first and last offset, by partition.
    partitions: BTreeMap<i32, (u64, i64, i64)>,
    failed: u64,
    first_failure: Option<Error>,
}

impl Written {
    fn take(&mut self, delivery: &Delivery) {
        let count = delivery.tags.len() as u64;
        match &delivery.outcome {
            Ok(first) => {
                let entry = self.partitions.entry(delivery.partition).or_insert((0, i64::MAX, -1));
                entry.0 += count;
                if let Some(first) = first {
                    entry.1 = entry.1.min(*first);
                    entry.2 = entry.2.max(first + count as i64 - 1);
                }
            }
            Err(error) => {
                self.failed += count;
                self.first_failure.get_or_insert_with(|| error.clone());
            }
        }
    }

    fn records(&self) -> u64 {
        self.partitions.values().map(|(count, _, _)| count).sum()
    }
}

/// Runs the word.
///
/// # Errors
/// One clear sentence; what had been acknowledged before is printed all the same.
pub fn run(word: &Produce) -> Result<(), String> {
    let format = LineFormat::new(&word.property, word.key_separator.as_deref())?;
    block_on(async {
        let input: Box<dyn BufRead + Send> = match &word.file {
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
                Box::new(BufReader::new(file))
            }
            None => Box::new(BufReader::new(std::io::stdin())),
        };
        let client = word.cluster.client().await?;
        let config = ProducerConfig {
            compression: word.compression_codec,
            batch_bytes: word.batch_size,
            delivery_timeout: Duration::from_millis(word.timeout_ms),
            ..ProducerConfig::default()
        };
        let written: Arc<Mutex<Written>> = Arc::default();
        let kept = written.clone();
        let on_delivery = Box::new(move |delivery| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).take(&delivery);
        });
        let producer = Producer::open(&client, &word.topic, config, on_delivery)
            .await
            .map_err(|error| sentence(&error))?;
        if word.file.is_none() && std::io::stdin().is_terminal() {
            eprintln!("one record per line; Ctrl-D ends");
        }
        // A thread of its own, never waited for: a terminal may keep it for ever.
        let (sender, lines) = mpsc::channel(LINES_QUEUED_MAX);
        std::thread::spawn(move || read_lines(input, &sender));
        let read = send_lines(word, &format, lines, &producer, &written).await;
        producer.flush().await;
        let written = std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner));
        report(word, &written);
        read?;
        match written.first_failure {
            Some(error) => Err(not_written(written.failed, &sentence(&error))),
            None => Ok(()),
        }
    })
}

fn read_lines(mut input: Box<dyn BufRead + Send>, lines: &mpsc::Sender<Result<Vec<u8>, String>>) {
    loop {
        let mut line = Vec::new();
        let read = match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.len() as u64 == LINE_BYTES_MAX => Err("it is too long".to_string()),
            Ok(_) => {
                if line.ends_with(b"\n") {
                    line.pop();
                }
                if line.ends_with(b"\r") {
                    line.pop();
                }
                Ok(line)
            }
            Err(error) => Err(error.to_string()),
        };
        let failed = read.is_err();
        if lines.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

async fn send_lines(
    word: &Produce,
    format: &LineFormat,
    mut lines: mpsc::Receiver<Result<Vec<u8>, String>>,
    producer: &Producer,
    written: &Mutex<Written>,
) -> Result<(), String> {
    let common: Vec<(&str, Option<&[u8]>)> =
        word.headers.iter().map(|(name, value)| (&**name, Some(value.as_bytes()))).collect();
    let progress = match word.file.is_some() && std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records written ({per_sec})") {
        progress.set_style(style);
    }
    let mut number = 0u64;
    while let Some(line) = lines.recv().await {
        number += 1;
        let line = line.map_err(|why| format!("cannot read line {number}: {why}"))?;
        let parsed = match format.parse(&line) {
            Ok(parsed) => parsed,
            Err(_) if format.skips_bad_lines() => continue,
            Err(why) => return Err(format!("line {number} cannot be read: {why}")),
        };
        let headers: Vec<(&str, Option<&[u8]>)> = common.iter().chain(&parsed.headers).copied().collect();
        let record = NewRecord {
            timestamp: word.timestamp.unwrap_or_else(now_ms),
            key: parsed.key,
            value: parsed.value,
            headers: &headers,
        };
        producer.send(&record, word.partition, number).await.map_err(|error| sentence(&error))?;
        if number.is_multiple_of(LINES_PER_LOOK) {
            let written = written.lock().unwrap_or_else(PoisonError::into_inner);
            progress.set_position(written.records());
            if written.failed > 0 {
                break;
            }
        }
    }
    progress.finish_and_clear();
    Ok(())
}

fn report(word: &Produce, written: &Written) {
    let known = |offset: i64| (0..i64::MAX).contains(&offset).then_some(offset);
    let partitions: Vec<Value> = written
        .partitions
        .iter()
        .map(|(partition, (count, first, last))| {
            json!({
                "partition": partition, "records": count,
                "first_offset": known(*first), "last_offset": known(*last),
            })
        })
        .collect();
    let value = json!({
        "topic": word.topic, "records": written.records(), "failed": written.failed, "partitions": partitions,
    });
    word.cluster.show(&value, || {
        let shown = |offset: i64| known(offset).map_or("-".to_string(), |offset| offset.to_string());
        let rows = written.partitions.iter().map(|(partition, (count, first, last))| {
            [word.topic.clone(), partition.to_string(), count.to_string(), shown(*first), shown(*last)]
        });
        table(["TOPIC", "PARTITION", "RECORDS", "FIRST OFFSET", "LAST OFFSET"], rows)
    });
}
