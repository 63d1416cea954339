//! `topic describe`: partitions with leaders, replicas and offsets; configs with their sources.

use crate::cluster::{ClusterArgs, names, sentence, table};
use client::admin::{ConfigEntry, ConfigSource, ListedOffset, OffsetAt};
use client::{Client, Error, TopicMetadata, TopicPartition};
use kafka::wire::Str;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Describe topics: partitions, offsets, configs
#[derive(clap::Args, Debug)]
pub struct Describe {
    /// Names; all topics without
    #[arg(value_name = "TOPIC")]
    names: Vec<String>,
    /// A name, as Kafka's tools take it
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Show configs at their defaults too
    #[arg(long)]
    all_configs: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

type Offsets = BTreeMap<TopicPartition, ListedOffset>;

/// Start and end of every partition that has a leader.
pub async fn ends(client: &Client, name: &Str, topic: &TopicMetadata) -> Result<(Offsets, Offsets), Error> {
    let list = |which: OffsetAt| {
        let led = topic.partitions.iter().filter(|partition| partition.leader >= 0);
        led.map(|partition| (TopicPartition::new(name, partition.partition), which)).collect::<Vec<_>>()
    };
    Ok((
        client.list_offsets(&list(OffsetAt::Earliest)).await?,
        client.list_offsets(&list(OffsetAt::Latest)).await?,
    ))
}

/// Describes the topics.
pub async fn run(word: &Describe) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let mut wanted = names(&word.names, &word.topic);
    let metadata = match wanted.is_empty() {
        true => client.refresh_all().await,
        false => client.refresh(&wanted, false).await,
    }
    .map_err(|error| sentence(&error))?;
    if wanted.is_empty() {
        wanted = metadata.topics.keys().cloned().collect();
    }
    let mut values = Vec::new();
    let mut texts = Vec::new();
    for name in &wanted {
        let topic = metadata
            .topics
            .get(name)
            .filter(|topic| topic.error_code == 0)
            .ok_or_else(|| sentence(&Error::UnknownTopic(name.to_string())))?;
        let (starts, latest) = ends(&client, name, topic).await.map_err(|error| sentence(&error))?;
        let mut configs = client.topic_configs(name).await.map_err(|error| sentence(&error))?;
        configs.retain(|config| word.all_configs || config.source == ConfigSource::Topic);
        values.push(as_json(name, topic, &starts, &latest, &configs));
        texts.push(as_text(name, topic, &starts, &latest, &configs));
    }
    word.cluster.show(&Value::from(values), || texts.join("\n\n"));
    Ok(())
}

fn as_json(
    name: &Str,
    topic: &TopicMetadata,
    starts: &Offsets,
    ends: &Offsets,
    configs: &[ConfigEntry],
) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|partition| {
            let at = TopicPartition::new(name, partition.partition);
            json!({
                "partition": partition.partition, "leader": partition.leader,
                "leader_epoch": partition.leader_epoch, "replicas": partition.replicas, "isr": partition.isr,
                "log_start_offset": starts.get(&at).map(|listed| listed.offset),
                "end_offset": ends.get(&at).map(|listed| listed.offset),
            })
        })
        .collect();
    let configs: Vec<Value> = configs
        .iter()
        .map(|config| json!({"name": config.name, "value": config.value, "source": config.source.name()}))
        .collect();
    json!({
        "topic": **name, "id": topic.id.to_string(), "internal": topic.internal,
        "partitions": partitions, "configs": configs,
    })
}

fn as_text(
    name: &Str,
    topic: &TopicMetadata,
    starts: &Offsets,
    ends: &Offsets,
    configs: &[ConfigEntry],
) -> String {
    let ids = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let offset = |offsets: &Offsets, at: &TopicPartition| {
        offsets.get(at).map_or("-".to_string(), |listed| listed.offset.to_string())
    };
    let rows = topic.partitions.iter().map(|partition| {
        let at = TopicPartition::new(name, partition.partition);
        let leader = if partition.leader < 0 { "none".to_string() } else { partition.leader.to_string() };
        [
            partition.partition.to_string(),
            leader,
            ids(&partition.replicas),
            ids(&partition.isr),
            offset(starts, &at),
            offset(ends, &at),
        ]
    });
    let mut text = format!("topic {name} (id {})\n", topic.id);
    for config in configs {
        let value = config.value.as_deref().unwrap_or("(hidden)");
        text += &format!("config {}={value} ({})\n", config.name, config.source.name());
    }
    text + &table(["PARTITION", "LEADER", "REPLICAS", "ISR", "START", "END"], rows)
}
