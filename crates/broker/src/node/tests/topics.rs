//! The catalogue: creation, deletion, settings, restarts between their steps.

use super::{Harness, config};
use crate::NodeConfig;
use crate::config::{Given, parse_node};
use crate::event::Event;
use crate::request::*;
use model::{ErrorCode, NodeId};
use std::time::Duration;

pub fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor: 1, ..NewTopic::default() }
}

pub fn create(harness: &mut Harness, topics: Vec<NewTopic>) -> Vec<ErrorCode> {
    let request = CreateTopics { topics, validate_only: false, timeout: Duration::from_secs(5) };
    match harness.call(Request::CreateTopics(request)) {
        Response::CreateTopics(response) => {
            response.topics.into_iter().map(|topic| topic.refusal.code).collect()
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn delete(harness: &mut Harness, topic: TopicRef) {
    let request = DeleteTopics { topics: vec![topic], timeout: Duration::from_secs(5) };
    match harness.call(Request::DeleteTopics(request)) {
        Response::DeleteTopics(response) => assert!(response.topics[0].refusal.is_ok(), "{response:?}"),
        other => panic!("{other:?}"),
    }
}

fn metadata(harness: &mut Harness, names: Option<&[&str]>, allow: bool) -> MetadataResponse {
    let topics = names.map(|names| names.iter().map(|name| TopicRef::Name((*name).into())).collect());
    match harness.call(Request::Metadata(Metadata { topics, allow_auto_topic_creation: allow })) {
        Response::Metadata(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn create_describe_delete_over_restarts() {
    let mut h = Harness::new();
    assert!(h.status().ready);
    assert_eq!(create(&mut h, vec![new_topic("a", 6), new_topic("b", 1)]), [ErrorCode::None; 2]);
    assert_eq!(create(&mut h, vec![new_topic("a", 1)]), [ErrorCode::TopicAlreadyExists]);
    assert_eq!(create(&mut h, vec![new_topic("c/d", 1)]), [ErrorCode::InvalidTopicException]);
    assert_eq!(create(&mut h, vec![new_topic("c", 0)]), [ErrorCode::InvalidPartitions]);
    let mut h = h.crash();
    let found = metadata(&mut h, None, false);
    assert_eq!(found.topics.iter().map(|t| t.partitions.len()).collect::<Vec<_>>(), [6, 1]);
    assert!(found.topics[0].partitions.iter().all(|p| p.error.is_none() && p.leader_epoch == 1));
    let id = found.topics[0].id;
    delete(&mut h, TopicRef::Id(id));
    let mut h = h.crash();
    assert_eq!(metadata(&mut h, None, false).topics.len(), 1);
    assert_eq!(h.status().partitions, 1);
}

/// The simulation found it: a creation outlived its time-out, and its end answered the deletion behind it.
#[test]
fn a_deletion_does_not_end_with_the_creation_before_it() {
    let mut h = Harness::new();
    h.held = true;
    let next_job = |h: &mut Harness| {
        let (id, job) = h.jobs.pop_front().expect("a job is held");
        let result = h.disk.run(job);
        h.event(Event::JobDone { id, result });
    };
    let timeout = Duration::from_secs(5);
    let topics = vec![new_topic("a", 1)];
    let created = h.ask(Request::CreateTopics(CreateTopics { topics, validate_only: false, timeout }));
    next_job(&mut h);
    h.pass(timeout + Duration::from_millis(1));
    let Some(Response::CreateTopics(late)) = h.answer(created) else { panic!("its time is up") };
    assert_eq!(late.topics[0].refusal.code, ErrorCode::RequestTimedOut);
    let topics = vec![TopicRef::Name("a".into())];
    let deleted = h.ask(Request::DeleteTopics(DeleteTopics { topics, timeout }));
    next_job(&mut h);
    assert_eq!(h.status().partitions, 1, "the partition was created just now");
    assert!(h.answer(deleted).is_none(), "and is not deleted yet");
    h.release();
    let Some(Response::DeleteTopics(done)) = h.answer(deleted) else { panic!("deleted") };
    assert!(done.topics[0].refusal.is_ok());
    assert_eq!(h.status().partitions, 0);
}

#[test]
fn topics_of_one_request_are_judged_together() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 9)]);
    // Repeats are refused, each of them; 200,000 partitions is the limit of a node.
    let asked = [("b", 1), ("c", 150_000), ("d", 49_992), ("e", 49_991), ("b", 1)];
    let topics = asked.map(|(name, partitions)| new_topic(name, partitions)).to_vec();
    let request = CreateTopics { topics, validate_only: true, timeout: Duration::from_secs(5) };
    let Response::CreateTopics(response) = h.call(Request::CreateTopics(request)) else { panic!() };
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.refusal.code).collect();
    let (twice, full) = (ErrorCode::InvalidRequest, ErrorCode::InvalidPartitions);
    assert_eq!(codes, [twice, ErrorCode::None, full, ErrorCode::None, twice]);
}

#[test]
fn a_stop_between_catalogue_and_shards_is_mended() {
    let mut h = Harness::new();
    h.held = true;
    let request = CreateTopics {
        topics: vec![new_topic("a", 5)],
        validate_only: false,
        timeout: Duration::from_secs(5),
    };
    let token = h.ask(Request::CreateTopics(request));
    // Only the first commit, that of the catalogue, gets to the disk.
    let (_, job) = h.jobs.pop_front().expect("the commit");
    assert!(h.disk.run(job).is_ok());
    assert!(h.answer(token).is_none());
    let h = h.crash();
    assert!(h.status().ready);
    assert_eq!(h.status().partitions, 5);
}

#[test]
fn names_that_differ_by_dots_and_underscores_collide() {
    let mut h = Harness::new();
    let (none, invalid) = (ErrorCode::None, ErrorCode::InvalidTopicException);
    let topics = ["a.b", "a_b", "x.y_z", "a-b"].map(|name| new_topic(name, 1));
    assert_eq!(create(&mut h, topics.into()), [none, invalid, none, none]);
    let mut h = h.crash();
    assert_eq!(create(&mut h, vec![new_topic("a_b", 1), new_topic("x_y.z", 1)]), [invalid, invalid]);
    assert_eq!(create(&mut h, vec![new_topic("a.b", 1)]), [ErrorCode::TopicAlreadyExists]);
    assert_eq!(metadata(&mut h, Some(&["a_b"]), true).topics[0].error, invalid, "auto-creation too");
    assert_eq!(metadata(&mut h, Some(&["a.c"]), true).topics[0].error, none);
    delete(&mut h, TopicRef::Name("a.b".into()));
    assert_eq!(create(&mut h, vec![new_topic("a_b", 1)]), [none]);
}

#[test]
fn auto_creation_answers_with_the_topic() {
    let mut h = Harness::new();
    let found = metadata(&mut h, Some(&["new", "b/d"]), true);
    assert_eq!(found.topics[0].error, ErrorCode::None);
    assert_eq!(found.topics[0].partitions.len(), 1);
    assert_eq!(found.topics[1].error, ErrorCode::InvalidTopicException);
    assert_eq!(metadata(&mut h, Some(&["other"]), false).topics[0].error, ErrorCode::UnknownTopicOrPartition);
    let found = metadata(&mut h, Some(&["__consumer_offsets"]), true);
    assert_eq!(found.topics[0].partitions.len(), 50, "as the first coordinator makes it");
}

#[test]
fn changes_of_settings_see_each_other() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("a", 1)]);
    h.held = true;
    let alter = |name: &str, op, value: Option<&str>| {
        Request::AlterConfigs(AlterConfigs {
            resources: vec![(
                ConfigResource::Topic("a".into()),
                vec![(name.into(), op, value.map(str::to_owned))],
            )],
            replace_all: false,
            validate_only: false,
        })
    };
    let first = h.ask(alter("retention.ms", AlterOp::Set, Some("1000")));
    let second = h.ask(alter("segment.bytes", AlterOp::Set, Some("2000000")));
    h.release();
    for token in [first, second] {
        match h.answer(token) {
            Some(Response::AlterConfigs(response)) => {
                assert!(response.resources[0].1.is_ok(), "{response:?}")
            }
            other => panic!("{other:?}"),
        }
    }
    let configs = &h.node.catalog.by_name("a").expect("topic").configs;
    assert_eq!(configs.len(), 2, "{configs:?}");
    let mut refused = |name: &str, op, value| match h.call(alter(name, op, value)) {
        Response::AlterConfigs(response) => response.resources[0].1.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("no.such.name", AlterOp::Set, Some("1")), ErrorCode::InvalidConfig);
    assert_eq!(refused("retention.ms", AlterOp::Append, Some("1")), ErrorCode::InvalidConfig, "no list");
    assert_eq!(refused("retention.ms", AlterOp::Set, None), ErrorCode::InvalidRequest);
    assert_eq!(refused("cleanup.policy", AlterOp::Append, None), ErrorCode::InvalidRequest);
    assert_eq!(refused("retention.ms", AlterOp::Delete, None), ErrorCode::None);
    assert_eq!(h.node.catalog.by_name("a").expect("topic").configs.len(), 1);
}

