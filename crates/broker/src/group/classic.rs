//! One classic group as its coordinator sees it now, ahead of the log: members, who waits for what, which protocol all
//! can speak. What happens to it stands in `join`, `rebalance` and `sync`.

use super::command::{Membership, StoredMember, StoredPhase, Ticket};
use super::config::MEMBER_PROTOCOLS_MAX;
use super::flight::Waiter;
use super::opaque::Opaque;
use crate::request::GroupPhase;
use bytes::Bytes;
use model::{ErrorCode, WallMs};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No members.
    Empty,
    /// Gathers members; the first generation after `Empty` waits a little for more of them.
    Preparing(Option<InitialDelay>),
    /// Waits for the leader's assignment.
    Completing,
    /// Assigned.
    Stable,
}

/// The wait before the first generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    /// Length of the running wait.
    pub delay: Duration,
    /// How much longer it may get.
    pub remaining: Duration,
    /// Whether somebody joined during the running wait.
    pub joined: bool,
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// Names and metadata, preferred first.
    pub protocols: Vec<(String, Opaque)>,
    pub assignment: Opaque,
    /// Its JoinGroup that waits for the other members.
    pub join: Option<Waiter>,
    /// Its SyncGroup that waits for the leader.
    pub sync: Option<Waiter>,
    /// The proposal that holds an answer to it.
    pub held: Option<Ticket>,
    /// Never was in a generation.
    pub is_new: bool,
}

impl Member {
    /// Whether it waits for the coordinator, so that its silence means nothing. A new member may wait only so long.
    pub(super) fn is_waiting(&self) -> bool {
        self.held.is_some() || (!self.is_new && (self.join.is_some() || self.sync.is_some()))
    }

    /// Its metadata for a protocol.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        found.map(|(_, metadata)| metadata.bytes()).unwrap_or_default()
    }

    /// Whether it offers exactly these protocols, in this order.
    pub(super) fn offers(&self, protocols: &[(String, Bytes)]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|(mine, other)| mine.0 == other.0 && mine.1.as_slice() == &other.1[..])
    }

    fn snapshot_bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|(name, metadata)| (name, metadata.size()));
        snapshot_bytes(&self.client_id, &self.client_host, self.instance_id.as_deref(), protocols)
    }
}

/// Bytes that a member takes in a snapshot, about. Its id begins with a name that counts here already.
pub(super) fn snapshot_bytes<'a>(
    client_id: &str,
    client_host: &str,
    instance_id: Option<&str>,
    protocols: impl Iterator<Item = (&'a String, usize)>,
) -> usize {
    const MEMBER_BYTES: usize = 128;
    let names = client_id.len() + client_host.len() + instance_id.map_or(0, str::len);
    MEMBER_BYTES + 2 * names + protocols.map(|(name, size)| name.len() + size + 8).sum::<usize>()
}

/// Sums over the members, so that thousands of them can join at once.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many members speak each protocol.
    speakers: BTreeMap<String, usize>,
    /// Bytes that the members take in a snapshot, without their assignments.
    bytes: usize,
}

impl Tally {
    pub(super) fn add(&mut self, member: &Member) {
        self.bytes += member.snapshot_bytes();
        for (name, _) in &member.protocols {
            *self.speakers.entry(name.clone()).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, member: &Member) {
        self.bytes -= member.snapshot_bytes();
        for (name, _) in &member.protocols {
            let count = self.speakers.get_mut(name).expect("a member was added before it is removed");
            *count -= 1;
            if *count == 0 {
                self.speakers.remove(name);
            }
        }
    }
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub phase: Phase,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    pub tally: Tally,
    /// Instance id to member id.
    pub statics: BTreeMap<String, String>,
    /// Member ids handed out that have not come back yet (KIP-394).
    pub pending: BTreeSet<String>,
    /// Members of this generation that have not asked for their assignment yet.
    pub pending_sync: BTreeSet<String>,
    /// When the generation came to be; of an empty group: since when it is empty.
    pub since: WallMs,
}

impl Group {
    /// A group that nobody knows yet.
    pub(super) fn new(since: WallMs) -> Group {
        Group {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            tally: Tally::default(),
            statics: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            since,
        }
    }

