//! The cluster's nodes and what they hold: topics page by page, log directories.

use broker::request::*;
use model::ErrorCode;

use super::topic::topic_metadata;
use super::*;
use crate::message::describe_log_dirs::DescribeLogDirsRequest;
use crate::message::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};

pub(super) fn round_trips(covered: &mut Covered) {
    covered.each::<DescribeTopicPartitionsRequest>(describe_topic_partitions);
    covered.each::<DescribeLogDirsRequest>(describe_log_dirs);
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
        assert_eq!(it.topic_authorized_operations, i32::MIN);
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
    assert_eq!((dir.total_bytes, dir.usable_bytes), (-1, -1), "unknown");
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
