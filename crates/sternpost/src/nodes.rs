//! `serve --nodes N`: a cluster on one machine, each node a process of this program. For trying out what a cluster does: the
//! processes can be killed and stopped one by one. Looks after them until a signal comes, then stops all in good order.

use crate::serve::{EXIT_INTERRUPTED, HTTP_BACKLOG, Serve, Signals};
use runtime::settings::{ListenerAddress, NodeSettings};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What a child says on stdout when its node has started.
pub const STARTED: &str = "started";
/// The ports at which nodes talk to each other lie so far above those for clients.
const PEER_PORT_STEP: u16 = 100;
/// Pause before a node that ended is started again; it doubles while the node ends soon.
const RESTART_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A node that ran for so long gets the shortest pause again.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// Time for a node to stop in good order; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(60);
/// Longest piece of a node's line that is passed on at once, bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Settings that say who a node of a cluster is: `--nodes` gives them.
const OWN: &[&str] = &["node.id", "broker.id", "controller.quorum.voters", "sternpost.peer.listener"];
/// Settings that differ from node to node: each gets its own as a flag.
const DIFFERING: &[&str] =
    &["listeners", "advertised.listeners", "log.dirs", "log.dir", "sternpost.http.listener"];
/// In a data directory of a node.
const IDENTITY_FILE: &str = "identity";
/// Beside the data directories of the nodes: how many they are.
const COUNT_FILE: &str = "nodes";
/// Beside the data directory of each node, behind its name: the process that it is now, or was last.
const PID_SUFFIX: &str = ".pid";

/// Reads N of `--nodes N`.
///
/// # Errors
/// When no cluster has so many nodes.
pub fn count(text: &str) -> Result<u16, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster on one machine has 3 or 5 nodes".to_string()),
    }
}

/// One of the nodes.
#[derive(Clone, Debug)]
struct Plan {
    id: u16,
    listen: ListenerAddress,
    advertise: Option<ListenerAddress>,
    http: Option<ListenerAddress>,
    peer: ListenerAddress,
    data_dir: String,
}

/// Runs the cluster.
///
/// # Errors
/// One clear sentence.
pub fn run(word: &Serve, settings: &NodeSettings, count: u16) -> Result<(), String> {
    let plans = plan(settings, count)?;
    check_data(&settings.data_dir, count)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?
        .block_on(supervise(word, settings, plans))
}

fn plan(settings: &NodeSettings, count: u16) -> Result<Vec<Plan>, String> {
    if let Some(name) = OWN.iter().find(|name| !settings.set_values(name).is_empty()) {
        return Err(format!(
            "--nodes gives each node its {name}, and {name} is set as well; leave one of the two out"
        ));
    }
    let mut plans = Vec::new();
    for at in 0..count {
        let above = |address: &ListenerAddress, what: &str, step: u16| {
            let port = address.port.checked_add(step).filter(|_| address.port != 0);
            let port = port.ok_or_else(|| {
                format!(
                    "--nodes needs {count} ports from that {what} upward, and {} leaves none",
                    address.port
                )
            })?;
            Ok::<_, String>(ListenerAddress { host: address.host.clone(), port })
        };
        let this_machine = ListenerAddress { host: "127.0.0.1".to_string(), port: settings.listener.port };
        plans.push(Plan {
            id: at + 1,
            listen: above(&settings.listener, "of listeners", at)?,
            advertise: settings
                .advertised
                .as_ref()
                .map(|address| above(address, "of advertised.listeners", at))
                .transpose()?,
            http: settings
                .http
                .as_ref()
                .map(|address| above(address, "of sternpost.http.listener", at))
                .transpose()?,
            peer: above(&this_machine, "for other nodes", PEER_PORT_STEP + at)?,
            data_dir: format!("{}/node{}", settings.data_dir.trim_end_matches('/'), at + 1),
        });
    }
    let mut ports: Vec<u16> = plans.iter().flat_map(Plan::listeners).map(|address| address.port).collect();
    ports.sort_unstable();
    if let Some(pair) = ports.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!(
            "two nodes, or two listeners, would both get port {}; move --listen or --http",
            pair[0]
        ));
    }
    Ok(plans)
}

