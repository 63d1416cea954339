//! Metadata (key 3): nodes, topics, partitions, leaders. An empty topic list means all of them in version 0 and none
//! later, where null means all; ids stand in requests from version 10 and may be used from 12.

use broker::Request;
use broker::request::{Metadata, MetadataResponse as Answer, PartitionMetadata, TopicMetadata, TopicRef};
use model::{ErrorCode, TopicId};

use crate::message::ApiKey;
use crate::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::{numbers, uuid};
use super::{Asked, Context, operations};

/// First version in which a topic may be asked for by id.
const BY_ID_FROM: i16 = 12;

/// Which sets of authorized operations were asked for.
#[derive(Debug)]
pub(crate) struct Kept {
    cluster: bool,
    topics: bool,
}

/// Asks the core.
pub(crate) fn request(
    message: MetadataRequest,
    version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<MetadataResponse, Kept>, SessionError> {
    let named = message.topics.as_deref().unwrap_or_default();
    context.admit(ApiKey::Metadata, named.len())?;
    let by_id_too_early = |id: bool, name: bool| version < BY_ID_FROM && (id || !name);
    if named.iter().any(|topic| by_id_too_early(!topic.topic_id.is_zero(), topic.name.is_some())) {
        return Ok(Asked::Answer(refuse_all(&message, ErrorCode::InvalidRequest)));
    }
    let topics = match message.topics {
        None => None,
        Some(topics) if version == 0 && topics.is_empty() => None,
        Some(topics) => Some(
            topics
                .iter()
                .map(|topic| match &topic.name {
                    // A zero id beside a null name names nothing; the core answers that no topic has it.
                    None => TopicRef::Id(TopicId(topic.topic_id.0)),
                    Some(_) if !topic.topic_id.is_zero() => TopicRef::Id(TopicId(topic.topic_id.0)),
                    Some(name) => TopicRef::Name(name.to_string()),
                })
                .collect(),
        ),
    };
    // Versions before 4 have no such flag and always create.
    let allow_auto_topic_creation = version < 4 || message.allow_auto_topic_creation;
    let kept = Kept {
        cluster: message.include_cluster_authorized_operations,
        topics: message.include_topic_authorized_operations,
    };
    Ok(Asked::Core(Request::Metadata(Metadata { topics, allow_auto_topic_creation }), kept))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    kept: Kept,
    _context: &mut Context<'_>,
) -> MetadataResponse {
    MetadataResponse {
        brokers: answer
            .brokers
            .into_iter()
            .map(|broker| MetadataResponseBroker {
                node_id: broker.node.0,
                host: broker.host.into(),
                port: broker.port.into(),
                rack: broker.rack.map(Str::from),
            })
            .collect(),
        cluster_id: Some(answer.cluster_id.into()),
        controller_id: answer.controller.0,
        topics: answer.topics.into_iter().map(|topic| write_topic(topic, version, &kept)).collect(),
        cluster_authorized_operations: operations::told(kept.cluster, 0, operations::CLUSTER),
        ..MetadataResponse::default()
    }
}

fn write_topic(topic: TopicMetadata, version: i16, kept: &Kept) -> MetadataResponseTopic {
    // The name may be null only where topics can be asked for by id.
    let name = topic.name.map(Str::from).or((version < BY_ID_FROM).then(Str::default));
    MetadataResponseTopic {
        error_code: topic.error.code(),
        name,
        topic_id: uuid(topic.id),
        is_internal: topic.is_internal,
        partitions: topic.partitions.iter().map(write_partition).collect(),
        topic_authorized_operations: operations::told(kept.topics, topic.error.code(), operations::TOPIC),
    }
}

fn write_partition(partition: &PartitionMetadata) -> MetadataResponsePartition {
    MetadataResponsePartition {
        error_code: partition.error.code(),
        partition_index: partition.index,
        leader_id: partition.leader.map_or(-1, |node| node.0),
        leader_epoch: partition.leader_epoch,
        replica_nodes: numbers(&partition.replicas),
        isr_nodes: numbers(&partition.in_sync),
        offline_replicas: numbers(&partition.offline),
    }
}

fn refuse_all(message: &MetadataRequest, code: ErrorCode) -> MetadataResponse {
    let topics = message.topics.iter().flatten().map(|topic| MetadataResponseTopic {
        error_code: code.code(),
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    });
    MetadataResponse { topics: topics.collect(), ..MetadataResponse::default() }
}
