//! Groups and their positions.

use broker::request::*;
use bytes::Bytes;
use model::ErrorCode;

use super::*;
use crate::message::delete_groups::DeleteGroupsRequest;
use crate::message::describe_groups::DescribeGroupsRequest;
use crate::message::find_coordinator::FindCoordinatorRequest;
use crate::message::heartbeat::HeartbeatRequest;
use crate::message::join_group::JoinGroupRequest;
use crate::message::leave_group::LeaveGroupRequest;
use crate::message::list_groups::ListGroupsRequest;
use crate::message::offset_commit::{OffsetCommitRequest, OffsetCommitRequestTopic};
use crate::message::offset_delete::OffsetDeleteRequest;
use crate::message::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use crate::message::sync_group::SyncGroupRequest;

const PHASES: [GroupPhase; 3] = [GroupPhase::Empty, GroupPhase::Stable, GroupPhase::Dead];

pub(super) fn round_trips(covered: &mut Covered) {
    covered.each::<FindCoordinatorRequest>(find_coordinator);
    covered.each::<JoinGroupRequest>(join_group);
    covered.each::<SyncGroupRequest>(sync_group);
    covered.each::<HeartbeatRequest>(heartbeat);
    covered.each::<LeaveGroupRequest>(leave_group);
    covered.each::<OffsetCommitRequest>(offset_commit);
    covered.each::<OffsetDeleteRequest>(offset_delete);
    covered.each::<OffsetFetchRequest>(offset_fetch);
    covered.each::<DescribeGroupsRequest>(describe_groups);
    covered.each::<ListGroupsRequest>(list_groups);
    covered.each::<DeleteGroupsRequest>(delete_groups);
}

fn owned(text: &Option<Str>) -> Option<String> {
    text.as_ref().map(Str::to_string)
}

fn find_coordinator(session: &mut Session, version: i16, values: &mut Values) {
    let message = FindCoordinatorRequest::arbitrary(values, version);
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::FindCoordinator(it) = request else { panic!("{request:?}") };
        assert_eq!(it.key_type, if version >= 1 { message.key_type } else { 0 });
        let sent: Vec<_> = if version >= 4 {
            message.coordinator_keys.iter().map(Str::to_string).collect()
        } else {
            vec![message.key.to_string()]
        };
        assert_eq!(it.keys, sent);
        said = it
            .keys
            .into_iter()
            .map(|key| (key, if values.coin() { Ok(endpoint(values)) } else { Err(refusal(values)) }))
            .collect();
        Response::FindCoordinator(FindCoordinatorResponse { coordinators: said.clone() })
    });
    let expected = said.iter().map(|(key, found)| match found {
        Ok(node) => (key.as_str(), node.node.0, node.host.as_str(), i32::from(node.port), 0, None),
        Err(refusal) => (key.as_str(), -1, "", -1, refusal.code.code(), message_of(refusal)),
    });
    let expected: Vec<_> = expected.collect();
    if version >= 4 {
        let read = read.coordinators.iter();
        let read: Vec<_> = read
            .map(|it| (&*it.key, it.node_id, &*it.host, it.port, it.error_code, it.error_message.clone()))
            .collect();
        assert_eq!(read, expected);
    } else {
        let (_, node, host, port, code, why) = expected[0].clone();
        assert_eq!((read.node_id, &*read.host, read.port, read.error_code), (node, host, port, code));
        if version >= 1 {
            assert_eq!(read.error_message, why);
        }
    }
}

