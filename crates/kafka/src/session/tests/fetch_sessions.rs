//! Fetch sessions as a client of KIP-227 drives them, and a seeded client against a naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::request::*;
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, StoredBatch};

use crate::frame::{SIZE_BYTES, decode_response, encode_request};
use crate::message::fetch as wire;
use crate::message::fetch::FetchRequest;
use crate::records::{BatchBuilder, Codec, NewRecord};
use crate::session::{FETCH_SESSIONS_MAX, FetchSessionPool, Pending, Session, SessionConfig, Step};
use crate::wire::arbitrary::Values;
use crate::wire::{Str, Uuid};

/// Names; 13 has ids.
const VERSION: i16 = 12;

/// A log as far as an answer shows it.
#[derive(Clone, Copy, Default)]
struct Log {
    error: ErrorCode,
    high_watermark: i64,
    log_start_offset: i64,
    has_data: bool,
}

/// One connection and the partitions behind it.
struct World {
    session: Session,
    logs: BTreeMap<(String, i32), Log>,
    /// What the core was last asked, in order.
    asked: Vec<(String, i32, i64)>,
}

fn topic(name: &str, partitions: &[(i32, i64)]) -> wire::FetchTopic {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| wire::FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1000,
        ..wire::FetchPartition::default()
    });
    wire::FetchTopic { topic: name.into(), partitions: partitions.collect(), ..wire::FetchTopic::default() }
}

fn message(id: i32, epoch: i32, topics: Vec<wire::FetchTopic>) -> FetchRequest {
    FetchRequest { session_id: id, session_epoch: epoch, topics, ..FetchRequest::default() }
}

fn name_of(topic: &TopicRef) -> String {
    match topic {
        TopicRef::Name(name) => name.clone(),
        TopicRef::Id(id) => id.0[0].to_string(),
    }
}

fn batch() -> StoredBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&NewRecord { timestamp: 1, ..NewRecord::default() });
    StoredBatch::new(Offset(0), LeaderEpoch(0), builder.build().expect("a batch"))
}

impl World {
    fn new(partitions_max: usize) -> World {
        let mut config = SessionConfig::new("c", NodeId(0));
        config.limits.fetch_session_partitions_max = partitions_max;
        let session = Session::new(Arc::new(config), ClientInfo::default());
        World { session, logs: BTreeMap::new(), asked: Vec::new() }
    }

    fn log(&mut self, topic: &str, partition: i32) -> &mut Log {
        self.logs.entry((topic.to_owned(), partition)).or_default()
    }

    fn send(&mut self, version: i16, message: &FetchRequest) -> Step {
        let frame = encode_request(message, version, 1, None).expect("it fits").into_contiguous();
        self.session.on_frame(frame.slice(SIZE_BYTES..)).expect("a fetch")
    }

    fn core(&mut self, request: &Request) -> Response {
        let Request::Fetch(it) = request else { panic!("{request:?}") };
        self.asked.clear();
        let mut topics = Vec::new();
        for topic in &it.topics {
            let name = name_of(&topic.topic);
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                self.asked.push((name.clone(), partition.index, partition.offset));
                let log = *self.log(&name, partition.index);
                partitions.push(FetchedPartition {
                    index: partition.index,
                    error: log.error,
                    high_watermark: log.high_watermark,
                    last_stable_offset: log.high_watermark,
                    log_start_offset: log.log_start_offset,
                    diverging: None,
                    current_leader: None,
                    batches: if log.has_data { vec![batch()] } else { vec![] },
                });
            }
            topics.push(FetchedTopic { topic: topic.topic.clone(), partitions });
        }
        Response::Fetch(FetchResponse { topics, endpoints: vec![] })
    }

    fn answer(&mut self, version: i16, pending: Pending, response: Response) -> wire::FetchResponse {
        let answer = self.session.reply(pending, response).expect("it fits").expect("an answer");
        let frame = answer.into_contiguous().slice(SIZE_BYTES..);
        decode_response::<FetchRequest>(frame, version).expect("our own answer").1
    }

    fn fetch(&mut self, version: i16, message: &FetchRequest) -> wire::FetchResponse {
        match self.send(version, message) {
            Step::Ask { pending, request, .. } => {
                let response = self.core(&request);
                self.answer(version, pending, response)
            }
            Step::Reply(answer) => {
                self.asked.clear();
                let frame = answer.into_contiguous().slice(SIZE_BYTES..);
                decode_response::<FetchRequest>(frame, version).expect("our own answer").1
            }
        }
    }

    fn asked(&self) -> Vec<(&str, i32, i64)> {
        self.asked.iter().map(|(name, index, offset)| (name.as_str(), *index, *offset)).collect()
    }
}

