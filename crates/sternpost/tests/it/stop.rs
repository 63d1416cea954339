//! Stopping in good order, and what a client sees of it.

use crate::node::{Client, Node};
use kafka::frame::decode_response;
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka::message::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka::records::{BatchBuilder, Codec, NewRecord};
use rustix::process::Signal;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One batch of one record.
pub fn produce(topic: &str, value: &[u8]) -> ProduceRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(&NewRecord { timestamp: now, key: None, value: Some(value), headers: &[] });
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(batch.build().unwrap()) }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Everything of partition 0 from the start, waiting `wait_ms` for `bytes_min`.
pub fn fetch(topic: &str, wait_ms: i32, bytes_min: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: bytes_min,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition: 0,
                partition_max_bytes: 50 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// End of partition 0.
fn end_offset(client: &mut Client, topic: &str) -> i64 {
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: topic.into(), partitions: vec![partition] }];
    let answer = client.ask(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, 4);
    answer.topics[0].partitions[0].offset
}

#[test]
fn a_signal_stops_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = Node::start(&data, &[]);
    let mut client = Client::new(node.connect());
    client.make_topic("flights");
    let answer = client.ask(&produce("flights", b"one"), 9);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    // A long poll that nobody will fill, and a record on its way.
    let mut waiting = Client::new(node.connect());
    waiting.send(&fetch("flights", 50_000, 1 << 20), 11);
    let sent = client.send(&produce("flights", b"two"), 9);
    let (id, answer) = decode_response::<ProduceRequest>(client.receive().unwrap(), 9).unwrap();
    assert_eq!(id, sent);
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1);
    let start = Instant::now();
    node.signal(Signal::TERM);
    let address = node.address;
    assert!(node.wait().success());
    assert!(start.elapsed() < Duration::from_secs(20), "the long poll must not hold up the stop");
    assert!(std::net::TcpStream::connect(address).is_err());
    while waiting.receive().is_some() {}

    let node = Node::start(&data, &[]);
    let mut client = Client::new(node.connect());
    client.make_topic("flights");
    assert_eq!(end_offset(&mut client, "flights"), 2);
}

#[test]
fn a_kill_loses_nothing_acknowledged() {
    kills(&[]);
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    kills(&["--disk-shim"]);
}

/// Kills a node with records on their way, again and again.
fn kills(flags: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut acknowledged = 0;
    for _ in 0..3 {
        let node = Node::start_with(flags, &data, &[]);
        let mut client = Client::new(node.connect());
        client.make_topic("flights");
        assert!(end_offset(&mut client, "flights") >= acknowledged);
        for _ in 0..50 {
            let answer = client.ask(&produce("flights", b"record"), 9);
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!(partition.error_code, 0);
            acknowledged = partition.base_offset + 1;
        }
        for _ in 0..5 {
            client.send(&produce("flights", b"record"), 9);
        }
        node.signal(Signal::KILL);
        assert!(!node.wait().success());
    }
}
