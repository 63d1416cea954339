//! The node: every shard, the catalogue, and the requests that wait. `step` takes one event; `settle`, called when no
//! more events are at hand, turns what they asked for into one group commit, applies what is committed and answers.
//!
//! One `WalAppend` is under way at a time: while the disk syncs, proposals gather, and go out together the moment it is
//! done. Nothing waits for a timer while the disk is idle.

mod admin;
mod answers;
mod catch_up;
mod checkpoint;
mod classes;
mod configs;
mod confirm;
mod drives;
mod elections;
mod fetch;
mod groups;
mod levels;
mod log_dirs;
mod losses;
mod members;
mod mend;
mod naming;
mod node_config;
mod offsets;
mod pace;
mod passing;
mod peers;
mod produce;
mod producer_ids;
mod quorum;
mod replicas;
mod retention;
mod room;
mod scrub;
mod start;
mod status;
mod throttle;
mod topic_pages;
mod topics;
mod waiting;

#[cfg(test)]
mod tests;

pub use node_config::NodeConfig;

use crate::catalog::Catalog;
use crate::config::{NodeSettings, TopicSettings};
use crate::event::{Effect, Event, LogLevel};
use crate::level::Level;
use crate::request::{Asker, ClientInfo, ConnectionId, Request, Token, Volume};
use crate::shard::{Applied, Shard, Then};
use consensus::Role;
use model::job::{Done, Job, JobError, JobId, WalAppend, WalRoom};
use model::{Mono, Now, PartitionId, TopicId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of descriptors and payload at which a group commit takes no further entry: a longer one carries no more per second.
const APPEND_BYTES_MAX: usize = 8 << 20;
/// Wait before an append that found no space is tried again.
const NO_SPACE_RETRY: Duration = Duration::from_millis(200);
/// Requests that may wait while the node starts; beyond it they are answered with a retriable error.
const START_REQUESTS_MAX: usize = 10_000;

/// What a timer was set for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Timer {
    Fetch(Token),
    Gather(Token),
    Append,
    Checkpoint,
    CheckpointRetry,
    Retention,
    Beat,
    Election,
    Upkeep,
    Passed(u64),
    /// Settling is what is due.
    Settle,
}

/// The group commit under way and the next one.
#[derive(Default)]
struct Wal {
    staged: WalAppend,
    staged_numbers: Vec<(usize, u64)>,
    under_way: Option<UnderWay>,
    room: WalRoom,
    /// The largest batch that was refused because of what is left and what waits for it; 0: none was, or there is more since.
    wanted: u64,
    held: u64,
    /// Set while an append found no space and waits to be tried again.
    full: bool,
    /// A timer is set to ask for room.
    probe_waits: bool,
    appends_total: u64,
}

struct UnderWay {
    since: Mono,
    id: JobId,
    append: WalAppend,
    numbers: Vec<(usize, u64)>,
}

