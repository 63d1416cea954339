//! What strangers, broken clients and attackers send: one typed error with one sentence, or an answer; never a panic.

use std::sync::Arc;

use broker::request::{ClientInfo, Request};
use bytes::{BufMut, Bytes, BytesMut};
use model::NodeId;

use crate::api::advertised;
use crate::frame::{FrameReader, SIZE_BYTES, encode_request};
use crate::message::ApiKey;
use crate::message::find_coordinator::FindCoordinatorRequest;
use crate::message::heartbeat::HeartbeatRequest;
use crate::message::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::session::{Session, SessionConfig, SessionError, Step};
use crate::wire::arbitrary::Values;
use crate::wire::{DecodeError, Str};

fn session() -> Session {
    Session::new(Arc::new(SessionConfig::new("c", NodeId(0))), ClientInfo::default())
}

fn header(key: i16, version: i16) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame
}

fn error(frame: impl Into<Bytes>) -> SessionError {
    session().on_frame(frame.into()).expect_err("refused")
}

#[test]
fn other_protocols_are_recognised_by_their_first_bytes() {
    let cases: [(&[u8], SessionError); 5] = [
        (b"GET / HTTP/1.1\r\n", SessionError::Http),
        (b"PRI * HTTP/2.0\r\n", SessionError::Http),
        (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], SessionError::Tls),
        (&[0x16, 3, 3, 0, 0x7a], SessionError::Tls),
        (b"POST /v1/x", SessionError::Http),
    ];
    for (bytes, expected) in cases {
        let mut reader = FrameReader::default();
        reader.feed(bytes);
        assert_eq!(SessionError::from(reader.next_frame().expect_err("no frame")), expected);
    }
    for bytes in [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0; 4]] {
        let mut reader = FrameReader::default();
        reader.feed(&bytes);
        let error = SessionError::from(reader.next_frame().expect_err("no frame"));
        assert!(matches!(error, SessionError::Frame(_)), "{error}");
    }
}

#[test]
fn short_frames_unknown_keys_and_versions_close_the_connection() {
    assert_eq!(error(Bytes::new()), SessionError::ShortHeader(0));
    assert_eq!(error(Bytes::from_static(&[0, 3, 0])), SessionError::ShortHeader(3));
    for key in [-1, 4, 7, 17, 24, 68, 76, 999, i16::MAX] {
        assert_eq!(error(header(key, 0)), SessionError::UnknownKey(key));
    }
    for it in advertised().iter().filter(|it| it.key != ApiKey::ApiVersions) {
        for version in [-1, it.max + 1, i16::MAX, i16::MIN] {
            let expected = SessionError::UnsupportedVersion { key: it.key, version, max: it.max };
            assert_eq!(error(header(it.key.code(), version)), expected);
        }
    }
    for version in 0..=2 {
        let refused = error(header(0, version));
        assert!(
            matches!(refused, SessionError::UnsupportedVersion { key: ApiKey::Produce, .. }),
            "{refused}"
        );
    }
    for version in [-1, 6, i16::MIN] {
        let step = session().on_frame(header(18, version).freeze());
        assert!(matches!(step, Ok(Step::Reply(_))), "ApiVersions is always answered");
    }
}

#[test]
fn a_header_ends_at_its_limit_and_where_the_frame_does() {
    let client_id = Str::from("x".repeat(32_767));
    let frame = encode_request(&HeartbeatRequest::default(), 0, 1, Some(&client_id)).expect("it fits");
    let step = session().on_frame(frame.into_contiguous().slice(SIZE_BYTES..));
    assert!(matches!(step, Ok(Step::Ask { .. })), "as long as Kafka allows");
    // Unknown tagged fields of 64 KiB.
    let mut frame = header(12, 4);
    frame.put_slice(&[1, 9, 0x80, 0x80, 0x04]);
    frame.put_bytes(0, 64 << 10);
    assert!(matches!(error(frame), SessionError::HeaderTooLong { .. }));
    // A client id that passes the end, and one that is no text.
    for rest in [&[0, 9, b'a'][..], &[0, 1, 0xff]] {
        let mut frame = header(12, 0);
        frame.truncate(8);
        frame.put_slice(rest);
        assert!(matches!(error(frame), SessionError::Header(_)));
    }
}

#[test]
fn a_claimed_list_is_not_believed() {
    for (key, version) in [(3, 1), (19, 2), (15, 0), (42, 0), (20, 1)] {
        let mut frame = header(key, version);
        frame.put_i32(i32::MAX);
        let refused = error(frame);
        let list = matches!(
            refused,
            SessionError::Malformed {
                error: DecodeError::ListTooLong { .. } | DecodeError::TooManyElements,
                ..
            }
        );
        assert!(list, "{refused}");
    }
}

