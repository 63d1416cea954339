//! `topic create`.

use super::Assignment;
use crate::cluster::{ClusterArgs, counted, names, pair, sentence};
use client::admin::NewTopic;
use model::ErrorCode;
use serde_json::json;

/// Make topics
#[derive(clap::Args, Debug)]
pub struct Create {
    /// Names
    #[arg(value_name = "TOPIC", required_unless_present = "topic")]
    names: Vec<String>,
    /// A name, as Kafka's tools take it
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Number of partitions; the broker's num.partitions without
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition; the broker's default.replication.factor without
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// The nodes of each partition instead, the preferred leader first: 1:2:3,2:3:1
    #[arg(long, value_name = "NODES", value_parser = super::assignment, conflicts_with_all = ["partitions", "replication_factor"])]
    replica_assignment: Option<Assignment>,
    /// A config of the topic, such as retention.ms=3600000
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// Success when a topic of that name exists already
    #[arg(long)]
    if_not_exists: bool,
    /// Only say whether it could be made
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Makes the topics.
pub async fn run(word: &Create) -> Result<(), String> {
    let client = word.cluster.client().await?;
    for name in names(&word.names, &word.topic) {
        let topic = NewTopic {
            name: name.clone(),
            partitions: word.partitions.unwrap_or(-1),
            replication_factor: word.replication_factor.unwrap_or(-1),
            assignments: word.replica_assignment.clone().map(|given| given.0).unwrap_or_default(),
            configs: word.config.clone(),
        };
        let created = match client.create_topic(&topic, word.dry_run).await {
            Ok(created) => created,
            Err(error) if word.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                let value = json!({"topic": *name, "created": false});
                word.cluster.show(&value, || format!("topic {name} exists already"));
                continue;
            }
            Err(error) => return Err(sentence(&error)),
        };
        if !word.dry_run {
            // A word that follows must find it.
            client.new_topic(&name).await.map_err(|error| sentence(&error))?;
        }
        let partitions = created.partitions.max(topic.partitions);
        let replication_factor = created.replication_factor.max(topic.replication_factor);
        let value = json!({
            "topic": *name, "created": !word.dry_run, "dry_run": word.dry_run, "id": created.id.to_string(),
            "partitions": partitions, "replication_factor": replication_factor,
        });
        word.cluster.show(&value, || {
            let verb = if word.dry_run { "could create" } else { "created" };
            format!(
                "{verb} topic {name} with {} and {}",
                counted(partitions.into(), "partition"),
                counted(replication_factor.into(), "replica")
            )
        });
    }
    Ok(())
}
