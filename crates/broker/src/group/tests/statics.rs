//! Static members (KIP-345) and the assignment that is skipped for them (KIP-814).

use super::world::*;
use crate::request::*;
use model::ErrorCode;

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    for skips in [true, false] {
        for back in ["a", "b"] {
            let mut world = World::new();
            let (_, ids) = world.stabilize(&[fixed("a"), fixed("b")]);
            let group = world.describe();
            let before =
                group.members.iter().find(|m| m.instance_id.as_deref() == Some(back)).expect("a member");
            let token = world.join(&Who { skips, ..fixed(back) });
            let answer = world.joined(token);
            assert_eq!((answer.error, answer.generation), (ErrorCode::None, 1));
            assert_ne!(answer.member_id, before.member_id);
            let leads = back == "a";
            assert_eq!(answer.skip_assignment, skips && leads);
            assert_eq!(answer.members.len(), if skips && leads { 2 } else { 0 });
            let told = if skips && leads { &answer.member_id } else { &ids[0] };
            assert_eq!(&answer.leader, told, "an old client must not take itself for the leader");
            assert_eq!(world.phase(), GroupPhase::Stable);
            // The share goes over to the new id; the old one is fenced.
            let token = world.sync_with(&answer.member_id, 1, &[]);
            assert_eq!(world.synced(token).assignment, before.assignment);
            let old = before.member_id.as_str();
            assert_eq!(world.heartbeat_as(old, Some(back), 1), ErrorCode::FencedInstanceId);
            assert_eq!(world.heartbeat(old, 1), ErrorCode::UnknownMemberId);
            let fenced = Who { id: old.into(), ..fixed(back) };
            assert_eq!(world.join_error(&fenced), ErrorCode::FencedInstanceId);
            world.restart();
            assert_eq!(world.heartbeat_as(&answer.member_id, Some(back), 1), ErrorCode::None);
        }
    }
}

#[test]
fn a_static_member_that_changes_the_protocol_forces_a_rebalance() {
    let mut world = World::new();
    let both = Who { protocols: protocols(&["range", "sticky"]), ..fixed("a") };
    world.stabilize(std::slice::from_ref(&both));
    let token = world.join(&Who { protocols: protocols(&["sticky", "range"]), ..fixed("a") });
    let answer = world.joined(token);
    assert_eq!((answer.generation, answer.protocol.as_deref()), (2, Some("sticky")));
}

#[test]
fn replaced_while_it_waits() {
    // In the join phase.
    let mut world = World::new();
    world.stabilize(&[fixed("a"), who("")]);
    let group = world.describe();
    let old = group.members.iter().find(|member| member.instance_id.is_some()).expect("a member");
    let first =
        world.join(&Who { id: old.member_id.clone(), protocols: protocols(&["range", "x"]), ..fixed("a") });
    let second = world.join(&fixed("a"));
    assert_eq!(world.joined(first).error, ErrorCode::FencedInstanceId);
    let other = group.members.iter().find(|member| member.instance_id.is_none()).expect("a member");
    world.join(&who(&other.member_id));
    let answer = world.joined(second);
    assert_eq!((answer.error, answer.generation), (ErrorCode::None, 2));
    // While the generation waits for its assignment.
    let waiting = if answer.leader == answer.member_id {
        None
    } else {
        Some(world.sync_with(&answer.member_id, 2, &[]))
    };
    let third = world.join(&fixed("a"));
    if let Some(waiting) = waiting {
        assert_eq!(world.synced(waiting).error, ErrorCode::FencedInstanceId);
    }
    assert_eq!(world.phase(), GroupPhase::PreparingRebalance);
    world.join(&who(&other.member_id));
    assert_eq!(world.joined(third).generation, 3);
}

#[test]
fn a_static_member_outlives_the_rebalance_but_not_its_session() {
    let mut world = World::new();
    let patient = Who { session: 100 * SECOND, ..fixed("a") };
    let (_, ids) = world.stabilize(&[patient, who("")]);
    let token = world.join(&Who { protocols: protocols(&["range", "x"]), ..who(&ids[1]) });
    world.pass(61 * SECOND);
    let answer = world.joined(token);
    assert_eq!((answer.generation, answer.leader.as_str()), (2, ids[1].as_str()), "who joined leads");
    assert_eq!(answer.members.len(), 2);
    world.sync_with(&ids[1], 2, &[]);
    world.pass_with(50 * SECOND, 2, &[&ids[1]]);
    assert_eq!(world.describe().members.len(), 2);
    world.pass_with(51 * SECOND, 2, &[&ids[1]]);
    assert_eq!(world.heartbeat_as(&ids[0], Some("a"), 2), ErrorCode::UnknownMemberId);
}

#[test]
fn an_operator_removes_a_static_member_by_its_name() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[fixed("a"), fixed("b")]);
    let errors = world.leave(&[("", Some("a")), ("", Some("nobody")), ("wrong", Some("b")), ("", None)]);
    assert_eq!(
        errors,
        [
            ErrorCode::None,
            ErrorCode::UnknownMemberId,
            ErrorCode::FencedInstanceId,
            ErrorCode::UnknownMemberId
        ]
    );
    assert_eq!(world.heartbeat_as(&ids[1], Some("b"), 1), ErrorCode::RebalanceInProgress);
}
