//! Records in and out, over restarts, checkpoints, a full disk and a failed one.

use super::topics::{create, delete, new_topic};
use super::{Harness, bases, config};
use crate::NodeConfig;
use crate::command::{Command, Descriptor};
use crate::event::Event;
use crate::request::*;
use crate::sample::batch;
use model::job::JobError;
use model::{BatchHeader, ErrorCode, Offset, Places, RecordFacts};
use std::time::Duration;

fn produce(producer: Option<(i64, i32)>, count: i32) -> Request {
    let bytes = batch(count, 1_000_000, producer, 3000);
    let header = BatchHeader::read(&bytes).expect("header");
    let (oldest, newest) = (Some((0, header.base_timestamp)), Some((0, header.max_timestamp)));
    let facts = RecordFacts { oldest, newest, keyless: Places::default() };
    produce_batch(ProducedBatch { header, bytes, facts })
}

fn produce_batch(batch: ProducedBatch) -> Request {
    let partition = ProducePartition { index: 0, batch: Ok(batch) };
    let topic = ProduceTopic { topic: TopicRef::Name("a".into()), partitions: vec![partition] };
    Request::Produce(Produce { acks: -1, timeout: Duration::from_secs(5), topics: vec![topic] })
}

fn produced(response: Response) -> (ErrorCode, i64) {
    match response {
        Response::Produce(response) => {
            let partition = &response.topics[0].partitions[0];
            (partition.refusal.code, partition.base_offset)
        }
        other => panic!("{other:?}"),
    }
}

fn fetch(offset: i64, wait: Duration) -> Request {
    let partition = FetchPartition {
        index: 0,
        current_leader_epoch: -1,
        offset,
        last_fetched_epoch: -1,
        bytes_max: 1 << 20,
    };
    let topic = FetchTopic { topic: TopicRef::Name("a".into()), partitions: vec![partition] };
    Request::Fetch(Fetch {
        wait_max: wait,
        bytes_min: 1,
        bytes_max: 1 << 20,
        read_committed: false,
        rack: String::new(),
        topics: vec![topic],
    })
}

fn fetched(response: Response) -> FetchedPartition {
    match response {
        Response::Fetch(mut response) => response.topics.remove(0).partitions.remove(0),
        other => panic!("{other:?}"),
    }
}

fn harness() -> Harness {
    let mut h = Harness::new();
    assert_eq!(create(&mut h, vec![new_topic("a", 1)]), [ErrorCode::None]);
    h
}

#[test]
fn an_ack_waits_for_the_disk_and_survives_a_crash() {
    let mut h = harness();
    h.held = true;
    let token = h.ask(produce(None, 3));
    assert!(h.answer(token).is_none(), "not durable yet");
    assert!(fetched(h.call(fetch(0, Duration::ZERO))).batches.is_empty(), "not committed yet");
    h.release();
    assert_eq!(h.answer(token).map(produced), Some((ErrorCode::None, 0)));
    let mut h = h.crash();
    let found = fetched(h.call(fetch(1, Duration::ZERO)));
    assert_eq!((bases(&found.batches), found.high_watermark), (vec![Offset(0)], 3));
    assert_eq!(found.batches[0].header().partition_leader_epoch, 0);
    assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, 3));
    let found = fetched(h.call(fetch(3, Duration::ZERO)));
    assert_eq!(found.batches[0].header().partition_leader_epoch, 1, "a restart is a new leader epoch");
}