#[test]
fn settings_of_all_nodes_and_of_one() {
    let mut h = Harness::new();
    for (node, value) in [(None, "1000"), (Some(NodeId(1)), "2000")] {
        let change = ("log.retention.ms".to_owned(), AlterOp::Set, Some(value.to_owned()));
        let alter = AlterConfigs {
            resources: vec![(ConfigResource::Broker(node), vec![change])],
            replace_all: false,
            validate_only: false,
        };
        match h.call(Request::AlterConfigs(alter)) {
            Response::AlterConfigs(response) => assert!(response.resources[0].1.is_ok(), "{response:?}"),
            other => panic!("{other:?}"),
        }
    }
    let mut described = |node| {
        let resources = vec![(ConfigResource::Broker(node), Some(vec!["log.retention.ms".to_owned()]))];
        let request = DescribeConfigs { resources, include_synonyms: true, include_documentation: false };
        match h.call(Request::DescribeConfigs(request)) {
            Response::DescribeConfigs(mut response) => {
                let entry = response.resources.remove(0).configs.remove(0);
                let sources: Vec<_> = entry.synonyms.iter().map(|(_, _, source)| *source).collect();
                (entry.value.unwrap_or_default(), entry.source, sources[0])
            }
            other => panic!("{other:?}"),
        }
    };
    let all = ConfigSource::DynamicDefaultBroker;
    assert_eq!(described(None), ("1000".into(), all, all));
    let one = ConfigSource::DynamicBroker;
    assert_eq!(described(Some(NodeId(1))), ("2000".into(), one, one));
}

