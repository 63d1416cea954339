//! One shard on this node: its consensus group, the partitions and groups in it, what waits to be proposed, and who
//! waits for what was proposed.
//!
//! Stop on the walk of a record: `partition/append → shard/propose → (consensus, WAL) → shard/apply → partition/commit`.
//! Apply depends on the entry and the shard's own state alone.

use crate::catalog::{Catalog, CatalogChange, CatalogCommand};
use crate::command::{Command, Descriptor, DescriptorError};
use crate::group::{Coordinator, GroupCommand, GroupTable, Ticket};
use crate::mutant::Mutant;
use crate::partition::{Partition, PartitionLog};
use crate::producer::PRODUCERS_MAX;
use crate::request::{Part, Token};
use bytes::Bytes;
use consensus::{Group, Position};
use model::job::{PartitionSegments, SegmentMeta, ShardCheckpoint};
use model::limits::ENTRY_PAYLOAD_BYTES_MAX;
use model::{Entry, EntryKind, LeaderEpoch, LogIndex, PartitionId, Payload, ShardId, StoredBatch, Term};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// Most commands in one entry.
pub const ENTRY_COMMANDS_MAX: usize = 4096;

/// What the controller wants of a partition. A deletion must not take the end of a creation for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drive {
    /// It shall exist.
    Create,
    /// It shall be gone.
    Delete,
}

/// What happens when a proposed command is applied (or is known not to be).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// This part of a request's answer is done.
    Gathered(Part),
    /// As `Gathered`, when at least so many replicas have it on disk.
    Replicated(Part, usize),
    /// The coordinator's proposal.
    Group(Ticket),
}

/// Commands that become one entry.
#[derive(Debug, Default)]
struct PendingEntry {
    commands: Vec<Command>,
    payload: Payload,
    thens: Vec<Then>,
}

/// What applying an entry leads to outside its shard.
#[derive(Debug)]
pub enum Applied {
    /// A partition has more records.
    Grew {
        /// Which.
        partition: PartitionId,
        /// By so many bytes.
        bytes: usize,
    },
    /// A partition is gone; the fetches that waited for it.
    Gone(PartitionId, Vec<Token>, usize),
    /// The catalogue changed.
    Catalog(CatalogChange),
    /// A command proposed here is applied.
    Then(Then),
    /// A partition exists, whoever proposed it.
    Created(PartitionId),
    /// What a catalogue wanted of the shard is applied.
    Driven,
    /// The first entry of this node's own term is applied: it serves from now on.
    Serving,
}

/// Version of a shard's state in checkpoints. The states of version 1 had none; none of them began with 0xff.
const STATE_VERSION: [u8; 2] = [0xff, 3];
/// As version 3, and behind it the disks that the catalogue names: of the metadata group's state when there are any.
const STATE_VERSION_4: [u8; 2] = [0xff, 4];
/// At its end the catalogue had no placed shards, no dying topics and no level yet, and the state no age of the catalogue.
const STATE_VERSION_2: [u8; 2] = [0xff, 2];
/// What it lacks: none, none, 0 and 0. Of a shard without a catalogue only the first one is read.
const LACKS: [u8; 4] = [0; 4];

/// The state of a shard as checkpoints keep it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot<'a> {
    pub(crate) epoch: i32,
    /// Written where they are: a node with many partitions has no time to copy them all.
    pub(crate) partitions: Vec<(PartitionId, Cow<'a, PartitionLog>)>,
    pub(crate) groups: GroupTable,
    pub(crate) catalog: Option<Catalog>,
    pub(crate) wanted: LogIndex,
}

