//! What replicas of a shard tell each other, in own nouns. `translate` turns it into raft's form in memory, `wire` into
//! bytes.

use model::{Entry, LogIndex, ShardId, Term};

use crate::Snapshot;

/// One message between two replicas of a shard. The network may lose, delay, reorder and repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose log it is about.
    pub shard: ShardId,
    /// Raft id of the sender.
    pub from: u64,
    /// Raft id of the receiver.
    pub to: u64,
    /// The sender's term (of a pre-vote: the term it would start).
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Leader to follower: these entries follow the one named.
    Append {
        /// Index before the first entry.
        previous: LogIndex,
        /// Its term.
        previous_term: Term,
        /// The leader's commit index.
        commit: LogIndex,
        /// Consecutive entries from `previous + 1`; possibly none.
        entries: Vec<Entry>,
    },
    /// Follower to leader: durable through `index`, or why not.
    AppendResponse {
        /// The log equals the leader's and is durable through here; when refused, the `previous` that did not match.
        index: LogIndex,
        /// The follower's commit index.
        commit: LogIndex,
        /// Set when the append did not fit.
        reject: Option<Reject>,
    },
    /// Candidate to voter.
    Vote {
        /// Only asks whether an election could be won; changes nothing at the voter.
        pre: bool,
        /// Last entry of the candidate's log.
        last: LogIndex,
        /// Its term.
        last_term: Term,
        /// The candidate's commit index.
        commit: LogIndex,
        /// Its term.
        commit_term: Term,
        /// The leader itself asked for this election: voters answer although they still hear the leader.
        transfer: bool,
    },
    /// Voter to candidate.
    VoteResponse {
        /// Answers a pre-vote.
        pre: bool,
        /// The vote is refused.
        reject: bool,
        /// When refused: the voter's commit index.
        commit: LogIndex,
        /// Its term.
        commit_term: Term,
    },
    /// Leader to follower: still here.
    Heartbeat {
        /// What the leader knows to be committed and durable at this follower.
        commit: LogIndex,
        /// A read that waits for the quorum's answers.
        read: Option<u64>,
    },
    /// Follower to leader.
    HeartbeatResponse {
        /// The follower's commit index.
        commit: LogIndex,
        /// Echo of the heartbeat's.
        read: Option<u64>,
    },
    /// Leader to follower: start an election now.
    TimeoutNow,
    /// Leader to follower: the log before this point is gone, start from here.
    Snapshot(Snapshot),
    /// Voter to candidate, when neither knows a leader: entries of the voter's log that the candidate's lacks (`lend`).
    Lend {
        /// Index before the first entry.
        previous: LogIndex,
        /// Its term.
        previous_term: Term,
        /// The voter's commit index.
        commit: LogIndex,
        /// Consecutive entries from `previous + 1`; at least one.
        entries: Vec<Entry>,
    },
}

/// Where a follower's log parts from the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The leader should try here.
    pub hint: LogIndex,
    /// The follower's term at that index.
    pub hint_term: Term,
}
