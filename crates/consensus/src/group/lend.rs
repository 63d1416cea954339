//! Entries lent to a candidate. When the network is cut so that only one node reaches a majority, and that node lacks entries
//! which each of the others has, raft elects nobody: the others refuse it for its log, and none of them reaches enough votes. So a voter
//! that refuses a candidate, and knows no leader either, sends what the candidate lacks.
//!
//! A replica takes a loan when it ends in a newer position than its own log (term first, then index) *and* in no older term
//! than the last in which this replica followed or was a leader (`followed`). Why that is safe, for an entry `e` of term `t` that counts as committed with this replica's
//! acknowledgement: `t` is at most `followed`, and so at most the term `u` of the loan's last entry. If `u = t`, both logs are
//! beginnings of that leader's, and the longer one has `e`. If `u > t`, the leader of `u` was elected with `e` (leader completeness: a voter
//! that had acknowledged `e`, perhaps this one, is in every quorum), and the loan, which holds an entry of `u`, has all that
//! stands before that in its leader's log. From then on this replica refuses leaders of terms below `u`: it takes that term. Nothing is
//! acknowledged for a loan; the candidate that it makes stands for election as ever (docs/decisions/0018).

use super::Group;
use crate::log::to_raft;
use crate::{Body, Message, Mutant};
use model::{Entry, LogIndex, Term};
use raft::{INVALID_ID, StateRole, Storage};

/// Most bytes of one loan, but for its first entry. A candidate that is further behind asks again.
const LOAN_BYTES_MAX: u64 = 1 << 20;

impl Group {
    /// After each call into raft: notes the last term in which this replica led or followed somebody.
    pub(super) fn note_leader(&mut self) {
        let raft = &self.node.raft;
        if raft.leader_id != INVALID_ID {
            self.followed = self.followed.max(raft.term);
        }
    }

    /// A candidate told where its log ends, `last`, and what is committed in it: lends it what follows, if this log goes on.
    pub(super) fn lend(&mut self, to: u64, last: (LogIndex, Term), committed: (LogIndex, Term)) {
        let (raft, log) = (&self.node.raft, self.node.store());
        let end = log.last();
        let end_term = log.term(end.0).unwrap_or_default();
        let is_newer = (end_term, end.0) > (last.1.0, last.0.0);
        if raft.state == StateRole::Leader || raft.leader_id != INVALID_ID || !is_newer {
            return;
        }
        // Where the logs meet for certain; further back they may meet too, but nothing here says so.
        let has = |(index, term): &(LogIndex, Term)| log.term(index.0).is_ok_and(|own| own == term.0);
        let Some((previous, previous_term)) = [last, committed].into_iter().find(has) else { return };
        let entries = log.from(previous, LOAN_BYTES_MAX);
        if entries.is_empty() {
            return;
        }
        let commit = LogIndex(raft.raft_log.committed);
        self.loans.push(Message {
            shard: self.config.shard,
            from: self.config.node,
            to,
            term: self.term(),
            body: Body::Lend { previous, previous_term, commit, entries },
        });
    }

    /// Takes a loan, unless it may be older than what this replica acknowledged, or there is a leader to follow.
    pub(super) fn take_loan(
        &mut self,
        previous: (LogIndex, Term),
        commit: LogIndex,
        mut entries: Vec<Entry>,
    ) {
        let Some(last) = entries.last().map(|entry| (entry.term.0, entry.index.0)) else { return };
        let raft = &mut self.node.raft;
        let follows = raft.leader_id != INVALID_ID;
        let own = (raft.raft_log.last_term(), raft.raft_log.last_index());
        let is_sound = !follows && last > own && last.0 >= self.followed;
        if raft.state == StateRole::Leader || !is_sound && !self.config.has(Mutant::LoanUnchecked) {
            return;
        }
        // What is committed here is the same in the loan, or the loan does not fit.
        let committed = raft.raft_log.committed;
        let known = entries.iter().take_while(|entry| entry.index.0 <= committed).count();
        let previous = known.checked_sub(1).map_or(previous, |at| (entries[at].index, entries[at].term));
        let entries = entries.split_off(known);
        if !raft.raft_log.match_term(previous.0.0, previous.1.0) {
            return;
        }
        // A candidate's log does not change under it: this one starts over.
        raft.become_follower(last.0.max(raft.term), INVALID_ID);
        let raft_entries: Vec<_> = entries.iter().map(to_raft).collect();
        let taken = raft.raft_log.maybe_append(previous.0.0, previous.1.0, commit.0, &raft_entries);
        assert!(taken.is_some(), "the logs meet there");
        self.remember(entries);
    }
}
