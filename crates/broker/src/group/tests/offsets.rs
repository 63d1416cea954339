//! Committed offsets: who may commit, what is read back, when they expire, how groups are deleted.

use super::world::*;
use crate::group::{Coordinator, GroupConfig};
use crate::request::*;
use bytes::Bytes;
use model::{ErrorCode, TopicId};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn who_may_commit() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who("")]);
    for (id, generation, error) in [
        (ids[0].as_str(), 1, ErrorCode::None),
        (ids[0].as_str(), 0, ErrorCode::IllegalGeneration),
        (ids[0].as_str(), -1, ErrorCode::IllegalGeneration),
        ("nobody", 1, ErrorCode::UnknownMemberId),
        ("", 1, ErrorCode::UnknownMemberId),
        ("", -1, ErrorCode::UnknownMemberId),
    ] {
        assert_eq!(world.commit(id, generation, 7), error, "{id} {generation}");
    }
    let second = world.join(&who(""));
    assert_eq!(world.commit(&ids[0], 1, 8), ErrorCode::None, "members may commit before they join again");
    world.join(&who(&ids[0]));
    assert_eq!(world.joined(second).generation, 2);
    assert_eq!(world.commit(&ids[0], 2, 9), ErrorCode::RebalanceInProgress);
    assert_eq!(world.offset("g", "t"), 8);
    let token = world.start_commit("unknown", "m", 3, "t", 1);
    assert_eq!(world.committed(token), ErrorCode::GroupIdNotFound);
    let token = world.start_commit("simple", "", -1, "t", 1);
    assert_eq!(world.committed(token), ErrorCode::None);
}

#[test]
fn offsets_of_all_groups_share_a_limit() {
    let config =
        GroupConfig { positions_bytes_max: 10_100, offset_metadata_bytes_max: 1 << 20, ..Default::default() };
    let mut world = World::with(config.clone());
    let commit = |world: &mut World, group: &str, index, text: usize| {
        let metadata = Some("x".repeat(text));
        let topics = vec![(
            TopicRef::Name("t".into()),
            vec![OffsetToCommit { index, offset: 5, leader_epoch: -1, metadata }],
        )];
        let (generation, member_id, instance_id) = (-1, String::new(), None);
        world.send(Request::OffsetCommit(OffsetCommit {
            group: group.into(),
            generation,
            member_id,
            instance_id,
            topics,
        }))
    };
    world.is_prompt = false;
    let [first, beside] = ["a", "b"].map(|group| commit(&mut world, group, 0, 4_000));
    let text = commit(&mut world, "c", 0, 4_000);
    world.apply_all();
    world.is_prompt = true;
    assert_eq!(world.committed(first), ErrorCode::None);
    assert_eq!(world.committed(beside), ErrorCode::None);
    assert_eq!(world.committed(text), ErrorCode::OffsetMetadataTooLarge, "what is under way counts");
    let token = commit(&mut world, "c", 0, 20);
    assert_eq!(world.committed(token), ErrorCode::None);
    let token = commit(&mut world, "d", 0, 0);
    assert_eq!(world.committed(token), ErrorCode::InvalidCommitOffsetSize);
    assert_eq!(world.coordinator.group_count(), 3);
    let token = commit(&mut world, "a", 0, 4_000);
    assert_eq!(world.committed(token), ErrorCode::None, "a position again takes nothing");

    assert_eq!(world.warned.len(), 1, "{:?}", world.warned);
    let table = world.coordinator.snapshot();
    world.coordinator = Coordinator::new(config, 1);
    world.coordinator.restore(table);
    world.coordinator.become_leader(world.now);
    let token = commit(&mut world, "d", 0, 0);
    assert_eq!(world.committed(token), ErrorCode::InvalidCommitOffsetSize);
    let token = world.start_delete(&["a"]);
    assert_eq!(world.deleted(token), [ErrorCode::None]);
    let token = commit(&mut world, "d", 0, 4_000);
    assert_eq!(world.committed(token), ErrorCode::None);
    let delete = OffsetDelete { group: "d".into(), topics: vec![(TopicRef::Name("t".into()), vec![0])] };
    world.send(Request::OffsetDelete(delete));
    world.apply_all();
    let mut out = Vec::new();
    world.coordinator.remove_topic("t", &mut out);
    world.take(out);
    world.apply_all();
    assert_eq!(world.coordinator.positions_bytes, 0);
    let token = commit(&mut world, "e", 0, 9_000);
    assert_eq!(world.committed(token), ErrorCode::None);
}

