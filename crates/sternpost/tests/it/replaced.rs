//! Disks of real processes that are lost, damaged, replaced and put back.

use crate::cluster::{client, free_ports, get, one_of_three_at, status_until};
use crate::node::{Node, PATIENCE, binary};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Three nodes, node 1 for clients at `base + 100`, each with its console.
struct Three {
    base: u16,
    directory: tempfile::TempDir,
    nodes: [Option<Node>; 3],
}

impl Three {
    fn start() -> Three {
        let (base, directory) = (free_ports(), tempfile::tempdir().unwrap());
        let mut three = Three { base, directory, nodes: [None, None, None] };
        (1..=3).for_each(|id| three.start_one(id));
        (1..=3).for_each(|id| three.ready(id));
        client(three.port(1), &["topic", "create", "flights", "--partitions", "4"], "");
        three.healthy();
        three
    }

    fn ready(&self, id: u16) {
        self.node(id).wait_for_line(" ready");
        let deadline = Instant::now() + PATIENCE;
        while !get(self.console(id), "/readyz").0.contains("200") {
            assert!(Instant::now() < deadline, "node {id} does not become ready");
        }
    }

    fn port(&self, id: u16) -> u16 {
        self.base + 99 + id
    }

    fn console(&self, id: u16) -> u16 {
        self.base + 9 + id
    }

    fn data(&self, id: u16) -> std::path::PathBuf {
        self.directory.path().join(id.to_string())
    }

    fn start_one(&mut self, id: u16) {
        let mut command = one_of_three_at(self.base, self.directory.path(), id);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port(id))]);
        command.args(["--http", &format!("127.0.0.1:{}", self.console(id))]);
        self.nodes[usize::from(id) - 1] = Some(Node::spawn(command));
    }

    fn node(&self, id: u16) -> &Node {
        self.nodes[usize::from(id) - 1].as_ref().unwrap()
    }

    fn stop_one(&mut self, id: u16, signal: Signal) {
        let node = self.nodes[usize::from(id) - 1].take().unwrap();
        node.signal(signal);
        assert!(node.wait().success() || signal == Signal::KILL);
    }

    fn healthy(&self) -> Value {
        status_until(self.port(1), "healthy", true)
    }

    fn write(&self, lines: &str) {
        client(self.port(1), &["produce", "--topic", "flights"], lines);
    }

    fn read(&self) -> Vec<String> {
        let words = ["consume", "--topic", "flights", "--from-beginning", "--exit"];
        let mut lines: Vec<String> =
            client(self.port(1), &words, "").lines().map(ToOwned::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// What the word prints, and what it says.
    fn replace(&self, flags: &[&str]) -> (String, String) {
        let output = binary()
            .args(["cluster", "replace-node", "3", "--bootstrap-server"])
            .arg(format!("127.0.0.1:{},127.0.0.1:{}", self.port(3), self.port(1)))
            .args(flags)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// A new cluster is healthy a little before its catalogue names the disks.
    fn disk_of_third(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.healthy();
            if let Some(disk) = told["quorum"]["voters"][2]["directory"].as_str() {
                return disk.to_owned();
            }
            assert!(Instant::now() < deadline, "node 3's disk is not named: {told}");
        }
    }

    fn waits(&self, id: u16) {
        self.node(id).wait_for_line("is new here and takes no part");
        let (line, body) = get(self.console(id), "/readyz");
        assert!(line.contains("503") && body.contains("`sternpost cluster replace-node 3`"), "{body}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_lost_disk_is_replaced_at_a_word_and_an_old_one_sent_away() {
    let mut c = Three::start();
    c.write("one\n");
    let first = c.disk_of_third();
    let (_, error) = c.replace(&[]);
    assert!(error.contains("start the node on an empty data directory first"), "{error}");
    c.stop_one(3, Signal::KILL);
    let kept = c.directory.path().join("kept");
    fs::rename(c.data(3), &kept).unwrap();
    c.write("two\n");
    c.start_one(3);
    c.waits(3);
    let told = status_until(c.port(1), "healthy", false);
    assert!(told["ills"].to_string().contains("`sternpost cluster replace-node 3`"), "{told}");
    let (said, error) = c.replace(&["--dry-run"]);
    assert!(said.contains("dry run") && said.contains(&first), "{said} {error}");
    assert_eq!(get(c.console(3), "/readyz").0, "HTTP/1.1 503 Service Unavailable");
    let (said, error) = c.replace(&["--output", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said} {error}"));
    assert_eq!((&said["replaced_disk"], &said["node"]), (&first.as_str().into(), &3.into()));
    let second = c.disk_of_third();
    assert_eq!(said["disk"], second.as_str());
    // It is one of a majority now.
    c.stop_one(2, Signal::KILL);
    c.write("three\n");
    c.start_one(2);
    c.healthy();
    // The old one is found after all: nothing of it counts.
    c.stop_one(3, Signal::TERM);
    fs::remove_dir_all(c.data(3)).unwrap();
    copy(&kept, &c.data(3));
    c.start_one(3);
    c.node(3).wait_for_line("another disk has taken this one's place");
    c.waits(3);
    assert!(c.data(3).join("quarantine").read_dir().unwrap().next().is_some(), "it is kept");
    let (said, error) = c.replace(&["--wait"]);
    assert!(said.contains(&second) && said.contains("it has everything and votes"), "{said} {error}");
    let told: Value =
        serde_json::from_str(&client(c.port(1), &["cluster", "status", "--output", "json"], "")).unwrap();
    assert_eq!((&told["healthy"], &told["catching_up"]), (&true.into(), &Value::Array(Vec::new())));
    assert_ne!(c.disk_of_third(), second);
    assert_eq!(c.read(), ["one", "three", "two"]);
}

/// A log that is damaged where it counts holds up nothing: its node comes back empty and gets all from the others.
#[test]
fn a_damaged_log_is_replaced_by_itself() {
    let mut c = Three::start();
    let before = c.disk_of_third();
    c.write("one\ntwo\n");
    c.write("three\n");
    c.stop_one(3, Signal::KILL);
    let wal = c.data(3).join("wal");
    let files = fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path());
    let oldest = files.filter(|path| path.extension().is_some_and(|end| end == "wal")).min().expect("a log");
    let file = fs::File::options().write(true).open(&oldest).unwrap();
    file.write_all_at(&[0xa5; 512], 8 << 10).unwrap();
    c.start_one(3);
    c.node(3).wait_for_line("the log is damaged");
    c.node(3).wait_for_line("the disk takes part from now on");
    c.healthy();
    assert_ne!(c.disk_of_third(), before);
    c.stop_one(2, Signal::KILL);
    c.write("four\n");
    assert_eq!(c.read(), ["four", "one", "three", "two"]);
}
