//! DescribeConfigs (key 32): settings of topics and nodes with their sources.

use broker::Request;
use broker::request::{ConfigEntry, DescribeConfigs, DescribeConfigsResponse as Answer};

use crate::message::ApiKey;
use crate::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::code_and_message;
use super::{Asked, Context, config_resource};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: DescribeConfigsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DescribeConfigsResponse, Kept>, SessionError> {
    let names = message.resources.iter().map(|it| it.configuration_keys.as_ref().map_or(0, Vec::len));
    context.admit(ApiKey::DescribeConfigs, message.resources.len() + names.sum::<usize>())?;
    let resources = message.resources.iter().map(|it| {
        // An empty list means all, as null does: Kafka's clients send either.
        let keys = it.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        let names = keys.map(|keys| keys.iter().map(|key| key.to_string()).collect());
        (config_resource::read(it.resource_type, &it.resource_name), names)
    });
    let describe = DescribeConfigs {
        resources: resources.collect(),
        include_synonyms: message.include_synonyms,
        include_documentation: message.include_documentation,
    };
    Ok(Asked::Core(Request::DescribeConfigs(describe), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeConfigsResponse {
    let results = answer.resources.into_iter().map(|it| {
        let (error_code, error_message) = code_and_message(it.refusal);
        let (resource_type, resource_name) = config_resource::write(it.resource);
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type,
            resource_name,
            configs: it.configs.into_iter().map(write_config).collect(),
        }
    });
    DescribeConfigsResponse { throttle_time_ms: 0, results: results.collect() }
}

fn write_config(config: ConfigEntry) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.into_iter().map(|(name, value, source)| DescribeConfigsSynonym {
        name: name.into(),
        value: value.map(Str::from),
        source: source as i8,
    });
    DescribeConfigsResourceResult {
        name: config.name.into(),
        value: config.value.map(Str::from),
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
        synonyms: synonyms.collect(),
        config_type: config.kind as i8,
        documentation: config.documentation.map(Str::from),
    }
}