impl Snapshot<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let plain = "plain data always serializes";
        match self.catalog.as_ref().map(Catalog::disks).filter(|disks| !disks.is_empty()) {
            None => postcard::to_extend(self, STATE_VERSION.to_vec()).expect(plain),
            Some(disks) => {
                let state = postcard::to_extend(self, STATE_VERSION_4.to_vec()).expect(plain);
                postcard::to_extend(disks, state).expect(plain)
            }
        }
    }

    pub(crate) fn decode(shard: ShardId, bytes: &[u8]) -> Result<Snapshot<'static>, DescriptorError> {
        let shard = shard.0;
        let unreadable = |error| DescriptorError(format!("read the checkpoint of shard {shard}: {error}"));
        if let Some(body) = bytes.strip_prefix(&STATE_VERSION_4) {
            let (mut snapshot, rest) =
                postcard::take_from_bytes::<Snapshot<'static>>(body).map_err(unreadable)?;
            if let Some(catalog) = &mut snapshot.catalog {
                catalog.take_disks(postcard::from_bytes(rest).map_err(unreadable)?);
            }
            return Ok(snapshot);
        }
        let before = bytes.strip_prefix(&STATE_VERSION_2).map(|body| [body, &LACKS].concat());
        let body = before.as_deref().or_else(|| bytes.strip_prefix(&STATE_VERSION)).ok_or_else(|| {
            DescriptorError(format!(
                "the checkpoint of shard {shard} was written by another version of Sternpost, which this one cannot read; \
                 start with a new data directory"
            ))
        })?;
        postcard::from_bytes(body).map_err(unreadable)
    }
}

/// One shard.
pub struct Shard {
    /// Its number.
    pub id: ShardId,
    /// This node is one of its replicas. Else the shard stands here for its number alone: it holds nothing and takes no part.
    pub is_here: bool,
    /// Its replica of the log.
    pub group: Group,
    /// Leaders so far, minus one: the leader epoch of what is appended now.
    pub epoch: LeaderEpoch,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionId, Partition>,
    /// The groups whose coordinator partitions lie here.
    pub coordinator: Coordinator,
    /// This node leads and its state contains everything before its term.
    pub serving: bool,
    /// While it serves: the first entry of its term. Of a replica that lacks it nothing is known.
    pub led_from: LogIndex,
    /// Since it serves, its partitions were brought to agree with the catalogue.
    pub reconciled: bool,
    /// Most producer states in its partitions; beyond it new producers are refused.
    pub producers_max: usize,
    producers: usize,
    /// The newest catalogue that created or deleted something here.
    wanted: LogIndex,
    /// The catalogue's age for each creation and deletion that this leader has proposed and that is not applied.
    drives: VecDeque<LogIndex>,
    pending: VecDeque<PendingEntry>,
    in_flight: VecDeque<(Position, Vec<Then>)>,
    applied: LogIndex,
    applied_term: Term,
    checkpointed: LogIndex,
    mutant: Option<Mutant>,
}

impl Shard {
    /// An empty shard.
    pub fn new(id: ShardId, group: Group, coordinator: Coordinator, mutant: Option<Mutant>) -> Shard {
        Shard {
            id,
            is_here: group.voters().contains(&group.config().node),
            group,
            epoch: LeaderEpoch(-1),
            partitions: BTreeMap::new(),
            coordinator,
            serving: false,
            led_from: LogIndex(0),
            reconciled: false,
            producers_max: PRODUCERS_MAX,
            producers: 0,
            wanted: LogIndex(0),
            drives: VecDeque::new(),
            pending: VecDeque::new(),
            in_flight: VecDeque::new(),
            applied: LogIndex(0),
            applied_term: Term(0),
            checkpointed: LogIndex(0),
            mutant,
        }
    }

    /// Puts the state of a checkpoint in place. Returns the catalogue if it is the metadata group's.
    ///
    /// # Errors
    /// When the state cannot be read: it was written by another version, or is damaged behind a valid checksum.
    pub fn restore(
        &mut self,
        checkpoint: &ShardCheckpoint,
        segments: &mut BTreeMap<PartitionId, PartitionSegments>,
    ) -> Result<Option<Catalog>, DescriptorError> {
        let snapshot = Snapshot::decode(checkpoint.shard, &checkpoint.state)?;
        self.epoch = LeaderEpoch(snapshot.epoch);
        self.coordinator.restore(snapshot.groups);
        for (id, log) in snapshot.partitions {
            let mut log = log.into_owned();
            if self.mutant == Some(Mutant::LogStartForgotten) {
                log.log_start = model::Offset(0);
            }
            let files = segments.remove(&id).map(|found| found.segments).unwrap_or_default();
            self.producers += log.producers.len();
            self.partitions.insert(id, Partition::restored(id, log, files));
        }
        self.wanted = snapshot.wanted;
        self.applied = checkpoint.applied;
        self.applied_term = checkpoint.applied_term;
        self.checkpointed = checkpoint.applied;
        Ok(snapshot.catalog)
    }