impl Plan {
    fn listeners(&self) -> impl Iterator<Item = &ListenerAddress> {
        [&self.listen, &self.peer].into_iter().chain(&self.http)
    }

    /// Where clients find it.
    fn bootstrap(&self) -> String {
        let address = self.advertise.as_ref().unwrap_or(&self.listen);
        if address.host.is_empty() { format!("localhost:{}", address.port) } else { text(address) }
    }
}

/// A cluster keeps its nodes: their number stands in a file beside their data.
fn check_data(data_dir: &str, count: u16) -> Result<(), String> {
    let directory = Path::new(data_dir);
    if directory.join(IDENTITY_FILE).exists() {
        return Err(format!("{data_dir} is the data directory of one node; name another one for --nodes"));
    }
    match std::fs::read_to_string(directory.join(COUNT_FILE)) {
        Ok(found) if found.trim() != count.to_string() => Err(format!(
            "{data_dir} holds a cluster of {} nodes, not of {count}; a cluster keeps its nodes, name another directory",
            found.trim()
        )),
        _ => Ok(()),
    }
}

fn claim_data(data_dir: &str, count: usize) -> Result<(), String> {
    let unusable = |error| format!("the data directory {data_dir} cannot be used: {error}");
    std::fs::create_dir_all(data_dir).map_err(unusable)?;
    std::fs::write(Path::new(data_dir).join(COUNT_FILE), format!("{count}\n")).map_err(unusable)
}

/// Whoever reads the file meanwhile finds a number in it.
fn note_pid(data_dir: &str, pid: u32) -> std::io::Result<()> {
    let file = format!("{data_dir}{PID_SUFFIX}");
    let new = format!("{file}.new");
    std::fs::write(&new, format!("{pid}\n"))?;
    std::fs::rename(new, file)
}

fn text(address: &ListenerAddress) -> String {
    match address.host.as_str() {
        host if host.contains(':') => format!("[{host}]:{}", address.port),
        host => format!("{host}:{}", address.port),
    }
}

async fn supervise(word: &Serve, settings: &NodeSettings, plans: Vec<Plan>) -> Result<(), String> {
    let mut signals = Signals::new()?;
    // Before anything is changed. The nodes bind them themselves a moment later.
    for address in plans.iter().flat_map(Plan::listeners) {
        drop(runtime::bind(address, HTTP_BACKLOG).await?);
    }
    claim_data(&settings.data_dir, plans.len())?;
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program's file: {error}"))?;
    let stop = watch::Sender::new(false);
    let (started, mut starts) = mpsc::channel(plans.len());
    let mut nodes = JoinSet::new();
    for plan in &plans {
        let mut command = Command::new(&program);
        command.args(arguments(word, plan, &plans));
        let keeper = Keeper {
            name: format!("node{}", plan.id),
            restarts: !word.no_restart,
            stop: stop.subscribe(),
            started: started.clone(),
        };
        nodes.spawn(keeper.keep(command));
    }
    drop(started);
    let mut pids = vec![0; plans.len()];
    let mut failure = None;
    loop {
        tokio::select! {
            Some((name, pid)) = starts.recv() => {
                let at = plans.iter().position(|plan| format!("node{}", plan.id) == name).expect("a planned node");
                let was_complete = !pids.contains(&0);
                pids[at] = pid;
                // For whoever wants to kill it; the node does without.
                if let Err(error) = note_pid(&plans[at].data_dir, pid) {
                    tracing::warn!("cannot note the process of {name}: {error}");
                }
                if !was_complete && !pids.contains(&0) && !word.quiet {
                    greet(&plans, &settings.data_dir, &pids);
                }
            }
            ended = nodes.join_next() => match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(why))) => {
                    failure.get_or_insert(why);
                    // Without restarts the others go on; a cluster that never came about does not.
                    if pids.contains(&0) {
                        stop.send_replace(true);
                    }
                }
                Some(Err(error)) => return Err(format!("a task of --nodes ended early: {error}")),
                None => return failure.map_or(Ok(()), Err),
            },
            name = signals.next() => {
                if stop.send_replace(true) {
                    // Children that are left are killed with this runtime.
                    nodes.shutdown().await;
                    std::process::exit(EXIT_INTERRUPTED);
                }
                tracing::info!("{name}: stopping all nodes; once more kills them");
                failure = None;
            }
        }
    }
}

