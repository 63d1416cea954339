//! Settings: one registry of every name a user may set, with Kafka's names, kinds, defaults and ranges, and the typed values
//! that the rest of the node reads. `setting` is a row, the `*_table` files are the rows, `node` and `topic` give typed values
//! from layered sources, `describe` shows them, `page` writes docs/configuration.md. Pure: where values come from is `sternpost`'s work.

mod describe;
mod inert_table;
mod nearest;
mod node;
mod node_table;
mod page;
mod setting;
mod topic;
mod topic_table;
mod voters;

pub use describe::{describe_node, describe_topic};
pub use nearest::nearest;
pub use node::{Given, ListenerAddress, NodeSettings, check_node_override, parse_node};
pub use node_table::DURABILITY;
pub use page::configuration_page;
pub use setting::{Change, Range, Setting, parse_boolean, split_list};
pub use topic::{TimestampType, TopicSettings, check_topic_override, topic_override_remark, topic_settings};
pub use voters::{Voter, cluster_of};

use crate::request::ConfigKind;

/// All node settings: those with effect first, then those without.
pub fn node_table() -> impl Iterator<Item = &'static Setting> {
    node_table::ACTIVE.iter().chain(inert_table::INERT)
}

/// All topic settings.
pub fn topic_table() -> impl Iterator<Item = &'static Setting> {
    topic_table::TOPIC.iter().map(|row| &row.setting)
}

/// The node setting of that name.
pub fn node_setting(name: &str) -> Option<&'static Setting> {
    node_table().find(|setting| setting.name == name)
}

/// The topic setting of that name.
pub fn topic_setting(name: &str) -> Option<&'static Setting> {
    topic_table().find(|setting| setting.name == name)
}

/// Whether a topic setting's values are lists, for `AlterOp::Append` and `Subtract`.
pub fn topic_setting_is_list(name: &str) -> bool {
    topic_setting(name).is_some_and(|setting| setting.kind == ConfigKind::List)
}

#[cfg(test)]
mod tests;
