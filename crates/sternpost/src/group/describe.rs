//! `group describe`: committed offsets with lag, and who reads which partition.

use crate::cluster::{ClusterArgs, names, sentence, table};
use client::admin::{CommittedOffset, GroupDescription, GroupMember, ListedOffset, OffsetAt};
use client::{Client, Error, TopicPartition};
use kafka::wire::Str;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Describe groups: members, committed offsets, lag
#[derive(clap::Args, Debug)]
pub struct Describe {
    /// Names
    #[arg(value_name = "GROUP", required_unless_present = "group")]
    names: Vec<String>,
    /// A name, as Kafka's tools take it
    #[arg(short, long, value_name = "GROUP")]
    group: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A group as `describe` and `reset-offsets` see it.
pub struct Seen {
    /// Members and state.
    pub description: GroupDescription,
    /// Committed offsets.
    pub committed: BTreeMap<TopicPartition, CommittedOffset>,
}

/// Looks a group up.
pub async fn look(client: &Client, group: &str) -> Result<Seen, Error> {
    let description = client.describe_group(group).await?;
    let committed = client.committed_offsets(group, None).await?;
    Ok(Seen { description, committed })
}

impl Seen {
    /// Whether the cluster knows the group at all.
    pub fn exists(&self) -> bool {
        self.description.state != "Dead" || !self.committed.is_empty()
    }
}

/// The sentence for a group that nobody knows.
pub fn unknown(group: &str) -> String {
    format!("group {group} does not exist; `sternpost group list` shows those that do")
}

struct Row<'a> {
    at: TopicPartition,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<&'a GroupMember>,
}

impl Row<'_> {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

/// Describes the groups.
pub async fn run(word: &Describe) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let mut values = Vec::new();
    let mut texts = Vec::new();
    for group in names(&word.names, &word.group) {
        let seen = look(&client, &group).await.map_err(|error| sentence(&error))?;
        if !seen.exists() {
            return Err(unknown(&group));
        }
        let mut readers: BTreeMap<TopicPartition, Option<&GroupMember>> =
            seen.committed.keys().map(|at| (at.clone(), None)).collect();
        for member in &seen.description.members {
            readers.extend(member.partitions.iter().map(|at| (at.clone(), Some(member))));
        }
        let ends = known_ends(&client, readers.keys()).await.map_err(|error| sentence(&error))?;
        let rows: Vec<Row> = readers
            .into_iter()
            .map(|(at, member)| Row {
                committed: seen.committed.get(&at).map(|committed| committed.offset),
                end: ends.get(&at).map(|listed| listed.offset),
                member,
                at,
            })
            .collect();
        values.push(as_json(&seen.description, &rows));
        texts.push(as_text(&seen.description, &rows));
    }
    word.cluster.show(&Value::from(values), || texts.join("\n\n"));
    Ok(())
}

/// Ends of the partitions that still exist.
async fn known_ends(
    client: &Client,
    partitions: impl Iterator<Item = &TopicPartition>,
) -> Result<BTreeMap<TopicPartition, ListedOffset>, Error> {
    let partitions: Vec<&TopicPartition> = partitions.collect();
    let mut topics: Vec<Str> = partitions.iter().map(|at| at.topic.clone()).collect();
    topics.dedup();
    let metadata = client.refresh(&topics, false).await?;
    let led: Vec<_> = partitions
        .into_iter()
        .filter(|at| metadata.leader(at).is_some())
        .map(|at| (at.clone(), OffsetAt::Latest))
        .collect();
    client.list_offsets(&led).await
}

fn as_json(group: &GroupDescription, rows: &[Row]) -> Value {
    let partitions: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "topic": *row.at.topic, "partition": row.at.partition, "committed_offset": row.committed,
                "end_offset": row.end, "lag": row.lag(),
                "member_id": row.member.map(|member| &member.member_id),
            })
        })
        .collect();
    let members: Vec<Value> = group
        .members
        .iter()
        .map(|member| {
            json!({
                "member_id": member.member_id, "instance_id": member.instance_id,
                "client_id": member.client_id, "host": member.host,
            })
        })
        .collect();
    json!({
        "group": group.group, "state": group.state, "protocol_type": group.protocol_type,
        "assignor": group.assignor, "coordinator": group.coordinator,
        "members": members, "partitions": partitions,
    })
}

fn as_text(group: &GroupDescription, rows: &[Row]) -> String {
    let shown = |number: Option<i64>| number.map_or("-".to_string(), |number| number.to_string());
    let table = table(
        ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "HOST"],
        rows.iter().map(|row| {
            [
                row.at.topic.to_string(),
                row.at.partition.to_string(),
                shown(row.committed),
                shown(row.end),
                shown(row.lag()),
                row.member.map_or("-".to_string(), |member| member.member_id.clone()),
                row.member.map_or("-".to_string(), |member| member.host.clone()),
            ]
        }),
    );
    let members = group.members.len();
    let s = if members == 1 { "" } else { "s" };
    format!(
        "group {} ({}, {members} member{s}, coordinator {})\n{table}",
        group.group, group.state, group.coordinator
    )
}