fn arguments(word: &Serve, plan: &Plan, plans: &[Plan]) -> Vec<String> {
    let voters: Vec<String> = plans.iter().map(|plan| format!("{}@{}", plan.id, text(&plan.peer))).collect();
    let mut arguments: Vec<String> = vec!["serve".into(), "--child".into()];
    let mut flag = |name: &str, value: String| arguments.extend([name.to_string(), value]);
    if let Some(file) = &word.settings.config {
        flag("--config", file.display().to_string());
    }
    flag("--data-dir", plan.data_dir.clone());
    flag("--listen", text(&plan.listen));
    flag("--http", plan.http.as_ref().map_or("off".to_string(), text));
    if let Some(address) = &plan.advertise {
        flag("--advertise", text(address));
    }
    flag("--set", format!("node.id={}", plan.id));
    flag("--set", format!("controller.quorum.voters={}", voters.join(",")));
    for pair in &word.settings.set {
        let name = pair.split('=').next().unwrap_or_default().trim();
        if !DIFFERING.contains(&name) {
            flag("--set", pair.clone());
        }
    }
    for (is_set, flag) in [(word.quiet, "--quiet"), (word.disk_shim, "--disk-shim")] {
        if is_set {
            arguments.push(flag.to_string());
        }
    }
    arguments
}

/// Looks after one node.
struct Keeper {
    name: String,
    restarts: bool,
    stop: watch::Receiver<bool>,
    started: mpsc::Sender<(String, u32)>,
}

impl Keeper {
    /// Starts the node, and again when it ends, until it is to stop.
    async fn keep(mut self, mut command: Command) -> Result<(), String> {
        // A group of its own: Ctrl-C comes to this process alone, which then stops the nodes.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut pause = RESTART_PAUSE_MIN;
        let mut was_up = false;
        loop {
            let since = Instant::now();
            let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", self.name))?;
            let (status, is_up) = self.watch(child).await?;
            was_up |= is_up;
            if *self.stop.borrow() {
                return if status.success() { Ok(()) } else { Err(format!("{} ended: {status}", self.name)) };
            }
            if !was_up {
                return Err(format!("{} did not start; why stands above", self.name));
            }
            if !self.restarts {
                tracing::error!("{} ended: {status}", self.name);
                return Err(format!("{} ended: {status}", self.name));
            }
            if since.elapsed() >= STEADY_AFTER {
                pause = RESTART_PAUSE_MIN;
            }
            tracing::error!("{} ended: {status}; it is started again in {pause:?}", self.name);
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut self.stop) => return Ok(()),
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
        }
    }

    /// From a start to the end: the exit status, and whether the node had started.
    async fn watch(&mut self, mut child: Child) -> Result<(ExitStatus, bool), String> {
        let gone = |error| format!("cannot wait for a node: {error}");
        let pid = child.id().unwrap_or_default();
        let stdin = child.stdin.take();
        let mut words = BufReader::new(child.stdout.take().expect("piped")).lines();
        let log = tokio::spawn(pass_on(self.name.clone(), child.stderr.take().expect("piped")));
        let mut is_up = false;
        let is_told = loop {
            tokio::select! {
                word = words.next_line() => match word {
                    Ok(Some(word)) if word == STARTED => {
                        is_up = true;
                        // Whoever no longer listens is about to stop.
                        drop(self.started.send((self.name.clone(), pid)).await);
                    }
                    Ok(Some(_)) => {}
                    // It has closed its stdout, so it ends.
                    Ok(None) | Err(_) => break false,
                },
                () = stopped(&mut self.stop) => break true,
            }
        };
        if is_told {
            drop(stdin); // which it takes for a signal to stop
        }
        let ended = timeout(STOP_MAX, child.wait()).await;
        let status = match ended {
            Ok(status) => status.map_err(gone)?,
            Err(_) => {
                tracing::error!("{} does not end within {STOP_MAX:?} and is killed", self.name);
                child.kill().await.map_err(gone)?;
                child.wait().await.map_err(gone)?
            }
        };
        // Its last words.
        drop(log.await);
        Ok((status, is_up))
    }
}

