//! The durable half of the coordinator: groups and their offsets, changed by `apply` alone and the same on every
//! replica. Iteration order is the order of names, so a snapshot of equal tables has equal bytes.

use super::command::{CommittedOffset, GroupCommand, Membership, StoredPhase};
use super::opaque::Opaque;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Positions of a group: topic name, partition number, position.
pub type Offsets = BTreeMap<String, BTreeMap<i32, CommittedOffset>>;

/// All groups of a coordinator, as its log says. Also its snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTable {
    /// By group id.
    pub groups: BTreeMap<String, StoredGroup>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGroup {
    /// Absent for a group that only ever committed offsets.
    pub membership: Option<Membership>,
    /// Its positions.
    pub offsets: Offsets,
}

impl GroupTable {
    /// Carries out one command of the log. Panics when a generation goes back: the leader that proposed it broke the
    /// rule that this table rests on.
    pub fn apply(&mut self, command: &GroupCommand) {
        match command {
            GroupCommand::OffsetsCommitted { group, at: _, offsets } => {
                let stored = self.groups.entry(group.clone()).or_default();
                for (topic, positions) in offsets {
                    let by_partition = stored.offsets.entry(topic.clone()).or_default();
                    by_partition.extend(positions.iter().cloned());
                }
            }
            GroupCommand::GroupChanged { group, membership } => {
                let stored = self.groups.entry(group.clone()).or_default();
                if let Some(before) = &stored.membership {
                    assert!(
                        before.generation <= membership.generation,
                        "generation of group {group} goes back"
                    );
                }
                stored.membership = Some(membership.clone());
            }
            GroupCommand::GroupAssigned { group, at, generation, assignments } => {
                let Some(membership) =
                    self.groups.get_mut(group).and_then(|stored| stored.membership.as_mut())
                else {
                    return;
                };
                if membership.generation != *generation || membership.phase != StoredPhase::Completing {
                    return;
                }
                let shares: BTreeMap<&str, &Opaque> =
                    assignments.iter().map(|(member, share)| (member.as_str(), share)).collect();
                for member in &mut membership.members {
                    member.assignment = shares.get(member.id.as_str()).copied().cloned().unwrap_or_default();
                }
                membership.at = *at;
                membership.phase = StoredPhase::Stable;
            }
            GroupCommand::GroupsRemoved { groups } => {
                for group in groups {
                    self.groups.remove(group);
                }
            }
            GroupCommand::OffsetsRemoved { group, partitions } => {
                let Some(stored) = self.groups.get_mut(group) else { return };
                for (topic, indexes) in partitions {
                    let Some(by_partition) = stored.offsets.get_mut(topic) else { continue };
                    for index in indexes {
                        by_partition.remove(index);
                    }
                    if by_partition.is_empty() {
                        stored.offsets.remove(topic);
                    }
                }
            }
            GroupCommand::TopicRemoved { topic } => {
                for stored in self.groups.values_mut() {
                    stored.offsets.remove(topic);
                }
            }
        }
    }

    /// The position of a group in a partition.
    pub fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group)?.offsets.get(topic)?.get(&partition)
    }
}
