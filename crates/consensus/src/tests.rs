//! Tests of the room: a node of one, three in memory, hostile messages. Crashes and faults are the simulator's (`sim`).

mod elections;
mod members;

use crate::*;
use bytes::Bytes;
use model::{Entry, EntryKind, HardState, LogIndex, Payload, ShardId, Term};
use std::collections::{BTreeMap, VecDeque};

const SHARD: ShardId = ShardId(3);

fn alone() -> Group {
    Group::new(Config::new(SHARD, 1, vec![1]), Restored::default()).unwrap()
}

fn command(text: &'static str) -> (Bytes, Payload) {
    (Bytes::from_static(b"d"), Payload::from(Bytes::from_static(text.as_bytes())))
}

fn propose(group: &mut Group, text: &'static str) -> Position {
    let (descriptor, payload) = command(text);
    group.propose(descriptor, payload).unwrap()
}

/// Runs a node of one until nothing is left to do; every byte becomes durable at once.
fn settle(group: &mut Group, disk: &mut Restored) -> Vec<Entry> {
    let mut committed = Vec::new();
    while let Some(ready) = group.ready() {
        assert!(ready.send.is_empty());
        persist(disk, &ready);
        committed.extend(ready.committed);
        group.on_persisted(ready.number);
    }
    committed
}

fn persist(disk: &mut Restored, ready: &Ready) {
    if let Some(hard_state) = ready.hard_state {
        disk.hard_state = hard_state;
    }
    for entry in &ready.persist {
        disk.entries.truncate((entry.index.0 - 1 - disk.applied.0) as usize);
        disk.entries.push(entry.clone());
    }
}

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.payload.join().to_vec()).unwrap()
}

#[test]
fn one_voter_leads_at_once_and_commits_only_what_is_durable() {
    let mut group = alone();
    let first = group.ready().unwrap();
    assert_eq!(first.role.unwrap().role, Role::Leader);
    assert_eq!(first.hard_state.unwrap(), HardState { term: Term(1), vote: 1, commit: LogIndex(0) });
    assert_eq!(first.persist.len(), 1);
    assert!(group.ready().is_none());
    assert!(!group.is_settled_leader());
    group.on_persisted(first.number);
    assert_eq!(group.ready().unwrap().committed.len(), 1);
    assert!(group.is_settled_leader());

    let position = propose(&mut group, "a");
    assert_eq!(position, Position { term: Term(1), index: LogIndex(2) });
    let round = group.ready().unwrap();
    assert_eq!(round.persist.iter().map(text).collect::<Vec<_>>(), ["a"]);
    assert!(round.hard_state.is_none());
    assert!(round.committed.is_empty());
    assert!(group.ready().is_none());
    group.on_persisted(round.number);
    let round = group.ready().unwrap();
    assert!(!round.needs_persist());
    assert_eq!(round.committed.iter().map(text).collect::<Vec<_>>(), ["a"]);
    assert!(group.ready().is_none());
    assert_eq!(group.log_bytes(), 0);
    assert!(!group.needs_ticks());
}

