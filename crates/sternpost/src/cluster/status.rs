//! `cluster status`: nodes, partitions and quorum of any Kafka cluster, whether it is healthy, and whether a node may be taken down.

use super::health::{Cluster, Node, Partition};
use super::{ClusterArgs, catching_up, counted, sentence, table};
use client::admin::Quorum;
use client::{Client, Metadata};
use kafka::wire::Str;
use std::collections::{BTreeMap, BTreeSet};

/// What Kafka takes when a topic does not tell its `min.insync.replicas`.
const IN_SYNC_MIN: usize = 1;

/// Show nodes, partitions and quorum, and whether the next node may be taken down
#[derive(clap::Args, Debug)]
pub struct Status {
    /// Fail (exit code 1) unless any one node may be taken down, instead of unless the cluster is healthy
    #[arg(long)]
    safe_to_stop: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Shows the status.
///
/// # Errors
/// The cluster cannot be asked, is not healthy, or (`--safe-to-stop`) needs all its nodes.
pub async fn run(word: &Status) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let seen = look(&client).await?;
    word.cluster.show(&seen.as_json(), || as_text(&seen));
    if word.safe_to_stop {
        return match seen.all_must_stay() {
            Some(why) => Err(format!("not safe to take the next node down: {why}")),
            None => Ok(()),
        };
    }
    match seen.ills().as_slice() {
        [] => Ok(()),
        ills => Err(format!("the cluster is not healthy: {}", ills.join("; "))),
    }
}

async fn look(client: &Client) -> Result<Cluster, String> {
    let said = |error: client::Error| sentence(&error);
    let described = client.describe_cluster().await.map_err(said)?;
    let metadata = client.refresh_all().await.map_err(said)?;
    let quorum = client.describe_quorum().await.map_err(said)?;
    let names: Vec<Str> = metadata.topics.keys().cloned().collect();
    let minima = client.config_of_topics(&names, "min.insync.replicas").await.map_err(said)?;
    let partitions = partitions(&metadata, &minima);
    let listed = described.brokers.iter().map(|broker| broker.id).collect();
    let mut nodes = absent_nodes(&listed, &partitions, quorum.as_ref());
    for broker in &described.brokers {
        let unreachable = client.reach(&broker.address).await.err().map(|error| error.to_string());
        let address = Some(broker.address.to_string());
        nodes.insert(broker.id, Node { address, rack: broker.rack.clone(), unreachable });
    }
    let controller = Some(described.controller_id).filter(|id| *id >= 0);
    let catching_up = catching_up::look(client, &described.brokers, &metadata).await;
    let (id, topics) = (described.cluster_id, names.len());
    Ok(Cluster { id, controller, nodes, topics, partitions, quorum, catching_up })
}

fn partitions(metadata: &Metadata, minima: &BTreeMap<Str, Option<String>>) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for (name, topic) in &metadata.topics {
        let minimum = minima.get(name).and_then(|value| value.as_ref()?.parse().ok());
        partitions.extend(topic.partitions.iter().map(|partition| Partition {
            name: format!("{name}-{}", partition.partition),
            leader: Some(partition.leader).filter(|id| *id >= 0),
            replicas: partition.replicas.iter().copied().collect(),
            in_sync: partition.isr.iter().copied().collect(),
            in_sync_min: minimum.unwrap_or(IN_SYNC_MIN),
        }));
    }
    partitions
}

/// Nodes that have replicas or a vote and are away, unless the cluster lists them after all. Voters that are all unlisted are
/// controllers of their own (Kafka's isolated mode): clients never reach them, and they are no nodes of this list.
fn absent_nodes(
    listed: &BTreeSet<i32>,
    partitions: &[Partition],
    quorum: Option<&Quorum>,
) -> BTreeMap<i32, Node> {
    let replicas = partitions.iter().flat_map(|partition| partition.replicas.iter().copied());
    let voters: Vec<i32> =
        quorum.into_iter().flat_map(|quorum| &quorum.voters).map(|voter| voter.id).collect();
    let voters_serve = voters.iter().any(|id| listed.contains(id));
    let voters = voters.into_iter().filter(|_| voters_serve);
    let absent =
        |id| (id, Node { unreachable: Some("the cluster does not list it".to_owned()), ..Node::default() });
    replicas.chain(voters).filter(|id| !listed.contains(id)).map(absent).collect()
}

fn as_text(seen: &Cluster) -> String {
    let controller = seen.controller.map_or("none".to_owned(), |id| id.to_string());
    let yes = |is_so: bool| if is_so { "yes".to_owned() } else { "no".to_owned() };
    let rows = seen.nodes.iter().map(|(id, node)| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            id.to_string(),
            text(&node.address),
            text(&node.rack),
            yes(node.unreachable.is_none()),
            seen.leads(*id).to_string(),
            yes(seen.must_stay(*id).is_none()),
        ]
    });
    let nodes = table(["NODE", "ADDRESS", "RACK", "REACHABLE", "LEADS", "SAFE TO STOP"], rows);
    let counts = seen.counts();
    let total = |count: usize, noun| counted(i64::try_from(count).unwrap_or(i64::MAX), noun);
    let mut text = format!("cluster {}, controller {controller}\n\n{nodes}\n\n", seen.id);
    text += &format!(
        "{}, {}: {} without a leader, {} under-replicated, {} under min.insync.replicas, {} at it\n",
        total(seen.topics, "topic"),
        total(seen.partitions.len(), "partition"),
        counts.leaderless,
        counts.under_replicated,
        counts.under_min_isr,
        counts.at_min_isr,
    );
    if let Some(quorum) = &seen.quorum {
        let lag = |end: i64| (quorum.high_watermark - end).max(0);
        let voters = quorum.voters.iter().map(|it| format!("{} (lag {})", it.id, lag(it.log_end_offset)));
        let voters = voters.collect::<Vec<_>>().join(", ");
        text += &format!("metadata quorum led by {}: voters {voters}\n", quorum.leader_id);
        for it in &quorum.observers {
            let disk = it.directory.map_or("-".to_owned(), |directory| directory.to_string());
            text += &format!("without a vote: disk {disk} of node {}\n", it.id);
        }
    }
    seen.catching_up.iter().for_each(|it| text += &format!("{}\n", it.as_text()));
    let ills = seen.ills();
    text += &format!("healthy: {}\n", yes(ills.is_empty()));
    ills.iter().for_each(|ill| text += &format!("- {ill}\n"));
    text + &match seen.all_must_stay() {
        None => "safe to take the next node down: yes".to_owned(),
        Some(why) => format!("safe to take the next node down: no ({why})"),
    }
}
