//! `topic alter`: more partitions, other configs.

use super::Assignment;
use crate::cluster::{ClusterArgs, counted, pair, sentence};
use kafka::wire::Str;
use serde_json::json;

/// Change a topic's configs or raise its number of partitions
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct Alter {
    /// Name
    #[arg(value_name = "TOPIC", required_unless_present = "topic", conflicts_with = "topic")]
    name: Option<String>,
    /// The name, as Kafka's tools take it
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Number of partitions from now on; it can only grow, and keys go elsewhere then
    #[arg(short, long, group = "change", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// The nodes of each partition that there is then, the preferred leader first: 1:2:3,2:3:1. What it says of those that exist
    /// already has no effect
    #[arg(long, value_name = "NODES", value_parser = super::assignment, requires = "partitions")]
    replica_assignment: Option<Assignment>,
    /// A config to set
    #[arg(short, long, group = "change", value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// A config to put back to its default
    #[arg(long, group = "change", value_name = "NAME")]
    delete_config: Vec<String>,
    /// Only say whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Alters the topic: all or, when the broker refuses, nothing of the configs.
pub async fn run(word: &Alter) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let name = word.name.as_ref().or(word.topic.as_ref()).map(|name| Str::from(&**name));
    let name = name.ok_or("a topic's name is wanted")?;
    let topic = client.topic(&name, false).await.map_err(|error| sentence(&error))?;
    let assignments = match (&word.replica_assignment, word.partitions) {
        (Some(Assignment(given)), Some(count)) if given.len() != count as usize => {
            return Err(format!(
                "--replica-assignment names the nodes of {}, but --partitions says {count}",
                counted(given.len() as i64, "partition")
            ));
        }
        (given, _) => given.as_ref().map(|given| given.0.get(topic.partitions.len()..).unwrap_or_default()),
    };
    let mut done = Vec::new();
    if !word.config.is_empty() || !word.delete_config.is_empty() {
        client
            .alter_topic_configs(&name, &word.config, &word.delete_config, word.dry_run)
            .await
            .map_err(|error| sentence(&error))?;
        done.extend(word.config.iter().map(|(name, value)| format!("{name}={value}")));
        done.extend(word.delete_config.iter().map(|name| format!("{name} at its default")));
    }
    if let Some(count) = word.partitions {
        client
            .create_partitions(&name, count, assignments, word.dry_run)
            .await
            .map_err(|error| sentence(&error))?;
        done.push(format!("{count} partitions"));
    }
    let value = json!({"topic": *name, "altered": !word.dry_run, "dry_run": word.dry_run, "changes": done});
    word.cluster.show(&value, || {
        let verb = if word.dry_run { "could alter" } else { "altered" };
        format!("{verb} topic {name}: {}", done.join(", "))
    });
    Ok(())
}
