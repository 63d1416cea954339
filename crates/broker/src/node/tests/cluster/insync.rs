//! `min.insync.replicas` above the majority: nothing is acknowledged before so many replicas have it.

use super::*;

#[test]
fn min_insync_replicas_above_the_majority_holds_the_ack() {
    let mut c = Cluster::new(5);
    c.all_ready();
    let configs = vec![("min.insync.replicas".to_owned(), Some("3".to_owned()))];
    assert_eq!(c.create_with(0, NewTopic { configs, ..new_topic("a", 1) }), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(3));
    for mark in 0..10 {
        assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
        let batches = |place: &Place| {
            let entries = place.disk.entries.values().flatten();
            entries.filter(|entry| entry.payload.size() > 0).count() as i64
        };
        assert!(c.places.iter().all(|place| batches(place) > mark), "acknowledged before all three have it");
    }
    let leader = c.leader("a", 0).expect("it was written to");
    c.kill((leader + 1) % NODES);
    c.run_for(Duration::from_secs(3));
    let refused = c.try_write(leader, "a", 0, (9, 10), 10).expect("it lives");
    assert_eq!(refused.topics[0].partitions[0].refusal.code, ErrorCode::NotEnoughReplicas);
}

/// A batch that was sent again is acknowledged no earlier than the first, whether that is in flight or committed.
#[test]
fn min_insync_replicas_holds_the_ack_of_a_duplicate() {
    let mut c = Cluster::new(14);
    c.all_ready();
    let configs = vec![("min.insync.replicas".to_owned(), Some("3".to_owned()))];
    assert_eq!(c.create_with(0, NewTopic { configs, ..new_topic("a", 1) }), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(3));
    assert_eq!(c.write("a", 0, (9, 0), 0), 0);
    let leader = c.leader("a", 0).expect("it was written to");
    let away = (leader + 1) % NODES;
    for other in (0..NODES).filter(|other| *other != away) {
        c.cut.extend([(away, other), (other, away)]);
    }
    let committed = |c: &Cluster| {
        let node = c.places[leader].node.as_ref().expect("runs");
        let ends =
            node.shards.iter().flat_map(|shard| shard.partitions.values()).map(|found| found.log.log_end.0);
        ends.max()
    };
    let request = |c: &mut Cluster| c.ask(leader, produce("a", &[0], (9, 1), 1));
    let tokens = [request(&mut c), request(&mut c)];
    c.until("a majority has it", |c| committed(c) == Some(2));
    let late = request(&mut c);
    c.run_for(Duration::from_millis(200));
    assert!(!tokens.iter().chain([&late]).any(|token| c.replies.contains_key(token)));
    c.cut.clear();
    c.until("answers", |c| tokens.iter().chain([&late]).all(|token| c.replies.contains_key(token)));
    for token in tokens.iter().chain([&late]) {
        let Some(Response::Produce(answer)) = c.replies.remove(token) else { panic!("another answer") };
        let told = &answer.topics[0].partitions[0];
        assert_eq!((told.refusal.code, told.base_offset), (ErrorCode::None, 1));
    }
}

/// The parts of one request that come into one entry are answered each.
#[test]
fn min_insync_replicas_holds_the_ack_of_each_partition() {
    let mut c = Cluster::new(15);
    c.all_ready();
    let configs = vec![("min.insync.replicas".to_owned(), Some("3".to_owned()))];
    let partitions = 3 * c.data_shards as i32;
    assert_eq!(c.create_with(0, NewTopic { configs, ..new_topic("a", partitions) }), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(3));
    let leader = c.leader("a", 0).expect("it has one");
    let led: Vec<i32> =
        (0..partitions).filter(|index| c.leader("a", *index as usize) == Some(leader)).collect();
    let request = produce("a", &led, (9, 0), 0);
    let Some(Response::Produce(answer)) = c.call(leader, request) else { panic!("no answer") };
    let told = &answer.topics[0].partitions;
    assert!(told.len() >= 3 && told.iter().all(|told| told.refusal.code == ErrorCode::None), "{told:?}");
}

/// A part of a request whose time is up says so; what is acknowledged beside it is.
#[test]
fn each_partition_of_a_request_is_answered_for_itself() {
    let mut c = Cluster::of_shards(16, 1);
    c.all_ready();
    let configs = vec![("min.insync.replicas".to_owned(), Some("3".to_owned()))];
    assert_eq!(c.create_with(0, NewTopic { configs, ..new_topic("all", 1) }), Some(ErrorCode::None));
    assert_eq!(c.create(0, "most", 1), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(3));
    assert_eq!(c.write("all", 0, (9, 0), 0), 0);
    let leader = c.leader("all", 0).expect("it was written to");
    assert_eq!(c.leader("most", 0), Some(leader), "there is one shard");
    let away = (leader + 1) % NODES;
    for other in (0..NODES).filter(|other| *other != away) {
        c.cut.extend([(away, other), (other, away)]);
    }
    let Request::Produce(mut both) = produce("all", &[0], (9, 1), 1) else { unreachable!() };
    let Request::Produce(most) = produce("most", &[0], (10, 0), 1) else { unreachable!() };
    both.topics.extend(most.topics);
    let Some(Response::Produce(answer)) = c.call(leader, Request::Produce(both)) else { panic!("none") };
    let told = answer.topics.iter().map(|topic| &topic.partitions[0]);
    let told: Vec<_> = told.map(|told| (told.refusal.code, told.base_offset)).collect();
    assert_eq!(told, [(ErrorCode::RequestTimedOut, -1), (ErrorCode::None, 0)]);
}

/// Whoever leads in a process that has just started knows nothing of the others: a replica that is behind is not in sync until it
/// says so, and nobody says meanwhile that the next node may go down.
#[test]
fn a_new_leader_takes_nobody_for_in_sync_that_it_has_not_heard() {
    let mut c = Cluster::new(750);
    c.all_ready();
    assert_eq!(c.create(0, "a", 3), Some(ErrorCode::None));
    c.lost = Some(|to, message| to == 2 && matches!(message, PeerMessage::Consensus(_)));
    for at in [0, 1] {
        c.kill(at);
    }
    for at in [0, 1] {
        c.start(at);
    }
    let leads = |c: &Cluster| {
        let nodes = c.places[..2].iter().filter_map(|place| place.node.as_ref());
        nodes.flat_map(|node| &node.shards).filter(|shard| shard.serving).count()
    };
    let someone_must_stay = |c: &Cluster| c.statuses()[..2].iter().all(|status| !status.must_stay.is_empty());
    c.until("all is led", |c| {
        assert!(someone_must_stay(c), "node 3 is behind");
        leads(c) == 1 + config().data_shards as usize
    });
    let end = c.now.plus(Duration::from_secs(3));
    while c.now < end {
        c.happen();
        assert!(someone_must_stay(&c), "node 3 is behind");
    }
    c.lost = None;
    c.until("node 3 keeps up", |c| c.statuses().iter().all(|status| status.must_stay.is_empty()));
}
