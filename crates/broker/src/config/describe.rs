//! Settings as `DescribeConfigs` shows them: value, source, synonyms in the order in which they would count, documentation.

use super::node::NodeSettings;
use super::setting::{Change, Setting};
use super::topic::sources;
use super::{node_table, topic_table};
use crate::config::topic_table::TOPIC;
use crate::request::{ConfigEntry, ConfigSource};
use std::collections::BTreeMap;

/// All settings of a topic, sorted by name.
pub fn describe_topic(node: &NodeSettings, overrides: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    debug_assert!(topic_table().is_sorted_by_key(|setting| setting.name));
    TOPIC
        .iter()
        .map(|row| {
            let found = sources(row, node, overrides);
            let (value, source) = match found.first() {
                Some(first) => (Some(first.scaled()), first.source),
                None => (None, ConfigSource::Default),
            };
            let synonyms = found
                .into_iter()
                .map(|found| (found.name.to_string(), Some(found.value), found.source))
                .collect();
            entry(&row.setting, value, source, synonyms)
        })
        .collect()
}

/// All settings of a node, sorted by name.
pub fn describe_node(node: &NodeSettings) -> Vec<ConfigEntry> {
    let mut entries: Vec<ConfigEntry> = node_table()
        .map(|setting| {
            let mut synonyms: Vec<_> = node
                .set_values(setting.name)
                .iter()
                .map(|(source, value)| (setting.name.to_string(), Some(value.clone()), *source))
                .collect();
            if let Some(default) = setting.default {
                synonyms.push((setting.name.to_string(), Some(default.to_string()), ConfigSource::Default));
            }
            let (value, source) = match synonyms.first() {
                Some((_, value, source)) => (value.clone(), *source),
                None => (None, ConfigSource::Default),
            };
            entry(setting, value, source, synonyms)
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn entry(
    setting: &Setting,
    value: Option<String>,
    source: ConfigSource,
    mut synonyms: Vec<(String, Option<String>, ConfigSource)>,
) -> ConfigEntry {
    if setting.sensitive() {
        for (_, value, _) in &mut synonyms {
            *value = None;
        }
    }
    ConfigEntry {
        name: setting.name.to_string(),
        value: value.filter(|_| !setting.sensitive()),
        source,
        kind: setting.kind,
        read_only: setting.change == Change::ReadOnly,
        sensitive: setting.sensitive(),
        synonyms,
        documentation: Some(setting.doc.to_string()),
    }
}
