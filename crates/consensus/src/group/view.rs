//! What a replica can be asked at any time: its role, its log, its voters. Changes nothing.

use super::{Group, Halt};
use crate::Members;
use crate::{Config, Role};
use model::{Entry, HardState, LogIndex, Term};
use raft::{INVALID_ID, StateRole};

/// What a group knows.
impl Group {
    /// What it was told at the start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its role now; `Ready::role` tells changes.
    pub fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// The leader of this term, if known.
    pub fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != INVALID_ID)
    }

    /// The term of a replica that knows no leader and is not about to lead in it. A leader knows that it leads: who takes this
    /// replica for the leader of that term is told by this that it leads no longer.
    pub fn leaderless_term(&self) -> Option<Term> {
        let raft = &self.node.raft;
        // A pre-candidate stands for the next term.
        let waits = matches!(raft.state, StateRole::Follower | StateRole::PreCandidate);
        (waits && raft.leader_id == INVALID_ID).then(|| self.term())
    }

    /// Its term.
    pub fn term(&self) -> Term {
        Term(self.node.raft.term)
    }

    /// Last entry of the log, durable or not.
    pub fn last_index(&self) -> LogIndex {
        LogIndex(self.node.raft.raft_log.last_index())
    }

    /// The term of that entry.
    pub fn last_term(&self) -> Term {
        Term(self.node.raft.raft_log.last_term())
    }

    /// Last entry known to be on a quorum; maybe not yet durable here.
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.node.raft.raft_log.committed)
    }

    /// Last entry given out in `Ready::committed` or installed.
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.node.raft.raft_log.applied())
    }

    /// Last entry known to be durable here.
    pub fn persisted(&self) -> LogIndex {
        LogIndex(self.node.raft.raft_log.persisted)
    }

    /// First entry still in memory.
    pub fn first_index(&self) -> LogIndex {
        self.node.store().base().next()
    }

    /// The entries from an index on that were given out to be made durable, those that are in memory.
    pub fn entries_from(&self, index: LogIndex) -> Vec<Entry> {
        self.node.store().from(LogIndex(index.0.saturating_sub(1)), u64::MAX)
    }

    /// Term of an entry, while it is known.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index < self.node.store().base() || index > self.last_index() {
            return None;
        }
        self.node.raft.raft_log.term(index.0).ok().map(Term)
    }

    /// Whether the first entry of this leader's own term is applied: only then is its state complete enough to propose on.
    pub fn is_settled_leader(&self) -> bool {
        self.is_leader() && self.node.raft.apply_to_current_term()
    }

    /// Who takes part now.
    pub fn members(&self) -> Members {
        Members::from_raft(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Whether a restart would come back to these members: that the last change of them is committed is durable here.
    pub fn keeps_members(&self) -> bool {
        !self.members_unwritten && self.members_written_by.is_none()
    }

    /// The voters now, in order; while two sets decide, those of both.
    pub fn voters(&self) -> Vec<u64> {
        let mut voters: Vec<u64> = self.node.raft.prs().conf().voters().ids().iter().collect();
        voters.sort_unstable();
        voters
    }

    /// Whom this replica gave its vote in its term.
    pub fn vote(&self) -> Option<u64> {
        let vote = self.node.raft.vote;
        (vote != INVALID_ID).then_some(vote)
    }

    /// Term, vote and commit index as they are now: for a checkpoint, once everything before is durable.
    pub fn hard_state(&self) -> HardState {
        let raft = &self.node.raft;
        let commit = LogIndex(raft.raft_log.committed.min(raft.raft_log.persisted));
        HardState { term: Term(raft.term), vote: raft.vote, commit }
    }

    /// What the leader knows to be durable at each replica.
    pub fn progress(&self) -> Vec<(u64, LogIndex)> {
        let followers = self.node.raft.prs().iter().map(|(id, progress)| (*id, LogIndex(progress.matched)));
        let mut progress: Vec<_> = followers.collect();
        progress.sort_unstable();
        progress
    }

    /// Whether a follower is being brought up by a state, and will ask for what follows it.
    pub fn is_feeding(&self) -> bool {
        let mut followers = self.node.raft.prs().iter();
        self.is_leader() && followers.any(|(_, progress)| progress.state == raft::ProgressState::Snapshot)
    }

    /// Bytes of log held in memory.
    pub fn log_bytes(&self) -> u64 {
        self.node.store().size()
    }

    /// Why it stopped, if it did.
    pub fn halted(&self) -> Option<Halt> {
        self.halt
    }
}
