//! `serve`: one node in this process until a signal stops it, or several in processes of their own (`nodes`). Binds its ports
//! before it touches the data directory, so that wrong use changes nothing.

use crate::nodes;
use crate::settings::{SettingArgs, settings};
use console::{Answer, Readiness, Subject};
use runtime::settings::{ListenerAddress, NodeSettings};
use runtime::{Ended, Listeners, METRICS_CONTENT_TYPE, Observer, Server, Started};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::disk::shim::ShimDisk;
use storage::{Disk, RealDisk};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// Most threads that serve connections, unless num.network.threads says otherwise.
const NETWORK_THREADS_MAX: usize = 8;
/// HTTP connections that may wait to be accepted.
pub const HTTP_BACKLOG: u32 = 64;
/// Exit code after a second signal, as a shell counts it.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Run a node: data directory made on first start, every acknowledgement fsynced
#[derive(clap::Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Run a cluster of so many nodes on this machine (3 or 5), each in a process of its own
    #[arg(long, value_name = "N", value_parser = nodes::count)]
    pub nodes: Option<u16>,
    /// With --nodes: leave a node that ended as it is
    #[arg(long, requires = "nodes")]
    pub no_restart: bool,
    /// No greeting, and only warnings and errors in the log
    #[arg(long, short)]
    pub quiet: bool,
    /// For power-cut tests: hold back what is not fsynced in memory, so that kill -9 is a power cut (slow)
    #[arg(long, hide = true)]
    pub disk_shim: bool,
    /// Started by --nodes: says on stdout when it has started, and stops when its stdin ends
    #[arg(long, hide = true)]
    pub child: bool,
}

/// Runs the node.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Serve) -> Result<(), String> {
    start_log(word.quiet);
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (settings, remarks) = settings(&word.settings, environment)?;
    for remark in remarks {
        tracing::info!("{remark}");
    }
    if let Some(count) = word.nodes {
        return nodes::run(word, &settings, count);
    }
    // A node that lost a thread must not go on half alive.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
    let threads = settings.network_threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(NETWORK_THREADS_MAX)
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the network threads: {error}"))?
        .block_on(serve(word, settings))
}

fn start_log(quiet: bool) {
    let level = if quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
}

