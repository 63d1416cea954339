//! When a replica stands for election: once per node, for all its shards, driven by the evidence about peer nodes. Raft's
//! own election timeout stays as the net below.
//!
//! A shard without a leader gets one candidate at once, chosen by rank, the others staggered behind it, so that votes do
//! not split. Pre-vote keeps a candidate that cannot win from disturbing anybody.

use crate::{Group, Random, candidate_rank};
use model::{LogIndex, Mono, ShardId, Term};
use std::collections::BTreeMap;
use std::time::Duration;

/// How much later the next in rank stands: longer than an election takes between healthy nodes.
pub const CANDIDATE_STEP: Duration = Duration::from_millis(40);
/// A replica that knows no leader, without evidence that one is gone, waits this long for a leader's word.
pub const NO_LEADER_PATIENCE: Duration = Duration::from_millis(150);
/// An election without result is tried again after this; doubled each time, up to `RETRY_MAX`.
pub const RETRY: Duration = Duration::from_millis(100);
/// Longest wait between two tries.
pub const RETRY_MAX: Duration = Duration::from_millis(800);

/// The elections that one node has under way.
#[derive(Debug)]
pub struct Failover {
    node: u64,
    random: Random,
    attempts: BTreeMap<ShardId, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    at: Mono,
    retry: Duration,
    /// Where the log ended at the last look: a loan makes it longer, and the next try may succeed.
    end: (Term, LogIndex),
    /// The newest term whose vote is known here.
    term: Term,
}

impl Failover {
    /// For the node with this raft id.
    pub fn new(node: u64, seed: u64) -> Failover {
        Failover { node, random: Random::new(seed ^ node), attempts: BTreeMap::new() }
    }

    /// Looks at one shard: gives up a leadership that a majority cannot be part of, opens the vote filter when the leader's node
    /// is among `gone`, stands for election when it is this replica's turn, which comes late for those among `idle`. Says when to look
    /// again, if there is an election to come; call also whenever `gone` changes.
    pub fn check(&mut self, now: Mono, group: &mut Group, gone: &[u64], idle: &[u64]) -> Option<Mono> {
        let shard = group.config().shard;
        let term = group.term();
        group.resign_without_quorum(gone);
        let lost = group.leader().filter(|leader| gone.contains(leader));
        if let Some(leader) = lost {
            group.open_vote_filter(leader);
        }
        if group.leader().is_some() || group.halted().is_some() {
            self.attempts.remove(&shard);
            return None;
        }
        let rank = candidate_rank(shard, self.node, &group.voters(), gone, idle)? as u32;
        let patience = if lost.is_some() { Duration::ZERO } else { NO_LEADER_PATIENCE };
        let end = (group.last_term(), group.last_index());
        let first = Attempt { at: now.plus(patience + CANDIDATE_STEP * rank), retry: RETRY, end, term };
        let attempt = self.attempts.entry(shard).or_insert(first);
        let has_grown = std::mem::replace(&mut attempt.end, end) != end;
        if has_grown {
            attempt.retry = RETRY;
        }
        if lost.is_some() || has_grown {
            attempt.at = attempt.at.min(now.plus(CANDIDATE_STEP * rank));
        }
        if attempt.term < group.term() {
            attempt.term = group.term();
            if group.vote().is_some_and(|vote| vote != self.node && !gone.contains(&vote)) {
                // Another has this replica's vote since: it would only be disturbed while its disks take their time.
                attempt.at = attempt.at.max(now.plus(RETRY + CANDIDATE_STEP * rank));
            }
        }
        if now >= attempt.at {
            group.campaign();
            let spread = Duration::from_micros(self.random.below(CANDIDATE_STEP.as_micros() as u64));
            attempt.at = now.plus(attempt.retry + CANDIDATE_STEP * rank + spread);
            attempt.retry = (attempt.retry * 2).min(RETRY_MAX);
        }
        Some(attempt.at)
    }
}
