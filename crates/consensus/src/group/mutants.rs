//! What the known-bad variants do that is more than leaving something out. Nothing in a server.

use super::Group;
use crate::Mutant;
use raft::Storage;
use raft::eraftpb::{Message as RaftMessage, MessageType};

impl Group {
    /// `VoteBeforePersist`, `AckBeforePersist`: takes out the messages that will leave too early.
    pub(super) fn leak(&self, promising: &mut Vec<RaftMessage>) -> Vec<RaftMessage> {
        let (leaks_votes, leaks_acks) =
            (self.config.has(Mutant::VoteBeforePersist), self.config.has(Mutant::AckBeforePersist));
        if !leaks_votes && !leaks_acks {
            return Vec::new();
        }
        let leaks = |message: &RaftMessage| match message.get_msg_type() {
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestVote => leaks_votes,
            MessageType::MsgAppendResponse => leaks_acks,
            _ => false,
        };
        let (early, rest) = std::mem::take(promising).into_iter().partition(leaks);
        *promising = rest;
        early
    }

    /// `ApplyBeforePersist`.
    pub(super) fn apply_before_persist(&mut self) {
        if self.config.has(Mutant::ApplyBeforePersist) && !self.is_leader() && !self.installing() {
            let last = self.node.store().last_index().expect("infallible");
            let log = &mut self.node.raft.raft_log;
            log.persisted = log.persisted.max(last.min(log.unstable.offset - 1));
        }
    }

    /// `CommitOldTerm`.
    pub(super) fn commit_old_term(&mut self) {
        if self.config.has(Mutant::CommitOldTerm) && self.is_leader() {
            let copied = self.node.raft.mut_prs().maximal_committed_index().0;
            self.node.raft.raft_log.commit_to(copied);
        }
    }
}
