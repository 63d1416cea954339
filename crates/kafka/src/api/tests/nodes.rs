//! The cluster's nodes: topics page by page, log directories, the metadata quorum, elections.

use broker::request::*;
use model::{DiskId, ErrorCode, LeaderEpoch};

use super::topic::topic_metadata;
use super::*;
use crate::message::describe_log_dirs::DescribeLogDirsRequest;
use crate::message::describe_quorum::{DescribeQuorumRequest, RequestPartitionData, RequestTopicData};
use crate::message::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};
use crate::message::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use crate::message::remove_raft_voter::RemoveRaftVoterRequest;

pub(super) fn round_trips(covered: &mut Covered) {
    covered.each::<DescribeTopicPartitionsRequest>(describe_topic_partitions);
    covered.each::<DescribeLogDirsRequest>(describe_log_dirs);
    covered.each::<DescribeQuorumRequest>(describe_quorum);
    covered.each::<ElectLeadersRequest>(elect_leaders);
    covered.each::<RemoveRaftVoterRequest>(remove_raft_voter);
}

fn describe_topic_partitions(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = DescribeTopicPartitionsRequest::arbitrary(values, version);
    if let Some(cursor) = &mut message.cursor {
        cursor.partition_index &= i32::MAX;
        message.topics.push(TopicRequest { name: cursor.topic_name.clone() });
    }
    let said = DescribeTopicPartitionsResponse {
        topics: values.list(topic_metadata),
        next: values.option(|values| PartitionCursor { topic: text(values), index: values.int32() }),
    };
    let read = exchange(session, version, &message, |request| {
        let Request::DescribeTopicPartitions(it) = request else { panic!("{request:?}") };
        let names: Vec<_> = message.topics.iter().map(|topic| topic.name.to_string()).collect();
        assert_eq!(it.topics, (!names.is_empty()).then_some(names));
        assert_eq!(it.partitions_max, message.response_partition_limit.max(1) as usize);
        let cursor = message.cursor.as_ref();
        let cursor = cursor.map(|it| (it.topic_name.to_string(), it.partition_index));
        assert_eq!(it.cursor.map(|it| (it.topic, it.index)), cursor);
        Response::DescribeTopicPartitions(said.clone())
    });
    assert_eq!(read.throttle_time_ms, 0);
    let next = read.next_cursor.map(|next| (next.topic_name.to_string(), next.partition_index));
    assert_eq!(next, said.next.map(|next| (next.topic, next.index)));
    assert_eq!(read.topics.len(), said.topics.len());
    for (it, said) in read.topics.iter().zip(&said.topics) {
        assert_eq!((it.name.as_deref(), it.error_code), (said.name.as_deref(), said.error.code()));
        assert_eq!((it.topic_id.0, it.is_internal), (said.id.0, said.is_internal));
        let told = if it.error_code == 0 { ALL_ON_A_TOPIC } else { i32::MIN };
        assert_eq!(it.topic_authorized_operations, told);
        assert_eq!(it.partitions.len(), said.partitions.len());
        for (it, said) in it.partitions.iter().zip(&said.partitions) {
            assert_eq!((it.error_code, it.partition_index), (0, said.index));
            assert_eq!(it.leader_id, said.leader.unwrap_or(NodeId(-1)).0);
            assert_eq!(it.leader_epoch, said.leader_epoch);
            let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
            assert_eq!(it.replica_nodes, numbers(&said.replicas));
            assert_eq!(it.isr_nodes, numbers(&said.in_sync));
            assert_eq!(it.offline_replicas, numbers(&said.offline));
            assert_eq!((&it.eligible_leader_replicas, &it.last_known_elr), (&Some(vec![]), &Some(vec![])));
        }
    }
}

#[test]
fn a_cursor_lies_in_a_topic_that_is_asked_for() {
    let cursor = |index| RequestCursor { topic_name: "b".into(), partition_index: index };
    let topics = vec![TopicRequest { name: "a".into() }];
    let message = DescribeTopicPartitionsRequest { topics, cursor: Some(cursor(0)), ..Default::default() };
    let read = refused(&mut session(), 0, &message);
    assert_eq!(read.topics[0].error_code, ErrorCode::InvalidRequest.code());
    let topics = vec![TopicRequest { name: "b".into() }];
    let message = DescribeTopicPartitionsRequest { topics, cursor: Some(cursor(-1)), ..Default::default() };
    let read = refused(&mut session(), 0, &message);
    assert_eq!(read.topics[0].error_code, ErrorCode::InvalidRequest.code());
}

