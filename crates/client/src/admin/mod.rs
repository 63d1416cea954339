//! Administration: the cluster, topics, configs, groups, offsets. One method per question, each retried while its error may pass.

mod cluster;
mod config;
mod group;
mod offset;
mod topic;

pub use cluster::{Broker, ClusterDescription, Quorum, Voter};
pub use config::{ConfigEntry, ConfigSource};
pub use group::{CommittedOffset, GroupDescription, GroupListing, GroupMember, Member};
pub use offset::{ListedOffset, OffsetAt};
pub use topic::{CreatedTopic, NewTopic};

use kafka::wire::Str;

/// A broker's own words, when it gave some.
fn words(message: Option<Str>) -> Option<String> {
    message.map(|words| words.to_string()).filter(|words| !words.is_empty())
}
