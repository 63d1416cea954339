//! The catalogue: metadata, topics, partitions, settings.

use broker::request::*;
use model::{ErrorCode, NodeId, TopicId};

use super::*;
use crate::message::alter_configs::AlterConfigsRequest;
use crate::message::create_partitions::CreatePartitionsRequest;
use crate::message::create_topics::CreateTopicsRequest;
use crate::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::message::describe_cluster::DescribeClusterRequest;
use crate::message::describe_configs::DescribeConfigsRequest;
use crate::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::message::metadata::{MetadataRequest, MetadataRequestTopic};

pub(super) fn round_trips(covered: &mut Covered) {
    covered.each::<MetadataRequest>(metadata);
    covered.each::<DescribeClusterRequest>(describe_cluster);
    covered.each::<CreateTopicsRequest>(create_topics);
    covered.each::<DeleteTopicsRequest>(delete_topics);
    covered.each::<CreatePartitionsRequest>(create_partitions);
    covered.each::<DescribeConfigsRequest>(describe_configs);
    covered.each::<AlterConfigsRequest>(alter_configs);
    covered.each::<IncrementalAlterConfigsRequest>(incremental_alter_configs);
}

fn nodes(values: &mut Values) -> Vec<NodeId> {
    values.list(node)
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

fn metadata(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = MetadataRequest::arbitrary(values, version);
    for topic in message.topics.iter_mut().flatten() {
        // Before version 12 only names; from then on a name or an id.
        if version < 12 || values.coin() {
            topic.name.get_or_insert_default();
            topic.topic_id = Uuid::ZERO;
        } else {
            topic.name = None;
        }
    }
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        let Request::Metadata(it) = request else { panic!("{request:?}") };
        let meant = message.topics.as_ref().map(|topics| {
            let meant = topics.iter().map(|topic| match &topic.name {
                Some(name) => TopicRef::Name(name.to_string()),
                None => TopicRef::Id(TopicId(topic.topic_id.0)),
            });
            meant.collect::<Vec<_>>()
        });
        let meant = meant.filter(|topics| version > 0 || !topics.is_empty());
        assert_eq!(it.topics, meant);
        assert_eq!(it.allow_auto_topic_creation, version < 4 || message.allow_auto_topic_creation);
        said = Some(metadata_answer(values));
        Response::Metadata(said.clone().expect("just set"))
    });
    let said = said.expect("asked");
    assert_eq!((read.throttle_time_ms, read.error_code), (0, 0));
    assert_eq!(read.cluster_id.as_deref(), (version >= 2).then_some(said.cluster_id.as_str()));
    assert_eq!(read.controller_id, if version >= 1 { said.controller.0 } else { -1 });
    let cluster = message.include_cluster_authorized_operations && (8..=10).contains(&version);
    assert_eq!(read.cluster_authorized_operations, if cluster { ALL_ON_THE_CLUSTER } else { i32::MIN });
    assert_eq!(read.brokers.len(), said.brokers.len());
    for (it, said) in read.brokers.iter().zip(&said.brokers) {
        assert_eq!((it.node_id, &*it.host, it.port), (said.node.0, &*said.host, said.port.into()));
        assert_eq!(it.rack.as_deref(), said.rack.as_deref().filter(|_| version >= 1));
    }
    assert_eq!(read.topics.len(), said.topics.len());
    for (it, said) in read.topics.iter().zip(&said.topics) {
        let name = said.name.as_deref().or((version < 12).then_some(""));
        assert_eq!((it.name.as_deref(), it.error_code), (name, said.error.code()));
        assert_eq!(it.topic_id.0, if version >= 10 { said.id.0 } else { [0; 16] });
        assert_eq!(it.is_internal, version >= 1 && said.is_internal);
        let told = version >= 8 && message.include_topic_authorized_operations && it.error_code == 0;
        assert_eq!(it.topic_authorized_operations, if told { ALL_ON_A_TOPIC } else { i32::MIN });
        assert_eq!(it.partitions.len(), said.partitions.len());
        for (it, said) in it.partitions.iter().zip(&said.partitions) {
            assert_eq!((it.error_code, it.partition_index), (said.error.code(), said.index));
            assert_eq!(it.leader_id, said.leader.unwrap_or(NodeId(-1)).0);
            assert_eq!(it.leader_epoch, if version >= 7 { said.leader_epoch } else { -1 });
            assert_eq!(it.replica_nodes, numbers(&said.replicas));
            assert_eq!(it.isr_nodes, numbers(&said.in_sync));
            assert_eq!(it.offline_replicas, if version >= 5 { numbers(&said.offline) } else { vec![] });
        }
    }
}

