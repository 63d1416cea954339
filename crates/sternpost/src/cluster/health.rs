//! Is a cluster healthy, and may a node be taken down? Judged from what any client can see, so that it holds for every cluster that
//! speaks Kafka's protocol: partitions with their replicas in sync, nodes that can be reached, the metadata quorum.

use super::catching_up::CatchingUp;
use client::admin::{Quorum, Voter};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A voter that had everything so recently keeps up, ms.
const CAUGHT_UP_WITHIN_MS: i64 = 10_000;
/// Partitions that a sentence names; the others are counted.
const NAMED_MAX: usize = 3;

/// A node as it was found.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Where clients reach it; unknown for a node that the cluster does not list.
    pub address: Option<String>,
    /// Rack, if configured.
    pub rack: Option<String>,
    /// Why it cannot be reached; none when it was.
    pub unreachable: Option<String>,
}

/// A partition as it was found.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Topic and number, as `flights-0`.
    pub name: String,
    /// Leader's node id; none when there is none.
    pub leader: Option<i32>,
    /// Node ids of its replicas.
    pub replicas: BTreeSet<i32>,
    /// Node ids of those in sync.
    pub in_sync: BTreeSet<i32>,
    /// The topic's `min.insync.replicas`.
    pub in_sync_min: usize,
}

/// A cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Cluster id.
    pub id: String,
    /// Who takes changes; none when nobody does.
    pub controller: Option<i32>,
    /// Nodes by id: those listed, and those that partitions and the quorum name.
    pub nodes: BTreeMap<i32, Node>,
    /// Number of topics.
    pub topics: usize,
    /// All partitions.
    pub partitions: Vec<Partition>,
    /// The metadata quorum, when the cluster tells of it.
    pub quorum: Option<Quorum>,
    /// Nodes that are not in sync everywhere, and how far they are.
    pub catching_up: Vec<CatchingUp>,
}

/// What is wrong, by kind. Kafka's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Partitions without a leader.
    pub leaderless: usize,
    /// Partitions with fewer replicas in sync than they have.
    pub under_replicated: usize,
    /// … than `min.insync.replicas`: writes with acks=all are refused.
    pub under_min_isr: usize,
    /// Exactly `min.insync.replicas`: one more lost, and they are.
    pub at_min_isr: usize,
}

impl Partition {
    fn majority(&self) -> usize {
        self.replicas.len() / 2 + 1
    }
}

