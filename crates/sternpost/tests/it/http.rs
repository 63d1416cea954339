//! Metrics and health of a running node over HTTP.

use crate::node::{Client, Node, PATIENCE};
use crate::stop::produce;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

fn get(node: &Node, path: &str) -> String {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the metrics have this line.
pub fn wait_for_metric(node: &Node, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = get(node, "/metrics");
        if metrics.lines().any(|other| other == line) {
            return;
        }
        assert!(Instant::now() < deadline, "no {line} in {metrics}");
    }
}

#[test]
fn numbers_and_health() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&directory.path().join("data"), &[]);
    let mut client = Client::new(node.connect());
    client.make_topic("flights");
    client.ask(&produce("flights", b"record"), 9);
    assert!(get(&node, "/livez").starts_with("HTTP/1.1 200"));
    let ready = get(&node, "/readyz");
    let only = "safe to take the next node down: no\n- this is the only node\n";
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with(&format!("ready\n{only}")), "{ready}");
    assert!(get(&node, "/readyz/safe-to-stop").starts_with("HTTP/1.1 503"));
    let metrics = get(&node, "/metrics");
    for line in [
        "sternpost_node_ready 1",
        "sternpost_topics 1",
        "sternpost_append_batches_total 1",
        "sternpost_request_duration_seconds_count{api=\"Produce\"} 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|other| other == line), "no {line} in {metrics}");
    }
}
