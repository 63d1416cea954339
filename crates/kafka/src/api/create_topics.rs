//! CreateTopics (key 19): new topics, each refused or made on its own. Names, counts and settings are judged by the core.

use broker::Request;
use broker::request::{ConfigEntry, CreateTopics, CreateTopicsResponse as Answer, CreatedTopic, NewTopic};

use crate::message::ApiKey;
use crate::message::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::{code_and_message, nodes, uuid, wait};
use super::{Asked, Context};

/// First version that tells the settings of the new topic (KIP-525).
const CONFIGS_FROM: i16 = 5;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: CreateTopicsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<CreateTopicsResponse, Kept>, SessionError> {
    let of_topic = |topic: &CreatableTopic| {
        let replicas: usize =
            topic.assignments.iter().map(|assignment| 1 + assignment.broker_ids.len()).sum();
        1 + topic.configs.len() + replicas
    };
    context.admit(ApiKey::CreateTopics, message.topics.iter().map(of_topic).sum())?;
    let topics = message.topics.iter().map(|topic| NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|assignment| (assignment.partition_index, nodes(&assignment.broker_ids)))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_ref().map(|value| value.to_string())))
            .collect(),
    });
    let create = CreateTopics {
        topics: topics.collect(),
        validate_only: message.validate_only,
        timeout: wait(message.timeout_ms),
    };
    Ok(Asked::Core(Request::CreateTopics(create), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> CreateTopicsResponse {
    let topics = answer.topics.into_iter().map(|topic| write_topic(topic, version));
    CreateTopicsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn write_topic(topic: CreatedTopic, version: i16) -> CreatableTopicResult {
    let (error_code, error_message) = code_and_message(topic.refusal);
    let configs = topic.configs.into_iter().filter(|_| version >= CONFIGS_FROM).map(write_config);
    CreatableTopicResult {
        name: topic.name.into(),
        topic_id: uuid(topic.id),
        error_code,
        error_message,
        topic_config_error_code: 0,
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: Some(configs.collect()),
    }
}

fn write_config(config: ConfigEntry) -> CreatableTopicConfigs {
    CreatableTopicConfigs {
        name: config.name.into(),
        value: config.value.map(Str::from),
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
    }
}
