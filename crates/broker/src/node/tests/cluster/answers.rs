//! Answers that come late.

use super::*;

impl Cluster {
    /// Takes the next answer of a controller off its way to a node.
    fn take_answer(&mut self, node: usize) -> Event {
        let mut taken = None;
        self.until("an answer is on its way", |c| {
            taken = c.queue.iter().find_map(|(key, happening)| match happening {
                Happening::Frame { from, to, level, frame } if *to == node => {
                    let message = wire::decode(frame.clone(), *level).expect("as it was sent");
                    let is_answer = matches!(message, PeerMessage::Answer(..));
                    is_answer.then(|| (*key, Event::Peer { from: NodeId(*from as i32 + 1), message }))
                }
                _ => None,
            });
            taken.is_some()
        });
        let (key, event) = taken.expect("waited for");
        self.queue.remove(&key);
        event
    }
}

/// What a process of a node had asked may be answered when the next one runs, which has asked something else.
#[test]
fn an_answer_to_an_earlier_process_answers_nothing() {
    let mut c = Cluster::new(4877);
    c.all_ready();
    let create = |name: &str| {
        let topics = vec![NewTopic { replication_factor: -1, ..new_topic(name, 1) }];
        Request::CreateTopics(CreateTopics { topics, validate_only: false, timeout: Duration::from_secs(5) })
    };
    let controls = |place: &Place| place.node.as_ref().is_some_and(Node::is_controller);
    let controller = c.places.iter().position(controls).expect("all are ready");
    let at = (controller + 1) % NODES;
    c.ask(at, create("a"));
    let late = c.take_answer(at);
    c.kill(at);
    c.start(at);
    c.all_ready();
    let token = c.ask(at, create("b"));
    c.step(at, late);
    c.until("an answer", |c| c.replies.contains_key(&token));
    let Some(Response::CreateTopics(response)) = c.replies.remove(&token) else { panic!("another answer") };
    assert_eq!((response.topics[0].name.as_str(), response.topics[0].refusal.code), ("b", ErrorCode::None));
}
