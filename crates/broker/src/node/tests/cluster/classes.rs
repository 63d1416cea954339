//! Topics that are on some of the nodes: where they come to be, and that their shards outlive crashes of every age.

use super::*;

fn topic(name: &str, partitions: i32, replicas: i16) -> NewTopic {
    NewTopic { replication_factor: replicas, ..new_topic(name, partitions) }
}

fn assigned(name: &str, sets: &[&[i32]]) -> NewTopic {
    let nodes = |set: &[i32]| set.iter().copied().map(NodeId).collect();
    let assignments = sets.iter().enumerate().map(|(index, set)| (index as i32, nodes(set))).collect();
    NewTopic { assignments, replication_factor: -1, ..new_topic(name, -1) }
}

impl Cluster {
    fn created(&mut self, topic: NewTopic) -> CreatedTopic {
        let request =
            CreateTopics { topics: vec![topic], validate_only: false, timeout: Duration::from_secs(5) };
        match self.call(0, Request::CreateTopics(request)) {
            Some(Response::CreateTopics(mut response)) => response.topics.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn grown(&mut self, name: &str, to: i32, assignments: Vec<Vec<NodeId>>) -> Refusal {
        let topics = vec![(name.to_owned(), to, assignments)];
        let request = CreatePartitions { topics, validate_only: false, timeout: Duration::from_secs(5) };
        match self.call(0, Request::CreatePartitions(request)) {
            Some(Response::CreatePartitions(mut response)) => response.topics.remove(0).1,
            other => panic!("{other:?}"),
        }
    }

    /// The nodes of each partition, as node `at` tells them, once all have leaders; the leader when nothing is amiss first.
    fn places_of(&mut self, at: usize, name: &str) -> Vec<Vec<i32>> {
        self.until("leaders", |c| {
            let metadata = c.metadata(at, name);
            let partitions = &metadata.topics[0].partitions;
            !partitions.is_empty() && partitions.iter().all(|partition| partition.leader.is_some())
        });
        let partitions = self.metadata(at, name).topics.remove(0).partitions;
        let ids = |partition: PartitionMetadata| partition.replicas.iter().map(|node| node.0).collect();
        partitions.into_iter().map(ids).collect()
    }

    fn marks(&mut self, topic: &str, index: i32) -> Vec<i64> {
        self.read(topic, index).iter().map(|batch| batch.header().base_timestamp).collect()
    }
}

#[test]
fn a_topic_of_one_replica_is_spread_over_the_nodes() {
    let mut c = Cluster::new(1);
    c.all_ready();
    let created = c.created(topic("a", 6, 1));
    assert_eq!((created.refusal.code, created.replication_factor), (ErrorCode::None, 1));
    for at in 0..NODES {
        assert_eq!(c.places_of(at, "a"), [[1], [2], [3], [1], [2], [3]], "as node {} sees it", at + 1);
    }
    for index in 0..6 {
        assert_eq!(c.write("a", index, (9, 0), 7), 0);
    }
    let held = |c: &Cluster, at: usize| -> usize {
        let node = c.places[at].node.as_ref().expect("runs");
        node.shards.iter().map(|shard| shard.partitions.len()).sum()
    };
    assert_eq!([0, 1, 2].map(|at| held(&c, at)), [2, 2, 2]);
    // What is on one node goes with it, and comes back with it; the others go on.
    c.kill(1);
    assert_eq!(c.write("a", 0, (9, 1), 8), 1);
    c.until("no leader", |c| c.leader("a", 1).is_none());
    assert_eq!(c.metadata(0, "a").topics[0].partitions[1].offline, [NodeId(2)]);
    c.start(1);
    assert_eq!(c.write("a", 1, (9, 1), 8), 1);
    assert_eq!(c.marks("a", 1), [7, 8]);
    assert_eq!(c.marks("a", 4), [7]);
}

#[test]
fn an_assignment_says_who_leads_and_a_topic_grows_as_it_began() {
    let mut c = Cluster::new(2);
    c.all_ready();
    assert!(c.created(assigned("a", &[&[3], &[1], &[3]])).refusal.is_ok());
    assert_eq!(c.places_of(1, "a"), [[3], [1], [3]]);
    assert!(c.created(assigned("b", &[&[2, 1, 3], &[3, 2, 1]])).refusal.is_ok());
    assert_eq!(c.places_of(2, "b"), [[2, 1, 3], [3, 2, 1]], "in the order that was named");
    let shards = |c: &Cluster| c.places[2].node.as_ref().expect("runs").shards.len();
    let before = shards(&c);
    assert!(c.created(assigned("again", &[&[2, 1, 3], &[3, 2, 1], &[3, 1, 2]])).refusal.is_ok());
    assert_eq!(c.places_of(2, "again"), [[2, 1, 3], [3, 2, 1], [3, 1, 2]]);
    assert_eq!(shards(&c), before, "shards of that order were there");
    assert!(c.grown("a", 4, vec![vec![NodeId(2)]]).is_ok());
    assert_eq!(c.grown("a", 6, Vec::new()), Refusal::OK);
    let places = c.places_of(0, "a");
    assert_eq!((&places[3], places.len()), (&vec![2], 6));
    assert!(places.iter().all(|nodes| nodes.len() == 1));
    for index in 0..6 {
        assert_eq!(c.write("a", index, (9, 0), 7), 0);
    }
    let code = |refusal: Refusal| refusal.code;
    assert_eq!(
        code(c.grown("a", 7, vec![vec![NodeId(2), NodeId(1), NodeId(3)]])),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(code(c.grown("a", 8, vec![vec![NodeId(2)]])), ErrorCode::InvalidReplicaAssignment);
    for (sets, why) in [
        (&[&[1, 2][..]][..], "odd number"),
        (&[&[][..]][..], "odd number"),
        (&[&[1][..], &[1, 2, 3][..]][..], "1 nodes for each"),
        (&[&[1, 2, 2][..]][..], "each node once"),
        (&[&[4][..]][..], "nodes of the cluster: 1, 2, 3"),
    ] {
        let refusal = c.created(assigned("c", sets)).refusal;
        assert_eq!(refusal.code, ErrorCode::InvalidReplicaAssignment);
        let text = refusal.message.expect("a reason");
        assert!(text.contains(why), "{text}");
    }
    for (factor, why) in [(2, "odd number"), (5, "there are 3 nodes"), (0, "odd number")] {
        let refusal = c.created(topic("c", 1, factor)).refusal;
        assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor);
        assert!(refusal.message.as_ref().is_some_and(|text| text.contains(why)), "{refusal:?}");
    }
}

/// All nodes die at once, before or after the first checkpoint that knows the shards: their logs are found either way.
#[test]
fn placed_shards_outlive_a_crash_of_all_nodes() {
    for (seed, checkpoint_bytes) in [(0, 1 << 20), (1, 1 << 20), (2, 3000), (3, 3000)] {
        let mut c = Cluster::with(3000 + seed, checkpoint_bytes);
        c.all_ready();
        assert!(c.created(topic("a", 3, 1)).refusal.is_ok());
        for mark in 0..30 {
            for index in 0..3 {
                assert_eq!(c.write("a", index, (9, mark as i32), mark), mark);
            }
        }
        (0..NODES).for_each(|at| c.kill(at));
        let known = |place: &Place| {
            let recovered = place.disk.recovered();
            recovered.shards.iter().any(|shard| shard.shard >= ShardId::FIRST_PLACED)
        };
        assert_eq!(c.places.iter().any(known), checkpoint_bytes < 1 << 20, "which of both cases it is");
        (0..NODES).for_each(|at| c.start(at));
        c.all_ready();
        for index in 0..3 {
            assert_eq!(c.marks("a", index), (0..30).collect::<Vec<i64>>());
            assert_eq!(c.write("a", index, (9, 30), 30), 30);
        }
    }
}

/// Who was away when shards were placed learns of them from the controller's state.
#[test]
fn who_was_away_has_the_shards_of_the_state() {
    let mut c = Cluster::with(4000, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", 3), Some(ErrorCode::None));
    c.kill(2);
    let waited = c.created(assigned("b", &[&[3], &[1]])).refusal.code;
    assert_eq!(waited, ErrorCode::RequestTimedOut, "it is there, but not on node 3 yet");
    for mark in 0..60 {
        assert_eq!(c.write("a", (mark % 3) as i32, (9, mark as i32 / 3), mark), mark / 3);
        assert!(c.created(topic(&format!("t{mark}"), 1, 1)).refusal.is_ok());
    }
    assert_eq!(c.write("b", 1, (9, 0), 5), 0);
    c.start(2);
    c.all_ready();
    let words = c.logged.keys().any(|words| words.starts_with("shard : the state of entry"));
    assert!(words, "states were installed: {:?}", c.logged.keys());
    assert_eq!(c.write("b", 0, (9, 0), 5), 0);
    assert_eq!(c.marks("b", 0), [5]);
}

#[test]
fn a_deleted_topic_goes_from_the_nodes_that_had_it() {
    let mut c = Cluster::new(5);
    c.all_ready();
    assert!(c.created(topic("a", 3, 1)).refusal.is_ok());
    (0..3).for_each(|index| assert_eq!(c.write("a", index, (9, 0), 7), 0));
    let topics = vec![TopicRef::Name("a".into())];
    let request = DeleteTopics { topics, timeout: Duration::from_secs(5) };
    let Some(Response::DeleteTopics(response)) = c.call(0, Request::DeleteTopics(request)) else {
        panic!("no answer")
    };
    assert!(response.topics[0].refusal.is_ok());
    c.until("gone everywhere", |c| {
        let empty = |node: &Node| node.shards.iter().all(|shard| shard.partitions.is_empty());
        c.places.iter().all(|place| place.node.as_ref().is_some_and(empty))
    });
    assert!(c.created(topic("a", 3, 3)).refusal.is_ok(), "the name is free");
}

/// The sets of nodes that a cluster has shards for have a limit; beyond it nothing is made, and what was made stays in use.
#[test]
fn there_are_only_so_many_shards() {
    let mut c = Cluster::of_shards(6, 700);
    c.all_ready();
    assert!(c.created(assigned("a", &[&[1]])).refusal.is_ok());
    let refusal = c.created(assigned("b", &[&[1], &[2]])).refusal;
    assert_eq!(refusal.code, ErrorCode::InvalidReplicaAssignment);
    assert!(refusal.message.is_some_and(|text| text.contains("at most 1024")));
    assert_eq!(c.metadata(0, "b").topics[0].error, ErrorCode::UnknownTopicOrPartition);
    assert!(c.created(assigned("b", &[&[1]])).refusal.is_ok());
    assert_eq!(c.write("b", 0, (9, 0), 5), 0);
    // An order takes shards of its own as well; without room for them it counts for the leader only.
    assert!(c.created(assigned("c", &[&[3, 2, 1]])).refusal.is_ok());
    assert_eq!(c.places_of(1, "c"), [[3, 2, 1]]);
    assert!(c.created(assigned("d", &[&[2, 1, 3]])).refusal.is_ok());
    assert_eq!(c.places_of(1, "d"), [[2, 3, 1]]);
}

/// What waits for a node that is away does not hold up what has nothing to do with it, and two changes in a row place as one does:
/// the second sees what the first left, whether that was answered or not.
#[test]
fn changes_do_not_wait_for_those_that_wait_for_a_node() {
    let mut c = Cluster::new(8);
    c.all_ready();
    assert!(c.created(assigned("gone", &[&[3]])).refusal.is_ok());
    c.kill(2);
    let topics = vec![TopicRef::Name("gone".into())];
    let delete = DeleteTopics { topics, timeout: Duration::from_secs(60) };
    let deletion = c.ask(0, Request::DeleteTopics(delete));
    let ask = |c: &mut Cluster, topic: NewTopic| {
        let timeout = Duration::from_secs(60);
        c.ask(0, Request::CreateTopics(CreateTopics { topics: vec![topic], validate_only: false, timeout }))
    };
    let waits = ask(&mut c, assigned("waits", &[&[3]]));
    let mixed = ask(&mut c, assigned("mixed", &[&[1], &[2]]));
    let three = ask(&mut c, topic("three", 3, 3));
    c.until("answers", |c| c.replies.contains_key(&mixed) && c.replies.contains_key(&three));
    assert!(!c.replies.contains_key(&deletion) && !c.replies.contains_key(&waits));
    assert_eq!(c.places_of(0, "mixed"), [[1], [2]]);
    assert_eq!(c.write("mixed", 1, (9, 0), 5), 0);
    assert_eq!(c.write("three", 2, (9, 0), 5), 0);
    c.start(2);
    c.until("answers", |c| c.replies.contains_key(&deletion) && c.replies.contains_key(&waits));
    assert_eq!(c.places_of(0, "waits"), [[3]]);
    assert_eq!(c.write("waits", 0, (9, 0), 5), 0);
}

/// A node whose catalogue is behind serves a deleted topic under its name: nobody is told that the topic is gone, and nothing else
/// gets the name, before that node has let it go.
#[test]
fn a_deletion_waits_for_the_nodes_that_have_it() {
    let mut c = Cluster::new(7);
    c.all_ready();
    assert!(c.created(assigned("a", &[&[3]])).refusal.is_ok());
    assert_eq!(c.write("a", 0, (9, 0), 7), 0);
    let delete = |c: &mut Cluster| {
        let topics = vec![TopicRef::Name("a".into())];
        c.ask(0, Request::DeleteTopics(DeleteTopics { topics, timeout: Duration::from_secs(2) }))
    };
    let answered = |c: &mut Cluster, token| {
        c.until("an answer", |c| c.replies.contains_key(&token));
        match c.replies.remove(&token) {
            Some(Response::DeleteTopics(response)) => response.topics[0].refusal.code,
            other => panic!("{other:?}"),
        }
    };
    for other in 0..2 {
        c.cut.extend([(2, other), (other, 2)]);
    }
    c.run_for(Duration::from_secs(1));
    let token = delete(&mut c);
    assert_eq!(answered(&mut c, token), ErrorCode::RequestTimedOut);
    assert_eq!(c.metadata(0, "a").topics[0].error, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(c.metadata(2, "a").topics[0].error, ErrorCode::None, "it has not heard of it");
    let refusal = c.created(topic("a", 1, 1)).refusal;
    assert_eq!(refusal.code, ErrorCode::TopicAlreadyExists);
    assert!(refusal.message.is_some_and(|text| text.contains("is being deleted")));
    let token = delete(&mut c);
    c.run_for(Duration::from_millis(500));
    assert!(!c.replies.contains_key(&token), "who asks again waits, too");
    c.cut.clear();
    assert_eq!(answered(&mut c, token), ErrorCode::None);
    assert!(c.metadata(2, "a").topics[0].error != ErrorCode::None, "it is gone where it was");
    assert!(c.created(topic("a", 1, 1)).refusal.is_ok());
}

/// A process that was stopped for a while takes itself for the controller when it goes on: it says nothing about a catalogue that has
/// moved on meanwhile.
#[test]
fn a_controller_that_was_voted_out_refuses_nothing() {
    let mut c = Cluster::new(10);
    c.all_ready();
    let controls = |c: &Cluster, node: usize| c.places[node].node.as_ref().is_some_and(Node::is_controller);
    let old = (0..3).find(|node| controls(&c, *node)).expect("a controller");
    let stopped = c.places[old].node.take();
    let next = |c: &Cluster| (0..3).find(|node| controls(c, *node));
    c.until("another controller", |c| next(c).is_some());
    let (new, timeout) = (next(&c).expect("just seen"), Duration::from_secs(5));
    let create = CreateTopics { topics: vec![topic("new", 1, 1)], validate_only: false, timeout };
    let creation = c.ask(new, Request::CreateTopics(create));
    c.until("a creation", |c| {
        c.places[new].node.as_ref().is_some_and(|node| node.catalog.by_name("new").is_some())
    });
    c.places[old].node = stopped;
    assert!(controls(&c, old), "it has not heard of it");
    let delete = DeleteTopics { topics: vec![TopicRef::Name("new".into())], timeout };
    let deletion = c.ask(old, Request::DeleteTopics(delete));
    c.until("answers", |c| c.replies.contains_key(&creation) && c.replies.contains_key(&deletion));
    match c.replies.remove(&deletion) {
        Some(Response::DeleteTopics(response)) => {
            assert_eq!(response.topics[0].refusal.code, ErrorCode::NotController);
        }
        other => panic!("{other:?}"),
    }
}

/// A node that comes to lead a shard in which a newer catalogue than its own has deleted a topic does not create it again.
#[test]
fn who_leads_with_an_old_catalogue_brings_nothing_back() {
    let mut c = Cluster::new(9);
    c.all_ready();
    assert!(c.created(assigned("a", &[&[3, 1, 2]])).refusal.is_ok());
    assert_eq!(c.write("a", 0, (9, 0), 7), 0);
    let node = |c: &Cluster| c.places[2].node.as_ref().map(|node| node.catalog.by_name("a").cloned());
    let topic = node(&c).flatten().expect("node 3 knows the topic");
    let at = c.places[2].node.as_ref().map(|node| node.shard_index(topic.shards[0])).expect("runs");
    let leads =
        |c: &Cluster, node: usize| c.places[node].node.as_ref().is_some_and(|node| node.shards[at].serving);
    assert!(leads(&c, 2));
    c.lost = Some(|to, message| {
        to == 2 && matches!(message, PeerMessage::Consensus(message) if message.shard == ShardId::METADATA)
    });
    for other in 0..2 {
        c.cut.extend([(2, other), (other, 2)]);
    }
    c.until("another leader", |c| !leads(c, 2) && (leads(c, 0) || leads(c, 1)));
    let topics = vec![TopicRef::Name("a".into())];
    let delete = DeleteTopics { topics, timeout: Duration::from_secs(5) };
    match c.call(0, Request::DeleteTopics(delete)) {
        Some(Response::DeleteTopics(response)) => assert!(response.topics[0].refusal.is_ok()),
        other => panic!("{other:?}"),
    }
    c.cut.clear();
    c.until("node 3 leads again", |c| leads(c, 2));
    c.run_for(Duration::from_secs(1));
    let has_it = |c: &Cluster| {
        let has =
            |place: &Place| place.node.as_ref().is_some_and(|node| !node.shards[at].partitions.is_empty());
        c.places.iter().any(has)
    };
    assert!(leads(&c, 2));
    assert!(node(&c).flatten().is_some(), "its catalogue is still the old one");
    assert!(!has_it(&c));
    c.lost = None;
    c.until("node 3 hears of it", |c| node(c).flatten().is_none());
    c.run_for(Duration::from_secs(1));
    assert!(!has_it(&c));
}
