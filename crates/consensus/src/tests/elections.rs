//! Elections that raft alone would win late or not at all.

use super::*;

/// Row 26 of the fault matrix: the only node that reaches a majority lacks what each of the others has.
#[test]
fn who_reaches_a_majority_and_is_behind_borrows_what_it_lacks() {
    let mut five = Trio::of(5);
    five.at(1).campaign();
    five.run();
    five.cut = vec![5];
    propose(five.at(1), "a");
    propose(five.at(1), "b");
    five.run();
    assert_eq!(five.applied[0], ["a", "b"]);
    five.cut = vec![1];
    five.links = vec![(2, 5), (3, 5), (4, 5)];
    (2..=5).for_each(|node| five.at(node).open_vote_filter(1));
    for node in [2, 3, 4] {
        five.at(node).campaign();
        five.run();
        assert!(!five.at(node).is_leader(), "three of five refuse it or hear nothing");
    }
    five.at(5).campaign();
    five.run();
    assert!(!five.at(5).is_leader(), "its log is behind");
    five.at(5).campaign();
    five.run();
    assert!(five.at(5).is_leader());
    propose(five.at(5), "c");
    five.run();
    assert_eq!(five.applied[4], ["a", "b", "c"]);
    (five.cut, five.links) = (Vec::new(), Vec::new());
    five.tick(5);
    assert_eq!(five.applied, vec![vec!["a", "b", "c"]; 5]);
}

/// A loan that was on its way for long does not replace what a newer leader was told to be durable.
#[test]
fn a_late_loan_replaces_nothing() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    let (index, term) = (trio.at(1).last_index(), trio.at(1).term());
    trio.cut = vec![1];
    trio.at(2).open_vote_filter(1);
    trio.at(3).open_vote_filter(1);
    trio.at(2).campaign();
    trio.run();
    propose(trio.at(2), "acknowledged");
    trio.run();
    let entry = |text: &'static str| {
        let (descriptor, payload) = command(text);
        Entry { shard: SHARD, term, index: index.next(), kind: EntryKind::Normal, descriptor, payload }
    };
    let lend = |entries| {
        let body = Body::Lend { previous: index, previous_term: term, commit: index, entries };
        Message { shard: SHARD, from: 1, to: 3, term, body }
    };
    let (end, newer) = (trio.at(3).last_index(), trio.at(2).term());
    trio.at(3).step(lend(vec![entry("lent")])).unwrap();
    assert_eq!((trio.at(3).last_index(), trio.at(3).leader()), (end, Some(2)), "it follows somebody");
    trio.at(3).open_vote_filter(2);
    trio.at(3).step(lend(vec![entry("lent")])).unwrap();
    assert_eq!((trio.at(3).last_index(), trio.at(3).last_term()), (end, newer), "its log is newer");
    // As if what it acknowledged in the newer term had been older entries only.
    let body = Body::Heartbeat { commit: LogIndex(0), read: None };
    let heartbeat = Message { shard: SHARD, from: 2, to: 3, term: newer, body };
    let first = Body::Lend {
        previous: LogIndex(0),
        previous_term: Term(0),
        commit: LogIndex(0),
        entries: vec![Entry { index: LogIndex(1), ..entry("lent") }],
    };
    let first = Message { shard: SHARD, from: 1, to: 3, term, body: first };
    let mut follower = Trio::new();
    follower.at(3).step(heartbeat.clone()).unwrap();
    follower.at(3).open_vote_filter(2);
    follower.at(3).step(first.clone()).unwrap();
    assert_eq!(follower.at(3).last_index(), LogIndex(0), "it followed the leader of a newer term");
    let mutant = Some(crate::Mutant::LoanUnchecked);
    let config = Config { mutant, ..Config::new(SHARD, 3, vec![1, 2, 3]) };
    let mut unchecked = Group::new(config, Restored::default()).unwrap();
    unchecked.step(heartbeat.clone()).unwrap();
    unchecked.step(first.clone()).unwrap();
    assert_eq!(unchecked.last_index(), LogIndex(1), "the mutant takes it");
    let mut fresh = Trio::new();
    fresh.at(3).step(first).unwrap();
    assert_eq!((fresh.at(3).last_index(), fresh.at(3).term()), (LogIndex(1), term), "else it is taken");
}