fn join_group(session: &mut Session, version: i16, values: &mut Values) {
    let message = JoinGroupRequest::arbitrary(values, version);
    let said = JoinGroupResponse {
        error: if values.coin() { ErrorCode::None } else { error(values) },
        generation: values.int32(),
        protocol_type: values.option(text),
        protocol: values.option(text),
        leader: text(values),
        skip_assignment: values.coin(),
        member_id: text(values),
        members: values.list(|values| (text(values), values.option(text), values.bytes())),
    };
    let read = exchange(session, version, &message, |request| {
        let Request::JoinGroup(it) = request else { panic!("{request:?}") };
        assert_eq!((&*it.group, &*it.member_id), (&*message.group_id, &*message.member_id));
        let session_timeout = message.session_timeout_ms;
        let rebalance_timeout = if version >= 1 { message.rebalance_timeout_ms } else { session_timeout };
        assert_eq!(it.session_timeout.as_millis(), session_timeout.max(0) as u128);
        assert_eq!(it.rebalance_timeout.as_millis(), rebalance_timeout.max(0) as u128);
        assert_eq!(it.instance_id, owned(&message.group_instance_id).filter(|_| version >= 5));
        assert_eq!(it.protocol_type, *message.protocol_type);
        let protocols = message.protocols.iter().map(|it| (it.name.to_string(), it.metadata.clone()));
        assert_eq!(it.protocols, protocols.collect::<Vec<_>>());
        assert_eq!(it.reason, owned(&message.reason).filter(|_| version >= 8));
        assert_eq!(it.requires_known_member_id, version >= 4);
        assert_eq!(it.supports_skipping_assignment, version >= 9);
        Response::JoinGroup(said.clone())
    });
    assert_eq!(read.error_code, said.error.code());
    assert_eq!(read.generation_id, if said.error.is_none() { said.generation } else { -1 });
    assert_eq!(read.protocol_type.as_deref(), said.protocol_type.as_deref().filter(|_| version >= 7));
    let protocol = said.protocol.as_deref().or((version < 7).then_some(""));
    assert_eq!(read.protocol_name.as_deref(), protocol);
    assert_eq!((&*read.leader, &*read.member_id), (&*said.leader, &*said.member_id));
    assert_eq!(read.skip_assignment, version >= 9 && said.skip_assignment);
    let members = read.members.into_iter();
    let members: Vec<_> =
        members.map(|it| (it.member_id.to_string(), owned(&it.group_instance_id), it.metadata)).collect();
    let said = said.members.into_iter();
    let said: Vec<_> =
        said.map(|(id, instance, bytes)| (id, instance.filter(|_| version >= 5), bytes)).collect();
    assert_eq!(members, said);
}

fn sync_group(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = SyncGroupRequest::arbitrary(values, version);
    if version >= 5 {
        message.protocol_type.get_or_insert_default();
        message.protocol_name.get_or_insert_default();
    }
    let said = SyncGroupResponse {
        error: error(values),
        protocol_type: values.option(text),
        protocol: values.option(text),
        assignment: values.bytes(),
    };
    let read = exchange(session, version, &message, |request| {
        let Request::SyncGroup(it) = request else { panic!("{request:?}") };
        assert_eq!((&*it.group, it.generation), (&*message.group_id, message.generation_id));
        assert_eq!(it.member_id, *message.member_id);
        assert_eq!(it.instance_id, owned(&message.group_instance_id).filter(|_| version >= 3));
        assert_eq!(it.protocol_type, owned(&message.protocol_type).filter(|_| version >= 5));
        assert_eq!(it.protocol, owned(&message.protocol_name).filter(|_| version >= 5));
        let sent = message.assignments.iter().map(|it| (it.member_id.to_string(), it.assignment.clone()));
        assert_eq!(it.assignments, sent.collect::<Vec<(String, Bytes)>>());
        Response::SyncGroup(said.clone())
    });
    assert_eq!((read.error_code, read.assignment), (said.error.code(), said.assignment));
    assert_eq!(read.protocol_type.as_deref(), said.protocol_type.as_deref().filter(|_| version >= 5));
    assert_eq!(read.protocol_name.as_deref(), said.protocol.as_deref().filter(|_| version >= 5));
}

#[test]
fn a_new_sync_must_name_its_protocol() {
    let message = SyncGroupRequest { protocol_type: Some("consumer".into()), ..Default::default() };
    let message = SyncGroupRequest { protocol_name: None, ..message };
    let read = refused(&mut session(), 5, &message);
    assert_eq!(read.error_code, ErrorCode::InconsistentGroupProtocol.code());
}

