//! Attacks on what a frame holds: lists and texts that lie, names that are none, numbers beyond all sense.

use super::{Scene, attacks};
use crate::node::{Client, read_to_end};
use kafka::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use kafka::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka::message::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka::message::metadata::{MetadataRequest, MetadataRequestTopic};
use model::ErrorCode;
use std::io::Write;

attacks! {
    lists_longer_than_the_request: [], "is malformed";
    texts_varints_and_tags_that_are_none: [], "is malformed";
    odd_topic_names: [], "";
    a_million_topics_in_one_metadata_request: [], "Metadata request names 1000000 things";
    a_hundred_thousand_unknown_topics: [], "";
    a_million_partitions: [], "";
    all_the_partitions_that_there_may_be: [], "";
    fetches_of_everything_from_nowhere: [], "";
    timestamps_out_of_time: [], "";
}

/// Sends a request of raw bytes behind a header of version 1; the node must close the connection without an answer.
fn refused(scene: &Scene, key: i16, version: i16, body: &[u8]) {
    let mut stream = scene.node.connect();
    let mut frame = (10 + body.len() as i32).to_be_bytes().to_vec();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0xff, 0xff]);
    frame.extend(body);
    stream.write_all(&frame).expect("the node reads");
    assert_eq!(read_to_end(&mut stream), 0, "key {key}, version {version}, {body:?}");
}

fn lists_longer_than_the_request(scene: &Scene) {
    for (key, version) in [(3, 1), (19, 2), (15, 0), (42, 0), (20, 1)] {
        for count in [i32::MAX, 1 << 20, i32::MIN] {
            refused(scene, key, version, &count.to_be_bytes());
        }
    }
}

fn texts_varints_and_tags_that_are_none(scene: &Scene) {
    // FindCoordinator 0: a key that is no text, one that is null, one that ends behind the frame.
    for body in [&[0, 1, 0xc3][..], &[0xff, 0xff], &[0x7f, 0xff, b'a']] {
        refused(scene, 10, 0, body);
    }
    // FindCoordinator 3: a tag twice, tags out of order, a varint of six bytes, more tags than a message has, tags in a
    // tag that is longer than the frame.
    let many: Vec<u8> = [0, 1, 0, 0xff, 0xff, 0x03].into_iter().chain((0..65_000).map(|_| 0)).collect();
    for body in [
        &[0, 1, 0, 2, 5, 0, 5, 0][..],
        &[0, 1, 0, 2, 5, 0, 4, 0],
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[0, 1, 0, 1, 9, 0xff, 0xff, 0xff, 0xff, 0x07],
        &many,
    ] {
        refused(scene, 10, 3, body);
    }
}

fn create(client: &mut Client, name: &str, partitions: i32) -> i16 {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
    client.ask(&request, 5).topics[0].error_code
}

fn odd_topic_names(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    let long = "x".repeat(250);
    let odd =
        ["", ".", "..", "a/b", "../../etc", "a\0b", "a\nWARN forged line", "ｔopic", "tоpic", "a b", &long];
    for name in odd {
        assert_eq!(create(&mut client, name, 1), ErrorCode::InvalidTopicException.code(), "{name:?}");
        // Naming it in a metadata request makes it neither.
        let answer = client.metadata(Some(name));
        assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidTopicException.code(), "{name:?}");
    }
    let mut stranger = Client::new(scene.node.connect());
    stranger.stream.write_all(&[0, 0, 0, 24, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0, 14]).expect("the node reads");
    stranger.stream.write_all(b"x\nforged line.").expect("the node reads");
    assert_eq!(read_to_end(&mut stranger.stream), 0);
    assert_eq!(scene.node.count_lines("forged line"), 0, "nobody writes lines into the log");
}

fn metadata_of(count: usize, name: impl Fn(usize) -> String, creating: bool) -> MetadataRequest {
    let topic =
        |at| MetadataRequestTopic { name: Some(name(at).as_str().into()), ..MetadataRequestTopic::default() };
    MetadataRequest {
        topics: Some((0..count).map(topic).collect()),
        allow_auto_topic_creation: creating,
        ..Default::default()
    }
}

fn a_million_topics_in_one_metadata_request(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    client.send(&metadata_of(1_000_000, |_| "t".into(), true), 9);
    assert!(client.receive().is_none(), "no answer");
}

fn a_hundred_thousand_unknown_topics(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    let answer = client.ask(&metadata_of(100_000, |at| format!("t{at}"), false), 9);
    assert_eq!(answer.topics.len(), 100_000);
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert!(answer.topics.iter().all(|topic| topic.error_code == unknown));
}

fn a_million_partitions(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    for count in [1_000_000, i32::MAX, 0, -2, i32::MIN] {
        assert_eq!(create(&mut client, "million", count), ErrorCode::InvalidPartitions.code());
    }
    client.make_topic("grown");
    let topic = CreatePartitionsTopic { name: "grown".into(), count: 1_000_000, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 60_000, validate_only: false };
    assert_eq!(client.ask(&request, 1).results[0].error_code, ErrorCode::InvalidPartitions.code());
}

/// One topic with nearly as many partitions as the node takes, then one too many.
fn all_the_partitions_that_there_may_be(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    let outcome = create(&mut client, "all", 199_000);
    let known = [ErrorCode::None, ErrorCode::TopicAlreadyExists, ErrorCode::RequestTimedOut];
    assert!(known.iter().any(|code| code.code() == outcome), "{outcome}");
    assert_eq!(create(&mut client, "more", 100_000), ErrorCode::InvalidPartitions.code());
}

fn fetches_of_everything_from_nowhere(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    client.make_topic("honest");
    let mut fetch = |topic: &str, index, offset, bytes_min| {
        let partition = FetchPartition {
            partition: index,
            fetch_offset: offset,
            partition_max_bytes: i32::MAX,
            ..Default::default()
        };
        let topic = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: bytes_min,
            max_bytes: i32::MAX,
            topics: vec![topic],
            ..Default::default()
        };
        client.ask(&request, 11).responses[0].partitions[0].error_code
    };
    assert_eq!(fetch("honest", 0, 0, i32::MAX), 0, "what there is, when the time is over");
    for offset in [-1, i64::MIN, i64::MAX, 1 << 40] {
        assert_eq!(fetch("honest", 0, offset, 1), ErrorCode::OffsetOutOfRange.code());
    }
    for index in [-1, i32::MIN, i32::MAX] {
        assert_eq!(fetch("honest", index, 0, i32::MIN), ErrorCode::UnknownTopicOrPartition.code());
    }
    assert_eq!(fetch("../../etc/passwd", 0, 0, 1), ErrorCode::UnknownTopicOrPartition.code());
}

fn timestamps_out_of_time(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    client.make_topic("honest");
    for (timestamp, found) in [(i64::MAX, false), (0, true), (1 << 50, false)] {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "honest".into(), partitions: vec![partition] }];
        let answer = client.ask(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, 4);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.offset >= 0), (0, found), "{timestamp}");
    }
    for timestamp in [i64::MIN, -100] {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "honest".into(), partitions: vec![partition] }];
        let answer = client.ask(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, 4);
        let partition = &answer.topics[0].partitions[0];
        assert!(partition.error_code != 0 && partition.offset == -1, "{timestamp}: {partition:?}");
    }
}