/// The partitions that an answer tells of.
fn told(answer: &wire::FetchResponse) -> Vec<(String, i32)> {
    let topics = answer.responses.iter();
    let told = topics.flat_map(|topic| {
        let name =
            if topic.topic_id.is_zero() { topic.topic.to_string() } else { topic.topic_id.0[0].to_string() };
        topic.partitions.iter().map(move |partition| (name.clone(), partition.partition_index))
    });
    told.collect()
}

#[test]
fn an_incremental_fetch_asks_for_all_and_tells_the_news() {
    let mut world = World::new(100);
    let full =
        world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 5), (1, 6)]), topic("b", &[(0, 7)])]));
    let id = full.session_id;
    assert!(id > 0);
    assert_eq!(told(&full).len(), 3, "a full fetch tells everything");
    // Nothing changed.
    let answer = world.fetch(VERSION, &message(id, 1, vec![]));
    assert_eq!((answer.error_code, answer.session_id, told(&answer)), (0, id, vec![]));
    assert_eq!(world.asked(), [("a", 0, 5), ("a", 1, 6), ("b", 0, 7)]);
    // A watermark, a log start, a new position.
    world.log("a", 1).high_watermark = 9;
    world.log("b", 0).log_start_offset = 2;
    let answer = world.fetch(VERSION, &message(id, 2, vec![topic("a", &[(0, 50)])]));
    assert_eq!(told(&answer), [("a".to_owned(), 1), ("b".to_owned(), 0)]);
    assert_eq!(world.asked(), [("a", 0, 50), ("a", 1, 6), ("b", 0, 7)]);
    // Forgotten and new ones.
    let forgotten = wire::ForgottenTopic { topic: "a".into(), partitions: vec![0, 77], ..Default::default() };
    let change = FetchRequest {
        forgotten_topics_data: vec![forgotten],
        ..message(id, 3, vec![topic("c", &[(4, 1)])])
    };
    let answer = world.fetch(VERSION, &change);
    assert_eq!(told(&answer), [("c".to_owned(), 4)]);
    assert_eq!(world.asked(), [("a", 1, 6), ("b", 0, 7), ("c", 4, 1)]);
}

#[test]
fn an_error_is_told_each_time_and_its_end_too() {
    let mut world = World::new(100);
    world.log("a", 0).high_watermark = 3;
    let id = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0)])])).session_id;
    world.log("a", 0).error = ErrorCode::NotLeaderOrFollower;
    for epoch in [1, 2] {
        let answer = world.fetch(VERSION, &message(id, epoch, vec![]));
        assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::NotLeaderOrFollower.code());
    }
    world.log("a", 0).error = ErrorCode::None;
    assert_eq!(told(&world.fetch(VERSION, &message(id, 3, vec![]))).len(), 1, "the error is gone");
    assert_eq!(told(&world.fetch(VERSION, &message(id, 4, vec![]))).len(), 0);
}

#[test]
fn partitions_that_gave_data_are_asked_for_last() {
    let mut world = World::new(100);
    let id = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0), (1, 0), (2, 0)])])).session_id;
    world.log("a", 0).has_data = true;
    world.fetch(VERSION, &message(id, 1, vec![]));
    world.log("a", 0).has_data = false;
    world.log("a", 1).has_data = true;
    world.fetch(VERSION, &message(id, 2, vec![]));
    assert_eq!(world.asked(), [("a", 1, 0), ("a", 2, 0), ("a", 0, 0)]);
    world.fetch(VERSION, &message(id, 3, vec![]));
    assert_eq!(world.asked(), [("a", 2, 0), ("a", 0, 0), ("a", 1, 0)]);
}