#[test]
fn several_rounds_persist_at_a_time() {
    let mut group = alone();
    settle(&mut group, &mut Restored::default());
    let mut numbers = Vec::new();
    for name in ["a", "b", "c"] {
        propose(&mut group, name);
        let round = group.ready().unwrap();
        assert!(round.committed.is_empty());
        numbers.push(round.number);
    }
    group.on_persisted(numbers[1]);
    let round = group.ready().unwrap();
    assert_eq!(round.committed.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
    group.on_persisted(numbers[2]);
    assert_eq!(group.ready().unwrap().committed.iter().map(text).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_restart_gives_out_everything_behind_the_checkpoint_again() {
    let mut disk = Restored::default();
    let mut group = alone();
    settle(&mut group, &mut disk);
    for name in ["a", "b", "c"] {
        propose(&mut group, name);
    }
    settle(&mut group, &mut disk);
    assert_eq!(disk.entries.len(), 4);

    disk.entries.drain(..2);
    (disk.applied, disk.applied_term, disk.members) = (LogIndex(2), Term(1), vec![1]);
    let mut group = Group::new(Config::new(SHARD, 1, vec![1]), disk.clone()).unwrap();
    let again = settle(&mut group, &mut disk);
    assert_eq!(again.iter().map(text).collect::<Vec<_>>(), ["b", "c", ""]);
    assert_eq!(group.term(), Term(2));
    assert_eq!(disk.hard_state.term, Term(2));
}

#[test]
fn a_disk_that_lost_what_it_promised_is_refused() {
    let entry = |term, index| {
        let (descriptor, payload) = command("x");
        Entry {
            shard: SHARD,
            term: Term(term),
            index: LogIndex(index),
            kind: EntryKind::Normal,
            descriptor,
            payload,
        }
    };
    let hard_state = HardState { term: Term(3), vote: 1, commit: LogIndex(1) };
    let restored = |entries| Restored { hard_state, entries, ..Restored::default() };
    let start = |restored| Group::new(Config::new(SHARD, 1, vec![1, 2, 3]), restored).map(|_| ());
    assert_eq!(start(restored(vec![entry(1, 1), entry(3, 2)])), Ok(()));
    assert!(matches!(start(restored(vec![entry(1, 1), entry(3, 3)])), Err(RestoreError::Hole { .. })));
    assert!(matches!(start(restored(vec![entry(2, 1), entry(1, 2)])), Err(RestoreError::Term { .. })));
    assert!(matches!(start(restored(vec![entry(4, 1)])), Err(RestoreError::Term { .. })));
    assert!(matches!(start(restored(vec![])), Err(RestoreError::Short { .. })));
    let twice = Config::new(SHARD, 1, vec![1, 1]);
    assert!(matches!(Group::new(twice, Restored::default()), Err(RestoreError::Config { .. })));
}

/// Three replicas whose messages travel as bytes, in order, at once; disks that are durable at once.
struct Trio {
    groups: Vec<Group>,
    applied: Vec<Vec<String>>,
    cut: Vec<u64>,
    /// Only these two reach each other, when anything is named here.
    links: Vec<(u64, u64)>,
    behind: Vec<(u64, u64)>,
    /// What each of them has written down last.
    written: BTreeMap<u64, HardState>,
}

impl Trio {
    fn new() -> Trio {
        Trio::of(3)
    }

    fn of(nodes: u64) -> Trio {
        Trio::with(nodes, true)
    }

    fn with(nodes: u64, tells_commits: bool) -> Trio {
        let group = |node| {
            let voters = (1..=nodes).collect();
            let config =
                Config { seed: 7, append_bytes_max: 200, tells_commits, ..Config::new(SHARD, node, voters) };
            Group::new(config, Restored::default()).unwrap()
        };
        Trio {
            groups: (1..=nodes).map(group).collect(),
            applied: vec![Vec::new(); nodes as usize],
            cut: Vec::new(),
            links: Vec::new(),
            behind: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    fn at(&mut self, node: u64) -> &mut Group {
        &mut self.groups[node as usize - 1]
    }

    fn run(&mut self) {
        let mut wire: VecDeque<Bytes> = VecDeque::new();
        loop {
            for node in 1..=self.groups.len() as u64 {
                while let Some(ready) = self.at(node).ready() {
                    self.at(node).on_persisted(ready.number);
                    self.written.extend(ready.hard_state.map(|state| (node, state)));
                    let applied = &mut self.applied[node as usize - 1];
                    if let Some(snapshot) = &ready.install {
                        *applied =
                            String::from_utf8_lossy(&snapshot.state).split(',').map(str::to_owned).collect();
                    }
                    applied.extend(ready.committed.iter().map(text).filter(|text| !text.is_empty()));
                    wire.extend(ready.send.iter().map(|message| encode(message).concat().into()));
                    self.behind.extend(ready.behind.iter().map(|peer| (node, *peer)));
                }
            }
            let Some(frame) = wire.pop_front() else { return };
            let message = decode(frame).unwrap();
            let link = (message.from.min(message.to), message.from.max(message.to));
            let is_linked = self.links.is_empty() || self.links.contains(&link);
            if is_linked && !self.cut.contains(&message.from) && !self.cut.contains(&message.to) {
                match self.at(message.to).step(message) {
                    // It is no member any more, and heard the leader before it knew.
                    Ok(()) | Err(StepError::UnknownSender { .. }) => {}
                    other => other.unwrap(),
                }
            }
        }
    }

    fn tick(&mut self, times: usize) {
        for _ in 0..times {
            self.groups.iter_mut().for_each(Group::tick);
            self.run();
        }
    }
}

#[test]
fn three_elect_replicate_and_fail_over_through_the_vote_filter() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    assert!(trio.at(1).is_settled_leader());
    for name in ["a", "b", "c"] {
        propose(trio.at(1), name);
    }
    trio.run();
    assert_eq!(trio.applied, vec![vec!["a", "b", "c"]; 3]);

    // The leader's node is gone; without evidence of its own, 3 does not answer.
    trio.cut = vec![1];
    trio.at(2).open_vote_filter(1);
    trio.at(2).campaign();
    trio.run();
    assert!(!trio.at(2).is_leader());
    trio.at(3).open_vote_filter(1);
    trio.at(2).campaign();
    trio.run();
    assert!(trio.at(2).is_settled_leader());

    // What the old leader still takes is never committed, and is replaced when it comes back.
    propose(trio.at(1), "lost");
    propose(trio.at(2), "d");
    trio.run();
    trio.cut.clear();
    trio.tick(10);
    assert_eq!(trio.applied, vec![vec!["a", "b", "c", "d"]; 3]);
    assert_eq!(trio.at(1).role(), Role::Follower);
    assert_eq!(trio.at(1).leader(), Some(2));
    let (descriptor, payload) = command("x");
    assert_eq!(trio.at(1).propose(descriptor, payload), Err(ProposeError::NotLeader { leader: Some(2) }));
}

#[test]
fn followers_hear_of_a_commit_with_the_next_entries_or_within_two_ticks() {
    let mut trio = Trio::with(3, false);
    trio.at(1).campaign();
    trio.run();
    propose(trio.at(1), "a");
    trio.run();
    assert_eq!(trio.applied, [vec!["a"], vec![], vec![]]);
    propose(trio.at(1), "b");
    trio.run();
    assert_eq!(trio.applied, [vec!["a", "b"], vec!["a"], vec!["a"]]);
    trio.cut = vec![3];
    trio.tick(1);
    trio.tick(1);
    assert_eq!(trio.applied, [vec!["a", "b"], vec!["a", "b"], vec!["a"]]);
    trio.cut.clear();
    trio.tick(1);
    assert_eq!(trio.applied, vec![vec!["a", "b"]; 3], "what was lost is told again");
    trio.at(1).tick();
    trio.at(1).tick();
    let sent = std::iter::from_fn(|| trio.at(1).ready()).flat_map(|ready| ready.send);
    let appends = sent.filter(|message| matches!(message.body, Body::Append { .. })).count();
    assert_eq!(appends, 0, "who knows it is told nothing");
}

#[test]
fn leadership_is_handed_over() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    trio.at(1).transfer_leader(3);
    trio.run();
    assert!(trio.at(3).is_settled_leader());
    assert_eq!(trio.at(1).leader(), Some(3));
}

#[test]
fn elections_start_by_themselves_and_reads_need_a_quorum() {
    let mut trio = Trio::new();
    trio.tick(45);
    let leader = trio.groups.iter().position(Group::is_leader).unwrap() as u64 + 1;
    trio.at(leader).read_index(99).unwrap();
    let mut round = trio.at(leader).ready().unwrap();
    assert!(round.reads.is_empty());
    for message in std::mem::take(&mut round.send) {
        trio.at(message.to).step(message).unwrap();
    }
    let follower = leader % 3 + 1;
    while let Some(round) = trio.at(follower).ready() {
        trio.at(follower).on_persisted(round.number);
        for message in round.send {
            trio.at(leader).step(message).unwrap();
        }
    }
    let index = trio.at(leader).committed();
    assert_eq!(trio.at(leader).ready().unwrap().reads, [Read { id: 99, index }]);
}

#[test]
fn a_follower_behind_the_log_starts_from_a_state() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    trio.cut = vec![3];
    for name in ["a", "b", "c"] {
        propose(trio.at(1), name);
        trio.run();
    }
    let applied = trio.at(1).applied();
    trio.at(1).compact(applied);
    trio.cut.clear();
    trio.at(1).unreachable(3);
    trio.tick(5);
    assert!(trio.behind.contains(&(1, 3)));
    let snapshot = Snapshot {
        index: applied,
        term: Term(1),
        members: vec![1, 2, 3],
        state: Bytes::from_static(b"a,b,c"),
    };
    trio.at(1).send_snapshot(3, &snapshot);
    trio.run();
    propose(trio.at(1), "d");
    trio.tick(5);
    assert_eq!(trio.applied, vec![vec!["a", "b", "c", "d"]; 3]);
}

#[test]
fn a_state_counts_when_it_is_durable_and_not_before() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    let held = trio.at(3).last_index();
    trio.cut = vec![3];
    ["a", "b", "c"].into_iter().for_each(|name| {
        propose(trio.at(1), name);
        trio.run();
    });
    let (index, term) = (trio.at(1).applied(), Term(1));
    trio.at(1).compact(index);
    trio.at(1).unreachable(3);
    trio.cut.clear();
    trio.tick(5);
    let snapshot = Snapshot { index, term, members: vec![1, 2, 3], state: Bytes::from_static(b"a,b,c") };
    trio.at(1).send_snapshot(3, &snapshot);
    let sent: Vec<Message> = std::iter::from_fn(|| trio.at(1).ready()).flat_map(|ready| ready.send).collect();
    let state = sent.into_iter().find(|message| matches!(message.body, Body::Snapshot(_)));
    trio.at(3).step(state.unwrap()).unwrap();
    let installs = std::iter::from_fn(|| trio.at(3).ready()).any(|ready| ready.install.is_some());
    assert!(installs);
    // A new term is written down meanwhile: with it, no more is committed than the disk holds.
    let body = Body::Heartbeat { commit: index, read: None };
    trio.at(3).step(Message { shard: SHARD, from: 2, to: 3, term: Term(2), body }).unwrap();
    let written = std::iter::from_fn(|| trio.at(3).ready()).find_map(|ready| ready.hard_state).unwrap();
    assert_eq!(written.term, Term(2));
    assert!(written.commit <= held, "{written:?}");
}

/// A state comes with a new term: what is written down of that one does not count the state as durable, for it is not yet. (`sim --world
/// three --seed 77618` once.)
#[test]
fn a_state_that_brings_a_new_term_is_not_committed_with_it() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    let held = trio.at(3).last_index();
    let (index, members) = (LogIndex(held.0 + 20), vec![1, 2, 3]);
    let state = Snapshot { index, term: Term(1), members, state: Bytes::from_static(b"a") };
    let body = Body::Snapshot(state);
    trio.at(3).step(Message { shard: SHARD, from: 2, to: 3, term: Term(2), body }).unwrap();
    let rounds: Vec<Ready> = std::iter::from_fn(|| trio.at(3).ready()).collect();
    assert!(rounds.iter().any(|ready| ready.install.is_some()));
    let written = rounds.iter().find_map(|ready| ready.hard_state).unwrap();
    assert_eq!(written.term, Term(2));
    assert!(written.commit <= held, "{written:?}");
}