fn heartbeat(session: &mut Session, version: i16, values: &mut Values) {
    let message = HeartbeatRequest::arbitrary(values, version);
    let error = error(values);
    let read = exchange(session, version, &message, |request| {
        let Request::Heartbeat(it) = request else { panic!("{request:?}") };
        assert_eq!((&*it.group, it.generation), (&*message.group_id, message.generation_id));
        assert_eq!(it.member_id, *message.member_id);
        assert_eq!(it.instance_id, owned(&message.group_instance_id).filter(|_| version >= 3));
        Response::Heartbeat(HeartbeatResponse { error })
    });
    assert_eq!(read.error_code, error.code());
}

fn leave_group(session: &mut Session, version: i16, values: &mut Values) {
    let message = LeaveGroupRequest::arbitrary(values, version);
    let whole = if values.coin() { ErrorCode::None } else { error(values) };
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::LeaveGroup(it) = request else { panic!("{request:?}") };
        assert_eq!(it.group, *message.group_id);
        let sent: Vec<_> = if version >= 3 {
            let members = message.members.iter();
            members.map(|it| (it.member_id.to_string(), owned(&it.group_instance_id))).collect()
        } else {
            vec![(message.member_id.to_string(), None)]
        };
        assert_eq!(it.members, sent);
        said = it.members.into_iter().map(|(id, instance)| (id, instance, error(values))).collect();
        Response::LeaveGroup(LeaveGroupResponse { error: whole, members: said.clone() })
    });
    if version < 3 {
        let code = if whole.is_none() { said[0].2 } else { whole };
        assert_eq!((read.error_code, read.members.len()), (code.code(), 0));
        return;
    }
    assert_eq!(read.error_code, whole.code());
    let read = read.members.iter();
    let read = read.map(|it| {
        (it.member_id.to_string(), owned(&it.group_instance_id), ErrorCode::from_code(it.error_code))
    });
    assert_eq!(read.collect::<Vec<_>>(), said);
}

fn offset_commit(session: &mut Session, version: i16, values: &mut Values) {
    let message = OffsetCommitRequest::arbitrary(values, version);
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::OffsetCommit(it) = request else { panic!("{request:?}") };
        assert_eq!((&*it.group, &*it.member_id), (&*message.group_id, &*message.member_id));
        assert_eq!(it.generation, message.generation_id_or_member_epoch);
        assert_eq!(it.instance_id, owned(&message.group_instance_id).filter(|_| version >= 7));
        assert_eq!(it.topics.len(), message.topics.len());
        for ((topic, positions), sent) in it.topics.iter().zip(&message.topics) {
            assert_eq!(*topic, meant(&sent.name, sent.topic_id, version >= 10));
            assert_eq!(positions.len(), sent.partitions.len());
            for (it, sent) in positions.iter().zip(&sent.partitions) {
                assert_eq!((it.index, it.offset), (sent.partition_index, sent.committed_offset));
                assert_eq!(it.leader_epoch, if version >= 6 { sent.committed_leader_epoch } else { -1 });
                assert_eq!(it.metadata, owned(&sent.committed_metadata));
            }
        }
        let topics = it.topics.into_iter().map(|(topic, positions)| {
            (topic, positions.iter().map(|it| (it.index, error(values))).collect())
        });
        said = topics.collect();
        Response::OffsetCommit(OffsetCommitResponse { topics: said.clone() })
    });
    assert_eq!(read.topics.len(), said.len());
    for (it, (topic, said)) in read.topics.iter().zip(&said) {
        assert_eq!((it.name.clone(), it.topic_id), named(topic));
        let read = it.partitions.iter();
        let read: Vec<_> = read.map(|it| (it.partition_index, ErrorCode::from_code(it.error_code))).collect();
        let older = |error| match error {
            ErrorCode::GroupIdNotFound if version < 9 => ErrorCode::IllegalGeneration,
            error => error,
        };
        assert_eq!(read, said.iter().map(|(index, error)| (*index, older(*error))).collect::<Vec<_>>());
    }
}

