//! A client of one cluster: bootstrap, a connection for each broker, the metadata it last saw, and tries that are repeated
//! as long as their named limit allows. Cheap to clone; all clones share the connections.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka::message::Request;
use kafka::message::find_coordinator::FindCoordinatorRequest;
use kafka::message::metadata::{MetadataRequest, MetadataRequestTopic};
use kafka::wire::Str;
use model::ErrorCode;

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::{Address, Error, Metadata, TopicMetadata, TopicPartition};

/// How long a topic that was just made may stay unknown or without leaders.
const TOPIC_SETTLES_MAX: Duration = Duration::from_secs(30);

/// How to reach a cluster and how patient to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Brokers to ask first; one that answers is enough.
    pub bootstrap: Vec<Address>,
    /// Name the brokers log.
    pub client_id: String,
    /// For a connection, its first exchange included.
    pub connect_timeout: Duration,
    /// For one answer (Kafka: `request.timeout.ms`).
    pub request_timeout: Duration,
    /// For an operation with all its tries (Kafka: `default.api.timeout.ms`).
    pub operation_timeout: Duration,
}

impl Config {
    /// Kafka's defaults, but less patience for a connection.
    pub fn new(bootstrap: Vec<Address>) -> Config {
        Config {
            bootstrap,
            client_id: "sternpost".to_string(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
        }
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

#[derive(Debug)]
struct Shared {
    config: Config,
    client_id: Str,
    metadata: Mutex<Arc<Metadata>>,
    connections: Mutex<BTreeMap<Address, Slot>>,
    coordinators: Mutex<BTreeMap<String, Address>>,
}

/// A client of one cluster.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Asks the bootstrap addresses in turn, each once, for the brokers of the cluster.
    pub async fn connect(config: Config) -> Result<Client, Error> {
        let client = Client(Arc::new(Shared {
            client_id: Str::from(&*config.client_id),
            config,
            metadata: Mutex::default(),
            connections: Mutex::default(),
            coordinators: Mutex::default(),
        }));
        client.refresh(&[], false).await?;
        Ok(client)
    }

    /// What was given at the start.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The bootstrap addresses as one text.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = self.0.config.bootstrap.iter().map(ToString::to_string).collect();
        all.join(",")
    }

    /// The cluster as last seen.
    pub fn metadata(&self) -> Arc<Metadata> {
        locked(&self.0.metadata).clone()
    }

    /// Repeats `work` while its error may pass, up to `operation_timeout`.
    pub(crate) async fn retried<T, F, W>(&self, mut work: F) -> Result<T, Error>
    where
        F: FnMut() -> W,
        W: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + self.0.config.operation_timeout;
        let mut backoff = Backoff::default();
        loop {
            match work().await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => backoff.pause().await,
                other => return other,
            }
        }
    }

    pub(crate) async fn connection(&self, broker: &Address) -> Result<Arc<Connection>, Error> {
        let slot = locked(&self.0.connections).entry(broker.clone()).or_default().clone();
        // Who asks for the same broker waits for the one who connects.
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_over()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(broker, &self.0.client_id, self.0.config.connect_timeout).await?;
        let connection = Arc::new(connection);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// A connection to whichever broker can be reached, but none of those that were tried; all that is tried here is one of them then.
    async fn any_but(&self, tried: &mut Vec<Address>) -> Result<Arc<Connection>, Error> {
        let known = self.metadata();
        let mut why = String::new();
        for broker in known.brokers.values().chain(&self.0.config.bootstrap) {
            if tried.contains(broker) {
                continue;
            }
            tried.push(broker.clone());
            match self.connection(broker).await {
                Ok(connection) => return Ok(connection),
                Err(Error::Connect { why: reason, .. } | Error::Disconnected { why: reason, .. }) => {
                    why = reason;
                }
                Err(Error::TimedOut { .. }) => why = "it connects and says nothing".to_string(),
                Err(Error::Garbled { .. }) => why = "what listens there is no Kafka broker".to_string(),
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoBroker { addresses: self.bootstrap(), why })
    }

    /// Asks any broker.
    pub(crate) async fn ask_any<R: Request>(&self, request: &R) -> Result<(Address, R::Response), Error> {
        let connection = self.any_but(&mut Vec::new()).await?;
        let answer = connection.ask(request, self.0.config.request_timeout).await?;
        Ok((connection.broker().clone(), answer))
    }

    /// Asks the broker that takes changes of topics.
    pub(crate) async fn ask_controller<R: Request>(
        &self,
        request: &R,
    ) -> Result<(Address, R::Response), Error> {
        let metadata = self.metadata();
        match metadata.brokers.get(&metadata.controller_id) {
            Some(broker) => match self.ask(broker, request).await {
                Err(Error::Connect { .. }) => self.ask_any(request).await,
                other => Ok((broker.clone(), other?)),
            },
            None => self.ask_any(request).await,
        }
    }

    /// Asks the broker at an address.
    pub(crate) async fn ask<R: Request>(&self, broker: &Address, request: &R) -> Result<R::Response, Error> {
        self.ask_within(broker, request, self.0.config.request_timeout).await
    }

    pub(crate) async fn ask_within<R: Request>(
        &self,
        broker: &Address,
        request: &R,
        patience: Duration,
    ) -> Result<R::Response, Error> {
        self.connection(broker).await?.ask(request, patience).await
    }

    /// Address of the broker that leads a partition.
    pub(crate) fn leader(&self, at: &TopicPartition) -> Result<Address, Error> {
        let metadata = self.metadata();
        let leader = metadata.leader(at).and_then(|id| metadata.brokers.get(&id));
        leader
            .cloned()
            .ok_or_else(|| Error::NoLeader { topic: at.topic.to_string(), partition: at.partition })
    }

    /// Asks for brokers and some topics and remembers the answer; an unknown topic is in it with its error.
    pub async fn refresh(&self, topics: &[Str], create: bool) -> Result<Arc<Metadata>, Error> {
        let topics = topics
            .iter()
            .map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() })
            .collect();
        self.ask_metadata(Some(topics), create).await
    }

    /// As [`Client::refresh`], for every topic there is.
    pub async fn refresh_all(&self) -> Result<Arc<Metadata>, Error> {
        self.ask_metadata(None, false).await
    }

    async fn ask_metadata(
        &self,
        topics: Option<Vec<MetadataRequestTopic>>,
        create: bool,
    ) -> Result<Arc<Metadata>, Error> {
        let all = topics.is_none();
        let request = MetadataRequest { topics, allow_auto_topic_creation: create, ..Default::default() };
        let mut tried = Vec::new();
        let mut connection = self.any_but(&mut tried).await?;
        let answer = loop {
            match connection.ask(&request, self.0.config.request_timeout).await {
                // Whose disk takes no part yet sends its clients on like this.
                Err(error @ Error::Disconnected { .. }) => {
                    connection = self.any_but(&mut tried).await.map_err(|_| error)?;
                }
                other => break other?,
            }
        };
        let mut kept = locked(&self.0.metadata);
        let mut metadata = Metadata::clone(&kept);
        if all {
            metadata.topics.clear();
        }
        metadata.merge(&answer);
        *kept = Arc::new(metadata);
        Ok(kept.clone())
    }

    /// A topic with a leader for each partition. With `create` the broker may make it, if it is set up to; without, an
    /// unknown topic is an error at once.
    pub async fn topic(&self, name: &Str, create: bool) -> Result<TopicMetadata, Error> {
        self.awaited_topic(name, create, create).await
    }

    /// As [`Client::topic`], for a topic that was just made: brokers may need a moment to hear of it.
    pub async fn new_topic(&self, name: &Str) -> Result<TopicMetadata, Error> {
        self.awaited_topic(name, false, true).await
    }

    async fn awaited_topic(
        &self,
        name: &Str,
        create: bool,
        unknown_waits: bool,
    ) -> Result<TopicMetadata, Error> {
        let deadline = Instant::now() + TOPIC_SETTLES_MAX.min(self.0.config.operation_timeout);
        let mut backoff = Backoff::default();
        loop {
            let metadata = self.retried(|| self.refresh(std::slice::from_ref(name), create)).await?;
            let topic = metadata.topics.get(name);
            let code = topic
                .map_or(ErrorCode::UnknownTopicOrPartition, |topic| ErrorCode::from_code(topic.error_code));
            let error = match (code, topic) {
                (ErrorCode::None, Some(topic)) => {
                    match topic.partitions.iter().find(|partition| partition.leader < 0) {
                        None => return Ok(topic.clone()),
                        Some(partition) => {
                            Error::NoLeader { topic: name.to_string(), partition: partition.partition }
                        }
                    }
                }
                (ErrorCode::UnknownTopicOrPartition, _) => {
                    let error = Error::UnknownTopic(name.to_string());
                    if !unknown_waits {
                        return Err(error);
                    }
                    error
                }
                (code, _) => {
                    let what = format!("use topic {name}");
                    let error = Error::refused(what, &self.bootstrap(), code as i16, None);
                    if !error.is_retriable() {
                        return Err(error);
                    }
                    error
                }
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            backoff.pause().await;
        }
    }

    /// The broker that coordinates a group.
    pub(crate) async fn coordinator(&self, group: &str) -> Result<Address, Error> {
        if let Some(broker) = locked(&self.0.coordinators).get(group) {
            return Ok(broker.clone());
        }
        let key = Str::from(group);
        // Which field counts depends on the version.
        let request =
            FindCoordinatorRequest { key: key.clone(), key_type: 0, coordinator_keys: vec![key.clone()] };
        let legacy = FindCoordinatorRequest { coordinator_keys: Vec::new(), ..request.clone() };
        let batched = FindCoordinatorRequest { key: Str::default(), ..request };
        let (asked, answer) = match self.ask_any(&batched).await {
            Err(Error::Invalid(_)) => self.ask_any(&legacy).await?,
            other => other?,
        };
        let (code, message, host, port) = match answer.coordinators.into_iter().next() {
            Some(found) => (found.error_code, found.error_message, found.host, found.port),
            None => (answer.error_code, answer.error_message, answer.host, answer.port),
        };
        if code != 0 {
            let message = message.map(|words| words.to_string());
            return Err(Error::refused(
                format!("find the coordinator of group {group}"),
                &asked,
                code,
                message,
            ));
        }
        let port = u16::try_from(port).map_err(|_| Error::Address(format!("{host}:{port}")))?;
        let broker = Address { host: (&*host).into(), port };
        locked(&self.0.coordinators).insert(group.to_string(), broker.clone());
        Ok(broker)
    }

    /// Asks a group's coordinator; `code` reads the answer's error. A coordinator that moved is looked up again.
    pub(crate) async fn ask_coordinator<R: Request>(
        &self,
        group: &str,
        what: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Error> {
        self.ask_coordinator_within(group, what, request, self.0.config.request_timeout, code).await
    }

    pub(crate) async fn ask_coordinator_within<R: Request>(
        &self,
        group: &str,
        what: &str,
        request: &R,
        patience: Duration,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Error> {
        self.retried(|| async {
            let broker = self.coordinator(group).await?;
            let answer = match self.ask_within(&broker, request, patience).await {
                Ok(answer) => match code(&answer) {
                    0 => return Ok(answer),
                    code => Err(Error::refused(what, &broker, code, None)),
                },
                Err(error) => Err(error),
            };
            locked(&self.0.coordinators).remove(group);
            answer
        })
        .await
    }
}
