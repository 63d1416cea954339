//! A node that was away for longer than the log of the others reaches back.

use super::*;
use crate::peer::Range;
use model::job::SegmentMeta;
use model::{Offset, PartitionId, TopicId};

impl Place {
    /// Records on a node that runs, all partitions together.
    fn held(&self) -> i64 {
        let node = self.node.as_ref().expect("it runs");
        let partitions = node.shards.iter().flat_map(|shard| shard.partitions.values());
        partitions.map(|partition| partition.log.log_end.0).sum()
    }
}

/// A node that was away for long gets the state and pulls the records; killed on the way it begins again where it was.
#[test]
fn who_was_away_for_long_catches_up() {
    for seed in 0..4 {
        let mut c = Cluster::with(2000 + seed, 3000);
        c.all_ready();
        assert_eq!(c.create(0, "a", 3), Some(ErrorCode::None));
        c.kill(2);
        let mut written = 0;
        for mark in 0..60 {
            for index in 0..3 {
                assert_eq!(c.write("a", index, (9 + i64::from(index), mark as i32), mark), mark);
            }
            written += 1;
        }
        assert_eq!(c.create(0, "b", 2), Some(ErrorCode::None));
        assert_eq!(c.write("b", 1, (20, 0), 0), 0);
        c.start(2);
        if seed % 2 == 1 {
            c.until("it begins", |c| c.logged.keys().any(|words| words.contains("installing a state")));
            c.run_for(Duration::from_millis(2 + seed));
            c.kill(2);
            c.start(2);
        }
        c.all_ready();
        c.until("it has all", |c| c.places.iter().all(|place| place.held() == 3 * written + 1));
        // The two that have it all go: what it pulled is what it serves.
        c.kill(0);
        c.run_for(Duration::from_secs(7));
        c.kill(1);
        c.start(0);
        let marks: Vec<i64> = c.read("a", 1).iter().map(|batch| batch.header().base_timestamp).collect();
        assert_eq!(marks, (0..written).collect::<Vec<i64>>());
    }
}

#[test]
fn catching_up_keeps_to_its_rate() {
    // Bytes to fetch, and how long it takes.
    let catch_up = |rate| {
        let mut c = Cluster::with(2050, 3000);
        c.catch_up_rate = rate;
        c.all_ready();
        assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
        c.kill(2);
        for mark in 0..200 {
            assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
        }
        let bytes: usize = c.read("a", 0).iter().map(StoredBatch::size).sum();
        c.start(2);
        c.until("it begins", |c| c.logged.keys().any(|words| words.contains("installing a state")));
        let time = c.until("it has all", |c| c.places[2].held() == 200);
        (bytes, time)
    };
    assert!(catch_up(1 << 30).1 < Duration::from_secs(1));
    let rate = 16 << 10;
    let (bytes, time) = catch_up(rate);
    // The first four pulls of 2,000 bytes come at once.
    let expected = (bytes - 4 * 2_000) as f64 / rate as f64;
    assert!((0.9..1.2).contains(&(time.as_secs_f64() / expected)), "{time:?} instead of {expected} s");
}

/// Clients that write faster than a node may fetch do not keep it away for good: it fetches faster from round to round.
#[test]
fn who_is_written_to_faster_than_it_fetches_catches_up() {
    let mut c = Cluster::with(2060, 3000);
    c.catch_up_rate = 2 << 10;
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    c.kill(2);
    let mut marks = 0..;
    let mut write = |c: &mut Cluster| {
        let mark = marks.next().expect("endless");
        assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
        mark + 1
    };
    (0..60).for_each(|_| assert!(write(&mut c) > 0));
    c.start(2);
    let began = c.now;
    let mut written = 60;
    let is_behind = |c: &Cluster, written: i64| {
        let node = c.places[2].node.as_ref().expect("it runs");
        node.is_catching_up() || c.places[2].held() + 20 < written
    };
    while c.now.since(began) < Duration::from_secs(10) || is_behind(&c, written) {
        assert!(c.now.since(began) < Duration::from_secs(300), "it does not come near");
        c.run_for(Duration::from_millis(20));
        written = write(&mut c);
    }
    let size = c.read("a", 0).iter().map(StoredBatch::size).max().expect("written") as f64;
    let per_second = size * (written - 60) as f64 / c.now.since(began).as_secs_f64();
    assert!(per_second > 1.2 * (2 << 10) as f64, "they wrote {per_second} bytes per second only");
    assert!(c.logged.keys().any(|words| words.contains("clients write nearly as fast")), "{:?}", c.logged);
}

