//! Joining, syncing, staying, leaving.

use super::world::*;
use crate::group::GroupConfig;
use crate::request::*;
use bytes::Bytes;
use model::ErrorCode;
use std::time::Duration;

#[test]
fn two_members_join_sync_and_stay() {
    let mut world = World::new();
    let (generation, ids) = world.stabilize(&[who(""), who("")]);
    assert_eq!(generation, 1);
    assert!(ids[0].starts_with("app-") && ids[0] != ids[1]);
    for id in &ids {
        assert_eq!(world.heartbeat(id, 1), ErrorCode::None);
        let token = world.sync_with(id, 1, &[]);
        assert_eq!(world.synced(token).assignment, Bytes::from(id.clone()));
    }
    let group = world.describe();
    assert_eq!((group.protocol_type.as_str(), group.protocol.as_str()), ("consumer", "range"));
    assert_eq!(group.members.len(), 2);
    assert_eq!(group.members[0].client_host, "/10.0.0.1");
    assert_eq!(&group.members[0].metadata[..], b"meta");
    assert_eq!(world.coordinator.waiting_count(), 0);
}

#[test]
fn requests_refused_at_the_door() {
    let mut world = World::new();
    let short = Who { session: Duration::from_secs(5), ..who("") };
    let long = Who { session: Duration::from_secs(1801), ..who("") };
    let no_protocols = Who { protocols: Vec::new(), ..who("") };
    let names: Vec<String> = (0..65).map(|index| format!("p{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many_protocols = Who { protocols: protocols(&names), ..who("") };
    let no_kind = Who { kind: String::new(), ..who("") };
    for (member, error) in [
        (short, ErrorCode::InvalidSessionTimeout),
        (long, ErrorCode::InvalidSessionTimeout),
        (no_protocols, ErrorCode::InconsistentGroupProtocol),
        (many_protocols, ErrorCode::InconsistentGroupProtocol),
        (no_kind, ErrorCode::InconsistentGroupProtocol),
        (who("nobody"), ErrorCode::UnknownMemberId),
    ] {
        assert_eq!(world.join_error(&member), error, "{member:?}");
    }
    assert_eq!(world.heartbeat("m", 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.leave(&[("m", None)]), [ErrorCode::UnknownMemberId]);
    let token = world.sync_with("m", 1, &[]);
    assert_eq!(world.synced(token).error, ErrorCode::UnknownMemberId);
    let heartbeat =
        Heartbeat { group: String::new(), generation: 1, member_id: "m".into(), instance_id: None };
    let token = world.send(Request::Heartbeat(heartbeat));
    assert!(matches!(
        world.reply(token),
        Some(Response::Heartbeat(HeartbeatResponse { error: ErrorCode::InvalidGroupId }))
    ));
    assert_eq!(world.coordinator.group_count(), 0, "nothing is left of refused requests");
}

#[test]
fn a_new_member_gets_its_id_first() {
    let mut world = World::new();
    let member = Who { requires_known_id: true, ..who("") };
    let token = world.join(&member);
    let answer = world.joined(token);
    assert_eq!(answer.error, ErrorCode::MemberIdRequired);
    assert_eq!(world.phase(), GroupPhase::Empty);
    let (generation, ids) = world.stabilize(&[Who { id: answer.member_id.clone(), ..member.clone() }]);
    assert_eq!((generation, &ids[0]), (1, &answer.member_id));

    // An id that does not come back is forgotten after the session time-out; so is one that leaves.
    for leaves in [false, true] {
        let token = world.join(&member);
        let id = world.joined(token).member_id;
        if leaves {
            assert_eq!(world.leave(&[(&id, None)]), [ErrorCode::None]);
        } else {
            world.pass_with(11 * SECOND, 1, &[&ids[0]]);
        }
        assert_eq!(world.join_error(&Who { id, ..member.clone() }), ErrorCode::UnknownMemberId);
    }
    assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::None, "no rebalance for ids that never came back");
    let mut empty = World::new();
    empty.join(&member);
    empty.pass(11 * SECOND);
    assert_eq!(empty.coordinator.group_count(), 0);
}

#[test]
fn the_first_generation_waits_for_more_members() {
    let mut world = World::new();
    let first = world.join(&who(""));
    world.pass(Duration::from_millis(2900));
    let second = world.join(&who(""));
    world.pass(Duration::from_millis(200));
    assert!(world.reply(first).is_none(), "the wait starts anew when somebody came");
    world.pass(SECOND * 3);
    assert_eq!(world.joined(first).generation, 1);
    assert_eq!(world.joined(second).generation, 1);

    // The wait never outlasts the rebalance time-out.
    let mut world = World::new();
    let tokens: Vec<_> = (0..9)
        .map(|_| {
            let token = world.join(&Who { rebalance: 8 * SECOND, ..who("") });
            world.pass(SECOND);
            token
        })
        .collect();
    assert_eq!(world.joined(tokens[0]).generation, 1);
}

#[test]
fn members_that_do_not_join_again_are_out() {
    let mut world = World::new();
    let patient = Who { session: 120 * SECOND, ..who("") };
    let (_, ids) = world.stabilize(&[patient.clone(), patient.clone()]);
    let third = world.join(&patient);
    assert_eq!(world.phase(), GroupPhase::PreparingRebalance);
    assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    let again = world.join(&Who { id: ids[0].clone(), ..patient.clone() });
    world.pass_with(59 * SECOND, 1, &[&ids[1]]);
    assert!(world.reply(again).is_none());
    world.pass(2 * SECOND);
    assert_eq!(world.joined(again).generation, 2);
    assert_eq!(world.joined(third).generation, 2);
    assert_eq!(world.heartbeat(&ids[1], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn waiting_members_do_not_expire_and_silent_ones_do() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who(""), who("")]);
    let waiting = world.join(&Who { protocols: protocols(&["range", "x"]), ..who(&ids[0]) });
    world.pass_with(30 * SECOND, 1, &[&ids[1]]);
    assert!(world.reply(waiting).is_none(), "it waits for the second member, longer than its session");
    world.pass(11 * SECOND);
    let answer = world.joined(waiting);
    assert_eq!((answer.error, answer.generation, answer.members.len()), (ErrorCode::None, 2, 1));
    world.pass(11 * SECOND);
    assert_eq!(world.phase(), GroupPhase::Empty);
    assert_eq!(world.describe().members.len(), 0);
}

#[test]
fn members_that_do_not_sync_are_out() {
    let mut world = World::new();
    let patient = Who { session: 200 * SECOND, ..who("") };
    let first = world.join(&patient);
    let second = world.join(&patient);
    world.pass(6 * SECOND);
    let (first, second) = (world.joined(first), world.joined(second));
    assert_eq!(world.commit(&first.member_id, 1, 5), ErrorCode::RebalanceInProgress);
    let follower = if first.leader == first.member_id { &second.member_id } else { &first.member_id };
    let token = world.sync_with(follower, 1, &[]);
    world.pass(61 * SECOND);
    assert_eq!(world.synced(token).error, ErrorCode::RebalanceInProgress);
    assert_eq!(world.heartbeat(&first.leader, 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat(follower, 1), ErrorCode::RebalanceInProgress);
    let token = world.join(&Who { id: follower.clone(), ..patient });
    let answer = world.joined(token);
    assert_eq!((answer.generation, &answer.leader), (2, follower));
}

#[test]
fn coming_again_without_a_change() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who(""), who("")]);
    // A follower gets the running generation, without the roster.
    let token = world.join(&who(&ids[1]));
    let answer = world.joined(token);
    assert_eq!((answer.generation, answer.leader.as_str(), answer.members.len()), (1, ids[0].as_str(), 0));
    // The leader forces a rebalance.
    let leader = world.join(&who(&ids[0]));
    assert_eq!(world.phase(), GroupPhase::PreparingRebalance);
    let follower = world.join(&who(&ids[1]));
    assert_eq!(world.joined(leader).members.len(), 2);
    assert_eq!(world.joined(follower).generation, 2);
    // While the generation waits for its assignment, both get it once more.
    let leader = world.join(&who(&ids[0]));
    let answer = world.joined(leader);
    assert_eq!((answer.generation, answer.members.len()), (2, 2));
    // A change of metadata forces the next one.
    let change = world.join(&Who { protocols: protocols(&["range", "sticky"]), ..who(&ids[1]) });
    assert!(world.reply(change).is_none());
    assert_eq!(world.phase(), GroupPhase::PreparingRebalance);
}

