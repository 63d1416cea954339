//! What the catalogue wants of the shards, and whether they have it. A shard's leader creates and deletes its partitions by entries
//! of the shard's own log, and tells in its beats up to which entry of the metadata log it has done so (`Shard::driven`). Answers to
//! creations and deletions wait for that; a deleted topic's name is free when all its shards have let it go.

use super::Node;
use crate::catalog::CatalogCommand;
use crate::command::Command;
use crate::event::Effect;
use crate::mutant::Mutant;
use crate::request::Part;
use crate::shard::Drive;
use model::{ErrorCode, LogIndex, PartitionId, ShardId, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for what the shards do.
#[derive(Debug, Default)]
pub(super) struct Driving {
    /// For partitions that the catalogue does not have yet.
    proposed: BTreeMap<TopicId, Vec<Part>>,
    /// For partitions that it has.
    creating: Vec<Creating>,
    /// For the end of deleted topics.
    deleting: BTreeMap<TopicId, Vec<Part>>,
    /// Deleted topics whose end is proposed.
    ending: BTreeSet<TopicId>,
    /// A shard may have got further since the last look.
    pub(super) has_news: bool,
    /// A shard that this node serves has all that was wanted of it: the controller may wait for that.
    is_to_be_told: bool,
}

#[derive(Debug)]
struct Creating {
    /// The entry of the metadata log.
    since: LogIndex,
    /// Shards that do not have it yet.
    shards: BTreeSet<ShardId>,
    part: Part,
}

impl Node {
    /// A part of an answer is done when the new partitions of the topic exist.
    pub(super) fn await_partitions(&mut self, topic: TopicId, part: Part) {
        self.driving.proposed.entry(topic).or_default().push(part);
    }

    /// A part of an answer is done when nothing is left of the topic.
    pub(super) fn await_end(&mut self, topic: TopicId, part: Part) {
        self.driving.deleting.entry(topic).or_default().push(part);
    }

    /// The catalogue has more partitions.
    pub(super) fn on_partitions_added(&mut self, partitions: Vec<(PartitionId, ShardId)>) {
        let Some((first, _)) = partitions.first() else { return };
        let parts = self.driving.proposed.remove(&first.topic).unwrap_or_default();
        let shards: BTreeSet<ShardId> = partitions.iter().map(|(_, shard)| *shard).collect();
        let since = self.shards[0].applied();
        let creating = parts.into_iter().map(|part| Creating { since, shards: shards.clone(), part });
        self.driving.creating.extend(creating);
        self.drive_served(partitions, Drive::Create);
    }

    /// Whoever leads a shard creates and deletes its partitions; the others see it in the shard's log. One that was not compared
    /// with the catalogue yet gets it all then.
    pub(super) fn drive_served(&mut self, partitions: Vec<(PartitionId, ShardId)>, drive: Drive) {
        let catalog = self.shards[0].applied();
        for (id, shard) in partitions {
            let at = self.shard_index(shard);
            if self.shards[at].serving && self.shards[at].reconciled {
                self.shards[at].drive(id, drive, catalog);
            }
        }
        self.driving.has_news = true;
    }

    /// A shard has something that was wanted of it.
    pub(super) fn on_driven(&mut self, at: usize) {
        self.driving.has_news = true;
        let catalog = self.shards[0].applied();
        self.driving.is_to_be_told |= self.shards[at].driven(catalog) == catalog;
    }

    pub(super) fn tell_driven(&mut self, out: &mut Vec<Effect>) {
        if std::mem::take(&mut self.driving.is_to_be_told) {
            self.tell_all(out);
        }
    }

    /// Nothing is left of deleted topics.
    pub(super) fn on_topics_gone(&mut self, topics: &[TopicId], out: &mut Vec<Effect>) {
        for id in topics {
            self.driving.ending.remove(id);
            for part in self.driving.deleting.remove(id).unwrap_or_default() {
                self.gathered(part, out);
            }
        }
    }

    /// Answers what the shards have by now, and ends deleted topics that none of them has any more.
    pub(super) fn look_at_shards(&mut self, out: &mut Vec<Effect>) {
        if !std::mem::take(&mut self.driving.has_news) {
            return;
        }
        let mut creating = std::mem::take(&mut self.driving.creating);
        creating.retain(|wait| self.gathers.contains_key(&wait.part.token)); // else its time was up
        for wait in &mut creating {
            wait.shards.retain(|shard| self.driven(*shard) < wait.since);
        }
        let (done, wait) = creating.into_iter().partition(|wait| wait.shards.is_empty());
        self.driving.creating = wait;
        let done: Vec<Creating> = done;
        done.into_iter().for_each(|done| self.gathered(done.part, out));
        self.driving.deleting.retain(|_, parts| {
            parts.retain(|part| self.gathers.contains_key(&part.token));
            !parts.is_empty()
        });
        if !self.shards[0].serving {
            return;
        }
        let early = self.config.mutant == Some(Mutant::DeletionNotAwaited);
        let has_let_go = |shard: &ShardId, since: LogIndex| early || self.driven(*shard) >= since;
        let is_gone = |shards: &BTreeSet<ShardId>, since| shards.iter().all(|shard| has_let_go(shard, since));
        let dying = self.catalog.dying().iter().filter(|(id, _)| !self.driving.ending.contains(*id));
        let gone = dying.filter(|(_, dying)| is_gone(&dying.shards, dying.since)).map(|(id, _)| *id);
        let ids: Vec<TopicId> = gone.collect();
        if !ids.is_empty() {
            self.driving.ending.extend(&ids);
            self.shards[0].add(Command::Catalog(CatalogCommand::ForgetTopics { ids }), None);
        }
    }

    /// This node is not the controller any more: what was begun may go on, and another one can tell.
    pub(super) fn give_up_driving(&mut self, out: &mut Vec<Effect>) {
        let Driving { proposed, creating, deleting, .. } = std::mem::take(&mut self.driving);
        let creating = creating.into_iter().map(|wait| wait.part);
        for part in proposed.into_values().flatten().chain(creating).chain(deleting.into_values().flatten()) {
            self.part_failed(part, ErrorCode::NotController, out);
        }
    }
}
