//! The registry as a whole: the tables hold together, values parse, pages are current.

use super::*;
use crate::request::ConfigSource;
use std::collections::{BTreeMap, BTreeSet};

fn given(name: &str, value: &str) -> Given {
    Given { name: name.into(), value: value.into(), origin: "a test".into() }
}

fn parse(pairs: &[(&str, &str)]) -> Result<(NodeSettings, Vec<String>), String> {
    parse_node(&[pairs.iter().map(|(name, value)| given(name, value)).collect()])
}

fn refused(pairs: &[(&str, &str)], part: &str) {
    let why = parse(pairs).expect_err("refused");
    assert!(why.contains(part), "{why}");
    assert!(!why.contains('\n'));
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn every_row_is_unique_and_its_default_legal() {
    let mut names = BTreeSet::new();
    for setting in node_table() {
        assert!(names.insert(setting.name), "{} twice", setting.name);
        if let Some(default) = setting.default {
            setting.check(default).unwrap();
        }
    }
    for row in topic_table::TOPIC {
        if let Some(default) = row.setting.default {
            row.setting.check(default).unwrap();
        }
        for (synonym, _) in row.synonyms {
            assert!(node_setting(synonym).is_some(), "{synonym}");
        }
    }
    assert!(topic_table().is_sorted_by_key(|setting| setting.name));
    assert!(names.len() > 380);
}

#[test]
fn topic_defaults_agree_with_the_nodes() {
    let node = NodeSettings::default();
    for entry in describe_topic(&node, &BTreeMap::new()) {
        assert_eq!(entry.value.as_deref(), topic_setting(&entry.name).unwrap().default, "{}", entry.name);
        assert_eq!(entry.source, ConfigSource::Default);
    }
}

#[test]
fn the_page_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = configuration_page();
    if std::env::var_os("STERNPOST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is stale: STERNPOST_WRITE_DOCS=1 cargo test -p broker the_page_is_current"
    );
}

