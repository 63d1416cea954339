//! What operators ask: topics page by page, sizes on disk.

use super::topics::{create, new_topic};
use super::{Harness, config};
use crate::NodeConfig;
use crate::config::{Given, parse_node};
use crate::event::Event;
use crate::request::*;
use crate::sample::batch;
use model::{BatchHeader, ErrorCode, RecordFacts};
use std::time::Duration;

type Told = (Vec<(String, Vec<i32>)>, Option<(String, i32)>);

/// Topics with the numbers of their partitions, and where the next page begins.
fn page(h: &mut Harness, names: Option<&[&str]>, max: usize, cursor: Option<(&str, i32)>) -> Told {
    let request = DescribeTopicPartitions {
        topics: names.map(|names| names.iter().map(ToString::to_string).collect()),
        partitions_max: max,
        cursor: cursor.map(|(topic, index)| PartitionCursor { topic: topic.into(), index }),
    };
    let Response::DescribeTopicPartitions(found) = h.call(Request::DescribeTopicPartitions(request)) else {
        panic!("another answer")
    };
    let topics = found.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.index).collect();
        assert!(topic.partitions.iter().all(|partition| partition.leader.is_some()));
        (topic.name.expect("asked by name"), partitions)
    });
    (topics.collect(), found.next.map(|next| (next.topic, next.index)))
}

fn told(topics: &[(&str, &[i32])], next: Option<(&str, i32)>) -> Told {
    let topics = topics.iter().map(|(name, indexes)| (name.to_string(), indexes.to_vec())).collect();
    (topics, next.map(|(name, index)| (name.to_owned(), index)))
}

#[test]
fn topics_are_told_page_by_page() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("c", 1), new_topic("a", 3), new_topic("b", 2)]);
    let all = told(&[("a", &[0, 1, 2]), ("b", &[0, 1]), ("c", &[0])], None);
    assert_eq!(page(&mut h, None, 2000, None), all);
    assert_eq!(page(&mut h, None, 6, None), all, "a page that is just full is the last one");
    // All pages together tell all, whatever their size.
    for max in 1..=7 {
        let (mut partitions, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let from = cursor.as_ref().map(|(name, index): &(String, i32)| (name.as_str(), *index));
            let (topics, next) = page(&mut h, None, max, from);
            let told: usize = topics.iter().map(|(_, indexes)| indexes.len()).sum();
            assert!(told == max || next.is_none(), "a page that is not the last is full");
            let pairs = topics
                .into_iter()
                .flat_map(|(name, indexes)| indexes.into_iter().map(move |index| (name.clone(), index)));
            partitions.extend(pairs);
            (cursor, pages) = (next, pages + 1);
            if cursor.is_none() {
                break;
            }
        }
        let pairs = all.0.iter().flat_map(|(name, indexes)| indexes.iter().map(|at| (name.clone(), *at)));
        assert_eq!((partitions, pages), (pairs.collect(), 6usize.div_ceil(max)));
    }
    // Some, in any order and twice: sorted, each once; one that is missing is told in its place.
    let names = ["c", "b", "aa", "c"];
    let some = told(&[("aa", &[]), ("b", &[0, 1]), ("c", &[0])], None);
    assert_eq!(page(&mut h, Some(&names), 2000, None), some);
    assert_eq!(page(&mut h, Some(&names), 1, None), told(&[("aa", &[]), ("b", &[0])], Some(("b", 1))));
    assert_eq!(page(&mut h, Some(&names), 1, Some(("b", 1))), told(&[("b", &[1])], Some(("c", 0))));
    // The topic of a cursor has gone: what follows is told.
    assert_eq!(page(&mut h, None, 9, Some(("bb", 7))), told(&[("c", &[0])], None));
}

