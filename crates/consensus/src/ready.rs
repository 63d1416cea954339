//! What a group wants done, and in what order its driver does it.

use crate::{Members, Message};
use bytes::Bytes;
use model::{Entry, HardState, LogIndex, Term};

/// One round of work. Duties of the driver, in this order:
/// 1. `persist` and `hard_state` go into a group commit, in the order of the numbers. Readies may be persisting at the same
///    time; `Group::on_persisted` is called in their order. With `install` set, `persist` holds at most one entry,
///    which cuts off a tail that does not follow the new state: first that commit, then a checkpoint with the new state,
///    then the call.
/// 2. `send` may leave at once: what promises persistence is held back by the group and comes out of a later `Ready`.
/// 3. `committed` is applied now: it is durable here and at a quorum.
#[derive(Debug, Default)]
pub struct Ready {
    /// Counts up; what `Group::on_persisted` takes.
    pub number: u64,
    /// Entries to make durable. One at or below an index written before replaces that suffix.
    pub persist: Vec<Entry>,
    /// Term and vote to make durable; set only when one of them changed, or a change of members was applied.
    pub hard_state: Option<HardState>,
    /// A state to start from: replaces the state machine, and is made durable behind `persist`.
    pub install: Option<Snapshot>,
    /// Messages that may leave now.
    pub send: Vec<Message>,
    /// Entries to apply, in order.
    pub committed: Vec<Entry>,
    /// Role, term or leader changed.
    pub role: Option<RoleChange>,
    /// Reads that may be answered once `applied` has reached their index.
    pub reads: Vec<Read>,
    /// Followers whose next entry was compacted away: answer with `Group::send_snapshot`.
    pub behind: Vec<u64>,
}

impl Ready {
    /// Whether `Group::on_persisted` must be called for it.
    pub fn needs_persist(&self) -> bool {
        !self.persist.is_empty() || self.hard_state.is_some() || self.install.is_some()
    }
}

/// What a replica does in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Follows, or waits for a leader.
    #[default]
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Orders the log.
    Leader,
}

/// Who leads, as this replica sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleChange {
    /// This replica's role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<u64>,
}

/// A read that a quorum has confirmed: this replica led when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// As given to `Group::read_index`.
    pub id: u64,
    /// The state must contain this entry before the read is answered.
    pub index: LogIndex,
}

/// A state machine at one index, for a follower that is behind the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Last entry it contains.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// The members at that index (`Members::codes`).
    pub members: Vec<u64>,
    /// What the state machine needs to start from here; opaque to consensus.
    pub state: Bytes,
}

impl Snapshot {
    /// Whether this replica is a member at its index: to others it is worth nothing.
    pub(crate) fn names(&self, replica: u64) -> bool {
        Members::from_codes(&self.members).is_some_and(|members| members.all().contains(&replica))
    }
}
