//! `topic delete`: says what will be lost and asks first.

use super::create::counted;
use super::describe::ends;
use crate::cluster::{ClusterArgs, confirm, names, sentence};
use serde_json::json;

/// Delete topics with all their records
#[derive(clap::Args, Debug)]
pub struct Delete {
    /// Names
    #[arg(value_name = "TOPIC", required_unless_present = "topic")]
    names: Vec<String>,
    /// A name, as Kafka's tools take it
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Deletes the topics, after all of them have been found.
pub async fn run(word: &Delete) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let mut found = Vec::new();
    for name in names(&word.names, &word.topic) {
        let topic = client.topic(&name, false).await.map_err(|error| sentence(&error))?;
        let (starts, ends) = ends(&client, &name, &topic).await.map_err(|error| sentence(&error))?;
        let offsets: i64 =
            ends.iter().map(|(at, end)| end.offset - starts.get(at).map_or(0, |start| start.offset)).sum();
        eprintln!(
            "topic {name}: {}, about {}",
            counted(topic.partitions.len() as i64, "partition"),
            counted(offsets, "record")
        );
        found.push((name, topic.partitions.len(), offsets));
    }
    if !word.dry_run {
        confirm(&format!("delete {} for good?", counted(found.len() as i64, "topic")), word.yes)?;
    }
    for (name, partitions, records) in found {
        if !word.dry_run {
            client.delete_topic(&name).await.map_err(|error| sentence(&error))?;
        }
        let value = json!({
            "topic": *name, "deleted": !word.dry_run, "dry_run": word.dry_run,
            "partitions": partitions, "records": records,
        });
        word.cluster.show(&value, || {
            let verb = if word.dry_run { "would delete" } else { "deleted" };
            format!("{verb} topic {name}")
        });
    }
    Ok(())
}
