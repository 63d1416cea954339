//! Elections: standing for one, answering those of others on one's own evidence, giving up.

use super::Group;
use crate::{Body, Message};
use raft::eraftpb::{Message as RaftMessage, MessageType};
use raft::{INVALID_ID, StateRole};

/// Ticks for which a request for a vote may be earlier than this replica's own evidence that the leader is gone. As if the
/// network had held it up for so long.
const EARLY_VOTE_TICKS: u32 = 2;

/// How often leadership was asked for and moved, since the replica was started.
#[derive(Default)]
pub(super) struct Turns {
    /// The message at hand is the leader's word to take over.
    pub(super) asked: bool,
    candidacies: u64,
    leader: u64,
    changes: u64,
}

impl Turns {
    /// Another term, role or leader than before.
    pub(super) fn count(&mut self, (_, role, leader): (u64, StateRole, u64), asked: bool) {
        if role == StateRole::Candidate && !asked {
            self.candidacies += 1;
        }
        if leader != INVALID_ID && leader != self.leader {
            self.leader = leader;
            self.changes += 1;
        }
    }
}

impl Group {
    /// Elections for which this replica asked for votes since it was started. Pre-votes, hand-overs and the only voter of a
    /// group do not count.
    pub fn elections(&self) -> u64 {
        self.turns.candidacies
    }

    /// How often the leader that this replica knows became another one since it was started; the first one counts.
    pub fn leader_changes(&self) -> u64 {
        self.turns.changes
    }

    /// Starts an election (a pre-vote first) now: the caller has evidence that there is no leader. Others answer when they
    /// hear no leader, or have opened their vote filter on evidence of their own.
    pub fn campaign(&mut self) {
        if self.halt.is_some() || self.installing() || !self.node.raft.promotable() {
            return;
        }
        self.node.raft.election_elapsed = 0;
        // raft returns no error for a campaign that does not start.
        let _ = self.node.campaign();
        self.draw_timeout();
        self.settle();
    }

    /// This node has its own evidence that the node of `leader` is gone, or the leader's word that it leads no longer: (pre-)votes are answered although the leader was
    /// heard less than an election timeout ago.
    ///
    /// raft ignores (pre-)votes while it knows a leader and heard it within that time ("lease"). Forgetting the leader
    /// ends the lease and nothing else: no vote is forced, logs are compared as always, and one message from that
    /// leader in the same term shuts the filter again. Who had the same evidence a moment earlier is answered now: it would ask
    /// again much later.
    pub fn open_vote_filter(&mut self, leader: u64) {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Follower && raft.leader_id == leader && leader != INVALID_ID {
            raft.leader_id = INVALID_ID;
            self.settle();
            for (message, _) in std::mem::take(&mut self.early_votes).into_values() {
                // It was found to be in order when it came, and what has changed since may make it void.
                drop(self.step(message));
            }
        }
    }

    /// This leader has its own evidence that the nodes of these replicas are gone. When no majority is left it leads no longer: what it
    /// takes could not be committed, and whoever waits here may find a leader on the other side. The same as raft's own check of its
    /// quorum, which looks once in an election timeout and so takes up to two.
    pub fn resign_without_quorum(&mut self, gone: &[u64]) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader {
            return;
        }
        let here = raft.prs().conf().voters().ids().iter().filter(|voter| !gone.contains(voter)).collect();
        if !raft.prs().has_quorum(&here) {
            raft.become_follower(raft.term, INVALID_ID);
            self.settle();
        }
    }

    /// A request for a vote that raft ignores now, because this replica still knows a leader.
    pub(super) fn keep_early_vote(&mut self, message: &Message) {
        if matches!(message.body, Body::Vote { transfer: false, .. })
            && message.term > self.term()
            && self.leader().is_some()
        {
            self.early_votes.insert(message.from, (message.clone(), EARLY_VOTE_TICKS));
        }
    }

    /// Takes out the answers to pre-votes. Such an answer promises nothing, so no disk is waited for. That of a replica which installs a
    /// state must not wait: the records of the state may be where nobody knows any more that they are committed, and what tells that node
    /// is this answer. (Who asks waits: raft wants the log of a candidate to be durable.)
    pub(super) fn part_pre_votes(&self, promising: &mut Vec<RaftMessage>) -> Vec<RaftMessage> {
        let is_free =
            |message: &mut RaftMessage| message.get_msg_type() == MessageType::MsgRequestPreVoteResponse;
        let mut free: Vec<RaftMessage> = promising.extract_if(.., is_free).collect();
        for given in free.iter_mut().filter(|message| !message.reject) {
            // raft tells it to whom it refuses only.
            (given.commit, given.commit_term) = self.node.raft.raft_log.commit_info();
        }
        free
    }

    /// A replica that installs a state does not stand for election. It forgets a leader that it has not heard for an election timeout, as
    /// any other would: only then does raft answer those who stand.
    pub(super) fn wait_while_installing(&mut self) {
        if !self.installing() {
            return;
        }
        let raft = &mut self.node.raft;
        if raft.election_elapsed + 1 < raft.election_timeout() {
            return; // raft starts no election before that
        }
        raft.election_elapsed = 0;
        if raft.state == StateRole::Follower {
            raft.leader_id = INVALID_ID;
        }
    }

    /// A tick has passed.
    pub(super) fn forget_early_votes(&mut self) {
        self.early_votes.retain(|_, (_, ticks)| {
            *ticks -= 1;
            *ticks > 0
        });
    }
}