fn metadata_answer(values: &mut Values) -> MetadataResponse {
    MetadataResponse {
        brokers: values.list(endpoint),
        cluster_id: text(values),
        controller: node(values),
        topics: values.list(topic_metadata),
    }
}

pub(super) fn topic_metadata(values: &mut Values) -> TopicMetadata {
    TopicMetadata {
        error: error(values),
        name: values.option(text),
        id: topic_id(values),
        is_internal: values.coin(),
        partitions: values.list(|values| PartitionMetadata {
            error: error(values),
            index: values.int32(),
            leader: values.option(node),
            leader_epoch: values.int32(),
            replicas: nodes(values),
            in_sync: nodes(values),
            offline: nodes(values),
        }),
    }
}

#[test]
fn metadata_by_id_before_its_version_is_refused() {
    let topic = MetadataRequestTopic { topic_id: Uuid([1; 16]), name: None };
    let message = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    let read = refused(&mut session(), 11, &message);
    assert_eq!(read.topics[0].error_code, ErrorCode::InvalidRequest.code());
}

fn describe_cluster(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = DescribeClusterRequest::arbitrary(values, version);
    message.endpoint_type = 1;
    let said = DescribeClusterResponse {
        cluster_id: text(values),
        controller: node(values),
        brokers: values.list(endpoint),
    };
    let read = exchange(session, version, &message, |request| {
        assert!(matches!(request, Request::DescribeCluster(_)));
        Response::DescribeCluster(said.clone())
    });
    assert_eq!((read.error_code, read.error_message, read.endpoint_type), (0, None, 1));
    assert_eq!((&*read.cluster_id, read.controller_id), (&*said.cluster_id, said.controller.0));
    let told = if message.include_cluster_authorized_operations { ALL_ON_THE_CLUSTER } else { i32::MIN };
    assert_eq!(read.cluster_authorized_operations, told);
    assert_eq!(read.brokers.len(), said.brokers.len());
    for (it, said) in read.brokers.iter().zip(&said.brokers) {
        assert_eq!((it.broker_id, &*it.host, it.port), (said.node.0, &*said.host, said.port.into()));
        assert_eq!((it.rack.as_deref(), it.is_fenced), (said.rack.as_deref(), false));
    }
}

#[test]
fn controllers_have_no_endpoints_here() {
    for (endpoint_type, code) in
        [(2, ErrorCode::MismatchedEndpointType), (9, ErrorCode::UnsupportedEndpointType)]
    {
        let message = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
        assert_eq!(refused(&mut session(), 1, &message).error_code, code.code());
    }
}

fn config_source(values: &mut Values) -> ConfigSource {
    [ConfigSource::DynamicTopic, ConfigSource::StaticBroker, ConfigSource::Default][values.below(3)]
}

fn config(values: &mut Values) -> ConfigEntry {
    ConfigEntry {
        name: text(values),
        value: values.option(text),
        source: config_source(values),
        kind: [ConfigKind::Boolean, ConfigKind::Long, ConfigKind::Password][values.below(3)],
        read_only: values.coin(),
        sensitive: values.coin(),
        synonyms: values.list(|values| (text(values), values.option(text), config_source(values))),
        documentation: values.option(text),
    }
}