#[test]
fn wrong_ids_epochs_and_versions_have_their_own_errors() {
    let mut world = World::new(100);
    let code = |answer: wire::FetchResponse| ErrorCode::from_code(answer.error_code);
    let stranger = world.fetch(VERSION, &message(77, 5, vec![]));
    assert_eq!((stranger.session_id, code(stranger)), (0, ErrorCode::FetchSessionIdNotFound));
    let id = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0)])])).session_id;
    for epoch in [2, -2, i32::MAX] {
        let answer = world.fetch(VERSION, &message(id, epoch, vec![]));
        assert_eq!(code(answer), ErrorCode::InvalidFetchSessionEpoch);
    }
    assert_eq!(code(world.fetch(13, &message(id, 1, vec![]))), ErrorCode::FetchSessionTopicIdError);
    assert_eq!(code(world.fetch(VERSION, &message(id, 1, vec![]))), ErrorCode::None, "none of it hurt");
    // The final epoch closes the session and fetches without one.
    let closing = world.fetch(VERSION, &message(id, -1, vec![topic("a", &[(0, 0)])]));
    assert_eq!((closing.session_id, told(&closing).len()), (0, 1));
    assert_eq!(code(world.fetch(VERSION, &message(id, 2, vec![]))), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(world.session.fetch_session_partitions(), 0);
}

#[test]
fn a_full_fetch_replaces_the_session_it_names() {
    let mut world = World::new(100);
    let first = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0)])])).session_id;
    let second = world.fetch(VERSION, &message(first, 0, vec![topic("b", &[(0, 0)])])).session_id;
    assert_ne!(first, second);
    assert_eq!(world.session.fetch_session_partitions(), 1);
    let answer = world.fetch(VERSION, &message(first, 1, vec![]));
    assert_eq!(answer.error_code, ErrorCode::FetchSessionIdNotFound.code());
}

#[test]
fn topics_by_id_and_partitions_named_twice() {
    let mut world = World::new(100);
    let by_id = |id: u8, offset| wire::FetchTopic {
        topic: Str::default(),
        topic_id: Uuid([id; 16]),
        ..topic("", &[(0, offset)])
    };
    let full = world.fetch(13, &message(0, 0, vec![by_id(1, 3), by_id(2, 4), by_id(1, 5)]));
    assert_eq!(world.asked(), [("1", 0, 5), ("2", 0, 4)], "the last position counts, asked for once");
    assert_eq!(told(&full), [("1".to_owned(), 0), ("2".to_owned(), 0)]);
}

#[test]
fn a_session_that_loses_its_last_partition_ends() {
    let mut world = World::new(100);
    let id = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0)])])).session_id;
    let forgotten = wire::ForgottenTopic { topic: "a".into(), partitions: vec![0], ..Default::default() };
    let last = FetchRequest { forgotten_topics_data: vec![forgotten], ..message(id, 1, vec![]) };
    let answer = world.fetch(VERSION, &last);
    assert_eq!((answer.error_code, answer.session_id, world.asked().len()), (0, 0, 0));
    assert_eq!(world.fetch(VERSION, &message(0, 0, vec![])).session_id, 0, "no session of nothing");
}

#[test]
fn too_many_partitions_go_without_a_session() {
    let mut world = World::new(2);
    let three = topic("a", &[(0, 0), (1, 0), (2, 0)]);
    let answer = world.fetch(VERSION, &message(0, 0, vec![three]));
    assert_eq!((answer.session_id, told(&answer).len()), (0, 3));
    let id = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0), (1, 0)])])).session_id;
    assert!(id > 0);
    let grown = world.fetch(VERSION, &message(id, 1, vec![topic("a", &[(2, 0)])]));
    assert_eq!(grown.error_code, ErrorCode::FetchSessionIdNotFound.code());
    assert_eq!(world.session.fetch_session_partitions(), 0);
}

#[test]
fn all_connections_share_the_nodes_places() {
    let mut config = SessionConfig::new("c", NodeId(0));
    config.fetch_sessions = Arc::new(FetchSessionPool::new(3));
    let config = Arc::new(config);
    let mut worlds: Vec<World> = (0..2)
        .map(|_| World { session: Session::new(config.clone(), ClientInfo::default()), ..World::new(0) })
        .collect();
    let two = || message(0, 0, vec![topic("a", &[(0, 0), (1, 0)])]);
    let id = worlds[0].fetch(VERSION, &two()).session_id;
    assert!(id > 0);
    let answer = worlds[1].fetch(VERSION, &two());
    assert_eq!((answer.session_id, told(&answer).len()), (0, 2), "answered, without a session");
    // Its own session may go on, and makes room when it is closed or its connection ends.
    assert_eq!(worlds[0].fetch(VERSION, &message(id, 1, vec![topic("a", &[(2, 0)])])).error_code, 0);
    worlds[0].fetch(VERSION, &message(id, -1, vec![]));
    assert!(worlds[1].fetch(VERSION, &two()).session_id > 0);
    worlds.pop();
    assert!(worlds[0].fetch(VERSION, &two()).session_id > 0);
}

