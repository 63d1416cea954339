//! Settings of topics and nodes: describe and change.

use super::Node;
use crate::catalog::CatalogCommand;
use crate::command::Command;
use crate::config::{
    check_node_override, check_topic_override, describe_node, describe_topic, node_setting, split_list,
    topic_setting_is_list,
};
use crate::event::Effect;
use crate::request::{
    AlterConfigs, AlterConfigsResponse, AlterOp, ConfigEntry, ConfigKind, ConfigResource, ConfigSource,
    DescribeConfigs, DescribeConfigsResponse, DescribedResource, Part, Refusal, Response, Token,
};
use crate::shard::Then;
use model::{ErrorCode, Now};
use std::collections::{BTreeMap, BTreeSet};

type Change = (String, AlterOp, Option<String>);

impl Node {
    pub(super) fn describe_configs(&mut self, token: Token, request: DescribeConfigs, out: &mut Vec<Effect>) {
        // A resource is described once: an answer grows with what there is, not with what is asked.
        let mut seen = BTreeSet::new();
        let describe = |(resource, names): (ConfigResource, Option<Vec<String>>)| {
            let found = match seen.insert(resource.clone()) {
                true => self.configs_of(&resource),
                false => Err(twice()),
            };
            let (refusal, mut configs) = match found {
                Ok(configs) => (Refusal::OK, configs),
                Err(refusal) => (refusal, Vec::new()),
            };
            configs.retain(|entry| names.as_ref().is_none_or(|names| names.contains(&entry.name)));
            for entry in &mut configs {
                if !request.include_synonyms {
                    entry.synonyms.clear();
                }
                if !request.include_documentation {
                    entry.documentation = None;
                }
            }
            DescribedResource { resource, refusal, configs }
        };
        let resources = request.resources.into_iter().map(describe).collect();
        self.reply(token, Response::DescribeConfigs(DescribeConfigsResponse { resources }), out);
    }