#[test]
fn a_commit_to_a_group_that_does_not_exist() {
    let mut session = session();
    for (version, expected) in [(8, ErrorCode::IllegalGeneration), (9, ErrorCode::GroupIdNotFound)] {
        let message = OffsetCommitRequest {
            topics: vec![OffsetCommitRequestTopic {
                partitions: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let read = exchange(&mut session, version, &message, |request| {
            let Request::OffsetCommit(it) = request else { panic!("{request:?}") };
            let refuse = |(topic, _)| (topic, vec![(0, ErrorCode::GroupIdNotFound)]);
            Response::OffsetCommit(OffsetCommitResponse {
                topics: it.topics.into_iter().map(refuse).collect(),
            })
        });
        assert_eq!(read.topics[0].partitions[0].error_code, expected.code(), "version {version}");
    }
}

fn offset_delete(session: &mut Session, version: i16, values: &mut Values) {
    let message = OffsetDeleteRequest::arbitrary(values, version);
    let mut said = OffsetDeleteResponse { error: ErrorCode::None, topics: Vec::new() };
    let read = exchange(session, version, &message, |request| {
        let Request::OffsetDelete(it) = request else { panic!("{request:?}") };
        assert_eq!(it.group, &*message.group_id);
        assert_eq!(it.topics.len(), message.topics.len());
        for ((topic, indexes), sent) in it.topics.iter().zip(&message.topics) {
            assert_eq!(*topic, TopicRef::Name(sent.name.to_string()));
            assert_eq!(*indexes, sent.partitions.iter().map(|it| it.partition_index).collect::<Vec<_>>());
        }
        said.error = error(values);
        let topics = it.topics.into_iter().map(|(topic, indexes)| {
            (topic, indexes.into_iter().map(|index| (index, error(values))).collect())
        });
        said.topics = topics.collect();
        Response::OffsetDelete(said.clone())
    });
    assert_eq!(ErrorCode::from_code(read.error_code), said.error);
    assert_eq!(read.topics.len(), said.topics.len());
    for (it, (topic, said)) in read.topics.iter().zip(&said.topics) {
        assert_eq!(TopicRef::Name(it.name.to_string()), *topic);
        let read = it.partitions.iter();
        let read: Vec<_> = read.map(|it| (it.partition_index, ErrorCode::from_code(it.error_code))).collect();
        assert_eq!(&read, said);
    }
}

/// Positions for what was asked, or for something when all were.
fn positions(asked: &OffsetFetchGroup, values: &mut Values) -> Vec<(TopicRef, Vec<FetchedOffset>)> {
    let all = vec![(TopicRef::Name("all".into()), vec![0, 1])];
    let topics = asked.topics.clone().unwrap_or(all).into_iter();
    topics
        .map(|(topic, indexes)| {
            let offsets = indexes.into_iter().map(|index| FetchedOffset {
                index,
                offset: values.int64(),
                leader_epoch: values.int32(),
                metadata: values.option(text),
                error: error(values),
            });
            (topic, offsets.collect())
        })
        .collect()
}

/// A position as every version writes it.
fn written(said: &FetchedOffset, version: i16) -> (i32, i64, i32, Option<String>, i16) {
    let epoch = if version >= 5 { said.leader_epoch } else { -1 };
    let metadata = Some(said.metadata.clone().unwrap_or_default());
    (said.index, said.offset, epoch, metadata, said.error.code())
}

fn offset_fetch(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = OffsetFetchRequest::arbitrary(values, version);
    for group in &mut message.groups {
        // Ids where ids are: "all" is answered by name below.
        group.topics.get_or_insert_default();
    }
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::OffsetFetch(it) = request else { panic!("{request:?}") };
        assert_eq!(it.require_stable, version >= 7 && message.require_stable);
        assert_eq!(it.topic_ids, version >= 10);
        if version < 8 {
            let [group] = &it.groups[..] else { panic!("one group: {it:?}") };
            let topics = message.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                topics
                    .map(|it| (TopicRef::Name(it.name.to_string()), it.partition_indexes.clone()))
                    .collect::<Vec<_>>()
            });
            assert_eq!((&*group.group, &group.topics), (&*message.group_id, &topics));
            assert_eq!((&group.member_id, group.member_epoch), (&None, -1));
        } else {
            assert_eq!(it.groups.len(), message.groups.len());
            for (it, sent) in it.groups.iter().zip(&message.groups) {
                assert_eq!(it.group, *sent.group_id);
                assert_eq!(it.member_id, owned(&sent.member_id).filter(|_| version >= 9));
                assert_eq!(it.member_epoch, if version >= 9 { sent.member_epoch } else { -1 });
                let topics = sent.topics.iter().flatten();
                let topics: Vec<_> = topics
                    .map(|it| (meant(&it.name, it.topic_id, version >= 10), it.partition_indexes.clone()))
                    .collect();
                assert_eq!(it.topics.as_ref(), Some(&topics));
            }
        }
        let groups = it.groups.iter().map(|group| FetchedGroup {
            group: group.group.clone(),
            error: if version >= 2 { error(values) } else { ErrorCode::None },
            topics: positions(group, values),
        });
        said = groups.collect();
        Response::OffsetFetch(OffsetFetchResponse { groups: said.clone() })
    });
    if version < 8 {
        assert_eq!(read.error_code, said[0].error.code());
        assert_eq!(read.topics.len(), said[0].topics.len());
        for (it, (topic, said)) in read.topics.iter().zip(&said[0].topics) {
            assert_eq!(it.name, named(topic).0);
            let read = it.partitions.iter().map(|it| {
                let metadata = owned(&it.metadata);
                let epoch = it.committed_leader_epoch;
                (it.partition_index, it.committed_offset, epoch, metadata, it.error_code)
            });
            let said = said.iter().map(|said| written(said, version));
            assert!(read.eq(said));
        }
        return;
    }
    assert_eq!(read.groups.len(), said.len());
    for (it, said) in read.groups.iter().zip(&said) {
        assert_eq!((&*it.group_id, it.error_code), (&*said.group, said.error.code()));
        assert_eq!(it.topics.len(), said.topics.len());
        for (it, (topic, said)) in it.topics.iter().zip(&said.topics) {
            assert_eq!((it.name.clone(), it.topic_id), named(topic));
            let read = it.partitions.iter().map(|it| {
                let metadata = owned(&it.metadata);
                let epoch = it.committed_leader_epoch;
                (it.partition_index, it.committed_offset, epoch, metadata, it.error_code)
            });
            let said = said.iter().map(|said| written(said, version));
            assert!(read.eq(said));
        }
    }
}