fn describe_log_dirs(session: &mut Session, version: i16, values: &mut Values) {
    let message = DescribeLogDirsRequest::arbitrary(values, version);
    let said = DescribeLogDirsResponse {
        path: text(values),
        topics: values.list(|values| {
            let held = |values: &mut Values| HeldPartition {
                index: values.int32(),
                bytes: values.int64().unsigned_abs() / 2,
            };
            (text(values), values.list(held))
        }),
        volume: values.option(|values| Volume {
            total_bytes: values.int64().unsigned_abs() / 2,
            usable_bytes: values.int64().unsigned_abs() / 2,
        }),
    };
    let read = exchange(session, version, &message, |request| {
        let Request::DescribeLogDirs(it) = request else { panic!("{request:?}") };
        let meant = message.topics.as_ref().map(|topics| {
            topics.iter().map(|it| (it.topic.to_string(), it.partitions.clone())).collect::<Vec<_>>()
        });
        assert_eq!(it.topics, meant);
        Response::DescribeLogDirs(said.clone())
    });
    assert_eq!((read.throttle_time_ms, read.error_code, read.results.len()), (0, 0, 1));
    let dir = &read.results[0];
    assert_eq!((&*dir.log_dir, dir.error_code, dir.is_cordoned), (&*said.path, 0, false));
    let volume = said.volume.filter(|_| version >= 4);
    let volume = volume.map_or((-1, -1), |it| (it.total_bytes as i64, it.usable_bytes as i64));
    assert_eq!((dir.total_bytes, dir.usable_bytes), volume);
    assert_eq!(dir.topics.len(), said.topics.len());
    for (it, (name, partitions)) in dir.topics.iter().zip(&said.topics) {
        assert_eq!(&*it.name, name);
        assert_eq!(it.partitions.len(), partitions.len());
        for (it, said) in it.partitions.iter().zip(partitions) {
            assert_eq!((it.partition_index, it.partition_size as u64), (said.index, said.bytes));
            assert_eq!((it.offset_lag, it.is_future_key), (0, false));
        }
    }
}

fn quorum_request(topic: &str, partitions: &[i32]) -> DescribeQuorumRequest {
    let partitions =
        partitions.iter().map(|index| RequestPartitionData { partition_index: *index }).collect();
    DescribeQuorumRequest { topics: vec![RequestTopicData { topic_name: topic.into(), partitions }] }
}

fn describe_quorum(session: &mut Session, version: i16, values: &mut Values) {
    let voter = |values: &mut Values| QuorumVoter {
        node: node(values),
        address: values.option(|values| (text(values), values.uint16())),
        log_end: values.int64().unsigned_abs() / 2,
        caught_up_at_ms: values.option(|values| values.int64()),
        disk: values.option(|values| DiskId::drawn(values.uuid().0)),
    };
    let said = DescribeQuorumResponse {
        error: if values.coin() { ErrorCode::None } else { ErrorCode::NotController },
        leader: node(values),
        epoch: LeaderEpoch(values.int32()),
        high_watermark: values.int64().unsigned_abs() / 2,
        voters: values.list(voter),
        observers: values.list(voter),
    };
    let read = exchange(session, version, &quorum_request("__cluster_metadata", &[0]), |request| {
        assert!(matches!(request, Request::DescribeQuorum(_)));
        Response::DescribeQuorum(said.clone())
    });
    assert_eq!(read.error_code, said.error.code());
    if !said.error.is_none() {
        assert!(read.topics.is_empty());
        let why = read.error_message.filter(|_| version >= 2);
        assert_eq!(why.as_deref(), (version >= 2).then_some("the controller did not answer"));
        return;
    }
    assert_eq!((&*read.topics[0].topic_name, read.topics[0].partitions.len()), ("__cluster_metadata", 1));
    let it = &read.topics[0].partitions[0];
    assert_eq!((it.partition_index, it.error_code), (0, 0));
    assert!(version < 2 || it.error_message.is_none());
    assert_eq!((it.leader_id, it.leader_epoch), (said.leader.0, said.epoch.0));
    assert_eq!(it.high_watermark as u64, said.high_watermark);
    assert_eq!((it.current_voters.len(), it.observers.len()), (said.voters.len(), said.observers.len()));
    let pairs = it.current_voters.iter().zip(&said.voters).chain(it.observers.iter().zip(&said.observers));
    for (it, said) in pairs {
        let disk = said.disk.filter(|_| version >= 2).unwrap_or_default();
        assert_eq!(it.replica_directory_id.0, disk.0);
        assert_eq!((it.replica_id, it.log_end_offset as u64), (said.node.0, said.log_end));
        let caught_up = said.caught_up_at_ms.filter(|_| version >= 1).unwrap_or(-1);
        assert_eq!((it.last_fetch_timestamp, it.last_caught_up_timestamp), (-1, caught_up));
    }
    let nodes = read.nodes.iter().map(|it| {
        let listener = it.listeners.first();
        listener.inspect(|it| assert_eq!(&*it.name, "CONTROLLER"));
        (it.node_id, listener.map(|it| (it.host.to_string(), it.port)))
    });
    let meant = said.voters.iter().map(|it| (it.node.0, it.address.clone()));
    let meant: Vec<_> = meant.filter(|_| version >= 2).collect();
    assert_eq!(nodes.collect::<Vec<_>>(), meant);
}

