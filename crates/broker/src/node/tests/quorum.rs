//! Three nodes seen by an operator: the metadata quorum, preferred leaders on request, whether a node may be taken down.

use super::Harness;
use super::cluster::{Cluster, NODES};
use super::topics::{create, new_topic};
use crate::event::{Event, Status};
use crate::request::*;
use model::{ErrorCode, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

fn quorum(c: &mut Cluster, at: usize) -> DescribeQuorumResponse {
    match c.call(at, Request::DescribeQuorum(DescribeQuorum {})) {
        Some(Response::DescribeQuorum(response)) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_node_tells_of_the_quorum_what_its_leader_knows() {
    let mut c = Cluster::new(21);
    c.all_ready();
    assert_eq!(c.create(0, "a", 4), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(1));
    let leaders: BTreeSet<NodeId> = (0..NODES).map(|at| quorum(&mut c, at).leader).collect();
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    let leader = leaders.first().expect("one").0 as usize - 1;
    for at in 0..NODES {
        let found = quorum(&mut c, at);
        assert_eq!(found.error, ErrorCode::None);
        assert!(found.high_watermark > 0 && found.epoch.0 >= 0, "{found:?}");
        let nodes: Vec<i32> = found.voters.iter().map(|voter| voter.node.0).collect();
        assert_eq!(nodes, [1, 2, 3]);
        for voter in &found.voters {
            assert_eq!(voter.log_end, found.high_watermark, "{found:?}");
            assert!(voter.caught_up_at_ms.is_some(), "{found:?}");
        }
    }
    // One that is away stays where it was.
    let away = (leader + 1) % NODES;
    c.kill(away);
    c.run_for(Duration::from_secs(1));
    assert_eq!(c.create(leader, "b", 1), Some(ErrorCode::None));
    let found = quorum(&mut c, (leader + 2) % NODES);
    let voter = &found.voters[away];
    assert!(voter.log_end < found.high_watermark && voter.caught_up_at_ms.is_none(), "{found:?}");
}

#[test]
fn without_a_controller_the_quorum_is_not_told() {
    let mut c = Cluster::new(22);
    c.all_ready();
    c.kill(0);
    c.kill(1);
    c.run_for(Duration::from_secs(3));
    let found = quorum(&mut c, 2);
    assert_eq!((found.error, found.voters.len()), (ErrorCode::NotController, 0));
}

#[test]
fn a_node_of_one_is_its_own_quorum() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 1)]);
    let Response::DescribeQuorum(found) = h.call(Request::DescribeQuorum(DescribeQuorum {})) else {
        panic!()
    };
    assert_eq!((found.leader, found.voters.len()), (NodeId(1), 1));
    assert_eq!((found.voters[0].log_end, &found.voters[0].address), (found.high_watermark, &None));
}

fn elect(kind: ElectionKind, topics: Option<&[(&str, &[i32])]>, timeout: Duration) -> Request {
    let topics = topics
        .map(|topics| topics.iter().map(|(name, indexes)| (name.to_string(), indexes.to_vec())).collect());
    Request::ElectLeaders(ElectLeaders { kind, topics, timeout })
}

fn codes(response: Option<Response>) -> Vec<(String, Vec<(i32, ErrorCode)>)> {
    match response {
        Some(Response::ElectLeaders(response)) => {
            let topics = response.topics.into_iter();
            let codes =
                |partitions: Vec<(i32, Refusal)>| partitions.into_iter().map(|(at, it)| (at, it.code));
            topics.map(|(name, partitions)| (name, codes(partitions).collect())).collect()
        }
        other => panic!("{other:?}"),
    }
}

const WAIT: Duration = Duration::from_secs(4);

/// Partitions of a topic that are not led by the first of their replicas.
fn misled(c: &mut Cluster, at: usize, topic: &str) -> Vec<i32> {
    let found = c.metadata(at, topic).topics.remove(0);
    let is_misled = |it: &&PartitionMetadata| it.leader != it.replicas.first().copied();
    found.partitions.iter().filter(is_misled).map(|it| it.index).collect()
}

