//! Fuzz harnesses of the session: frames of any bytes, and fetch sessions driven by any sequence of fetches. Short enough
//! to run with the other tests; `cargo xtask fuzz` runs them for a while, `cargo bolero test` one for as long as wanted.

#[path = "../../../tests/fuzz/driver.rs"]
mod driver;

use std::sync::Arc;

use broker::request::*;
use bytes::{BufMut, Bytes, BytesMut};
use kafka::api::advertised;
use kafka::frame::{SIZE_BYTES, decode_response, encode_request};
use kafka::message::fetch as wire;
use kafka::session::{Session, SessionConfig, Step};
use model::{ErrorCode, NodeId};

/// Inputs per harness in an ordinary test run.
const ITERATIONS: usize = 20_000;

fn session() -> Session {
    let mut config = SessionConfig::new("c", NodeId(0));
    config.limits.fetch_session_partitions_max = 20;
    config.limits.decompressed_bytes_max = 1 << 20;
    Session::new(Arc::new(config), ClientInfo::default())
}

/// An honest answer to the questions whose answers depend on the session or on the question's shape.
fn core(request: Request) -> Option<Response> {
    Some(match request {
        Request::Produce(it) => {
            let topics = it.topics.into_iter().map(|topic| ProducedTopic {
                topic: topic.topic,
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|partition| ProducedPartition {
                        index: partition.index,
                        refusal: partition.batch.err().unwrap_or_default().refusal,
                        record_errors: vec![(0, "why".into())],
                        base_offset: -1,
                        log_append_time_ms: -1,
                        log_start_offset: -1,
                        current_leader: Some((NodeId(1), 2)),
                    })
                    .collect(),
            });
            Response::Produce(ProduceResponse { topics: topics.collect(), endpoints: vec![] })
        }
        Request::Fetch(it) => {
            let topics = it.topics.into_iter().map(|topic| FetchedTopic {
                topic: topic.topic,
                partitions: topic.partitions.iter().map(fetched).collect(),
            });
            Response::Fetch(FetchResponse { topics: topics.collect(), endpoints: vec![] })
        }
        Request::ListOffsets(it) => {
            let topics = it.topics.into_iter().map(|topic| ListedTopic {
                topic: topic.topic,
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| ListedPartition {
                        index: partition.index,
                        error: ErrorCode::None,
                        found: FoundOffset::Offset { offset: 1, leader_epoch: 2 },
                    })
                    .collect(),
            });
            Response::ListOffsets(ListOffsetsResponse { topics: topics.collect() })
        }
        Request::OffsetFetch(it) => {
            let groups = it.groups.into_iter().map(|group| FetchedGroup {
                group: group.group,
                error: ErrorCode::NotCoordinator,
                topics: vec![],
            });
            Response::OffsetFetch(OffsetFetchResponse { groups: groups.collect() })
        }
        _ => return None,
    })
}

fn fetched(partition: &FetchPartition) -> FetchedPartition {
    FetchedPartition {
        index: partition.index,
        error: if partition.offset % 3 == 0 { ErrorCode::OffsetOutOfRange } else { ErrorCode::None },
        high_watermark: partition.offset / 2,
        last_stable_offset: 0,
        log_start_offset: partition.offset / 7,
        diverging: (partition.offset % 5 == 0).then_some((1, 2)),
        current_leader: None,
        batches: vec![],
    }
}

/// Frames of any bytes behind a key and a version that are served. The connection lives until the first error.
fn feed_session(input: &[u8]) {
    let mut session = session();
    let mut rest = input;
    while let Some(([choice, version, size], body)) = rest.split_first_chunk::<3>() {
        let (body, after) = body.split_at(usize::from(*size).min(body.len()));
        rest = after;
        let it = advertised()[usize::from(*choice) % advertised().len()];
        let mut frame = BytesMut::new();
        frame.put_i16(it.key.code());
        // One below and one above the served ones are among them.
        frame.put_i16(it.min - 1 + i16::from(*version) % (it.max - it.min + 3));
        frame.put_slice(body);
        match session.on_frame(frame.freeze()) {
            Ok(Step::Reply(answer)) => assert!(answer.size() > SIZE_BYTES),
            Ok(Step::Ask { pending, request, .. }) => {
                let Some(response) = core(request) else { continue };
                if session.reply(pending, response).is_err() {
                    return;
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
}

/// Fetches with any session id, epoch and partitions: answered, and told to be one of the known errors or none.
fn drive_fetch_sessions(input: &[u8]) {
    let mut session = session();
    for step in input.chunks_exact(6) {
        let [id, epoch, topic, first, count, forget] = *step else { unreachable!("six bytes") };
        let version = 7 + i16::from(id >> 4) % 12;
        let partitions = (0..i32::from(count % 8)).map(|at| wire::FetchPartition {
            partition: i32::from(first % 16) + at,
            fetch_offset: i64::from(forget) + i64::from(at),
            ..wire::FetchPartition::default()
        });
        let topic_id = kafka::wire::Uuid([topic % 3; 16]);
        let name = ["a", "b", "c"][usize::from(topic % 3)];
        let forgotten =
            wire::ForgottenTopic { topic: name.into(), topic_id, partitions: vec![i32::from(forget % 16)] };
        let message = wire::FetchRequest {
            session_id: i32::from(id & 0x0f),
            session_epoch: i32::from(epoch as i8).max(-1) % 8,
            topics: vec![wire::FetchTopic { topic: name.into(), topic_id, partitions: partitions.collect() }],
            forgotten_topics_data: vec![forgotten],
            ..wire::FetchRequest::default()
        };
        let frame = encode_request(&message, version, 1, None).expect("it fits").into_contiguous();
        let answer = match session.on_frame(frame.slice(SIZE_BYTES..)).expect("an honest frame") {
            Step::Reply(answer) => answer,
            Step::Ask { pending, request, .. } => {
                let response = core(request).expect("a fetch");
                session.reply(pending, response).expect("it fits").expect("an answer")
            }
        };
        assert!(session.fetch_session_partitions() <= 20);
        let frame: Bytes = answer.into_contiguous().slice(SIZE_BYTES..);
        let (_, answer) = decode_response::<wire::FetchRequest>(frame, version).expect("our own answer");
        let known = [
            ErrorCode::None,
            ErrorCode::FetchSessionIdNotFound,
            ErrorCode::InvalidFetchSessionEpoch,
            ErrorCode::FetchSessionTopicIdError,
        ];
        assert!(known.contains(&ErrorCode::from_code(answer.error_code)));
    }
}

driver::harnesses! {
    session_frames: ITERATIONS, feed_session;
    fetch_sessions: ITERATIONS, drive_fetch_sessions;
}