/// The state machine of a node.
pub struct Node {
    config: NodeConfig,
    /// Settings in force: those of the start with those of the catalogue over them.
    settings: NodeSettings,
    catalog: Catalog,
    /// First those that every node has, as many as `everywhere`, then those that were placed on some nodes.
    shards: Vec<Shard>,
    everywhere: usize,
    unborn: classes::Found,
    wal: Wal,
    checkpoint: checkpoint::State,
    gathers: BTreeMap<Token, answers::Gather>,
    replicating: replicas::Replicating,
    electing: elections::Electing,
    fetches: BTreeMap<Token, fetch::Waiting>,
    readings: BTreeMap<Token, fetch::Reading>,
    reads: BTreeMap<JobId, fetch::ReadFor>,
    mending: mend::Mending,
    /// When segments are to be looked after next.
    upkeep_at: Option<Mono>,
    scrub: scrub::Scrub,
    reads_queued: VecDeque<(JobId, Job)>,
    woken: BTreeSet<Token>,
    lookups: BTreeMap<Token, offsets::Lookups>,
    peers: peers::Peers,
    /// Set while its disk takes no part.
    waiting: Option<waiting::Waiting>,
    naming: naming::Naming,
    pace: pace::Pace,
    /// The protocol level that was proposed since this node leads the metadata group.
    asked_level: Level,
    /// Number of the newest question to another node.
    last_question: u64,
    passing: passing::Passing,
    catch_up: catch_up::CatchUp,
    confirming: confirm::Confirming,
    driving: drives::Driving,
    changes: admin::Changes,
    topic_settings: BTreeMap<TopicId, Arc<TopicSettings>>,
    metadata_waiting: BTreeMap<Token, topics::WaitingMetadata>,
    producer_ids: producer_ids::ProducerIds,
    refused: crate::producer::Refused,
    offsets_topic_asked: bool,
    /// What the log said about settings without effect; at most one line for each known setting.
    remarked: BTreeSet<String>,
    /// The log says already that new producers are refused.
    crowd_reported: bool,
    commits: BTreeMap<Token, groups::CommitAnswer>,
    joins: BTreeMap<Token, groups::Join>,
    parts: BTreeMap<Token, groups::Part>,
    by_connection: BTreeMap<ConnectionId, BTreeSet<Token>>,
    connection_of: BTreeMap<Token, ConnectionId>,
    start: Option<start::Start>,
    /// A shard serves whose partitions were not yet compared with the catalogue.
    reconcile_wanted: bool,
    timers: BTreeMap<(Mono, u64), Timer>,
    tail_order: VecDeque<(usize, PartitionId)>,
    tail_bytes: usize,
    random: consensus::Random,
    next_number: u64,
    next_internal: u64,
    stopping: Option<bool>,
    frozen: Option<String>,
    /// As the driver last found it.
    volume: Option<Volume>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    batches_in: u64,
    bytes_in: u64,
    bytes_out: u64,
    segment_reads: u64,
}