#[test]
fn appends_to_a_follower_that_steps_back_begin_where_they_say() {
    let mut trio = Trio::new();
    trio.at(1).campaign();
    trio.run();
    trio.cut = vec![3];
    propose(trio.at(1), "a");
    trio.run();
    // Raft has told everybody of the commit, and before that leaves it hears that one connection is lost.
    propose(trio.at(1), "b");
    let mut frames = Vec::new();
    while let Some(ready) = trio.at(1).ready() {
        trio.at(1).on_persisted(ready.number);
        frames.extend(ready.send.into_iter().filter(|message| message.to == 2));
    }
    for message in frames {
        trio.at(2).step(message).unwrap();
    }
    let mut acks = Vec::new();
    while let Some(ready) = trio.at(2).ready() {
        trio.at(2).on_persisted(ready.number);
        acks.extend(ready.send);
    }
    while let Some(ready) = trio.at(2).ready() {
        acks.extend(ready.send);
    }
    for message in acks {
        trio.at(1).step(message).unwrap();
    }
    trio.at(1).unreachable(3);
    propose(trio.at(1), "c");
    trio.cut.clear();
    trio.tick(5);
    assert_eq!(trio.applied, vec![vec!["a", "b", "c"]; 3]);
}

#[test]
fn the_log_that_a_leader_knows_and_the_disk_lost_stops_the_replica() {
    let mut group = Group::new(Config::new(SHARD, 2, vec![1, 2, 3]), Restored::default()).unwrap();
    let body = Body::Heartbeat { commit: LogIndex(5), read: None };
    let heartbeat = Message { shard: SHARD, from: 1, to: 2, term: Term(1), body };
    let halt = Halt::LogLost { last: LogIndex(0), acknowledged: LogIndex(5) };
    assert_eq!(group.step(heartbeat.clone()), Err(StepError::Halted(halt)));
    assert_eq!(group.step(heartbeat), Err(StepError::Halted(halt)));
    assert_eq!(group.halted(), Some(halt));
    group.campaign();
    assert!(group.ready().is_none());
}

