//! Several real processes: `serve --nodes`, and what a node is told that is not who it says.

use crate::node::{Node, PATIENCE, binary};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// A port from which on so many others are free as three nodes want.
fn free_ports() -> u16 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no free ports");
        let base = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let wanted = [0, 1, 2, 10, 11, 12, 100, 101, 102];
        let is_free = |step: &u16| {
            base.checked_add(*step).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if wanted.iter().all(is_free) {
            return base;
        }
    }
}

/// A client's word against the node at that port; what it prints.
fn client(port: u16, words: &[&str], input: &str) -> String {
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

#[test]
fn three_nodes_on_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let base = free_ports();
    let nodes = three(base, &data);
    nodes.wait_for_lines(" ready", 3);
    client(base, &["topic", "create", "flights", "--partitions", "6"], "");
    client(base + 1, &["produce", "--topic", "flights"], "one\ntwo\n");
    kill_process(pid(&nodes, 2), Signal::KILL).unwrap();
    client(base, &["produce", "--topic", "flights"], "three\n");
    nodes.wait_for_line("it is started again");
    nodes.wait_for_lines(" ready", 4);
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

#[test]
fn an_emptied_data_directory_is_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let base = free_ports();
    let voters: Vec<String> = (0..3).map(|at| format!("{}@127.0.0.1:{}", at + 1, base + at)).collect();
    let voters = format!("controller.quorum.voters={}", voters.join(","));
    let command = |id: u16| {
        let mut command = binary();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "off", "--set", &voters])
            .args(["--set", &format!("node.id={id}"), "--data-dir"])
            .arg(directory.path().join(id.to_string()));
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