fn create_topics(session: &mut Session, version: i16, values: &mut Values) {
    let message = CreateTopicsRequest::arbitrary(values, version);
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::CreateTopics(it) = request else { panic!("{request:?}") };
        assert_eq!(it.timeout.as_millis(), message.timeout_ms.max(0) as u128);
        assert_eq!((it.validate_only, it.topics.len()), (message.validate_only, message.topics.len()));
        for (it, sent) in it.topics.iter().zip(&message.topics) {
            assert_eq!((it.name.as_str(), it.partitions), (&*sent.name, sent.num_partitions));
            assert_eq!(it.replication_factor, sent.replication_factor);
            let assigned: Vec<_> =
                it.assignments.iter().map(|(index, nodes)| (*index, numbers(nodes))).collect();
            let sent_assigned = sent.assignments.iter();
            let sent_assigned: Vec<_> =
                sent_assigned.map(|it| (it.partition_index, it.broker_ids.clone())).collect();
            assert_eq!(assigned, sent_assigned);
            let configs = sent.configs.iter();
            let configs: Vec<_> =
                configs.map(|it| (it.name.to_string(), it.value.as_ref().map(Str::to_string))).collect();
            assert_eq!(it.configs, configs);
        }
        said = it
            .topics
            .iter()
            .map(|topic| CreatedTopic {
                name: topic.name.clone(),
                refusal: refusal(values),
                id: topic_id(values),
                partitions: values.int32(),
                replication_factor: values.int16(),
                configs: values.list(config),
            })
            .collect();
        Response::CreateTopics(CreateTopicsResponse { topics: said.clone() })
    });
    assert_eq!(read.topics.len(), said.len());
    for (it, said) in read.topics.iter().zip(&said) {
        assert_eq!((&*it.name, it.error_code), (&*said.name, said.refusal.code.code()));
        assert_eq!(it.error_message, message_of(&said.refusal));
        assert_eq!(it.topic_id.0, if version >= 7 { said.id.0 } else { [0; 16] });
        let counts = if version >= 5 { (said.partitions, said.replication_factor) } else { (-1, -1) };
        assert_eq!((it.num_partitions, it.replication_factor), counts);
        let configs = it.configs.as_ref().expect("never null");
        assert_eq!(configs.len(), if version >= 5 { said.configs.len() } else { 0 });
        for (it, said) in configs.iter().zip(&said.configs) {
            assert_eq!((&*it.name, it.value.as_deref()), (&*said.name, said.value.as_deref()));
            assert_eq!((it.read_only, it.is_sensitive), (said.read_only, said.sensitive));
            assert_eq!(it.config_source, said.source as i8);
        }
    }
}

fn delete_topics(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = DeleteTopicsRequest::arbitrary(values, version);
    for topic in &mut message.topics {
        if topic.name.is_some() {
            topic.topic_id = Uuid::ZERO;
        }
    }
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::DeleteTopics(it) = request else { panic!("{request:?}") };
        assert_eq!(it.timeout.as_millis(), message.timeout_ms.max(0) as u128);
        let by_name = message.topic_names.iter().map(|name| TopicRef::Name(name.to_string()));
        let states = message.topics.iter().map(|topic| match &topic.name {
            Some(name) => TopicRef::Name(name.to_string()),
            None => TopicRef::Id(TopicId(topic.topic_id.0)),
        });
        assert_eq!(it.topics, by_name.chain(states).collect::<Vec<_>>());
        said = it
            .topics
            .iter()
            .map(|_| DeletedTopic {
                name: values.option(text),
                id: topic_id(values),
                refusal: refusal(values),
            })
            .collect();
        Response::DeleteTopics(DeleteTopicsResponse { topics: said.clone() })
    });
    assert_eq!(read.responses.len(), said.len());
    for (it, said) in read.responses.iter().zip(&said) {
        let name = said.name.as_deref().or((version < 6).then_some(""));
        assert_eq!((it.name.as_deref(), it.error_code), (name, said.refusal.code.code()));
        assert_eq!(it.topic_id.0, if version >= 6 { said.id.0 } else { [0; 16] });
        assert_eq!(it.error_message, message_of(&said.refusal).filter(|_| version >= 5));
    }
}

#[test]
fn a_topic_to_delete_has_a_name_or_an_id() {
    for (name, id) in [(None, Uuid::ZERO), (Some("t".into()), Uuid([1; 16]))] {
        let topics = vec![DeleteTopicState { name, topic_id: id }];
        let message = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
        let read = refused(&mut session(), 6, &message);
        assert_eq!(read.responses[0].error_code, ErrorCode::InvalidRequest.code());
    }
}

