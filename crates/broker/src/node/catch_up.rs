//! A replica that is behind what the leader's log still holds: it is sent the shard's state, pulls the records that the state
//! speaks of and that it lacks, puts them into segments, and starts from the state when all of it is durable. What was
//! pulled is kept in every case: segments may be ahead of the state, for they hold committed records only.
//!
//! ```text
//! leader: behind → state (bulk stream)     replica: state → pull … pull → checkpoint with the state → confirm
//! ```

use super::fetch::ReadFor;
use super::throttle::{Rounds, Throttle};
use super::{Node, Timer, checkpoint};
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::peer::{PeerMessage, Pull, Range, node_of};
use crate::shard::Snapshot;
use model::job::{JobError, SegmentMeta, SegmentRead, ShardCheckpoint};
use model::{LogIndex, Mono, NodeId, Now, Offset, PartitionId, StoredBatch, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pulls that may be unanswered.
const PULLS_MAX: usize = 4;
/// Bytes of pulled records that wait for their checkpoint; beyond it nothing is pulled.
const PULLED_BYTES_MAX: usize = 32 << 20;
/// A pull without an answer is sent again, to another node if its own is gone.
const PULL_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest state that is sent, bytes: it travels in one frame.
const STATE_BYTES_MAX: usize = consensus::FRAME_SIZE_MAX - (64 << 10);

/// What a node installs, and what it pulls for that.
pub(super) struct CatchUp {
    pub(super) installs: BTreeMap<usize, Install>,
    /// Those that the checkpoint under way makes the shard's own.
    finishing: BTreeMap<usize, Install>,
    /// Newer states that came while a checkpoint took along what is here: they begin when it is done.
    queued: BTreeMap<usize, Arrived>,
    /// Segments of partitions that no applied state knows yet.
    pub(super) strays: BTreeMap<PartitionId, Vec<SegmentMeta>>,
    pub(super) pulls: BTreeMap<u64, Pulling>,
    throttle: Throttle,
    rounds: Rounds,
    /// When the timer rings that was set because of the throttle.
    resumes: Option<Mono>,
}

impl CatchUp {
    /// Nothing to be done; pulls of so many bytes, and so many bytes a second.
    pub(super) fn new(pull_bytes: u32, rate: u64) -> CatchUp {
        CatchUp {
            installs: BTreeMap::new(),
            finishing: BTreeMap::new(),
            queued: BTreeMap::new(),
            strays: BTreeMap::new(),
            pulls: BTreeMap::new(),
            throttle: Throttle::new(rate, PULLS_MAX as u64 * u64::from(pull_bytes)),
            rounds: Rounds::default(),
            resumes: None,
        }
    }
}

/// A state as it came.
struct Arrived {
    number: u64,
    /// What the log's disk has confirmed by then.
    persisted: u64,
    snapshot: consensus::Snapshot,
}

pub(super) struct Install {
    /// Of the newest `Ready` that brought a state.
    number: u64,
    /// Newest number that the log's disk has confirmed since.
    persisted: u64,
    index: LogIndex,
    term: Term,
    members: Vec<u64>,
    state: Snapshot<'static>,
    /// Whom its records are pulled from.
    pub(super) source: NodeId,
    /// Records still to come: from where to where.
    wanted: BTreeMap<PartitionId, (Offset, Offset)>,
    /// Pulled, in no segment yet.
    pulled: BTreeMap<PartitionId, Vec<StoredBatch>>,
    /// Partitions whose segments lie wholly below what is still to be had, and where that begins: they go first.
    outdated: BTreeMap<PartitionId, Offset>,
    /// Bytes of records that came, in all.
    fetched: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Pulling {
    pub(super) at: usize,
    /// Who was asked.
    source: NodeId,
    partition: PartitionId,
    until: Mono,
}

/// Whom a segment read is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PulledBy {
    peer: NodeId,
    number: u64,
    /// Nothing at or beyond it is committed here.
    end: Offset,
}

/// A checkpoint's part in catching up.
#[derive(Default)]
pub(super) struct Share {
    pulled: Vec<(usize, PartitionId, Vec<StoredBatch>)>,
    outdated: Vec<(usize, PartitionId)>,
}

impl Node {
    // At the leader

    /// Followers need what the log does not hold any more: they get the state as it is now.
    pub(super) fn on_behind(&mut self, at: usize, followers: &[u64], out: &mut Vec<Effect>) {
        if followers.is_empty() {
            return;
        }
        let catalog = (at == 0).then_some(&self.catalog);
        let ShardCheckpoint { applied: index, applied_term: term, members, state, .. } =
            self.shards[at].checkpoint(catalog);
        if state.len() > STATE_BYTES_MAX {
            let text = format!(
                "the state of shard {} has {} bytes and cannot be sent: followers that are behind stay behind",
                self.shards[at].id.0,
                state.len()
            );
            out.push(Effect::Log(LogLevel::Error, text));
            return;
        }
        let snapshot = consensus::Snapshot { index, term, members, state };
        for follower in followers {
            let node = node_of(*follower).map_or(-1, |node| node.0);
            out.push(Effect::Log(
                LogLevel::Info,
                format!("node {node} gets the state of shard {}: it is behind the log", self.shards[at].id.0),
            ));
            self.shards[at].group.send_snapshot(*follower, &snapshot);
        }
    }

    /// A peer pulls records.
    pub(super) fn on_pull(&mut self, peer: NodeId, pull: Pull, out: &mut Vec<Effect>) {
        let mut range = Range { number: pull.number, batches: Vec::new(), starts_at: None };
        let shard = self.find_shard(pull.shard).map(|at| &self.shards[at]);
        let found = shard.and_then(|shard| shard.partitions.get(&pull.partition));
        if found.is_none() && shard.is_some_and(|shard| shard.applied() >= pull.state) {
            range.starts_at = Some(Offset(i64::MAX)); // deleted since: nothing is left of what the state speaks of
        }
        if let Some(partition) = found.filter(|partition| pull.offset < partition.log.log_end) {
            let by = PulledBy { peer, number: pull.number, end: partition.log.log_end };
            let bytes_max = pull.bytes_max as usize;
            match (partition.read_tail(pull.offset, bytes_max), partition.segment_of(pull.offset)) {
                (Some(batches), _) => range.batches = batches,
                (None, Some(segment)) => {
                    let read =
                        SegmentRead { partition: pull.partition, segment, offset: pull.offset, bytes_max };
                    self.read_segment(read, ReadFor::Pull(by), out);
                    return;
                }
                (None, None) => range.starts_at = Some(partition.first_held()),
            }
        }
        out.push(Effect::Send { to: peer, message: PeerMessage::Range(range) });
    }

    pub(super) fn on_pull_read(
        &mut self,
        by: PulledBy,
        result: Result<Vec<StoredBatch>, JobError>,
        out: &mut Vec<Effect>,
    ) {
        // What cannot be read comes from another node: the pull is sent again.
        let mut batches = result.unwrap_or_default();
        batches.retain(|batch| batch.next_offset() <= by.end);
        let range = Range { number: by.number, batches, starts_at: None };
        out.push(Effect::Send { to: by.peer, message: PeerMessage::Range(range) });
    }

    // At the replica

    /// Bytes of the log are durable: consensus counts this node in, but not before a state that came ahead is.
    pub(super) fn persisted(&mut self, at: usize, number: u64) {
        let CatchUp { installs, finishing, .. } = &mut self.catch_up;
        match installs.get_mut(&at).or_else(|| finishing.get_mut(&at)) {
            Some(install) => install.persisted = number,
            None => self.shards[at].group.on_persisted(number),
        }
    }

    /// A state came: what it speaks of and is not here is pulled.
    pub(super) fn begin_install(
        &mut self,
        now: Now,
        at: usize,
        number: u64,
        snapshot: consensus::Snapshot,
        out: &mut Vec<Effect>,
    ) {
        let is_held = self.catch_up.installs.contains_key(&at) || self.catch_up.finishing.contains_key(&at);
        let arrived = Arrived { number, persisted: 0, snapshot };
        if is_held && self.checkpoint.is_under_way() {
            self.catch_up.queued.insert(at, arrived);
        } else {
            self.install_state(now, at, arrived, out);
        }
    }

    fn install_state(&mut self, now: Now, at: usize, arrived: Arrived, out: &mut Vec<Effect>) {
        let Arrived { number, persisted, snapshot } = arrived;
        let state = match Snapshot::decode(self.shards[at].id, &snapshot.state) {
            Ok(state) => state,
            Err(error) => return self.stop(out, format!("a state from another node: {}", error.0)),
        };
        let source = self.shards[at].group.leader().and_then(node_of).unwrap_or(self.config.node);
        let before = self.catch_up.installs.remove(&at);
        if before.is_none() && !self.is_catching_up() && self.catch_up.rounds.begins(now.mono) {
            self.catch_up.throttle.reset();
        }
        let (persisted, pulled, fetched) = before.map_or((persisted, BTreeMap::new(), 0), |old| {
            (old.persisted.max(persisted), old.pulled, old.fetched)
        });
        let mut install = Install {
            number,
            persisted,
            index: snapshot.index,
            term: snapshot.term,
            members: snapshot.members,
            state,
            source,
            wanted: BTreeMap::new(),
            pulled,
            outdated: BTreeMap::new(),
            fetched,
        };
        for (id, log) in &mut install.state.partitions {
            if let Some(own) = self.shards[at].partitions.get(id) {
                let known = own.log.log_start.min(log.log_end);
                if known > log.log_start {
                    // This state is older than what this node knows to be gone: the source of an earlier pull had deleted it already.
                    log.to_mut().trim(known);
                }
            }
            let pulled = install.pulled.get(id).and_then(|batches| batches.last());
            let held = pulled.map(StoredBatch::next_offset).or_else(|| self.held_end(at, id));
            match held {
                Some(held) if held >= log.log_end => continue,
                Some(held) if held < log.log_start && held > Offset(0) => {
                    install.outdated.insert(*id, log.log_start);
                    install.pulled.remove(id);
                }
                _ => {}
            }
            if log.log_start < log.log_end {
                install.wanted.insert(*id, (held.unwrap_or_default().max(log.log_start), log.log_end));
            }
        }
        let text = format!(
            "shard {}: installing a state of entry {}, {} partitions to fetch",
            self.shards[at].id.0,
            install.index.0,
            install.wanted.len()
        );
        out.push(Effect::Log(LogLevel::Info, text));
        self.catch_up.pulls.retain(|_, pull| pull.at != at);
        self.catch_up.installs.insert(at, install);
    }

    /// Whether a state is being installed.
    pub(super) fn is_catching_up(&self) -> bool {
        !self.catch_up.installs.is_empty() || !self.catch_up.finishing.is_empty()
    }

    /// Whether a checkpoint would bring a state that is being installed any further.
    pub(super) fn has_caught_up_some(&self) -> bool {
        self.catch_up.installs.values().any(|install| {
            install.waits_for_checkpoint() || install.pulled.values().any(|batches| !batches.is_empty())
        })
    }

    /// Where the records of a partition end on this node's disk; `None` when there are none.
    fn held_end(&self, at: usize, id: &PartitionId) -> Option<Offset> {
        match self.shards[at].partitions.get(id) {
            Some(partition) => Some(partition.held_end()),
            None => self.catch_up.strays.get(id)?.last().map(|last| last.end_offset),
        }
    }

    /// Bytes of a partition's records that came for a state which is not the shard's yet, and are in no segment that its state knows.
    pub(super) fn arrived_bytes(&self, id: &PartitionId) -> u64 {
        let CatchUp { installs, strays, .. } = &self.catch_up;
        let pulled = installs.values().filter_map(|install| install.pulled.get(id)).flatten();
        let in_segments = strays.get(id).into_iter().flatten().map(|segment| segment.size);
        in_segments.sum::<u64>() + pulled.map(|batch| batch.size() as u64).sum::<u64>()
    }

    /// Pulls what is wanted, as far as there is room and the throttle allows it.
    pub(super) fn pull(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.catch_up.installs.is_empty() || self.frozen.is_some() || self.checkpoint.is_closing() {
            return;
        }
        self.catch_up.pulls.retain(|_, pull| now.mono < pull.until);
        let batches = self.catch_up.installs.values().flat_map(|install| install.pulled.values().flatten());
        let mut bytes: usize = batches.map(StoredBatch::size).sum();
        let pull_bytes = self.config.pull_bytes;
        bytes += self.catch_up.pulls.len() * pull_bytes as usize;
        let busy: BTreeSet<PartitionId> = self.catch_up.pulls.values().map(|pull| pull.partition).collect();
        let installs: Vec<usize> = self.catch_up.installs.keys().copied().collect();
        for at in installs {
            let source = self.pull_source(at);
            let install = &self.catch_up.installs[&at];
            let due = install
                .wanted
                .iter()
                .filter(|(id, _)| !busy.contains(*id) && !install.outdated.contains_key(*id));
            let due: Vec<(PartitionId, Offset)> =
                due.map(|(id, (from, _))| (*id, *from)).take(PULLS_MAX).collect();
            for (partition, offset) in due {
                if self.catch_up.pulls.len() >= PULLS_MAX || bytes >= PULLED_BYTES_MAX {
                    break;
                }
                if let Some(opens_at) = self.catch_up.throttle.opens_at(now.mono) {
                    if self.catch_up.resumes.is_none_or(|at| at <= now.mono) {
                        self.catch_up.resumes = Some(opens_at);
                        self.set_timer(opens_at, Timer::Settle);
                    }
                    break;
                }
                self.catch_up.throttle.take(pull_bytes as usize);
                bytes += pull_bytes as usize;
                let number = self.next_question();
                self.catch_up
                    .pulls
                    .insert(number, Pulling { at, source, partition, until: now.mono.plus(PULL_TIMEOUT) });
                let shard = self.shards[at].id;
                let state = self.catch_up.installs[&at].index;
                let pull = Pull { number, shard, partition, offset, bytes_max: pull_bytes, state };
                out.push(Effect::Send { to: source, message: PeerMessage::Pull(pull) });
            }
        }
        let needs_checkpoint =
            |install: &Install| install.waits_for_checkpoint() || bytes >= PULLED_BYTES_MAX;
        if !self.checkpoint.is_under_way() && self.catch_up.installs.values().any(needs_checkpoint) {
            self.checkpoint.is_due = true;
        }
    }

    /// Who is asked for records: whoever sent the state, or another node that lives. All have what is committed.
    fn pull_source(&mut self, at: usize) -> NodeId {
        let source = self.catch_up.installs[&at].source;
        if self.is_alive(source) {
            return source;
        }
        self.change_source(at)
    }

    /// The next replica that lives is asked from now on, if there is another one.
    fn change_source(&mut self, at: usize) -> NodeId {
        let mut nodes = self.replicas(self.shards[at].id);
        let before = self.catch_up.installs[&at].source;
        let place = nodes.iter().position(|node| *node == before).map_or(0, |place| place + 1);
        nodes.rotate_left(place);
        let other = nodes.into_iter().find(|node| *node != before && self.is_alive(*node)).unwrap_or(before);
        self.catch_up.installs.get_mut(&at).expect("looked at").source = other;
        other
    }

    /// Records that were pulled.
    pub(super) fn on_range(&mut self, now: Now, range: Range, out: &mut Vec<Effect>) {
        let Some(range) = self.on_mending_range(now, range, out) else { return };
        let Some(pull) = self.catch_up.pulls.remove(&range.number) else { return };
        let came = range.batches.iter().map(StoredBatch::size).sum();
        self.catch_up.throttle.correct(self.config.pull_bytes as usize, came);
        if !self.take_range(&pull, range.starts_at, range.batches) {
            // Nothing came of it: it is sent again when its time is up, to another node.
            self.catch_up.pulls.insert(range.number, pull);
            // The other pulls that went there say the same, and must not change it back.
            if self.catch_up.installs.get(&pull.at).is_some_and(|install| install.source == pull.source) {
                self.change_source(pull.at);
            }
        }
    }

    /// Whether the range says anything.
    fn take_range(&mut self, pull: &Pulling, starts_at: Option<Offset>, batches: Vec<StoredBatch>) -> bool {
        let Some(install) = self.catch_up.installs.get_mut(&pull.at) else { return true };
        install.fetched += batches.iter().map(|batch| batch.size() as u64).sum::<u64>();
        let Some((next, end)) = install.wanted.get_mut(&pull.partition) else { return true };
        let starts_at = starts_at.map(|first| first.min(*end));
        if let Some(first) = starts_at.filter(|first| *first > *next) {
            // What lies below went meanwhile; the log will say so, and perhaps nothing is left of what the state speaks of.
            *next = first;
            let known = install.state.partitions.iter_mut().find(|(id, _)| *id == pull.partition);
            if let Some((_, log)) = known {
                let log = log.to_mut();
                log.trim(first);
            }
            // What is here, or on its way into a segment, would be followed by a gap.
            install.pulled.remove(&pull.partition);
            install.outdated.insert(pull.partition, first);
            return true;
        }
        let before = *next;
        let pulled = install.pulled.entry(pull.partition).or_default();
        let is_first = pulled.is_empty();
        for batch in batches {
            // The very first batch of a partition may begin below what is wanted.
            let continues =
                batch.base_offset == *next || is_first && pulled.is_empty() && batch.base_offset < *next;
            if !continues || *next >= *end || !batch.is_intact() {
                break;
            }
            *next = batch.next_offset();
            pulled.push(batch);
        }
        let is_news = *next > before || next >= end;
        if next >= end || self.config.mutant == Some(Mutant::ManifestMissesRange) {
            install.wanted.remove(&pull.partition);
        }
        is_news
    }

    /// What a checkpoint takes along: pulled records go into segments, and states whose records are all there become the
    /// shard's own.
    pub(super) fn add_catch_up(&mut self, job: &mut model::job::Checkpoint) -> Share {
        let mut share = Share::default();
        let complete = self.catch_up.installs.iter().filter(|(_, install)| install.is_complete());
        let complete: BTreeSet<usize> = complete.map(|(at, _)| *at).collect();
        for (at, install) in &mut self.catch_up.installs {
            for (id, start) in &install.outdated {
                job.trims.push((*id, *start));
                share.outdated.push((*at, *id));
            }
            for (id, batches) in std::mem::take(&mut install.pulled) {
                if batches.is_empty() {
                    continue;
                }
                match job.flushes.iter_mut().find(|flush| flush.partition == id) {
                    Some(flush) => flush.batches.extend(batches.iter().cloned()),
                    None => job.flushes.push(checkpoint::flush_of(id, batches.clone())),
                }
                share.pulled.push((*at, id, batches));
            }
            if !complete.contains(at) {
                continue;
            }
            let slot = job.shards.iter_mut().find(|shard| shard.shard == self.shards[*at].id);
            let slot = slot.expect("a checkpoint has all shards");
            (slot.applied, slot.applied_term) = (install.index, install.term);
            slot.members = install.members.clone();
            slot.state = install.state.encode().into();
            let stays: BTreeSet<PartitionId> = install.state.partitions.iter().map(|(id, _)| *id).collect();
            let known = self.shards[*at].partitions.keys().copied();
            let gone: BTreeSet<PartitionId> = known.filter(|id| !stays.contains(id)).collect();
            job.flushes.retain(|flush| !gone.contains(&flush.partition));
            job.drops.extend(gone);
        }
        for at in complete {
            let install = self.catch_up.installs.remove(&at).expect("just found");
            self.catch_up.finishing.insert(at, install);
        }
        share
    }

    /// The checkpoint failed: what it took along waits for the next.
    pub(super) fn catch_up_failed(&mut self, now: Now, share: Share, out: &mut Vec<Effect>) {
        self.catch_up.installs.append(&mut self.catch_up.finishing);
        for (at, id, mut batches) in share.pulled {
            if let Some(install) = self.catch_up.installs.get_mut(&at) {
                let pulled = install.pulled.entry(id).or_default();
                batches.append(pulled);
                *pulled = batches;
            }
        }
        self.begin_queued(now, out);
    }

    fn begin_queued(&mut self, now: Now, out: &mut Vec<Effect>) {
        for (at, queued) in std::mem::take(&mut self.catch_up.queued) {
            self.install_state(now, at, queued, out);
        }
    }

    /// What is on disk of a partition that no state here knows yet, for the state that does: a later pull goes on behind it.
    pub(super) fn keep_stray(&mut self, id: PartitionId, segments: Vec<SegmentMeta>) {
        match segments.is_empty() {
            true => drop(self.catch_up.strays.remove(&id)),
            false => drop(self.catch_up.strays.insert(id, segments)),
        }
    }

    /// The checkpoint is durable.
    pub(super) fn caught_up(&mut self, now: Now, share: Share, out: &mut Vec<Effect>) {
        for (at, id) in share.outdated {
            if let Some(install) = self.catch_up.installs.get_mut(&at) {
                install.outdated.remove(&id);
            }
        }
        for (at, install) in std::mem::take(&mut self.catch_up.finishing) {
            self.end_round(now, at, &install, out);
            self.finish_install(at, install, out);
        }
        self.begin_queued(now, out);
    }

    /// What was written during a round is left for the next one. When that is no less, there would be no last one.
    fn end_round(&mut self, now: Now, at: usize, install: &Install, out: &mut Vec<Effect>) {
        let is_no_less = self.catch_up.rounds.ended(at, now.mono, install.fetched);
        if is_no_less && install.fetched >= self.catch_up.throttle.rate() {
            self.catch_up.throttle.double();
            let text = format!(
                "shard {}: clients write nearly as fast as this node may fetch: {} bytes per second from now on, until it has \
                 caught up",
                self.shards[at].id.0,
                self.catch_up.throttle.rate()
            );
            out.push(Effect::Log(LogLevel::Info, text));
        }
    }

    fn finish_install(&mut self, at: usize, install: Install, out: &mut Vec<Effect>) {
        let Install { number, persisted, index, term, mut state, .. } = install;
        if let Some(catalog) = state.catalog.take() {
            let is_raised = catalog.level() > self.catalog.level();
            self.catalog = catalog;
            self.settings_changed(out);
            self.on_shards_added(out);
            if is_raised {
                self.on_level(out);
            }
        }
        let before = self.shards[at].install((index, term), state, &mut self.catch_up.strays);
        for partition in before.into_values() {
            self.tail_bytes -= partition.tail_bytes();
            self.woken.extend(partition.fetches);
        }
        // Only now does this replica confirm: everything up to the state's entry is durable here. A newer state that waits is not.
        let mut confirmed = number.max(persisted);
        if let Some(next) = self.catch_up.queued.get_mut(&at) {
            next.persisted = persisted;
            confirmed = confirmed.min(next.number - 1);
        }
        self.shards[at].group.on_persisted(confirmed);
        out.push(Effect::Log(
            LogLevel::Info,
            format!("shard {}: the state of entry {} is installed", self.shards[at].id.0, index.0),
        ));
        if at == 0 {
            // What the catalogue went through meanwhile was not driven by whoever leads a shard here.
            self.shards.iter_mut().for_each(|shard| shard.reconciled = false);
            self.reconcile_wanted = true;
            self.answer_passed(out);
        }
    }
}

impl Install {
    /// Its log is cut where it must be, and all records are pulled.
    fn is_complete(&self) -> bool {
        self.wanted.is_empty() && self.outdated.is_empty() && self.persisted >= self.number
    }

    /// Whether nothing but a checkpoint brings it further.
    fn waits_for_checkpoint(&self) -> bool {
        self.is_complete() || !self.outdated.is_empty()
    }
}