    /// The group as the log left it. A generation that was not assigned gathers its members anew.
    pub(super) fn load(stored: &Membership) -> Group {
        let mut group = Group::new(stored.at);
        group.phase = match stored.phase {
            StoredPhase::Empty => Phase::Empty,
            StoredPhase::Completing => Phase::Preparing(None),
            StoredPhase::Stable => Phase::Stable,
        };
        group.generation = stored.generation;
        group.protocol_type = stored.protocol_type.clone();
        group.protocol = stored.protocol.clone();
        group.leader = stored.leader.clone();
        for member in &stored.members {
            if let Some(instance) = &member.instance_id {
                group.statics.insert(instance.clone(), member.id.clone());
            }
            let loaded = Member {
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout: member.session_timeout,
                rebalance_timeout: member.rebalance_timeout,
                protocols: member.protocols.clone(),
                assignment: member.assignment.clone(),
                join: None,
                sync: None,
                held: None,
                is_new: false,
            };
            group.tally.add(&loaded);
            group.members.insert(member.id.clone(), loaded);
        }
        group
    }

    /// What the log is told of this group now.
    pub(super) fn membership(&self) -> Membership {
        let members = self.members.iter().map(|(id, member)| StoredMember {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
        });
        Membership {
            at: self.since,
            phase: match self.phase {
                Phase::Empty => StoredPhase::Empty,
                Phase::Completing => StoredPhase::Completing,
                Phase::Stable => StoredPhase::Stable,
                Phase::Preparing(_) => unreachable!("a rebalance that gathers members is not written down"),
            },
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
        }
    }

    /// The phase as clients know it.
    pub(super) fn public_phase(&self) -> GroupPhase {
        match self.phase {
            Phase::Empty => GroupPhase::Empty,
            Phase::Preparing(_) => GroupPhase::PreparingRebalance,
            Phase::Completing => GroupPhase::CompletingRebalance,
            Phase::Stable => GroupPhase::Stable,
        }
    }

    /// Whether nothing but a name is left.
    pub(super) fn is_void(&self) -> bool {
        self.phase == Phase::Empty && self.members.is_empty() && self.pending.is_empty()
    }

    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.phase, Phase::Preparing(_))
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// Members whose JoinGroup waits.
    pub(super) fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.join.is_some()).count()
    }

    /// Whether nobody is missing.
    pub(super) fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.join.is_some())
    }

    /// The most patient member decides.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Bytes that all members but `except` take in a snapshot, without their assignments.
    pub(super) fn snapshot_bytes(&self, except: &str) -> usize {
        self.tally.bytes - self.members.get(except).map_or(0, Member::snapshot_bytes)
    }

    /// Whether a member with these protocols could be in one generation with the others.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if protocols.len() > MEMBER_PROTOCOLS_MAX {
            return false;
        }
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let spoken_by_all = |name: &str| self.tally.speakers.get(name) == Some(&self.members.len());
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| spoken_by_all(name))
    }

    /// The protocol that most members prefer among those that all speak; on a tie what the leader prefers. `None`
    /// without members.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let first = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for (name, _) in &first.protocols {
            let spoken = self.tally.speakers.get(name) == Some(&self.members.len());
            if spoken && !votes.iter().any(|(seen, _)| seen == name) {
                votes.push((name, 0));
            }
        }
        for member in self.members.values() {
            let choice =
                member.protocols.iter().find_map(|(name, _)| votes.iter().position(|(c, _)| c == name));
            if let Some(choice) = choice {
                votes[choice].1 += 1;
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
    }

    /// Whether the request comes from a member, and from the one that its static identity belongs to.
    pub(super) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(owner) if owner != member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Member ids, instance ids and metadata of the chosen protocol, for the leader.
    pub(super) fn roster(&self) -> Vec<(String, Option<String>, Bytes)> {
        let protocol = self.protocol.as_deref();
        self.members
            .iter()
            .map(|(id, member)| (id.clone(), member.instance_id.clone(), member.metadata(protocol)))
            .collect()
    }

    /// Panics when the parts of the group contradict each other.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "a group with members has a leader");
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "the leader is a member");
        }
        assert!(self.statics.len() <= self.members.len(), "a static identity belongs to a member");
        if matches!(self.phase, Phase::Completing | Phase::Stable) {
            assert!(!self.members.is_empty(), "a generation has members");
            assert!(self.protocol.is_some(), "a generation has a protocol");
        }
        if self.phase == Phase::Empty {
            assert!(self.members.is_empty(), "an empty group has no members");
        }
    }
}