/// Node 3 has been away and is back: others lead what it should lead.
fn came_back(seed: u64) -> Cluster {
    // So many shards that each of the others takes over one at least.
    let mut c = Cluster::of_shards(seed, 9);
    c.all_ready();
    assert_eq!(c.create(0, "a", 8), Some(ErrorCode::None));
    c.until("all lead what they should", |c| misled(c, 0, "a").is_empty());
    c.kill(2);
    c.until("others take over", |c| {
        let found = c.metadata(0, "a").topics.remove(0);
        found.partitions.iter().all(|it| it.leader.is_some_and(|leader| leader != NodeId(3)))
    });
    c.start(2);
    c.all_ready();
    c.until("the others see that it keeps up", |c| {
        (0..2).all(|at| {
            let found = c.metadata(at, "a").topics.remove(0);
            let is_up = c.places[at].node.as_ref().is_some_and(|node| node.is_up(NodeId(3)));
            is_up && found.partitions.iter().all(|it| it.in_sync.len() == NODES)
        })
    });
    c
}

#[test]
fn preferred_leaders_lead_when_they_are_asked_to() {
    let mut c = came_back(23);
    let misled_now = misled(&mut c, 0, "a");
    assert!(!misled_now.is_empty());
    let began = c.now;
    // Any node takes the request, whoever leads the shards; all partitions that need it are answered.
    let found = codes(c.call(1, elect(ElectionKind::Preferred, None, WAIT)));
    let all: Vec<_> = misled_now.iter().map(|index| (*index, ErrorCode::None)).collect();
    assert_eq!(found, [("a".to_owned(), all)]);
    assert_eq!(misled(&mut c, 1, "a"), [0; 0], "the node that answered knows");
    assert!(c.now.since(began) < Duration::from_secs(1), "it took {:?}", c.now.since(began));
    assert_eq!(codes(c.call(1, elect(ElectionKind::Preferred, None, WAIT))), []);
    let asked: &[(&str, &[i32])] = &[("a", &[0, 9, -1]), ("no", &[0])];
    let (needless, unknown) = (ErrorCode::ElectionNotNeeded, ErrorCode::UnknownTopicOrPartition);
    let told = [
        ("a".to_owned(), vec![(0, needless), (9, unknown), (-1, unknown)]),
        ("no".to_owned(), vec![(0, unknown)]),
    ];
    assert_eq!(codes(c.call(0, elect(ElectionKind::Preferred, Some(asked), WAIT))), told);
    assert_eq!(c.write("a", misled_now[0], (9, 0), 0), 0);
}

#[test]
fn a_preferred_leader_that_is_away_is_not_elected() {
    let mut c = came_back(24);
    let misled_now = misled(&mut c, 0, "a");
    c.kill(2);
    c.run_for(Duration::from_secs(1));
    let asked: &[(&str, &[i32])] = &[("a", &misled_now)];
    let found = codes(c.call(0, elect(ElectionKind::Preferred, Some(asked), WAIT)));
    let away = misled_now.iter().map(|index| (*index, ErrorCode::PreferredLeaderNotAvailable));
    assert_eq!(found, [("a".to_owned(), away.collect())]);
}

#[test]
fn an_election_that_does_not_come_about_has_an_end() {
    let mut c = came_back(25);
    let misled_now = misled(&mut c, 0, "a");
    let leader = c.leader("a", misled_now[0] as usize).expect("led");
    let asker = 1 - leader;
    // The one that leads hears nobody any more; the others do not know that yet.
    c.cut.extend((0..NODES).flat_map(|other| [(leader, other), (other, leader)]));
    // What the one that asks leads itself goes to node 3 meanwhile.
    let own =
        *misled_now.iter().find(|index| c.leader("a", **index as usize) == Some(asker)).expect("both lead");
    let asked: &[(&str, &[i32])] = &[("a", &[misled_now[0], own])];
    let token = c.ask(asker, elect(ElectionKind::Preferred, Some(asked), Duration::from_millis(100)));
    c.until("its time is up", |c| c.replies.contains_key(&token));
    let found = codes(c.replies.remove(&token));
    let told = vec![(misled_now[0], ErrorCode::RequestTimedOut), (own, ErrorCode::None)];
    assert_eq!(found, [("a".to_owned(), told)]);
    c.run_for(Duration::from_millis(20));
    let asker = c.places[asker].node.as_ref().expect("it lives");
    assert!(asker.electing.is_empty(), "nothing is kept for those whose time is up");
}

