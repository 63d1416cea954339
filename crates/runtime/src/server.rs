//! A whole node in this process: opens the data directory, starts the core, the storage threads and the listener, and
//! stops them in the opposite order.

use crate::clock::Clock;
use crate::core::{Core, Input};
use crate::counters::Counters;
use crate::driver::{Driver, Ended, Outcome};
use crate::lanes::Lanes;
use crate::listener::{Phase, Shared, accept, bind, trim};
use crate::metrics::{Held, metrics_text};
use crate::peers::{Birth, Me, PEER_BACKLOG, Peers};
use crate::volume::watch as watch_volume;
use broker::config::{ListenerAddress, NodeSettings};
use broker::level::{DISKS_NAMED, Levels};
use broker::request::Endpoint;
use broker::{Node, NodeConfig, Status};
use kafka::session::SessionConfig;
use model::{DiskId, NodeId, TopicId};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use storage::{Claimed, Disk, Identity, OpenError, Options, Standing, WalSizes};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// Where a data directory says whose it is; without it the directory is new.
const IDENTITY_FILE: &str = "identity";
/// Room of the WAL that is kept free of records: for metadata, deletes and positions.
const WAL_RESERVE_BYTES: u64 = 2 << 20;
/// Bytes of the log that stay in memory for followers that are behind.
const LOG_KEPT_BYTES: u64 = 128 << 20;
/// Bytes of records that a replica which catches up asks for at a time: 32 MiB of them may be under way.
const PULL_BYTES: u32 = 1 << 20;
/// A node whose disk takes no part lets clients wait for so long: a new cluster begins sooner than that. Then it sends them away.
const CLIENTS_WAIT_MAX: Duration = Duration::from_secs(5);
/// Time for connections to take their last answers when the node stops.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(1);

/// What a start found.
#[derive(Clone, Debug)]
pub struct Started {
    /// The cluster, as clients see it.
    pub cluster_id: String,
    /// This node.
    pub node: NodeId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where clients are told to go.
    pub endpoint: Endpoint,
    /// The data directory was made by this start.
    pub is_new: bool,
}

/// The sockets of a node, bound before anything is changed.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: TcpListener,
    /// For other nodes; there when the settings name any.
    pub peers: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the settings name.
    ///
    /// # Errors
    /// One clear sentence.
    pub async fn bind(settings: &NodeSettings) -> Result<Listeners, String> {
        let clients = bind(&settings.listener, settings.listen_backlog).await?;
        let peers = match &settings.peer_listener {
            Some(address) => Some(bind(address, PEER_BACKLOG).await?),
            None => None,
        };
        Ok(Listeners { clients, peers })
    }

    /// The same sockets for one more start: whoever connects between the two is served by the second.
    ///
    /// # Errors
    /// What the system says.
    pub fn again(&self) -> io::Result<Listeners> {
        let again = |listener: &TcpListener| {
            TcpListener::from_std(std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?))
        };
        Ok(Listeners { clients: again(&self.clients)?, peers: self.peers.as_ref().map(again).transpose()? })
    }
}

/// A running node.
pub struct Server {
    started: Started,
    driver: Arc<Driver>,
    shared: Arc<Shared>,
    peers: Option<Arc<Peers>>,
    outcome: watch::Receiver<Outcome>,
    threads: Vec<JoinHandle<()>>,
    /// What is to be done to the disk before the next start.
    give_way: Box<dyn FnOnce(Ended) -> Result<(), OpenError> + Send>,
}

/// A handle for those who look at the node.
#[derive(Clone)]
pub struct Observer {
    driver: Arc<Driver>,
    shared: Arc<Shared>,
}

impl Observer {
    /// The node at this moment; `None` when it has stopped.
    pub async fn status(&self) -> Option<Box<Status>> {
        let (sender, receiver) = oneshot::channel();
        self.driver.put(Input::Observe(sender));
        receiver.await.ok()
    }

    /// The node's numbers as OpenMetrics text.
    pub async fn metrics(&self) -> String {
        let status = self.status().await.unwrap_or_default();
        let held = Held {
            requests: self.shared.requests.held() as u64,
            half_frames: self.shared.half_frames.held() as u64,
            unsent: self.shared.unsent.held() as u64,
            idle_buffers: self.shared.buffers.idle_bytes() as u64,
        };
        metrics_text(&self.shared.counters, held, &status)
    }
}