/// Waits until the nodes are to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Prints a node's lines with its name in front.
async fn pass_on(name: String, lines: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(lines);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => eprintln!("{name} | {}", String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

fn greet(plans: &[Plan], data_dir: &str, pids: &[u32]) {
    let bootstrap: Vec<String> = plans.iter().map(Plan::bootstrap).collect();
    let bootstrap = bootstrap.join(",");
    let first = plans[0].bootstrap();
    let mut rows = String::new();
    for (plan, pid) in plans.iter().zip(pids) {
        let http =
            plan.http.as_ref().map_or("off".to_string(), |address| format!("http://{}", text(address)));
        rows += &format!("  node {}  {}  HTTP {http}  pid {pid}\n", plan.id, plan.bootstrap());
    }
    eprintln!(
        "
Sternpost {version}: a cluster of {count} nodes on this machine. Acknowledged means fsynced on a majority.

{rows}  data    {data_dir}/node1 to node{count}

Try in another terminal:
  sternpost topic create greetings --partitions 3 -b {first}
  echo 'hello, world' | sternpost produce --topic greetings -b {first}
  sternpost consume --topic greetings --from-beginning -b {bootstrap}
and meanwhile take a node away:
  kill -9 {pid}
or point any Kafka client at it: bootstrap.servers={bootstrap}

Ctrl-C stops all nodes in good order.
",
        version = env!("CARGO_PKG_VERSION"),
        count = plans.len(),
        pid = pids[1],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::settings::{Given, parse_node};

    fn settings(pairs: &[(&str, &str)]) -> NodeSettings {
        let given = |(name, value): &(&str, &str)| Given {
            name: name.to_string(),
            value: value.to_string(),
            origin: "a test".into(),
        };
        parse_node(&[pairs.iter().map(given).collect()]).unwrap().0
    }

    #[test]
    fn ports_go_up_by_one() {
        let plans = plan(&settings(&[("log.dirs", "d/"), ("listeners", "[::1]:9092")]), 3).unwrap();
        let third = &plans[2];
        assert_eq!(
            (third.listen.port, third.http.as_ref().unwrap().port, third.peer.port),
            (9094, 9646, 9194)
        );
        assert_eq!(
            (text(&third.listen).as_str(), text(&third.peer).as_str()),
            ("[::1]:9094", "127.0.0.1:9194")
        );
        assert_eq!(third.data_dir, "d/node3");
        let off = settings(&[("sternpost.http.listener", "off"), ("advertised.listeners", "h:19092")]);
        let plans = plan(&off, 5).unwrap();
        assert!(plans[0].http.is_none());
        assert_eq!(plans[4].bootstrap(), "h:19096");
    }

    #[test]
    fn contradictions_are_one_sentence() {
        for (pairs, part) in [
            (vec![("node.id", "2")], "node.id is set as well"),
            (vec![("controller.quorum.voters", "1@a:1")], "controller.quorum.voters is set as well"),
            (vec![("listeners", "127.0.0.1:0")], "needs 3 ports"),
            (vec![("listeners", "127.0.0.1:65535")], "needs 3 ports"),
            (vec![("sternpost.http.listener", "127.0.0.1:9094")], "both get port 9094"),
        ] {
            let why = plan(&settings(&pairs), 3).expect_err("refused");
            assert!(why.contains(part) && !why.contains('\n'), "{why}");
        }
        assert!(count("4").is_err() && count("1").is_err());
    }

    #[test]
    fn a_cluster_keeps_its_nodes() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let data_dir = data.to_str().unwrap();
        check_data(data_dir, 3).unwrap();
        claim_data(data_dir, 3).unwrap();
        check_data(data_dir, 3).unwrap();
        assert!(check_data(data_dir, 5).unwrap_err().contains("a cluster of 3 nodes, not of 5"));
        std::fs::write(data.join(IDENTITY_FILE), "x").unwrap();
        assert!(check_data(data_dir, 3).unwrap_err().contains("of one node"));
    }
}
