//! The face of the room. What its owner owes it:
//! - `apply` every command of the log in order, on every replica; then, for a command that this leadership proposed,
//!   `on_applied` with its ticket; for one that will never be applied in this leadership, `on_dropped`;
//! - `become_leader` only after every earlier entry of the log is applied; `resign` as soon as leadership is lost;
//! - `on_timer` when `next_deadline` has passed; confirm leadership (ReadIndex) before a read leaves the node.

use super::classic::Group;
use super::command::{GroupCommand, Ticket, split};
use super::config::{EXPIRY_GROUPS_PER_PASS, EXPIRY_PAUSE, GroupConfig};
use super::describe;
use super::expiry::{self, Verdict};
use super::flight::{Flights, Held, Waiter};
use super::identity::Identities;
use super::join::Joining;
use super::offset::{self, Stored};
use super::refusal::{refuse, undescribed};
use super::sync;
use super::table::GroupTable;
use super::timer::{Alarm, Timers};
use super::turn::{Desk, Turn};
use crate::LogLevel;
use crate::request::{
    Asker, ConnectionId, DeleteGroups, DeleteGroupsResponse, DescribeGroups, DescribeGroupsResponse,
    HeartbeatResponse, LeaveGroupResponse, ListGroupsResponse, OffsetCommit, OffsetDeleteResponse,
    OffsetFetchResponse, Refusal, Request, Response, Token,
};
use model::{ErrorCode, Mono, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// One thing for the owner to do.
#[derive(Clone, Debug)]
pub enum GroupEffect {
    /// Answer a question.
    Reply(Token, Response),
    /// Put a command into the shard's log.
    Propose {
        /// To report back with.
        ticket: Ticket,
        /// The command.
        command: GroupCommand,
    },
    /// Something an operator should read.
    Log(LogLevel, String),
}

/// Consumer groups of one shard.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: GroupConfig,
    pub(super) table: GroupTable,
    /// Bytes that all positions in the table take in memory, about.
    pub(super) positions_bytes: usize,
    pub(super) is_leader: bool,
    /// The leader's view, ahead of the table; empty on a follower.
    pub(super) groups: BTreeMap<String, Group>,
    /// Groups whose view was thrown away while proposals for them were under way: loaded again after the last of them.
    pub(super) unsettled: BTreeSet<String>,
    pub(super) desk: Desk,
    /// Last group that the running round of the expiry looked at.
    pub(super) expiry_at: Option<String>,
    /// The limit of groups was met and the log says so already.
    pub(super) is_limit_reported: bool,
}

impl Coordinator {
    /// A coordinator without groups, as a follower. Member ids come from `seed`.
    pub fn new(config: GroupConfig, seed: u64) -> Coordinator {
        Coordinator {
            config,
            table: GroupTable::default(),
            positions_bytes: 0,
            is_leader: false,
            groups: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            desk: Desk {
                timers: Timers::default(),
                flights: Flights::default(),
                identities: Identities::new(seed),
                members_bytes: 0,
                is_full_reported: false,
            },
            expiry_at: None,
            is_limit_reported: false,
        }
    }