#[test]
fn an_unclean_election_never_happens() {
    let mut c = Cluster::new(26);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    let asked: &[(&str, &[i32])] = &[("a", &[0])];
    let found = codes(c.call(0, elect(ElectionKind::Unclean, Some(asked), WAIT)));
    assert_eq!(found, [("a".to_owned(), vec![(0, ErrorCode::ElectionNotNeeded)])]);
    c.kill(0);
    c.kill(1);
    c.until("nobody leads", |c| c.metadata(2, "a").topics[0].partitions[0].leader.is_none());
    for asked in [Some(asked), None] {
        let Some(Response::ElectLeaders(found)) = c.call(2, elect(ElectionKind::Unclean, asked, WAIT)) else {
            panic!("another answer")
        };
        let (_, refusal) = &found.topics[0].1[0];
        assert_eq!(refusal.code, ErrorCode::EligibleLeadersNotAvailable);
        assert!(
            refusal.message.as_ref().is_some_and(|it| it.contains("bring back a majority")),
            "{refusal:?}"
        );
    }
    let found = codes(c.call(2, elect(ElectionKind::Preferred, Some(asked), WAIT)));
    assert_eq!(found, [("a".to_owned(), vec![(0, ErrorCode::PreferredLeaderNotAvailable)])]);
}

fn status(c: &Cluster, at: usize) -> Status {
    c.places[at].node.as_ref().expect("it runs").status()
}

fn wait_for_safety(c: &mut Cluster, at: usize) {
    c.until("one node may go", |c| status(c, at).must_stay.is_empty());
}

#[test]
fn one_node_may_go_at_a_time() {
    let mut c = Cluster::new(27);
    c.all_ready();
    assert_eq!(c.create(0, "a", 8), Some(ErrorCode::None));
    (0..NODES).for_each(|at| wait_for_safety(&mut c, at));
    assert!((0..NODES).all(|at| status(&c, at).conditions.is_empty()));
    let mut mark = 0;
    for away in 0..NODES {
        c.kill(away);
        let others: Vec<usize> = (0..NODES).filter(|at| *at != away).collect();
        c.until("the others know", |c| others.iter().all(|at| !status(c, *at).must_stay.is_empty()));
        for _ in 0..10 {
            assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
            mark += 1;
        }
        c.run_for(Duration::from_secs(3));
        for at in others {
            let found = status(&c, at);
            assert!(found.ready, "{found:?}");
            let told = [
                format!("node {} is not heard", away + 1),
                format!("5 of 5 shards would keep no majority in sync (behind: node {})", away + 1),
            ];
            assert_eq!(found.must_stay, told);
            assert_eq!(found.conditions, told[..1]);
        }
        c.start(away);
        assert!(!status(&c, away).ready, "it has heard nothing yet");
        assert_eq!(status(&c, away).must_stay[0], "this node is not ready");
        // Who comes back says so when the others have it in sync again: the moment to go on with the next.
        wait_for_safety(&mut c, away);
        let (node, shards) = (NodeId(away as i32 + 1), 5);
        for at in (0..NODES).filter(|at| *at != away) {
            let leading = c.places[at].node.as_ref().expect("it runs");
            let led = (0..shards).filter(|shard| leading.shards[*shard].serving);
            let in_sync = led.filter_map(|shard| leading.leadership(shard));
            assert!(in_sync.into_iter().all(|it| it.in_sync.contains(&node)));
        }
    }
}

#[test]
fn who_hears_no_controller_is_not_ready() {
    let mut c = Cluster::new(28);
    c.all_ready();
    for other in 1..NODES {
        c.cut.extend([(0, other), (other, 0)]);
    }
    c.until("it knows", |c| !status(c, 0).ready);
    let found = status(&c, 0);
    assert!(found.must_stay.contains(&"5 of 5 shards have no leader".to_owned()), "{found:?}");
    assert_eq!(found.conditions[..2], ["node 2 is not heard", "node 3 is not heard"]);
    assert!((1..NODES).all(|at| status(&c, at).ready), "the others go on");
    c.cut.clear();
    c.all_ready();
    wait_for_safety(&mut c, 0);
}

#[test]
fn a_node_that_stops_says_so() {
    let mut c = Cluster::new(29);
    c.all_ready();
    wait_for_safety(&mut c, 0);
    c.step(1, Event::Shutdown);
    let stopping = status(&c, 1);
    assert!(!stopping.ready && stopping.conditions.contains(&"stopping".to_owned()), "{stopping:?}");
    assert_eq!(stopping.must_stay[0], "this node is not ready");
}

#[test]
fn the_only_node_must_stay() {
    let h = Harness::new();
    let found = h.status();
    assert!(found.ready && found.conditions.is_empty());
    assert_eq!(found.must_stay, ["this is the only node"]);
}