/// Two nodes see that the third is gone, one a moment before the other.
#[test]
fn a_vote_that_was_asked_for_early_is_given_when_the_filter_opens() {
    for (ticks, is_given) in [(0, true), (1, true), (2, false)] {
        let mut trio = Trio::new();
        trio.at(1).campaign();
        trio.run();
        trio.cut = vec![1];
        trio.at(2).open_vote_filter(1);
        trio.at(2).campaign();
        trio.run();
        assert!(!trio.at(2).is_leader());
        trio.tick(ticks);
        trio.at(3).open_vote_filter(1);
        trio.run();
        assert_eq!(trio.at(2).is_leader(), is_given, "after {ticks} ticks");
        if is_given {
            trio.at(3).open_vote_filter(2);
            trio.run();
            assert!(trio.at(2).is_leader(), "it is given once");
        }
    }
}

/// The leader is gone, one of the two others installs a state, and the other one does not know that what the state speaks of is committed:
/// it has the records that the first one waits for. (`sim --world three --seed 1875` once.)
#[test]
fn a_replica_that_installs_a_state_tells_who_stands_what_is_committed() {
    let mut trio = Trio::with(3, false);
    trio.at(1).campaign();
    trio.run();
    trio.cut = vec![3];
    for name in ["a", "b"] {
        propose(trio.at(1), name);
        trio.run();
    }
    assert_eq!([trio.applied[0].len(), trio.applied[1].len()], [2, 1]);
    let (index, term) = (trio.at(1).applied(), Term(1));
    trio.at(1).compact(index);
    trio.at(1).unreachable(3);
    (trio.cut, trio.links) = (Vec::new(), vec![(1, 3)]);
    trio.tick(1);
    let snapshot = Snapshot { index, term, members: vec![1, 2, 3], state: Bytes::from_static(b"a,b") };
    trio.at(1).send_snapshot(3, &snapshot);
    let sent = std::iter::from_fn(|| trio.at(1).ready()).flat_map(|ready| ready.send);
    let mut states = sent.filter(|message| matches!(message.body, Body::Snapshot(_))).collect::<Vec<_>>();
    trio.at(3).step(states.pop().unwrap()).unwrap();
    let round = trio.at(3).ready().unwrap();
    assert!(round.install.is_some());
    // Nothing tells it that its leader is gone: only that it hears nothing.
    let timeout = trio.at(3).config().election_ticks;
    for _ in 0..=timeout {
        trio.at(3).tick();
    }
    assert_eq!((trio.at(3).leader(), trio.at(3).role()), (None, Role::Follower), "it stands for nothing");
    trio.at(2).open_vote_filter(1);
    trio.at(2).campaign();
    let asks = trio.at(2).ready().unwrap().send.into_iter().find(|message| message.to == 3);
    trio.at(3).step(asks.unwrap()).unwrap();
    let mut says = trio.at(3).ready().unwrap().send;
    let answer = says.pop().expect("a pre-vote waits for no disk");
    assert!(matches!(answer.body, Body::VoteResponse { pre: true, reject: false, .. }), "{answer:?}");
    trio.at(2).step(answer).unwrap();
    assert_eq!(trio.at(2).committed(), index);
    // The vote itself is not given before the state is durable.
    while let Some(ready) = trio.at(2).ready() {
        trio.at(2).on_persisted(ready.number);
        for message in ready.send.into_iter().filter(|message| message.to == 3) {
            trio.at(3).step(message).unwrap();
        }
    }
    let mut last = round.number;
    while let Some(ready) = trio.at(3).ready() {
        assert!(ready.send.is_empty(), "{:?}", ready.send);
        last = ready.number;
    }
    trio.at(3).on_persisted(last);
    (trio.cut, trio.links) = (vec![1], Vec::new());
    trio.run();
    assert!(trio.at(2).is_settled_leader());
}

/// What an operator counts: who asked for votes unasked, and how often leadership moved.
#[test]
fn elections_and_hand_overs_are_told_apart() {
    let mut trio = Trio::new();
    let turns = |trio: &mut Trio| [1, 2, 3].map(|at| (trio.at(at).elections(), trio.at(at).leader_changes()));
    trio.at(1).campaign();
    trio.run();
    assert_eq!(turns(&mut trio), [(1, 1), (0, 1), (0, 1)]);
    trio.at(1).transfer_leader(2);
    trio.run();
    assert!(trio.at(2).is_leader());
    assert_eq!(turns(&mut trio), [(1, 2), (0, 2), (0, 2)], "a hand-over is no election");
    trio.at(3).campaign();
    trio.run();
    assert!(trio.at(2).is_leader(), "they hear their leader: its pre-vote came to nothing");
    assert_eq!(turns(&mut trio), [(1, 2), (0, 2), (0, 2)]);
}
