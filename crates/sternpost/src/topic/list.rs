//! `topic list`.

use crate::cluster::{ClusterArgs, sentence, table};
use serde_json::{Value, json};

/// List topics
#[derive(clap::Args, Debug)]
pub struct List {
    /// Leave out topics of the broker itself
    #[arg(long)]
    exclude_internal: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Lists the topics.
pub async fn run(word: &List) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let metadata = client.refresh_all().await.map_err(|error| sentence(&error))?;
    let topics: Vec<_> =
        metadata.topics.iter().filter(|(_, topic)| !(word.exclude_internal && topic.internal)).collect();
    let replicas = |topic: &client::TopicMetadata| {
        topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
    };
    let value: Vec<Value> = topics
        .iter()
        .map(|(name, topic)| {
            json!({
                "topic": ***name, "id": topic.id.to_string(), "partitions": topic.partitions.len(),
                "replication_factor": replicas(topic), "internal": topic.internal,
            })
        })
        .collect();
    word.cluster.show(&Value::from(value), || {
        let rows = topics.iter().map(|(name, topic)| {
            [name.to_string(), topic.partitions.len().to_string(), replicas(topic).to_string()]
        });
        table(["TOPIC", "PARTITIONS", "REPLICAS"], rows)
    });
    Ok(())
}