#[test]
fn the_first_offset_fetch_repeats_a_groups_error_on_each_partition() {
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 3] };
    let message = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequest::default()
    };
    for version in [1, 2] {
        let read = exchange(&mut session(), version, &message, |_| {
            let error = ErrorCode::NotCoordinator;
            let group = FetchedGroup { group: "g".into(), error, topics: vec![] };
            Response::OffsetFetch(OffsetFetchResponse { groups: vec![group] })
        });
        let code = ErrorCode::NotCoordinator.code();
        if version == 2 {
            assert_eq!((read.error_code, read.topics.len()), (code, 0));
        } else {
            let told = read.topics[0].partitions.iter();
            let told: Vec<_> =
                told.map(|it| (it.partition_index, it.committed_offset, it.error_code)).collect();
            assert_eq!(told, [(0, -1, code), (3, -1, code)]);
        }
    }
}

fn describe_groups(session: &mut Session, version: i16, values: &mut Values) {
    let message = DescribeGroupsRequest::arbitrary(values, version);
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::DescribeGroups(it) = request else { panic!("{request:?}") };
        let sent = message.groups.iter().map(Str::to_string);
        assert_eq!(it.groups, sent.collect::<Vec<_>>());
        said = it
            .groups
            .into_iter()
            .map(|group| DescribedGroup {
                group,
                refusal: if values.coin() {
                    Refusal::new(ErrorCode::GroupIdNotFound, "no such group")
                } else {
                    refusal(values)
                },
                state: PHASES[values.below(3)],
                protocol_type: text(values),
                protocol: text(values),
                members: values.list(|values| DescribedMember {
                    member_id: text(values),
                    instance_id: values.option(text),
                    client_id: text(values),
                    client_host: text(values),
                    metadata: values.bytes(),
                    assignment: values.bytes(),
                }),
            })
            .collect();
        Response::DescribeGroups(DescribeGroupsResponse { groups: said.clone() })
    });
    assert_eq!(read.groups.len(), said.len());
    for (it, said) in read.groups.iter().zip(&said) {
        let hidden = version < 6 && said.refusal.code == ErrorCode::GroupIdNotFound;
        assert_eq!(it.error_code, if hidden { 0 } else { said.refusal.code.code() });
        let told = message_of(&said.refusal).filter(|_| version >= 6);
        assert_eq!(it.error_message.clone().filter(|why| !why.is_empty() || version >= 6), told);
        assert_eq!((&*it.group_id, &*it.group_state), (&*said.group, said.state.name()));
        assert_eq!((&*it.protocol_type, &*it.protocol_data), (&*said.protocol_type, &*said.protocol));
        // Read 3, delete 6, describe 8.
        let told = version >= 3 && message.include_authorized_operations && it.error_code == 0;
        assert_eq!(it.authorized_operations, if told { 0b1_0100_1000 } else { i32::MIN });
        assert_eq!(it.members.len(), said.members.len());
        for (it, said) in it.members.iter().zip(&said.members) {
            assert_eq!((&*it.member_id, &*it.client_id), (&*said.member_id, &*said.client_id));
            assert_eq!(owned(&it.group_instance_id), said.instance_id.clone().filter(|_| version >= 4));
            assert_eq!(*it.client_host, *said.client_host);
            assert_eq!((&it.member_metadata, &it.member_assignment), (&said.metadata, &said.assignment));
        }
    }
}