    /// A client asks. Panics for requests that are not about groups, and for `FindCoordinator`, which the node answers.
    pub fn on_request(&mut self, now: Now, asker: Asker<'_>, request: Request, out: &mut Vec<GroupEffect>) {
        let waiter = Waiter { token: asker.token, connection: asker.connection };
        self.desk.flights.begin(waiter);
        if let Some(code) = self.refusal_for(&request) {
            return self.finish(waiter, refuse(request, code), out);
        }
        match request {
            Request::JoinGroup(request) => {
                self.on_join(now, Joining { waiter, client: asker.client, request }, out)
            }
            Request::SyncGroup(request) => {
                let name = request.group.clone();
                let missing = Response::SyncGroup(sync::refusal(ErrorCode::UnknownMemberId));
                self.turn_or(now, &name, waiter, missing, out, |group, turn| {
                    group.on_sync(turn, waiter, request);
                    group.check_invariants();
                });
            }
            Request::Heartbeat(request) => {
                let missing = Response::Heartbeat(HeartbeatResponse { error: ErrorCode::UnknownMemberId });
                self.turn_or(now, &request.group, waiter, missing, out, |group, turn| {
                    group.on_heartbeat(turn, waiter, &request);
                });
            }
            Request::LeaveGroup(request) => {
                let name = request.group.clone();
                let gone = request
                    .members
                    .iter()
                    .map(|(id, instance)| (id.clone(), instance.clone(), ErrorCode::UnknownMemberId));
                let missing = LeaveGroupResponse { error: ErrorCode::None, members: gone.collect() };
                self.turn_or(now, &name, waiter, Response::LeaveGroup(missing), out, |group, turn| {
                    group.on_leave(turn, waiter, request);
                    group.check_invariants();
                });
            }
            Request::OffsetCommit(request) => self.on_commit(now, waiter, request, out),
            Request::OffsetDelete(request) => {
                let name = request.group.clone();
                let error = ErrorCode::GroupIdNotFound;
                let missing = Response::OffsetDelete(OffsetDeleteResponse { error, topics: Vec::new() });
                self.turn_or(now, &name, waiter, missing, out, |group, turn| {
                    group.on_delete_offsets(turn, waiter, request);
                });
            }
            Request::OffsetFetch(request) => {
                let groups =
                    request.groups.into_iter().map(|asked| offset::fetch(&self.table, asked)).collect();
                self.finish(waiter, Response::OffsetFetch(OffsetFetchResponse { groups }), out);
            }
            Request::DescribeGroups(request) => {
                let response = Response::DescribeGroups(self.describe(request));
                self.finish(waiter, response, out);
            }
            Request::ListGroups(request) => {
                let groups = describe::list(&self.groups, &request);
                let response = ListGroupsResponse { error: ErrorCode::None, groups };
                self.finish(waiter, Response::ListGroups(response), out);
            }
            Request::DeleteGroups(request) => self.on_delete(waiter, request, out),
            other => panic!("{} is no request to a group coordinator", other.name()),
        }
    }

    /// Why a request is refused before anybody looks at its group.
    fn refusal_for(&self, request: &Request) -> Option<ErrorCode> {
        if !self.is_leader {
            return Some(ErrorCode::NotCoordinator);
        }
        let (name, must_have_name) = match request {
            Request::JoinGroup(request) => (&request.group, true),
            Request::SyncGroup(request) => (&request.group, true),
            Request::Heartbeat(request) => (&request.group, true),
            Request::LeaveGroup(request) => (&request.group, true),
            Request::OffsetDelete(request) => (&request.group, true),
            Request::OffsetCommit(request) => (&request.group, false),
            _ => return None,
        };
        if must_have_name && name.is_empty() {
            return Some(ErrorCode::InvalidGroupId);
        }
        if let Request::JoinGroup(request) = request
            && !(self.config.session_timeout_min..=self.config.session_timeout_max)
                .contains(&request.session_timeout)
        {
            return Some(ErrorCode::InvalidSessionTimeout);
        }
        self.unsettled.contains(name).then_some(ErrorCode::NotCoordinator)
    }

    pub(super) fn finish(&mut self, waiter: Waiter, response: Response, out: &mut Vec<GroupEffect>) {
        self.desk.flights.finish(waiter, response, out);
    }