#[test]
fn protocols_are_voted_among_those_all_speak() {
    for (offers, expected) in [
        (vec![vec!["a", "b"], vec!["b", "a"], vec!["b", "a"]], "b"),
        (vec![vec!["a", "b"], vec!["b"], vec!["c", "b"]], "b"),
        (vec![vec!["a", "b"], vec!["b", "a"]], "a"),
    ] {
        let mut world = World::new();
        let tokens: Vec<_> =
            offers.iter().map(|o| world.join(&Who { protocols: protocols(o), ..who("") })).collect();
        world.pass(7 * SECOND);
        for token in tokens {
            assert_eq!(world.joined(token).protocol.as_deref(), Some(expected), "{offers:?}");
        }
        let stranger = Who { protocols: protocols(&["z"]), ..who("") };
        assert_eq!(world.join_error(&stranger), ErrorCode::InconsistentGroupProtocol);
        let connector = Who { kind: "connect".into(), ..who("") };
        assert_eq!(world.join_error(&connector), ErrorCode::InconsistentGroupProtocol);
    }
}

#[test]
fn sync_is_checked() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who("")]);
    let sync = |kind: Option<&str>, protocol: Option<&str>, generation| SyncGroup {
        group: "g".into(),
        generation,
        member_id: ids[0].clone(),
        instance_id: None,
        protocol_type: kind.map(str::to_owned),
        protocol: protocol.map(str::to_owned),
        assignments: vec![(ids[0].clone(), Bytes::from_static(b"other"))],
    };
    for (request, error) in [
        (sync(None, None, 1), ErrorCode::None),
        (sync(Some("consumer"), Some("range"), 1), ErrorCode::None),
        (sync(Some("connect"), None, 1), ErrorCode::InconsistentGroupProtocol),
        (sync(None, Some("sticky"), 1), ErrorCode::InconsistentGroupProtocol),
        (sync(None, None, 0), ErrorCode::IllegalGeneration),
        (sync(None, None, 2), ErrorCode::IllegalGeneration),
    ] {
        let token = world.send(Request::SyncGroup(request));
        let answer = world.synced(token);
        assert_eq!(answer.error, error);
        if error.is_none() {
            assert_eq!(answer.assignment, Bytes::from(ids[0].clone()), "a generation is assigned once");
        }
    }
    assert_eq!(world.heartbeat(&ids[0], 2), ErrorCode::IllegalGeneration);
}