impl Cluster {
    fn is_away(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.unreachable.is_some())
    }

    /// Replicas that would be left in sync without a node. One that cannot be reached is none, even while the cluster has not yet
    /// noticed that it is gone (Apache Kafka takes nine seconds).
    fn left_without(&self, partition: &Partition, node: i32) -> usize {
        partition.in_sync.iter().filter(|id| **id != node && !self.is_away(**id)).count()
    }

    /// Partitions led by each node.
    pub fn leads(&self, node: i32) -> usize {
        self.partitions.iter().filter(|partition| partition.leader == Some(node)).count()
    }

    /// What is wrong with partitions.
    pub fn counts(&self) -> Counts {
        let count = |is_so: fn(&Partition) -> bool| self.partitions.iter().filter(|it| is_so(it)).count();
        Counts {
            leaderless: count(|it| it.leader.is_none()),
            under_replicated: count(|it| it.in_sync.len() < it.replicas.len()),
            under_min_isr: count(|it| it.in_sync.len() < it.in_sync_min),
            at_min_isr: count(|it| it.in_sync.len() == it.in_sync_min),
        }
    }

    /// Why the cluster is not healthy, one sentence each; none when it is.
    pub fn ills(&self) -> Vec<String> {
        let mut ills = Vec::new();
        if self.controller.is_none() {
            ills.push("no node is the controller".to_owned());
        }
        for (id, node) in &self.nodes {
            ills.extend(node.unreachable.as_ref().map(|why| format!("node {id} cannot be reached ({why})")));
        }
        let mut tell = |what: &str, is_so: fn(&Partition) -> bool| {
            let names = self.partitions.iter().filter(|it| is_so(it)).map(|it| it.name.as_str());
            let names: Vec<&str> = names.collect();
            if !names.is_empty() {
                ills.push(format!("{} {what}: {}", counted(names.len()), some(&names)));
            }
        };
        tell("without a leader", |it| it.leader.is_none());
        tell("under-replicated", |it| it.in_sync.len() < it.replicas.len());
        tell("under min.insync.replicas", |it| it.in_sync.len() < it.in_sync_min);
        for disk in self.quorum.iter().flat_map(|quorum| &quorum.observers) {
            if let (Some(directory), true) = (disk.directory, self.is_away(disk.id)) {
                ills.push(format!(
                    "disk {directory} of node {id} takes no part: if the one before is lost for good, `sternpost cluster replace-node \
                     {id}` gives its place to this one",
                    id = disk.id
                ));
            }
        }
        for voter in self.voters_behind() {
            ills.push(format!("voter {voter} of the metadata quorum is behind"));
        }
        ills
    }

    /// Why a node must not be taken down now; none when it may: every partition keeps a majority of its replicas in sync, and the
    /// metadata quorum a majority of its voters.
    pub fn must_stay(&self, node: i32) -> Option<String> {
        let lost = |it: &&Partition| self.left_without(it, node) < it.majority();
        let names: Vec<&str> = self.partitions.iter().filter(lost).map(|it| it.name.as_str()).collect();
        if !names.is_empty() {
            let without = counted(names.len());
            return Some(format!("{without} would keep no majority of replicas in sync: {}", some(&names)));
        }
        let quorum = self.quorum.as_ref()?;
        let behind = self.voters_behind();
        let left = quorum.voters.iter().filter(|it| it.id != node && !behind.contains(&it.id)).count();
        let (all, is_voter) = (quorum.voters.len(), quorum.voters.iter().any(|it| it.id == node));
        (is_voter && left < all / 2 + 1)
            .then(|| format!("the metadata quorum would keep {left} of {all} voters, which is no majority"))
    }

    /// Why the next node must not be taken down, whichever it is: each node that runs must be free to go.
    pub fn all_must_stay(&self) -> Option<String> {
        let running = self.nodes.iter().filter(|(_, node)| node.unreachable.is_none());
        let mut whys = running.filter_map(|(id, _)| Some(format!("node {id}: {}", self.must_stay(*id)?)));
        whys.next()
    }

    /// Voters that cannot be reached or lack what is committed.
    fn voters_behind(&self) -> BTreeSet<i32> {
        let Some(quorum) = &self.quorum else { return BTreeSet::new() };
        let leader = quorum.voters.iter().find(|voter| voter.id == quorum.leader_id);
        let now = leader.map_or(-1, |leader| leader.last_caught_up_ms);
        let is_behind = |id: i32, log_end: i64, caught_up: i64| {
            let is_recent = caught_up >= 0 && now - caught_up <= CAUGHT_UP_WITHIN_MS;
            self.is_away(id) || id != quorum.leader_id && log_end < quorum.high_watermark && !is_recent
        };
        let behind = quorum.voters.iter();
        let behind = behind.filter(|it| is_behind(it.id, it.log_end_offset, it.last_caught_up_ms));
        behind.map(|it| it.id).collect()
    }

    /// Everything, for programs.
    pub fn as_json(&self) -> Value {
        let nodes = self.nodes.iter().map(|(id, node)| {
            let stays = self.must_stay(*id);
            json!({
                "id": id, "address": node.address, "rack": node.rack,
                "reachable": node.unreachable.is_none(), "unreachable_because": node.unreachable,
                "leads": self.leads(*id), "safe_to_stop": stays.is_none(), "not_safe_because": stays,
            })
        });
        let quorum = self.quorum.as_ref().map(|quorum| {
            let behind = self.voters_behind();
            let name = |voter: &Voter| voter.directory.map(|directory| directory.to_string());
            let observers = quorum.observers.iter().map(|it| json!({"id": it.id, "directory": name(it)}));
            let voters = quorum.voters.iter().map(|voter| {
                let lag = (quorum.high_watermark - voter.log_end_offset).max(0);
                json!({
                    "id": voter.id, "directory": name(voter), "log_end_offset": voter.log_end_offset, "lag": lag,
                    "behind": behind.contains(&voter.id),
                })
            });
            json!({
                "leader": quorum.leader_id, "leader_epoch": quorum.leader_epoch,
                "high_watermark": quorum.high_watermark, "voters": voters.collect::<Vec<_>>(),
                "observers": observers.collect::<Vec<_>>(),
            })
        });
        let (counts, ills, stays) = (self.counts(), self.ills(), self.all_must_stay());
        json!({
            "cluster_id": self.id, "controller": self.controller, "nodes": nodes.collect::<Vec<_>>(),
            "topics": self.topics, "partitions": self.partitions.len(),
            "partitions_without_leader": counts.leaderless, "under_replicated": counts.under_replicated,
            "under_min_isr": counts.under_min_isr, "at_min_isr": counts.at_min_isr, "quorum": quorum,
            "catching_up": self.catching_up.iter().map(CatchingUp::as_json).collect::<Vec<_>>(),
            "healthy": ills.is_empty(), "ills": ills,
            "safe_to_stop_next": stays.is_none(), "not_safe_because": stays,
        })
    }
}