#[test]
fn what_is_read_back() {
    let mut world = World::new();
    let token = world.start_commit("g", "", -1, "t", 41);
    assert_eq!(world.committed(token), ErrorCode::None);
    let none = |index| FetchedOffset {
        index,
        offset: -1,
        leader_epoch: -1,
        metadata: Some(String::new()),
        error: ErrorCode::None,
    };
    let known = FetchedOffset {
        index: 0,
        offset: 41,
        leader_epoch: 3,
        metadata: Some("text".into()),
        error: ErrorCode::None,
    };
    let name = |name: &str| TopicRef::Name(name.into());
    assert_eq!(
        world.fetch("g", Some(&[("t", 0), ("t", 1), ("u", 0)])),
        [(name("t"), vec![known.clone()]), (name("t"), vec![none(1)]), (name("u"), vec![none(0)])]
    );
    assert_eq!(world.fetch("g", None), [(name("t"), vec![known])]);
    assert_eq!(world.fetch("nobody", None), []);
    assert_eq!(world.offset("nobody", "t"), -1);
    let asked = OffsetFetchGroup {
        group: "g".into(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![(TopicRef::Id(TopicId([1; 16])), vec![0])]),
    };
    let token = world.send(Request::OffsetFetch(OffsetFetch {
        groups: vec![asked],
        require_stable: false,
        topic_ids: false,
    }));
    let Some(Response::OffsetFetch(answer)) = world.reply(token) else { panic!("no answer") };
    assert_eq!(answer.groups[0].topics[0].1[0].error, ErrorCode::UnknownTopicId);
}