#[test]
fn leaving_starts_a_rebalance_and_the_last_one_empties_the_group() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who(""), who(""), who("")]);
    assert_eq!(
        world.leave(&[(&ids[1], None), ("nobody", None), (&ids[2], None)]),
        [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::None]
    );
    assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    let token = world.join(&who(&ids[0]));
    assert_eq!(world.joined(token).generation, 2);
    assert_eq!(world.leave(&[(&ids[0], None)]), [ErrorCode::None]);
    assert_eq!(world.phase(), GroupPhase::Empty);
    let (generation, _) = world.stabilize(&[who("")]);
    assert_eq!(generation, 4, "the empty generation counts");
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut world =
        World::with(GroupConfig { group_size_max: 2, pending_members_max: 1, ..Default::default() });
    let (_, ids) = world.stabilize(&[who(""), who("")]);
    assert_eq!(world.join_error(&who("")), ErrorCode::GroupMaxSizeReached);
    assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::None);
    // While members gather, the first to come are in.
    world.leave(&[(&ids[1], None)]);
    let first = world.join(&who(&ids[0]));
    assert_eq!(world.joined(first).generation, 2);
    let pending = Who { requires_known_id: true, ..who("") };
    assert_eq!(world.join_error(&pending), ErrorCode::MemberIdRequired);
    assert_eq!(world.join_error(&pending), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn limits_of_groups_and_bytes() {
    let config = GroupConfig { groups_max: 1, group_bytes_max: 1000, ..Default::default() };
    let mut world = World::with(config);
    let heavy = Who { protocols: vec![("range".into(), Bytes::from(vec![0; 1000]))], ..who("") };
    assert_eq!(world.join_error(&heavy), ErrorCode::GroupMaxSizeReached);
    assert_eq!(world.coordinator.group_count(), 0);
    let (_, ids) = world.stabilize(&[who("")]);
    let token = world.start_commit("other", "", -1, "t", 1);
    assert_eq!(world.committed(token), ErrorCode::InvalidCommitOffsetSize);
    // An assignment that no log entry can hold.
    let token = world.join(&who(&ids[0]));
    assert_eq!(world.joined(token).generation, 2);
    static LARGE: [u8; 1001] = [0; 1001];
    let token = world.sync_with(&ids[0], 2, &[(&ids[0], &LARGE)]);
    assert_eq!(world.synced(token).error, ErrorCode::UnknownServerError);
    assert_eq!(world.phase(), GroupPhase::PreparingRebalance);
}

#[test]
fn members_of_all_groups_share_a_limit() {
    let config = GroupConfig { members_bytes_max: 2000, ..Default::default() };
    let mut world = World::with(config);
    let heavy = |id: &str| Who { protocols: vec![("range".into(), Bytes::from(vec![0; 1200]))], ..who(id) };
    let (_, ids) = world.stabilize(&[heavy("")]);
    assert_eq!(world.join_error(&heavy("")), ErrorCode::GroupMaxSizeReached);
    // Who is in may come again, and who leaves makes room.
    let token = world.join(&heavy(&ids[0]));
    assert_eq!(world.joined(token).error, ErrorCode::None);
    world.leave(&[(&ids[0], None)]);
    let (_, ids) = world.stabilize(&[heavy("")]);
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_time_out_of_zero_does_not_spin() {
    let mut world = World::new();
    let hasty = Who { rebalance: Duration::ZERO, ..fixed("a") };
    let token = world.join(&hasty);
    world.pass(4 * SECOND);
    assert_eq!(world.joined(token).error, ErrorCode::None);
    assert_eq!(world.phase(), GroupPhase::Empty, "no time to sync either, as it asked");
    let (_, ids) = world.stabilize(&[Who { session: 100 * SECOND, ..fixed("a") }]);
    let other = world.join(&Who { rebalance: Duration::ZERO, ..who("") });
    world.leave(&[("", Some("a"))]);
    assert!(world.reply(other).is_some());
    assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::UnknownMemberId);
    // Nobody of a group whose members know no patience joins again.
    let mut world = World::new();
    let token = world.join(&hasty);
    world.pass(3 * SECOND);
    assert_eq!(world.joined(token).generation, 1);
    world.restart();
    world.pass(60 * SECOND);
    assert_eq!(world.phase(), GroupPhase::Empty);
}

#[test]
fn answers_to_closed_connections_are_not_given() {
    let mut world = World::new();
    let token = world.join(&who(""));
    world.coordinator.on_connection_closed(ConnectionId(1));
    world.pass(7 * SECOND);
    assert!(world.reply(token).is_none());
    assert_eq!(world.coordinator.waiting_count(), 0);
    assert_eq!(world.phase(), GroupPhase::CompletingRebalance);
    world.coordinator.on_connection_closed(ConnectionId(9));
}

#[test]
fn a_second_question_of_a_waiting_member_ends_the_first() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who(""), who("")]);
    let first = world.join(&who(&ids[0]));
    let second = world.join(&who(&ids[0]));
    assert_eq!(world.joined(first).error, ErrorCode::RebalanceInProgress);
    world.join(&who(&ids[1]));
    assert_eq!(world.joined(second).generation, 2);
    let first = world.sync_with(&ids[1], 2, &[]);
    let second = world.sync_with(&ids[1], 2, &[]);
    assert_eq!(world.synced(first).error, ErrorCode::RebalanceInProgress);
    world.sync_with(&ids[0], 2, &[(&ids[1], b"share")]);
    assert_eq!(&world.synced(second).assignment[..], b"share");
}

