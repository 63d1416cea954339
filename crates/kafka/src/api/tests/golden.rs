//! Bytes written down by hand from the protocol's description: the old encodings that librdkafka and kafkajs still send,
//! and ApiVersions, which every client sends first.

use broker::request::*;
use model::{ErrorCode, NodeId};

use super::*;
use crate::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::session::{Feature, SessionError};

/// ApiVersions in each version: the table, error and features as the version allows.
pub(super) fn api_versions(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = ApiVersionsRequest::arbitrary(values, version);
    if version >= 3 {
        message.client_software_name = "apache-kafka-java".into();
        message.client_software_version = "4.4.0".into();
    }
    if version >= 5 {
        message.cluster_id = values.option(|_| "sternpost-test-cluster".into());
        message.node_id = if values.coin() { 7 } else { -1 };
    }
    let read = refused(session, version, &message);
    assert_table(&read);
    assert_eq!(read.error_code, 0);
}

fn assert_table(read: &ApiVersionsResponse) {
    let told: Vec<_> = read.api_keys.iter().map(|it| (it.api_key, it.min_version, it.max_version)).collect();
    let table: Vec<_> = advertised().iter().map(|it| (it.key.code(), it.min, it.max)).collect();
    assert_eq!(told, table);
}

/// The bytes of a hexadecimal text with spaces.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("two digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a byte")).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends bytes, answers with `core`, compares the answer's bytes behind the size with the expected ones.
fn check(request: &str, core: impl FnOnce(Request) -> Response, expected: &str) {
    let mut session = session();
    let answer = match session.on_frame(hex(request)).expect("an honest request") {
        Step::Reply(segments) => segments,
        Step::Ask { pending, request, .. } => {
            session.reply(pending, core(request)).expect("it fits").expect("an answer")
        }
    };
    let expected = hex(expected);
    let framed = [&(expected.len() as u32).to_be_bytes()[..], &expected].concat();
    assert_eq!(hex_of(&answer.into_contiguous()), hex_of(&framed));
}

/// Header: key, version, correlation id 9, client id "c".
#[test]
fn old_encodings() {
    // Metadata v0 without topics means all of them.
    check(
        "0003 0000 00000009 0001 63  00000000",
        |request| {
            let Request::Metadata(it) = request else { panic!("{request:?}") };
            assert_eq!((it.topics, it.allow_auto_topic_creation), (None, true));
            Response::Metadata(MetadataResponse {
                brokers: vec![Endpoint {
                    node: NodeId(1),
                    host: "h".into(),
                    port: 9092,
                    rack: Some("r".into()),
                }],
                cluster_id: "x".into(),
                controller: NodeId(1),
                topics: vec![],
            })
        },
        "00000009  00000001 00000001 0001 68 00002384  00000000",
    );
    // LeaveGroup v1, as librdkafka sends it: one member, one code.
    check(
        "000d 0001 00000009 0001 63  0001 67  0001 6d",
        |request| {
            let Request::LeaveGroup(it) = request else { panic!("{request:?}") };
            assert_eq!((it.group.as_str(), it.members), ("g", vec![("m".to_owned(), None)]));
            let members = vec![("m".to_owned(), None, ErrorCode::UnknownMemberId)];
            Response::LeaveGroup(LeaveGroupResponse { error: ErrorCode::None, members })
        },
        "00000009  00000000 0019",
    );
    // FindCoordinator v2, as kafkajs sends it.
    check(
        "000a 0002 00000009 0001 63  0001 67 00",
        |request| {
            let Request::FindCoordinator(it) = request else { panic!("{request:?}") };
            assert_eq!((it.key_type, it.keys), (0, vec!["g".to_owned()]));
            let node = Endpoint { node: NodeId(1), host: "h".into(), port: 1, rack: None };
            let coordinators = vec![("g".to_owned(), Ok(node))];
            Response::FindCoordinator(FindCoordinatorResponse { coordinators })
        },
        "00000009  00000000 0000 ffff 00000001 0001 68 00000001",
    );
    // ListOffsets v1 (latest) answers one offset, no epoch.
    check(
        "0002 0001 00000009 0001 63  ffffffff 00000001 0001 74 00000001 00000000 ffffffffffffffff",
        |request| {
            let Request::ListOffsets(it) = request else { panic!("{request:?}") };
            assert_eq!(it.topics[0].partitions[0].target, OffsetTarget::Latest);
            let found = FoundOffset::Offset { offset: 5, leader_epoch: 3 };
            let partitions = vec![ListedPartition { index: 0, error: ErrorCode::None, found }];
            let topics = vec![ListedTopic { topic: TopicRef::Name("t".into()), partitions }];
            Response::ListOffsets(ListOffsetsResponse { topics })
        },
        "00000009  00000001 0001 74 00000001 00000000 0000 ffffffffffffffff 0000000000000005",
    );
}

