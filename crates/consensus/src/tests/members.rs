//! Who takes part changes while records come.

use super::*;

fn members(voters: &[u64], learners: &[u64]) -> Members {
    Members { voters: voters.to_vec(), leaving: Vec::new(), learners: learners.to_vec() }
}

impl Trio {
    /// Three voters that 1 leads.
    fn led() -> Trio {
        let mut trio = Trio::new();
        trio.at(1).campaign();
        trio.run();
        propose(trio.at(1), "a");
        trio.run();
        trio
    }

    /// A replica with an empty disk that is no member yet.
    fn add(&mut self) {
        let node = self.groups.len() as u64 + 1;
        let config = Config { seed: 7, ..Config::new(SHARD, node, vec![1, 2, 3]) };
        self.groups.push(Group::new(config, Restored::default()).unwrap());
        self.applied.push(Vec::new());
    }

    /// 4 is to take the place of 3, which is away.
    fn replacing() -> Trio {
        let mut trio = Trio::led();
        trio.add();
        trio.become_(&[1, 2, 3], &[4]);
        trio.cut = vec![3];
        trio.become_(&[1, 2, 4], &[]);
        trio
    }

    fn become_(&mut self, voters: &[u64], learners: &[u64]) {
        self.at(1).propose_change(&Change::Become(members(voters, learners))).unwrap();
        self.run();
    }
}

#[test]
fn a_group_of_one_grows() {
    let mut group = alone();
    let mut disk = Restored::default();
    settle(&mut group, &mut disk);
    let two = Change::Become(members(&[1, 2], &[]));
    group.propose_change(&two).unwrap();
    let three = Change::Become(members(&[1, 3], &[]));
    assert_eq!(group.propose_change(&three), Err(ProposeError::ChangePending));
    let round = group.ready().unwrap();
    group.on_persisted(round.number);
    assert_eq!(group.ready().unwrap().committed[0].kind, EntryKind::ConfChange);
    assert_eq!(group.voters(), [1, 2]);
    assert!(group.needs_ticks());
    assert_eq!(group.propose_change(&two), Err(ProposeError::ChangePending), "nothing would change");
}

/// It has all that the others have, and nobody waits for it or asks it for a vote.
#[test]
fn a_learner_gets_the_log_and_counts_for_nothing() {
    let mut trio = Trio::led();
    trio.add();
    trio.at(4).campaign();
    assert!(trio.at(4).ready().is_none(), "who is no member does not stand for election");
    trio.become_(&[1, 2, 3], &[4]);
    propose(trio.at(1), "b");
    trio.run();
    trio.tick(10);
    assert_eq!(trio.applied, vec![vec!["a", "b"]; 4]);
    assert!((1..=4).all(|node| trio.at(node).members() == members(&[1, 2, 3], &[4])));
    assert_eq!(trio.at(1).voters(), [1, 2, 3]);
    // Two of three voters are away: with the learner there are two left, which is no majority.
    trio.cut = vec![2, 3];
    propose(trio.at(1), "c");
    trio.run();
    assert_eq!(trio.applied[0], ["a", "b"]);
    trio.at(4).open_vote_filter(1);
    trio.at(4).campaign();
    trio.run();
    assert!(!trio.at(4).is_leader());
    trio.cut = vec![4];
    trio.tick(10);
    assert_eq!(trio.applied[2], ["a", "b", "c"]);
}

/// One disk in the place of another: while both sets decide, each of them needs a majority.
#[test]
fn a_learner_takes_the_place_of_a_voter() {
    let mut trio = Trio::replacing();
    let joint = Members { voters: vec![1, 2, 4], leaving: vec![1, 2, 3], learners: vec![] };
    assert_eq!(trio.at(1).members(), joint);
    // 1 and 4 are a majority of the new set, and of the old one 1 alone is left.
    trio.cut = vec![2, 3];
    propose(trio.at(1), "b");
    trio.run();
    assert_eq!(trio.applied[0], ["a"]);
    trio.cut = vec![3];
    trio.tick(10);
    for node in [1, 2, 4] {
        assert_eq!(trio.at(node).members(), members(&[1, 2, 4], &[]), "it ends by itself");
    }
    assert_eq!(trio.applied[3], ["a", "b"]);
    // Who was replaced hears nothing of it, and does not disturb the others with its votes.
    trio.cut.clear();
    trio.tick(60);
    assert_eq!((trio.at(3).is_leader(), trio.at(1).is_leader()), (false, true));
    // The new voter counts.
    trio.cut = vec![2, 3];
    propose(trio.at(1), "c");
    trio.run();
    assert_eq!(trio.applied[0], ["a", "b", "c"]);
}