#[test]
fn answers_about_settings_are_bounded() {
    let mut h = Harness::new();
    let topics = (0..1_001).map(|n| new_topic(&format!("t{n}"), 1)).collect();
    let request = CreateTopics { topics, validate_only: true, timeout: Duration::from_secs(5) };
    let Response::CreateTopics(response) = h.call(Request::CreateTopics(request)) else { panic!() };
    assert!(response.topics.iter().all(|topic| topic.refusal.is_ok()));
    let described = response.topics.iter().filter(|topic| !topic.configs.is_empty()).count();
    assert_eq!((response.topics.len(), described), (1_001, 1_000));
    create(&mut h, vec![new_topic("a", 1)]);
    let resources = vec![(ConfigResource::Topic("a".into()), None); 2];
    let request = DescribeConfigs { resources, include_synonyms: false, include_documentation: false };
    let Response::DescribeConfigs(response) = h.call(Request::DescribeConfigs(request)) else { panic!() };
    let codes: Vec<_> = response.resources.iter().map(|it| it.refusal.code).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidRequest]);
}

#[test]
fn settings_without_effect_are_told_once() {
    let mut h = Harness::new();
    let configs = |name: &str, value: &str| vec![(name.to_owned(), Some(value.to_owned()))];
    for name in ["a", "b"] {
        let topic = NewTopic { configs: configs("cleanup.policy", "compact"), ..new_topic(name, 1) };
        assert_eq!(create(&mut h, vec![topic]), [ErrorCode::None]);
    }
    let plain = NewTopic { configs: configs("retention.ms", "1000"), ..new_topic("c", 1) };
    create(&mut h, vec![plain]);
    let lines: Vec<&String> = h.logged.iter().filter(|line| line.starts_with("topic ")).collect();
    assert!(matches!(lines[..], [line] if line.contains("topic a: cleanup.policy")), "{lines:?}");
}

#[test]
fn the_default_replication_factor_counts() {
    let given = Given { name: "default.replication.factor".into(), value: "3".into(), origin: "test".into() };
    let settings = parse_node(&[vec![given]]).expect("legal").0;
    let mut h = Harness::with(NodeConfig { settings, ..config() });
    let unsaid = |name: &str| NewTopic { replication_factor: -1, ..new_topic(name, 1) };
    assert_eq!(create(&mut h, vec![unsaid("a")]), [ErrorCode::InvalidReplicationFactor]);
    assert_eq!(metadata(&mut h, Some(&["a"]), true).topics[0].error, ErrorCode::InvalidReplicationFactor);
    assert_eq!(create(&mut h, vec![new_topic("a", 1)]), [ErrorCode::None]);
    let mut h = Harness::new();
    assert_eq!(create(&mut h, vec![unsaid("a")]), [ErrorCode::None]);
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut h = Harness::new();
    let ask = |h: &mut Harness| match h.call(Request::InitProducerId(InitProducerId {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
    })) {
        Response::InitProducerId(response) => response.producer_id,
        other => panic!("{other:?}"),
    };
    let first = [ask(&mut h), ask(&mut h)];
    let mut h = h.crash();
    let second = [ask(&mut h), ask(&mut h)];
    assert!(first.iter().all(|id| !second.contains(id)), "{first:?} {second:?}");
}

#[test]
fn the_offsets_topic_appears_with_the_first_coordinator_and_takes_no_records() {
    let mut h = Harness::new();
    let find = || Request::FindCoordinator(FindCoordinator { key_type: 0, keys: vec!["g".into()] });
    h.call(find());
    h.call(find());
    let mut h = h.crash();
    h.call(find());
    let found = metadata(&mut h, None, false);
    assert_eq!(found.topics.len(), 1);
    assert!(found.topics[0].is_internal);
    let partition = ProducePartition { index: 0, batch: Err(BatchRefusal::default()) };
    let topic = ProduceTopic { topic: TopicRef::Id(found.topics[0].id), partitions: vec![partition] };
    match h.call(Request::Produce(Produce { acks: -1, timeout: Duration::from_secs(1), topics: vec![topic] }))
    {
        Response::Produce(response) => {
            assert_eq!(response.topics[0].partitions[0].refusal.code, ErrorCode::InvalidTopicException);
        }
        other => panic!("{other:?}"),
    }
}
