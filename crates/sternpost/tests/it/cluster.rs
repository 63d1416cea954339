//! Several real processes: `serve --nodes`, and what a node is told that is not who it says.

use crate::node::{Client, Node, PATIENCE, binary};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// A port from which on so many others are free as three nodes want.
pub fn free_ports() -> u16 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no free ports");
        let base = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let wanted = [0, 1, 2, 3, 10, 11, 12, 13, 100, 101, 102, 103];
        let is_free = |step: &u16| {
            base.checked_add(*step).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if wanted.iter().all(is_free) {
            return base;
        }
    }
}

/// A client's word against the node at that port; what it prints.
pub fn client(port: u16, words: &[&str], input: &str) -> String {
    let mut child = binary()
        .args(words)
        .args(["--bootstrap-server", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn three(base: u16, data: &Path) -> Node {
    let mut command = binary();
    command
        .args(["serve", "--nodes", "3", "--listen", &format!("127.0.0.1:{base}")])
        .args(["--http", &format!("127.0.0.1:{}", base + 10)])
        .arg("--data-dir")
        .arg(data);
    let nodes = Node::spawn(command);
    nodes.wait_for_line("Ctrl-C stops all");
    nodes
}

fn pid(nodes: &Node, id: u16) -> Pid {
    let line = nodes.wait_for_line(&format!("  node {id}  "));
    Pid::from_raw(line.split_whitespace().last().unwrap().parse().unwrap()).unwrap()
}

/// What `cluster status` tells, and its exit code with this flag.
fn status(port: u16, flags: &[&str]) -> (Value, Option<i32>) {
    let output = binary()
        .args(["cluster", "status", "--output", "json", "--bootstrap-server", &format!("127.0.0.1:{port}")])
        .args(flags)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told:?} {talk}")),
        output.status.code(),
    )
}

/// Asks until it tells so.
pub fn status_until(port: u16, name: &str, is_so: bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (told, _) = status(port, &[]);
        if told[name] == is_so {
            return told;
        }
        assert!(Instant::now() < deadline, "{name} does not become {is_so}: {told}");
    }
}

/// The first line and the body of an answer over HTTP.
pub fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// A node that is stopped by force is missed, by those that are left and from outside, and is not when it is back.
#[test]
fn a_missing_node_keeps_the_others_up() {
    let directory = tempfile::tempdir().unwrap();
    let base = free_ports();
    let mut command = binary();
    command
        .args(["serve", "--nodes", "3", "--no-restart", "--listen", &format!("127.0.0.1:{base}")])
        .args(["--http", &format!("127.0.0.1:{}", base + 10), "--data-dir"])
        .arg(directory.path().join("data"));
    let nodes = Node::spawn(command);
    nodes.wait_for_line("Ctrl-C stops all");
    client(base, &["topic", "create", "flights", "--partitions", "6"], "");
    status_until(base, "safe_to_stop_next", true);
    assert_eq!((status(base, &[]).1, status(base, &["--safe-to-stop"]).1), (Some(0), Some(0)));
    let (line, body) = get(base + 10, "/readyz/safe-to-stop");
    assert_eq!((line.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "safe to take the next node down: yes\n"));
    kill_process(pid(&nodes, 3), Signal::KILL).unwrap();
    let lame = status_until(base, "healthy", false);
    assert_eq!(status(base, &[]).1, Some(1));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (told, code) = status(base, &["--safe-to-stop"]);
        let unsafe_nodes =
            told["nodes"].as_array().unwrap().iter().filter(|node| node["safe_to_stop"] == false);
        if code == Some(1) && unsafe_nodes.count() == 2 {
            assert_eq!((&told["nodes"][2]["reachable"], &told["nodes"][2]["id"]), (&false.into(), &3.into()));
            break;
        }
        assert!(Instant::now() < deadline, "it is not missed: {told}, before: {lame}");
    }
    let (line, body) = get(base + 10, "/readyz/safe-to-stop?output=json");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((line.as_str(), &told["ready"]), ("HTTP/1.1 503 Service Unavailable", &Value::Bool(true)));
    assert!(told["not_safe_because"][0] == "node 3 is not heard", "{body}");
    assert!(get(base + 11, "/readyz").0.contains("200"));
}