/// A voter was replaced, then another one is lost for good and the two that are left restart: they must not go back to the time when both
/// sets decided, for of the old one there is no majority any more. (`sim --world three --seed 2209` once.)
#[test]
fn who_takes_part_is_written_down() {
    let mut trio = Trio::replacing();
    trio.tick(10);
    let end = trio.at(1).last_index();
    for node in [1, 2, 4] {
        assert_eq!(trio.at(node).members(), members(&[1, 2, 4], &[]));
        assert!(trio.at(node).keeps_members());
        assert_eq!(trio.written[&node].commit, end, "node {node}");
    }
    // Of what is only on its way to the disk nothing is said.
    trio.at(1).propose_change(&Change::Become(members(&[1, 2, 4], &[5]))).unwrap();
    let mut rounds = Vec::new();
    let mut answers = Vec::new();
    while let Some(ready) = trio.at(1).ready() {
        trio.at(1).on_persisted(ready.number);
        rounds.extend(ready.send);
    }
    for message in rounds.into_iter().filter(|message| message.to == 2) {
        trio.at(2).step(message).unwrap();
    }
    while let Some(ready) = trio.at(2).ready() {
        trio.at(2).on_persisted(ready.number);
        answers.extend(ready.send);
    }
    for answer in answers {
        trio.at(1).step(answer).unwrap();
    }
    let ready = trio.at(1).ready().unwrap();
    assert_eq!((ready.committed.len(), ready.hard_state.is_some()), (1, true));
    assert!(!trio.at(1).keeps_members());
    trio.at(1).on_persisted(ready.number);
    assert!(trio.at(1).keeps_members());
}

/// The leader goes away between the two steps: whoever leads next makes the second one.
#[test]
fn the_next_leader_ends_what_two_sets_decide() {
    let mut trio = Trio::led();
    trio.add();
    trio.become_(&[1, 2, 3], &[4]);
    trio.at(1).propose_change(&Change::Become(members(&[1, 2, 4], &[]))).unwrap();
    trio.run();
    assert!((1..=4).all(|node| trio.at(node).members().is_joint()));
    trio.cut = vec![1];
    for node in 2..=4 {
        trio.at(node).open_vote_filter(1);
    }
    trio.at(4).campaign();
    trio.run();
    assert!(trio.at(4).is_settled_leader());
    trio.tick(10);
    assert_eq!(trio.at(2).members(), members(&[1, 2, 4], &[]));
}

/// A checkpoint keeps who takes part, both sets and those who learn.
#[test]
fn members_outlive_a_restart() {
    let mut joint = Members { voters: vec![1, 2, 4], leaving: vec![1, 2, 3], learners: vec![5] };
    let restored = |members: &Members| Restored {
        applied: LogIndex(9),
        applied_term: Term(2),
        members: members.codes(),
        hard_state: HardState { term: Term(2), vote: 0, commit: LogIndex(9) },
        ..Restored::default()
    };
    let start =
        |members: &Members| Group::new(Config::new(SHARD, 1, vec![1, 2, 3]), restored(members)).unwrap();
    assert_eq!(start(&joint).members(), joint);
    joint.leaving.clear();
    assert_eq!(start(&joint).members(), joint);
    // With somebody who learns, nobody is alone.
    let mut group = start(&members(&[1], &[2]));
    settle_alone(&mut group);
    assert!(group.is_leader() && group.needs_ticks());
    let broken = Restored { members: vec![1, 1], ..Restored::default() };
    assert!(matches!(Group::new(Config::new(SHARD, 1, vec![1]), broken), Err(RestoreError::Config { .. })));
}

fn settle_alone(group: &mut Group) {
    for _ in 0..100 {
        group.tick();
        while let Some(ready) = group.ready() {
            group.on_persisted(ready.number);
        }
    }
}

/// A state that does not name a new member is of no use to it: another one is wanted.
#[test]
fn a_learner_is_sent_a_state_that_names_it() {
    let mut trio = Trio::led();
    propose(trio.at(1), "b");
    trio.run();
    let (index, term) = (trio.at(1).applied(), trio.at(1).term());
    let old = Snapshot { index, term, members: vec![1, 2, 3], state: Bytes::from_static(b"a,b") };
    trio.at(1).compact(index);
    trio.at(1).send_snapshot(2, &old);
    trio.add();
    trio.become_(&[1, 2, 3], &[4]);
    trio.tick(5);
    assert_eq!(trio.behind.last(), Some(&(1, 4)));
    let at = trio.at(1).applied();
    let members = trio.at(1).members().codes();
    let new = Snapshot { index: at, term, members, state: Bytes::from_static(b"a,b") };
    trio.at(1).send_snapshot(4, &new);
    trio.run();
    propose(trio.at(1), "c");
    trio.run();
    trio.tick(10);
    assert_eq!(trio.applied[3], ["a", "b", "c"]);
    assert_eq!(trio.at(4).members(), trio.at(1).members());
}
