//! `group delete`: says what will be lost and asks first.

use super::describe::{look, unknown};
use crate::cluster::{ClusterArgs, confirm, names, sentence};
use serde_json::json;

/// Delete groups without members, with their committed offsets
#[derive(clap::Args, Debug)]
pub struct Delete {
    /// Names
    #[arg(value_name = "GROUP", required_unless_present = "group")]
    names: Vec<String>,
    /// A name, as Kafka's tools take it
    #[arg(short, long, value_name = "GROUP")]
    group: Vec<String>,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Deletes the groups, after all of them have been found.
pub async fn run(word: &Delete) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let mut found = Vec::new();
    for group in names(&word.names, &word.group) {
        let seen = look(&client, &group).await.map_err(|error| sentence(&error))?;
        if !seen.exists() {
            return Err(unknown(&group));
        }
        eprintln!(
            "group {group}: {}, committed offsets of {} partitions",
            seen.description.state,
            seen.committed.len()
        );
        found.push(group);
    }
    if !word.dry_run {
        confirm(&format!("delete {} group(s) for good?", found.len()), word.yes)?;
    }
    for group in found {
        if !word.dry_run {
            client.delete_group(&group).await.map_err(|error| sentence(&error))?;
        }
        let value = json!({"group": *group, "deleted": !word.dry_run, "dry_run": word.dry_run});
        word.cluster.show(&value, || {
            let verb = if word.dry_run { "would delete" } else { "deleted" };
            format!("{verb} group {group}")
        });
    }
    Ok(())
}
