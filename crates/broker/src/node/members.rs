//! Shards follow the catalogue: the replica of a disk that was named takes the place of the one before it. Whoever leads a shard
//! lets it learn first, and gives it the vote once it has what the others have; for that step both sets of voters decide.

use super::Node;
use crate::event::{Effect, LogLevel};
use crate::level::DISKS_NAMED;
use crate::peer::{node_of, replica_of};
use crate::shard::Shard;
use consensus::{Change, Members};
use model::{DiskId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    /// Called once a second.
    pub(super) fn mind_members(&mut self, out: &mut Vec<Effect>) {
        if self.catalog.level() < DISKS_NAMED {
            return;
        }
        for at in 0..self.shards.len() {
            if self.shards[at].serving
                && let Some(members) = self.next_members(at)
                && self.shards[at].group.propose_change(&Change::Become(members.clone())).is_ok()
            {
                let words = |ids: &[u64]| {
                    let words: Vec<String> = ids.iter().map(|id| replica_words(*id)).collect();
                    words.join(", ")
                };
                let learners = match members.learners.is_empty() {
                    true => String::new(),
                    false => format!("; {} follows until it has all", words(&members.learners)),
                };
                let text = format!(
                    "shard {}: {} are to vote{learners}",
                    self.shards[at].id.0,
                    words(&members.voters)
                );
                out.push(Effect::Log(LogLevel::Info, text));
            }
        }
    }

    /// The disks that take part, where every shard on this node has their replicas as its voters and nobody else, and does also when it
    /// starts again.
    pub fn settled_disks(&self) -> Option<BTreeMap<NodeId, DiskId>> {
        if self.waiting.is_some() || self.catalog.level() < DISKS_NAMED {
            return None;
        }
        let is_settled = |shard: &Shard| {
            let group = &shard.group;
            group.members() == Members::of_voters(self.wanted_members(shard)) && group.keeps_members()
        };
        let named = |node: &NodeId| Some((*node, self.named_disk(*node)?));
        let named: Option<BTreeMap<NodeId, DiskId>> = self.config.voters.iter().map(named).collect();
        named.filter(|_| self.shards.iter().filter(|shard| shard.is_here).all(is_settled))
    }

    /// The disk of a node that takes part, as far as this node's catalogue knows.
    pub fn named_disk(&self, node: NodeId) -> Option<DiskId> {
        self.catalog.disks().named(node).map(|named| named.disk)
    }

    /// The replicas that the catalogue wants a shard to have.
    fn wanted_members(&self, shard: &Shard) -> Vec<u64> {
        self.replicas(shard.id).into_iter().map(|node| self.member(node)).collect()
    }

    /// The next step of a shard that this node serves towards the members that the catalogue wants; `None`: they are there, or a step is under
    /// way, or has to wait.
    fn next_members(&self, at: usize) -> Option<Members> {
        let shard = &self.shards[at];
        let now = shard.group.members();
        if now.is_joint() {
            return None;
        }
        let wanted = self.wanted_members(shard);
        let older = |id: &u64| {
            let node = node_of(*id);
            wanted
                .iter()
                .find(|other| node_of(**other) == node)
                .is_some_and(|other| replica_of(*id) > replica_of(*other))
        };
        if now.all().iter().any(older) {
            return None; // this node's catalogue is behind
        }
        let mark = self.mark(at);
        let progress = shard.group.progress();
        let has_all = |id: &u64| {
            let lives = node_of(*id).is_some_and(|node| node == self.config.node || self.is_alive(node));
            lives && progress.iter().any(|(other, matched)| other == id && *matched >= mark)
        };
        let (ready, behind): (Vec<u64>, Vec<u64>) =
            now.learners.iter().copied().filter(|id| wanted.contains(id)).partition(has_all);
        let nodes: BTreeSet<Option<NodeId>> = ready.iter().map(|id| node_of(*id)).collect();
        let stay = now.voters.iter().copied().filter(|id| !nodes.contains(&node_of(*id)));
        let voters: Vec<u64> = stay.chain(ready).collect();
        let missing =
            wanted.iter().copied().filter(|id| !now.voters.contains(id) && !now.learners.contains(id));
        let next = Members::new(voters, behind.iter().copied().chain(missing).collect());
        (next != now).then_some(next)
    }
}

/// A replica as a person reads it.
fn replica_words(id: u64) -> String {
    let node = node_of(id).map_or(-1, |node| node.0);
    match replica_of(id) {
        0 => format!("node {node}"),
        replica => format!("node {node} (disk {})", u64::from(replica) + 1),
    }
}
