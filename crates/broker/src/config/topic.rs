//! A topic's settings: its own overrides over the node's values, typed as the append, read and retention paths need them.

use super::node::NodeSettings;
use super::setting::{Setting, split_list};
use super::topic_table::{TOPIC, TopicSetting};
use super::{nearest, node_setting, topic_table};
use crate::request::ConfigSource;
use std::collections::BTreeMap;

/// Whose clock stamps records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's, at append.
    LogAppendTime,
}

/// Values in force for the partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `max.message.bytes`: largest batch, bytes.
    pub message_bytes_max: usize,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// `retention.ms`; `None`: for ever. Also `None` when the policy does not delete.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None`: no limit. Also `None` when the policy does not delete.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` names compact: records stay, because compaction does not exist yet.
    pub compact: bool,
    /// `cleanup.policy` names delete, or nothing: records may go before their time when an operator wants it.
    pub may_delete: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `compression.type`, for display.
    pub compression_type: String,
}

/// Checks a topic override.
///
/// # Errors
/// One clear sentence: unknown with the nearest known name, or an illegal value.
pub fn check_topic_override(name: &str, value: &str) -> Result<(), String> {
    known(name)?.setting.check(value)
}

fn known(name: &str) -> Result<&'static TopicSetting, String> {
    TOPIC.iter().find(|row| row.setting.name == name).ok_or_else(|| {
        let shown: String = name.chars().take(100).flat_map(char::escape_default).collect();
        if let Some(row) = TOPIC.iter().find(|row| row.synonyms.iter().any(|(synonym, _)| *synonym == name)) {
            return format!("{shown} is a setting of nodes; for a topic it is called {}", row.setting.name);
        }
        match nearest(name, topic_table().map(|setting| setting.name)) {
            Some(near) => format!("unknown topic setting {shown}; did you mean {near}?"),
            None => format!("unknown topic setting {shown}"),
        }
    })
}

/// Where a topic setting's values come from, the one in force first. Ends with a default.
pub(super) fn sources(
    row: &TopicSetting,
    node: &NodeSettings,
    overrides: &BTreeMap<String, String>,
) -> Vec<Sourced> {
    let mut found = Vec::new();
    if let Some(value) = overrides.get(row.setting.name) {
        found.push(Sourced {
            name: row.setting.name,
            value: value.trim().to_string(),
            factor: 1,
            source: ConfigSource::DynamicTopic,
        });
    }
    for (synonym, factor) in row.synonyms {
        for (source, value) in node.set_values(synonym) {
            found.push(Sourced { name: synonym, value: value.clone(), factor: *factor, source: *source });
        }
    }
    let last_with_default = row.synonyms.iter().rev().find_map(|(synonym, factor)| {
        let value = node_setting(synonym)?.default?;
        Some(Sourced {
            name: synonym,
            value: value.to_string(),
            factor: *factor,
            source: ConfigSource::Default,
        })
    });
    if let Some(value) = last_with_default {
        found.push(value);
    } else if let Some(value) = row.setting.default {
        found.push(Sourced {
            name: row.setting.name,
            value: value.to_string(),
            factor: 1,
            source: ConfigSource::Default,
        });
    }
    found
}

/// One source's value, in the source's own unit.
pub(super) struct Sourced {
    pub name: &'static str,
    pub value: String,
    pub factor: i64,
    pub source: ConfigSource,
}

impl Sourced {
    /// The value in the topic setting's unit.
    pub fn scaled(&self) -> String {
        match self.value.parse::<i64>() {
            // Below zero means "no limit" in every unit.
            Ok(number) if self.factor != 1 && number >= 0 => number.saturating_mul(self.factor).to_string(),
            _ => self.value.clone(),
        }
    }
}

/// The values in force for a topic with these overrides. An override that this version does not accept (metadata written by
/// another version) counts as absent.
pub fn topic_settings(node: &NodeSettings, overrides: &BTreeMap<String, String>) -> TopicSettings {
    let text = |name: &str| -> String {
        let row = known(name).expect("typed settings are in the registry");
        sources(row, node, overrides)
            .iter()
            .map(Sourced::scaled)
            .find(|value| row.setting.check(value).is_ok())
            .or(row.setting.default.map(str::to_string))
            .expect("typed settings have a default")
    };
    let whole = |name: &str| text(name).parse::<i64>().expect("checked whole number");
    let policy = text("cleanup.policy");
    let deletes = split_list(&policy).any(|word| word == "delete");
    let compact = split_list(&policy).any(|word| word == "compact");
    let limit = |name: &str| u64::try_from(whole(name)).ok().filter(|_| deletes);
    TopicSettings {
        message_bytes_max: whole("max.message.bytes") as usize,
        segment_bytes: whole("segment.bytes") as u64,
        segment_ms: whole("segment.ms") as u64,
        retention_ms: limit("retention.ms"),
        retention_bytes: limit("retention.bytes"),
        compact,
        may_delete: deletes || !compact,
        timestamp_type: match text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_ms_max: whole("message.timestamp.before.max.ms"),
        timestamp_after_ms_max: whole("message.timestamp.after.max.ms"),
        min_insync_replicas: whole("min.insync.replicas") as usize,
        compression_type: text("compression.type"),
    }
}

/// A line for the log when a topic is given a legal override that has no (full) effect.
pub fn topic_override_remark(name: &str, value: &str) -> Option<String> {
    let setting: &Setting = &known(name).ok()?.setting;
    if !setting.effect {
        Some(format!("{name} is accepted without effect. {}", setting.doc))
    } else if name == "cleanup.policy" && split_list(value).any(|word| word == "compact") {
        Some(
            "cleanup.policy names compact: every record is kept, because compaction does not exist yet"
                .to_string(),
        )
    } else {
        None
    }
}