#[test]
fn messages_that_would_break_raft_are_refused() {
    let mut leader = Trio::new();
    leader.at(1).campaign();
    leader.run();
    let term = leader.at(1).term();
    let message = |term, body| Message { shard: SHARD, from: 2, to: 1, term, body };
    let (previous, commit) = (LogIndex(1), LogIndex(1));
    let entry = |index| Entry {
        shard: SHARD,
        term,
        index: LogIndex(index),
        kind: EntryKind::Normal,
        descriptor: Bytes::from_static(b"d"),
        payload: Payload::default(),
    };
    let append = |entries| Body::Append { previous, previous_term: term, commit, entries };
    let ack = |index, reject| Body::AppendResponse { index: LogIndex(index), commit, reject };
    let hint = Reject { hint: LogIndex(u64::MAX), hint_term: Term(1) };
    let bad = [
        message(Term(0), Body::TimeoutNow),
        message(Term(u64::MAX), Body::TimeoutNow),
        message(term, append(vec![entry(3)])),
        message(term, append(vec![entry(2), entry(2)])),
        message(term, append(vec![entry(2)])),
        message(term, Body::Heartbeat { commit, read: None }),
        message(term, ack(77, None)),
        message(term, ack(1, Some(hint))),
    ];
    for message in bad {
        let answer = leader.at(1).step(message.clone());
        assert!(matches!(answer, Err(StepError::Malformed { .. })), "{message:?}: {answer:?}");
    }
    let mut misrouted = message(term, Body::TimeoutNow);
    misrouted.to = 2;
    assert_eq!(leader.at(1).step(misrouted), Err(StepError::Misrouted));
    let mut group = alone();
    assert_eq!(group.step(message(Term(9), Body::TimeoutNow)), Err(StepError::UnknownSender { from: 2 }));
    propose(leader.at(1), "still alive");
    leader.run();
    assert_eq!(leader.applied, vec![vec!["still alive"]; 3]);
}

