//! What happens between a proposal and its end: answers wait, drops roll back, restarts keep what was applied.

use super::world::*;
use crate::group::{Coordinator, GroupConfig, GroupTable};
use crate::request::*;
use model::ErrorCode;

#[test]
fn nothing_is_acknowledged_before_it_is_applied() {
    let mut world = World::new();
    world.is_prompt = false;
    let commit = world.start_commit("g", "", -1, "t", 5);
    assert!(world.reply(commit).is_none());
    assert_eq!(world.offset("g", "t"), -1);
    world.apply_all();
    assert_eq!(world.committed(commit), ErrorCode::None);

    let join = world.join(&who(""));
    world.pass(4 * SECOND);
    assert!(world.reply(join).is_none(), "the generation is not in the log yet");
    world.apply_all();
    let id = world.joined(join).member_id;
    let sync = world.sync_with(&id, 1, &[(&id, b"share")]);
    let again = world.sync_with(&id, 1, &[(&id, b"other")]);
    assert!(world.reply(sync).is_none() && world.reply(again).is_none());
    assert_eq!(world.proposals.len(), 1);
    world.pass(30 * SECOND);
    world.apply_all();
    assert_eq!(&world.synced(sync).assignment[..], b"share");
    assert_eq!(&world.synced(again).assignment[..], b"share");
    assert_eq!(world.heartbeat(&id, 1), ErrorCode::None, "waiting for the log is no silence");
}

#[test]
fn delete_and_commit_under_way_at_once() {
    let mut world = World::new();
    world.is_prompt = false;
    let commit = world.start_commit("g", "", -1, "t", 5);
    let delete = world.start_delete(&["g"]);
    let again = world.start_delete(&["g"]);
    let late = world.start_commit("g", "", -1, "u", 6);
    assert!(world.reply(again).is_none(), "it saw the deletion that is not applied yet");
    world.apply_all();
    assert_eq!(world.committed(commit), ErrorCode::None);
    assert_eq!(world.deleted(delete), [ErrorCode::None]);
    assert_eq!(world.deleted(again), [ErrorCode::GroupIdNotFound]);
    assert_eq!(world.committed(late), ErrorCode::None);
    assert_eq!((world.offset("g", "t"), world.offset("g", "u")), (-1, 6));
}

#[test]
fn a_join_behind_a_deletion_starts_a_new_group() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who("")]);
    world.leave(&[(&ids[0], None)]);
    world.is_prompt = false;
    let delete = world.start_delete(&["g"]);
    let join = world.join(&who(""));
    let pass = world.start_delete(&["g"]);
    world.pass(4 * SECOND);
    world.apply_all();
    assert_eq!(world.deleted(delete), [ErrorCode::None]);
    assert_eq!(world.deleted(pass), [ErrorCode::NonEmptyGroup]);
    assert_eq!(world.joined(join).generation, 1);
}

#[test]
fn a_dropped_proposal_rolls_back() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who("")]);
    assert_eq!(world.commit(&ids[0], 1, 5), ErrorCode::None);
    world.is_prompt = false;
    // The next generation is dropped; the old one is still there.
    let join = world.join(&who(&ids[0]));
    let commit = world.start_commit("g", &ids[0], 2, "t", 6);
    assert_eq!(world.committed(commit), ErrorCode::RebalanceInProgress);
    world.drop_first();
    assert_eq!(world.joined(join).error, ErrorCode::NotCoordinator);
    assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::None);
    assert_eq!(world.phase(), GroupPhase::Stable);
    // A dropped deletion.
    world.leave_late(&ids[0]);
    world.apply_all();
    let delete = world.start_delete(&["g"]);
    let commit = world.start_commit("g", "", -1, "t", 7);
    world.drop_first();
    assert_eq!(world.deleted(delete), [ErrorCode::NotCoordinator]);
    assert_eq!(world.committed(commit), ErrorCode::NotCoordinator, "it may have seen the deletion");
    let busy = world.start_commit("g", "", -1, "t", 8);
    assert_eq!(world.committed(busy), ErrorCode::NotCoordinator, "unsettled while a proposal is under way");
    world.apply_all();
    assert_eq!(world.offset("g", "t"), 7, "refused, yet it came about: the client does not know");
    assert_eq!(world.phase(), GroupPhase::Empty);
    // A dropped first commit leaves no group.
    let commit = world.start_commit("new", "", -1, "t", 1);
    world.drop_first();
    assert_eq!(world.committed(commit), ErrorCode::NotCoordinator);
    assert_eq!(world.coordinator.group_count(), 1);
    assert_eq!(world.coordinator.waiting_count(), 0);
}

