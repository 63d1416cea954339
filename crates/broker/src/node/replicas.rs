//! `min.insync.replicas` above the majority: an acknowledgement that waits until more replicas than commit needs have the
//! records on disk.

use super::Node;
use crate::config::TopicSettings;
use crate::event::Effect;
use crate::request::{ACKS_ALL, Part, Refusal};
use model::{ErrorCode, LogIndex};
use std::collections::BTreeMap;

/// Committed records whose acknowledgement waits, by shard and entry: for how many replicas, each part of the answer.
pub(super) type Replicating = BTreeMap<(usize, LogIndex, Part), Vec<usize>>;

impl Node {
    /// Replicas of a shard that commit needs.
    pub(super) fn majority(&self, at: usize) -> usize {
        self.replica_count(at) / 2 + 1
    }

    /// How many replicas must have a batch before it is acknowledged, when that is more than commit needs.
    ///
    /// # Errors
    /// Fewer replicas keep up: the acknowledgement would not come.
    pub(super) fn replicas_for_ack(
        &self,
        at: usize,
        acks: i16,
        settings: &TopicSettings,
    ) -> Result<Option<usize>, Refusal> {
        let wanted = settings.min_insync_replicas;
        if acks != ACKS_ALL || wanted <= self.majority(at) {
            return Ok(None);
        }
        let in_sync = self.leadership(at).map_or(0, |leadership| leadership.in_sync.len());
        if in_sync < wanted {
            let text = format!("min.insync.replicas is {wanted}, and {in_sync} replicas are in sync");
            return Err(Refusal::new(ErrorCode::NotEnoughReplicas, text));
        }
        Ok(Some(wanted))
    }

    /// A part of an answer is done when so many replicas have all that is applied by now.
    pub(super) fn await_replicas(&mut self, at: usize, part: Part, replicas: usize) {
        let key = (at, self.shards[at].applied(), part);
        self.replicating.entry(key).or_default().push(replicas);
    }

    /// Answers what enough replicas have.
    pub(super) fn answer_replicated(&mut self, out: &mut Vec<Effect>) {
        if self.replicating.is_empty() {
            return;
        }
        let progress: Vec<_> = self.shards.iter().map(|shard| shard.voters_progress()).collect();
        let mut held = Vec::new();
        self.replicating.retain(|(at, index, part), parts| {
            let have = progress[*at].iter().filter(|(_, matched)| matched >= index).count();
            parts.retain(|wanted| {
                *wanted > have || {
                    held.push(*part);
                    false
                }
            });
            !parts.is_empty()
        });
        held.into_iter().for_each(|part| self.gathered(part, out));
    }

    /// Leadership is gone: the records are committed, and nobody here sees any more on how many replicas they are.
    pub(super) fn give_up_replicas(&mut self, at: usize, out: &mut Vec<Effect>) {
        let waiting = self.replicating.keys().filter(|(shard, ..)| *shard == at).copied();
        for key in waiting.collect::<Vec<_>>() {
            self.replicating.remove(&key);
            self.part_failed(key.2, ErrorCode::NotEnoughReplicasAfterAppend, out);
        }
    }
}
