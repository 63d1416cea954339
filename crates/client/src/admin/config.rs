//! Configs of topics: read with their sources, changed one by one.

use kafka::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka::wire::Str;

use super::topic::only;
use super::words;
use crate::{Client, Error};

pub(super) const RESOURCE_TOPIC: i8 = 2;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on the broker, in whichever way.
    Broker,
    /// The default.
    Default,
    /// A number this client does not know.
    Unknown(i8),
}

impl ConfigSource {
    fn from_code(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2..=4 => ConfigSource::Broker,
            5 => ConfigSource::Default,
            other => ConfigSource::Unknown(other),
        }
    }

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Topic => "topic",
            ConfigSource::Broker => "broker",
            ConfigSource::Default => "default",
            ConfigSource::Unknown(_) => "unknown",
        }
    }
}

/// A config with its value.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// Name.
    pub name: String,
    /// Value; none when it is sensitive or null.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub read_only: bool,
}

impl Client {
    /// All configs of a topic.
    pub async fn topic_configs(&self, name: &Str) -> Result<Vec<ConfigEntry>, Error> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name.clone(),
                configuration_keys: None,
            }],
            ..Default::default()
        };
        let what = format!("read the configs of topic {name}");
        self.retried(|| async {
            let (broker, answer) = self.ask_any(&request).await?;
            let result = only(answer.results, &broker, "DescribeConfigs")?;
            if result.error_code != 0 {
                return Err(Error::refused(&what, &broker, result.error_code, words(result.error_message)));
            }
            let entries = result.configs.into_iter().map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                source: ConfigSource::from_code(config.config_source),
                read_only: config.read_only,
            });
            Ok(entries.collect())
        })
        .await
    }

    /// Sets and removes configs of a topic; all or none.
    pub async fn alter_topic_configs(
        &self,
        name: &Str,
        set: &[(String, String)],
        remove: &[String],
        validate_only: bool,
    ) -> Result<(), Error> {
        let set = set.iter().map(|(name, value)| AlterableConfig {
            name: Str::from(&**name),
            config_operation: OPERATION_SET,
            value: Some(Str::from(&**value)),
        });
        let remove = remove.iter().map(|name| AlterableConfig {
            name: Str::from(&**name),
            config_operation: OPERATION_DELETE,
            value: None,
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name.clone(),
                configs: set.chain(remove).collect(),
            }],
            validate_only,
        };
        let what = format!("alter the configs of topic {name}");
        self.retried(|| async {
            let (broker, answer) = self.ask_controller(&request).await?;
            let result = only(answer.responses, &broker, "IncrementalAlterConfigs")?;
            match result.error_code {
                0 => Ok(()),
                code => Err(Error::refused(&what, &broker, code, words(result.error_message))),
            }
        })
        .await
    }
}