#[test]
fn a_commit_is_judged_partition_by_partition() {
    let mut world = World::new();
    let position = |index, metadata: usize| OffsetToCommit {
        index,
        offset: 5,
        leader_epoch: -1,
        metadata: Some("é".repeat(metadata)),
    };
    let request = |topics| OffsetCommit {
        group: "g".into(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        topics,
    };
    let token = world.send(Request::OffsetCommit(request(vec![
        (TopicRef::Name("t".into()), vec![position(0, 4096), position(1, 4097)]),
        (TopicRef::Id(TopicId([1; 16])), vec![position(0, 0)]),
    ])));
    let Some(Response::OffsetCommit(answer)) = world.reply(token) else { panic!("no answer") };
    assert_eq!(answer.topics[0].1, [(0, ErrorCode::None), (1, ErrorCode::OffsetMetadataTooLarge)]);
    assert_eq!(answer.topics[1].1, [(0, ErrorCode::UnknownTopicId)]);
    assert_eq!(world.fetch("g", None)[0].1.len(), 1);
    // A commit of which nothing is left does not make a group.
    let token = world.send(Request::OffsetCommit(OffsetCommit {
        group: "h".into(),
        ..request(vec![(TopicRef::Name("t".into()), vec![position(1, 4097)])])
    }));
    assert_eq!(world.committed(token), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(world.coordinator.group_count(), 1);
}

#[test]
fn a_large_commit_becomes_several_commands() {
    let mut world = World::with(GroupConfig { group_offsets_max: 2500, ..Default::default() });
    world.is_prompt = false;
    let position =
        |index| OffsetToCommit { index, offset: 5, leader_epoch: -1, metadata: Some("x".repeat(4096)) };
    let request = |count| {
        Request::OffsetCommit(OffsetCommit {
            group: "g".into(),
            generation: -1,
            member_id: String::new(),
            instance_id: None,
            topics: vec![(TopicRef::Name("t".into()), (0..count).map(position).collect())],
        })
    };
    let token = world.send(request(2500));
    assert_eq!(world.proposals.len(), 3);
    assert!(world.reply(token).is_none());
    world.apply_all();
    assert_eq!(world.committed(token), ErrorCode::None);
    assert_eq!(world.fetch("g", None)[0].1.len(), 2500);
    let token = world.send(request(2501));
    assert_eq!(world.committed(token), ErrorCode::InvalidCommitOffsetSize);
    let token = world.send(request(2500));
    world.apply_all();
    assert_eq!(world.committed(token), ErrorCode::None, "known partitions take no more room");
}

#[test]
fn offsets_expire_after_the_group_is_empty() {
    let mut world = World::new();
    let patient = Who { session: 1800 * SECOND, ..who("") };
    let (_, ids) = world.stabilize(&[patient]);
    assert_eq!(world.commit(&ids[0], 1, 7), ErrorCode::None);
    for _ in 0..9 * 48 {
        world.pass(1790 * SECOND);
        assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::None);
    }
    assert_eq!(world.offset("g", "t"), 7, "no expiry while the group has members");
    world.leave(&[(&ids[0], None)]);
    world.pass(DAY * 6);
    assert_eq!(world.offset("g", "t"), 7);
    world.restart();
    world.pass(DAY + 1800 * SECOND);
    assert_eq!(world.offset("g", "t"), -1);
    assert_eq!(world.coordinator.group_count(), 0);
}

#[test]
fn offsets_of_simple_groups_expire_after_the_commit() {
    let mut world = World::new();
    world.start_commit("g", "", -1, "t", 1);
    world.pass(DAY * 4);
    world.start_commit("g", "", -1, "u", 2);
    world.pass(DAY * 4);
    assert_eq!((world.offset("g", "t"), world.offset("g", "u")), (-1, 2));
    world.pass(DAY * 4);
    assert_eq!(world.coordinator.group_count(), 0);
}

#[test]
fn a_stable_group_forgets_topics_it_does_not_read() {
    let subscribed = Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x00");
    let mut world = World::new();
    let reader = Who { protocols: vec![("range".into(), subscribed)], session: 1800 * SECOND, ..who("") };
    let (_, ids) = world.stabilize(&[reader]);
    assert_eq!(world.commit(&ids[0], 1, 7), ErrorCode::None);
    world.start_commit("g", &ids[0], 1, "u", 8);
    for _ in 0..8 * 48 {
        world.pass(1800 * SECOND - SECOND);
        world.heartbeat(&ids[0], 1);
    }
    assert_eq!((world.offset("g", "t"), world.offset("g", "u")), (7, -1));
}

#[test]
fn deleting_groups() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who("")]);
    world.start_commit("simple", "", -1, "t", 1);
    let token = world.start_delete(&["g", "simple", "nobody"]);
    assert_eq!(world.deleted(token), [ErrorCode::NonEmptyGroup, ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert_eq!(world.offset("simple", "t"), -1);
    world.leave(&[(&ids[0], None)]);
    let token = world.start_delete(&["g"]);
    assert_eq!(world.deleted(token), [ErrorCode::None]);
    let group = world.describe();
    assert_eq!((group.state, group.refusal.code), (GroupPhase::Dead, ErrorCode::GroupIdNotFound));
}

/// The answer's error and the codes of its topics, in order.
fn delete_offsets(world: &mut World, group: &str, topics: &[&str]) -> (ErrorCode, Vec<ErrorCode>) {
    let topics = topics.iter().map(|name| (TopicRef::Name((*name).into()), vec![0])).collect();
    let token = world.send(Request::OffsetDelete(OffsetDelete { group: group.into(), topics }));
    match world.reply(token) {
        Some(Response::OffsetDelete(answer)) => {
            (answer.error, answer.topics.into_iter().map(|(_, codes)| codes[0].1).collect())
        }
        other => panic!("no answer to OffsetDelete but {other:?}"),
    }
}

#[test]
fn deleting_offsets() {
    let refused = |code| (code, Vec::new());
    let subscribed = Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x00");
    let mut world = World::new();
    assert_eq!(delete_offsets(&mut world, "g", &["t"]), refused(ErrorCode::GroupIdNotFound));
    assert_eq!(delete_offsets(&mut world, "", &["t"]), refused(ErrorCode::InvalidGroupId));
    // A group with members keeps what they read and lets go of the rest.
    let reader = Who { protocols: vec![("range".into(), subscribed)], ..who("") };
    let (_, ids) = world.stabilize(&[reader]);
    for topic in ["t", "u"] {
        let token = world.start_commit("g", &ids[0], 1, topic, 7);
        assert_eq!(world.committed(token), ErrorCode::None);
    }
    let codes = vec![ErrorCode::GroupSubscribedToTopic, ErrorCode::None, ErrorCode::None];
    assert_eq!(delete_offsets(&mut world, "g", &["t", "u", "never"]), (ErrorCode::None, codes));
    assert_eq!((world.offset("g", "t"), world.offset("g", "u")), (7, -1));
    // Nobody in it: everything goes, and the group stays with its generation.
    world.leave(&[(&ids[0], None)]);
    world.restart();
    assert_eq!(delete_offsets(&mut world, "g", &["t"]), (ErrorCode::None, vec![ErrorCode::None]));
    assert_eq!((world.offset("g", "t"), world.phase()), (-1, GroupPhase::Empty));
}

#[test]
fn offsets_of_groups_whose_metadata_is_not_understood_stay() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who("")]);
    assert_eq!(world.commit(&ids[0], 1, 7), ErrorCode::None);
    let codes = vec![ErrorCode::GroupSubscribedToTopic];
    assert_eq!(delete_offsets(&mut world, "g", &["t"]), (ErrorCode::None, codes));
    world.leave(&[(&ids[0], None)]);
    assert_eq!(delete_offsets(&mut world, "g", &["t"]), (ErrorCode::None, vec![ErrorCode::None]));
    let token = world.join(&Who { kind: "connect".into(), ..who("") });
    world.pass(SECOND * 7);
    assert_eq!(world.joined(token).error, ErrorCode::None);
    assert_eq!(delete_offsets(&mut world, "g", &["t"]), (ErrorCode::NonEmptyGroup, Vec::new()));
}

