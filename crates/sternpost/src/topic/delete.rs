//! `topic delete`: says what will be lost and asks first.

use super::describe::ends;
use crate::caution::Caution;
use crate::cluster::{ClusterArgs, counted, names, sentence};
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
    #[command(flatten)]
    caution: Caution,
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
    let goes_on =
        word.caution.consent(&format!("delete {} for good?", counted(found.len() as i64, "topic")))?;
    for (name, partitions, records) in found {
        if goes_on {
            client.delete_topic(&name).await.map_err(|error| sentence(&error))?;
        }
        let value = json!({
            "topic": *name, "deleted": goes_on, "dry_run": word.caution.dry_run,
            "partitions": partitions, "records": records,
        });
        word.cluster.show(&value, || format!("{} topic {name}", word.caution.verb()));
    }
    Ok(())
}