impl Server {
    /// Starts a node on a disk, serving those who come to `listeners`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// One clear sentence. Nothing was changed, except that a new data directory may have been begun.
    pub async fn start<D: Disk>(
        settings: NodeSettings,
        listeners: Listeners,
        descriptors: u64,
        disk: Arc<D>,
    ) -> Result<Server, String> {
        let unreadable = |error| format!("cannot read the listening address: {error}");
        let address = listeners.clients.local_addr().map_err(unreadable)?;
        let (node_id, data_dir) = (NodeId(settings.node_id), settings.data_dir.clone());
        let is_new = !disk.exists(IDENTITY_FILE).map_err(unusable)?;
        let cluster = match settings.new_cluster() {
            Some(cluster) if is_new => Some(cluster),
            None if is_new => Some(random_bytes()?),
            // A known one keeps its own, whatever the addresses of its nodes are by now.
            _ => settings.cluster_id,
        };
        let fresh = match settings.level_max >= DISKS_NAMED {
            true => Some(DiskId::drawn(random_bytes()?)),
            false => None,
        };
        let options = Options { cluster, node: node_id, disk: fresh, wal: WalSizes::default(), mutant: None };
        let is_alone = settings.voters.len() <= 1;
        // Recovery reads and syncs for a while: not on a thread that serves sockets.
        let (claimed, mut opened) = blocking(move || {
            let mut claimed = storage::claim(disk, options)?;
            if is_alone && matches!(claimed.identity().standing, Standing::Waits { .. }) {
                claimed.take_part(claimed.identity().replica, &BTreeMap::new())?; // there is nobody to ask
            }
            let opened = claimed.open()?;
            Ok((claimed, opened))
        })
        .await?;
        for note in &opened.recovered.notes {
            tracing::info!("recovery: {note}");
        }
        if let Some(damage) = (!is_alone).then(|| opened.wait_if_damaged()).flatten() {
            tracing::error!("the log is damaged: {damage}; the disk comes back as its node's next one");
        }
        let identity = opened.identity;
        let waits = matches!(identity.standing, Standing::Waits { .. });
        let cluster_id = TopicId(identity.cluster).base64();
        let endpoint = endpoint(&settings, node_id, address);
        let clock = Clock::default();
        let config = node_config(&settings, &identity, endpoint.clone())?;
        let node = Node::new(config, opened.recovered, clock.now())?;
        let driver = Arc::new(Driver::new(clock));
        let outcome = driver.outcome();
        let counters = Arc::new(Counters::default());
        let (lanes, mut threads) = Lanes::start_threads(
            (opened.wal, waits),
            opened.segments,
            opened.reader,
            settings.read_threads,
            &driver,
            &counters,
        )
        .map_err(|error| format!("cannot start the storage threads: {error}"))?;
        let no_thread = |error| format!("cannot start a thread: {error}");
        let timer = driver.clone();
        threads
            .push(Builder::new().name("timer".into()).spawn(move || timer.keep_time()).map_err(no_thread)?);
        let mut session = SessionConfig::new(cluster_id.clone(), node_id);
        session.fetch_bytes_max = settings.fetch_bytes_max;
        let shared = Arc::new(Shared::new(&settings, descriptors, session, driver.clone(), counters));
        let process = u64::from_le_bytes(random_bytes()?);
        let birth = Birth { incarnation: identity.incarnation, process, disk: identity.disk };
        let levels = Levels::up_to(settings.level_max);
        let me = Me { cluster: identity.cluster, node: node_id, birth, levels };
        let peers = listeners.peers.as_ref().map(|_| {
            let (buffers, counters) = (shared.buffers.clone(), shared.counters.clone());
            Arc::new(Peers::new(me, &settings.voters, driver.clone(), buffers, counters))
        });
        driver.install(Core::new(node, clock, lanes, peers.clone()));
        if let (Some(peers), Some(listener)) = (&peers, listeners.peers) {
            threads.push(peers.start(listener).map_err(no_thread)?);
        }
        tokio::spawn(accept(listeners.clients, shared.clone()));
        if waits {
            let shared = Arc::downgrade(&shared);
            tokio::spawn(async move {
                tokio::time::sleep(CLIENTS_WAIT_MAX).await;
                shared.upgrade().inspect(|shared| shared.serve());
            });
        } else {
            shared.serve();
        }
        tokio::spawn(trim(Arc::downgrade(&shared.buffers)));
        tokio::spawn(watch_volume(data_dir, Arc::downgrade(&driver)));
        let started = Started { cluster_id, node: node_id, address, endpoint, is_new };
        Ok(Server {
            started,
            driver,
            shared,
            peers,
            outcome,
            threads,
            give_way: Box::new(move |ended| give_way(claimed, ended)),
        })
    }