/// `1 partition`, `2 partitions`.
fn counted(count: usize) -> String {
    crate::cluster::counted(i64::try_from(count).unwrap_or(i64::MAX), "partition")
}

/// The first few names, and how many there are beside them.
fn some(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(leader: Option<i32>, in_sync: &[i32], in_sync_min: usize) -> Partition {
        Partition {
            name: "flights-0".into(),
            leader,
            replicas: [1, 2, 3].into(),
            in_sync: in_sync.iter().copied().collect(),
            in_sync_min,
        }
    }

    fn cluster(partitions: Vec<Partition>) -> Cluster {
        Cluster {
            controller: Some(2),
            nodes: (1..=3).map(|id| (id, Node::default())).collect(),
            partitions,
            ..Cluster::default()
        }
    }

    fn voters(ends: &[i64]) -> Option<Quorum> {
        let voter = |(at, end): (usize, &i64)| Voter {
            id: at as i32 + 1,
            directory: None,
            log_end_offset: *end,
            last_caught_up_ms: -1,
        };
        let voters = ends.iter().enumerate().map(voter).collect();
        Some(Quorum { leader_id: 1, leader_epoch: 4, high_watermark: 100, voters, observers: Vec::new() })
    }

    #[test]
    fn a_whole_cluster_is_healthy_and_may_lose_one_node() {
        let mut whole = cluster(vec![partition(Some(1), &[1, 2, 3], 2)]);
        assert_eq!((whole.ills(), whole.all_must_stay()), (Vec::new(), None));
        assert_eq!(whole.counts(), Counts::default());
        whole.quorum = voters(&[100, 100, 101]);
        assert_eq!((whole.ills(), whole.all_must_stay()), (Vec::new(), None));
        whole.controller = None;
        assert_eq!(whole.ills(), ["no node is the controller"]);
    }

    #[test]
    fn a_replica_that_is_behind_keeps_the_others_up() {
        let lame = cluster(vec![partition(Some(1), &[1, 2], 2), partition(Some(2), &[1, 2, 3], 2)]);
        assert_eq!(lame.ills(), ["1 partition under-replicated: flights-0"]);
        let why = "1 partition would keep no majority of replicas in sync: flights-0";
        assert_eq!(lame.must_stay(1).as_deref(), Some(why));
        assert_eq!(lame.must_stay(3), None, "it is in no majority");
        assert_eq!(lame.all_must_stay(), Some(format!("node 1: {why}")));
        let counts = Counts { under_replicated: 1, at_min_isr: 1, ..Counts::default() };
        assert_eq!(lame.counts(), counts);
    }

    /// Its partitions still count it as in sync.
    #[test]
    fn a_node_that_went_just_now_keeps_the_others_up() {
        let mut lame = cluster(vec![partition(Some(1), &[1, 2, 3], 2)]);
        lame.nodes.get_mut(&3).unwrap().unreachable = Some("connection refused".into());
        let why = "1 partition would keep no majority of replicas in sync: flights-0";
        assert_eq!(lame.must_stay(1).as_deref(), Some(why));
        assert_eq!(lame.must_stay(3), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut down = cluster(vec![partition(None, &[], 1); 5]);
        down.nodes.get_mut(&3).unwrap().unreachable = Some("connection refused".into());
        let ills = down.ills();
        assert_eq!(ills[0], "node 3 cannot be reached (connection refused)");
        assert_eq!(ills[1], "5 partitions without a leader: flights-0, flights-0, flights-0 and 2 more");
        assert_eq!(ills.len(), 4);
        let counts = Counts { leaderless: 5, under_replicated: 5, under_min_isr: 5, at_min_isr: 0 };
        assert_eq!(down.counts(), counts);
    }

    #[test]
    fn the_metadata_quorum_counts_too() {
        let mut lame = cluster(Vec::new());
        lame.quorum = voters(&[100, 100, 40]);
        assert_eq!(lame.ills(), ["voter 3 of the metadata quorum is behind"]);
        let why = "the metadata quorum would keep 1 of 3 voters, which is no majority";
        assert_eq!(lame.must_stay(1).as_deref(), Some(why));
        assert_eq!(lame.must_stay(3), None);
        // Behind by entries that are only just on their way.
        if let Some(quorum) = &mut lame.quorum {
            quorum.voters[0].last_caught_up_ms = 50_000;
            quorum.voters[2].last_caught_up_ms = 41_000;
        }
        assert_eq!((lame.ills(), lame.all_must_stay()), (Vec::new(), None));
        // One that cannot be reached is no help, whatever the leader last heard of it.
        lame.nodes.get_mut(&2).unwrap().unreachable = Some("timed out".into());
        assert_eq!(lame.must_stay(1).as_deref(), Some(why));
    }

    #[test]
    fn a_disk_that_waits_is_told_of_with_what_to_do() {
        let mut lost = cluster(Vec::new());
        lost.quorum = voters(&[100, 100, 100]);
        lost.nodes.get_mut(&3).unwrap().unreachable = Some("the cluster does not list it".into());
        let waits = Voter { id: 3, directory: Some(7.into()), log_end_offset: 0, last_caught_up_ms: -1 };
        lost.quorum.as_mut().unwrap().observers = vec![waits];
        assert!(lost.ills().iter().any(|ill| ill.contains("`sternpost cluster replace-node 3`")));
        assert_eq!(lost.as_json()["quorum"]["observers"][0]["id"], 3);
        lost.nodes.get_mut(&3).unwrap().unreachable = None;
        assert!(lost.ills().is_empty(), "it was named and learns");
    }

    #[test]
    fn the_only_node_must_stay() {
        let mut alone = cluster(vec![partition(Some(1), &[1], 1)]);
        alone.nodes.retain(|id, _| *id == 1);
        alone.partitions[0].replicas = [1].into();
        assert!(alone.ills().is_empty());
        assert!(alone.all_must_stay().is_some());
        alone.partitions.clear();
        alone.quorum = voters(&[100]);
        assert!(alone.all_must_stay().is_some());
        assert_eq!(alone.as_json()["safe_to_stop_next"], false);
        assert_eq!(alone.as_json()["healthy"], true);
    }
}
