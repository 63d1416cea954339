//! Every advertised API and version makes the round trip: a request's bytes become the question that was meant, the
//! core's answer becomes bytes that the generated decoder reads as what was said. The table is compared with what these
//! tests exercised.

mod data;
mod golden;
mod group;
mod nodes;
mod topic;

use std::collections::BTreeSet;
use std::sync::Arc;

use broker::request::{ClientInfo, Endpoint, Refusal, Request, Response, TopicRef};
use bytes::Bytes;
use model::{ErrorCode, NodeId, TopicId};

use super::{advertised, versions};
use crate::frame::{SIZE_BYTES, decode_response, encode_request};
use crate::message;
use crate::session::{Session, SessionConfig, Step};
use crate::wire::arbitrary::Values;
use crate::wire::{Segments, Str, Uuid};

/// Values per API and version.
const ROUNDS: u64 = 16;
const CORRELATION_ID: i32 = 0x0102_0304;
/// Create 5, alter 7, describe 8, cluster action 9, describe and alter configs 10 and 11, idempotent write 12.
const ALL_ON_THE_CLUSTER: i32 = 0b1_1111_1010_0000;
/// Read 3, write 4, create 5, delete 6, alter 7, describe 8, describe and alter configs 10 and 11.
const ALL_ON_A_TOPIC: i32 = 0b1101_1111_1000;

pub(super) fn session() -> Session {
    let config = SessionConfig::new("sternpost-test-cluster", NodeId(7));
    Session::new(Arc::new(config), ClientInfo { client_id: String::new(), host: "/10.0.0.9".into() })
}

/// The request's frame, without its size.
pub(super) fn frame<R: message::Request>(message: &R, version: i16) -> Bytes {
    let segments = encode_request(message, version, CORRELATION_ID, Some(&Str::from_static("tester")));
    segments.expect("the message fits its version").into_contiguous().slice(SIZE_BYTES..)
}

/// Reads an answer to its end.
pub(super) fn read<R: message::Request>(segments: Segments, version: i16) -> R::Response {
    let frame = segments.into_contiguous();
    let size = i32::from_be_bytes(*frame.first_chunk().expect("a size"));
    assert_eq!(size as usize, frame.len() - SIZE_BYTES, "the frame is as long as it says");
    let (correlation_id, body) =
        decode_response::<R>(frame.slice(SIZE_BYTES..), version).expect("our own answer");
    assert_eq!(correlation_id, CORRELATION_ID);
    body
}

/// Sends `message`, lets `core` answer the question it leads to, reads the answer.
pub(super) fn exchange<R: message::Request>(
    session: &mut Session,
    version: i16,
    message: &R,
    core: impl FnOnce(Request) -> Response,
) -> R::Response {
    match session.on_frame(frame(message, version)).expect("an honest request") {
        Step::Ask { pending, request, client, wants_reply } => {
            assert_eq!((pending.key(), pending.version()), (R::KEY, version));
            assert_eq!((client.client_id.as_str(), client.host.as_str()), ("tester", "/10.0.0.9"));
            assert!(wants_reply);
            let answer = session.reply(pending, core(request)).expect("the answer fits its version");
            read::<R>(answer.expect("an answer"), version)
        }
        Step::Reply(_) => panic!("{} v{version} was answered without the core", R::KEY),
    }
}

/// Sends `message`, which must be answered without the core.
pub(super) fn refused<R: message::Request>(session: &mut Session, version: i16, message: &R) -> R::Response {
    match session.on_frame(frame(message, version)).expect("an answer") {
        Step::Reply(segments) => read::<R>(segments, version),
        Step::Ask { request, .. } => panic!("{} v{version} reached the core: {request:?}", R::KEY),
    }
}

/// What was exercised.
#[derive(Default)]
struct Covered(BTreeSet<(i16, i16)>);

impl Covered {
    /// Runs `check` with seeded values in every served version of `R`'s API.
    fn each<R: message::Request>(&mut self, check: impl Fn(&mut Session, i16, &mut Values)) {
        let table = versions(R::KEY).expect("an API of the table");
        for version in (table.min..=table.max).filter(|version| table.serves(*version)) {
            for seed in 0..ROUNDS {
                let seed = seed << 32 | (R::KEY.code() as u64) << 16 | version as u64;
                check(&mut session(), version, &mut Values::new(seed));
            }
            self.0.insert((R::KEY.code(), version));
        }
    }
}

#[test]
fn every_advertised_version_makes_the_round_trip() {
    let mut covered = Covered::default();
    data::round_trips(&mut covered);
    topic::round_trips(&mut covered);
    group::round_trips(&mut covered);
    nodes::round_trips(&mut covered);
    covered.each::<message::api_versions::ApiVersionsRequest>(golden::api_versions);
    let table: BTreeSet<_> = advertised()
        .iter()
        .flat_map(|it| {
            (it.min..=it.max).filter(|version| it.serves(*version)).map(|version| (it.key.code(), version))
        })
        .collect();
    assert_eq!(covered.0, table);
}

#[test]
fn the_table_is_what_was_agreed() {
    let keys: Vec<i16> = advertised().iter().map(|it| it.key.code()).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    let agreed = [
        0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37, 42, 43, 44, 47,
        55, 60, 75, 81,
    ];
    assert_eq!(sorted, agreed);
    for it in advertised() {
        let schema = it.key.valid_versions();
        // Produce below 3 is told and not served; InitProducerId 6 is unstable; else everything that there is.
        let (min, max) = match it.key {
            message::ApiKey::Produce => (0, *schema.end()),
            message::ApiKey::InitProducerId => (*schema.start(), 5),
            _ => (*schema.start(), *schema.end()),
        };
        assert_eq!((it.min, it.max), (min, max), "{}", it.key);
    }
}

// ---- seeded pieces of answers

fn error(values: &mut Values) -> ErrorCode {
    ErrorCode::ALL[values.below(ErrorCode::ALL.len())]
}

fn text(values: &mut Values) -> String {
    values.string().to_string()
}

fn maybe_text(values: &mut Values) -> Option<String> {
    values.option(text)
}

fn refusal(values: &mut Values) -> Refusal {
    if values.coin() { Refusal::OK } else { Refusal { code: error(values), message: maybe_text(values) } }
}

fn topic_id(values: &mut Values) -> TopicId {
    TopicId(values.uuid().0)
}

fn node(values: &mut Values) -> NodeId {
    NodeId(values.int32())
}

fn endpoint(values: &mut Values) -> Endpoint {
    Endpoint { node: node(values), host: text(values), port: values.uint16(), rack: values.option(text) }
}

/// The name and id that an answer about `topic` must carry.
fn named(topic: &TopicRef) -> (Str, Uuid) {
    match topic {
        TopicRef::Name(name) => (name.as_str().into(), Uuid::ZERO),
        TopicRef::Id(id) => (Str::default(), Uuid(id.0)),
    }
}

/// The topic that a request naming both must mean.
fn meant(name: &Str, id: Uuid, by_id: bool) -> TopicRef {
    if by_id { TopicRef::Id(TopicId(id.0)) } else { TopicRef::Name(name.to_string()) }
}

fn message_of(refusal: &Refusal) -> Option<Str> {
    refusal.message.as_deref().map(Str::from)
}
