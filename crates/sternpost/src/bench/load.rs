//! What all loads against a cluster have in common: the topic, its records, clients, and how records are sent: as fast as
//! the cluster takes them, at a rate, or one at a time by so many workers.

use super::payload;
use super::tally::Tally;
use crate::cluster::{ClusterArgs, sentence};
use crate::moment;
use crate::produce::{codec, now_ms};
use client::admin::NewTopic;
use client::{Client, Delivery, Error, Producer, ProducerConfig};
use kafka::records::{Codec, NewRecord};
use kafka::wire::Str;
use model::ErrorCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Records between two looks at the clock or the end of a run, at full speed.
const RECORDS_PER_LOOK: u64 = 64;

/// The topic and its records
#[derive(clap::Args, Debug, Clone)]
pub struct TopicArgs {
    /// The topic; made when it is missing
    #[arg(short, long, default_value = "bench")]
    pub topic: String,
    /// Partitions of a topic that is made
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Replicas of a topic that is made; the broker's default without
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// How records are written
#[derive(clap::Args, Debug, Clone)]
pub struct WriteArgs {
    /// Bytes of a record's value (8 or more)
    #[arg(short = 's', long, default_value_t = 1024, value_name = "BYTES")]
    pub record_size: usize,
    /// Producers, each with connections of its own
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub clients: u64,
    /// How long is measured
    #[arg(short, long, default_value = "10s", value_parser = moment::duration, value_name = "TIME")]
    pub duration: Duration,
    /// How long the load runs before it is measured
    #[arg(short, long, default_value = "2s", value_parser = moment::duration, value_name = "TIME")]
    pub warmup: Duration,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, visible_alias = "compression-type", default_value = "none", value_parser = codec)]
    pub compression_codec: Codec,
    /// Largest batch before compression, bytes
    #[arg(long, default_value_t = ProducerConfig::default().batch_bytes, value_name = "BYTES")]
    pub batch_size: usize,
    /// Hold a batch back for more records, ms
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub linger_ms: u64,
}

impl TopicArgs {
    /// A client of its own connections.
    pub async fn client(&self) -> Result<Client, String> {
        self.cluster.client().await
    }

    /// Makes the topic when it is missing; its number of partitions.
    pub async fn ensure(&self, client: &Client) -> Result<usize, String> {
        let name = Str::from(&*self.topic);
        let topic = NewTopic {
            name: name.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        match client.topic(&name, false).await {
            Ok(topic) => return Ok(topic.partitions.len()),
            Err(Error::UnknownTopic(_)) => {}
            Err(error) => return Err(sentence(&error)),
        }
        match client.create_topic(&topic, false).await {
            Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => {
                return Err(sentence(&error));
            }
            _ => {}
        }
        let topic = client.new_topic(&name).await.map_err(|error| sentence(&error))?;
        Ok(topic.partitions.len())
    }
}

/// Who is told that a worker's one record is done.
type Done = mpsc::Sender<bool>;

/// A run: its counters, and the first thing that went wrong.
#[derive(Default)]
pub struct Run {
    /// Counters.
    pub tally: Arc<Tally>,
    failure: Arc<Mutex<Option<Error>>>,
}

/// When senders stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Moment from the epoch, µs.
    pub until_us: u64,
    /// Records of all senders together.
    pub records_max: u64,
}

impl Limits {
    fn reached(&self, tally: &Tally) -> bool {
        tally.now_us() >= self.until_us
    }

    /// Takes one of the records that may be sent.
    fn take(&self, tally: &Tally) -> bool {
        let before = tally.sent.fetch_add(1, Relaxed);
        if before >= self.records_max {
            tally.sent.fetch_sub(1, Relaxed);
        }
        before < self.records_max
    }
}