    /// Gives a group its turn; false when there is no such group.
    pub(super) fn turn(
        &mut self,
        now: Now,
        name: &str,
        out: &mut Vec<GroupEffect>,
        act: impl FnOnce(&mut Group, &mut Turn<'_>),
    ) -> bool {
        let Some((name, mut group)) = self.groups.remove_entry(name) else { return false };
        self.desk.members_bytes -= group.snapshot_bytes("");
        let mut turn = Turn { name: &name, now, config: &self.config, desk: &mut self.desk, out };
        act(&mut group, &mut turn);
        self.desk.members_bytes += group.snapshot_bytes("");
        if !group.is_void() || self.is_remembered(&name) {
            self.groups.insert(name, group);
        }
        true
    }

    fn turn_or(
        &mut self,
        now: Now,
        name: &str,
        waiter: Waiter,
        missing: Response,
        out: &mut Vec<GroupEffect>,
        act: impl FnOnce(&mut Group, &mut Turn<'_>),
    ) {
        if !self.turn(now, name, out, act) {
            self.finish(waiter, missing, out);
        }
    }

    /// Whether the log knows the group, or soon will.
    pub(super) fn is_remembered(&self, name: &str) -> bool {
        self.desk.flights.newest(name).is_some() || self.table.groups.contains_key(name)
    }

    /// Whether there is room for one group more; the first refusal of a leadership goes to the log.
    fn has_room(&mut self, out: &mut Vec<GroupEffect>) -> bool {
        let has_room = self.groups.len() < self.config.groups_max;
        if !has_room && !self.is_limit_reported {
            self.is_limit_reported = true;
            let text = format!("no room for more groups: the limit of {} is reached", self.config.groups_max);
            out.push(GroupEffect::Log(LogLevel::Warn, text));
        }
        has_room
    }

    fn on_join(&mut self, now: Now, joining: Joining<'_>, out: &mut Vec<GroupEffect>) {
        let name = joining.request.group.clone();
        if !self.groups.contains_key(&name) {
            let refuse_join = |joining: Joining<'_>, code| refuse(Request::JoinGroup(joining.request), code);
            let waiter = joining.waiter;
            if !joining.request.member_id.is_empty() {
                return self.finish(waiter, refuse_join(joining, ErrorCode::UnknownMemberId), out);
            }
            if !self.has_room(out) {
                return self.finish(waiter, refuse_join(joining, ErrorCode::GroupMaxSizeReached), out);
            }
            self.groups.insert(name.clone(), Group::new(now.wall));
        }
        self.turn(now, &name, out, |group, turn| {
            group.on_join(turn, joining);
            group.check_invariants();
        });
    }

    fn on_commit(&mut self, now: Now, waiter: Waiter, request: OffsetCommit, out: &mut Vec<GroupEffect>) {
        let name = request.group.clone();
        let refuse_commit = |code| refuse(Request::OffsetCommit(request.clone()), code);
        if !self.groups.contains_key(&name) {
            if request.generation >= 0 {
                let response = refuse_commit(ErrorCode::GroupIdNotFound);
                return self.finish(waiter, response, out);
            }
            if !self.has_room(out) {
                let response = refuse_commit(ErrorCode::InvalidCommitOffsetSize);
                return self.finish(waiter, response, out);
            }
            self.groups.insert(name.clone(), Group::new(now.wall));
        }
        let (name, mut group) = self.groups.remove_entry(&name).expect("inserted above");
        let stored = Stored {
            offsets: self.table.groups.get(&name).map(|stored| &stored.offsets),
            room: self
                .config
                .positions_bytes_max
                .saturating_sub(self.positions_bytes + self.desk.flights.weight()),
        };
        let mut turn = Turn { name: &name, now, config: &self.config, desk: &mut self.desk, out };
        group.on_commit(&mut turn, waiter, request, stored);
        if !group.is_void() || self.is_remembered(&name) {
            self.groups.insert(name, group);
        }
    }

    fn describe(&self, request: DescribeGroups) -> DescribeGroupsResponse {
        let describe = |name: String| match self.groups.get(&name) {
            Some(group) => describe::describe(&name, group),
            None if self.unsettled.contains(&name) => undescribed(name, ErrorCode::NotCoordinator.into()),
            None => {
                let refusal = Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {name} not found."));
                undescribed(name, refusal)
            }
        };
        DescribeGroupsResponse { groups: request.groups.into_iter().map(describe).collect() }
    }

    fn on_delete(&mut self, waiter: Waiter, request: DeleteGroups, out: &mut Vec<GroupEffect>) {
        let mut removed = Vec::new();
        let mut answers = Vec::with_capacity(request.groups.len());
        let mut newest = None;
        for name in request.groups {
            newest = newest.max(self.desk.flights.newest(&name));
            let code = match self.groups.get(&name) {
                None if self.unsettled.contains(&name) => ErrorCode::NotCoordinator,
                None => ErrorCode::GroupIdNotFound,
                Some(group) if group.phase != super::classic::Phase::Empty => ErrorCode::NonEmptyGroup,
                Some(_) => {
                    self.unload(&name, out);
                    removed.push(name.clone());
                    ErrorCode::None
                }
            };
            answers.push((name, code));
        }
        if !removed.is_empty() {
            let command = GroupCommand::GroupsRemoved { groups: removed.clone() };
            newest = Some(self.desk.flights.propose(removed, command, out));
        }
        let response = Response::DeleteGroups(DeleteGroupsResponse { groups: answers });
        match newest {
            Some(ticket) => self.desk.flights.hold(ticket, Held { waiter, member: None, response }),
            None => self.finish(waiter, response, out),
        }
    }

    /// Names of the topics that some group has a position in.
    pub fn topics(&self) -> BTreeSet<String> {
        self.table.groups.values().flat_map(|stored| stored.offsets.keys().cloned()).collect()
    }

    /// Proposes that all groups forget their positions in a topic; nothing to do for a follower.
    pub fn remove_topic(&mut self, topic: &str, out: &mut Vec<GroupEffect>) -> Option<Ticket> {
        if !self.is_leader || self.groups.is_empty() {
            return None;
        }
        let command = GroupCommand::TopicRemoved { topic: topic.to_owned() };
        Some(self.desk.flights.propose(Vec::new(), command, out))
    }

    /// When `on_timer` wants to be called; `None` on a follower.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.desk.timers.next()
    }

    /// Does what is due.
    pub fn on_timer(&mut self, now: Now, out: &mut Vec<GroupEffect>) {
        while let Some(alarm) = self.desk.timers.pop(now.mono) {
            let known = match &alarm {
                Alarm::Join(name) => self.turn(now, name, out, |group, turn| group.on_join_alarm(turn)),
                Alarm::Sync(name) => self.turn(now, name, out, |group, turn| group.on_sync_alarm(turn)),
                Alarm::Session(name, member) => {
                    self.turn(now, name, out, |group, turn| group.on_session_alarm(turn, member))
                }
                Alarm::Expiry => {
                    self.expire(now, out);
                    true
                }
            };
            assert!(known, "{alarm:?} outlived its group");
        }
    }

    /// Looks at some groups for positions that are too old, and proposes to forget them.
    fn expire(&mut self, now: Now, out: &mut Vec<GroupEffect>) {
        let from = match self.expiry_at.take() {
            Some(name) => Bound::Excluded(name),
            None => Bound::Unbounded,
        };
        let range = (from, Bound::<String>::Unbounded);
        let mut verdicts = Vec::new();
        for (name, stored) in self.table.groups.range::<String, _>(range).take(EXPIRY_GROUPS_PER_PASS) {
            self.expiry_at = Some(name.clone());
            let is_settled = self.desk.flights.newest(name).is_none();
            if let Some(group) = self.groups.get(name).filter(|_| is_settled) {
                let verdict = expiry::judge(group, stored, now.wall, self.config.offsets_retention);
                verdicts.push((name.clone(), verdict));
            }
        }
        let pause = match &self.expiry_at {
            Some(_) => EXPIRY_PAUSE,
            None => self.config.offsets_retention_check_interval.max(EXPIRY_PAUSE),
        };
        self.desk.timers.set(Alarm::Expiry, now.mono.plus(pause));
        for (name, verdict) in verdicts {
            match verdict {
                Verdict::Keep => {}
                Verdict::Forget(partitions) => {
                    for partitions in split(partitions, |_| 5) {
                        let command = GroupCommand::OffsetsRemoved { group: name.clone(), partitions };
                        self.desk.flights.propose(vec![name.clone()], command, out);
                    }
                }
                Verdict::Remove => {
                    self.unload(&name, out);
                    let command = GroupCommand::GroupsRemoved { groups: vec![name.clone()] };
                    self.desk.flights.propose(vec![name], command, out);
                }
            }
        }
    }

    /// A connection is gone: answers to its questions are not given out any more. Members stay until their session ends.
    pub fn on_connection_closed(&mut self, connection: ConnectionId) {
        self.desk.flights.close(connection);
    }

    /// Groups, as far as this replica knows.
    pub fn group_count(&self) -> usize {
        if self.is_leader { self.groups.len() } else { self.table.groups.len() }
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }

    /// Questions that wait for an answer.
    pub fn waiting_count(&self) -> usize {
        self.desk.flights.waiting_count()
    }
}