/// What the file beside the node's data says.
fn noted_pid(data: &Path, id: u16) -> Pid {
    let text = std::fs::read_to_string(data.join(format!("node{id}.pid"))).unwrap();
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Partitions are where the words of `topic` put them.
fn places_as_told(base: u16) {
    client(base, &["topic", "create", "placed", "--replica-assignment", "2,1"], "");
    client(base, &["topic", "alter", "placed", "--partitions", "3", "--replica-assignment", "1,1,3"], "");
    let told = client(base, &["topic", "describe", "placed", "--output", "json"], "");
    let told: Value = serde_json::from_str(&told).unwrap();
    let replicas = |at: usize| told[0]["partitions"][at]["replicas"].clone();
    assert_eq!(
        [replicas(0), replicas(1), replicas(2)],
        [2, 1, 3].map(|node| Value::from(vec![node])),
        "{told}"
    );
    client(base, &["topic", "delete", "placed", "--yes"], "");
}

#[test]
fn three_nodes_on_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let base = free_ports();
    let nodes = three(base, &data);
    nodes.wait_for_lines(" ready", 3);
    client(base, &["topic", "create", "flights", "--partitions", "6"], "");
    let whole = status_until(base, "safe_to_stop_next", true);
    assert_eq!((&whole["healthy"], whole["nodes"].as_array().unwrap().len()), (&Value::Bool(true), 3));
    assert_eq!(whole["quorum"]["voters"].as_array().unwrap().len(), 3);
    let leads: i64 = (0..3).map(|at| whole["nodes"][at]["leads"].as_i64().unwrap()).sum();
    assert_eq!((leads, &whole["partitions"]), (6, &Value::from(6)));
    client(base + 1, &["produce", "--topic", "flights"], "one\ntwo\n");
    places_as_told(base);
    let second = pid(&nodes, 2);
    assert_eq!(noted_pid(&data, 2), second);
    kill_process(second, Signal::KILL).unwrap();
    client(base, &["produce", "--topic", "flights"], "three\n");
    nodes.wait_for_line("it is started again");
    nodes.wait_for_lines(" ready", 4);
    let deadline = Instant::now() + PATIENCE;
    while noted_pid(&data, 2) == second {
        assert!(Instant::now() < deadline, "the new process is not noted");
        std::thread::yield_now();
    }
    let read = client(base + 1, &["consume", "--topic", "flights", "--from-beginning", "--exit"], "");
    let mut read: Vec<&str> = read.lines().collect();
    read.sort_unstable();
    assert_eq!(read, ["one", "three", "two"]);
    nodes.signal(Signal::TERM);
    assert!(nodes.wait().success());
    // The directory keeps its nodes.
    let output = binary().args(["serve", "--nodes", "5", "-q", "--data-dir"]).arg(&data).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("a cluster of 3 nodes, not of 5"));
}

#[test]
fn nodes_end_with_the_one_who_started_them() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = three(free_ports(), &directory.path().join("data"));
    let pids: Vec<Pid> = (1..=3).map(|id| pid(&nodes, id)).collect();
    nodes.signal(Signal::KILL);
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) {
        assert!(Instant::now() < deadline, "nodes are left behind");
        std::thread::yield_now();
    }
}

/// One of three nodes that are started one by one, at a port for clients that the system gives.
fn one_of_three(base: u16, directory: &Path, id: u16) -> Command {
    let mut command = one_of_three_at(base, directory, id);
    command.args(["--listen", "127.0.0.1:0", "--http", "off"]);
    command
}

/// The same, without the addresses for clients and for the console.
pub fn one_of_three_at(base: u16, directory: &Path, id: u16) -> Command {
    let voters: Vec<String> = (0..3).map(|at| format!("{}@127.0.0.1:{}", at + 1, base + at)).collect();
    let voters = format!("controller.quorum.voters={}", voters.join(","));
    let mut command = binary();
    command
        .args(["serve", "--set", &voters])
        .args(["--set", &format!("node.id={id}"), "--data-dir"])
        .arg(directory.join(id.to_string()));
    command
}

