//! AlterConfigs (key 33): the old call, which replaces all settings of a resource. UIs still use it.

use broker::Request;
use broker::request::{AlterConfigs, AlterConfigsResponse as Answer, AlterOp};

use crate::message::ApiKey;
use crate::message::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::session::SessionError;

use super::topic_ref::code_and_message;
use super::{Asked, Context, config_resource};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core.
pub(crate) fn request(
    message: AlterConfigsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<AlterConfigsResponse, Kept>, SessionError> {
    let entries = message.resources.iter().map(|resource| 1 + resource.configs.len()).sum();
    context.admit(ApiKey::AlterConfigs, entries)?;
    let resources = message.resources.iter().map(|it| {
        let changes = it.configs.iter().map(|config| {
            (config.name.to_string(), AlterOp::Set, config.value.as_ref().map(|value| value.to_string()))
        });
        (config_resource::read(it.resource_type, &it.resource_name), changes.collect())
    });
    let alter = AlterConfigs {
        resources: resources.collect(),
        replace_all: true,
        validate_only: message.validate_only,
    };
    Ok(Asked::Core(Request::AlterConfigs(alter), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> AlterConfigsResponse {
    let responses = answer.resources.into_iter().map(|(resource, refusal)| {
        let (error_code, error_message) = code_and_message(refusal);
        let (resource_type, resource_name) = config_resource::write(resource);
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    AlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }
}
