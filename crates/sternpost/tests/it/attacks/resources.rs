//! Attacks on what a node has: connections, memory for answers, groups, producer ids, sessions.

use super::{Scene, attacks};
use crate::node::{Client, PATIENCE, read_to_end};
use crate::stop::{fetch, produce};
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka::message::init_producer_id::InitProducerIdRequest;
use kafka::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka::message::{Request, join_group};
use kafka::records::{BatchBuilder, Codec, NewRecord};
use model::ErrorCode;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use tokio::net::TcpSocket;

attacks! {
    connections_that_come_and_go: [], "";
    idle_connections: [], "";
    readers_that_take_nothing: ["sternpost.write.timeout.ms=1000"], "does not take its answers";
    many_groups: [], "";
    members_that_never_come_back: [], "";
    groups_with_large_members: ["group.initial.rebalance.delay.ms=0"], "";
    many_producer_ids: [], "";
    producer_ids_that_nobody_gave: [], "";
    fetch_sessions_by_the_thousand: [], "";
    half_requests_on_the_http_port: [], "";
}

/// Connections of `idle_connections`, unless IDLE_CONNECTIONS says otherwise.
const IDLE_CONNECTIONS: usize = 5000;
/// Connections from one address: each has 28,000 ports to come from.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;
/// Memory that an idle connection may take, bytes.
const IDLE_BYTES_MAX: usize = 16 << 10;

/// Sends requests, a window of them at a time, and hands on the answers.
fn pipelined<R: Request>(
    client: &mut Client,
    count: usize,
    version: i16,
    make: impl Fn(usize) -> R,
    mut see: impl FnMut(R::Response),
) {
    const WINDOW: usize = 50;
    let mut sent = 0;
    for answered in 0..count {
        while sent < count && sent < answered + WINDOW {
            client.send(&make(sent), version);
            sent += 1;
        }
        let frame = client.receive().expect("an answer");
        see(kafka::frame::decode_response::<R>(frame, version).expect("a whole answer").1);
    }
}

fn connections_that_come_and_go(scene: &Scene) {
    for round in 0..1000 {
        let mut stream = scene.node.connect();
        if round % 3 == 0 {
            stream.write_all(&[0, 0, 1]).expect("the node accepts");
        }
    }
}

fn idle_connections(scene: &Scene) {
    let count = std::env::var("IDLE_CONNECTIONS").ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(IDLE_CONNECTIONS);
    let files = runtime::raise_descriptor_limit();
    assert!(files > count as u64 + 100, "this process may open {files} files only");
    let before = scene.node.resident_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let connect = |at| runtime.block_on(connect_from(scene.node.address, at));
    let mut streams: Vec<TcpStream> = (0..count).map(connect).collect();
    scene.honest_goes_on();
    // They are all served: the last one and one in the middle get an answer.
    for at in [count - 1, count / 2, 0] {
        let stream = streams.swap_remove(at.min(streams.len() - 1));
        Client::new(stream).metadata(None);
    }
    let each = scene.node.resident_bytes().saturating_sub(before) / count;
    println!("{count} idle connections: {each} bytes each");
    assert!(each < IDLE_BYTES_MAX, "{each} bytes for an idle connection");
}

/// A connection from a loopback address of its own for each so many: ports are few.
async fn connect_from(address: SocketAddr, number: usize) -> TcpStream {
    let host = 2 + (number / CONNECTIONS_PER_ADDRESS) as u8;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).expect("a port");
    let stream = socket.connect(address).await.expect("the node accepts").into_std().expect("a stream");
    stream.set_nonblocking(false).expect("a blocking stream");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
}

fn readers_that_take_nothing(scene: &Scene) {
    let mut writer = Client::new(scene.node.connect());
    writer.make_topic("large");
    for _ in 0..16 {
        let answer = writer.ask(&produce("large", &vec![7; 900_000]), 9);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let before = scene.node.count_lines("does not take its answers");
    let mut slow: Vec<Client> = (0..10).map(|_| Client::new(scene.node.connect())).collect();
    for client in &mut slow {
        for _ in 0..50 {
            client.send(&fetch("large", 1000, 1), 11);
        }
    }
    scene.honest_goes_on();
    if before == 0 {
        scene.node.wait_for_line("does not take its answers");
    }
}

fn commit_for(group: &str) -> OffsetCommitRequest {
    let partition =
        OffsetCommitRequestPartition { partition_index: 0, committed_offset: 1, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "honest".into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn many_groups(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    client.make_topic("honest");
    let round = scene.honest.acknowledged();
    let mut outcomes = [0, 0];
    pipelined(
        &mut client,
        10_000,
        5,
        |at| commit_for(&format!("group-{round}-{at}")),
        |answer| {
            outcomes[usize::from(answer.topics[0].partitions[0].error_code != 0)] += 1;
        },
    );
    assert!(outcomes[0] == 10_000 || scene.node.count_lines("groups") > 0 || outcomes[1] > 0, "{outcomes:?}");
}

fn join(group: &str, bytes: usize) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: vec![0; bytes].into() }],
        ..Default::default()
    }
}

