//! A full disk with several topics: deletions, retention and DeleteRecords give space back, without a flush of the others,
//! and a restart at that moment finds everything.

use super::topics::{create, delete, new_topic};
use super::{Harness, ROOM, WAL_RESERVE_BYTES};
use crate::request::*;
use crate::sample::batch;
use model::{BatchHeader, ErrorCode, Places, RecordFacts};
use std::time::Duration;

fn ask(h: &mut Harness, topic: &str) -> Token {
    let bytes = batch(1, 1_000_000, None, 3000);
    let header = BatchHeader::read(&bytes).expect("header");
    let (oldest, newest) = (Some((0, header.base_timestamp)), Some((0, header.max_timestamp)));
    let facts = RecordFacts { oldest, newest, keyless: Places::default() };
    let partition = ProducePartition { index: 0, batch: Ok(ProducedBatch { header, bytes, facts }) };
    let topic = ProduceTopic { topic: TopicRef::Name(topic.into()), partitions: vec![partition] };
    h.ask(Request::Produce(Produce { acks: -1, timeout: Duration::from_secs(5), topics: vec![topic] }))
}

fn outcome(h: &mut Harness, token: Token) -> ErrorCode {
    match h.answer(token) {
        Some(Response::Produce(response)) => response.topics[0].partitions[0].refusal.code,
        other => panic!("{other:?}"),
    }
}

fn produce(h: &mut Harness, topic: &str) -> ErrorCode {
    let token = ask(h, topic);
    outcome(h, token)
}

/// Log start and high watermark.
fn range(h: &mut Harness, topic: &str) -> (i64, i64) {
    let offset = |h: &mut Harness, target| {
        let partition = ListOffsetsPartition { index: 0, current_leader_epoch: -1, target };
        let topic = ListOffsetsTopic { topic: TopicRef::Name(topic.into()), partitions: vec![partition] };
        match h.call(Request::ListOffsets(ListOffsets { read_committed: false, topics: vec![topic] })) {
            Response::ListOffsets(mut response) => response.topics.remove(0).partitions.remove(0).found,
            other => panic!("{other:?}"),
        }
    };
    match (offset(h, OffsetTarget::Earliest), offset(h, OffsetTarget::Latest)) {
        (FoundOffset::Offset { offset: from, .. }, FoundOffset::Offset { offset: to, .. }) => (from, to),
        other => panic!("{other:?}"),
    }
}

/// Two topics with a segment each; then the log has no room, the disk none for segments, and "b" has a record in no segment.
fn full() -> Harness {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 1), new_topic("b", 1)]);
    for topic in ["a", "b"] {
        assert_eq!(produce(&mut h, topic), ErrorCode::None);
    }
    h.checkpoint();
    assert_eq!(files(&h), 2);
    h.no_space_for_checkpoints = true;
    h.disk.room_taken = ROOM;
    assert_eq!(produce(&mut h, "b"), ErrorCode::None);
    for topic in ["a", "b"] {
        assert_eq!(produce(&mut h, topic), ErrorCode::KafkaStorageError);
    }
    h
}

fn files(h: &Harness) -> usize {
    h.disk.segments.values().map(Vec::len).sum()
}

/// Space has come: everything goes on, without a restart and after one.
fn goes_on(mut h: Harness) {
    h.no_space_for_checkpoints = false;
    h.disk.room_taken = 0;
    h.pass(Duration::from_secs(2));
    assert_eq!(produce(&mut h, "b"), ErrorCode::None);
    assert!(h.status().conditions.is_empty(), "{:?}", h.status().conditions);
    assert_eq!(range(&mut h, "b"), (0, 3));
    assert_eq!(range(&mut h.crash(), "b"), (0, 3));
}

/// What waits for the log counts: the third batch would not fit behind the two before, and the deletion goes through.
#[test]
fn a_batch_that_the_log_has_no_room_for_is_not_taken() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 1), new_topic("b", 1)]);
    h.disk.room_taken = ROOM - WAL_RESERVE_BYTES - 5 * 3000;
    h.pass(Duration::from_secs(1));
    assert_eq!(produce(&mut h, "a"), ErrorCode::None, "an append brings news of the room");
    h.held = true;
    let waiting = [ask(&mut h, "a"), ask(&mut h, "a")];
    assert_eq!(produce(&mut h, "a"), ErrorCode::KafkaStorageError, "for want of room at once");
    assert_eq!(h.status().conditions.len(), 1, "{:?}", h.status().conditions);
    h.held = false;
    delete(&mut h, TopicRef::Name("b".into()));
    for token in waiting {
        assert_eq!(outcome(&mut h, token), ErrorCode::None);
    }
    assert_eq!(range(&mut h, "a"), (0, 3));
    h.disk.room_taken = 0;
    h.pass(Duration::from_secs(1));
    assert!(h.status().conditions.is_empty(), "a probe found room: {:?}", h.status().conditions);
    assert_eq!(produce(&mut h, "a"), ErrorCode::None);
}

#[test]
fn a_deletion_frees_its_segments_at_once() {
    let mut h = full();
    delete(&mut h, TopicRef::Name("a".into()));
    assert_eq!(files(&h), 1, "before any time has passed");
    goes_on(h);
}

#[test]
fn a_restart_behind_a_deletion_on_a_full_disk_finds_the_others() {
    let mut h = full();
    delete(&mut h, TopicRef::Name("a".into()));
    let mut h = h.crash();
    assert_eq!(range(&mut h, "b"), (0, 2));
    assert_eq!(create(&mut h, vec![new_topic("a", 1)]), [ErrorCode::None], "the old one is gone");
    assert_eq!(range(&mut h, "a"), (0, 0));
    goes_on(h);
}

#[test]
fn deleted_records_free_their_segments_at_once() {
    let mut h = full();
    let topics = vec![("a".into(), vec![(0, 1)])];
    h.call(Request::DeleteRecords(DeleteRecords { topics, timeout: Duration::from_secs(1) }));
    assert_eq!(files(&h), 1);
    let mut h = h.crash();
    assert_eq!(range(&mut h, "a"), (1, 1));
    goes_on(h);
}

#[test]
fn retention_frees_segments_with_the_next_try() {
    let mut h = full();
    h.pass(Duration::from_secs(8 * 24 * 60 * 60));
    h.pass(Duration::from_secs(2)); // the checkpoint's own timer came first and found no space
    assert_eq!(files(&h), 0, "both topics' only segments are too old");
    let mut h = h.crash();
    assert_eq!(range(&mut h, "a"), (1, 1));
    assert_eq!(range(&mut h, "b"), (1, 2), "what no segment has is kept");
}
