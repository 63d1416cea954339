//! Damaged segments are mended from another replica, while the node goes on.

use super::*;
use model::{Offset, PartitionId};

/// Three nodes with a partition whose first records are in segments everywhere and in no memory.
fn with_segments(seed: u64) -> (Cluster, Vec<Vec<u8>>) {
    let mut c = Cluster::with(seed, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    for mark in 0..60 {
        c.write("a", 0, (9, mark as i32), mark);
    }
    c.until("checkpoints", |c| c.places.iter().all(|place| first_segment(place).is_some()));
    let all = read(&mut c);
    assert_eq!(all.len(), 60);
    (c, all)
}

/// All batches as a client gets them.
fn read(c: &mut Cluster) -> Vec<Vec<u8>> {
    c.read("a", 0).iter().map(|batch| [&batch.prefix()[..], &batch.rest()].concat()).collect()
}

/// The oldest segment of records: its partition, and where its batches begin.
fn first_segment(place: &Place) -> Option<(PartitionId, Vec<Offset>)> {
    let mut segments = place.disk.segments.iter().filter(|(_, segments)| segments.len() > 4);
    let (partition, segments) = segments.next()?;
    Some((*partition, segments[0].1.iter().map(|batch| batch.base_offset).collect()))
}

fn rot(c: &mut Cluster, at: usize) {
    let (partition, offsets) = first_segment(&c.places[at]).expect("there is one");
    c.places[at].disk.rotten.extend(offsets.into_iter().map(|offset| (partition, offset)));
}

fn status(c: &Cluster, at: usize) -> crate::Status {
    c.places[at].node.as_ref().expect("runs").status()
}

#[test]
fn what_a_client_comes_upon_is_mended() {
    let (mut c, all) = with_segments(700);
    let leader = c.leader("a", 0).expect("it was written to");
    rot(&mut c, leader);
    assert!(read(&mut c) == all, "what is damaged is refused until it is whole");
    assert!(c.places[leader].disk.rotten.is_empty());
    let status = status(&c, leader);
    assert_eq!((status.damaged_segments, status.mended_segments_total), (0, 1));
    assert!(status.mended_bytes_total > 0);
    assert_eq!(c.leader("a", 0), Some(leader), "it went on leading");
}

#[test]
fn what_nobody_reads_is_found_by_the_scrub_and_mended() {
    let (mut c, _) = with_segments(710);
    for at in 0..NODES {
        c.until("a whole pass", |c| status(c, at).scrub_passes_total > 0);
        rot(&mut c, at);
        c.kill(at);
        c.start(at);
        c.until("it is whole", |c| c.places[at].disk.rotten.is_empty());
    }
}

#[test]
fn another_replica_is_asked_when_one_is_damaged_too() {
    let (mut c, all) = with_segments(720);
    let leader = c.leader("a", 0).expect("it was written to");
    rot(&mut c, leader);
    rot(&mut c, (leader + 1) % NODES);
    assert!(read(&mut c) == all);
    c.until("both are whole", |c| c.places.iter().all(|place| place.disk.rotten.is_empty()));
}

/// A range that no replica has is never served, and every node says so; as soon as one has it, all have.
#[test]
fn what_no_replica_has_is_said_and_waited_for() {
    let (mut c, all) = with_segments(730);
    let leader = c.leader("a", 0).expect("it was written to");
    for at in 0..NODES {
        rot(&mut c, at);
    }
    let from = |offset| {
        let partition = FetchPartition {
            index: 0,
            current_leader_epoch: -1,
            offset,
            last_fetched_epoch: -1,
            bytes_max: 1 << 20,
        };
        let topics = vec![FetchTopic { topic: TopicRef::Name("a".into()), partitions: vec![partition] }];
        Request::Fetch(Fetch {
            wait_max: Duration::ZERO,
            bytes_min: 1,
            bytes_max: 1 << 20,
            read_committed: false,
            rack: String::new(),
            topics,
        })
    };
    c.call(leader, from(0));
    c.until("it says so", |c| {
        status(c, leader).conditions.iter().any(|line| line.contains("could not be mended"))
    });
    match c.call(leader, from(0)) {
        Some(Response::Fetch(response)) => {
            let told = &response.topics[0].partitions[0];
            assert_eq!((told.error, told.batches.len()), (ErrorCode::KafkaStorageError, 0));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(c.write("a", 0, (9, 60), 60), 60, "writing goes on");
    let other = (leader + 1) % NODES;
    c.places[other].disk.rotten.clear();
    assert!(read(&mut c)[..60] == all);
    c.until("all are whole", |c| c.places.iter().all(|place| place.disk.rotten.is_empty()));
    assert!(!status(&c, leader).conditions.iter().any(|line| line.contains("mended")));
}

/// What the next start would read is written anew from memory, whatever is being written just then.
#[test]
fn a_damaged_log_is_written_anew() {
    let mut c = Cluster::with(740, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", 3), Some(ErrorCode::None));
    let mut marks = 0..;
    for round in 1..=5 {
        for at in 0..NODES {
            c.places[at].disk.log_rotten = Some(7);
            while status(&c, at).log_renewals_total < round {
                let mark = marks.next().expect("endless");
                assert!(mark < 10_000, "the scrub comes to the log however much is written before it");
                assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
            }
        }
    }
    let all = read(&mut c);
    assert_eq!(all.len() as i64, marks.start);
    (0..NODES).for_each(|at| c.kill(at));
    (0..NODES).for_each(|at| c.start(at));
    assert!(read(&mut c) == all);
    assert!(c.places.iter().all(|place| place.disk.log_rotten.is_none()));
}