    /// The state now. `catalog` is the metadata group's.
    pub fn checkpoint(&self, catalog: Option<&Catalog>) -> ShardCheckpoint {
        let mut partitions: Vec<_> =
            self.partitions.iter().map(|(id, partition)| (*id, Cow::Borrowed(&partition.log))).collect();
        if self.mutant == Some(Mutant::ProducersForgotten) {
            partitions.iter_mut().for_each(|(_, log)| log.to_mut().producers.clear());
        }
        let snapshot = Snapshot {
            epoch: self.epoch.0,
            partitions,
            groups: self.coordinator.snapshot(),
            catalog: catalog.cloned(),
            wanted: self.wanted,
        };
        ShardCheckpoint {
            shard: self.id,
            applied: self.applied,
            applied_term: self.applied_term,
            hard_state: self.group.hard_state(),
            members: self.group.members().codes(),
            state: snapshot.encode().into(),
        }
    }

    /// What this leader knows to be durable at each replica that votes.
    pub fn voters_progress(&self) -> Vec<(u64, LogIndex)> {
        let voters = self.group.voters();
        self.group.progress().into_iter().filter(|(id, _)| voters.contains(id)).collect()
    }

    /// Last entry that its state contains.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Whether everything in its log is applied: a clean checkpoint may stand for all of it.
    pub fn is_applied_to_the_end(&self) -> bool {
        self.applied == self.group.last_index()
    }

    /// Puts a state from another replica in the place of this one's: it is durable, and so are its records. Returns the
    /// partitions as they were.
    pub(crate) fn install(
        &mut self,
        (applied, applied_term): (LogIndex, Term),
        state: Snapshot<'_>,
        strays: &mut BTreeMap<PartitionId, Vec<SegmentMeta>>,
    ) -> BTreeMap<PartitionId, Partition> {
        assert!(!self.serving, "a leader installs no state");
        let before = std::mem::take(&mut self.partitions);
        for (id, log) in state.partitions {
            let stray = strays.remove(&id).unwrap_or_default();
            let segments = before.get(&id).map_or(stray, |partition| partition.segments.clone());
            let log = log.into_owned();
            // They may begin behind the log's start: what was gone at the leader when it was pulled, the log will say.
            let is_whole = log.log_start >= log.log_end
                || segments.last().is_some_and(|last| last.end_offset >= log.log_end);
            assert!(is_whole, "the records of a state are there before it is installed");
            self.partitions.insert(id, Partition::restored(id, log, segments));
        }
        self.producers = self.partitions.values().map(Partition::producer_count).sum();
        self.epoch = LeaderEpoch(state.epoch);
        self.wanted = state.wanted;
        self.coordinator.restore(state.groups);
        (self.applied, self.applied_term, self.checkpointed) = (applied, applied_term, applied);
        before
    }

    /// Whether entries were applied since the newest durable checkpoint.
    pub fn is_ahead_of_checkpoint(&self) -> bool {
        self.applied > self.checkpointed
    }

    /// The checkpoint up to `applied` is durable.
    pub fn checkpointed(&mut self, applied: LogIndex, keep_bytes: u64) {
        self.checkpointed = applied;
        self.group.compact_keeping(applied, keep_bytes);
    }

    /// Adds a command to what is proposed next.
    pub fn add(&mut self, command: Command, then: Option<Then>) {
        self.add_with(command, Bytes::new(), then);
    }

    /// Adds a command with its payload.
    pub fn add_with(&mut self, command: Command, payload: Bytes, then: Option<Then>) {
        let fits = |entry: &PendingEntry| {
            entry.commands.len() < ENTRY_COMMANDS_MAX
                && (entry.commands.is_empty()
                    || entry.payload.size() + payload.len() <= ENTRY_PAYLOAD_BYTES_MAX)
        };
        if !self.pending.back().is_some_and(fits) {
            self.pending.push_back(PendingEntry::default());
        }
        let entry = self.pending.back_mut().expect("pushed when missing");
        entry.commands.push(command);
        entry.payload.push(payload);
        entry.thens.extend(then);
    }

