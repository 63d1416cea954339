//! What hostile connections can make grow, and that an honest client beside them does not notice.

use crate::http::wait_for_metric;
use crate::node::{Client, Node, PATIENCE, read_to_end};
use crate::stop::{fetch, produce};
use kafka::message::api_versions::ApiVersionsRequest;
use rustix::process::Signal;
use std::io::Write;
use std::time::{Duration, Instant};

/// Longest answer time that an honest client may see on a busy test machine.
const HONEST_MAX: Duration = Duration::from_secs(5);

fn start(settings: &[&str]) -> (tempfile::TempDir, Node) {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&directory.path().join("data"), settings);
    node.honest_question();
    (directory, node)
}

fn honest(node: &Node) {
    let took = node.honest_question();
    assert!(took < HONEST_MAX, "an honest client waited {took:?}");
}

#[test]
fn unknown_keys_and_garbage_end_the_connection() {
    let (_directory, node) = start(&[]);
    for frame in [
        &[0x7f, 0xff, 0, 0, 0, 0, 0, 1][..],
        &[0, 3, 0x7f, 0xff, 0, 0, 0, 1],
        &[0],
        &[0, 0, 0, 9, 0, 0, 0, 1, 0xff],
    ] {
        let mut stream = node.connect();
        stream.write_all(&(frame.len() as i32).to_be_bytes()).unwrap();
        stream.write_all(frame).unwrap();
        read_to_end(&mut stream);
    }
    // A flood of them is a few lines.
    for _ in 0..300 {
        let mut stream = node.connect();
        stream.write_all(&[0, 0, 0, 1, 0]).unwrap();
        read_to_end(&mut stream);
    }
    honest(&node);
    assert!(node.count_lines("closed the connection") < 300);
}

#[test]
fn half_frames_take_no_memory_and_end() {
    let (_directory, node) = start(&["sternpost.frame.timeout.ms=3000"]);
    let before = node.resident_bytes();
    let mut streams: Vec<_> = (0..400)
        .map(|_| {
            let mut stream = node.connect();
            stream.write_all(&100_000_000_i32.to_be_bytes()).unwrap();
            stream.write_all(&[0; 1000]).unwrap();
            stream
        })
        .collect();
    honest(&node);
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 400 * (64 << 10), "{grown} bytes for 400 half frames");
    for stream in &mut streams {
        assert_eq!(read_to_end(stream), 0);
    }
    node.wait_for_line("did not become whole in time");
    honest(&node);
}

#[test]
fn connections_that_come_and_go() {
    let (_directory, node) = start(&[]);
    let before = node.resident_bytes();
    for round in 0..3000 {
        let mut stream = node.connect();
        if round % 3 == 0 {
            stream.write_all(&[0, 0, 1]).unwrap();
        }
    }
    honest(&node);
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes after the flood");
}

#[test]
fn requests_of_clients_that_are_gone_are_left_out() {
    let (_directory, node) = start(&[]);
    Client::new(node.connect()).make_topic("flights");
    let asked_for: [(i16, &str); 2] = [(-1, "needs its answer"), (1, "is content without one")];
    let mut clients = asked_for.map(|_| Client::new(node.connect()));
    clients.iter_mut().for_each(|client| drop(client.metadata(None)));
    node.pause();
    for (client, (acks, value)) in clients.iter_mut().zip(asked_for) {
        let mut request = produce("flights", value.as_bytes());
        request.acks = acks;
        client.send(&request, 9);
    }
    clients[0].send(&fetch("flights", 0, 1), 11);
    drop(clients);
    node.signal(Signal::CONT);
    wait_for_metric(&node, "sternpost_requests_left_out_total 2");
    wait_for_metric(&node, "sternpost_append_batches_total 1");
    let mut client = Client::new(node.connect());
    assert_eq!(
        client.ask(&produce("flights", b"the next"), 9).responses[0].partition_responses[0].base_offset,
        1
    );
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    let (_directory, node) = start(&["connections.max.idle.ms=1000"]);
    let mut idle = node.connect();
    let mut busy = Client::new(node.connect());
    let start = Instant::now();
    let mut fetches = 0;
    busy.make_topic("quiet");
    while start.elapsed() < Duration::from_secs(3) {
        // A long poll longer than the idle time: waiting is not idleness.
        busy.ask(&fetch("quiet", 1500, 1), 11);
        fetches += 1;
    }
    assert!(fetches >= 2);
    assert_eq!(read_to_end(&mut idle), 0);
}

#[test]
fn many_idle_connections_are_cheap() {
    const COUNT: usize = 1000;
    let (_directory, node) = start(&[]);
    let before = node.resident_bytes();
    let mut clients: Vec<_> = (0..COUNT)
        .map(|_| {
            let mut client = Client::new(node.connect());
            client.ask(&ApiVersionsRequest::default(), 0);
            client
        })
        .collect();
    let each = node.resident_bytes().saturating_sub(before) / COUNT;
    assert!(each < 16 << 10, "{each} bytes for an idle connection");
    clients[COUNT / 2].metadata(None);
    honest(&node);
}

#[test]
fn more_connections_than_allowed_are_closed() {
    let (_directory, node) = start(&["max.connections=5"]);
    let mut clients: Vec<_> = Vec::new();
    // The connection of the start-up question may still be counted for a moment.
    let deadline = Instant::now() + PATIENCE;
    while clients.len() < 5 {
        assert!(Instant::now() < deadline);
        let mut client = Client::new(node.connect());
        client.send(&ApiVersionsRequest::default(), 0);
        if client.receive().is_some() {
            clients.push(client);
        }
    }
    let mut sixth = node.connect();
    assert_eq!(read_to_end(&mut sixth), 0);
    node.wait_for_line("max.connections is reached");
    clients[0].metadata(None);
}

#[test]
fn a_reader_that_takes_nothing_is_let_go() {
    let (_directory, node) = start(&["sternpost.write.timeout.ms=1000"]);
    let mut writer = Client::new(node.connect());
    writer.make_topic("large");
    let value = vec![7; 900_000];
    for _ in 0..16 {
        let answer = writer.ask(&produce("large", &value), 9);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let before = node.resident_bytes();
    let mut slow = Client::new(node.connect());
    for _ in 0..50 {
        slow.send(&fetch("large", 1000, 1), 11);
    }
    node.wait_for_line("does not take its answers");
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for one slow reader");
    honest(&node);
}

#[test]
fn half_frames_beyond_the_nodes_limit_go_first() {
    // The time for a frame is long, yet with the pool of half frames full whoever stands still for a second is let go.
    let (_directory, node) =
        start(&["queued.max.request.bytes=1048576", "sternpost.frame.timeout.ms=600000"]);
    let mut streams: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = node.connect();
            stream.write_all(&1_000_000_i32.to_be_bytes()).unwrap();
            stream.write_all(&vec![0; 100_000]).unwrap();
            stream
        })
        .collect();
    honest(&node);
    let mut client = Client::new(node.connect());
    client.make_topic("honest");
    let answer = client.ask(&produce("honest", &vec![1; 500_000]), 9);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    node.wait_for_line("did not become whole in time");
    // As much as the limit allows may stay, the rest is closed.
    let kept = streams.len().min((1 << 20) / 100_000 + 1);
    let deadline = Instant::now() + PATIENCE;
    let mut open = streams.len();
    while open > kept {
        assert!(Instant::now() < deadline, "{open} half frames stay");
        honest(&node);
        streams.retain_mut(|stream| {
            stream.set_nonblocking(true).unwrap();
            matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        open = streams.len();
    }
}
