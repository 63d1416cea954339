//! `cluster replace-node`: a node's disk is lost for good, and the empty one with which the node waits takes its place.

use super::catching_up::{self, CatchingUp};
use super::{ClusterArgs, sentence};
use crate::caution::Caution;
use client::Client;
use client::admin::{Quorum, Voter};
use kafka::wire::Uuid;
use serde_json::json;
use std::time::{Duration, Instant};

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// `--wait` gives up when nothing has come for so long.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// Give a node's place to the empty disk with which it waits
///
/// A node that starts on an empty data directory in a cluster that knows another one of it takes no part: were its old disk only
/// mounted late, what that one had acknowledged would be forgotten. This is the word that the old disk is lost for good. The new one
/// gets everything from the other nodes, and votes once it has all. Should the old one come back, it is emptied.
#[derive(clap::Args, Debug)]
pub struct ReplaceNode {
    /// The node's id
    #[arg(value_name = "NODE")]
    node: i32,
    /// Come back when the new disk has everything and votes, and tell on stderr how far it is
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    caution: Caution,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What is to be done.
struct Plan {
    lost: Option<Uuid>,
    fresh: Uuid,
}

/// Replaces the disk.
///
/// # Errors
/// One clear sentence; nothing has changed then, or (lost connection) as `cluster status` shows.
pub async fn run(word: &ReplaceNode) -> Result<(), String> {
    let client = word.cluster.client().await?;
    let Plan { lost, fresh } = plan(&quorum(&client).await?, word.node)?;
    let (node, name) = (word.node, |disk: Option<Uuid>| disk.map_or("-".to_owned(), |disk| disk.to_string()));
    let place = match lost {
        Some(lost) => format!("disk {fresh} of node {node} takes the place of disk {lost}"),
        None => format!("disk {fresh} of node {node} takes the place of the one before"),
    };
    let question = format!("{place}, which is lost for good then: what is on it alone too. Go on?");
    let consents = word.caution.consent(&question)?;
    if consents {
        client.remove_voter(node, lost).await.map_err(|error| sentence(&error))?;
    }
    let took = match consents && word.wait {
        true => Some(wait(&client, node, fresh).await?),
        false => None,
    };
    let said = json!({
        "node": node, "disk": fresh.to_string(), "replaced_disk": name(lost), "dry_run": !consents,
        "seconds": took.map(|took| took.as_secs_f64()),
    });
    word.cluster.show(&said, || match took {
        Some(took) => format!("{place}; after {} s it has everything and votes", took.as_secs()),
        None if consents => format!("{place}; `sternpost cluster status` shows how far it is"),
        None => format!("dry run, nothing has changed: {place}"),
    });
    Ok(())
}

/// Waits until the disk has everything and votes; says how long that took. Nothing depends on somebody waiting.
async fn wait(client: &Client, node: i32, fresh: Uuid) -> Result<Duration, String> {
    let began = Instant::now();
    let (mut first, mut last, mut moved) = (None, None, began);
    loop {
        let described = client.describe_cluster().await.map_err(|error| sentence(&error))?;
        let metadata = client.refresh_all().await.map_err(|error| sentence(&error))?;
        let behind = catching_up::look(client, &described.brokers, &metadata).await;
        let behind = behind.into_iter().find(|it| it.node == node);
        let quorum = quorum(client).await?;
        let votes = quorum.voters.iter().any(|voter| (voter.id, voter.directory) == (node, Some(fresh)));
        if votes
            && !catching_up::is_behind(&metadata, node)
            && !quorum.observers.iter().any(|disk| disk.id == node)
        {
            return Ok(began.elapsed());
        }
        if behind != last {
            moved = Instant::now();
        } else if moved.elapsed() > STALLED_MAX {
            return Err(format!(
                "nothing has come to node {node} for {} s; it goes on when it can: `sternpost cluster status` shows how far it is",
                STALLED_MAX.as_secs()
            ));
        }
        if let Some(now) = behind.filter(|_| behind != last) {
            let first: &CatchingUp = first.get_or_insert(now);
            let rest = now.rest(now.bytes.saturating_sub(first.bytes), began.elapsed());
            let rest = rest.map_or(String::new(), |rest| format!(", about {} s left", rest.as_secs()));
            eprintln!("{}{rest}", now.as_text());
        }
        last = behind;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn quorum(client: &Client) -> Result<Quorum, String> {
    let quorum = client.describe_quorum().await.map_err(|error| sentence(&error))?;
    quorum.ok_or_else(|| "this cluster tells nothing of its quorum".to_owned())
}

/// Who waits for the node's place, and who has it.
fn plan(quorum: &Quorum, node: i32) -> Result<Plan, String> {
    let of_node = |voters: &[Voter]| voters.iter().find(|voter| voter.id == node).cloned();
    let Some(voter) = of_node(&quorum.voters) else {
        let ids: Vec<String> = quorum.voters.iter().map(|voter| voter.id.to_string()).collect();
        return Err(format!("there is no node {node}; this cluster's are {}", ids.join(", ")));
    };
    match of_node(&quorum.observers).map(|waits| waits.directory) {
        Some(Some(fresh)) => Ok(Plan { lost: voter.directory, fresh }),
        _ => Err(format!(
            "no disk of node {node} waits for its place: start the node on an empty data directory first, then say this again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(of: i32, directory: Option<u128>) -> Voter {
        let directory = directory.map(Uuid::from);
        Voter { id: of, directory, log_end_offset: 0, last_caught_up_ms: -1 }
    }

    #[test]
    fn only_a_disk_that_waits_takes_a_place() {
        let mut quorum = Quorum {
            leader_id: 1,
            leader_epoch: 1,
            high_watermark: 0,
            voters: vec![disk(1, Some(11)), disk(2, None)],
            observers: vec![disk(1, Some(12))],
        };
        let planned = plan(&quorum, 1).ok().map(|plan| (plan.lost, plan.fresh));
        assert_eq!(planned, Some((Some(Uuid::from(11)), Uuid::from(12))));
        let said = |quorum: &Quorum, node| plan(quorum, node).err().unwrap_or_default();
        assert!(said(&quorum, 2).contains("start the node on an empty data directory"));
        assert_eq!(said(&quorum, 3), "there is no node 3; this cluster's are 1, 2");
        quorum.observers.push(disk(2, Some(13)));
        let planned = plan(&quorum, 2).ok().map(|plan| (plan.lost, plan.fresh));
        assert_eq!(planned, Some((None, Uuid::from(13))), "no disk was named before it was lost");
    }
}
