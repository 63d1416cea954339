//! `group reset-offsets`: new committed offsets for a group without members. As in Kafka's tool nothing happens without
//! `--execute`, and an offset outside a partition becomes its nearer end.

use super::describe::look;
use super::scope::OfGroup;
use crate::cluster::{ClusterArgs, sentence, table};
use crate::moment;
use client::admin::{Member, OffsetAt};
use client::{Client, Error, TopicPartition};
use kafka::wire::Str;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Set a group's committed offsets; shows the plan unless --execute is given
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("to").required(true))]
pub struct ResetOffsets {
    #[command(flatten)]
    of: OfGroup,
    /// To the oldest record
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Behind the newest record
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To an offset
    #[arg(long, group = "to", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record of this time or later
    #[arg(long, group = "to", value_name = "TIME", value_parser = moment::timestamp)]
    to_datetime: Option<i64>,
    /// Forward by so many offsets, back with a negative number
    #[arg(long, group = "to", value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// Only show the plan (the default)
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Commit the new offsets
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Plans, shows and, if asked to, commits.
pub async fn run(word: &ResetOffsets) -> Result<(), String> {
    let group = word.of.group()?;
    let client = word.cluster.client().await?;
    let seen = look(&client, group).await.map_err(|error| sentence(&error))?;
    let members = seen.description.members.len();
    if members > 0 {
        return Err(format!(
            "group {group} has {members} member(s) that would go on where they are; stop them first"
        ));
    }
    let current: BTreeMap<TopicPartition, i64> =
        seen.committed.into_iter().map(|(at, committed)| (at, committed.offset)).collect();
    let partitions = partitions(word, &client, &current).await.map_err(|error| sentence(&error))?;
    if partitions.is_empty() {
        return Err(format!(
            "group {group} has committed nothing, so --all-topics means none; name a --topic"
        ));
    }
    let planned = plan(word, &client, &partitions, &current).await.map_err(|error| sentence(&error))?;
    if word.execute {
        client.commit_offsets(group, &Member::outside(), &planned).await.map_err(|error| sentence(&error))?;
    }
    let rows: Vec<Value> = planned
        .iter()
        .map(|(at, new)| {
            json!({
                "topic": *at.topic, "partition": at.partition,
                "current_offset": current.get(at), "new_offset": new,
            })
        })
        .collect();
    let value = json!({"group": group, "executed": word.execute, "partitions": rows});
    word.cluster.show(&value, || {
        let rows = planned.iter().map(|(at, new)| {
            let current = current.get(at).map_or("-".to_string(), ToString::to_string);
            [at.topic.to_string(), at.partition.to_string(), current, new.to_string()]
        });
        table(["TOPIC", "PARTITION", "CURRENT", "NEW"], rows)
    });
    if !word.execute {
        eprintln!("nothing was changed; --execute commits these offsets");
    }
    Ok(())
}

async fn partitions(
    word: &ResetOffsets,
    client: &Client,
    current: &BTreeMap<TopicPartition, i64>,
) -> Result<Vec<TopicPartition>, Error> {
    if word.of.all_topics {
        let mut topics: Vec<Str> = current.keys().map(|at| at.topic.clone()).collect();
        topics.dedup();
        client.refresh(&topics, false).await?;
        return Ok(current.keys().cloned().collect());
    }
    let mut partitions = Vec::new();
    for scope in &word.of.topic {
        let name = Str::from(&*scope.topic);
        let count = client.topic(&name, false).await?.partitions.len();
        if let Some(partition) = scope.partitions.iter().find(|partition| **partition as usize >= count) {
            return Err(Error::UnknownPartition { topic: name.to_string(), partition: *partition, count });
        }
        let wanted = match scope.partitions.is_empty() {
            true => (0..count as i32).collect(),
            false => scope.partitions.clone(),
        };
        partitions.extend(wanted.into_iter().map(|partition| TopicPartition::new(&name, partition)));
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

async fn plan(
    word: &ResetOffsets,
    client: &Client,
    partitions: &[TopicPartition],
    current: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    let list = |which: OffsetAt| partitions.iter().map(|at| (at.clone(), which)).collect::<Vec<_>>();
    let starts = client.list_offsets(&list(OffsetAt::Earliest)).await?;
    let ends = client.list_offsets(&list(OffsetAt::Latest)).await?;
    let at_time = match word.to_datetime {
        Some(timestamp) => client.list_offsets(&list(OffsetAt::Timestamp(timestamp))).await?,
        None => BTreeMap::new(),
    };
    let plan = partitions.iter().map(|at| {
        let (start, end) = (starts[at].offset, ends[at].offset);
        let wanted = if word.to_earliest {
            start
        } else if word.to_latest {
            end
        } else if let Some(offset) = word.to_offset {
            offset
        } else if let Some(shift) = word.shift_by {
            current.get(at).copied().unwrap_or(start).saturating_add(shift)
        } else {
            // No record is that young: the end.
            at_time.get(at).map(|listed| listed.offset).filter(|offset| *offset >= 0).unwrap_or(end)
        };
        (at.clone(), wanted.clamp(start, end.max(start)))
    });
    Ok(plan.collect())
}
