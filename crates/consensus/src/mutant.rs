//! Known-bad variants of a group, chosen at run time by the simulator only: a checker that lets one of them live is no
//! checker. A server never sets one.

/// One rule of replication, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// Votes leave before they are durable.
    VoteBeforePersist,
    /// Terms and votes never reach the disk.
    VoteForgotten,
    /// Followers acknowledge entries before they are durable.
    AckBeforePersist,
    /// The leader commits what only it has.
    CommitWithoutQuorum,
    /// The leader counts copies of entries of earlier terms (Raft paper, figure 8).
    CommitOldTerm,
    /// Elections start without asking first whether they can be won.
    NoPreVote,
    /// Voters do not compare logs (Raft paper, 5.4.1).
    VoteForShorterLog,
    /// A replaced entry keeps its old payload.
    KeepReplacedPayload,
    /// Committed entries are handed out before they are durable here.
    ApplyBeforePersist,
    /// Reads are answered without asking a quorum who leads.
    ReadWithoutQuorum,
    /// Lent entries are taken though they may be older than what was acknowledged to a leader.
    LoanUnchecked,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 11] = [
        Mutant::VoteBeforePersist,
        Mutant::VoteForgotten,
        Mutant::AckBeforePersist,
        Mutant::CommitWithoutQuorum,
        Mutant::CommitOldTerm,
        Mutant::NoPreVote,
        Mutant::VoteForShorterLog,
        Mutant::KeepReplacedPayload,
        Mutant::ApplyBeforePersist,
        Mutant::ReadWithoutQuorum,
        Mutant::LoanUnchecked,
    ];
}