/// The log holds more than it should, because of what waits for its records: checkpoints that change nothing would only cost.
#[test]
fn no_checkpoint_is_made_while_records_are_waited_for() {
    let mut c = Cluster::with(2070, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    c.kill(2);
    for mark in 0..60 {
        assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
    }
    c.lost = Some(|_, message| matches!(message, PeerMessage::Pull(_)));
    c.start(2);
    c.until("it begins", |c| c.logged.keys().any(|words| words.contains("installing a state")));
    c.run_for(Duration::from_secs(1));
    c.places[2].node.as_mut().expect("it runs").config.wal_held_bytes_max = 0;
    let made = |c: &Cluster| c.places[2].node.as_ref().expect("it runs").checkpoint.total;
    let before = made(&c);
    c.run_for(Duration::from_secs(10));
    assert!(c.places[2].node.as_ref().expect("it runs").is_catching_up());
    assert!(made(&c) <= before + 2, "{} checkpoints for nothing", made(&c) - before);
    c.lost = None;
    c.until("it has all", |c| c.places[2].held() == 60);
}

/// A topic that is deleted while a node still wants its records: they are nowhere any more, and the node goes on without.
#[test]
fn a_topic_deleted_meanwhile_is_not_waited_for() {
    let mut c = Cluster::with(2100, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    assert_eq!(c.create(0, "b", 1), Some(ErrorCode::None));
    c.kill(2);
    for mark in 0..60 {
        assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
        assert_eq!(c.write("b", 0, (10, mark as i32), mark), mark);
    }
    c.lost = Some(|_, message| matches!(message, PeerMessage::Pull(_)));
    c.start(2);
    c.until("it begins", |c| c.logged.keys().any(|words| words.contains("installing a state")));
    c.run_for(Duration::from_secs(1));
    let topics = vec![TopicRef::Name("a".into())];
    let delete = DeleteTopics { topics, timeout: Duration::from_secs(5) };
    match c.call(0, Request::DeleteTopics(delete)) {
        Some(Response::DeleteTopics(response)) => assert!(response.topics[0].refusal.is_ok()),
        other => panic!("{other:?}"),
    }
    c.lost = None;
    c.all_ready();
    c.until("all have come equally far", |c| {
        let applied = |place: &Place| place.node.as_ref().map(|node| node.applied().collect::<Vec<_>>());
        c.places.iter().all(|place| applied(place) == applied(&c.places[0]))
    });
    let states = |place: &Place| {
        let node = place.node.as_ref().expect("all run");
        node.states().map(|state| state.state).collect::<Vec<_>>()
    };
    assert!(c.places.iter().all(|place| states(place) == states(&c.places[0])));
    let marks: Vec<i64> = c.read("b", 0).iter().map(|batch| batch.header().base_timestamp).collect();
    assert_eq!(marks, (0..60).collect::<Vec<i64>>());
}

/// Whom a node pulls from has nothing (its disk was replaced): one after the other says so, and that leads to another source, not past it
/// and back. (`sim --world three --seed 3595` once.)
#[test]
fn answers_without_records_change_the_source_once() {
    let mut c = Cluster::with(2110, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", 8), Some(ErrorCode::None));
    c.kill(2);
    for mark in 0..60 {
        for index in 0..8 {
            assert_eq!(c.write("a", index, (9 + i64::from(index), mark as i32), mark), mark);
        }
    }
    c.lost = Some(|_, message| matches!(message, PeerMessage::Pull(_)));
    c.start(2);
    let pulls = |c: &Cluster| {
        let node = c.places[2].node.as_ref().expect("it runs");
        let pulls = node.catch_up.pulls.iter().map(|(number, pull)| (pull.at, *number)).collect::<Vec<_>>();
        let at =
            pulls.iter().map(|(at, _)| *at).find(|at| pulls.iter().filter(|it| it.0 == *at).count() % 2 == 0);
        at.map(|at| (at, pulls.iter().filter(|it| it.0 == at).map(|it| it.1).collect::<Vec<_>>()))
    };
    c.until("an even number of a shard's partitions is pulled", |c| pulls(c).is_some());
    let (at, numbers) = pulls(&c).expect("just seen");
    let now = c.clock();
    let node = c.places[2].node.as_mut().expect("it runs");
    let before = node.catch_up.installs[&at].source;
    for number in numbers {
        node.on_range(now, Range { number, batches: Vec::new(), starts_at: None }, &mut Vec::new());
    }
    assert_ne!(node.catch_up.installs[&at].source, before);
}

/// A checkpoint may end when the state for which it took records along is no longer wanted: what it wrote counts all the same, or a
/// later pull would begin in front of what is there.
#[test]
fn what_is_on_disk_of_a_partition_that_no_state_knows_is_remembered() {
    let mut c = Cluster::new(2);
    let node = c.places[0].node.as_mut().expect("it runs");
    let id = PartitionId { topic: TopicId([7; 16]), index: 3 };
    let segment = SegmentMeta {
        base_offset: Offset(0),
        end_offset: Offset(9),
        size: 4096,
        batch_bytes: 900,
        first_timestamp: 0,
        max_timestamp: 0,
    };
    node.keep_stray(id, vec![segment]);
    assert_eq!(node.catch_up.strays.get(&id), Some(&vec![segment]));
    node.keep_stray(id, Vec::new());
    assert_eq!(node.catch_up.strays.get(&id), None, "the files are gone");
}
