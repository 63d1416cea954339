//! Segments that are damaged under running processes are whole again by themselves.

use crate::cluster::{client, free_ports, get};
use crate::node::{Node, PATIENCE, binary};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const RECORDS: usize = 6_000;

/// The segments in a node's data directory, the oldest of each partition first.
fn segments(node: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![node.join("segments")];
    while let Some(at) = open.pop() {
        let Ok(names) = fs::read_dir(&at) else { continue };
        for entry in names.map(|entry| entry.unwrap()) {
            match entry.path() {
                path if entry.file_type().unwrap().is_dir() => open.push(path),
                path if path.extension().is_some_and(|end| end == "seg") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The value of a metric of the node at that port.
fn metric(port: u16, name: &str) -> u64 {
    let (_, body) = get(port, "/metrics");
    let line = body.lines().find(|line| line.starts_with(&format!("{name} ")));
    let value = line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("no {name}"));
    value.parse::<f64>().unwrap() as u64
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Whatever is done to the files of one node: it goes on, the damage is found by the scrub and mended from the others, the damaged
/// bytes are kept, and in the end every byte of every node is whole.
#[test]
fn damaged_segments_are_whole_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let base = free_ports();
    let mut command = binary();
    command
        .args(["serve", "--nodes", "3", "--listen", &format!("127.0.0.1:{base}")])
        .args(["--http", &format!("127.0.0.1:{}", base + 10)])
        .args(["--set", "sternpost.scrub.interval.ms=50", "--set", "sternpost.checkpoint.bytes=1048576"])
        .arg("--data-dir")
        .arg(&data);
    let nodes = Node::spawn(command);
    nodes.wait_for_lines(" ready", 3);
    client(base, &["topic", "create", "flights", "--partitions", "1"], "");
    let lines: Vec<String> = (0..RECORDS).map(|number| format!("{number:0600}")).collect();
    client(base, &["produce", "--topic", "flights"], &lines.join("\n"));
    let read = || client(base, &["consume", "--topic", "flights", "--from-beginning", "--exit"], "");
    let whole = read();
    assert_eq!(whole.lines().count(), RECORDS);
    for id in 1..=3 {
        let node = data.join(format!("node{id}"));
        until("records are in a segment", || {
            segments(&node).iter().any(|path| path.metadata().is_ok_and(|meta| meta.len() > 1 << 20))
        });
        let path = segments(&node).remove(0);
        let http = base + 10 + id - 1;
        let harms: [&dyn Fn(); 5] = [
            &|| flip(&path, 0),       // the segment's header
            &|| flip(&path, 4_100),   // a block's
            &|| flip(&path, 300_000), // a record
            &|| fs::File::options().write(true).open(&path).unwrap().set_len(500_000).unwrap(),
            &|| fs::remove_file(&path).unwrap(),
        ];
        for (done, harm) in harms.iter().enumerate() {
            harm();
            until("it is mended", || metric(http, "sternpost_mended_segments_total") > done as u64);
            assert!(read() == whole, "harm {done} to node {id}");
        }
        for done in 0..2 {
            let mut logs: Vec<PathBuf> = fs::read_dir(node.join("wal"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|end| end == "wal"))
                .collect();
            logs.sort();
            let log = logs.last().unwrap();
            flip(log, [20, 4_130][done]); // the headers of the file and of its first commit
            until("the log is written anew", || {
                metric(http, "sternpost_log_renewals_total") > done as u64 && !log.exists()
            });
        }
        assert_eq!(metric(http, "sternpost_damaged_segments"), 0);
        assert!(fs::read_dir(node.join("quarantine")).unwrap().count() >= 2);
    }
    nodes.signal(Signal::TERM);
    assert!(nodes.wait().success());
    for id in 1..=3 {
        let output =
            binary().args(["inspect", "--data-dir"]).arg(data.join(format!("node{id}"))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
