//! What has settings, between the wire's number and name and the broker's words: shared by the three config APIs.

use broker::request::ConfigResource;
use model::NodeId;

use crate::wire::Str;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// The resource of a number and a name. A broker's name is its id, or empty for all brokers.
pub(super) fn read(kind: i8, name: &str) -> ConfigResource {
    match (kind, name) {
        (TOPIC, name) => ConfigResource::Topic(name.to_owned()),
        (BROKER, "") => ConfigResource::Broker(None),
        (BROKER, name) => match canonical_id(name) {
            Some(id) => ConfigResource::Broker(Some(NodeId(id))),
            None => ConfigResource::Other(BROKER, name.to_owned()),
        },
        (kind, name) => ConfigResource::Other(kind, name.to_owned()),
    }
}

/// A node id written the one way in which the answer will write it.
fn canonical_id(name: &str) -> Option<i32> {
    let id: i32 = name.parse().ok()?;
    (id >= 0 && id.to_string() == name).then_some(id)
}

/// Number and name of a resource, as they were asked.
pub(super) fn write(resource: ConfigResource) -> (i8, Str) {
    match resource {
        ConfigResource::Topic(name) => (TOPIC, name.into()),
        ConfigResource::Broker(None) => (BROKER, Str::default()),
        ConfigResource::Broker(Some(node)) => (BROKER, node.0.to_string().into()),
        ConfigResource::Other(kind, name) => (kind, name.into()),
    }
}