impl Node {
    /// Takes one event. Call `settle` when no further event is at hand.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        if self.waiting.is_some() {
            return self.step_waiting(now, event, out);
        }
        match event {
            Event::Request { token, connection, client, request } => {
                self.on_request(now, token, connection, client, request, out);
            }
            Event::ConnectionClosed(connection) => self.on_connection_closed(connection),
            Event::JobDone { id, result } => self.on_job_done(now, id, result, out),
            Event::Peer { from, message } => self.on_peer(now, from, message, out),
            Event::Link(peer, link) => self.on_link(now, peer, link, out),
            Event::Volume(volume) => self.volume = volume,
            Event::Timer => self.run_timers(now, out),
            Event::Observe(token) => out.push(Effect::Status(token, Box::new(self.status()))),
            Event::Shutdown => {
                if self.stopping.is_none() {
                    self.stopping = Some(false);
                    out.push(Effect::Log(LogLevel::Info, "shutting down: a clean checkpoint first".into()));
                    self.leave(now);
                }
            }
        }
    }

    /// Proposes, applies and answers everything that can be. Call it after the last of a run of events.
    pub fn settle(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.waiting.is_some() {
            return;
        }
        // Behind a clean checkpoint nothing may follow in the log, whatever a timer wants to propose.
        if self.frozen.is_none() && !self.checkpoint.is_closing() {
            loop {
                self.reconcile_due(now, out);
                self.run_changes(now, out);
                self.look_at_shards(out);
                self.consider_level();
                self.name_disks();
                self.propose(now);
                self.confirm_asked();
                if !self.pump(now, out) {
                    break;
                }
            }
            self.start_append(now, out);
            self.consider_room(now);
        }
        self.tell_driven(out);
        self.answer_replicated(out);
        self.answer_elected(out);
        self.answer_waiting(now, out);
        self.pull(now, out);
        self.wake_fetches(out);
        self.evict();
        self.consider_checkpoint(now, out);
        self.consider_stop(now, out);
    }

    /// When `step` wants `Event::Timer`; `None`: no timer is set.
    pub fn next_deadline(&self) -> Option<Mono> {
        let groups =
            self.shards.iter().filter(|shard| shard.serving).filter_map(|s| s.coordinator.next_deadline());
        self.timers.keys().next().map(|(at, _)| *at).into_iter().chain(groups).min()
    }

    fn on_request(
        &mut self,
        now: Now,
        token: Token,
        connection: ConnectionId,
        client: Arc<ClientInfo>,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        self.by_connection.entry(connection).or_default().insert(token);
        self.connection_of.insert(token, connection);
        if self.checkpoint.is_closing() {
            return; // the process ends in a moment; the client finds out by its connection and asks again
        }
        if let Some(start) = &mut self.start
            && start.waiting.len() < START_REQUESTS_MAX
        {
            start.waiting.push_back((token, connection, client, request));
            return;
        }
        self.dispatch(now, token, connection, client, request, out);
    }

    /// Carries out a request; one whose answer must be current once a majority has said that this node still leads.
    fn dispatch(
        &mut self,
        now: Now,
        token: Token,
        connection: ConnectionId,
        client: Arc<ClientInfo>,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        if let Some(request) = self.confirm_first(token, connection, &client, request) {
            self.carry_out(now, token, connection, client, request, out);
        }
    }

    fn carry_out(
        &mut self,
        now: Now,
        token: Token,
        connection: ConnectionId,
        client: Arc<ClientInfo>,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        match request {
            Request::Produce(request) => self.produce(now, token, request, out),
            Request::Fetch(request) => self.fetch(now, token, request, out),
            Request::ListOffsets(request) => self.list_offsets(token, request, out),
            Request::OffsetForLeaderEpoch(request) => self.offset_for_leader_epoch(token, request, out),
            Request::DeleteRecords(request) => self.delete_records(now, token, request, out),
            Request::InitProducerId(request) => self.init_producer_id(now, token, &request, out),
            Request::Metadata(request) => self.metadata(now, token, connection, request, out),
            Request::DescribeTopicPartitions(request) => self.describe_topic_partitions(token, &request, out),
            Request::DescribeCluster(_) => self.describe_cluster(token, out),
            Request::DescribeLogDirs(request) => self.describe_log_dirs(token, &request, out),
            Request::DescribeQuorum(_) => self.describe_quorum(now, token, out),
            Request::ElectLeaders(request) => self.elect_leaders(now, token, &request, out),
            change @ (Request::CreateTopics(_)
            | Request::DeleteTopics(_)
            | Request::CreatePartitions(_)
            | Request::AlterConfigs(_)) => self.change(now, token, change, out),
            Request::RemoveRaftVoter(request) => self.remove_raft_voter(now, token, request, out),
            Request::DescribeConfigs(request) => self.describe_configs(token, request, out),
            Request::FindCoordinator(request) => self.find_coordinator(now, token, request, out),
            Request::JoinGroup(_)
            | Request::SyncGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::OffsetCommit(_)
            | Request::OffsetDelete(_)
            | Request::OffsetFetch(_)
            | Request::DescribeGroups(_)
            | Request::ListGroups(_)
            | Request::DeleteGroups(_) => {
                let asker = Asker { token, connection, client: &client };
                self.group_request(now, asker, request, out);
            }
        }
    }

    fn on_connection_closed(&mut self, connection: ConnectionId) {
        for token in self.by_connection.remove(&connection).unwrap_or_default() {
            self.connection_of.remove(&token);
            self.forget_fetch(token);
            self.forget_group_request(token);
            self.forget_confirming(token);
        }
        self.peers.losses.on_connection_closed(connection);
        for shard in &mut self.shards {
            shard.coordinator.on_connection_closed(connection);
        }
    }

    fn on_job_done(&mut self, now: Now, id: JobId, result: Result<Done, JobError>, out: &mut Vec<Effect>) {
        match result {
            Err(JobError::Device { detail }) => {
                self.stop(out, format!("the storage device failed: {detail}"))
            }
            Ok(Done::Append { room, held }) => {
                (self.wal.room, self.wal.held) = (room, held);
                self.wal.appends_total += 1;
                self.on_appended(now, id);
                self.look_for_wanted_room();
            }
            Ok(Done::Recycle { room, held }) => {
                (self.wal.room, self.wal.held, self.checkpoint.left_held) = (room, held, held);
                self.look_for_wanted_room();
            }
            Ok(Done::Checkpoint { changed }) => self.on_checkpoint(now, id, changed, out),
            Ok(Done::Read(batches)) => self.on_read(id, Ok(batches), out),
            Ok(Done::Verify(next)) => self.on_verified(now, id, Ok(next), out),
            Ok(Done::VerifyLog(next)) => self.on_log_verified(now, id, Ok(next), out),
            Ok(Done::Mend(mended)) => self.on_mended(now, id, Ok(mended), out),
            Ok(Done::Lookup(found)) => self.on_lookup(id, Ok(found), out),
            Err(error) => self.on_job_failed(now, id, error, out),
        }
    }

    fn on_job_failed(&mut self, now: Now, id: JobId, error: JobError, out: &mut Vec<Effect>) {
        if let JobError::Damaged { partition, base_offset, .. } = &error {
            self.on_damage(now, *partition, *base_offset, out);
        }
        if self.wal.under_way.as_ref().is_some_and(|job| job.id == id) {
            if !self.wal.full {
                let text = "no space for the log: records are refused until there is some".to_owned();
                out.push(Effect::Log(LogLevel::Error, text));
            }
            self.wal.full = true;
            self.set_timer(now.mono.plus(NO_SPACE_RETRY), Timer::Append);
        } else if self.checkpoint.is(id) {
            self.on_checkpoint_failed(now, &error, out);
        } else if self.reads.contains_key(&id) {
            self.on_read(id, Err(error), out);
        } else if let JobError::DamagedLog { .. } = &error {
            self.on_log_verified(now, id, Err(error), out);
        } else if self.is_scrub(id) {
            self.on_verified(now, id, Err(error), out);
        } else if self.is_mend(id) {
            self.on_mended(now, id, Err(error), out);
        } else {
            self.on_lookup(id, Err(error), out);
        }
    }

    /// The append is durable: consensus may count this node in.
    fn on_appended(&mut self, now: Now, id: JobId) {
        let Some(done) = self.wal.under_way.take_if(|job| job.id == id) else { return };
        let waited_for_space = std::mem::take(&mut self.wal.full);
        if !done.numbers.is_empty() && !waited_for_space {
            self.pace.committed(now.mono.since(done.since));
        }
        for (shard, number) in done.numbers {
            self.persisted(shard, number);
        }
    }

    /// Hands what waits to consensus, unless a group commit is under way or memory is full.
    fn propose(&mut self, now: Now) {
        // Without space for a checkpoint records are refused; what is proposed still makes room by deleting.
        if self.wal.under_way.is_some() || self.is_tail_full() && !self.checkpoint.lacks_space() {
            return;
        }
        let mut room = APPEND_BYTES_MAX.saturating_sub(room::staged_bytes(&self.wal.staged));
        // Start behind the shard that was first the last time, so that a busy one cannot starve the others.
        let count = self.shards.len();
        let first = self.wal.appends_total as usize % count;
        for at in (first..count).chain(0..first) {
            if room == 0 {
                break;
            }
            if self.shards[at].has_pending() {
                room = room.saturating_sub(self.shards[at].propose(now.wall.0, room));
            }
        }
    }

    /// Takes one round of work from every group. Returns whether there was any.
    fn pump(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let mut any = false;
        for at in 0..self.shards.len() {
            while let Some(mut ready) = self.shards[at].group.ready() {
                any = true;
                let needs_persist = ready.needs_persist();
                if let Some(role) = ready.role
                    && role.role != Role::Leader
                    && self.shards[at].serving
                {
                    self.on_resigned(now, at, out);
                }
                peers::send_all(std::mem::take(&mut ready.send), out);
                self.on_confirmed(at, &ready.reads);
                if let Some(snapshot) = ready.install.take() {
                    self.begin_install(now, at, ready.number, snapshot, out);
                }
                self.on_behind(at, &ready.behind, out);
                if needs_persist {
                    self.wal.staged_numbers.push((at, ready.number));
                    self.wal.staged.entries.extend(ready.persist);
                    self.wal
                        .staged
                        .hard_states
                        .extend(ready.hard_state.map(|state| (self.shards[at].id, state)));
                }
                for entry in &ready.committed {
                    let mut applied = Vec::new();
                    if let Err(error) = self.shards[at].apply(entry, &mut self.catalog, &mut applied) {
                        self.stop(out, error.0);
                        return false;
                    }
                    applied.into_iter().for_each(|applied| self.on_applied(now, at, applied, out));
                }
                self.carry_out_confirmed(now, at, out);
                if at == 0 {
                    self.answer_passed(out);
                }
            }
        }
        any
    }

    /// Leadership of a shard is gone: whoever waits here is sent to the next leader.
    fn on_resigned(&mut self, now: Now, at: usize, out: &mut Vec<Effect>) {
        self.with_coordinator(at, out, |coordinator, effects| coordinator.resign(effects));
        let lost = self.shards[at].resign();
        lost.into_iter().for_each(|then| self.on_dropped(now, at, then, out));
        let fetches = self.shards[at].partitions.values().flat_map(|partition| &partition.fetches);
        self.woken.extend(fetches.copied());
        self.unconfirmed(now, at, out);
        self.give_up_replicas(at, out);
        if at == 0 {
            self.asked_level = 0;
            self.give_up_naming();
            self.give_up_changes(out);
        }
    }

    fn start_append(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.wal.under_way.is_none() {
            self.renew_log(now, out);
        }
        if self.wal.under_way.is_some() || self.wal.staged_numbers.is_empty() {
            return;
        }
        let append = std::mem::take(&mut self.wal.staged);
        let numbers = std::mem::take(&mut self.wal.staged_numbers);
        let id = self.next_job();
        out.push(Effect::Start { id, job: Job::Append(append.clone()) });
        self.wal.under_way = Some(UnderWay { since: now.mono, id, append, numbers });
    }

    fn on_applied(&mut self, now: Now, shard: usize, applied: Applied, out: &mut Vec<Effect>) {
        match applied {
            Applied::Grew { partition, bytes } => {
                if bytes > 0 {
                    self.tail_bytes += bytes;
                    self.checkpoint.unflushed_bytes += bytes;
                    self.tail_order.push_back((shard, partition));
                }
                // Gone when the same entry deletes it: `Gone` comes next, with the waiting and these bytes.
                let Some(found) = self.shards[shard].partitions.get_mut(&partition) else { return };
                self.checkpoint.frees_space |= found.has_trimmed_segment();
                self.woken.extend(found.fetches.iter().copied());
                let end = found.log.log_end;
                let (done, wait) =
                    std::mem::take(&mut found.duplicates).into_iter().partition(|(last, _)| *last < end);
                found.duplicates = wait;
                let done: Vec<_> = done;
                done.into_iter().for_each(|(_, then)| self.on_then(now, shard, then, out));
            }
            Applied::Gone(partition, waiting, tail_bytes) => {
                self.tail_bytes -= tail_bytes;
                self.woken.extend(waiting);
                self.checkpoint.drops.push(partition);
                self.checkpoint.frees_space = true;
            }
            Applied::Catalog(change) => self.on_catalog_change(change, out),
            Applied::Then(then) => self.on_then(now, shard, then, out),
            Applied::Created(partition) => {
                if let Some(segments) = self.catch_up.strays.remove(&partition)
                    && let Some(found) = self.shards[shard].partitions.get_mut(&partition)
                {
                    found.adopt(segments);
                }
            }
            Applied::Driven => self.on_driven(shard),
            Applied::Serving => self.on_serving(now, shard, out),
        }
    }

    fn on_then(&mut self, now: Now, shard: usize, then: Then, out: &mut Vec<Effect>) {
        match then {
            Then::Gathered(part) => self.gathered(part, out),
            Then::Replicated(part, replicas) => self.await_replicas(shard, part, replicas),
            Then::Group(ticket) => self.with_coordinator(shard, out, |coordinator, effects| {
                coordinator.on_applied(now, ticket, effects);
            }),
        }
    }

    fn on_dropped(&mut self, now: Now, shard: usize, then: Then, out: &mut Vec<Effect>) {
        match then {
            Then::Gathered(part) | Then::Replicated(part, _) => {
                let code = match shard {
                    0 => model::ErrorCode::NotController,
                    _ => model::ErrorCode::NotLeaderOrFollower,
                };
                self.part_failed(part, code, out);
            }
            Then::Group(ticket) => self.with_coordinator(shard, out, |coordinator, effects| {
                coordinator.on_dropped(now, ticket, effects);
            }),
        }
    }

    // Timers

    fn set_timer(&mut self, at: Mono, timer: Timer) -> (Mono, u64) {
        self.next_number += 1;
        let key = (at, self.next_number);
        self.timers.insert(key, timer);
        key
    }

    fn run_timers(&mut self, now: Now, out: &mut Vec<Effect>) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now.mono
        {
            match entry.remove() {
                Timer::Fetch(token) => self.fetch_is_due(token, out),
                Timer::Gather(token) => self.abandon(token, model::ErrorCode::RequestTimedOut, out),
                Timer::Append => self.retry_append(now, out),
                Timer::Checkpoint => self.checkpoint.is_due = true,
                Timer::CheckpointRetry => self.retry_checkpoint(),
                Timer::Retention => self.retain(now),
                Timer::Beat if self.waiting.is_some() => self.beat_waiting(now, out),
                Timer::Beat => self.beat(now, out),
                Timer::Election => self.elect(now),
                Timer::Upkeep if self.upkeep_at.is_some_and(|at| at <= now.mono) => self.upkeep(now, out),
                Timer::Upkeep => {} // it was wanted earlier, and was
                Timer::Passed(number) => self.passed_is_due(number, out),
                Timer::Settle => {}
            }
        }
        for shard in 0..self.shards.len() {
            let due = |at: Mono| at <= now.mono;
            if self.shards[shard].serving && self.shards[shard].coordinator.next_deadline().is_some_and(due) {
                self.with_coordinator(shard, out, |coordinator, effects| coordinator.on_timer(now, effects));
            }
        }
    }

    fn retry_append(&mut self, now: Now, out: &mut Vec<Effect>) {
        let is_probe = std::mem::take(&mut self.wal.probe_waits);
        let id = self.next_job();
        match &mut self.wal.under_way {
            Some(job) if self.wal.full => {
                job.id = id;
                out.push(Effect::Start { id, job: Job::Append(job.append.clone()) });
            }
            Some(_) => {}
            None if is_probe => {
                let append = WalAppend::default();
                out.push(Effect::Start { id, job: Job::Append(append.clone()) });
                self.wal.under_way = Some(UnderWay { since: now.mono, id, append, numbers: Vec::new() });
            }
            None => {}
        }
    }

    // Memory

    fn is_tail_full(&self) -> bool {
        // What is in no segment yet cannot be dropped: proposals wait for the checkpoint under way.
        self.tail_bytes >= 2 * self.config.tail_bytes_max
    }

    fn evict(&mut self) {
        while self.tail_bytes > self.config.tail_bytes_max {
            let Some((shard, partition)) = self.tail_order.front().copied() else { return };
            match self.shards[shard].partitions.get_mut(&partition).map(crate::partition::Partition::evict) {
                Some(None) => return, // in no segment yet
                Some(Some(bytes)) => self.tail_bytes -= bytes,
                None => {} // deleted since
            }
            self.tail_order.pop_front();
        }
    }

    // Small things

    fn next_job(&mut self) -> JobId {
        self.next_number += 1;
        JobId(self.next_number)
    }

    /// A token for a wait of the node's own; never one of a client.
    fn internal_token(&mut self) -> Token {
        self.next_internal += 1;
        Token(u64::MAX - self.next_internal)
    }

    fn stop(&mut self, out: &mut Vec<Effect>, reason: String) {
        if self.frozen.is_none() {
            self.frozen = Some(reason.clone());
            out.push(Effect::Stop(Some(reason)));
        }
    }

    fn is_ready(&self) -> bool {
        self.start.is_none() && self.frozen.is_none()
    }
}