#[test]
fn the_metadata_quorum_has_one_partition() {
    for (topic, partitions) in
        [("a", &[0][..]), ("__cluster_metadata", &[1]), ("__cluster_metadata", &[0, 0])]
    {
        let read = refused(&mut session(), 2, &quorum_request(topic, partitions));
        let codes: Vec<_> = read.topics[0].partitions.iter().map(|it| it.error_code).collect();
        assert_eq!(codes, vec![ErrorCode::UnknownTopicOrPartition.code(); partitions.len()]);
        assert_eq!(&*read.topics[0].topic_name, topic);
    }
    assert!(refused(&mut session(), 0, &DescribeQuorumRequest { topics: vec![] }).topics.is_empty());
}

fn elect_leaders(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = ElectLeadersRequest::arbitrary(values, version);
    message.election_type = i8::from(version >= 1 && values.coin());
    let said = ElectLeadersResponse {
        topics: values.list(|values| (text(values), values.list(|values| (values.int32(), refusal(values))))),
    };
    let read = exchange(session, version, &message, |request| {
        let Request::ElectLeaders(it) = request else { panic!("{request:?}") };
        let kind = if message.election_type == 1 { ElectionKind::Unclean } else { ElectionKind::Preferred };
        assert_eq!(it.kind, kind);
        assert_eq!(it.timeout.as_millis(), message.timeout_ms.max(0) as u128);
        let meant = message.topic_partitions.as_ref().map(|topics| {
            topics.iter().map(|it| (it.topic.to_string(), it.partitions.clone())).collect::<Vec<_>>()
        });
        assert_eq!(it.topics, meant);
        Response::ElectLeaders(said.clone())
    });
    assert_eq!((read.throttle_time_ms, read.error_code), (0, 0));
    let read = read.replica_election_results.into_iter().map(|it| {
        let partitions = it.partition_result.into_iter();
        let partitions = partitions.map(|it| (it.partition_id, it.error_code, it.error_message));
        (it.topic.to_string(), partitions.collect::<Vec<_>>())
    });
    let said = said.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter();
        let partitions = partitions.map(|(index, it)| (index, it.code.code(), message_of(&it)));
        (topic, partitions.collect::<Vec<_>>())
    });
    assert_eq!(read.collect::<Vec<_>>(), said.collect::<Vec<_>>());
}

#[test]
fn an_unknown_election_elects_nobody() {
    let topics = vec![TopicPartitions { topic: "a".into(), partitions: vec![0, 1] }];
    let message = ElectLeadersRequest { election_type: 2, topic_partitions: Some(topics), timeout_ms: 1 };
    let read = refused(&mut session(), 2, &message);
    assert_eq!(read.error_code, ErrorCode::InvalidRequest.code());
    let codes: Vec<_> =
        read.replica_election_results[0].partition_result.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code(); 2]);
}

fn remove_raft_voter(session: &mut Session, version: i16, values: &mut Values) {
    let message = RemoveRaftVoterRequest::arbitrary(values, version);
    let said = RemoveRaftVoterResponse {
        refusal: match values.coin() {
            true => Refusal::OK,
            false => Refusal::new(ErrorCode::VoterNotFound, text(values)),
        },
    };
    let read = exchange(session, version, &message, |request| {
        let Request::RemoveRaftVoter(it) = request else { panic!("{request:?}") };
        assert_eq!(it.cluster_id.as_deref().unwrap_or(""), message.cluster_id.as_deref().unwrap_or(""));
        assert_eq!(
            (it.node.0, it.disk.unwrap_or_default().0),
            (message.voter_id, message.voter_directory_id.0)
        );
        Response::RemoveRaftVoter(said.clone())
    });
    assert_eq!((read.throttle_time_ms, read.error_code), (0, said.refusal.code.code()));
    assert_eq!(read.error_message.as_deref(), said.refusal.message.as_deref());
}