fn create_partitions(session: &mut Session, version: i16, values: &mut Values) {
    let message = CreatePartitionsRequest::arbitrary(values, version);
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::CreatePartitions(it) = request else { panic!("{request:?}") };
        assert_eq!(it.timeout.as_millis(), message.timeout_ms.max(0) as u128);
        assert_eq!((it.validate_only, it.topics.len()), (message.validate_only, message.topics.len()));
        for ((name, count, assignments), sent) in it.topics.iter().zip(&message.topics) {
            assert_eq!((name.as_str(), *count), (&*sent.name, sent.count));
            let sent = sent.assignments.iter().flatten().map(|it| it.broker_ids.clone());
            let assignments: Vec<_> = assignments.iter().map(|nodes| numbers(nodes)).collect();
            assert_eq!(assignments, sent.collect::<Vec<_>>());
        }
        said = it.topics.iter().map(|(name, ..)| (name.clone(), refusal(values))).collect();
        Response::CreatePartitions(CreatePartitionsResponse { topics: said.clone() })
    });
    assert_eq!(read.results.len(), said.len());
    for (it, (name, refusal)) in read.results.iter().zip(&said) {
        assert_eq!((&*it.name, it.error_code), (name.as_str(), refusal.code.code()));
        assert_eq!(it.error_message, message_of(refusal));
    }
}

/// A resource on the wire and what it means.
fn resource(values: &mut Values) -> (i8, Str, ConfigResource) {
    match values.below(6) {
        0 => (2, "t".into(), ConfigResource::Topic("t".into())),
        1 => (4, "".into(), ConfigResource::Broker(None)),
        2 => (4, "17".into(), ConfigResource::Broker(Some(NodeId(17)))),
        3 => (4, "017".into(), ConfigResource::Other(4, "017".into())),
        4 => (4, "-1".into(), ConfigResource::Other(4, "-1".into())),
        _ => (16, "x".into(), ConfigResource::Other(16, "x".into())),
    }
}

fn describe_configs(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = DescribeConfigsRequest::arbitrary(values, version);
    let mut meant = Vec::new();
    for it in &mut message.resources {
        let resource = resource(values);
        (it.resource_type, it.resource_name) = (resource.0, resource.1);
        let names = it.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        let names = names.map(|keys| keys.iter().map(Str::to_string).collect());
        meant.push((resource.2, names));
    }
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::DescribeConfigs(it) = request else { panic!("{request:?}") };
        assert_eq!(it.resources, meant);
        assert_eq!(it.include_synonyms, message.include_synonyms);
        assert_eq!(it.include_documentation, message.include_documentation);
        said = it
            .resources
            .into_iter()
            .map(|(resource, _)| DescribedResource {
                resource,
                refusal: refusal(values),
                configs: values.list(config),
            })
            .collect();
        Response::DescribeConfigs(DescribeConfigsResponse { resources: said.clone() })
    });
    assert_eq!(read.results.len(), said.len());
    for ((it, said), sent) in read.results.iter().zip(&said).zip(&message.resources) {
        assert_eq!((it.resource_type, &it.resource_name), (sent.resource_type, &sent.resource_name));
        assert_eq!(
            (it.error_code, it.error_message.clone()),
            (said.refusal.code.code(), message_of(&said.refusal))
        );
        assert_eq!(it.configs.len(), said.configs.len());
        for (it, said) in it.configs.iter().zip(&said.configs) {
            assert_eq!((&*it.name, it.value.as_deref()), (&*said.name, said.value.as_deref()));
            assert_eq!((it.read_only, it.is_sensitive), (said.read_only, said.sensitive));
            assert_eq!(it.config_source, said.source as i8);
            assert_eq!(it.config_type, if version >= 3 { said.kind as i8 } else { 0 });
            if version >= 3 {
                assert_eq!(it.documentation.as_deref(), said.documentation.as_deref());
            }
            let synonyms = it.synonyms.iter();
            let synonyms: Vec<_> = synonyms.map(|it| (&*it.name, it.value.as_deref(), it.source)).collect();
            let said = said.synonyms.iter();
            let said: Vec<_> =
                said.map(|(name, value, source)| (name.as_str(), value.as_deref(), *source as i8)).collect();
            assert_eq!(synonyms, said);
        }
    }
}

