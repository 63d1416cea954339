//! The part of a shard's log that is kept in memory: entries behind the last compaction, with their payload. raft sees
//! small descriptors only; the payload lies beside them, shared and never copied.
//!
//! ```text
//!   base (applied by the state machine that a restart begins from; its term is kept)
//!    │   slots: handed to the driver for persisting, or restored
//!    │  ┌──────────────────────────┐ fresh: in raft, not yet in a Ready
//!    0  1 2 3 4 5 6 7 8 9 ... last │ + + +
//! ```
//! Invariant: index and term name an entry for good (log matching), so a payload is only given out for both.

use crate::{Change, Members, Snapshot};
use bytes::Bytes;
use model::{Entry, EntryKind, LogIndex, Payload, ShardId, Term};
use raft::{
    Error, GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{Entry as RaftEntry, EntryType, Snapshot as RaftSnapshot},
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What an entry costs beside its bytes, in every limit counted in bytes.
const ENTRY_OVERHEAD: u64 = 64;

struct Slot {
    entry: RaftEntry,
    payload: Payload,
}

impl Slot {
    fn size(&self) -> u64 {
        (self.payload.size() + self.entry.data.len()) as u64 + ENTRY_OVERHEAD
    }
}

pub(crate) struct Log {
    shard: ShardId,
    base: u64,
    base_term: u64,
    slots: VecDeque<Slot>,
    fresh: BTreeMap<u64, (u64, Payload)>,
    /// What raft starts from; later changes live in raft's own tracker.
    first_state: RaftState,
    /// A state to send to followers that are behind `base`.
    offered: Option<RaftSnapshot>,
    /// Followers that raft wanted to send a state to when there was none. raft asks through `&self`.
    behind: RefCell<BTreeSet<u64>>,
    /// Mutant `KeepReplacedPayload`.
    pub(crate) keep_replaced_payload: bool,
}

impl Log {
    pub(crate) fn new(shard: ShardId, base: LogIndex, base_term: Term, members: &Members) -> Log {
        let first_state = RaftState { conf_state: members.to_raft(), ..RaftState::default() };
        Log {
            shard,
            base: base.0,
            base_term: base_term.0,
            slots: VecDeque::new(),
            fresh: BTreeMap::new(),
            first_state,
            offered: None,
            behind: RefCell::default(),
            keep_replaced_payload: false,
        }
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: model::HardState) {
        self.first_state.hard_state.term = hard_state.term.0;
        self.first_state.hard_state.vote = hard_state.vote;
        self.first_state.hard_state.commit = hard_state.commit.0;
    }

    /// Last entry handed to the driver or restored.
    pub(crate) fn last(&self) -> LogIndex {
        LogIndex(self.base + self.slots.len() as u64)
    }

    pub(crate) fn base(&self) -> LogIndex {
        LogIndex(self.base)
    }

    /// Bytes held, for the memory budget of the node.
    pub(crate) fn size(&self) -> u64 {
        self.slots.iter().map(Slot::size).sum()
    }

    /// Takes a durable entry at a start; the caller has checked that it comes next.
    pub(crate) fn restore(&mut self, entry: Entry) {
        assert_eq!(entry.index.0, self.last().0 + 1);
        let payload = entry.payload.clone();
        self.slots.push_back(Slot { entry: to_raft(&entry), payload });
    }

    /// Remembers the payload of an entry that raft has taken and not yet given out.
    pub(crate) fn remember(&mut self, index: u64, term: u64, payload: Payload) {
        self.fresh.insert(index, (term, payload));
    }

    /// Moves entries from a `Ready` here; an entry at or below the last index replaces that suffix.
    pub(crate) fn append(&mut self, entries: Vec<RaftEntry>) -> Vec<Entry> {
        let Some(first) = entries.first().map(|entry| entry.index) else { return Vec::new() };
        assert!(first > self.base, "entries below the compacted part are never replaced");
        assert!(first <= self.last().0 + 1, "a log has no holes");
        let replaced: VecDeque<Slot> = self.slots.split_off((first - self.base - 1) as usize);
        let mut persist = Vec::with_capacity(entries.len());
        for (position, entry) in entries.into_iter().enumerate() {
            let mut payload = match self.fresh.remove(&entry.index) {
                Some((term, payload)) if term == entry.term => payload,
                // Entries without a command: a new leader's first, a change of members.
                _ => {
                    let has_command =
                        entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty();
                    assert!(!has_command, "a command came without its payload");
                    Payload::default()
                }
            };
            if self.keep_replaced_payload
                && let Some(old) = replaced.get(position)
            {
                payload = old.payload.clone();
            }
            persist.push(from_raft(self.shard, &entry, payload.clone()));
            self.slots.push_back(Slot { entry, payload });
        }
        self.fresh.clear();
        persist
    }

    /// The entry with its payload, if index and term still name one here.
    pub(crate) fn entry(&self, entry: &RaftEntry) -> Option<Entry> {
        let slot = self.slots.get(entry.index.checked_sub(self.base + 1)? as usize)?;
        (slot.entry.term == entry.term).then(|| from_raft(self.shard, &slot.entry, slot.payload.clone()))
    }

    /// The entries behind `index` that were handed to the driver, until they have so many bytes together.
    pub(crate) fn from(&self, index: LogIndex, bytes_max: u64) -> Vec<Entry> {
        let Some(skipped) = index.0.checked_sub(self.base) else { return Vec::new() };
        let mut room = Some(bytes_max);
        let slots = self.slots.iter().skip(skipped as usize).take_while(|slot| {
            let had_room = room.is_some();
            room = room.and_then(|room| room.checked_sub(slot.size()));
            had_room
        });
        slots.map(|slot| from_raft(self.shard, &slot.entry, slot.payload.clone())).collect()
    }

    /// As `entry`, for one that nobody will ask for again: a node of one drops what it has applied.
    pub(crate) fn take(&mut self, entry: &RaftEntry) -> Option<Entry> {
        let slot = self.slots.get_mut(entry.index.checked_sub(self.base + 1)? as usize)?;
        if slot.entry.term != entry.term {
            return None;
        }
        let payload = std::mem::take(&mut slot.payload);
        Some(from_raft(self.shard, &slot.entry, payload))
    }

    /// Forgets entries through `through`, which the state machine's checkpoint contains.
    pub(crate) fn compact(&mut self, through: u64) {
        if through <= self.base {
            return;
        }
        let count = (through - self.base) as usize;
        assert!(count <= self.slots.len(), "only what was applied is compacted");
        self.base_term = self.slots[count - 1].entry.term;
        self.slots.drain(..count);
        self.base = through;
        if self.slots.is_empty() && self.slots.capacity() > 1024 {
            self.slots.shrink_to(64);
        }
    }

    /// As `compact`, but for the newest entries up to `through` that together have at most `keep_bytes`.
    pub(crate) fn compact_keeping(&mut self, through: u64, keep_bytes: u64) {
        let count = through.saturating_sub(self.base).min(self.slots.len() as u64);
        let mut room = keep_bytes;
        let fits = |slot: &&Slot| {
            let fits = slot.size() <= room;
            room = room.saturating_sub(slot.size());
            fits
        };
        let kept = self.slots.range(..count as usize).rev().take_while(fits).count() as u64;
        self.compact(through - kept);
    }

    /// The entry that, written again, cuts off what the disk holds behind a state to be installed at `index`: all of it
    /// conflicts with the state. What lies before stays until the state is durable, for it was acknowledged.
    pub(crate) fn cut_at(&self, index: u64) -> Option<Entry> {
        if self.last().0 <= index {
            return None;
        }
        let slot = &self.slots[(index - self.base - 1) as usize];
        Some(from_raft(self.shard, &slot.entry, slot.payload.clone()))
    }

    /// Starts anew behind an installed state.
    pub(crate) fn install(&mut self, index: u64, term: u64) {
        self.slots.clear();
        self.fresh.clear();
        self.offered = None;
        (self.base, self.base_term) = (index, term);
    }

    pub(crate) fn offer(&mut self, snapshot: RaftSnapshot) {
        self.offered = Some(snapshot);
    }

    pub(crate) fn has_offer(&self) -> bool {
        self.offered.is_some()
    }

    pub(crate) fn take_behind(&mut self) -> Vec<u64> {
        std::mem::take(self.behind.get_mut()).into_iter().collect()
    }

    pub(crate) fn has_behind(&self) -> bool {
        !self.behind.borrow().is_empty()
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.first_state.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<RaftEntry>> {
        if low <= self.base {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last().0 + 1, "raft asks for what it was given");
        let (mut room, mut entries) = (max_size.into().unwrap_or(u64::MAX), Vec::new());
        for slot in self.slots.range((low - self.base - 1) as usize..(high - self.base - 1) as usize) {
            let size = slot.size();
            if size > room && !entries.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            entries.push(slot.entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base {
            return Ok(self.base_term);
        }
        let position = index.checked_sub(self.base + 1).ok_or(Error::Store(StorageError::Compacted))?;
        let slot = self.slots.get(position as usize).ok_or(Error::Store(StorageError::Unavailable))?;
        Ok(slot.entry.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().0)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<RaftSnapshot> {
        match &self.offered {
            Some(snapshot)
                if snapshot.get_metadata().index >= request_index.max(self.base)
                    && snapshot_from_raft(snapshot).names(to) =>
            {
                Ok(snapshot.clone())
            }
            _ => {
                self.behind.borrow_mut().insert(to);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

/// raft's form of an entry, without payload. A change of members keeps its own form in `context`: raft parses `data` only
/// in the process that proposed it.
pub(crate) fn to_raft(entry: &Entry) -> RaftEntry {
    let mut raft_entry = RaftEntry { term: entry.term.0, index: entry.index.0, ..RaftEntry::default() };
    match entry.kind {
        EntryKind::Normal => raft_entry.data = entry.descriptor.clone(),
        EntryKind::ConfChange => {
            raft_entry.set_entry_type(EntryType::EntryConfChangeV2);
            raft_entry.context = entry.descriptor.clone();
        }
    }
    raft_entry
}

fn from_raft(shard: ShardId, entry: &RaftEntry, payload: Payload) -> Entry {
    let (kind, descriptor): (EntryKind, &Bytes) = match entry.get_entry_type() {
        EntryType::EntryNormal => (EntryKind::Normal, &entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => (EntryKind::ConfChange, &entry.context),
    };
    let (term, index) = (Term(entry.term), LogIndex(entry.index));
    Entry { shard, term, index, kind, descriptor: descriptor.clone(), payload }
}

pub(crate) fn snapshot_to_raft(snapshot: &Snapshot) -> RaftSnapshot {
    let mut raft_snapshot = RaftSnapshot { data: snapshot.state.clone(), ..RaftSnapshot::default() };
    let metadata = raft_snapshot.mut_metadata();
    metadata.index = snapshot.index.0;
    metadata.term = snapshot.term.0;
    let members = Members::from_codes(&snapshot.members).expect("checked when it was made or received");
    metadata.set_conf_state(members.to_raft());
    raft_snapshot
}

pub(crate) fn snapshot_from_raft(snapshot: &RaftSnapshot) -> Snapshot {
    let metadata = snapshot.get_metadata();
    Snapshot {
        index: LogIndex(metadata.index),
        term: Term(metadata.term),
        members: Members::from_raft(metadata.get_conf_state()).codes(),
        state: snapshot.data.clone(),
    }
}

/// The change that a committed entry makes.
pub(crate) fn change_of(entry: &Entry) -> Change {
    Change::parse(&entry.descriptor).expect("checked when it was proposed, received or restored")
}