/// Each first join is told its member id and never comes back with it.
fn members_that_never_come_back(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    let round = scene.honest.acknowledged();
    let check = |answer: join_group::JoinGroupResponse| {
        let known =
            [ErrorCode::MemberIdRequired, ErrorCode::GroupMaxSizeReached, ErrorCode::CoordinatorNotAvailable];
        assert!(known.iter().any(|code| code.code() == answer.error_code), "{}", answer.error_code);
    };
    pipelined(&mut client, 5000, 5, |at| join(&format!("shy-{round}-{}", at % 7), 10), check);
}

/// Members whose subscriptions are as large as the node lets them be, in one group each. The joins stay unanswered.
fn groups_with_large_members(scene: &Scene) {
    let round = scene.honest.acknowledged();
    let mut clients: Vec<Client> = (0..150).map(|_| Client::new(scene.node.connect())).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(&join(&format!("heavy-{round}-{at}"), 5 << 20), 3);
    }
    scene.honest_goes_on();
    for client in &mut clients {
        let frame = client.receive().expect("an answer");
        kafka::frame::decode_response::<JoinGroupRequest>(frame, 3).expect("a whole answer");
    }
}

fn many_producer_ids(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    let mut newest = -1;
    let make = |_| InitProducerIdRequest { transactional_id: None, ..Default::default() };
    pipelined(&mut client, 10_000, 4, make, |answer| {
        assert_eq!(answer.error_code, 0);
        assert!(answer.producer_id > newest, "ids are given once");
        newest = answer.producer_id;
    });
    let request = InitProducerIdRequest { transactional_id: Some("mine".into()), ..Default::default() };
    assert_ne!(client.ask(&request, 4).error_code, 0, "no transactions yet");
}

/// A batch each from producers whose ids were made up: the partition remembers each of them.
fn producer_ids_that_nobody_gave(scene: &Scene) {
    let mut client = Client::new(scene.node.connect());
    client.make_topic("strange");
    let round = scene.honest.acknowledged() as i64;
    let make = |at: usize| {
        let mut request = produce("strange", b"");
        let mut batch = BatchBuilder::new(Codec::None).producer((round << 32) + at as i64, 0, 0);
        batch.push(&NewRecord::default());
        request.topic_data[0].partition_data[0].records = Some(batch.build().expect("a batch"));
        request
    };
    pipelined(&mut client, 20_000, 9, make, |answer| {
        let code = answer.responses[0].partition_responses[0].error_code;
        assert!([ErrorCode::None, ErrorCode::PolicyViolation].map(|it| it.code()).contains(&code), "{code}");
    });
}

/// Fetch sessions of as many partitions as a connection may have, on many connections.
fn fetch_sessions_by_the_thousand(scene: &Scene) {
    let partition = |at| FetchPartition { partition: at, partition_max_bytes: 1 << 20, ..Default::default() };
    let request = FetchRequest {
        max_bytes: 1 << 20,
        session_epoch: 0,
        topics: vec![FetchTopic {
            topic: "nowhere".into(),
            partitions: (0..20_000).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..200 {
        let mut client = Client::new(scene.node.connect());
        assert_eq!(client.ask(&request, 11).error_code, 0);
        clients.push(client);
    }
    scene.honest_goes_on();
}

/// All the places of the HTTP port are taken by requests that never become whole; a probe is answered all the same.
fn half_requests_on_the_http_port(scene: &Scene) {
    let mut streams: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(scene.node.http).expect("the port is open")).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nx-long: ").expect("a connection");
    }
    scene.honest_goes_on();
    let mut probe = TcpStream::connect(scene.node.http).expect("the port is open");
    probe.set_read_timeout(Some(PATIENCE)).expect("a time");
    probe.write_all(b"GET /livez HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n").expect("a connection");
    assert!(read_to_end(&mut probe) > 0, "the probe is answered");
    drop(streams);
}