type Resources = Vec<(ConfigResource, Vec<(String, AlterOp, Option<String>)>)>;

/// Checks the question of either call and answers it.
fn altered(
    request: Request,
    meant: &Resources,
    (replace_all, validate_only): (bool, bool),
    values: &mut Values,
) -> AlterConfigsResponse {
    let Request::AlterConfigs(it) = request else { panic!("{request:?}") };
    assert_eq!(&it.resources, meant);
    assert_eq!((it.replace_all, it.validate_only), (replace_all, validate_only));
    let resources = it.resources.into_iter().map(|(resource, _)| (resource, refusal(values)));
    AlterConfigsResponse { resources: resources.collect() }
}

/// Type, name, code and sentence of each result.
fn results(said: &AlterConfigsResponse, sent: Vec<(i8, Str)>) -> Vec<(i8, Str, i16, Option<Str>)> {
    let pairs = said.resources.iter().zip(sent);
    pairs.map(|((_, refusal), (kind, name))| (kind, name, refusal.code.code(), message_of(refusal))).collect()
}

fn alter_configs(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = AlterConfigsRequest::arbitrary(values, version);
    let mut meant: Resources = Vec::new();
    let mut sent = Vec::new();
    for it in &mut message.resources {
        let resource = resource(values);
        (it.resource_type, it.resource_name) = (resource.0, resource.1.clone());
        let value = |value: &Option<Str>| value.as_ref().map(Str::to_string);
        let changes = it.configs.iter().map(|it| (it.name.to_string(), AlterOp::Set, value(&it.value)));
        meant.push((resource.2, changes.collect()));
        sent.push((resource.0, resource.1));
    }
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        said = Some(altered(request, &meant, (true, message.validate_only), values));
        Response::AlterConfigs(said.clone().expect("just set"))
    });
    let read = read.responses.into_iter();
    let read: Vec<_> =
        read.map(|it| (it.resource_type, it.resource_name, it.error_code, it.error_message)).collect();
    assert_eq!(read, results(&said.expect("asked"), sent));
}

fn incremental_alter_configs(session: &mut Session, version: i16, values: &mut Values) {
    const OPS: [AlterOp; 4] = [AlterOp::Set, AlterOp::Delete, AlterOp::Append, AlterOp::Subtract];
    let mut message = IncrementalAlterConfigsRequest::arbitrary(values, version);
    let mut meant: Resources = Vec::new();
    let mut sent = Vec::new();
    for it in &mut message.resources {
        let resource = resource(values);
        (it.resource_type, it.resource_name) = (resource.0, resource.1.clone());
        let changes = it.configs.iter_mut().map(|it| {
            let op = values.below(4);
            it.config_operation = op as i8;
            (it.name.to_string(), OPS[op], it.value.as_ref().map(Str::to_string))
        });
        meant.push((resource.2, changes.collect()));
        sent.push((resource.0, resource.1));
    }
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        said = Some(altered(request, &meant, (false, message.validate_only), values));
        Response::AlterConfigs(said.clone().expect("just set"))
    });
    let read = read.responses.into_iter();
    let read: Vec<_> =
        read.map(|it| (it.resource_type, it.resource_name, it.error_code, it.error_message)).collect();
    assert_eq!(read, results(&said.expect("asked"), sent));
}

#[test]
fn an_unknown_config_operation_changes_nothing() {
    let config = AlterableConfig { name: "a".into(), config_operation: 4, value: None };
    let resources = vec![
        AlterConfigsResource { resource_type: 2, resource_name: "t".into(), configs: vec![] },
        AlterConfigsResource { resource_type: 2, resource_name: "u".into(), configs: vec![config] },
    ];
    let message = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let read = refused(&mut session(), 1, &message);
    let codes: Vec<_> = read.responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code(); 2]);
}