#[test]
fn idempotence_over_flight_commit_restart_and_checkpoint() {
    let mut h = harness();
    h.held = true;
    let first = h.ask(produce(Some((5, 0)), 2));
    let retry = h.ask(produce(Some((5, 0)), 2));
    let gap = h.ask(produce(Some((5, 9)), 1));
    assert_eq!(h.answer(gap).map(produced), Some((ErrorCode::OutOfOrderSequenceNumber, -1)));
    assert!(h.answer(retry).is_none(), "a duplicate waits for the first one's commit");
    h.release();
    assert_eq!(h.answer(first).map(produced), Some((ErrorCode::None, 0)));
    assert_eq!(h.answer(retry).map(produced), Some((ErrorCode::None, 0)));
    let mut h = h.crash();
    assert_eq!(produced(h.call(produce(Some((5, 0)), 2))), (ErrorCode::None, 0));
    assert_eq!(produced(h.call(produce(Some((5, 2)), 2))), (ErrorCode::None, 2));
    h.checkpoint();
    let mut h = h.crash();
    assert_eq!(produced(h.call(produce(Some((5, 2)), 2))), (ErrorCode::None, 2));
    assert_eq!(fetched(h.call(fetch(0, Duration::ZERO))).high_watermark, 4);
}

/// What producers in flight and over a restart have taken counts, and what a deleted topic gives back.
#[test]
fn new_producers_are_refused_when_a_shard_remembers_too_many() {
    let mut h = harness();
    let at = h.node.shards.iter().position(|shard| !shard.partitions.is_empty()).expect("the topic's shard");
    h.node.shards[at].producers_max = 8;
    h.held = true;
    let sent: Vec<_> = (0..9).map(|id| h.ask(produce(Some((id, 0)), 1))).collect();
    h.release();
    let codes: Vec<_> =
        sent.into_iter().filter_map(|token| h.answer(token)).map(|it| produced(it).0).collect();
    assert_eq!(codes[..8], [ErrorCode::None; 8]);
    assert_eq!(codes[8..], [ErrorCode::PolicyViolation]);
    let refusals =
        |h: &Harness| h.logged.iter().filter(|line| line.contains("a new producer was refused")).count();
    assert_eq!(produced(h.call(produce(Some((9, 0)), 1))).0, ErrorCode::PolicyViolation);
    assert_eq!(refusals(&h), 1, "one line");
    assert_eq!(produced(h.call(produce(Some((0, 1)), 1))).0, ErrorCode::None, "who is known goes on");
    assert_eq!(produced(h.call(produce(None, 1))).0, ErrorCode::None, "without idempotence nothing is kept");
    h.checkpoint();
    assert_eq!(produced(h.call(produce(Some((1, 1)), 1))).0, ErrorCode::None);

    let mut h = h.crash();
    h.node.shards[at].producers_max = 8;
    assert_eq!(produced(h.call(produce(Some((9, 0)), 1))).0, ErrorCode::PolicyViolation);
    h.pass(Duration::from_secs(14 * 60));
    assert_eq!(produced(h.call(produce(Some((0, 2)), 1))).0, ErrorCode::None);
    h.pass(Duration::from_secs(5 * 60));
    assert_eq!(produced(h.call(produce(Some((9, 0)), 1))).0, ErrorCode::None, "silent ones made room");
    assert!(matches!(produced(h.call(produce(Some((0, 2)), 1))), (ErrorCode::None, 11)), "a retry is known");
    h.node.shards[at].producers_max = 2;
    assert_eq!(produced(h.call(produce(Some((1, 2)), 1))).0, ErrorCode::PolicyViolation, "forgotten");
    delete(&mut h, TopicRef::Name("a".into()));
    assert!(h.node.shards[at].has_room_for_producer());
    h.node.shards[at].producers_max = 8;
    h.pass(Duration::from_secs(5 * 60));
    assert!(!h.node.crowd_reported, "the next crowd has a line again");
}

#[test]
fn long_polls_end_with_data_or_with_time() {
    let mut h = harness();
    let waiting = h.ask(fetch(0, Duration::from_millis(500)));
    assert!(h.answer(waiting).is_none());
    h.call(produce(None, 1));
    assert_eq!(h.answer(waiting).map(fetched).map(|p| p.batches.len()), Some(1));
    let waiting = h.ask(fetch(1, Duration::from_millis(500)));
    h.pass(Duration::from_millis(499));
    assert!(h.answer(waiting).is_none());
    h.pass(Duration::from_millis(1));
    assert_eq!(h.answer(waiting).map(fetched).map(|p| p.batches.len()), Some(0));
    let gone = h.ask(fetch(1, Duration::from_millis(500)));
    h.event(Event::ConnectionClosed(ConnectionId(1)));
    h.call(produce(None, 1));
    assert!(h.answer(gone).is_none());
}