/// Waits until all these nodes tell clients of node 3 at its address. A node may hang up as long as its disk waits for the others.
fn wait_for_address_of_third(nodes: [&Node; 3]) {
    let deadline = Instant::now() + PATIENCE;
    for node in nodes {
        let mut client = Client::new(node.connect());
        loop {
            let brokers = client.metadata_or_end(None).map(|told| told.brokers).unwrap_or_else(|| {
                client = Client::new(node.connect());
                Vec::new()
            });
            let third = brokers.iter().find(|broker| broker.node_id == 3);
            if third.is_some_and(|third| third.port == i32::from(nodes[2].address.port())) {
                break;
            }
            assert!(Instant::now() < deadline, "{} tells of {brokers:?}", node.address);
        }
    }
}

/// A word of the client that goes on, with what it prints.
fn client_that_goes_on(node: &Node, words: &[&str]) -> (Child, mpsc::Receiver<String>) {
    let mut child = binary()
        .args(words)
        .args(["--bootstrap-server", &node.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (said, lines) = mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
    (child, lines)
}

/// Clients that were told of a node at its old address go on at the new one; whom they began with is another node.
#[test]
fn a_node_that_comes_back_at_another_address_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let base = free_ports();
    let start = |id: u16| {
        let mut node = Node::spawn(one_of_three(base, directory.path(), id));
        let line = node.wait_for_line("Kafka clients");
        node.address = line.split_whitespace().last().unwrap().parse().expect("an address");
        node
    };
    let (one, two, three) = (start(1), start(2), start(3));
    wait_for_address_of_third([&one, &two, &three]);
    // Nobody else can serve it.
    client(one.address.port(), &["topic", "create", "flights", "--replica-assignment", "3"], "");
    let (mut producer, _) = client_that_goes_on(&one, &["produce", "--topic", "flights"]);
    let (mut consumer, read) =
        client_that_goes_on(&one, &["consume", "--topic", "flights", "--from-beginning"]);
    let mut lines = producer.stdin.take().unwrap();
    lines.write_all(b"before\n").unwrap();
    assert_eq!(read.recv_timeout(PATIENCE).unwrap(), "before");
    let old = three.address;
    three.signal(Signal::TERM);
    assert!(three.wait().success());
    // Kept from the new process, and given back before anybody can wait for an answer there.
    let taken = TcpListener::bind(old).ok();
    let three = start(3);
    drop(taken);
    assert_ne!(three.address, old);
    wait_for_address_of_third([&one, &two, &three]);
    lines.write_all(b"after\n").unwrap();
    drop(lines);
    assert_eq!(read.recv_timeout(PATIENCE).unwrap(), "after");
    assert!(producer.wait().unwrap().success());
    consumer.kill().unwrap();
    consumer.wait().unwrap();
}

/// Of versions that know of no disks, and of a cluster that keeps the way back to them open.
#[test]
fn an_emptied_data_directory_is_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let base = free_ports();
    let command = |id: u16| {
        let mut command = one_of_three(base, directory.path(), id);
        command.args(["--set", "sternpost.protocol.level.max=2"]);
        command
    };
    let (one, two) = (Node::spawn(command(1)), Node::spawn(command(2)));
    let three = Node::spawn(command(3));
    three.wait_for_lines("connected to node", 2);
    one.wait_for_line("connected to node 3");
    two.wait_for_line("connected to node 3");
    three.signal(Signal::TERM);
    assert!(three.wait().success());
    std::fs::remove_dir_all(directory.path().join("3")).unwrap();
    let output = command(3).arg("-q").output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    let error = words.lines().find(|line| line.starts_with("error: ")).expect("a sentence");
    assert!(error.contains("sent this node away") && error.contains("opened 1 times so far"), "{error}");
    one.wait_for_line("refused node 3");
}
