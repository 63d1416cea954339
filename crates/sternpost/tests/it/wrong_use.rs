//! Wrong use: one clear sentence, an exit code other than 0, nothing changed.

use crate::node::{Node, binary};
use rustix::process::Signal;
use std::path::Path;

/// Runs `serve` with these arguments; it must refuse. Its words.
fn refused(arguments: &[&str]) -> String {
    let output = binary().arg("serve").args(["--quiet"]).args(arguments).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{words}");
    assert!(output.stdout.is_empty());
    words
}

fn one_sentence(words: &str, part: &str) {
    assert!(words.starts_with("error: "), "{words}");
    assert!(words.contains(part), "{words}");
    assert_eq!(words.trim_end().lines().count(), 1, "{words}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_taken_port() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().join("data");
    one_sentence(
        &refused(&["--listen", &address, "--http", "off", "--data-dir", text(&data)]),
        "another process uses that port",
    );
    one_sentence(
        &refused(&["--listen", "127.0.0.1:0", "--http", &address, "--data-dir", text(&data)]),
        "another process uses that port",
    );
    assert!(!data.exists());
}

#[test]
fn a_directory_of_something_else() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("meta.properties"), "version=1\n").unwrap();
    let words = refused(&["--listen", "127.0.0.1:0", "--http", "off", "--data-dir", text(directory.path())]);
    one_sentence(&words, "meta.properties");
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["meta.properties"]);
}

#[test]
fn a_path_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let below = file.join("data");
    for path in [&file, &below] {
        one_sentence(
            &refused(&["--listen", "127.0.0.1:0", "--http", "off", "--data-dir", text(path)]),
            text(path),
        );
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a directory");
}

#[test]
fn a_directory_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = Node::start(&data, &[]);
    one_sentence(
        &refused(&["--listen", "127.0.0.1:0", "--http", "off", "--data-dir", text(&data)]),
        "in use by another process",
    );
    node.honest_question();
}

#[test]
fn settings_that_make_no_sense() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let refuse = |arguments: &[&str], part: &str| {
        let mut all = vec!["--data-dir", text(&data)];
        all.extend(arguments);
        one_sentence(&refused(&all), part);
    };
    refuse(&["--set", "log.retention.msec=5"], "did you mean log.retention.ms?");
    refuse(&["--set", "num.partitions=-1"], "1 or more");
    refuse(&["--set", "listeners=:1", "--listen", ":2"], "given twice");
    refuse(&["--set", "log.dirs=/elsewhere"], "given twice");
    refuse(&["--listen", "nowhere"], "host:port");
    refuse(&["--listen", "SASL_SSL://:9093"], "only PLAINTEXT");
    refuse(&["--config", "/no/such/file.toml"], "cannot read");
    assert!(!data.exists());
    let words = refused(&["--no-such-option"]);
    assert!(words.contains("--no-such-option"), "{words}");
}

#[test]
fn clusters_that_make_no_sense() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let refuse = |arguments: &[&str], part: &str| {
        let mut all = vec!["--data-dir", text(&data)];
        all.extend(arguments);
        one_sentence(&refused(&all), part);
    };
    const THREE: &str = "controller.quorum.voters=1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3";
    refuse(&["--set", THREE], "node.id must say which");
    refuse(&["--set", THREE, "--set", "node.id=4"], "not among the nodes");
    refuse(&["--set", "controller.quorum.voters=1@a:1,2@b:2", "--set", "node.id=1"], "1, 3 or 5 nodes");
    refuse(&["--set", "sternpost.cluster.id=short"], "22 characters");
    refuse(&["--nodes", "3", "--set", "node.id=1"], "node.id is set as well");
    refuse(&["--nodes", "3", "--set", THREE, "--set", "node.id=1"], "set as well");
    refuse(&["--nodes", "3", "--listen", "127.0.0.1:0"], "needs 3 ports");
    // A port that only the third node wants, for its peers.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("127.0.0.1:{}", taken.local_addr().unwrap().port() - 102);
    refuse(&["--nodes", "3", "--listen", &listen, "--http", "off"], "another process uses that port");
    assert!(!data.exists());
    assert!(refused(&["--nodes", "4"]).contains("3 or 5 nodes"));
}

#[test]
fn a_directory_of_another_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    const ID: &str = "AAECAwQFBgcICQoLDA0ODw";
    let node = Node::start(&data, &[&format!("sternpost.cluster.id={ID}")]);
    node.wait_for_line(ID);
    node.signal(Signal::TERM);
    assert!(node.wait().success());
    let words = refused(&[
        "--listen",
        "127.0.0.1:0",
        "--http",
        "off",
        "--data-dir",
        text(&data),
        "--set",
        "sternpost.cluster.id=BBECAwQFBgcICQoLDA0ODw",
    ]);
    one_sentence(&words, ID);
    // Without the setting it keeps its own.
    Node::start(&data, &[]).wait_for_line(ID);
}

#[test]
fn another_nodes_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = Node::start(&data, &["node.id=1"]);
    node.signal(Signal::TERM);
    assert!(node.wait().success());
    let words = refused(&[
        "--listen",
        "127.0.0.1:0",
        "--http",
        "off",
        "--data-dir",
        text(&data),
        "--set",
        "node.id=2",
    ]);
    one_sentence(&words, "belongs to node 1");
}