impl World {
    fn leave_late(&mut self, id: &str) {
        let members = vec![(id.to_owned(), None)];
        self.send(Request::LeaveGroup(LeaveGroup { group: "g".into(), members }));
    }
}

#[test]
fn a_dropped_assignment_is_not_given_out() {
    let mut world = World::new();
    let join = world.join(&who(""));
    world.pass(4 * SECOND);
    let id = world.joined(join).member_id;
    world.is_prompt = false;
    let sync = world.sync_with(&id, 1, &[(&id, b"lost")]);
    world.drop_first();
    assert_eq!(world.synced(sync).error, ErrorCode::NotCoordinator);
    let sync = world.sync_with(&id, 1, &[(&id, b"late")]);
    assert_eq!(world.synced(sync).error, ErrorCode::RebalanceInProgress);
    let join = world.join(&who(&id));
    world.apply_all();
    assert_eq!(world.joined(join).generation, 2);
}

#[test]
fn a_stable_group_does_not_notice_a_restart() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who(""), who("")]);
    assert_eq!(world.commit(&ids[0], 1, 5), ErrorCode::None);
    world.pass_with(60 * SECOND, 1, &[&ids[0], &ids[1]]);
    world.restart();
    for id in &ids {
        assert_eq!(world.heartbeat(id, 1), ErrorCode::None);
        let token = world.sync_with(id, 1, &[]);
        assert_eq!(&world.synced(token).assignment[..], id.as_bytes());
    }
    assert_eq!(world.offset("g", "t"), 5);
    let token = world.join(&who(&ids[1]));
    assert_eq!(world.joined(token).generation, 1, "an unchanged follower is still no reason for a rebalance");
    world.pass(11 * SECOND);
    assert_eq!(world.phase(), GroupPhase::Empty, "fresh sessions, yet sessions");
}

#[test]
fn a_rebalance_cut_by_a_restart_starts_anew() {
    let mut world = World::new();
    let join = world.join(&who(""));
    world.pass(4 * SECOND);
    let id = world.joined(join).member_id;
    world.restart();
    assert_eq!(world.phase(), GroupPhase::PreparingRebalance);
    assert_eq!(world.heartbeat(&id, 1), ErrorCode::RebalanceInProgress);
    let join = world.join(&who(&id));
    assert_eq!(world.joined(join).generation, 2, "a generation that members know is not given out again");

    let waiting = world.sync_with("x", 2, &[]);
    assert_eq!(world.synced(waiting).error, ErrorCode::UnknownMemberId);
    let mut world = World::new();
    let waiting = world.join(&who(""));
    let mut out = Vec::new();
    world.coordinator.resign(&mut out);
    world.take(out);
    assert_eq!(world.joined(waiting).error, ErrorCode::NotCoordinator);
    assert_eq!(world.join_error(&who("")), ErrorCode::NotCoordinator);
    assert_eq!(world.coordinator.next_deadline(), None);
}

#[test]
fn a_snapshot_is_the_whole_durable_state() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[fixed("a"), who("")]);
    world.commit(&ids[0], 1, 5);
    world.start_commit("simple", "", -1, "t", 9);
    let bytes = postcard::to_stdvec(&world.coordinator.snapshot()).expect("encode");
    let table: GroupTable = postcard::from_bytes(&bytes).expect("decode");
    assert_eq!(&table, world.coordinator.table());
    let mut other = Coordinator::new(GroupConfig::default(), 2);
    other.restore(table);
    assert_eq!(other.snapshot(), world.coordinator.snapshot());
    assert_eq!(other.group_count(), 2);
}
