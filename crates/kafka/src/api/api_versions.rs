//! ApiVersions (key 18): what this node speaks. Answered by the session itself. The response header is always version
//! 0, and a version that nobody knows is answered in version 0 with UNSUPPORTED_VERSION, so that any client can read it.

use model::ErrorCode;

use crate::message::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::session::SessionConfig;

use super::{Versions, advertised};

/// First version whose clients read a feature with lowest level 0 (KAFKA-17492); older ones must not see it.
const FEATURE_LEVEL_ZERO_FROM: i16 = 4;

/// Answers a request of a known version.
pub(crate) fn response(
    message: &ApiVersionsRequest,
    version: i16,
    config: &SessionConfig,
) -> ApiVersionsResponse {
    if version >= 3
        && !(is_software_name(&message.client_software_name)
            && is_software_name(&message.client_software_version))
    {
        return error(ErrorCode::InvalidRequest);
    }
    // KIP-1242: the client says whom it expects; a stranger sends it back to its bootstrap addresses.
    let other_cluster = message.cluster_id.as_ref().is_some_and(|id| **id != *config.cluster_id);
    let other_node = message.node_id >= 0 && message.node_id != config.node.0;
    if other_cluster || other_node {
        return error(ErrorCode::RebootstrapRequired);
    }
    let features = || config.features.iter();
    ApiVersionsResponse {
        api_keys: api_keys(),
        supported_features: features()
            .filter(|feature| version >= FEATURE_LEVEL_ZERO_FROM || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.into(),
                min_version: feature.min,
                max_version: feature.max,
            })
            .collect(),
        finalized_features_epoch: 0,
        finalized_features: features()
            .filter(|feature| feature.finalized > 0)
            .map(|feature| FinalizedFeatureKey {
                name: feature.name.into(),
                max_version_level: feature.finalized,
                min_version_level: feature.finalized,
            })
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

/// Answers, in version 0, a request of a version that is not served.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse { api_keys: api_keys(), ..error(ErrorCode::UnsupportedVersion) }
}

fn error(code: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: code.code(), ..ApiVersionsResponse::default() }
}

fn api_keys() -> Vec<ApiVersion> {
    advertised()
        .iter()
        .map(|Versions { key, min, max }| ApiVersion {
            api_key: key.code(),
            min_version: *min,
            max_version: *max,
        })
        .collect()
}

/// Kafka's rule for the client's software name and version (KIP-511): letters and digits, with dots and dashes inside.
fn is_software_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