    /// What the start found.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Waits until clients are answered, or sent away because the disk takes no part yet.
    pub async fn serves(&self) {
        self.shared.is_over(Phase::Waiting).await;
    }

    /// A handle to look at the node.
    pub fn observer(&self) -> Observer {
        Observer { driver: self.driver.clone(), shared: self.shared.clone() }
    }

    /// Waits until the node ends by itself.
    ///
    /// # Errors
    /// Why it must not go on, as one sentence.
    pub async fn ended(&self) -> Result<Ended, String> {
        let mut outcome = self.outcome.clone();
        let seen = outcome.wait_for(Option::is_some).await;
        match seen.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err("the core thread is gone".to_string()),
        }
    }

    /// Stops in good order: no new requests, answers to those under way, a clean checkpoint. Of a node that has ended because its disk
    /// takes part or gives up from the next start on, this makes the disk so.
    ///
    /// # Errors
    /// Why the stop was not clean, as one sentence.
    pub async fn shutdown(self) -> Result<Ended, String> {
        self.shared.enter(Phase::Draining);
        self.driver.put(Input::Shutdown);
        let outcome = self.ended().await;
        self.shared.enter(Phase::Ending);
        if let Some(peers) = &self.peers {
            peers.stop();
        }
        if let Ok(ended) = outcome.clone() {
            if tokio::time::timeout(LAST_ANSWERS_MAX, self.shared.all_closed()).await.is_err() {
                tracing::debug!("some clients did not take their last answers");
            }
            blocking(move || {
                let joined = self.threads.into_iter().try_for_each(JoinHandle::join);
                joined.map_err(|_| OpenError::Io("a thread of the node ended with a panic".into()))?;
                (self.give_way)(ended)
            })
            .await?;
        }
        outcome
    }
}

/// Work with files, on a thread that serves no sockets.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| format!("work on the data directory ended early: {error}"))?
        .map_err(|error| error.to_string())
}

/// Makes of a disk what it is to be from the next start on.
fn give_way<D: Disk>(mut claimed: Claimed<D>, ended: Ended) -> Result<(), OpenError> {
    match ended {
        Ended::Stopped => Ok(()),
        Ended::TakesPart { replica, founders } => claimed.take_part(replica, &founders),
        Ended::GivesUp => claimed.give_up(),
    }
}

fn unusable(error: io::Error) -> String {
    format!("the data directory cannot be used: {error}")
}

fn random_bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| format!("the system gives no random bytes: {error}"))?;
    }
    Ok(bytes)
}

fn node_config(
    settings: &NodeSettings,
    identity: &Identity,
    endpoint: Endpoint,
) -> Result<NodeConfig, String> {
    let node = NodeId(settings.node_id);
    let voters: Vec<NodeId> = settings.voters.iter().map(|voter| voter.node).collect();
    Ok(NodeConfig {
        node,
        owner: identity.owner(),
        voters: if voters.is_empty() { vec![node] } else { voters },
        cluster_id: TopicId(identity.cluster).base64(),
        endpoint,
        log_dir: absolute(&settings.data_dir),
        seed: u64::from_le_bytes(random_bytes()?),
        level: settings.level_max,
        data_shards: settings.data_shards,
        tail_bytes_max: settings.tail_bytes_max,
        log_kept_bytes: LOG_KEPT_BYTES,
        pull_bytes: PULL_BYTES,
        checkpoint_bytes: settings.checkpoint_bytes,
        wal_held_bytes_max: settings.wal_held_bytes_max,
        wal_reserve_bytes: WAL_RESERVE_BYTES,
        settings: settings.clone(),
        mutant: None,
        group_mutant: None,
        consensus_mutant: None,
    })
}

/// The data directory as clients see it. One that cannot be made absolute is told as it was given.
fn absolute(data_dir: &str) -> String {
    std::path::absolute(data_dir).map_or_else(|_| data_dir.to_owned(), |path| path.display().to_string())
}

/// Where clients are told to connect: what is advertised, else the listener's own host and port.
fn endpoint(settings: &NodeSettings, node: NodeId, address: SocketAddr) -> Endpoint {
    let (host, port) = match &settings.advertised {
        Some(ListenerAddress { host, port }) => (host.clone(), *port),
        None if address.ip().is_unspecified() => {
            (rustix::system::uname().nodename().to_string_lossy().into_owned(), address.port())
        }
        None => (settings.listener.host.clone(), address.port()),
    };
    Endpoint { node, host, port, rack: settings.rack.clone() }
}

/// Raises the limit of open files as far as it goes, and tells it.
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
