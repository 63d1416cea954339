//! `group delete`: says what will be lost and asks first.

use super::describe::{look, unknown};
use crate::caution::Caution;
use crate::cluster::{ClusterArgs, counted, names, sentence};
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
    #[command(flatten)]
    caution: Caution,
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
            "group {group}: {}, committed offsets of {}",
            seen.description.state,
            counted(seen.committed.len() as i64, "partition")
        );
        found.push(group);
    }
    let goes_on =
        word.caution.consent(&format!("delete {} for good?", counted(found.len() as i64, "group")))?;
    for group in found {
        if goes_on {
            client.delete_group(&group).await.map_err(|error| sentence(&error))?;
        }
        let value = json!({"group": *group, "deleted": goes_on, "dry_run": word.caution.dry_run});
        word.cluster.show(&value, || format!("{} group {group}", word.caution.verb()));
    }
    Ok(())
}