#[test]
fn lists_by_state_and_type() {
    let mut world = World::new();
    world.stabilize(&[who("")]);
    world.start_commit("simple", "", -1, "t", 1);
    let mut list = |states: &[&str], types: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let token = world.send(Request::ListGroups(ListGroups { states: own(states), types: own(types) }));
        match world.reply(token) {
            Some(Response::ListGroups(answer)) => answer.groups,
            other => panic!("no list but {other:?}"),
        }
    };
    let stable = ("g".to_owned(), "consumer".to_owned(), GroupPhase::Stable);
    let simple = ("simple".to_owned(), String::new(), GroupPhase::Empty);
    assert_eq!(list(&[], &[]), [stable.clone(), simple.clone()]);
    assert_eq!(list(&["stable"], &["Classic"]), std::slice::from_ref(&stable));
    assert_eq!(list(&["EMPTY", "Dead"], &[]), [simple]);
    assert_eq!(list(&[], &["consumer"]), []);
}

#[test]
fn a_member_paused_past_its_session_commits_nothing_more() {
    let mut world = World::new();
    let (_, ids) = world.stabilize(&[who(""), who("")]);
    assert_eq!(world.commit(&ids[0], 1, 5), ErrorCode::None);
    world.pass_with(11 * SECOND, 1, &[&ids[1]]);
    assert_eq!(world.commit(&ids[0], 1, 6), ErrorCode::UnknownMemberId);
    let token = world.join(&who(&ids[1]));
    assert_eq!(world.joined(token).generation, 2);
    world.sync_with(&ids[1], 2, &[(&ids[1], b"all")]);
    assert_eq!(world.commit(&ids[1], 2, 7), ErrorCode::None);
    for generation in [1, 2] {
        assert_eq!(world.commit(&ids[0], generation, 6), ErrorCode::UnknownMemberId);
    }
    assert_eq!(world.offset("g", "t"), 7);
}

#[test]
fn thousands_join_at_once() {
    let mut world = World::new();
    let (generation, ids) = world.stabilize(&vec![Who { session: 100 * SECOND, ..who("") }; 3000]);
    assert_eq!((generation, ids.len()), (1, 3000));
    let tokens: Vec<_> = ids.iter().map(|id| world.join(&who(id))).collect();
    for token in tokens {
        assert_eq!(world.joined(token).generation, 2);
    }
}