#[test]
fn a_million_topics_in_one_metadata_request_meet_a_limit() {
    for count in [100_000, 100_001, 1_000_000] {
        let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
        let message = MetadataRequest { topics: Some(vec![topic; count]), ..MetadataRequest::default() };
        let frame = encode_request(&message, 9, 1, None).expect("it fits").into_contiguous();
        match session().on_frame(frame.slice(SIZE_BYTES..)) {
            Ok(Step::Ask { request: Request::Metadata(_), .. }) => assert_eq!(count, 100_000),
            Err(SessionError::TooManyEntries { entries, max, .. }) => {
                assert_eq!((entries, max), (count, 100_000));
                assert!(count > max);
            }
            Err(SessionError::Malformed { error: DecodeError::TooManyElements, .. }) => {
                assert_eq!(count, 1_000_000)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn text_that_is_none_null_that_may_not_be_and_tags_that_repeat() {
    let malformed = |frame: BytesMut| match error(frame) {
        SessionError::Malformed { error, .. } => error,
        other => panic!("{other}"),
    };
    // FindCoordinator 0 with a key of one byte, and with none.
    let mut frame = header(10, 0);
    frame.put_slice(&[0, 1, 0xc3]);
    assert_eq!(malformed(frame), DecodeError::NotUtf8);
    let mut frame = header(10, 0);
    frame.put_i16(-1);
    assert_eq!(malformed(frame), DecodeError::UnexpectedNull);
    // FindCoordinator 3: key "", type 0, two tagged fields with tag 5.
    let mut frame = header(10, 3);
    frame.put_slice(&[0, 1, 0, 2, 5, 0, 5, 0]);
    assert_eq!(malformed(frame), DecodeError::TagOrder { tag: 5, before: 5 });
    // A varint of six bytes.
    let mut frame = header(10, 3);
    frame.put_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    assert_eq!(malformed(frame), DecodeError::VarintTooLong);
}

/// Names are the core's to judge: whatever text comes, it gets there unchanged or is refused.
#[test]
fn odd_names_reach_the_core_unchanged() {
    let odd = ["", ".", "..", "a/b", "../../etc", "a\0b", "a\nb", "ｔopic", &"x".repeat(250)];
    let topics =
        odd.map(|name| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() });
    let message = MetadataRequest { topics: Some(topics.to_vec()), ..MetadataRequest::default() };
    let frame = encode_request(&message, 12, 1, None).expect("it fits").into_contiguous();
    let Ok(Step::Ask { request: Request::Metadata(it), .. }) = session().on_frame(frame.slice(SIZE_BYTES..))
    else {
        panic!("the core says")
    };
    assert_eq!(it.topics.expect("named").len(), odd.len());
}

/// Each prefix of a good request and each single changed byte: an error or a step.
#[test]
fn cut_and_bent_requests_never_panic() {
    let messages = |values: &mut Values| {
        let heartbeat = HeartbeatRequest::arbitrary(values, 4);
        let metadata = MetadataRequest::arbitrary(values, 12);
        let find = FindCoordinatorRequest::arbitrary(values, 6);
        [
            encode_request(&heartbeat, 4, 1, None),
            encode_request(&metadata, 12, 1, None),
            encode_request(&find, 6, 1, None),
        ]
    };
    for seed in 0..20 {
        let mut values = Values::new(seed);
        for frame in messages(&mut values) {
            let frame = frame.expect("it fits").into_contiguous().slice(SIZE_BYTES..);
            for end in 0..frame.len() {
                assert!(session().on_frame(frame.slice(..end)).is_err(), "a cut request is no request");
            }
            for at in 0..frame.len() {
                let mut bent = BytesMut::from(&frame[..]);
                bent[at] ^= values.next() as u8;
                if let Err(error) = session().on_frame(bent.freeze()) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}

#[test]
fn the_client_id_is_kept_between_requests() {
    let mut session = session();
    let mut send = |id: Option<&str>| {
        let id = id.map(Str::from);
        let frame = encode_request(&HeartbeatRequest::default(), 0, 1, id.as_ref()).expect("it fits");
        match session.on_frame(frame.into_contiguous().slice(SIZE_BYTES..)) {
            Ok(Step::Ask { client, .. }) => client,
            other => panic!("{other:?}"),
        }
    };
    let first = send(Some("a"));
    assert!(Arc::ptr_eq(&first, &send(Some("a"))), "no allocation for the same client");
    assert_eq!(send(None).client_id, "");
    assert_eq!(send(Some("b")).client_id, "b");
}