async fn serve(word: &Serve, settings: NodeSettings) -> Result<(), String> {
    let mut signals = Signals::new()?;
    if word.child {
        signals.stop_with_stdin()?;
    }
    let listeners = Listeners::bind(&settings).await?;
    let http = match &settings.http {
        Some(address) => Some(runtime::bind(address, HTTP_BACKLOG).await?),
        None => None,
    };
    let mut face = Face {
        listeners,
        http_address: http.as_ref().and_then(|http| http.local_addr().ok()),
        console: http.map(Console::Bound),
        is_new: false,
        has_greeted: false,
    };
    loop {
        let unusable = |error| format!("the data directory {} cannot be used: {error}", settings.data_dir);
        let disk = RealDisk::new(&settings.data_dir).map_err(unusable)?;
        let ended = if word.disk_shim {
            tracing::warn!(
                "--disk-shim: what is not fsynced is held back in memory; for power-cut tests only"
            );
            let disk = ShimDisk::new(disk).map_err(unusable)?;
            on_disk(word, &settings, &mut face, disk, &mut signals).await?
        } else {
            on_disk(word, &settings, &mut face, disk, &mut signals).await?
        };
        match ended {
            Ended::Stopped => break,
            // The disk is another one now, and all that was in memory was of the one before.
            Ended::TakesPart { .. } | Ended::GivesUp => tracing::info!("starting over"),
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// What stays while the node starts over on another disk.
struct Face {
    listeners: Listeners,
    http_address: Option<SocketAddr>,
    console: Option<Console>,
    /// This process made the data directory.
    is_new: bool,
    has_greeted: bool,
}

/// The HTTP console.
enum Console {
    Bound(TcpListener),
    /// It shows this node.
    Serves(Arc<Node>),
}

impl Face {
    /// The console shows this node from now on.
    fn show(&mut self, observer: Observer) {
        self.console = self.console.take().map(|console| match console {
            Console::Serves(node) => {
                node.set(observer);
                Console::Serves(node)
            }
            Console::Bound(http) => {
                let node = Arc::new(Node(Mutex::new(observer)));
                let subject = node.clone();
                tokio::spawn(async move {
                    if let Err(error) = console::serve(http, subject).await {
                        tracing::error!("the HTTP console ended: {error}");
                    }
                });
                Console::Serves(node)
            }
        });
    }

    /// Says once that the node is there.
    fn greet(&mut self, word: &Serve, started: &Started, data_dir: &str) {
        if std::mem::replace(&mut self.has_greeted, true) {
            return;
        }
        if word.child {
            println!("{}", nodes::STARTED);
        } else if !word.quiet {
            greet(started, self.is_new, data_dir, self.http_address);
        }
    }
}

async fn on_disk<D: Disk>(
    word: &Serve,
    settings: &NodeSettings,
    face: &mut Face,
    disk: D,
    signals: &mut Signals,
) -> Result<Ended, String> {
    let descriptors = runtime::raise_descriptor_limit();
    let listeners = face.listeners.again().map_err(|error| format!("cannot listen: {error}"))?;
    let server = Server::start(settings.clone(), listeners, descriptors, Arc::new(disk))
        .await
        .map_err(|error| format!("{}: {error}", settings.data_dir))?;
    face.show(server.observer());
    face.is_new |= server.started().is_new;
    let served = async {
        server.serves().await;
        face.greet(word, server.started(), &settings.data_dir);
        std::future::pending().await
    };
    tokio::select! {
        ended = server.ended() => drop(ended?),
        name = signals.next() => {
            let again = if word.child { "" } else { "; once more stops at once" };
            tracing::info!("{name}: stopping{again}");
        }
        () = served => {}
    }
    tokio::select! {
        stopped = server.shutdown() => stopped,
        _ = signals.next() => std::process::exit(EXIT_INTERRUPTED),
    }
}

/// What the console shows of the node.
struct Node(Mutex<Observer>);

impl Node {
    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, observer: Observer) {
        *self.observer() = observer;
    }
}

impl Subject for Node {
    fn metrics(&self) -> Answer<(&'static str, String)> {
        let observer = self.observer().clone();
        Box::pin(async move { (METRICS_CONTENT_TYPE, observer.metrics().await) })
    }

    fn readiness(&self) -> Answer<Readiness> {
        let observer = self.observer().clone();
        Box::pin(async move {
            match observer.status().await {
                Some(status) => Readiness {
                    ready: status.ready,
                    conditions: status.conditions,
                    must_stay: status.must_stay,
                },
                None => {
                    let stopped = vec!["the node has stopped".to_string()];
                    Readiness { ready: false, conditions: stopped.clone(), must_stay: stopped }
                }
            }
        })
    }
}

/// What stops a process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// There while stdin is looked at and has not ended.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn new() -> Result<Signals, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            stdin: None,
        })
    }

    /// The end of stdin counts as a signal: whoever started this process is gone, or wants it to stop.
    fn stop_with_stdin(&mut self) -> Result<(), String> {
        let (ended, end) = oneshot::channel();
        self.stdin = Some(end);
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(move || {
                // What comes there has no meaning, and an error is an end as well.
                drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
                drop(ended);
            })
            .map(drop)
            .map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// Waits for the next one, and names it.
    pub async fn next(&mut self) -> &'static str {
        let stdin = async {
            match &mut self.stdin {
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = stdin => "end of stdin",
        };
        if name == "end of stdin" {
            self.stdin = None;
        }
        name
    }
}

fn greet(started: &Started, is_new: bool, data_dir: &str, http: Option<SocketAddr>) {
    let endpoint = ListenerAddress { host: started.endpoint.host.clone(), port: started.endpoint.port };
    let address = runtime::display(&endpoint);
    let made = if is_new { " (new)" } else { "" };
    let http = http.map_or("off".to_string(), |address| format!("http://{address}/metrics /livez /readyz"));
    eprintln!(
        "Sternpost {version}: node {node} of cluster {cluster}. Acknowledged means fsynced.

  Kafka clients  {address}
  HTTP           {http}
  data           {data_dir}{made}

Try in another terminal:
  echo 'hello, world' | kcat -b {address} -t greetings -P
  kcat -b {address} -t greetings -C -e
or point any Kafka client at it: bootstrap.servers={address}

Ctrl-C stops it in good order.
",
        version = env!("CARGO_PKG_VERSION"),
        node = started.node.0,
        cluster = started.cluster_id,
    );
}
