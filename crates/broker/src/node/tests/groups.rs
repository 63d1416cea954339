//! Requests over several groups and topics: how they are cut and joined, and what is kept for them.

use super::super::APPEND_BYTES_MAX;
use super::Harness;
use super::topics::{create, new_topic};
use crate::event::Event;
use crate::request::*;
use model::ErrorCode;
use model::job::Job;
use std::time::Duration;

fn named(names: &[&str]) -> Vec<TopicRef> {
    names.iter().map(|name| TopicRef::Name((*name).into())).collect()
}

fn commit(topics: &[(&str, i32)]) -> Request {
    let position = |index| OffsetToCommit { index, offset: 7, leader_epoch: -1, metadata: None };
    let topics = topics.iter().map(|(name, index)| (TopicRef::Name((*name).into()), vec![position(*index)]));
    Request::OffsetCommit(OffsetCommit {
        group: "g".into(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        topics: topics.collect(),
    })
}

/// Where the group has positions: topics, and the first partition of each.
fn positions(h: &mut Harness) -> Vec<(TopicRef, i32)> {
    let group = OffsetFetchGroup { group: "g".into(), member_id: None, member_epoch: -1, topics: None };
    let fetch = OffsetFetch { groups: vec![group], require_stable: false, topic_ids: false };
    match h.call(Request::OffsetFetch(fetch)) {
        Response::OffsetFetch(answer) => {
            let left = answer.groups[0].topics.iter();
            left.map(|(topic, offsets)| (topic.clone(), offsets[0].index)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn delete(names: &[&str]) -> Request {
    let topics = named(names).into_iter().map(|topic| (topic, vec![0])).collect();
    Request::OffsetDelete(OffsetDelete { group: "g".into(), topics })
}

#[test]
fn positions_are_deleted_in_topics_that_exist() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 2), new_topic("b", 1)]);
    match h.call(commit(&[("a", 0), ("b", 0), ("a", 1), ("a", 2)])) {
        Response::OffsetCommit(answer) => {
            let codes: Vec<_> = answer.topics.iter().map(|(_, codes)| codes[0]).collect();
            let expected = [
                (0, ErrorCode::None),
                (0, ErrorCode::None),
                (1, ErrorCode::None), // the same topic once more
                (2, ErrorCode::UnknownTopicOrPartition),
            ];
            assert_eq!(codes, expected);
        }
        other => panic!("{other:?}"),
    }
    match h.call(delete(&["a", "nothing"])) {
        Response::OffsetDelete(answer) => {
            assert_eq!(answer.error, ErrorCode::None);
            let topics = named(&["a", "nothing"]);
            let codes = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition];
            let expected: Vec<_> = topics.into_iter().zip(codes.map(|code| vec![(0, code)])).collect();
            assert_eq!(answer.topics, expected);
        }
        other => panic!("{other:?}"),
    }
    let mut h = h.crash();
    assert_eq!(positions(&mut h), [(TopicRef::Name("a".into()), 1), (TopicRef::Name("b".into()), 0)]);
}

#[test]
fn positions_in_a_topic_go_when_its_deletion_was_cut_off() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 1), new_topic("b", 1)]);
    h.call(commit(&[("a", 0), ("b", 0)]));
    h.held = true;
    let topics = vec![TopicRef::Name("a".into())];
    h.ask(Request::DeleteTopics(DeleteTopics { topics, timeout: Duration::from_secs(5) }));
    // Only the first commit, that of the catalogue, gets to the disk.
    let (_, job) = h.jobs.pop_front().expect("the commit");
    assert!(h.disk.run(job).is_ok());
    let mut h = h.crash();
    create(&mut h, vec![new_topic("a", 1)]);
    assert_eq!(positions(&mut h), [(TopicRef::Name("b".into()), 0)]);
}

#[test]
fn nothing_is_kept_for_a_connection_that_is_gone() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 1)]);
    h.call(commit(&[("a", 0)]));
    h.held = true;
    h.ask(commit(&[("a", 0)]));
    h.ask(delete(&["a"]));
    h.ask(Request::DeleteGroups(DeleteGroups { groups: vec!["g".into(), "h".into()] }));
    assert!(h.node.commits.len() + h.node.joins.len() + h.node.parts.len() > 0);
    h.event(Event::ConnectionClosed(ConnectionId(1)));
    h.release();
    assert_eq!((h.node.commits.len(), h.node.joins.len(), h.node.parts.len()), (0, 0, 0));
}

/// What members say of themselves is written like records: the next append waits for no more of it than of them.
#[test]
fn a_group_commit_is_bounded_by_what_members_say_too() {
    let mut h = Harness::new();
    let join = |group: usize| {
        Request::JoinGroup(JoinGroup {
            group: format!("g{group}"),
            session_timeout: Duration::from_secs(30),
            rebalance_timeout: Duration::from_secs(30),
            member_id: String::new(),
            instance_id: None,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), vec![0; 5 << 20].into())],
            reason: None,
            requires_known_member_id: false,
            supports_skipping_assignment: false,
        })
    };
    let tokens: Vec<Token> = (0..40).map(|group| h.ask(join(group))).collect();
    h.held = true;
    h.pass(Duration::from_secs(4));
    let (mut appends, mut bytes) = (0, 0);
    while let Some((id, job)) = h.jobs.pop_front() {
        if let Job::Append(append) = &job {
            let sizes: Vec<usize> = append.entries.iter().map(|entry| entry.descriptor.len()).collect();
            let (last, before) = sizes.split_last().expect("something is appended");
            assert!(before.iter().sum::<usize>() < APPEND_BYTES_MAX, "{sizes:?}");
            (appends, bytes) = (appends + 1, bytes + before.iter().sum::<usize>() + last);
        }
        let result = h.disk.run(job);
        h.event(Event::JobDone { id, result });
    }
    assert!(appends > 1 && bytes > 2 * APPEND_BYTES_MAX, "{appends} appends of {bytes} bytes");
    assert!(tokens.into_iter().all(|token| h.answer(token).is_some()));
}