impl Run {
    fn on_delivery(&self) -> client::producer::OnDelivery {
        let tally = self.tally.clone();
        let failure = self.failure.clone();
        Box::new(move |delivery: Delivery| match delivery.outcome {
            Ok(_) => tally.acknowledged(&delivery.tags),
            Err(error) => {
                tally.failed.fetch_add(delivery.tags.len() as u64, Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        })
    }

    /// As [`Run::on_delivery`]; the tag is the worker, whose moment stands in `intended`.
    fn on_worker_delivery(
        &self,
        intended: Arc<Vec<AtomicU64>>,
        done: Vec<Done>,
    ) -> client::producer::OnDelivery {
        let tally = self.tally.clone();
        let failure = self.failure.clone();
        Box::new(move |delivery: Delivery| {
            let moments: Vec<u64> =
                delivery.tags.iter().map(|worker| intended[*worker as usize].load(Relaxed)).collect();
            let written = delivery.outcome.is_ok();
            match delivery.outcome {
                Ok(_) => tally.acknowledged(&moments),
                Err(error) => {
                    tally.failed.fetch_add(moments.len() as u64, Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
            for worker in delivery.tags {
                // A worker that has stopped does not need to know.
                let _ = done[worker as usize].try_send(written);
            }
        })
    }

    /// The first failure, as a sentence.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(sentence)
    }

    /// Opens a producer whose deliveries are counted.
    pub async fn producer(
        &self,
        topic: &TopicArgs,
        write: &WriteArgs,
        on_delivery: Option<client::producer::OnDelivery>,
    ) -> Result<Arc<Producer>, String> {
        let config = ProducerConfig {
            compression: write.compression_codec,
            batch_bytes: write.batch_size,
            linger: Duration::from_millis(write.linger_ms),
            create_topic: false,
            ..ProducerConfig::default()
        };
        let client = topic.client().await?;
        let on_delivery = on_delivery.unwrap_or_else(|| self.on_delivery());
        let producer = Producer::open(&client, &topic.topic, config, on_delivery).await;
        producer.map(Arc::new).map_err(|error| sentence(&error))
    }

    /// Sends over all partitions in turn from a thread of its own, until the limits are reached: at `rate` records a
    /// second, or without one as fast as there is room. The latency of a record counts from its turn.
    pub fn stream(
        &self,
        producer: Arc<Producer>,
        size: usize,
        rate: Option<f64>,
        limits: Limits,
    ) -> std::thread::JoinHandle<Result<(), String>> {
        let tally = self.tally.clone();
        let runtime = Handle::current();
        let begun_us = tally.now_us();
        std::thread::spawn(move || {
            let mut value = payload::value(size);
            let partitions = producer.partition_count() as u64;
            let step_us = rate.map(|rate| 1e6 / rate);
            for turn in 0u64.. {
                let intended_us = match step_us {
                    Some(step) => begun_us + (turn as f64 * step) as u64,
                    None => tally.now_us(),
                };
                if step_us.is_some() {
                    let ahead_us = intended_us.saturating_sub(tally.now_us());
                    if ahead_us > 0 {
                        std::thread::sleep(Duration::from_micros(ahead_us));
                    }
                    if intended_us >= limits.until_us {
                        break;
                    }
                } else if turn.is_multiple_of(RECORDS_PER_LOOK) && limits.reached(&tally) {
                    break;
                }
                if !limits.take(&tally) {
                    break;
                }
                payload::stamp(&mut value, intended_us);
                let record = NewRecord { timestamp: now_ms(), value: Some(&value), ..NewRecord::default() };
                let partition = Some((turn % partitions) as i32);
                let sent = runtime.block_on(producer.send(&record, partition, intended_us));
                sent.map_err(|error| sentence(&error))?;
            }
            Ok(())
        })
    }

    /// Workers with one record in flight each, spread over the producers; runs until the limits are reached.
    pub async fn workers(
        &self,
        topic: &TopicArgs,
        write: &WriteArgs,
        count: usize,
        limits: Limits,
    ) -> Result<(), String> {
        let intended: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let (done, waiting): (Vec<Done>, Vec<_>) = (0..count).map(|_| mpsc::channel(1)).unzip();
        let mut producers = Vec::new();
        for _ in 0..write.clients {
            let on_delivery = self.on_worker_delivery(intended.clone(), done.clone());
            producers.push(self.producer(topic, write, Some(on_delivery)).await?);
        }
        let mut workers: JoinSet<Result<(), String>> = JoinSet::new();
        for (worker, mut finished) in waiting.into_iter().enumerate() {
            let producer = producers[worker % producers.len()].clone();
            let (tally, intended, size) = (self.tally.clone(), intended.clone(), write.record_size);
            workers.spawn(async move {
                let value = payload::value(size);
                let partitions = producer.partition_count();
                for turn in worker.. {
                    if limits.reached(&tally) || !limits.take(&tally) {
                        break;
                    }
                    intended[worker].store(tally.now_us(), Relaxed);
                    let record =
                        NewRecord { timestamp: now_ms(), value: Some(&value), ..NewRecord::default() };
                    let partition = Some((turn % partitions) as i32);
                    let sent = producer.send(&record, partition, worker as u64).await;
                    sent.map_err(|error| sentence(&error))?;
                    if finished.recv().await != Some(true) {
                        break;
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| format!("a worker stopped: {error}"))??;
        }
        Ok(())
    }
}