    /// Bytes of batches that wait to be proposed.
    pub fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|entry| entry.payload.size()).sum()
    }

    /// Whether something waits to be proposed.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether something of this leader is not applied yet, proposed or about to be.
    pub fn has_proposals(&self) -> bool {
        self.has_pending() || !self.in_flight.is_empty()
    }

    /// Hands waiting commands to consensus, up to about `bytes_max` of descriptors and payload. Returns the bytes handed over.
    pub fn propose(&mut self, at_ms: i64, bytes_max: usize) -> usize {
        let mut bytes = 0;
        while self.serving && bytes < bytes_max {
            let Some(entry) = self.pending.pop_front() else { break };
            let descriptor = Descriptor { at_ms, commands: entry.commands };
            let encoded = descriptor.encode();
            // What members of groups say of themselves travels in the descriptor: megabytes, if they want.
            let size = encoded.len() + entry.payload.size();
            match self.group.propose(encoded, entry.payload.clone()) {
                Ok(position) => {
                    bytes += size;
                    self.in_flight.push_back((position, entry.thens));
                }
                Err(_) => {
                    // Too much in flight, or leadership is moving: keep the order and try again with the next commit.
                    let back = PendingEntry { commands: descriptor.commands, ..entry };
                    self.pending.push_front(back);
                    break;
                }
            }
        }
        bytes
    }

    /// Leadership is gone: nothing that waits will be applied on this node's word. Returns who waited.
    pub fn resign(&mut self) -> Vec<Then> {
        self.serving = false;
        self.reconciled = false;
        self.drives.clear();
        let duplicates = self.partitions.values_mut().flat_map(|partition| partition.duplicates.drain(..));
        let duplicates = duplicates.map(|(_, then)| then);
        let pending = self.pending.drain(..).flat_map(|entry| entry.thens);
        let in_flight = self.in_flight.drain(..).flat_map(|(_, thens)| thens);
        let waiting = in_flight.chain(pending).chain(duplicates).collect();
        self.forget_proposed();
        waiting
    }

    fn forget_proposed(&mut self) {
        self.partitions.values_mut().for_each(Partition::forget_proposed);
        self.producers = self.partitions.values().map(Partition::producer_count).sum();
    }

    /// Changes a partition, if there is one, and keeps count of the producers in all of them.
    pub fn change<R>(&mut self, id: PartitionId, act: impl FnOnce(&mut Partition) -> R) -> Option<R> {
        let found = self.partitions.get_mut(&id)?;
        let before = found.producer_count();
        let done = act(found);
        self.producers = self.producers + found.producer_count() - before;
        Some(done)
    }

    /// Whether a producer that its partition does not know may come.
    pub fn has_room_for_producer(&self) -> bool {
        self.producers < self.producers_max
    }

    /// Whether the room for producers comes to its end: those that are silent go earlier.
    pub fn is_crowded(&self) -> bool {
        self.producers >= self.producers_max / 8 * 7
    }

    /// Applies a committed entry.
    ///
    /// # Errors
    /// When the descriptor cannot be read. The node must stop: it cannot know what was acknowledged there.
    pub fn apply(
        &mut self,
        entry: &Entry,
        catalog: &mut Catalog,
        out: &mut Vec<Applied>,
    ) -> Result<(), DescriptorError> {
        assert_eq!(entry.index, self.applied.next(), "entries are applied in order, each once");
        self.applied = entry.index;
        self.applied_term = entry.term;
        if entry.kind == EntryKind::ConfChange {
            return Ok(());
        }
        if entry.descriptor.is_empty() {
            self.on_first_entry_of_term(entry.term, entry.index, out);
            return Ok(());
        }
        let descriptor = Descriptor::decode(&entry.descriptor)?;
        let mut payload = entry.payload.reader();
        let at_ms = match self.mutant {
            Some(Mutant::ApplyReadsClock) => descriptor.at_ms + self.group.config().node as i64,
            _ => descriptor.at_ms,
        };
        for command in descriptor.commands {
            self.apply_command(command, &mut payload, at_ms, catalog, out)?;
        }
        assert!(payload.is_empty(), "the commands of an entry use its whole payload");
        let position = Position { term: entry.term, index: entry.index };
        if self.in_flight.front().is_some_and(|(first, _)| *first == position) {
            let (_, thens) = self.in_flight.pop_front().expect("looked at");
            out.extend(thens.into_iter().map(Applied::Then));
        }
        Ok(())
    }

    fn on_first_entry_of_term(&mut self, term: Term, index: LogIndex, out: &mut Vec<Applied>) {
        if self.mutant != Some(Mutant::EpochNotBumped) || self.epoch.0 < 0 {
            self.epoch.0 += 1;
        }
        if self.group.is_leader() && self.group.term() == term {
            self.forget_proposed();
            (self.serving, self.led_from) = (true, index);
            out.push(Applied::Serving);
        }
    }

    fn apply_command(
        &mut self,
        command: Command,
        payload: &mut model::entry::PayloadReader<'_>,
        at_ms: i64,
        catalog: &mut Catalog,
        out: &mut Vec<Applied>,
    ) -> Result<(), DescriptorError> {
        match command {
            Command::Append { partition, base_offset, leader_epoch, size } => {
                let short = || DescriptorError(format!("{partition:?}: the entry ends inside a batch"));
                let bytes = payload.take(size as usize).ok_or_else(short)?;
                let commit = |found: &mut Partition| {
                    found.commit(StoredBatch::new(base_offset, leader_epoch, bytes), at_ms)
                };
                if let Some(bytes) = self.change(partition, commit) {
                    out.push(Applied::Grew { partition, bytes });
                }
            }
            Command::CreatePartition { partition: id, catalog } => {
                if catalog >= self.wanted {
                    self.wanted = self.wanted.max(catalog);
                    self.partitions.entry(id).or_insert_with(|| Partition::created(id, catalog));
                    out.push(Applied::Created(id));
                }
                self.drives.pop_front();
                out.push(Applied::Driven);
            }
            Command::DeletePartition(_) | Command::RemovePartition { .. } => {
                let (id, catalog) = match command {
                    Command::RemovePartition { partition, catalog } => (partition, catalog),
                    Command::DeletePartition(partition) => (partition, self.wanted),
                    other => unreachable!("{other:?} is no deletion"),
                };
                self.wanted = self.wanted.max(catalog);
                self.drives.pop_front();
                out.push(Applied::Driven);
                if let Some(gone) = self.partitions.remove(&id) {
                    self.producers -= gone.producer_count();
                    let bytes = gone.tail_bytes();
                    let waiting = gone.fetches.into_iter().collect();
                    out.push(Applied::Gone(id, waiting, bytes));
                    out.extend(gone.duplicates.into_iter().map(|(_, then)| Applied::Then(then)));
                }
            }
            Command::Trim { partition, log_start } => {
                if let Some(found) = self.partitions.get_mut(&partition) {
                    found.trim(log_start);
                    out.push(Applied::Grew { partition, bytes: 0 });
                }
            }
            Command::ForgetProducers { partition, producers } => {
                self.change(partition, |found| found.forget_producers(&producers));
            }
            Command::Group(command) => self.coordinator.apply(&command),
            Command::Catalog(command) => out.extend(self.apply_catalog(command, catalog)),
        }
        Ok(())
    }

    fn apply_catalog(&self, command: CatalogCommand, catalog: &mut Catalog) -> Option<Applied> {
        assert_eq!(self.id, ShardId::METADATA, "the catalogue changes in the metadata group only");
        catalog.apply(command, self.applied).map(Applied::Catalog)
    }

    /// Adds the creation or deletion of a partition, as a catalogue of this age wants it.
    pub fn drive(&mut self, partition: PartitionId, drive: Drive, catalog: LogIndex) {
        let command = match drive {
            Drive::Create => Command::CreatePartition { partition, catalog },
            Drive::Delete => Command::RemovePartition { partition, catalog },
        };
        self.drives.push_back(catalog);
        self.add(command, None);
    }

    /// The newest catalogue that created or deleted something here: an older one has no say.
    pub fn wanted(&self) -> LogIndex {
        self.wanted
    }

    /// Up to which entry of the metadata log all that the catalogue wanted here is applied, where this node's catalogue is at
    /// `catalog`; 0 while that is not known, because the node does not serve the shard or has not compared it with the catalogue.
    pub fn driven(&self, catalog: LogIndex) -> LogIndex {
        match self.drives.front() {
            _ if !(self.serving && self.reconciled) => LogIndex(0),
            Some(first) => LogIndex(first.0 - 1),
            None => catalog,
        }
    }

    /// Adds a proposal of the coordinator.
    pub fn add_group(&mut self, ticket: Ticket, command: GroupCommand) {
        self.add(Command::Group(command), Some(Then::Group(ticket)));
    }

    /// Index behind which the WAL must keep this shard's entries.
    pub fn keep_from(&self) -> LogIndex {
        self.checkpointed.next()
    }
}
