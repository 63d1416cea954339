//! `group delete-offsets`: forgets what a group has committed in topics that it does not read. Says what will be lost and
//! asks first.

use super::describe::{look, unknown};
use super::scope::OfGroup;
use crate::caution::Caution;
use crate::cluster::{ClusterArgs, counted, sentence, table};
use client::TopicPartition;
use model::ErrorCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Delete committed offsets of a group, in topics that none of its members reads
#[derive(clap::Args, Debug)]
pub struct DeleteOffsets {
    #[command(flatten)]
    of: OfGroup,
    #[command(flatten)]
    caution: Caution,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Deletes the offsets, after they have been shown.
pub async fn run(word: &DeleteOffsets) -> Result<(), String> {
    let group = word.of.group()?;
    let client = word.cluster.client().await?;
    let seen = look(&client, group).await.map_err(|error| sentence(&error))?;
    if !seen.exists() {
        return Err(unknown(group));
    }
    let is_meant =
        |at: &TopicPartition| word.of.all_topics || word.of.topic.iter().any(|scope| scope.holds(at));
    let offsets: BTreeMap<TopicPartition, i64> =
        seen.committed.iter().filter(|(at, _)| is_meant(at)).map(|(at, c)| (at.clone(), c.offset)).collect();
    if offsets.is_empty() {
        return Err(format!(
            "group {group} has committed nothing there; `sternpost group describe` shows what it has"
        ));
    }
    let count = counted(offsets.len() as i64, "partition");
    eprintln!("group {group}: {}, committed offsets of {count}", seen.description.state);
    let results = if word.caution.consent(&format!("delete the offsets of {count} for good?"))? {
        let partitions: Vec<TopicPartition> = offsets.keys().cloned().collect();
        client.delete_offsets(group, &partitions).await.map_err(|error| sentence(&error))?
    } else {
        BTreeMap::new()
    };
    let verdict = |at: &TopicPartition| match results.get(at) {
        None => word.caution.verb(),
        Some(ErrorCode::None) => word.caution.verb(),
        Some(code) => code.name(),
    };
    let rows = offsets.iter().map(|(at, offset)| {
        let code = results.get(at).copied();
        json!({
            "topic": *at.topic, "partition": at.partition, "offset": offset,
            "deleted": code == Some(ErrorCode::None),
            "error": code.filter(|code| !code.is_none()).map(ErrorCode::name),
        })
    });
    let rows: Vec<Value> = rows.collect();
    let value = json!({"group": group, "dry_run": word.caution.dry_run, "partitions": rows});
    word.cluster.show(&value, || {
        let rows = offsets.iter().map(|(at, offset)| {
            [at.topic.to_string(), at.partition.to_string(), offset.to_string(), verdict(at).to_string()]
        });
        table(["TOPIC", "PARTITION", "OFFSET", "RESULT"], rows)
    });
    match results.values().find(|code| !code.is_none()) {
        None => Ok(()),
        Some(ErrorCode::GroupSubscribedToTopic) => {
            Err(format!("members of group {group} read what stays; stop them first"))
        }
        Some(code) => Err(format!("not every offset of group {group} was deleted: {code}")),
    }
}
