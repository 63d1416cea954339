//! A cluster of real processes, each on ports and in a directory of its own.

use crate::cluster::{client, free_ports, get, one_of_three_at, status_until};
use crate::node::{Node, PATIENCE, binary};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Nodes 1 to 3, and perhaps more: node 1 for clients at `base + 100`, each with its console.
pub struct Nodes {
    base: u16,
    pub directory: tempfile::TempDir,
    nodes: BTreeMap<u16, Node>,
    sets: &'static [&'static str],
}

impl Nodes {
    /// None yet. `sets`: settings of all of them.
    pub fn new(sets: &'static [&'static str]) -> Nodes {
        let (base, directory) = (free_ports(), tempfile::tempdir().unwrap());
        Nodes { base, directory, nodes: BTreeMap::new(), sets }
    }

    /// Three, and a topic.
    pub fn three(sets: &'static [&'static str]) -> Nodes {
        let mut three = Nodes::new(sets);
        (1..=3).for_each(|id| three.start_one(id));
        (1..=3).for_each(|id| three.ready(id));
        client(three.port(1), &["topic", "create", "flights", "--partitions", "4"], "");
        three.healthy();
        three
    }

    pub fn ready(&self, id: u16) {
        self.node(id).wait_for_line(" ready");
        let deadline = Instant::now() + PATIENCE;
        while !get(self.console(id), "/readyz").0.contains("200") {
            assert!(Instant::now() < deadline, "node {id} does not become ready");
        }
    }

    pub fn port(&self, id: u16) -> u16 {
        self.base + 99 + id
    }

    pub fn console(&self, id: u16) -> u16 {
        self.base + 9 + id
    }

    /// Where the others reach a node.
    pub fn address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base - 1 + id)
    }

    pub fn data(&self, id: u16) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    /// Starts a node; one that is none of the first three says where the others are to reach it.
    pub fn start_one(&mut self, id: u16) {
        let mut command = one_of_three_at(self.base, self.directory.path(), id);
        if id > 3 {
            command.args(["--set", &format!("sternpost.peer.listener={}", self.address(id))]);
        }
        self.start(id, command);
    }

    /// Starts a node by a command that lacks its ports.
    pub fn start(&mut self, id: u16, mut command: Command) {
        for set in self.sets {
            command.args(["--set", set]);
        }
        command.args(["--listen", &format!("127.0.0.1:{}", self.port(id))]);
        command.args(["--http", &format!("127.0.0.1:{}", self.console(id))]);
        self.nodes.insert(id, Node::spawn(command));
    }

    pub fn node(&self, id: u16) -> &Node {
        &self.nodes[&id]
    }

    pub fn stop_one(&mut self, id: u16, signal: Signal) {
        let node = self.nodes.remove(&id).unwrap();
        node.signal(signal);
        assert!(node.wait().success() || signal == Signal::KILL);
    }

    /// What node 1 tells once all is well.
    pub fn healthy(&self) -> Value {
        status_until(self.port(1), "healthy", true)
    }

    /// What a word prints that is said to these nodes, and what it says.
    pub fn say(&self, nodes: &[u16], words: &[&str]) -> (String, String) {
        let nodes: Vec<String> = nodes.iter().map(|id| format!("127.0.0.1:{}", self.port(*id))).collect();
        let output = binary().args(words).args(["--bootstrap-server", &nodes.join(",")]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    pub fn write(&self, at: u16, lines: &str) {
        client(self.port(at), &["produce", "--topic", "flights"], lines);
    }

    /// All records, sorted.
    pub fn read(&self, at: u16) -> Vec<String> {
        let words = ["consume", "--topic", "flights", "--from-beginning", "--exit"];
        let mut lines: Vec<String> =
            client(self.port(at), &words, "").lines().map(ToOwned::to_owned).collect();
        lines.sort_unstable();
        lines
    }
}