#[test]
fn wrong_values_are_refused_in_one_sentence() {
    refused(&[("num.partitions", "0")], "1 or more");
    refused(&[("num.partitions", "many")], "whole number");
    refused(&[("num.partitions", "99999999999")], "whole number");
    refused(&[("log.cleanup.policy", "delete,shred")], "compact, delete");
    refused(&[("log.cleanup.policy", "delete,delete")], "twice");
    refused(&[("auto.create.topics.enable", "yes")], "true or false");
    refused(&[("log.retentoin.ms", "1")], "did you mean log.retention.ms?");
    refused(&[("retention.ms", "1")], "log.retention.ms");
    refused(&[("nothing.like.it.anywhere", "1")], "unknown setting");
    refused(&[("a\nb", "1")], "unknown setting a\\nb");
    refused(&[("num.partitions", "1"), ("num.partitions", "2")], "given twice");
    refused(&[("log.dirs", "a"), ("log.dir", "b")], "contradict");
    refused(&[("log.dirs", "a,b")], "exactly one");
    refused(&[("listeners", "SASL_SSL://:9093")], "only PLAINTEXT");
    refused(&[("listeners", "PLAINTEXT://:9092,PLAINTEXT://:9093")], "exactly one");
    refused(&[("listeners", "PLAINTEXT://nine")], "host:port");
    refused(&[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")], "clients can connect");
    refused(&[("authorizer.class.name", "org.example.Acl")], "empty");
    refused(&[("ssl.keystore.password", "a"), ("ssl.keystore.password", "b")], "given twice");
    refused(&[("group.min.session.timeout.ms", "9"), ("group.max.session.timeout.ms", "8")], "above");
}

#[test]
fn secrets_are_not_shown_when_they_contradict() {
    let why =
        parse(&[("ssl.keystore.password", "hunter2"), ("ssl.keystore.password", "hunter3")]).unwrap_err();
    assert!(!why.contains("hunter"), "{why}");
    let (node, _) = parse(&[("ssl.keystore.password", "hunter2")]).unwrap();
    for entry in describe_node(&node) {
        assert!(!format!("{entry:?}").contains("hunter"));
    }
}

#[test]
fn a_kafka_configuration_starts_a_node() {
    let (node, remarks) = parse(&[
        ("process.roles", "broker,controller"),
        ("node.id", "7"),
        ("controller.quorum.voters", "7@localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("advertised.listeners", "PLAINTEXT://kafka.example:9092"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
        ("offsets.topic.replication.factor", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("log.dirs", "/var/lib/kafka"),
    ])
    .unwrap();
    assert_eq!(node.node_id, 7);
    assert_eq!(node.listener, ListenerAddress { host: String::new(), port: 9092 });
    assert_eq!(node.advertised, Some(ListenerAddress { host: "kafka.example".into(), port: 9092 }));
    assert_eq!(node.data_dir, "/var/lib/kafka");
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(node.voters.is_empty() && node.peer_listener.is_none(), "one controller is a node of one");
    assert_eq!(node.default_replication_factor, 1);
}

#[test]
fn voters_are_all_nodes_of_the_cluster() {
    const THREE: &str = "3@c:9193,1@a:9191, 2@[::1]:9192";
    let (node, remarks) = parse(&[("controller.quorum.voters", THREE), ("node.id", "2")]).unwrap();
    assert!(remarks.is_empty());
    let ids: Vec<i32> = node.voters.iter().map(|voter| voter.node.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    let own = ListenerAddress { host: "::1".into(), port: 9192 };
    assert_eq!((&node.voters[1].address, node.peer_listener.as_ref()), (&own, Some(&own)));
    assert_eq!(node.default_replication_factor, 3);
    assert_eq!(node.value("default.replication.factor"), Some("3"));
    let five = [("controller.quorum.voters", "1@a:1,2@b:1,3@c:1,4@d:1,5@e:1"), ("node.id", "1")];
    assert_eq!(parse(&five).unwrap().0.default_replication_factor, 3);
    let (given, _) = parse(&[
        ("controller.quorum.voters", THREE),
        ("broker.id", "1"),
        ("default.replication.factor", "1"),
        ("sternpost.peer.listener", ":9300"),
    ])
    .unwrap();
    assert_eq!(given.default_replication_factor, 1);
    assert_eq!(given.peer_listener, Some(ListenerAddress { host: String::new(), port: 9300 }));

    refused(&[("controller.quorum.voters", THREE)], "node.id must say which");
    refused(&[("controller.quorum.voters", THREE), ("node.id", "4")], "node.id 4 is not among");
    refused(&[("controller.quorum.voters", "1@a:1,2@b:1")], "1, 3 or 5 nodes, not 2");
    refused(&[("controller.quorum.voters", "1@a:1,1@b:1,2@c:1")], "node 1 twice");
    refused(&[("controller.quorum.voters", "1@a:1,2@a:1,3@c:1")], "nodes 1 and 2 the same address");
    for wrong in ["1@a", "a:1", "x@a:1", "-1@a:1", "1@:1", "1@a:0", "1@a:99999", "1@::1:9"] {
        refused(&[("controller.quorum.voters", wrong)], "node.id@host:port");
    }
    let one = [("sternpost.peer.listener", "nowhere"), ("controller.quorum.voters", THREE), ("node.id", "1")];
    refused(&one, "host:port");
}

#[test]
fn nodes_of_one_list_agree_on_their_cluster() {
    let cluster = |voters: &str, id: &str| {
        let (node, _) = parse(&[("controller.quorum.voters", voters), ("node.id", id)]).unwrap();
        node.new_cluster().unwrap()
    };
    let first = cluster("1@a:1,2@b:1,3@c:1", "1");
    assert_eq!(first, cluster("3@c:1,2@b:1,1@a:1", "3"));
    assert_ne!(first, cluster("1@a:1,2@b:1,3@c:2", "1"));
    assert_eq!(model::TopicId(first).base64(), "V4CZBILuP8WgHqevHbHQTg", "data directories have it");
    let text = "AAECAwQFBgcICQoLDA0ODw";
    let (node, _) = parse(&[("sternpost.cluster.id", text)]).unwrap();
    assert_eq!(node.cluster_id, Some(std::array::from_fn(|at| at as u8)));
    assert_eq!(node.new_cluster(), node.cluster_id);
    assert_eq!(NodeSettings::default().new_cluster(), None);
    for wrong in ["", "short", "AAECAwQFBgcICQoLDA0OD+", "AAECAwQFBgcICQoLDA0ODx", "AAECAwQFBgcICQoLDA0ODwA"]
    {
        refused(&[("sternpost.cluster.id", wrong)], "22 characters");
    }
}

#[test]
fn later_layers_win_also_over_twins() {
    let layers = [
        vec![given("log.dirs", "a"), given("num.partitions", "2")],
        vec![given("log.dir", "b")],
        vec![given("num.partitions", "3")],
    ];
    let (node, _) = parse_node(&layers).unwrap();
    assert_eq!(node.data_dir, "b");
    assert_eq!(node.num_partitions, 3);
    let (node, _) = parse(&[("broker.id", "5")]).unwrap();
    assert_eq!(node.node_id, 5);
    let (node, _) = parse(&[("listeners", "[::1]:9092"), ("sternpost.http.listener", "off")]).unwrap();
    assert_eq!(node.listener.host, "::1");
    assert_eq!(node.http, None);
}

#[test]
fn topic_values_and_their_sources() {
    let (node, _) = parse(&[("log.retention.hours", "2"), ("log.segment.bytes", "2000000")]).unwrap();
    let settings = topic_settings(
        &node,
        &overrides(&[("retention.bytes", "5000"), ("message.timestamp.type", "LogAppendTime")]),
    );
    assert_eq!(settings.retention_ms, Some(7_200_000));
    assert_eq!(settings.retention_bytes, Some(5000));
    assert_eq!(settings.segment_bytes, 2_000_000);
    assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(settings.message_bytes_max, 1_048_588);

    let dynamic = node
        .with_dynamic(&overrides(&[("log.retention.ms", "10")]), &overrides(&[("log.retention.ms", "20")]))
        .unwrap();
    let entries = describe_topic(&dynamic, &overrides(&[("retention.ms", "30")]));
    let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!(entry.value.as_deref(), Some("30"));
    let chain: Vec<_> = entry
        .synonyms
        .iter()
        .map(|(name, value, source)| (name.as_str(), value.as_deref().unwrap(), *source))
        .collect();
    assert_eq!(
        chain,
        [
            ("retention.ms", "30", ConfigSource::DynamicTopic),
            ("log.retention.ms", "20", ConfigSource::DynamicBroker),
            ("log.retention.ms", "10", ConfigSource::DynamicDefaultBroker),
            ("log.retention.hours", "2", ConfigSource::StaticBroker),
            ("log.retention.hours", "168", ConfigSource::Default),
        ]
    );
    assert_eq!(topic_settings(&dynamic, &BTreeMap::new()).retention_ms, Some(20));
    // Dynamic changes are laid anew each time, never piled up.
    let plain = dynamic.with_dynamic(&BTreeMap::new(), &BTreeMap::new()).unwrap();
    assert_eq!(topic_settings(&plain, &BTreeMap::new()).retention_ms, Some(7_200_000));
}

#[test]
fn compacted_topics_keep_everything() {
    let node = NodeSettings::default();
    let settings = topic_settings(
        &node,
        &overrides(&[("cleanup.policy", "compact"), ("retention.ms", "1"), ("retention.bytes", "1")]),
    );
    assert!(settings.compact);
    assert_eq!(settings.retention_ms, None);
    assert_eq!(settings.retention_bytes, None);
    let both =
        topic_settings(&node, &overrides(&[("cleanup.policy", "compact,delete"), ("retention.ms", "1")]));
    assert_eq!(both.retention_ms, Some(1));
    assert!(topic_override_remark("cleanup.policy", "compact").is_some());
    assert!(topic_override_remark("cleanup.policy", "delete").is_none());
    assert!(topic_override_remark("flush.messages", "1").is_some());
}

#[test]
fn topic_overrides_are_checked() {
    check_topic_override("retention.ms", "-1").unwrap();
    check_topic_override("remote.storage.enable", "false").unwrap();
    for (name, value, part) in [
        ("retention.ms", "-2", "-1 or more"),
        ("segment.bytes", "1", "1048576 or more"),
        ("remote.storage.enable", "true", "only false"),
        ("sternpost.durability", "none", "only fsync-majority"),
        ("log.retention.ms", "1", "retention.ms"),
        ("retention.mss", "1", "did you mean retention.ms?"),
        ("compression.type", "brotli", "zstd"),
        ("min.cleanable.dirty.ratio", "2", "0 to 1"),
    ] {
        let why = check_topic_override(name, value).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
    assert!(check_node_override("node.id", "3").unwrap_err().contains("restart"));
    check_node_override("log.retention.ms", "3").unwrap();
}

#[test]
fn the_contract_is_readable() {
    let node = NodeSettings::default();
    for entries in [describe_topic(&node, &BTreeMap::new()), describe_node(&node)] {
        let entry = entries.iter().find(|entry| entry.name == "sternpost.durability").unwrap();
        assert_eq!(entry.value.as_deref(), Some("fsync-majority"));
        assert!(entry.read_only);
    }
}
