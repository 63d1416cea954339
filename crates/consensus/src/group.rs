//! One replica of one shard: takes ticks, proposals, messages and completions of the disk; gives out `Ready`s.
//!
//! The order that keeps the promises: what a message promises is durable before the message is given out; an entry is
//! given out as committed when it is durable here and at a quorum. Several `Ready`s may be persisting at a time.

mod elect;
mod lend;
mod mutants;
mod view;

use self::elect::Turns;
use crate::log::{Log, change_of, snapshot_from_raft, snapshot_to_raft};
use crate::translate::{fault, from_raft_message, to_raft_message};
use crate::{
    Body, Change, Config, Message, Mutant, Random, Read, Ready, RestoreError, Restored, Role, RoleChange,
    Snapshot,
};
use bytes::Bytes;
use model::{Entry, EntryKind, HardState, LogIndex, Payload, Term};
use raft::eraftpb::{Entry as RaftEntry, Message as RaftMessage, MessageType};
use raft::{ProgressState, RawNode, SnapshotStatus, StateRole};
use std::collections::{BTreeMap, VecDeque};

/// Where an entry stands. Only both numbers together name it: another leader may put another entry at the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Term of the leader that proposed it.
    pub term: Term,
    /// Its index.
    pub index: LogIndex,
}

/// Why a proposal was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Ask the leader.
    #[error("not the leader")]
    NotLeader {
        /// Who that is, if known.
        leader: Option<u64>,
    },
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Too many bytes wait for their commit.
    #[error("too much is waiting for its commit")]
    Full,
    /// Another change of members is not yet applied, or two sets of voters decide.
    #[error("another change of members is under way")]
    ChangePending,
}

/// Why a message was not taken. Nothing was changed, except by `Halted`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// For another replica or shard, or from nobody.
    #[error("the message is not for this replica")]
    Misrouted,
    /// From a replica that is no member, where only members speak.
    #[error("the sender {from} is no member")]
    UnknownSender {
        /// Its raft id.
        from: u64,
    },
    /// It says what no correct replica says.
    #[error("malformed message: {detail}")]
    Malformed {
        /// What is wrong.
        detail: &'static str,
    },
    /// The replica has stopped for good.
    #[error("the replica has stopped: {0}")]
    Halted(Halt),
}

/// Why a replica stopped for good: it must not vote, acknowledge or lead any more (architecture §6, rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The leader knows that this replica once held more than it holds now.
    #[error("the log ends at {last:?}, but this replica acknowledged {acknowledged:?}")]
    LogLost {
        /// Where the log ends.
        last: LogIndex,
        /// What it acknowledged.
        acknowledged: LogIndex,
    },
}

/// A `Ready` whose bytes are not yet durable, and what waits for it.
struct Outstanding {
    number: u64,
    /// Largest number of raft's own that it stands for (rounds without bytes ride on the one before).
    raft_number: u64,
    held: Vec<RaftMessage>,
    installed: Option<u64>,
}

/// One replica of one shard. The driver's duties are written at `Ready`.
pub struct Group {
    config: Config,
    node: RawNode<Log>,
    outstanding: VecDeque<Outstanding>,
    /// Messages whose promises are durable now.
    released: Vec<RaftMessage>,
    random: Random,
    election_timeout: usize,
    seen: (u64, StateRole, u64),
    told: RoleChange,
    persisted_vote: (u64, u64),
    uncommitted_bytes: u64,
    /// Ticks that each follower has been taking a snapshot for.
    snapshot_ticks: BTreeMap<u64, usize>,
    halt: Option<Halt>,
    /// The commit index at the last tick.
    committed_at_tick: u64,
    /// Requests for votes that came while this replica still knew a leader, by who asked; and for how many ticks they are kept.
    early_votes: BTreeMap<u64, (Message, u32)>,
    /// The last term in which this replica led, or knew whom to follow. After a start, the term that it had.
    followed: u64,
    /// Two sets of voters decide.
    is_joint: bool,
    /// A change of members was applied, and no `Ready` has written down yet that it is committed.
    members_unwritten: bool,
    /// The number of the `Ready` that does; `None` once that is durable.
    members_written_by: Option<u64>,
    /// Loans that are to be sent.
    loans: Vec<Message>,
    turns: Turns,
    /// Mutant `ReadWithoutQuorum`.
    bad_reads: Vec<Read>,
}

