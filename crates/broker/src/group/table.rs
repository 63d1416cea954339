//! The durable half of the coordinator: groups and their offsets, changed by `apply` alone and the same on every
//! replica. Iteration order is the order of names, so a snapshot of equal tables has equal bytes.

use super::command::{CommittedOffset, GroupCommand, Membership, StoredPhase};
use super::opaque::Opaque;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Positions of a group: topic name, partition number, position.
pub type Offsets = BTreeMap<String, BTreeMap<i32, CommittedOffset>>;

/// Bytes that a topic's name and the map of its positions take in memory, about.
const TOPIC_BYTES: usize = 600;

/// Bytes that a position takes in memory beside its text, about.
const POSITION_BYTES: usize = 80;

/// Bytes by which positions grow when this one is written over them; nothing when they shrink.
pub(super) fn growth(before: Option<&Offsets>, topic: &str, index: i32, text: usize) -> usize {
    match before.and_then(|before| before.get(topic)).map(|positions| positions.get(&index)) {
        Some(Some(position)) => text.saturating_sub(position.metadata.len()),
        Some(None) => POSITION_BYTES + text,
        None => topic_bytes(topic) + POSITION_BYTES + text,
    }
}

fn topic_bytes(topic: &str) -> usize {
    TOPIC_BYTES + topic.len()
}

fn position_bytes(position: &CommittedOffset) -> usize {
    POSITION_BYTES + position.metadata.len()
}

fn bytes(offsets: &Offsets) -> usize {
    let sum = |positions: &BTreeMap<i32, _>| positions.values().map(position_bytes).sum::<usize>();
    offsets.iter().map(|(topic, positions)| topic_bytes(topic) + sum(positions)).sum()
}

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
    /// Bytes that the positions of all groups take in memory, about.
    pub fn positions_bytes(&self) -> usize {
        self.groups.values().map(|stored| bytes(&stored.offsets)).sum()
    }

    /// Carries out one command of the log and keeps count of `positions_bytes`. Panics when a generation goes back: the leader that proposed it broke the
    /// rule that this table rests on.
    pub fn apply(&mut self, command: &GroupCommand, positions_bytes: &mut usize) {
        match command {
            GroupCommand::OffsetsCommitted { group, at: _, offsets } => {
                let stored = self.groups.entry(group.clone()).or_default();
                for (topic, positions) in offsets {
                    if !stored.offsets.contains_key(topic) {
                        *positions_bytes += topic_bytes(topic);
                    }
                    let by_partition = stored.offsets.entry(topic.clone()).or_default();
                    for (index, position) in positions {
                        *positions_bytes += position_bytes(position);
                        let before = by_partition.insert(*index, position.clone());
                        *positions_bytes -= before.as_ref().map_or(0, position_bytes);
                    }
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
                    let gone = self.groups.remove(group);
                    *positions_bytes -= gone.map_or(0, |stored| bytes(&stored.offsets));
                }
            }
            GroupCommand::OffsetsRemoved { group, partitions } => {
                let Some(stored) = self.groups.get_mut(group) else { return };
                for (topic, indexes) in partitions {
                    let Some(by_partition) = stored.offsets.get_mut(topic) else { continue };
                    for index in indexes {
                        let gone = by_partition.remove(index);
                        *positions_bytes -= gone.as_ref().map_or(0, position_bytes);
                    }
                    if by_partition.is_empty() {
                        *positions_bytes -= topic_bytes(topic);
                        stored.offsets.remove(topic);
                    }
                }
            }
            GroupCommand::TopicRemoved { topic } => {
                for stored in self.groups.values_mut() {
                    let gone = stored.offsets.remove_entry(topic);
                    *positions_bytes -= gone.map_or(0, |gone| bytes(&Offsets::from([gone])));
                }
            }
        }
    }

    /// The position of a group in a partition.
    pub fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group)?.offsets.get(topic)?.get(&partition)
    }
}
