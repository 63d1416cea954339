//! Topics, ids, nodes and times between the wire's words and the broker's. Texts are copied out of the request here:
//! what goes to the core may live longer than the request's buffer.

use std::time::Duration;

use broker::request::{Refusal, TopicRef};
use model::{NodeId, TopicId};

use crate::wire::{Str, Uuid};

/// The topic as the request named it: by id in the versions that have ids, else by name.
pub(super) fn asked(name: &Str, id: Uuid, by_id: bool) -> TopicRef {
    if by_id { TopicRef::Id(TopicId(id.0)) } else { TopicRef::Name(name.to_string()) }
}

/// Name and id fields of an answer; the one that was not asked with is empty, and the encoder drops it.
pub(super) fn answered(topic: TopicRef) -> (Str, Uuid) {
    match topic {
        TopicRef::Name(name) => (name.into(), Uuid::ZERO),
        TopicRef::Id(id) => (Str::default(), Uuid(id.0)),
    }
}

/// An id on the wire.
pub(super) fn uuid(id: TopicId) -> Uuid {
    Uuid(id.0)
}

/// Node numbers on the wire.
pub(super) fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

/// Nodes from their numbers.
pub(super) fn nodes(numbers: &[i32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// A time in milliseconds; negative ones mean no wait.
pub(super) fn wait(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A size in bytes; negative ones mean none.
pub(super) fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// Code and sentence as answers carry them: no sentence on success.
pub(super) fn code_and_message(refusal: Refusal) -> (i16, Option<Str>) {
    (refusal.code.code(), refusal.message.map(Str::from))
}