#[test]
fn a_page_is_never_larger_than_the_setting_and_names_what_is_unknown() {
    let given =
        |name: &str, value: &str| Given { name: name.into(), value: value.into(), origin: "test".into() };
    let (settings, _) =
        parse_node(&[vec![given("max.request.partition.size.limit", "2")]]).expect("settings");
    let mut h = Harness::with(NodeConfig { settings, ..config() });
    create(&mut h, vec![new_topic("a", 3)]);
    assert_eq!(page(&mut h, None, 100, None), told(&[("a", &[0, 1])], Some(("a", 2))));
    let topics = Some(vec!["no".to_owned(), "a/b".to_owned()]);
    let request = DescribeTopicPartitions { topics, partitions_max: 1, cursor: None };
    let Response::DescribeTopicPartitions(found) = h.call(Request::DescribeTopicPartitions(request)) else {
        panic!("another answer")
    };
    let errors: Vec<_> = found.topics.iter().map(|topic| topic.error).collect();
    assert_eq!(errors, [ErrorCode::InvalidTopicException, ErrorCode::UnknownTopicOrPartition]);
}

fn produce(h: &mut Harness, index: i32, body: usize) {
    let bytes = batch(1, 1_000, None, body);
    let header = BatchHeader::read(&bytes).expect("header");
    let batch = ProducedBatch { header, bytes, facts: RecordFacts::default() };
    let topics = vec![ProduceTopic {
        topic: TopicRef::Name("a".into()),
        partitions: vec![ProducePartition { index, batch: Ok(batch) }],
    }];
    let request = Produce { acks: -1, timeout: Duration::from_secs(5), topics };
    match h.call(Request::Produce(request)) {
        Response::Produce(response) => assert!(response.topics[0].partitions[0].refusal.is_ok()),
        other => panic!("{other:?}"),
    }
}

fn log_dirs(h: &mut Harness, topics: Option<&[(&str, &[i32])]>) -> Vec<(String, Vec<(i32, u64)>)> {
    let topics = topics
        .map(|topics| topics.iter().map(|(name, indexes)| (name.to_string(), indexes.to_vec())).collect());
    match h.call(Request::DescribeLogDirs(DescribeLogDirs { topics })) {
        Response::DescribeLogDirs(found) => {
            assert_eq!((found.path.as_str(), found.volume), ("/data", h.node.volume));
            let topics = found.topics.into_iter();
            topics.map(|(name, held)| (name, held.iter().map(|it| (it.index, it.bytes)).collect())).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sizes_count_what_is_in_segments_and_what_is_not_yet() {
    let mut h = Harness::new();
    create(&mut h, vec![new_topic("b", 1), new_topic("a", 2)]);
    assert_eq!(log_dirs(&mut h, None), [("a".into(), vec![(0, 0), (1, 0)]), ("b".into(), vec![(0, 0)])]);
    let volume = Volume { total_bytes: 9, usable_bytes: 8 };
    h.event(Event::Volume(Some(volume)));
    assert_eq!(h.node.volume, Some(volume));
    produce(&mut h, 1, 5000);
    let batch = batch(1, 1_000, None, 5000).len() as u64;
    assert_eq!(log_dirs(&mut h, Some(&[("a", &[1])])), [("a".into(), vec![(1, batch)])]);
    h.checkpoint();
    let in_segment = log_dirs(&mut h, Some(&[("a", &[1])]))[0].1[0].1;
    assert!(in_segment >= batch, "{in_segment}");
    produce(&mut h, 1, 5000);
    assert_eq!(log_dirs(&mut h, Some(&[("a", &[1])])), [("a".into(), vec![(1, in_segment + batch)])]);
    let mut h = h.crash();
    // Not here: left out, as by Kafka. Named twice: told once.
    let asked: &[(&str, &[i32])] = &[("a", &[7, -1, 1]), ("b", &[4]), ("no", &[0]), ("a", &[1, 1])];
    assert_eq!(log_dirs(&mut h, Some(asked)), [("a".into(), vec![(1, in_segment + batch)])]);
}
