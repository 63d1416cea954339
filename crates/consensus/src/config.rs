//! What a group is told at its start: who it is, its limits, and what its disk gave back.

use crate::{Members, Mutant, log::Log};
use model::{Entry, HardState, LogIndex, ShardId, Term};

/// One replica of one shard. Times are in ticks; the driver chooses what a tick is (50 ms by design).
#[derive(Clone, Debug)]
pub struct Config {
    /// The shard.
    pub shard: ShardId,
    /// This replica's Raft id, from 1.
    pub node: u64,
    /// The first voters; a restored group uses the members that it stored.
    pub voters: Vec<u64>,
    /// Ticks without a word from the leader before a replica asks for an election by itself. The failure detection of
    /// the node is faster; this is the net below it.
    pub election_ticks: usize,
    /// Ticks between the leader's heartbeats of this shard; fewer than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Source of the election timeout's randomness.
    pub seed: u64,
    /// Bytes of entries in one append message (at least one entry always goes).
    pub append_bytes_max: u64,
    /// Append messages to one follower that may be unanswered.
    pub appends_inflight_max: usize,
    /// Bytes of proposals that may wait for their commit.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries in one `Ready` (at least one entry always goes).
    pub committed_bytes_max: u64,
    /// Followers hear of a commit at once. Otherwise they hear of it with the next entries, at the latest after two ticks:
    /// half the messages, for shards whose leader alone answers from what is committed.
    pub tells_commits: bool,
    /// For the simulator only.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// The defaults for `node` among `voters`.
    pub fn new(shard: ShardId, node: u64, voters: Vec<u64>) -> Config {
        Config {
            shard,
            node,
            voters,
            election_ticks: 20,
            heartbeat_ticks: 4,
            seed: 0,
            append_bytes_max: 1 << 20,
            appends_inflight_max: 256,
            uncommitted_bytes_max: 256 << 20,
            committed_bytes_max: 16 << 20,
            tells_commits: true,
            mutant: None,
        }
    }

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.node,
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            applied,
            max_size_per_msg: self.append_bytes_max,
            max_inflight_msgs: self.appends_inflight_max,
            check_quorum: true,
            pre_vote: !self.has(Mutant::NoPreVote),
            // raft 0.7 appends entries to a message that waits without looking at where that begins; after a step back the two do
            // not meet. `translate` joins messages that do.
            batch_append: false,
            skip_bcast_commit: !self.tells_commits,
            max_committed_size_per_ready: self.committed_bytes_max,
            ..raft::Config::default()
        }
    }
}

/// What the disk gave back; `default()` on an empty one. Everything in it is durable.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Last entry that the restored state machine contains.
    pub applied: LogIndex,
    /// Its term.
    pub applied_term: Term,
    /// The members at that index (`Members::codes`); empty on an empty disk.
    pub members: Vec<u64>,
    /// Newest term and vote.
    pub hard_state: HardState,
    /// Entries behind `applied`, consecutive.
    pub entries: Vec<Entry>,
}

/// Why a group cannot start: its disk does not hold what it once promised. Such a replica must not vote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A hole or a foreign entry in the log.
    #[error(
        "shard {shard:?}: expected log entry {expected:?}, found entry {found:?} of shard {found_shard:?}"
    )]
    Hole {
        /// The shard.
        shard: ShardId,
        /// The index that should come next.
        expected: LogIndex,
        /// What came.
        found: LogIndex,
        /// Whose it is.
        found_shard: ShardId,
    },
    /// Terms go back, or an entry is newer than the stored term: votes were lost.
    #[error("shard {shard:?}: log entry {index:?} has {term:?}, which does not fit what is stored around it")]
    Term {
        /// The shard.
        shard: ShardId,
        /// Where.
        index: LogIndex,
        /// The entry's term.
        term: Term,
    },
    /// The log ends before what this replica itself knew to be committed.
    #[error("shard {shard:?}: the log ends at {last:?}, but {commit:?} was committed")]
    Short {
        /// The shard.
        shard: ShardId,
        /// Last entry found.
        last: LogIndex,
        /// Newest index known committed.
        commit: LogIndex,
    },
    /// A stored change of the members cannot be read.
    #[error("shard {shard:?}: log entry {index:?} holds an unreadable change of members")]
    Change {
        /// The shard.
        shard: ShardId,
        /// Where.
        index: LogIndex,
    },
    /// Voters and node do not make a group.
    #[error("shard {shard:?}: {detail}")]
    Config {
        /// The shard.
        shard: ShardId,
        /// What is wrong.
        detail: String,
    },
}

impl Restored {
    /// Checks the promises between the parts and builds the log that raft starts from.
    pub(crate) fn into_log(self, config: &Config) -> Result<(Log, HardState), RestoreError> {
        let shard = config.shard;
        let refuse = |detail: &str| RestoreError::Config { shard, detail: detail.to_owned() };
        let codes = if self.members.is_empty() { &config.voters } else { &self.members };
        let members = Members::from_codes(codes).filter(|_| config.node > 0).ok_or_else(|| {
            refuse("raft ids count from 1, none is named twice, and there is at least one voter")
        })?;
        let mut hard_state = self.hard_state;
        let mut log = Log::new(shard, self.applied, self.applied_term, &members);
        let (mut expected, mut term) = (self.applied.next(), self.applied_term);
        for entry in self.entries {
            if entry.index != expected || entry.shard != shard {
                return Err(RestoreError::Hole {
                    shard,
                    expected,
                    found: entry.index,
                    found_shard: entry.shard,
                });
            }
            if entry.term < term || entry.term > hard_state.term {
                return Err(RestoreError::Term { shard, index: entry.index, term: entry.term });
            }
            if entry.kind == model::EntryKind::ConfChange && crate::Change::parse(&entry.descriptor).is_err()
            {
                return Err(RestoreError::Change { shard, index: entry.index });
            }
            (expected, term) = (entry.index.next(), entry.term);
            log.restore(entry);
        }
        if self.applied_term > hard_state.term {
            return Err(RestoreError::Term { shard, index: self.applied, term: self.applied_term });
        }
        if hard_state.commit > log.last() {
            return Err(RestoreError::Short { shard, last: log.last(), commit: hard_state.commit });
        }
        hard_state.commit = hard_state.commit.max(self.applied);
        Ok((log, hard_state))
    }
}