/// Produce v7 and Fetch v11 without sessions, as kafkajs sends them.
#[test]
fn old_records() {
    let batch = super::data::batch(crate::records::Codec::None, &[1]);
    let size = format!("{:08x}", batch.len());
    let records = hex_of(&batch);
    check(
        &format!(
            "0000 0007 00000009 0001 63  ffff ffff 0000001e 00000001 0001 74 00000001 00000000 {size} {records}"
        ),
        |request| {
            let Request::Produce(it) = request else { panic!("{request:?}") };
            assert_eq!((it.acks, it.timeout.as_millis()), (-1, 30));
            assert!(it.topics[0].partitions[0].batch.is_ok());
            let partition = ProducedPartition {
                index: 0,
                refusal: Refusal::OK,
                record_errors: vec![],
                base_offset: 17,
                log_append_time_ms: -1,
                log_start_offset: 2,
                current_leader: Some((NodeId(4), 4)),
            };
            let topics =
                vec![ProducedTopic { topic: TopicRef::Name("t".into()), partitions: vec![partition] }];
            Response::Produce(ProduceResponse { topics, endpoints: vec![] })
        },
        "00000009  00000001 0001 74 00000001 00000000 0000 0000000000000011 ffffffffffffffff \
         0000000000000002  00000000",
    );
    let placed = model::StoredBatch::new(model::Offset(17), model::LeaderEpoch(4), batch.clone());
    let records = hex_of(&placed.to_contiguous());
    check(
        "0001 000b 00000009 0001 63  ffffffff 00000064 00000001 00100000 00 00000000 ffffffff \
         00000001 0001 74 00000001 00000000 ffffffff 0000000000000011 0000000000000000 00100000 \
         00000000 0000",
        |request| {
            let Request::Fetch(it) = request else { panic!("{request:?}") };
            assert_eq!((it.topics[0].partitions[0].offset, it.bytes_max), (17, 1 << 20));
            let partition = FetchedPartition {
                index: 0,
                error: ErrorCode::None,
                high_watermark: 18,
                last_stable_offset: 18,
                log_start_offset: 2,
                diverging: Some((1, 1)),
                current_leader: None,
                batches: vec![placed],
            };
            let topics =
                vec![FetchedTopic { topic: TopicRef::Name("t".into()), partitions: vec![partition] }];
            Response::Fetch(FetchResponse { topics, endpoints: vec![] })
        },
        &format!(
            "00000009  00000000 0000 00000000 00000001 0001 74 00000001 00000000 0000 \
             0000000000000012 0000000000000012 0000000000000002 ffffffff ffffffff {size} {records}"
        ),
    );
}

#[test]
fn a_newer_api_versions_is_answered_in_version_0() {
    let mut session = session();
    let Ok(Step::Reply(answer)) = session.on_frame(hex("0012 7fff 01020304 ffff 00 deadbeef")) else {
        panic!("an answer")
    };
    let read = read::<ApiVersionsRequest>(answer, 0);
    assert_eq!(read.error_code, ErrorCode::UnsupportedVersion.code());
    assert_table(&read);
    let error = session.on_frame(hex("0012 7fff 0102")).expect_err("no correlation id");
    assert_eq!(error, SessionError::ShortHeader(6));
}

#[test]
fn api_versions_tells_features_by_version() {
    let mut config = SessionConfig::new("c", NodeId(7));
    config.features = vec![
        Feature { name: "group.version", min: 0, max: 1, finalized: 0 },
        Feature { name: "metadata.version", min: 7, max: 30, finalized: 29 },
    ];
    let config = Arc::new(config);
    for (version, supported) in [(2, 0), (3, 1), (4, 2)] {
        let mut session = Session::new(Arc::clone(&config), ClientInfo::default());
        let message = ApiVersionsRequest {
            client_software_name: "x".into(),
            client_software_version: "1".into(),
            ..ApiVersionsRequest::default()
        };
        let read = refused(&mut session, version, &message);
        assert_eq!(read.supported_features.len(), supported);
        let finalized: Vec<_> =
            read.finalized_features.iter().map(|it| (&*it.name, it.max_version_level)).collect();
        let expected: &[(&str, i16)] = if version >= 3 { &[("metadata.version", 29)] } else { &[] };
        assert_eq!(finalized, expected);
    }
}

#[test]
fn api_versions_refuses_odd_names_and_strangers() {
    let good = ApiVersionsRequest {
        client_software_name: "a-1.b".into(),
        client_software_version: "1.0".into(),
        ..ApiVersionsRequest::default()
    };
    let cases = [
        (good.clone(), ErrorCode::None),
        (ApiVersionsRequest { client_software_name: "".into(), ..good.clone() }, ErrorCode::InvalidRequest),
        (
            ApiVersionsRequest { client_software_name: "a\nb".into(), ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            ApiVersionsRequest { client_software_version: "-1".into(), ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            ApiVersionsRequest { cluster_id: Some("other".into()), ..good.clone() },
            ErrorCode::RebootstrapRequired,
        ),
        (ApiVersionsRequest { node_id: 8, ..good }, ErrorCode::RebootstrapRequired),
    ];
    for (message, code) in cases {
        assert_eq!(refused(&mut session(), 5, &message).error_code, code.code());
    }
}
