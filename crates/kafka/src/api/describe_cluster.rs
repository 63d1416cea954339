//! DescribeCluster (key 60): the cluster and its nodes. Clients ask brokers here; controllers have no endpoints of their own.

use broker::Request;
use broker::request::{DescribeCluster, DescribeClusterResponse as Answer};
use model::ErrorCode;

use crate::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::session::SessionError;
use crate::wire::Str;

use super::{Asked, Context, operations};

/// Endpoints of brokers.
const ENDPOINT_BROKERS: i8 = 1;
/// Endpoints of controllers.
const ENDPOINT_CONTROLLERS: i8 = 2;

/// Whether the set of authorized operations was asked for.
pub(crate) type Kept = bool;

/// Asks the core for brokers.
pub(crate) fn request(
    message: DescribeClusterRequest,
    _version: i16,
    _context: &mut Context<'_>,
) -> Result<Asked<DescribeClusterResponse, Kept>, SessionError> {
    let (code, why) = match message.endpoint_type {
        ENDPOINT_BROKERS => {
            let kept = message.include_cluster_authorized_operations;
            return Ok(Asked::Core(Request::DescribeCluster(DescribeCluster {}), kept));
        }
        ENDPOINT_CONTROLLERS => {
            (ErrorCode::MismatchedEndpointType, "this endpoint is a broker's, not a controller's")
        }
        _ => (ErrorCode::UnsupportedEndpointType, "the endpoint type is unknown"),
    };
    Ok(Asked::Answer(DescribeClusterResponse {
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
        ..DescribeClusterResponse::default()
    }))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    _version: i16,
    kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeClusterResponse {
    let brokers = answer.brokers.into_iter().map(|broker| DescribeClusterBroker {
        broker_id: broker.node.0,
        host: broker.host.into(),
        port: broker.port.into(),
        rack: broker.rack.map(Str::from),
        is_fenced: false,
    });
    DescribeClusterResponse {
        error_message: None,
        cluster_id: answer.cluster_id.into(),
        controller_id: answer.controller.0,
        brokers: brokers.collect(),
        cluster_authorized_operations: operations::told(kept, 0, operations::CLUSTER),
        ..DescribeClusterResponse::default()
    }
}
