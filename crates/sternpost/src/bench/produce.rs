//! `bench produce`: how many records a second, with what latency to the acknowledgement.

use super::load::{Limits, Run, TopicArgs, WriteArgs};
use super::report::{Progress, latency, rounded, text};
use crate::cluster::{block_on, not_written};
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Write records: as fast as they are acknowledged, at a rate, or one at a time
#[derive(clap::Args, Debug)]
pub struct Produce {
    #[command(flatten)]
    topic: TopicArgs,
    #[command(flatten)]
    write: WriteArgs,
    /// Records a second of all clients together, sent on time whether or not the cluster keeps up (open loop)
    #[arg(long, conflicts_with = "in_flight", value_parser = rate)]
    rate: Option<f64>,
    /// Workers that send one record and wait for its acknowledgement (closed loop)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    in_flight: Option<u64>,
    /// Stop after so many records and measure all of them, instead of --warmup and --duration
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warmup"])]
    records: Option<u64>,
}

/// Reads a rate.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a number of records a second above 0 is wanted".to_string()),
    }
}

/// Runs the load.
pub fn run(word: &Produce) -> Result<(), String> {
    block_on(async {
        let client = word.topic.client().await?;
        let partitions = word.topic.ensure(&client).await?;
        let run = Run::default();
        let mut producers = Vec::new();
        if word.in_flight.is_none() {
            for _ in 0..word.write.clients {
                producers.push(run.producer(&word.topic, &word.write, None).await?);
            }
        }
        let begun = run.tally.epoch.elapsed();
        let limits = match word.records {
            Some(records_max) => {
                run.tally.set_window(begun, Duration::MAX);
                Limits { until_us: u64::MAX, records_max }
            }
            None => {
                run.tally.set_window(begun + word.write.warmup, word.write.duration);
                let until = begun + word.write.warmup + word.write.duration;
                Limits { until_us: until.as_micros() as u64, records_max: u64::MAX }
            }
        };
        let progress = Progress::start(&run.tally, "acknowledged", |tally| &tally.acked);
        match word.in_flight {
            Some(workers) => run.workers(&word.topic, &word.write, workers as usize, limits).await?,
            None => {
                let rate = word.rate.map(|rate| rate / word.write.clients as f64);
                let size = word.write.record_size;
                let threads: Vec<_> = producers
                    .iter()
                    .map(|producer| run.stream(producer.clone(), size, rate, limits))
                    .collect();
                for thread in threads {
                    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
                    joined.ok().and_then(Result::ok).ok_or("a sender stopped")??;
                }
                for producer in &producers {
                    producer.flush().await;
                }
            }
        }
        drop(progress);
        let seconds = match word.records {
            Some(_) => (run.tally.epoch.elapsed() - begun).as_secs_f64(),
            None => word.write.duration.as_secs_f64(),
        };
        show(word, &run, partitions, seconds);
        match run.failure() {
            Some(why) => Err(not_written(run.tally.failed.load(Relaxed), &why)),
            None => Ok(()),
        }
    })
}

fn show(word: &Produce, run: &Run, partitions: usize, seconds: f64) {
    let tally = &run.tally;
    let records = tally.acked_in_window.load(Relaxed);
    let batches = tally.batches_in_window.load(Relaxed).max(1);
    let per_second = records as f64 / seconds;
    let mode = match (word.rate, word.in_flight) {
        (Some(rate), _) => format!("open loop, {rate} records/s"),
        (_, Some(workers)) => format!("closed loop, {workers} in flight"),
        _ => "closed loop, full pipeline".to_string(),
    };
    let value = json!({
        "bench": "produce", "mode": mode, "topic": word.topic.topic, "partitions": partitions,
        "clients": word.write.clients, "record_size": word.write.record_size,
        "compression": word.write.compression_codec.name(), "seconds": rounded(seconds, 3),
        "sent": tally.sent.load(Relaxed), "acked": tally.acked.load(Relaxed), "records": records,
        "failed": tally.failed.load(Relaxed), "records_per_s": rounded(per_second, 1),
        "mb_per_s": rounded(per_second * word.write.record_size as f64 / 1e6, 2),
        "records_per_batch": rounded(records as f64 / batches as f64, 1),
        "ack_latency": latency(&tally.ack_latency),
    });
    word.topic.cluster.show(&value, || text(&value));
}

#[cfg(test)]
mod tests {
    #[test]
    fn rates_are_above_zero() {
        assert_eq!(super::rate("2.5"), Ok(2.5));
        for wrong in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(super::rate(wrong).is_err(), "{wrong}");
        }
    }
}