#[test]
fn a_deletion_is_answered_when_it_is_durable() {
    let mut world = World::new();
    world.start_commit("g", "", -1, "t", 7);
    world.is_prompt = false;
    let request = || OffsetDelete { group: "g".into(), topics: vec![(TopicRef::Name("t".into()), vec![0])] };
    let token = world.send(Request::OffsetDelete(request()));
    assert!(world.reply(token).is_none());
    world.drop_first();
    let Some(Response::OffsetDelete(answer)) = world.reply(token) else { panic!("no answer") };
    assert_eq!((answer.error, answer.topics.len()), (ErrorCode::NotCoordinator, 0));
    assert_eq!(world.offset("g", "t"), 7);
    let token = world.send(Request::OffsetDelete(request()));
    world.apply_all();
    let Some(Response::OffsetDelete(answer)) = world.reply(token) else { panic!("no answer") };
    assert_eq!((answer.error, world.offset("g", "t")), (ErrorCode::None, -1));
}

#[test]
fn a_deleted_topic_is_forgotten_by_all_groups() {
    let mut world = World::new();
    for group in ["a", "b"] {
        world.start_commit(group, "", -1, "t", 1);
        world.start_commit(group, "", -1, "u", 2);
    }
    let mut out = Vec::new();
    assert!(world.coordinator.remove_topic("t", &mut out).is_some());
    world.take(out);
    for group in ["a", "b"] {
        assert_eq!((world.offset(group, "t"), world.offset(group, "u")), (-1, 2));
    }
}
