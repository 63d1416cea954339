//! Which disks take part: the controller puts it into the catalogue, every node tells those that wait or that were replaced.
//!
//! A disk is named when it takes part already, or the cluster began with it; when it is to take the place of a damaged one that
//! it was itself; and at a person's word. Never because its node has none: a lost disk looks like that.

use super::Node;
use crate::catalog::CatalogCommand;
use crate::command::Command;
use crate::disks::{Named, REPLICA_MAX};
use crate::event::{Effect, LogLevel};
use crate::level::DISKS_NAMED;
use crate::mutant::Mutant;
use crate::peer::{PeerMessage, Wait};
use crate::request::{Part, Refusal, RemoveRaftVoter, RemoveRaftVoterResponse, Request, Response, Token};
use crate::shard::Then;
use model::{DiskId, ErrorCode, Mono, NodeId, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A node that said so longer ago does not wait any more.
const WAIT_HEARD_FOR: Duration = Duration::from_secs(2);

/// How long a disk's name may wait for its commit; the request itself names no limit.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(30);

/// Disks that this node has heard of.
#[derive(Default)]
pub(super) struct Naming {
    /// Those that wait.
    waiting: BTreeMap<NodeId, (Wait, Mono)>,
    /// Those that take part, with which replica.
    taking_part: BTreeMap<NodeId, Named>,
    /// Proposed since this node leads the metadata group.
    proposed: BTreeSet<(NodeId, DiskId)>,
    /// This node's disk was replaced.
    gives_up: bool,
}

impl Node {
    /// Another node's disk waits.
    pub(super) fn on_wait(&mut self, now: Now, from: NodeId, wait: Wait, out: &mut Vec<Effect>) {
        self.tell_named(from, |named| named.disk == wait.disk, out);
        self.naming.taking_part.remove(&from);
        self.naming.waiting.insert(from, (wait, now.mono));
    }

    /// Another node's disk takes part, as it says with each beat.
    pub(super) fn on_takes_part(&mut self, from: NodeId, own: Named, out: &mut Vec<Effect>) {
        self.naming.waiting.remove(&from);
        self.naming.taking_part.insert(from, own);
        self.tell_named(from, |named| named.replica > own.replica, out);
    }

    /// Tells a node which of its disks is named, where that is news for it. Before any is, it is the one with which this node's own began:
    /// perhaps that was stopped, and without it there is no majority to name it.
    fn tell_named(&self, to: NodeId, is_news: impl Fn(&Named) -> bool, out: &mut Vec<Effect>) {
        let named = self.catalog.disks().named(to).or_else(|| self.founder(to));
        if let Some(Named { disk, replica }) = named.filter(is_news) {
            out.push(Effect::Send { to, message: PeerMessage::Named { disk, replica } });
        }
    }

    /// This node's own disk, if that has an id.
    pub(super) fn own_disk(&self) -> Option<Named> {
        self.config.owner.disk.map(|disk| Named { disk, replica: self.config.owner.replica })
    }

    /// Another node says which disk of this one is named.
    pub(super) fn on_named(&mut self, disk: DiskId, replica: u32, out: &mut Vec<Effect>) {
        let is_ours = self.config.owner.disk == Some(disk);
        let is_replaced = !is_ours
            && replica > self.config.owner.replica
            && self.config.mutant != Some(Mutant::ReplacedGoesOn);
        if is_replaced && !std::mem::replace(&mut self.naming.gives_up, true) {
            let text = "another disk has taken this one's place: what is here goes to quarantine";
            out.push(Effect::Log(LogLevel::Error, text.into()));
            out.push(Effect::GiveUp);
        }
    }

    /// A node's disk that waits and was heard lately.
    pub(super) fn waiting_disk(&self, node: NodeId) -> Option<&Wait> {
        self.naming.waiting.get(&node).map(|(wait, _)| wait)
    }

    /// Forgets disks that wait and are silent. Called with each beat.
    pub(super) fn forget_silent(&mut self, now: Now) {
        self.naming.waiting.retain(|_, (_, heard)| now.mono.since(*heard) < WAIT_HEARD_FOR);
    }

    /// Names what is to be named, at the controller.
    pub(super) fn name_disks(&mut self) {
        if self.catalog.level() < DISKS_NAMED || !self.shards[0].serving || !self.catalog.is_formatted() {
            return;
        }
        for node in self.config.voters.clone() {
            if let Some(named) = self.to_be_named(node)
                && self.naming.proposed.insert((node, named.disk))
            {
                self.propose_name(node, named, None);
            }
        }
    }

    fn to_be_named(&self, node: NodeId) -> Option<Named> {
        match self.catalog.disks().named(node) {
            None if node == self.config.node => self.own_disk(),
            None => {
                let told = self.naming.taking_part.get(&node).copied();
                told.or_else(|| self.founder(node)).filter(|named| named.replica == 0)
            }
            Some(before) => {
                let wait = self.waiting_disk(node)?;
                let is_itself = wait.replaces == Some(before.disk);
                is_itself.then_some(Named { disk: wait.disk, replica: before.replica + 1 })
            }
        }
    }

    /// The disk of another node with which this one's own began a new cluster.
    fn founder(&self, node: NodeId) -> Option<Named> {
        self.config.owner.founders.get(&node).map(|disk| Named { disk: *disk, replica: 0 })
    }

    fn propose_name(&mut self, node: NodeId, named: Named, then: Option<Then>) {
        self.shards[0].add(Command::Catalog(CatalogCommand::NameDisk { node, named }), then);
    }

    /// A person's word: the disk of this node that waits takes the place of the one that takes part.
    pub(super) fn remove_raft_voter(
        &mut self,
        now: Now,
        token: Token,
        request: RemoveRaftVoter,
        out: &mut Vec<Effect>,
    ) {
        if self.catalog.level() < DISKS_NAMED {
            let refusal = Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "the cluster is at protocol level {}, disks are replaced from {DISKS_NAMED} on: upgrade every node, and set \
                     sternpost.protocol.level.max no lower",
                    self.catalog.level()
                ),
            );
            self.reply(token, Response::RemoveRaftVoter(RemoveRaftVoterResponse { refusal }), out);
        } else {
            self.change(now, token, Request::RemoveRaftVoter(request), out);
        }
    }

    /// The same, at the controller.
    pub(super) fn replace_disk(
        &mut self,
        now: Now,
        token: Token,
        request: &RemoveRaftVoter,
        out: &mut Vec<Effect>,
    ) {
        let (refusal, open) = match self.successor(request) {
            Ok(named) => {
                let then = Then::Gathered(Part { token, number: 0 });
                self.propose_name(request.node, named, Some(then));
                (Refusal::OK, vec![0])
            }
            Err(refusal) => (refusal, Vec::new()),
        };
        let response = Response::RemoveRaftVoter(RemoveRaftVoterResponse { refusal });
        self.gather(token, response, open, Some(now.mono.plus(REPLACE_TIMEOUT)), out);
    }

    /// The disk that would follow the one that a request names.
    fn successor(&self, request: &RemoveRaftVoter) -> Result<Named, Refusal> {
        let node = request.node;
        if let Some(reason) = &self.frozen {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, reason.clone()));
        }
        if request.cluster_id.as_ref().is_some_and(|id| *id != self.config.cluster_id) {
            let why = format!("this is cluster {}", self.config.cluster_id);
            return Err(Refusal::new(ErrorCode::InconsistentClusterId, why));
        }
        if !self.config.voters.contains(&node) {
            let nodes: Vec<String> = self.config.voters.iter().map(|node| node.0.to_string()).collect();
            let why = format!("there is no node {}; this cluster's are {}", node.0, nodes.join(", "));
            return Err(Refusal::new(ErrorCode::VoterNotFound, why));
        }
        let before = self.catalog.disks().named(node);
        if before.map(|named| named.disk) != request.disk {
            let why = match before {
                Some(named) => format!("disk {} takes part for node {}", named.disk, node.0),
                None => format!("no disk was named yet for node {}", node.0),
            };
            return Err(Refusal::new(ErrorCode::VoterNotFound, why));
        }
        let Some(wait) = self.waiting_disk(node) else {
            let why = format!(
                "no disk of node {} waits to take a place: start that node on an empty data directory first",
                node.0
            );
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        };
        let replica = before.map_or(0, |named| named.replica) + 1;
        if replica > REPLICA_MAX {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "a node has only so many disks in its life"));
        }
        Ok(Named { disk: wait.disk, replica })
    }

    /// This node is not the controller any more: what it proposed may never be.
    pub(super) fn give_up_naming(&mut self) {
        self.naming.proposed.clear();
    }
}
