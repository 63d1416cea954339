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
