//! Disks of real processes that are lost, damaged, replaced and put back.

use crate::cluster::{client, get, status_until};
use crate::node::PATIENCE;
use crate::nodes::Nodes;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// What the word prints, and what it says.
fn replace(c: &Nodes, flags: &[&str]) -> (String, String) {
    c.say(&[3, 1], &[&["cluster", "replace-node", "3"], flags].concat())
}

/// The id of node 3's disk. A new cluster is healthy a little before its catalogue names the disks.
fn disk_of_third(c: &Nodes) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = c.healthy();
        if let Some(disk) = told["quorum"]["voters"][2]["directory"].as_str() {
            return disk.to_owned();
        }
        assert!(Instant::now() < deadline, "node 3's disk is not named: {told}");
    }
}

fn waits(c: &Nodes) {
    c.node(3).wait_for_line("is new here and takes no part");
    let (line, body) = get(c.console(3), "/readyz");
    assert!(line.contains("503") && body.contains("`sternpost cluster replace-node 3`"), "{body}");
    assert_eq!(c.node(3).count_lines("cannot mark"), 0, "nothing on it is touched");
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
    let mut c = Nodes::three(&[]);
    c.write(1, "one\n");
    let first = disk_of_third(&c);
    let (_, error) = replace(&c, &[]);
    assert!(error.contains("start the node on an empty data directory first"), "{error}");
    c.stop_one(3, Signal::KILL);
    let kept = c.directory.path().join("kept");
    fs::rename(c.data(3), &kept).unwrap();
    c.write(1, "two\n");
    c.start_one(3);
    waits(&c);
    let told = status_until(c.port(1), "healthy", false);
    assert!(told["ills"].to_string().contains("`sternpost cluster replace-node 3`"), "{told}");
    let (said, error) = replace(&c, &["--dry-run"]);
    assert!(said.contains("dry run") && said.contains(&first), "{said} {error}");
    assert_eq!(get(c.console(3), "/readyz").0, "HTTP/1.1 503 Service Unavailable");
    let (said, error) = replace(&c, &["--output", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said} {error}"));
    assert_eq!((&said["replaced_disk"], &said["node"]), (&first.as_str().into(), &3.into()));
    let second = disk_of_third(&c);
    assert_eq!(said["disk"], second.as_str());
    // It is one of a majority now.
    c.stop_one(2, Signal::KILL);
    c.write(1, "three\n");
    c.start_one(2);
    c.healthy();
    // The old one is found after all: nothing of it counts.
    c.stop_one(3, Signal::TERM);
    fs::remove_dir_all(c.data(3)).unwrap();
    copy(&kept, &c.data(3));
    c.start_one(3);
    c.node(3).wait_for_line("another disk has taken this one's place");
    waits(&c);
    assert!(c.data(3).join("quarantine").read_dir().unwrap().next().is_some(), "it is kept");
    let (said, error) = replace(&c, &["--wait"]);
    assert!(said.contains(&second) && said.contains("it has everything and votes"), "{said} {error}");
    let told: Value =
        serde_json::from_str(&client(c.port(1), &["cluster", "status", "--output", "json"], "")).unwrap();
    assert_eq!((&told["healthy"], &told["catching_up"]), (&true.into(), &Value::Array(Vec::new())));
    assert_ne!(disk_of_third(&c), second);
    assert_eq!(c.read(1), ["one", "three", "two"]);
}

/// A log that is damaged where it counts holds up nothing: its node comes back empty and gets all from the others.
#[test]
fn a_damaged_log_is_replaced_by_itself() {
    let mut c = Nodes::three(&[]);
    let before = disk_of_third(&c);
    c.write(1, "one\ntwo\n");
    c.write(1, "three\n");
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
    assert_ne!(disk_of_third(&c), before);
    c.stop_one(2, Signal::KILL);
    c.write(1, "four\n");
    assert_eq!(c.read(1), ["four", "one", "three", "two"]);
}