impl Group {
    /// A replica as its disk left it. With one voter it leads at once: `ready` gives out the term's first entry.
    pub fn new(config: Config, restored: Restored) -> Result<Group, RestoreError> {
        let applied = restored.applied.0;
        let (mut log, hard_state) = restored.into_log(&config)?;
        log.set_hard_state(hard_state);
        log.keep_replaced_payload = config.has(Mutant::KeepReplacedPayload);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config.raft(applied), log, &logger)
            .map_err(|error| RestoreError::Config { shard: config.shard, detail: error.to_string() })?;
        let mix = (u64::from(config.shard.0) << 32) ^ config.node.rotate_left(17);
        let mut group = Group {
            random: Random::new(config.seed ^ mix),
            election_timeout: config.election_ticks,
            seen: (0, StateRole::Follower, 0),
            told: RoleChange { role: Role::Follower, term: hard_state.term, leader: None },
            persisted_vote: (hard_state.term.0, hard_state.vote),
            config,
            node,
            outstanding: VecDeque::new(),
            released: Vec::new(),
            uncommitted_bytes: 0,
            snapshot_ticks: BTreeMap::new(),
            halt: None,
            committed_at_tick: 0,
            early_votes: BTreeMap::new(),
            followed: hard_state.term.0,
            is_joint: false,
            members_unwritten: false,
            members_written_by: None,
            loans: Vec::new(),
            turns: Turns::default(),
            bad_reads: Vec::new(),
        };
        group.draw_timeout();
        group.note_members();
        if group.is_alone() {
            group.campaign();
        }
        Ok(group)
    }

    /// Time passes. A group of one voter needs none (`needs_ticks`).
    pub fn tick(&mut self) {
        if self.halt.is_some() || !self.needs_ticks() {
            return;
        }
        self.wait_while_installing();
        self.forget_early_votes();
        if self.node.tick() && self.node.raft.state != StateRole::Leader {
            self.draw_timeout();
        }
        self.give_up_stuck_snapshots();
        self.tell_old_commits();
        self.end_joint();
        self.settle();
    }

    /// Whoever leads while two sets of voters decide sees to it that the new one decides alone: also one that leads since then.
    fn end_joint(&mut self) {
        if self.is_joint && self.is_leader() {
            // Refused while that is under way, or leadership moves: the next tick comes.
            let _ = self.propose_change(&Change::Leave);
        }
    }

    fn note_members(&mut self) {
        self.is_joint = self.members().is_joint();
    }

    /// Tells followers what they have not heard of since the last tick: no entries came behind it.
    fn tell_old_commits(&mut self) {
        let old = std::mem::replace(&mut self.committed_at_tick, self.node.raft.raft_log.committed);
        if self.config.tells_commits || !self.is_leader() {
            return;
        }
        let tracked = self.node.raft.prs().iter();
        let behind = tracked.filter(|(id, progress)| {
            **id != self.config.node
                && progress.state == ProgressState::Replicate
                && progress.committed_index < old
        });
        let behind: Vec<u64> = behind.map(|(id, _)| *id).collect();
        for peer in behind {
            self.node.raft.send_append(peer);
        }
    }

    /// False when ticks change nothing: nobody else votes.
    pub fn needs_ticks(&self) -> bool {
        !(self.is_alone() && self.node.raft.state == StateRole::Leader)
    }

    /// Puts a command at the end of the log. `descriptor` must not be empty (an empty one marks a leader's first entry).
    pub fn propose(&mut self, descriptor: Bytes, payload: Payload) -> Result<Position, ProposeError> {
        assert!(!descriptor.is_empty(), "an empty descriptor marks a new leader's first entry");
        self.check_proposal()?;
        let bytes = (descriptor.len() + payload.size()) as u64;
        if self.uncommitted_bytes > 0 && self.uncommitted_bytes + bytes > self.config.uncommitted_bytes_max {
            return Err(ProposeError::Full);
        }
        let entry = RaftEntry { data: descriptor, ..RaftEntry::default() };
        let mut message = RaftMessage::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.node;
        message.set_entries(vec![entry].into());
        // The other reasons to drop a proposal were checked; what is left is a leader that was voted out of the group.
        self.node.raft.step(message).map_err(|_| ProposeError::NotLeader { leader: None })?;
        let position = Position { term: self.term(), index: self.last_index() };
        self.uncommitted_bytes += bytes;
        self.node.mut_store().remember(position.index.0, position.term.0, payload);
        Ok(position)
    }

    /// Puts a change of members at the end of the log; it takes effect when applied. One at a time.
    ///
    /// # Errors
    /// `ChangePending` also for a change that would change nothing.
    pub fn propose_change(&mut self, change: &Change) -> Result<Position, ProposeError> {
        self.check_proposal()?;
        let step = change.steps(&self.members()).pop();
        let (false, Some(step)) = (self.node.raft.has_pending_conf(), step) else {
            return Err(ProposeError::ChangePending);
        };
        let context = change.encode().to_vec();
        let lost = |_| ProposeError::NotLeader { leader: None };
        self.node.propose_conf_change(context, step).map_err(lost)?;
        Ok(Position { term: self.term(), index: self.last_index() })
    }

    fn check_proposal(&self) -> Result<(), ProposeError> {
        if self.halt.is_some() || self.node.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if self.node.raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        Ok(())
    }

    /// Asks a quorum whether this replica still leads; `Ready::reads` answers. `id` is distinct while it waits; a read
    /// gets no answer when leadership is lost. Refused until the term's first entry is committed.
    pub fn read_index(&mut self, id: u64) -> Result<(), ProposeError> {
        self.check_proposal()?;
        if !self.node.raft.commit_to_current_term() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        if self.config.has(Mutant::ReadWithoutQuorum) {
            self.bad_reads.push(Read { id, index: self.committed() });
            return Ok(());
        }
        self.node.read_index(id.to_be_bytes().to_vec());
        Ok(())
    }

    /// Hands leadership to `to`; proposals are refused until it has taken over or an election timeout has passed.
    pub fn transfer_leader(&mut self, to: u64) {
        if self.is_leader() && self.node.raft.prs().conf().voters().contains(to) {
            self.node.transfer_leader(to);
            self.settle();
        }
    }

    /// Hands leadership to the follower that holds most of the log, of those that may lead: this node's disk stalls or is slow, or it
    /// shuts down. Says to whom; `None` when this replica does not lead, hands over already, or none of them was heard lately.
    pub fn hand_over(&mut self, may_lead: impl Fn(u64) -> bool) -> Option<u64> {
        if !self.is_leader() || self.node.raft.lead_transferee.is_some() {
            return None;
        }
        let voters = self.voters();
        let followers = voters.into_iter().filter(|voter| *voter != self.config.node && may_lead(*voter));
        let heard = followers.filter_map(|voter| {
            let progress = self.node.raft.prs().get(voter).filter(|progress| progress.recent_active)?;
            Some((progress.matched, voter))
        });
        let (_, heir) = heard.max()?;
        self.transfer_leader(heir);
        Some(heir)
    }

    /// The connection to `peer` broke: what was in flight may be lost, so replication goes on from what it confirmed.
    pub fn unreachable(&mut self, peer: u64) {
        if self.is_leader() {
            self.node.report_unreachable(peer);
        }
    }

    /// Takes a message from the network. What no correct replica sends is refused; evidence that this replica's disk lost
    /// what it acknowledged stops the replica for good.
    pub fn step(&mut self, mut message: Message) -> Result<(), StepError> {
        self.check_message(&message)?;
        if self.installing() && matches!(message.body, Body::Append { .. }) {
            // Lost, as the network may lose it: no entry is made durable before the state that it follows.
            return Ok(());
        }
        if self.config.has(Mutant::VoteForShorterLog)
            && let Body::Vote { last, last_term, .. } = &mut message.body
        {
            (*last, *last_term) = (self.last_index().max(*last), self.last_term().max(*last_term));
        }
        if let Body::Lend { previous, previous_term, commit, entries } = message.body {
            if !self.installing() {
                self.take_loan((previous, previous_term), commit, entries);
                self.settle();
            }
            return Ok(());
        }
        self.keep_early_vote(&message);
        self.turns.asked = matches!(message.body, Body::TimeoutNow);
        let raft_message = to_raft_message(&message);
        self.node.step(raft_message).map_err(|_| StepError::UnknownSender { from: message.from })?;
        match message.body {
            Body::Append { entries, .. } => self.remember(entries),
            Body::Vote { last, last_term, commit, commit_term, .. } => {
                self.lend(message.from, (last, last_term), (commit, commit_term));
            }
            _ => {}
        }
        self.settle();
        self.commit_old_term();
        Ok(())
    }

    /// Keeps the payload of entries that raft has taken.
    fn remember(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let (index, term) = (entry.index.0, entry.term.0);
            // Taken just now, or seen before and not yet in a `Ready`: either way this is its payload.
            if self.node.raft.raft_log.unstable.maybe_term(index) == Some(term) {
                self.node.mut_store().remember(index, term, entry.payload);
            }
        }
    }

    fn check_message(&mut self, message: &Message) -> Result<(), StepError> {
        if let Some(halt) = self.halt {
            return Err(StepError::Halted(halt));
        }
        let from = message.from;
        let routed = message.to == self.config.node && message.shard == self.config.shard;
        if !routed || from == self.config.node || from == 0 {
            return Err(StepError::Misrouted);
        }
        // Who is alone in its group hears nobody; else a newer leader may be one that this replica has not heard of.
        let is_member = self.node.raft.prs().get(from).is_some();
        if !is_member && self.is_alone() {
            return Err(StepError::UnknownSender { from });
        }
        if let Some(detail) = fault(message) {
            return Err(StepError::Malformed { detail });
        }
        let current = message.term >= self.term();
        match &message.body {
            // A leader's heartbeat names at most what this replica confirmed in the leader's term.
            Body::Heartbeat { commit, .. } if current && *commit > self.last_index() => {
                let halt = Halt::LogLost { last: self.last_index(), acknowledged: *commit };
                self.halt = Some(halt);
                Err(StepError::Halted(halt))
            }
            Body::AppendResponse { index, reject: None, .. }
                if self.is_leader() && message.term == self.term() && *index > self.last_index() =>
            {
                Err(StepError::Malformed { detail: "confirms what was never sent" })
            }
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_)
                if self.is_leader() && message.term == self.term() =>
            {
                Err(StepError::Malformed { detail: "a second leader of one term" })
            }
            Body::Snapshot(state)
                if state.index <= self.committed()
                    && self.term_at(state.index).is_some_and(|term| term != state.term) =>
            {
                Err(StepError::Malformed { detail: "a state parts from what is committed" })
            }
            Body::TimeoutNow if self.installing() => {
                Err(StepError::Malformed { detail: "a state is being installed" })
            }
            _ => Ok(()),
        }
    }

    /// What is to be done now; `None` when nothing is. Call until `None` after every other call.
    pub fn ready(&mut self) -> Option<Ready> {
        if self.halt.is_some() {
            return None;
        }
        loop {
            let has_more = self.node.has_ready()
                || !self.released.is_empty()
                || !self.loans.is_empty()
                || !self.bad_reads.is_empty()
                || self.members_unwritten;
            if !has_more && self.role_change() == self.told && !self.node.store().has_behind() {
                return None;
            }
            let ready = self.next_ready();
            let is_empty = ready.send.is_empty()
                && ready.committed.is_empty()
                && ready.role.is_none()
                && ready.reads.is_empty()
                && ready.behind.is_empty();
            if ready.needs_persist() || !is_empty {
                return Some(ready);
            }
        }
    }

    fn next_ready(&mut self) -> Ready {
        self.apply_before_persist();
        let mut round = self.node.ready();
        let mut ready = Ready { number: round.number(), ..Ready::default() };
        if !round.snapshot().is_empty() {
            // Appends are not taken while a state is installed, so nothing follows it.
            assert!(round.entries().is_empty());
            let snapshot = snapshot_from_raft(round.snapshot());
            let log = self.node.mut_store();
            ready.persist.extend(log.cut_at(snapshot.index.0));
            log.install(snapshot.index.0, snapshot.term.0);
            ready.install = Some(snapshot);
            self.note_members();
        }
        ready.persist.extend(self.node.mut_store().append(round.take_entries()));
        ready.reads = round.take_read_states().into_iter().map(read_from_raft).collect();
        ready.reads.append(&mut self.bad_reads);
        let free = round.take_messages();
        let promising = round.take_persisted_messages();
        let committed = round.take_committed_entries();
        self.node.advance_append_async(round);
        ready.committed = self.deliver(committed);
        ready.hard_state = self.changed_vote(ready.number, ready.install.is_some());

        let released = std::mem::take(&mut self.released);
        self.translate(released, &mut ready.send);
        self.translate(free, &mut ready.send);
        self.hold(&mut ready, promising);
        ready.send.append(&mut self.loans);
        ready.behind = self.node.mut_store().take_behind();
        let role = self.role_change();
        if role != self.told {
            if role.role != Role::Leader || role.term != self.told.term {
                self.uncommitted_bytes = 0;
            }
            self.told = role;
            ready.role = Some(role);
        }
        ready
    }

    /// Keeps promising messages back until this round, or the last one before it that has bytes, is durable.
    fn hold(&mut self, ready: &mut Ready, mut promising: Vec<RaftMessage>) {
        let early = self.leak(&mut promising);
        self.translate(early, &mut ready.send);
        let free = self.part_pre_votes(&mut promising);
        self.translate(free, &mut ready.send);
        let number = ready.number;
        if ready.needs_persist() {
            let installed = ready.install.as_ref().map(|snapshot| snapshot.index.0);
            self.outstanding.push_back(Outstanding {
                number,
                raft_number: number,
                held: promising,
                installed,
            });
        } else if let Some(last) = self.outstanding.back_mut() {
            last.raft_number = number;
            last.held.append(&mut promising);
        } else {
            self.node.on_persist_ready(number);
            self.translate(promising, &mut ready.send);
        }
    }

    /// Term and vote, if one of them changed since the last `Ready`. The commit index alone is not worth a sync, except that of a change of
    /// members: they are those that were applied last. A restart that went back to the ones before might need the vote of a replica that is
    /// gone for good.
    fn changed_vote(&mut self, number: u64, installs: bool) -> Option<HardState> {
        let raft = &self.node.raft;
        let vote = (raft.term, raft.vote);
        let members_unwritten = std::mem::take(&mut self.members_unwritten);
        if vote == self.persisted_vote && !members_unwritten {
            return None;
        }
        self.persisted_vote = vote;
        if self.config.has(Mutant::VoteForgotten) {
            return None;
        }
        if members_unwritten {
            self.members_written_by = Some(number);
        }
        // Never beyond what this `Ready` and those before it make durable: a restart checks it against the log. A state that is
        // being installed, be it this round's, is durable later than its round.
        let log = &raft.raft_log;
        let durable = if installs || self.installing() { log.persisted } else { self.node.store().last().0 };
        let commit = LogIndex(log.committed.min(durable));
        Some(HardState { term: Term(vote.0), vote: vote.1, commit })
    }

    fn deliver(&mut self, committed: Vec<RaftEntry>) -> Vec<Entry> {
        let Some(last) = committed.last().map(|entry| entry.index) else { return Vec::new() };
        let alone = self.is_alone();
        let mut entries = Vec::with_capacity(committed.len());
        for raft_entry in &committed {
            let log = self.node.mut_store();
            let entry = if alone { log.take(raft_entry) } else { log.entry(raft_entry) };
            let entry = entry.expect("a committed entry stays in the log until it is applied");
            self.uncommitted_bytes =
                self.uncommitted_bytes.saturating_sub((entry.descriptor.len() + entry.payload.size()) as u64);
            if entry.kind == EntryKind::ConfChange {
                for step in change_of(&entry).steps(&self.members()) {
                    self.node.apply_conf_change(&step).expect("each step leads from one group to another");
                    self.members_unwritten = true;
                }
                self.note_members();
            }
            entries.push(entry);
        }
        self.node.advance_apply_to(last);
        if alone && self.is_alone() {
            self.node.mut_store().compact(last);
        }
        entries
    }

    /// The bytes of the `Ready` with this number, and of all before it, are durable. `ready` has more to give then.
    pub fn on_persisted(&mut self, number: u64) {
        let mut raft_number = None;
        while self.outstanding.front().is_some_and(|front| front.number <= number) {
            let done = self.outstanding.pop_front().expect("looked at");
            raft_number = Some(done.raft_number);
            self.released.extend(done.held);
            self.node.on_persist_ready(done.raft_number);
            if let Some(index) = done.installed {
                self.node.advance_apply_to(index);
            }
        }
        if raft_number.is_none() {
            return;
        }
        self.members_written_by.take_if(|written_by| *written_by <= number);
        if self.config.has(Mutant::CommitWithoutQuorum) && self.is_leader() {
            let persisted = self.node.raft.raft_log.persisted;
            self.node.raft.raft_log.commit_to(persisted);
        }
        self.settle();
    }

    /// Forgets log entries that a durable checkpoint contains. Keeps what is not yet applied.
    pub fn compact(&mut self, through: LogIndex) {
        let through = through.min(self.applied()).0;
        self.node.mut_store().compact(through);
    }

    /// As `compact`, but keeps up to `keep_bytes` of the newest entries that a follower may still ask for. Nobody asks a
    /// group of one.
    pub fn compact_keeping(&mut self, through: LogIndex, keep_bytes: u64) {
        let through = through.min(self.applied()).0;
        let kept = if self.is_alone() { 0 } else { keep_bytes };
        self.node.mut_store().compact_keeping(through, kept);
    }

    /// Sends a state to a follower named in `Ready::behind`. It must reach at least `first_index - 1`.
    pub fn send_snapshot(&mut self, to: u64, snapshot: &Snapshot) {
        if !self.is_leader() || self.node.raft.prs().get(to).is_none() {
            return;
        }
        self.node.mut_store().offer(snapshot_to_raft(snapshot));
        self.node.raft.send_append(to);
    }

    /// A snapshot that a follower does not confirm within an election timeout was lost: it is sent again.
    fn give_up_stuck_snapshots(&mut self) {
        if !self.is_leader() || !self.node.store().has_offer() {
            self.snapshot_ticks.clear();
            return;
        }
        let tracked = self.node.raft.prs().iter();
        let taking =
            tracked.filter(|(_, progress)| progress.state == ProgressState::Snapshot).map(|(id, _)| *id);
        let taking: Vec<u64> = taking.collect();
        self.snapshot_ticks.retain(|peer, _| taking.contains(peer));
        for peer in taking {
            let ticks = self.snapshot_ticks.entry(peer).or_default();
            *ticks += 1;
            if *ticks >= self.config.election_ticks {
                self.snapshot_ticks.remove(&peer);
                self.node.report_snapshot(peer, SnapshotStatus::Failure);
            }
        }
    }

    fn translate(&self, messages: Vec<RaftMessage>, out: &mut Vec<Message>) {
        for message in messages {
            let (shard, bytes_max) = (self.config.shard, self.config.append_bytes_max);
            from_raft_message(shard, self.node.store(), message, bytes_max, out);
        }
    }

    /// After every call into raft: its own draw of an election timeout is replaced by one from the seed.
    fn settle(&mut self) {
        self.note_leader();
        let raft = &self.node.raft;
        let seen = (raft.term, raft.state, raft.leader_id);
        let asked = std::mem::take(&mut self.turns.asked);
        if seen != self.seen {
            self.seen = seen;
            self.turns.count(seen, asked);
            self.draw_timeout();
        }
        self.node.raft.set_randomized_election_timeout(self.election_timeout);
    }

    fn draw_timeout(&mut self) {
        let base = self.config.election_ticks;
        self.election_timeout = base + self.random.below(base as u64) as usize;
        self.node.raft.set_randomized_election_timeout(self.election_timeout);
    }

    /// While a state is being made durable, raft's log has nothing to campaign with.
    fn installing(&self) -> bool {
        self.outstanding.iter().any(|round| round.installed.is_some())
            || self.node.raft.raft_log.unstable_snapshot().is_some()
    }

    fn is_alone(&self) -> bool {
        let everyone = self.node.raft.prs();
        everyone.conf().voters().contains(self.config.node) && everyone.iter().len() == 1
    }

    fn role_change(&self) -> RoleChange {
        RoleChange { role: self.role(), term: self.term(), leader: self.leader() }
    }
}

fn read_from_raft(state: raft::ReadState) -> Read {
    let id = state.request_ctx.as_slice().try_into().map(u64::from_be_bytes).expect("written by read_index");
    Read { id, index: LogIndex(state.index) }
}