fn samples() -> Vec<Message> {
    let message = |body| Message { shard: SHARD, from: 1, to: 2, term: Term(4), body };
    let entry = |index: u64, kind, size: usize| Entry {
        shard: SHARD,
        term: Term(4),
        index: LogIndex(index),
        kind,
        descriptor: Bytes::from(vec![1; 9]),
        payload: Payload::from(Bytes::from(vec![index as u8; size])),
    };
    let (commit, read) = (LogIndex(2), Some(u64::MAX));
    let entries = vec![entry(8, EntryKind::Normal, 1000), entry(9, EntryKind::ConfChange, 0)];
    let reject = Some(Reject { hint: LogIndex(7), hint_term: Term(1) });
    let (index, commit_term) = (LogIndex(5), Term(1));
    let vote =
        |pre, transfer| Body::Vote { pre, last: index, last_term: Term(3), commit, commit_term, transfer };
    vec![
        message(Body::Lend {
            previous: LogIndex(7),
            previous_term: Term(3),
            commit,
            entries: entries.clone(),
        }),
        message(Body::Append { previous: LogIndex(7), previous_term: Term(3), commit, entries }),
        message(Body::Append { previous: LogIndex(7), previous_term: Term(3), commit, entries: Vec::new() }),
        message(Body::AppendResponse { index, commit, reject }),
        message(Body::AppendResponse { index, commit, reject: None }),
        message(vote(true, false)),
        message(vote(false, true)),
        message(Body::VoteResponse { pre: true, reject: true, commit, commit_term }),
        message(Body::Heartbeat { commit, read }),
        message(Body::HeartbeatResponse { commit, read: None }),
        message(Body::TimeoutNow),
        message(Body::Snapshot(Snapshot {
            index,
            term: Term(4),
            members: vec![1, 2, 3],
            state: Bytes::from_static(b"s"),
        })),
    ]
}