    fn configs_of(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, Refusal> {
        match resource {
            ConfigResource::Topic(name) => match self.catalog.by_name(name) {
                Some(topic) => Ok(describe_topic(&self.settings, &topic.configs)),
                None => Err(Refusal::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no topic '{name}'"),
                )),
            },
            ConfigResource::Broker(Some(node)) if *node == self.config.node => {
                Ok(describe_node(&self.settings))
            }
            ConfigResource::Broker(Some(node)) => {
                let text = format!("this node is {}, not {}", self.config.node.0, node.0);
                Err(Refusal::new(ErrorCode::InvalidRequest, text))
            }
            // What was set for all nodes, whatever this one was told for itself.
            ConfigResource::Broker(None) => {
                let none = BTreeMap::new();
                let set = self.catalog.node_configs(None).unwrap_or(&none);
                let mut entries = describe_node(&self.settings);
                entries.retain(|entry| set.contains_key(&entry.name));
                for entry in &mut entries {
                    entry.synonyms.retain(|(_, _, source)| *source != ConfigSource::DynamicBroker);
                    entry.source = ConfigSource::DynamicDefaultBroker;
                    entry.value = set.get(&entry.name).filter(|_| !entry.sensitive).cloned();
                }
                Ok(entries)
            }
            ConfigResource::Other(kind, _) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("resources of type {kind} have no settings here"),
            )),
        }
    }

    pub(super) fn altered_skeleton(request: &AlterConfigs) -> Response {
        let resources =
            request.resources.iter().map(|(resource, _)| (resource.clone(), Refusal::OK)).collect();
        Response::AlterConfigs(AlterConfigsResponse { resources })
    }

    pub(super) fn alter_configs(
        &mut self,
        now: Now,
        token: Token,
        request: AlterConfigs,
        out: &mut Vec<Effect>,
    ) {
        /// How long a change of settings may wait for its commit; the request itself names no limit.
        const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
        let mut waiting = Vec::new();
        let mut resources = Vec::with_capacity(request.resources.len());
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<&ConfigResource> =
            request.resources.iter().map(|(resource, _)| resource).filter(|it| !seen.insert(*it)).collect();
        for (resource, changes) in &request.resources {
            let checked = if repeated.contains(resource) {
                Err(twice())
            } else {
                self.altered(resource, changes, request.replace_all)
            };
            let refusal = match checked {
                Err(refusal) => refusal,
                Ok(command) => {
                    if let (ConfigResource::Topic(name), CatalogCommand::SetTopicConfigs { configs, .. }) =
                        (resource, &command)
                    {
                        self.remark(name, configs, out);
                    }
                    if !request.validate_only {
                        let part = Part { token, number: resources.len() as u32 };
                        waiting.push(part.number);
                        self.shards[0].add(Command::Catalog(command), Some(Then::Gathered(part)));
                    }
                    Refusal::OK
                }
            };
            resources.push((resource.clone(), refusal));
        }
        let response = Response::AlterConfigs(AlterConfigsResponse { resources });
        self.gather(token, response, waiting, Some(now.mono.plus(TIMEOUT)), out);
    }

    fn altered(
        &self,
        resource: &ConfigResource,
        changes: &[Change],
        replace_all: bool,
    ) -> Result<CatalogCommand, Refusal> {
        if let Some(reason) = &self.frozen {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, reason.clone()));
        }
        match resource {
            ConfigResource::Topic(name) => {
                let topic = self.catalog.by_name(name).ok_or(Refusal::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no topic '{name}'"),
                ))?;
                let before = if replace_all { BTreeMap::new() } else { topic.configs.clone() };
                let in_force = |name: &str| {
                    let entries = describe_topic(&self.settings, &topic.configs);
                    entries.into_iter().find(|entry| entry.name == name).and_then(|entry| entry.value)
                };
                let configs = changed(
                    before,
                    changes,
                    replace_all,
                    topic_setting_is_list,
                    check_topic_override,
                    in_force,
                )?;
                Ok(CatalogCommand::SetTopicConfigs { id: topic.id, configs })
            }
            ConfigResource::Broker(node) => {
                if let Some(other) = node.filter(|node| !self.config.voters.contains(node)) {
                    let text = format!("there is no node {} in this cluster", other.0);
                    return Err(Refusal::new(ErrorCode::InvalidRequest, text));
                }
                let before =
                    self.catalog.node_configs(*node).filter(|_| !replace_all).cloned().unwrap_or_default();
                let is_list =
                    |name: &str| node_setting(name).is_some_and(|setting| setting.kind == ConfigKind::List);
                let in_force = |name: &str| self.settings.value(name).map(str::to_owned);
                let configs = changed(before, changes, replace_all, is_list, check_node_override, in_force)?;
                Ok(CatalogCommand::SetNodeConfigs { node: *node, configs })
            }
            ConfigResource::Other(kind, _) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("resources of type {kind} have no settings here"),
            )),
        }
    }
}

fn twice() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "the resource is named twice in one request")
}

/// The whole set after the changes, each of them checked. Without a value a setting is left out when the set is
/// replaced; a single change must delete it in so many words (as Kafka has it).
fn changed(
    mut configs: BTreeMap<String, String>,
    changes: &[Change],
    replace_all: bool,
    is_list: impl Fn(&str) -> bool,
    check: impl Fn(&str, &str) -> Result<(), String>,
    in_force: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let refuse = |why: String| Refusal::new(ErrorCode::InvalidConfig, why);
    let mut seen = BTreeSet::new();
    for (name, op, value) in changes {
        if !seen.insert(name.as_str()) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("{name} is named twice in one request"),
            ));
        }
        let value = match (op, value) {
            (AlterOp::Delete, _) => {
                configs.remove(name);
                continue;
            }
            (AlterOp::Set, None) if replace_all => continue,
            (_, None) => {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("a change of {name} needs a value; delete it to go back to the default"),
                ));
            }
            (AlterOp::Set, Some(value)) => value.clone(),
            (AlterOp::Append | AlterOp::Subtract, Some(_)) if !is_list(name) => {
                return Err(refuse(format!("{name} is no list: set it instead")));
            }
            (op, Some(value)) => {
                let before = configs.get(name).cloned().or_else(|| in_force(name)).unwrap_or_default();
                let mut words: Vec<&str> = split_list(&before).collect();
                if *op == AlterOp::Append {
                    let new: Vec<&str> = split_list(value).filter(|word| !words.contains(word)).collect();
                    words.extend(new);
                } else {
                    words.retain(|word| !split_list(value).any(|gone| gone == *word));
                }
                words.join(",")
            }
        };
        check(name, &value).map_err(refuse)?;
        configs.insert(name.clone(), value);
    }
    Ok(configs)
}
