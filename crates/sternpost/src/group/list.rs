//! `group list`.

use crate::cluster::{ClusterArgs, sentence, table};
use serde_json::{Value, json};

/// List groups
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Lists the groups of all brokers.
pub async fn run(word: &List) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let groups = client.list_groups().await.map_err(|error| sentence(&error))?;
    let value: Vec<Value> = groups
        .iter()
        .map(
            |group| json!({"group": group.group, "protocol_type": group.protocol_type, "state": group.state}),
        )
        .collect();
    word.cluster.show(&Value::from(value), || {
        let rows = groups.iter().map(|group| [group.group.clone(), group.state.clone()]);
        table(["GROUP", "STATE"], rows)
    });
    Ok(())
}
