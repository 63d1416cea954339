//! IncrementalAlterConfigs (key 44): change single settings of a resource and leave the others (KIP-339).

use broker::Request;
use broker::request::{AlterConfigs, AlterConfigsResponse as Answer, AlterOp};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::topic_ref::code_and_message;
use super::{Asked, Context, config_resource};

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

type Change = (String, AlterOp, Option<String>);

/// Asks the core. An unknown operation refuses the whole request: nothing is changed by halves.
pub(crate) fn request(
    message: IncrementalAlterConfigsRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<IncrementalAlterConfigsResponse, Kept>, SessionError> {
    let entries = message.resources.iter().map(|resource| 1 + resource.configs.len()).sum();
    context.admit(ApiKey::IncrementalAlterConfigs, entries)?;
    let read = |it: &AlterConfigsResource| {
        let changes: Result<Vec<Change>, i8> = it.configs.iter().map(change).collect();
        Ok((config_resource::read(it.resource_type, &it.resource_name), changes?))
    };
    let resources: Result<Vec<_>, i8> = message.resources.iter().map(read).collect();
    let resources = match resources {
        Ok(resources) => resources,
        Err(operation) => return Ok(Asked::Answer(refuse_all(&message, operation))),
    };
    let alter = AlterConfigs { resources, replace_all: false, validate_only: message.validate_only };
    Ok(Asked::Core(Request::AlterConfigs(alter), ()))
}

fn change(config: &AlterableConfig) -> Result<Change, i8> {
    let op = match config.config_operation {
        0 => AlterOp::Set,
        1 => AlterOp::Delete,
        2 => AlterOp::Append,
        3 => AlterOp::Subtract,
        unknown => return Err(unknown),
    };
    Ok((config.name.to_string(), op, config.value.as_ref().map(|value| value.to_string())))
}

fn refuse_all(message: &IncrementalAlterConfigsRequest, operation: i8) -> IncrementalAlterConfigsResponse {
    let why = Str::from(format!("config operation {operation} is unknown, nothing was changed"));
    let responses = message.resources.iter().map(|it| AlterConfigsResourceResponse {
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(why.clone()),
        resource_type: it.resource_type,
        resource_name: it.resource_name.clone(),
    });
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> IncrementalAlterConfigsResponse {
    let responses = answer.resources.into_iter().map(|(resource, refusal)| {
        let (error_code, error_message) = code_and_message(refusal);
        let (resource_type, resource_name) = config_resource::write(resource);
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }
}