#[test]
fn frames_read_back_and_damage_is_found() {
    let mut random = Random::new(1);
    for message in samples() {
        let frame = encode(&message).concat();
        assert_eq!(decode(frame.clone().into()).as_ref(), Ok(&message));
        for cut in 0..frame.len() {
            assert!(decode(Bytes::copy_from_slice(&frame[..cut])).is_err());
        }
        for _ in 0..200 {
            let mut bad = frame.clone();
            let at = random.below(bad.len() as u64) as usize;
            bad[at] ^= 1 << random.below(8);
            assert!(decode(bad.into()).is_err());
        }
        // With a right checksum the fields themselves must hold.
        for _ in 0..500 {
            let mut bad = frame.clone();
            let at = 8 + random.below(bad.len() as u64 - 8) as usize;
            bad[at] = random.next_u64() as u8;
            let crc = model::checksum::crc32c(&bad[8..]);
            bad[4..8].copy_from_slice(&crc.to_be_bytes());
            let _ = decode(bad.into());
        }
    }
}

/// A message with some of its numbers changed a little: close enough to the truth to get far.
fn distort(message: &mut Message, random: &mut Random) {
    let mut bend = |number: &mut u64| {
        if random.permille(300) {
            *number = (*number + random.below(7)).saturating_sub(3);
        }
    };
    bend(&mut message.term.0);
    match &mut message.body {
        Body::Append { previous, previous_term, commit, entries }
        | Body::Lend { previous, previous_term, commit, entries } => {
            [&mut previous.0, &mut previous_term.0, &mut commit.0].into_iter().for_each(&mut bend);
            let mut index = *previous;
            for entry in entries {
                index = index.next();
                entry.index = index;
                bend(&mut entry.term.0);
            }
        }
        Body::AppendResponse { index, commit, reject } => {
            bend(&mut index.0);
            bend(&mut commit.0);
            if let Some(reject) = reject {
                bend(&mut reject.hint.0);
                bend(&mut reject.hint_term.0);
            }
        }
        Body::Vote { last, last_term, commit, commit_term, .. } => {
            [&mut last.0, &mut last_term.0, &mut commit.0, &mut commit_term.0]
                .into_iter()
                .for_each(&mut bend);
        }
        Body::VoteResponse { commit, commit_term, .. } => {
            bend(&mut commit.0);
            bend(&mut commit_term.0);
        }
        Body::Heartbeat { commit, .. } | Body::HeartbeatResponse { commit, .. } => bend(&mut commit.0),
        Body::TimeoutNow => {}
        Body::Snapshot(snapshot) => {
            bend(&mut snapshot.index.0);
            bend(&mut snapshot.term.0);
        }
    }
}

#[test]
fn distorted_messages_are_refused_or_taken_and_never_end_the_process() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut trio = Trio::new();
        trio.at(1 + seed % 3).campaign();
        trio.run();
        let mut inbox: Vec<Message> = Vec::new();
        for _ in 0..300 {
            let node = 1 + random.below(3);
            match random.below(8) {
                0 => trio.at(node).tick(),
                1 => trio.at(node).campaign(),
                2 => drop(trio.at(node).propose(Bytes::from_static(b"d"), Payload::default())),
                _ => {}
            }
            while let Some(ready) = trio.at(node).ready() {
                trio.at(node).on_persisted(ready.number);
                inbox.extend(ready.send);
                for follower in ready.behind {
                    let group = trio.at(node);
                    let (index, term) = (group.applied(), group.term_at(group.applied()).unwrap());
                    let snapshot = Snapshot { index, term, members: vec![1, 2, 3], state: Bytes::new() };
                    group.send_snapshot(follower, &snapshot);
                }
            }
            if random.permille(20) {
                let applied = trio.at(node).applied();
                trio.at(node).compact(applied);
            }
            if !inbox.is_empty() {
                let at = random.below(inbox.len() as u64) as usize;
                let mut message = inbox.swap_remove(at);
                distort(&mut message, &mut random);
                // Refused, taken, or the end of this replica: each is an answer.
                let _ = trio.at(message.to).step(message);
            }
        }
    }
}
