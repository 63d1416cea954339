//! An idempotent producer of one topic. Records gather in their partition's batch while the one before is on its way, so a
//! batch is as large as the cluster is slow and no timer is needed. Each partition has at most one batch in flight: its
//! order and its sequence numbers need no further care, at the price of one round trip per batch.

mod queue;
mod request;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka::message::init_producer_id::InitProducerIdRequest;
use kafka::records::{Codec, NewRecord};
use kafka::wire::Str;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::partitioner::partition_of_key;
use crate::{Client, Error};
use queue::{Identity, State};

/// Bytes a keyless stream gives to one partition before it goes on to the next (Kafka: `batch.size`).
const STICKY_BYTES: usize = 16 << 10;

/// How a producer works; Kafka's names and defaults where it has them.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// `compression.type`.
    pub compression: Codec,
    /// Largest batch before compression, bytes; a larger record goes alone.
    pub batch_bytes: usize,
    /// How long a batch is held back for more records (`linger.ms`).
    pub linger: Duration,
    /// Requests on their way to one broker (`max.in.flight.requests.per.connection`).
    pub in_flight_max: usize,
    /// Records that wait, bytes (`buffer.memory`); beyond it `send` waits.
    pub buffer_bytes_max: usize,
    /// How long a batch may be tried (`delivery.timeout.ms`).
    pub delivery_timeout: Duration,
    /// Whether the broker may make a missing topic.
    pub create_topic: bool,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            compression: Codec::None,
            batch_bytes: 900 << 10,
            linger: Duration::ZERO,
            in_flight_max: 5,
            buffer_bytes_max: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
            create_topic: true,
        }
    }
}

/// What became of one batch.
#[derive(Debug)]
pub struct Delivery {
    /// Its partition.
    pub partition: i32,
    /// The callers' tags of its records, in order.
    pub tags: Vec<u64>,
    /// Offset of the first record; none when the broker had the batch already and no longer knows where. An error means
    /// that none of them is known to be written.
    pub outcome: Result<Option<i64>, Error>,
}

/// Who is told of deliveries. It runs on the producer's tasks and must not wait.
pub type OnDelivery = Box<dyn Fn(Delivery) + Send + Sync>;

pub(crate) struct Shared {
    client: Client,
    topic: Str,
    config: ProducerConfig,
    state: Mutex<State>,
    /// A partition has become ready, or a request has ended.
    work: Notify,
    /// Bytes have been freed, or nothing is left.
    room: Notify,
    on_delivery: OnDelivery,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A producer of one topic.
pub struct Producer {
    shared: Arc<Shared>,
    dispatcher: JoinHandle<()>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

impl Producer {
    /// Looks the topic up and takes a producer id.
    pub async fn open(
        client: &Client,
        topic: &str,
        config: ProducerConfig,
        on_delivery: OnDelivery,
    ) -> Result<Producer, Error> {
        let topic = Str::from(topic);
        let metadata = client.topic(&topic, config.create_topic).await?;
        let leaders: Vec<i32> = metadata.partitions.iter().map(|partition| partition.leader).collect();
        if leaders.is_empty() {
            return Err(Error::UnknownTopic(topic.to_string()));
        }
        let identity = new_identity(client).await?;
        let shared = Arc::new(Shared {
            client: client.clone(),
            topic,
            state: Mutex::new(State::new(leaders, identity)),
            config,
            work: Notify::new(),
            room: Notify::new(),
            on_delivery,
        });
        let dispatcher = tokio::spawn(dispatch(shared.clone()));
        Ok(Producer { shared, dispatcher })
    }

    /// Partitions of the topic.
    pub fn partition_count(&self) -> usize {
        self.shared.state().partition_count()
    }

    /// Takes a record; waits while the buffer is full. The key decides the partition unless one is given. `tag` comes back
    /// in the delivery.
    pub async fn send(&self, record: &NewRecord<'_>, partition: Option<i32>, tag: u64) -> Result<i32, Error> {
        let size = queue::size_of(record);
        loop {
            let room = self.shared.room.notified();
            {
                let mut state = self.shared.state();
                let count = state.partition_count();
                if state.has_room(size, self.shared.config.buffer_bytes_max) {
                    let partition = match (partition, record.key) {
                        (Some(given), _) if usize::try_from(given).is_ok_and(|at| at < count) => given,
                        (Some(partition), _) => {
                            let topic = self.shared.topic.to_string();
                            return Err(Error::UnknownPartition { topic, partition, count });
                        }
                        (None, Some(key)) => partition_of_key(key, count),
                        (None, None) => state.sticky(size, STICKY_BYTES),
                    };
                    let ready = state.push(partition, record, tag, size, &self.shared.config);
                    drop(state);
                    if ready {
                        self.shared.work.notify_one();
                    }
                    return Ok(partition);
                }
            }
            room.await;
        }
    }

    /// Waits until everything sent so far has been delivered or has failed.
    pub async fn flush(&self) {
        loop {
            let room = self.shared.room.notified();
            if self.shared.state().is_empty() {
                return;
            }
            room.await;
        }
    }
}

async fn new_identity(client: &Client) -> Result<Identity, Error> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    client
        .retried(|| async {
            let (broker, answer) = client.ask_any(&request).await?;
            match answer.error_code {
                0 => Ok(Identity::new(answer.producer_id, answer.producer_epoch)),
                code => Err(Error::refused("get a producer id", &broker, code, None)),
            }
        })
        .await
}

/// Hands ready batches to request tasks, as many per broker as may be in flight.
async fn dispatch(shared: Arc<Shared>) {
    loop {
        shared.work.notified().await;
        if !shared.config.linger.is_zero() {
            tokio::time::sleep(shared.config.linger).await;
        }
        if shared.state().identity_lost() {
            match new_identity(&shared.client).await {
                Ok(identity) => shared.state().renew(identity),
                // Nobody may send under the old one; the batches that wait are tried again with the next notice.
                Err(error) => {
                    request::fail_waiting(&shared, &error);
                    continue;
                }
            }
        }
        loop {
            let taken = shared.state().take(&shared.config);
            let Some((leader, batches)) = taken else { break };
            tokio::spawn(request::run(shared.clone(), leader, batches));
        }
    }
}
