//! `bench e2e`: from the moment a record should have been sent to the moment a consumer has it, at a steady rate.

use super::load::{Limits, Run, TopicArgs, WriteArgs};
use super::payload::{VALUE_BYTES_MIN, stamped};
use super::produce::rate;
use super::report::{Progress, latency, text};
use super::tally::Tally;
use crate::cluster::{block_on, not_written, sentence};
use client::admin::OffsetAt;
use client::{Assigned, FetchConfig, TopicPartition};
use kafka::wire::Str;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long readers may take for what was acknowledged.
const READERS_LAG_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks whether they have it all.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Write at a steady rate and read at once: latency end to end
#[derive(clap::Args, Debug)]
pub struct E2e {
    #[command(flatten)]
    topic: TopicArgs,
    #[command(flatten)]
    write: WriteArgs,
    /// Records a second of all clients together
    #[arg(long, default_value = "1000", value_parser = rate)]
    rate: f64,
}

/// Runs the load.
pub fn run(word: &E2e) -> Result<(), String> {
    block_on(async {
        let client = word.topic.client().await?;
        let partitions = word.topic.ensure(&client).await?;
        let name = Str::from(&*word.topic.topic);
        let wanted: Vec<_> = (0..partitions as i32)
            .map(|partition| (TopicPartition::new(&name, partition), OffsetAt::Latest))
            .collect();
        let found = client.list_offsets(&wanted).await.map_err(|error| sentence(&error))?;
        let positions = found.into_iter().map(|(at, listed)| (at, listed.offset)).collect();
        let run = Run::default();
        let consumer = Assigned::start(&client, positions, FetchConfig::default());
        let mut reader = tokio::spawn(read(consumer, run.tally.clone()));
        let mut producers = Vec::new();
        for _ in 0..word.write.clients {
            producers.push(run.producer(&word.topic, &word.write, None).await?);
        }
        let begun = run.tally.epoch.elapsed();
        run.tally.set_window(begun + word.write.warmup, word.write.duration);
        let until = begun + word.write.warmup + word.write.duration;
        let limits = Limits { until_us: until.as_micros() as u64, records_max: u64::MAX };
        let progress = Progress::start(&run.tally, "read", |tally| &tally.received);
        let rate = word.rate / word.write.clients as f64;
        let size = word.write.record_size.max(VALUE_BYTES_MIN);
        let threads: Vec<_> =
            producers.iter().map(|producer| run.stream(producer.clone(), size, Some(rate), limits)).collect();
        for thread in threads {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            joined.ok().and_then(Result::ok).ok_or("a sender stopped")??;
        }
        for producer in &producers {
            producer.flush().await;
        }
        let all_read = async {
            let deadline = Instant::now() + READERS_LAG_MAX;
            let behind = || run.tally.received.load(Relaxed) < run.tally.acked.load(Relaxed);
            while behind() && Instant::now() < deadline {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        tokio::select! {
            read = &mut reader => read.map_err(|error| format!("the reader stopped: {error}"))?,
            waited = all_read => waited,
        }?;
        reader.abort();
        drop(progress);
        let tally = &run.tally;
        let value = json!({
            "bench": "e2e", "topic": word.topic.topic, "partitions": partitions, "clients": word.write.clients,
            "rate": word.rate, "record_size": word.write.record_size,
            "seconds": word.write.duration.as_secs_f64(), "sent": tally.sent.load(Relaxed),
            "acked": tally.acked.load(Relaxed), "received": tally.received.load(Relaxed),
            "failed": tally.failed.load(Relaxed), "ack_latency": latency(&tally.ack_latency),
            "e2e_latency": latency(&tally.e2e_latency),
        });
        word.topic.cluster.show(&value, || text(&value));
        let lost = tally.acked.load(Relaxed).saturating_sub(tally.received.load(Relaxed));
        match run.failure() {
            Some(why) => Err(not_written(run.tally.failed.load(Relaxed), &why)),
            None if lost > 0 => Err(format!("{lost} acknowledged records did not come back")),
            None => Ok(()),
        }
    })
}

async fn read(mut consumer: Assigned, tally: Arc<Tally>) -> Result<(), String> {
    while let Some(fetched) = consumer.next().await {
        let fetched = fetched.map_err(|error| sentence(&error))?;
        let records = fetched.records().map_err(|error| sentence(&error))?;
        tally.read(records.iter().filter_map(|record| stamped(record.value.as_deref()?)));
        tally.received.fetch_add(records.len() as u64, Relaxed);
    }
    Err("the fetchers have stopped".to_string())
}
