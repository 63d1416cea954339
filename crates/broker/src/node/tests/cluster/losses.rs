//! What clients hear of leaders while a node is being lost.

use super::*;

const PARTITIONS: i32 = 12;

/// Three nodes with a topic, and which of them leads most of it.
fn with_topic(seed: u64) -> (Cluster, usize) {
    let mut c = Cluster::with(seed, 3000);
    c.all_ready();
    assert_eq!(c.create(0, "a", PARTITIONS), Some(ErrorCode::None));
    let mut leads = [0; NODES];
    for partition in &c.metadata(0, "a").topics[0].partitions {
        leads[partition.leader.expect("all are led").0 as usize - 1] += 1;
    }
    let busiest = (0..NODES).max_by_key(|node| leads[*node]).expect("three");
    (c, busiest)
}

fn about_a() -> Request {
    let topics = Some(vec![TopicRef::Name("a".into())]);
    Request::Metadata(Metadata { topics, allow_auto_topic_creation: false })
}

/// The answer to a question, and how long it took.
fn answer(c: &mut Cluster, token: Token) -> (MetadataResponse, Duration) {
    let took = c.until("an answer", |c| c.replies.contains_key(&token));
    match c.replies.remove(&token) {
        Some(Response::Metadata(response)) => (response, took),
        other => panic!("{other:?}"),
    }
}

fn leaders(response: &MetadataResponse) -> Vec<Option<NodeId>> {
    response.topics[0].partitions.iter().map(|partition| partition.leader).collect()
}

fn lists(response: &MetadataResponse, node: usize) -> bool {
    response.brokers.iter().any(|broker| broker.node == NodeId(node as i32 + 1))
}

/// Whoever asks when a leader has just died hears of the next one, however early the question came.
#[test]
fn the_answer_waits_for_the_next_leader() {
    for seed in 0..6 {
        let (mut c, victim) = with_topic(3000 + seed);
        let dead = NodeId(victim as i32 + 1);
        c.kill(victim);
        c.run_for(Duration::from_micros(40 * seed * seed));
        let token = c.ask((victim + 1) % NODES, about_a());
        let (response, took) = answer(&mut c, token);
        let leaders = leaders(&response);
        assert!(leaders.iter().all(|leader| leader.is_some_and(|leader| leader != dead)), "{leaders:?}");
        assert!(took < Duration::from_millis(400), "{took:?}");
    }
}

/// A client's question may be there before this node's own news of the same death.
#[test]
fn a_question_that_comes_before_the_news_is_answered_by_it() {
    for seed in 0..3 {
        let (mut c, victim) = with_topic(3050 + seed);
        let (dead, other) = (NodeId(victim as i32 + 1), (victim + 1) % NODES);
        c.metadata(other, "a");
        let token = c.ask(other, about_a());
        c.kill(victim);
        let (response, took) = answer(&mut c, token);
        assert!(leaders(&response).iter().all(|leader| leader.is_some_and(|leader| leader != dead)));
        assert!(took > Duration::from_millis(4), "it waited for an election");
    }
}

/// Partitions that leave a node are lost to librdkafka when the answer that tells of it leaves the node out.
#[test]
fn a_node_is_listed_for_a_while_after_its_loss() {
    let (mut c, victim) = with_topic(3100);
    let other = (victim + 1) % NODES;
    c.kill(victim);
    assert!(lists(&c.metadata(other, "a"), victim));
    c.run_for(Duration::from_millis(2_500));
    let late = c.metadata(other, "a");
    assert!(leaders(&late).iter().all(Option::is_some) && lists(&late, victim));
    c.run_for(Duration::from_millis(600));
    assert!(!lists(&c.metadata(other, "a"), victim));
    c.start(victim);
    c.all_ready();
    assert!(lists(&c.metadata(other, "a"), victim));
}

/// A connection that only broke, and a majority that is gone: answers come as things are, after a bounded time.
#[test]
fn no_answer_waits_for_long() {
    let (mut c, victim) = with_topic(3200);
    let (other, third) = ((victim + 1) % NODES, (victim + 2) % NODES);
    let before = leaders(&c.metadata(other, "a"));
    c.step(other, Event::Link(NodeId(victim as i32 + 1), Link::Lost));
    let token = c.ask(other, about_a());
    assert!(!c.replies.contains_key(&token), "the leader may be dead");
    let (response, took) = answer(&mut c, token);
    assert_eq!(leaders(&response), before);
    assert!(took < Duration::from_millis(200), "it beats: {took:?}");

    c.kill(victim);
    c.kill(third);
    let token = c.ask(other, about_a());
    let (response, took) = answer(&mut c, token);
    assert!(leaders(&response).contains(&None));
    assert!((300..=400).contains(&took.as_millis()), "{took:?}");
    c.run_for(Duration::from_millis(500));
    let token = c.ask(other, about_a());
    assert!(answer(&mut c, token).1 <= Duration::from_millis(4), "nothing was lost lately");
}

/// Clients may wait for seconds before they connect to a node that was away: where another one can take over, it does.
#[test]
fn a_node_that_is_back_for_a_moment_leads_only_where_nobody_else_is() {
    for seed in 0..4 {
        let (mut c, back) = with_topic(3300 + seed);
        let (next, last) = ((back + 1) % NODES, (back + 2) % NODES);
        let led_by = |c: &mut Cluster, asked: usize, by: usize| {
            let response = c.metadata(asked, "a");
            leaders(&response).iter().filter(|leader| **leader == Some(NodeId(by as i32 + 1))).count()
        };
        c.kill(back);
        c.until("the others lead all", |c| {
            led_by(c, last, next) + led_by(c, last, last) == PARTITIONS as usize
        });
        assert!(led_by(&mut c, last, next) > 0 && led_by(&mut c, last, last) > 0, "both take over");
        c.start(back);
        c.all_ready();
        c.run_for(Duration::from_secs(2));
        c.kill(next);
        c.until("those that are left lead all", |c| {
            led_by(c, last, last) + led_by(c, last, back) == PARTITIONS as usize
        });
        assert_eq!(led_by(&mut c, last, back), 0);
    }
}
