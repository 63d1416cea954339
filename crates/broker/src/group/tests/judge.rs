//! What must hold in every history of the random model, judged from requests and answers alone.

use crate::request::*;
use std::collections::BTreeMap;

/// What clients have learned of one group.
#[derive(Debug, Default)]
struct Known {
    /// Highest generation told.
    generation: i32,
    /// Highest generation somebody synced in.
    synced: i32,
    /// Nonce of the assignment of each generation.
    assignments: BTreeMap<i32, String>,
    /// Highest offset acknowledged.
    acked: i64,
    /// Last offset read.
    read: i64,
}

/// A commit under way: what it says, and what was known when it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub offset: i64,
    pub generation: i32,
    pub synced_before: i32,
}

/// Judges answers as they come.
#[derive(Debug, Default)]
pub(super) struct Judge {
    groups: BTreeMap<String, Known>,
    pub commits_acked: u64,
    pub commits_refused: u64,
    pub assignments_told: u64,
}

impl Judge {
    /// Highest generation that somebody synced in.
    pub(super) fn synced(&self, group: &str) -> i32 {
        self.groups.get(group).map_or(0, |known| known.synced)
    }

    /// The generation never goes back.
    pub(super) fn on_join(&mut self, group: &str, answer: &JoinGroupResponse) -> Result<(), String> {
        let known = self.groups.entry(group.to_owned()).or_default();
        if answer.error.is_none() {
            if answer.generation < known.generation {
                let before = known.generation;
                return Err(format!("{group}: generation {} told after {before}", answer.generation));
            }
            known.generation = answer.generation;
        }
        Ok(())
    }

    /// One assignment for each generation, and each member gets its own share of it.
    pub(super) fn on_sync(
        &mut self,
        group: &str,
        generation: i32,
        identity: &str,
        answer: &SyncGroupResponse,
    ) -> Result<(), String> {
        if !answer.error.is_none() {
            return Ok(());
        }
        let known = self.groups.entry(group.to_owned()).or_default();
        let share = String::from_utf8_lossy(&answer.assignment).into_owned();
        let Some((nonce, owner)) = share.split_once('/') else {
            return Err(format!("{group}: no share for {identity} in generation {generation}: {share:?}"));
        };
        if owner != identity {
            return Err(format!("{group}: the share of {owner} given to {identity}"));
        }
        let first = known.assignments.entry(generation).or_insert_with(|| nonce.to_owned());
        if first != nonce {
            return Err(format!("{group}: two assignments of generation {generation}"));
        }
        known.synced = known.synced.max(generation);
        self.assignments_told += 1;
        Ok(())
    }

    /// Nobody commits for a generation that is over (a client without one may, while the group is empty).
    pub(super) fn on_commit(
        &mut self,
        group: &str,
        commit: Commit,
        answer: &OffsetCommitResponse,
    ) -> Result<(), String> {
        if !answer.topics[0].1[0].1.is_none() {
            self.commits_refused += 1;
            return Ok(());
        }
        self.commits_acked += 1;
        if (0..commit.synced_before).contains(&commit.generation) {
            let Commit { generation, synced_before, .. } = commit;
            return Err(format!("{group}: generation {generation} committed after {synced_before} began"));
        }
        let known = self.groups.entry(group.to_owned()).or_default();
        known.acked = known.acked.max(commit.offset);
        Ok(())
    }

    /// What was acknowledged is read, and offsets never go back.
    pub(super) fn on_read(&mut self, group: &str, offset: i64) -> Result<(), String> {
        let known = self.groups.entry(group.to_owned()).or_default();
        if offset < known.acked || offset < known.read {
            return Err(format!(
                "{group}: read offset {offset}, acknowledged was {}, read before {}",
                known.acked, known.read
            ));
        }
        known.read = known.read.max(offset);
        Ok(())
    }
}