#[test]
fn the_session_unused_for_longest_gives_way() {
    let mut world = World::new(100);
    let one = || vec![topic("a", &[(0, 0)])];
    let ids: Vec<i32> =
        (0..FETCH_SESSIONS_MAX).map(|_| world.fetch(VERSION, &message(0, 0, one())).session_id).collect();
    assert_eq!(world.fetch(VERSION, &message(ids[0], 1, vec![])).error_code, 0);
    world.fetch(VERSION, &message(0, 0, one()));
    assert_eq!(world.fetch(VERSION, &message(ids[0], 2, vec![])).error_code, 0, "used since");
    let gone = world.fetch(VERSION, &message(ids[1], 1, vec![]));
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound.code());
}

#[test]
fn an_answer_that_the_session_has_overtaken_is_an_error() {
    let mut world = World::new(100);
    let id = world.fetch(VERSION, &message(0, 0, vec![topic("a", &[(0, 0)])])).session_id;
    let Step::Ask { pending, request, .. } = world.send(VERSION, &message(id, 1, vec![])) else {
        panic!("asked")
    };
    world.fetch(VERSION, &message(id, 2, vec![]));
    let response = world.core(&request);
    let late = world.answer(VERSION, pending, response);
    assert_eq!((late.error_code, late.session_id), (ErrorCode::InvalidFetchSessionEpoch.code(), id));
}

/// A client that changes its mind at random: the core is always asked for exactly what the client wants, and what the
/// client was told last is always how the log stands.
#[test]
fn a_seeded_client_and_a_naive_model_agree() {
    for seed in 0..200 {
        let mut values = Values::new(seed);
        let mut world = World::new(100);
        let mut wanted: BTreeMap<(String, i32), i64> = BTreeMap::new();
        let mut known: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
        let (mut id, mut epoch) = (0, 0);
        for _ in 0..40 {
            for _ in 0..values.below(3) {
                let (name, index) = (["a", "b", "c"][values.below(3)], values.below(3) as i32);
                let log = world.log(name, index);
                *log = Log { high_watermark: values.below(3) as i64, has_data: values.coin(), ..*log };
            }
            let mut changed = BTreeMap::new();
            let mut dropped = BTreeSet::new();
            for _ in 0..values.below(4) {
                let key = (["a", "b", "c"][values.below(3)].to_owned(), values.below(3) as i32);
                if values.coin() {
                    dropped.remove(&key);
                    changed.insert(key, values.below(100) as i64);
                } else if changed.remove(&key).is_some() || wanted.contains_key(&key) {
                    dropped.insert(key);
                }
            }
            for key in &dropped {
                wanted.remove(key);
                known.remove(key);
            }
            wanted.extend(changed.clone());
            let send = if epoch == 0 { &wanted } else { &changed };
            let topics = send.iter().map(|((name, index), offset)| topic(name, &[(*index, *offset)]));
            let forgotten = dropped.iter().filter(|_| epoch != 0).map(|(name, index)| wire::ForgottenTopic {
                topic: name.as_str().into(),
                partitions: vec![*index],
                ..Default::default()
            });
            let fetch = FetchRequest {
                forgotten_topics_data: forgotten.collect(),
                ..message(id, epoch, topics.collect())
            };
            let answer = world.fetch(VERSION, &fetch);
            assert_eq!(answer.error_code, 0, "seed {seed}");
            let asked: BTreeMap<_, _> =
                world.asked.iter().map(|(name, index, offset)| ((name.clone(), *index), *offset)).collect();
            assert_eq!((asked, world.asked.len()), (wanted.clone(), wanted.len()), "seed {seed}");
            for topic in &answer.responses {
                for it in &topic.partitions {
                    let told = (it.high_watermark, it.log_start_offset);
                    known.insert((topic.topic.to_string(), it.partition_index), told);
                }
            }
            for key in wanted.keys() {
                let log = world.logs[key];
                assert_eq!(known[key], (log.high_watermark, log.log_start_offset), "seed {seed}");
            }
            (id, epoch) = (answer.session_id, if answer.session_id == 0 { 0 } else { epoch + 1 });
        }
    }
}