fn list_groups(session: &mut Session, version: i16, values: &mut Values) {
    let message = ListGroupsRequest::arbitrary(values, version);
    let said = ListGroupsResponse {
        error: error(values),
        groups: values.list(|values| (text(values), text(values), PHASES[values.below(3)])),
    };
    let read = exchange(session, version, &message, |request| {
        let Request::ListGroups(it) = request else { panic!("{request:?}") };
        let texts = |list: &[Str]| list.iter().map(Str::to_string).collect::<Vec<_>>();
        assert_eq!((it.states, it.types), (texts(&message.states_filter), texts(&message.types_filter)));
        Response::ListGroups(said.clone())
    });
    assert_eq!(read.error_code, said.error.code());
    assert_eq!(read.groups.len(), said.groups.len());
    for (it, (group, protocol_type, state)) in read.groups.iter().zip(&said.groups) {
        assert_eq!((&*it.group_id, &*it.protocol_type), (group.as_str(), protocol_type.as_str()));
        assert_eq!(&*it.group_state, if version >= 4 { state.name() } else { "" });
        assert_eq!(&*it.group_type, if version >= 5 { "classic" } else { "" });
    }
}

fn delete_groups(session: &mut Session, version: i16, values: &mut Values) {
    let message = DeleteGroupsRequest::arbitrary(values, version);
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::DeleteGroups(it) = request else { panic!("{request:?}") };
        assert_eq!(it.groups, message.groups_names.iter().map(Str::to_string).collect::<Vec<_>>());
        said = it.groups.into_iter().map(|group| (group, error(values))).collect();
        Response::DeleteGroups(DeleteGroupsResponse { groups: said.clone() })
    });
    let read = read.results.iter();
    let read = read.map(|it| (it.group_id.to_string(), ErrorCode::from_code(it.error_code)));
    assert_eq!(read.collect::<Vec<_>>(), said);
}