#[test]
fn records_below_memory_come_from_segments() {
    let mut h = harness();
    for at in 0..800 {
        assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, at));
    }
    assert!(h.status().checkpoints_total > 0, "memory filled up");
    assert!(h.status().tail_bytes <= 1 << 20);
    let mut offset = 0;
    while offset < 800 {
        let found = fetched(h.call(fetch(offset, Duration::ZERO)));
        assert_eq!(found.batches[0].base_offset, Offset(offset));
        offset = found.batches.last().expect("some").next_offset().0;
    }
    assert!(h.status().segment_reads_total > 0);
    let mut h = h.crash();
    assert_eq!(fetched(h.call(fetch(0, Duration::ZERO))).high_watermark, 800);
}

#[test]
fn offsets_out_of_range_and_wrong_epochs() {
    let mut h = harness();
    h.call(produce(None, 2));
    assert_eq!(fetched(h.call(fetch(3, Duration::ZERO))).error, ErrorCode::OffsetOutOfRange);
    assert_eq!(fetched(h.call(fetch(-1, Duration::ZERO))).error, ErrorCode::OffsetOutOfRange);
    let with_epoch = |epoch| {
        let Request::Fetch(mut request) = fetch(0, Duration::ZERO) else { unreachable!() };
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        Request::Fetch(request)
    };
    let mut h = h.crash();
    assert_eq!(fetched(h.call(with_epoch(0))).error, ErrorCode::FencedLeaderEpoch);
    assert_eq!(fetched(h.call(with_epoch(2))).error, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(fetched(h.call(with_epoch(1))).error, ErrorCode::None);
}

#[test]
fn delete_records_and_list_offsets() {
    let mut h = harness();
    for _ in 0..4 {
        h.call(produce(None, 2));
    }
    let delete = DeleteRecords { topics: vec![("a".into(), vec![(0, 5), (7, 1)])], timeout: Duration::ZERO };
    match h.call(Request::DeleteRecords(delete)) {
        Response::DeleteRecords(response) => assert_eq!(
            response.topics[0].1,
            [(0, 5, ErrorCode::None), (7, -1, ErrorCode::UnknownTopicOrPartition)]
        ),
        other => panic!("{other:?}"),
    }
    h.checkpoint();
    let mut h = h.crash();
    assert_eq!(fetched(h.call(fetch(4, Duration::ZERO))).error, ErrorCode::OffsetOutOfRange);
    let list = |h: &mut Harness, target| {
        let partition = ListOffsetsPartition { index: 0, current_leader_epoch: -1, target };
        let topic = ListOffsetsTopic { topic: TopicRef::Name("a".into()), partitions: vec![partition] };
        match h.call(Request::ListOffsets(ListOffsets { read_committed: false, topics: vec![topic] })) {
            Response::ListOffsets(mut response) => response.topics.remove(0).partitions.remove(0).found,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(list(&mut h, OffsetTarget::Earliest), FoundOffset::Offset { offset: 5, .. }));
    assert!(matches!(list(&mut h, OffsetTarget::Latest), FoundOffset::Offset { offset: 8, .. }));
    assert!(
        matches!(list(&mut h, OffsetTarget::Timestamp(5)), FoundOffset::InBatch { batch, from: 5, .. } if batch.base_offset == Offset(4))
    );
    assert!(matches!(list(&mut h, OffsetTarget::Timestamp(2_000_000)), FoundOffset::Nothing));
}

#[test]
fn a_reader_of_trimmed_epochs_is_not_sent_away() {
    let mut h = harness();
    h.call(produce(None, 2));
    let mut h = h.crash(); // epoch 1
    h.call(produce(None, 3));
    let delete = |to| {
        Request::DeleteRecords(DeleteRecords {
            topics: vec![("a".into(), vec![(0, to)])],
            timeout: Duration::from_secs(1),
        })
    };
    h.call(delete(3));
    let mut ends = |leader_epoch| {
        let asked = EpochQuery { index: 0, current_leader_epoch: -1, leader_epoch };
        let request = OffsetForLeaderEpoch { topics: vec![("a".into(), vec![asked])] };
        match h.call(Request::OffsetForLeaderEpoch(request)) {
            Response::OffsetForLeaderEpoch(response) => {
                let end = &response.topics[0].1[0];
                (end.error, end.leader_epoch, end.end_offset)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ends(0), (ErrorCode::None, 0, 3), "nothing of it is left, nothing of it is missed");
    assert_eq!(ends(1), (ErrorCode::None, 1, 5));
    assert_eq!(ends(2), (ErrorCode::None, -1, -1), "of the future");
    assert_eq!(ends(-1), (ErrorCode::None, -1, -1));
}

#[test]
fn records_of_a_compacted_topic_are_not_deleted() {
    let mut h = Harness::new();
    let policy = |words: &str| vec![("cleanup.policy".to_owned(), Some(words.to_owned()))];
    let topic = |name: &str, words| NewTopic { configs: policy(words), ..new_topic(name, 1) };
    create(&mut h, vec![topic("a", "compact"), topic("b", "compact,delete")]);
    for (name, expected) in [("a", ErrorCode::PolicyViolation), ("b", ErrorCode::None)] {
        let topics = vec![(name.to_owned(), vec![(0, -1)])];
        let request = DeleteRecords { topics, timeout: Duration::from_secs(1) };
        match h.call(Request::DeleteRecords(request)) {
            Response::DeleteRecords(response) => assert_eq!(response.topics[0].1[0].2, expected, "{name}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn records_that_break_a_rule_of_their_topic_are_named() {
    let mut h = Harness::new();
    let config = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let configs =
        vec![config("cleanup.policy", "compact"), config("message.timestamp.before.max.ms", "1000")];
    create(&mut h, vec![NewTopic { configs, ..new_topic("a", 1) }]);
    let now = h.now.wall.0;
    let mut send = |oldest, newest, keyless: &[i32]| {
        let bytes = batch(5, now, None, 100);
        let header = BatchHeader::read(&bytes).expect("header");
        let facts = RecordFacts { oldest, newest, keyless: keyless.iter().copied().collect() };
        match h.call(produce_batch(ProducedBatch { header, bytes, facts })) {
            Response::Produce(mut response) => {
                let it = response.topics.remove(0).partitions.remove(0);
                (it.refusal.code, it.record_errors.into_iter().map(|(place, _)| place).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        }
    };
    let fine = (ErrorCode::None, vec![]);
    assert_eq!(send(Some((0, now - 1000)), Some((1, now)), &[]), fine);
    assert_eq!(send(None, None, &[]), fine, "records without timestamps are neither old nor new");
    assert_eq!(send(Some((3, now - 1001)), Some((0, now)), &[]), (ErrorCode::InvalidTimestamp, vec![3]));
    let late = Some((1, now + 3_600_001));
    assert_eq!(send(Some((3, now - 1001)), late, &[]), (ErrorCode::InvalidTimestamp, vec![1, 3]));
    assert_eq!(send(Some((0, now)), Some((0, now)), &[0, 2, 3]), (ErrorCode::InvalidRecord, vec![0, 2, 3]));
}

/// Seed 3316 of the one-node world: the node stopped, and again at each start.
#[test]
fn a_partition_may_grow_and_go_within_one_entry() {
    let mut h = harness();
    h.held = true;
    let topics = vec![TopicRef::Name("a".into())];
    let deletion = h.ask(Request::DeleteTopics(DeleteTopics { topics, timeout: Duration::from_secs(5) }));
    let late = h.ask(produce(None, 1));
    // While memory is full nothing is proposed: what the deletion leads to joins the batch that waits.
    let roomy = std::mem::replace(&mut h.node.config.tail_bytes_max, 0);
    let (id, job) = h.jobs.pop_front().expect("the catalogue's commit");
    let result = h.disk.run(job);
    h.event(Event::JobDone { id, result });
    h.node.config.tail_bytes_max = roomy;
    h.release();
    assert!(h.answer(deletion).is_some());
    assert_eq!(h.answer(late).map(produced), Some((ErrorCode::None, 0)));
    let entries = h.disk.entries.values().flatten().filter(|entry| !entry.descriptor.is_empty());
    let mut descriptors = entries.map(|entry| Descriptor::decode(&entry.descriptor).expect("as written"));
    let grows_and_goes = |commands: &[Command]| matches!(commands, [Command::Append { partition, .. }, Command::RemovePartition { partition: gone, .. }] if partition == gone);
    assert!(descriptors.any(|it| grows_and_goes(&it.commands)), "both are in one entry");
    assert_eq!(h.status().tail_bytes, 0);
    let h = h.crash();
    assert!(h.status().ready, "the entry is replayed");
    assert_eq!((h.status().partitions, h.status().tail_bytes), (0, 0));
}

#[test]
fn min_insync_replicas_is_for_acks_all() {
    let mut h = Harness::new();
    let configs = vec![("min.insync.replicas".to_owned(), Some("2".to_owned()))];
    create(&mut h, vec![NewTopic { configs, ..new_topic("a", 1) }]);
    for (acks, expected) in [(-1, ErrorCode::NotEnoughReplicas), (1, ErrorCode::None), (0, ErrorCode::None)] {
        let Request::Produce(request) = produce(None, 1) else { unreachable!() };
        let response = h.call(Request::Produce(Produce { acks, ..request }));
        assert_eq!(produced(response).0, expected, "acks={acks}");
    }
    assert_eq!(fetched(h.call(fetch(0, Duration::ZERO))).high_watermark, 2);
}

#[test]
fn a_full_disk_refuses_records_and_recovers() {
    let mut h = harness();
    h.held = true;
    let token = h.ask(produce(None, 1));
    h.fail_job(JobError::NoSpace);
    assert_eq!(h.call(produce(None, 1)).pipe(produced).0, ErrorCode::KafkaStorageError);
    assert!(h.status().conditions.iter().any(|text| text.contains("disk is full")));
    assert!(fetched(h.call(fetch(0, Duration::ZERO))).error.is_none(), "reads go on");
    h.held = false;
    h.pass(Duration::from_secs(1));
    assert_eq!(h.answer(token).map(produced), Some((ErrorCode::None, 0)), "the append was tried again");
    assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, 1));
}

#[test]
fn a_failed_device_stops_the_node() {
    let mut h = harness();
    h.held = true;
    let token = h.ask(produce(None, 1));
    h.fail_job(JobError::Device { detail: "EIO".into() });
    assert!(h.answer(token).is_none());
    assert!(matches!(&h.stopped, Some(Some(reason)) if reason.contains("EIO")));
}

#[test]
fn a_clean_stop_leaves_nothing_to_replay() {
    let mut h = harness();
    h.call(produce(None, 1));
    h.event(Event::Shutdown);
    assert_eq!(h.stopped, Some(None));
    assert!(h.disk.entries.values().all(Vec::is_empty), "the checkpoint has everything");
    let mut h = h.crash();
    assert_eq!(fetched(h.call(fetch(0, Duration::ZERO))).batches.len(), 1);
}

#[test]
fn nothing_follows_a_clean_checkpoint() {
    let mut h = harness();
    h.call(produce(None, 1));
    h.checkpoint();
    h.held = true;
    h.event(Event::Shutdown);
    h.pass(Duration::from_secs(8 * 24 * 60 * 60)); // retention wants to trim now
    assert_eq!(h.jobs.len(), 1, "only the checkpoint: {:?}", h.jobs);
    h.release();
    assert_eq!(h.stopped, Some(None));
}

/// Seed 1840 of the one-node world: a producer's first batch was dropped while the node closed; there was no space for that, the
/// node went on, and the second batch was taken.
#[test]
fn a_clean_stop_without_space_stops() {
    let mut h = harness();
    h.call(produce(None, 1));
    h.held = true;
    h.event(Event::Shutdown);
    let late = h.ask(produce(None, 1));
    h.fail_job(JobError::NoSpace);
    assert_eq!(h.stopped, Some(None));
    assert!(h.answer(late).is_none());
    let mut h = h.crash();
    assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, 1));
}

/// Three nodes on one full disk: none could commit what it had taken, and none came to its end.
#[test]
fn a_stop_does_not_wait_for_an_append_that_finds_no_space() {
    let mut h = harness();
    h.call(produce(None, 1));
    h.held = true;
    let unanswered = h.ask(produce(None, 1));
    h.fail_job(JobError::NoSpace);
    assert_eq!(h.stopped, None);
    h.event(Event::Shutdown);
    assert_eq!(h.stopped, Some(None));
    assert!(h.answer(unanswered).is_none());
    let mut h = h.crash();
    assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, 1));
}

/// Memory is full of what no segment has, and the disk has no room for segments: only a deletion helps, and it must get through.
#[test]
fn with_memory_and_disk_full_records_are_refused_and_topics_can_be_deleted() {
    let config = NodeConfig { tail_bytes_max: 10_000, checkpoint_bytes: 1 << 30, ..config() };
    let mut h = Harness::with(config);
    create(&mut h, vec![new_topic("a", 1)]);
    h.no_space_for_checkpoints = true;
    let refused = (0..1000).any(|_| produced(h.call(produce(None, 1))).0 == ErrorCode::KafkaStorageError);
    assert!(refused, "memory is bounded");
    assert!(h.status().conditions.iter().any(|text| text.contains("disk is full")));
    delete(&mut h, TopicRef::Name("a".into()));
    h.no_space_for_checkpoints = false;
    h.pass(Duration::from_secs(10));
    create(&mut h, vec![new_topic("a", 1)]);
    assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, 0));
}

#[test]
fn a_full_memory_tail_does_not_wait_for_the_checkpoint_timer() {
    let config = NodeConfig { tail_bytes_max: 10_000, checkpoint_bytes: 1 << 30, ..config() };
    let mut h = Harness::with(config);
    create(&mut h, vec![new_topic("a", 1)]);
    for at in 0..50 {
        assert_eq!(produced(h.call(produce(None, 1))), (ErrorCode::None, at));
    }
    assert!(h.status().checkpoints_total > 0);
}

#[test]
fn requests_wait_for_the_start() {
    let h = harness();
    let (config, disk) = (h.node.config.clone(), h.disk.clone());
    let mut h = Harness::over(config.clone(), disk.clone());
    h.node = super::Node::new(config, disk.recovered(), h.now).expect("start");
    h.held = true;
    let token = h.ask(produce(None, 1));
    assert!(!h.status().ready);
    h.release();
    assert!(h.status().ready);
    assert_eq!(h.answer(token).map(produced), Some((ErrorCode::None, 0)));
}

#[test]
fn old_segments_go_by_time() {
    let mut h = harness();
    h.call(produce(None, 2));
    h.checkpoint();
    h.pass(Duration::from_secs(8 * 24 * 60 * 60));
    assert_eq!(fetched(h.call(fetch(0, Duration::ZERO))).error, ErrorCode::OffsetOutOfRange);
    assert_eq!(fetched(h.call(fetch(2, Duration::ZERO))).log_start_offset, 2);
    h.checkpoint();
    assert!(h.disk.segments.values().all(Vec::is_empty));
    let mut h = h.crash();
    assert_eq!(fetched(h.call(fetch(2, Duration::ZERO))).high_watermark, 2);
}

trait Pipe: Sized {
    fn pipe<T>(self, into: impl FnOnce(Self) -> T) -> T {
        into(self)
    }
}
impl Pipe for Response {}
