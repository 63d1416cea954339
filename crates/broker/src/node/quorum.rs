//! Who votes in the metadata group and how far each has come (KIP-595, KIP-836). The leader alone knows; every other node passes the
//! question on to it.

use super::Node;
use crate::event::Effect;
use crate::peer::node_of;
use crate::request::{DescribeQuorum, DescribeQuorumResponse, QuorumVoter, Request, Response, Token};
use model::{ErrorCode, LogIndex, NodeId, Now};

impl Node {
    pub(super) fn describe_quorum(&mut self, now: Now, token: Token, out: &mut Vec<Effect>) {
        if self.is_controller() {
            let mut quorum = self.quorum(now);
            self.add_disks(&mut quorum);
            self.reply(token, Response::DescribeQuorum(quorum), out);
        } else {
            self.pass_on(now, token, Request::DescribeQuorum(DescribeQuorum {}), out);
        }
    }

    /// The metadata group as its leader sees it. Entries count from 1 and offsets from 0, so an entry's index is the offset behind it.
    pub(super) fn quorum(&self, now: Now) -> DescribeQuorumResponse {
        let metadata = &self.shards[0];
        let committed = metadata.group.committed();
        let voter = |(id, matched): (u64, LogIndex)| {
            let node = node_of(id)?;
            let is_here = node == self.config.node;
            let keeps_up = is_here || matched >= committed && self.is_alive(node);
            Some(QuorumVoter {
                node,
                address: self.voter_address(node),
                log_end: if is_here { metadata.group.last_index().0 } else { matched.0 },
                caught_up_at_ms: keeps_up.then_some(now.wall.0),
                disk: None,
            })
        };
        let voters = metadata.voters_progress().into_iter().filter_map(voter);
        DescribeQuorumResponse {
            error: ErrorCode::None,
            leader: self.config.node,
            epoch: metadata.epoch,
            high_watermark: committed.0,
            voters: voters.collect(),
            observers: Vec::new(),
        }
    }

    /// What this node's catalogue and its ears know of disks.
    pub(super) fn add_disks(&self, quorum: &mut DescribeQuorumResponse) {
        let metadata = &self.shards[0];
        let voters = metadata.group.voters();
        let votes = |node| voters.contains(&self.member(node));
        for voter in &mut quorum.voters {
            voter.disk = self.named_disk(voter.node).filter(|_| votes(voter.node));
        }
        let observer = |node, disk| {
            let progress = metadata.group.progress();
            let own = progress.iter().find(|(id, _)| *id == self.member(node));
            QuorumVoter {
                node,
                address: self.voter_address(node),
                log_end: own.map_or(0, |(_, matched)| matched.0),
                caught_up_at_ms: None,
                disk: Some(disk),
            }
        };
        let learns = |node: &NodeId| {
            let disk = self.named_disk(*node)?;
            (!votes(*node)).then(|| observer(*node, disk))
        };
        let waits = |node: &NodeId| {
            let wait = self.waiting_disk(*node)?;
            (self.named_disk(*node) != Some(wait.disk))
                .then(|| QuorumVoter { log_end: 0, ..observer(*node, wait.disk) })
        };
        let nodes = &self.config.voters;
        quorum.observers = nodes.iter().flat_map(|node| [learns(node), waits(node)]).flatten().collect();
    }

    fn voter_address(&self, node: NodeId) -> Option<(String, u16)> {
        let voter = self.config.settings.voters.iter().find(|voter| voter.node == node)?;
        Some((voter.address.host.clone(), voter.address.port))
    }
}
