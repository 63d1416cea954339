//! A member of a consumer group: joins, syncs, sends heartbeats, commits offsets of the partitions it was given and
//! asks for them; beside it, a client that commits without membership. A refused generation means that a commit did
//! not happen; any other trouble leaves it open.

use super::link::{Link, Target};
use super::{Client, Context, Place};
use bytes::Bytes;
use checker::{Event, Group, Op};
use kafka::frame::decode_response;
use kafka::message::heartbeat::HeartbeatRequest;
use kafka::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponseMember};
use kafka::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka::message::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka::wire::Str;
use model::{ErrorCode, Mono};
use std::collections::BTreeMap;
use std::time::Duration;

const JOIN_VERSION: i16 = 5;
const SYNC_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
const COMMIT_VERSION: i16 = 7;

/// How much longer than its session a member is silent.
const OVERSLEEP: Duration = Duration::from_millis(20);

/// A question under way.
enum Asked {
    Join,
    Sync,
    Heartbeat,
    /// The first word after a silence longer than the session, and the life of the node in which it began.
    Overslept {
        life: u64,
    },
    /// A stable member asks again; a leader brings other shares along.
    SyncAgain,
    Commit {
        op: Op,
        is_stale: bool,
    },
    Offset {
        op: Op,
        place: Place,
    },
}

/// The member.
pub struct Member {
    link: Link,
    group: Group,
    group_id: Str,
    /// False: commits without being a member.
    joins: bool,
    member_id: Str,
    generation: i32,
    is_stable: bool,
    assigned: Vec<Place>,
    newest: BTreeMap<u32, i64>,
    asked: Option<Asked>,
    others: Vec<JoinGroupResponseMember>,
    fetch_version: i16,
    session: Duration,
    /// Highest generation that anybody of the group was told of when this member asked to join.
    generation_floor: i32,
    /// What the leader of this generation gave this member.
    share: Bytes,
    /// Every question since the member joined was answered: nothing of it is still on its way.
    is_tidy: bool,
    /// Silent since that life of the node, until the wake-up.
    sleeps: Option<(u64, Mono)>,
}

impl Member {
    pub fn new(group: Group, group_id: &'static str, joins: bool, context: &mut Context<'_>) -> Member {
        let mut link = Link::new("sim-member");
        link.patience = Duration::from_secs(if context.is_alone() { 12 } else { 5 });
        Member {
            link,
            group,
            group_id: Str::from_static(group_id),
            joins,
            member_id: Str::default(),
            generation: -1,
            is_stable: !joins,
            assigned: Vec::new(),
            newest: BTreeMap::new(),
            asked: None,
            others: Vec::new(),
            fetch_version: [1, 5, 7, 8, 9][context.dice.index(5)],
            session: Duration::from_millis(context.dice.between(100, 800)),
            generation_floor: -1,
            share: Bytes::new(),
            is_tidy: false,
            sleeps: None,
        }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        if !self.is_stable {
            return self.join(context);
        }
        if self.joins && context.dice.below(15) == 0 {
            return self.sync_again(context);
        }
        let places = if self.joins { self.assigned.clone() } else { vec![context.any_place(false)] };
        let choice = context.dice.below(10);
        if places.is_empty() || (choice < 2 && self.joins) {
            return self.heartbeat(Asked::Heartbeat, context);
        }
        let place = places[context.dice.index(places.len())];
        if choice < 7 { self.commit(place, context) } else { self.offset(place, context) }
    }

    fn heartbeat(&mut self, asked: Asked, context: &mut Context<'_>) {
        let request = HeartbeatRequest {
            group_id: self.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        };
        self.asked = Some(asked);
        self.link.send(&request, HEARTBEAT_VERSION, context);
    }

    fn join(&mut self, context: &mut Context<'_>) {
        let told = context.ids.generations.range(..=(self.group, i32::MAX)).next_back();
        self.generation_floor =
            told.filter(|((group, _), _)| *group == self.group).map_or(-1, |((_, newest), _)| *newest);
        let protocol =
            JoinGroupRequestProtocol { name: Str::from_static("sim"), metadata: Bytes::from_static(b"m") };
        let request = JoinGroupRequest {
            group_id: self.group_id.clone(),
            session_timeout_ms: self.session.as_millis() as i32,
            rebalance_timeout_ms: 300,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: Str::from_static("consumer"),
            protocols: vec![protocol],
            reason: None,
        };
        self.asked = Some(Asked::Join);
        self.link.send(&request, JOIN_VERSION, context);
    }

    /// The leader hands out all partitions, one by one.
    fn sync(&mut self, context: &mut Context<'_>) {
        let mut shares: Vec<Vec<u8>> = vec![Vec::new(); self.others.len()];
        let mut next = 0;
        for (topic, known) in context.topics.iter().enumerate().filter(|(_, known)| !known.mortal) {
            for index in 0..known.partitions {
                if !shares.is_empty() {
                    let share = next % shares.len();
                    shares[share].extend([topic as u8, index as u8]);
                    next += 1;
                }
            }
        }
        self.send_sync(shares, Asked::Sync, context);
    }

    /// Asks again for what it has. A leader hands out nothing this time: too late, the generation has its shares.
    fn sync_again(&mut self, context: &mut Context<'_>) {
        let shares = vec![Vec::new(); self.others.len()];
        self.send_sync(shares, Asked::SyncAgain, context);
    }

    fn send_sync(&mut self, shares: Vec<Vec<u8>>, asked: Asked, context: &mut Context<'_>) {
        let assignments = self
            .others
            .iter()
            .zip(shares)
            .map(|(member, share)| SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: share.into(),
            })
            .collect();
        let request = SyncGroupRequest {
            group_id: self.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments,
        };
        self.asked = Some(asked);
        self.link.send(&request, SYNC_VERSION, context);
    }

    fn commit(&mut self, place: Place, context: &mut Context<'_>) {
        let newest = self.newest.entry(place.partition.0).or_default();
        *newest += 1 + context.dice.below(5) as i64;
        let (op, offset) = (context.ids.op(), *newest);
        context.record(Event::CommitInvoked { op, group: self.group, partition: place.partition, offset });
        let partition = OffsetCommitRequestPartition {
            partition_index: place.index,
            committed_offset: offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(Str::default()),
        };
        let topic = OffsetCommitRequestTopic {
            name: context.topic_name(place.topic),
            topic_id: context.topics[place.topic].id,
            partitions: vec![partition],
        };
        // Now and then what a member would send that slept through a rebalance: the generation before.
        let is_stale = self.joins && self.generation > 1 && context.dice.below(12) == 0;
        let request = OffsetCommitRequest {
            group_id: self.group_id.clone(),
            generation_id_or_member_epoch: self.generation - i32::from(is_stale),
            member_id: self.member_id.clone(),
            group_instance_id: None,
            retention_time_ms: -1,
            topics: vec![topic],
        };
        self.asked = Some(Asked::Commit { op, is_stale });
        self.link.send(&request, COMMIT_VERSION, context);
    }

    fn offset(&mut self, place: Place, context: &mut Context<'_>) {
        let op = context.ids.op();
        context.record(Event::OffsetFetchInvoked { op, group: self.group, partition: place.partition });
        let name = context.topic_name(place.topic);
        let request = if self.fetch_version < 8 {
            let topic = OffsetFetchRequestTopic { name, partition_indexes: vec![place.index] };
            OffsetFetchRequest {
                group_id: self.group_id.clone(),
                topics: Some(vec![topic]),
                ..OffsetFetchRequest::default()
            }
        } else {
            let topic = OffsetFetchRequestTopics {
                name,
                topic_id: context.topics[place.topic].id,
                partition_indexes: vec![place.index],
            };
            let group = OffsetFetchRequestGroup {
                group_id: self.group_id.clone(),
                member_id: None,
                member_epoch: -1,
                topics: Some(vec![topic]),
            };
            OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
        };
        self.asked = Some(Asked::Offset { op, place });
        self.link.send(&request, self.fetch_version, context);
    }

    fn on_joined(&mut self, frame: Bytes, context: &mut Context<'_>) -> Result<(), String> {
        let (_, response) = decode_response::<JoinGroupRequest>(frame, JOIN_VERSION)
            .map_err(|error| format!("JoinGroup: {error}"))?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                context.counters.count("client: group joined");
                self.member_id = response.member_id;
                self.generation = response.generation_id;
                self.others = response.members;
                self.is_tidy = true;
                self.check_generation(response.leader.as_str(), context);
                self.sync(context);
            }
            ErrorCode::MemberIdRequired => self.member_id = response.member_id,
            code => self.on_error(code, context),
        }
        Ok(())
    }

    /// A generation happens once: nobody is sent back to an older one, and all are told the same of it.
    fn check_generation(&self, leader: &str, context: &mut Context<'_>) {
        let generation = self.generation;
        if generation < self.generation_floor {
            let detail = format!("{generation}, after {} was told", self.generation_floor);
            context.fail("a generation never goes back", detail);
        }
        let mut roster: Vec<String> =
            self.others.iter().map(|member| member.member_id.as_str().to_owned()).collect();
        roster.sort();
        let told = context
            .ids
            .generations
            .entry((self.group, generation))
            .or_insert_with(|| (leader.to_owned(), Vec::new()));
        if told.1.is_empty() {
            told.1.clone_from(&roster);
        }
        if told.0 != leader || (!roster.is_empty() && told.1 != roster) {
            let detail = format!("{generation}: first {told:?}, then leader {leader} of {roster:?}");
            context.fail("a generation happens once", detail);
        }
    }

    /// The share that a generation gave stays, whoever asks again.
    fn on_synced_again(&mut self, frame: Bytes, context: &mut Context<'_>) -> Result<(), String> {
        let (_, response) = decode_response::<SyncGroupRequest>(frame, SYNC_VERSION)
            .map_err(|error| format!("SyncGroup: {error}"))?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                context.counters.count("client: assignment asked for again");
                if response.assignment != self.share {
                    let detail = format!("{:?} became {:?}", self.share, response.assignment);
                    context.fail("a generation keeps its assignment", detail);
                }
            }
            code => self.on_error(code, context),
        }
        Ok(())
    }

    /// The session was over long before this word came.
    fn on_overslept(&mut self, frame: Bytes, life: u64, context: &mut Context<'_>) -> Result<(), String> {
        let (_, response) = decode_response::<HeartbeatRequest>(frame, HEARTBEAT_VERSION)
            .map_err(|error| format!("Heartbeat: {error}"))?;
        match ErrorCode::from_code(response.error_code) {
            // With several nodes another one may have become the coordinator: it gives all members a new session.
            ErrorCode::None | ErrorCode::RebalanceInProgress
                if context.is_alone() && life == context.lives[0] =>
            {
                let detail = format!("silent beyond {:?}, and still a member", self.session);
                context.fail("a silent member is removed", detail);
            }
            ErrorCode::None => {}
            code => {
                if code == ErrorCode::UnknownMemberId {
                    context.counters.count("client: silent member removed");
                }
                self.on_error(code, context);
            }
        }
        Ok(())
    }

    fn on_synced(&mut self, frame: Bytes, context: &mut Context<'_>) -> Result<(), String> {
        let (_, response) = decode_response::<SyncGroupRequest>(frame, SYNC_VERSION)
            .map_err(|error| format!("SyncGroup: {error}"))?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                context.counters.count("client: group assignment given");
                self.is_stable = true;
                self.share = response.assignment.clone();
                self.assigned = response
                    .assignment
                    .chunks_exact(2)
                    .map(|pair| context.place(usize::from(pair[0]), i32::from(pair[1])))
                    .collect();
            }
            code => self.on_error(code, context),
        }
        Ok(())
    }

    fn on_heartbeat(&mut self, frame: Bytes, context: &mut Context<'_>) -> Result<(), String> {
        let (_, response) = decode_response::<HeartbeatRequest>(frame, HEARTBEAT_VERSION)
            .map_err(|error| format!("Heartbeat: {error}"))?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => context.counters.count("client: heartbeat answered"),
            code => self.on_error(code, context),
        }
        Ok(())
    }

    fn on_committed(
        &mut self,
        frame: Bytes,
        op: Op,
        is_stale: bool,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let (_, response) = decode_response::<OffsetCommitRequest>(frame, COMMIT_VERSION)
            .map_err(|error| format!("OffsetCommit: {error}"))?;
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or("OffsetCommit: no partition in the answer")?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                if is_stale {
                    let detail =
                        format!("generation {} of {} is older", self.generation - 1, self.generation);
                    context.fail("an old generation is fenced", detail);
                }
                context.counters.count("client: offset committed");
                context.ids.done += 1;
                context.record(Event::CommitAcked { op });
            }
            code => {
                if matches!(
                    code,
                    ErrorCode::IllegalGeneration
                        | ErrorCode::UnknownMemberId
                        | ErrorCode::RebalanceInProgress
                ) {
                    context.counters.count("client: commit of an old generation refused");
                    context.record(Event::CommitFailed { op });
                }
                if !is_stale || code != ErrorCode::IllegalGeneration {
                    self.on_error(code, context);
                }
            }
        }
        Ok(())
    }

    fn on_offset(
        &mut self,
        frame: Bytes,
        op: Op,
        place: Place,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let (_, response) = decode_response::<OffsetFetchRequest>(frame, self.fetch_version)
            .map_err(|error| format!("OffsetFetch: {error}"))?;
        let (code, answer) = if self.fetch_version < 8 {
            let answer = response.topics.first().and_then(|topic| topic.partitions.first());
            (response.error_code, answer.map(|answer| (answer.error_code, answer.committed_offset)))
        } else {
            let group = response.groups.first().ok_or("OffsetFetch: no group in the answer")?;
            let answer = group.topics.first().and_then(|topic| topic.partitions.first());
            (group.error_code, answer.map(|answer| (answer.error_code, answer.committed_offset)))
        };
        let (partition_code, offset) = match answer {
            Some(answer) => answer,
            None if code != 0 => (code, -1),
            None => return Err("OffsetFetch: no partition in the answer".into()),
        };
        match ErrorCode::from_code(if code != 0 { code } else { partition_code }) {
            ErrorCode::None => {
                context.counters.count("client: committed offset read");
                context.ids.done += 1;
                let offset = (offset >= 0).then_some(offset);
                context.record(Event::OffsetFetched { op, offset });
                if let Some(offset) = offset {
                    let newest = self.newest.entry(place.partition.0).or_default();
                    *newest = (*newest).max(offset);
                }
            }
            code => self.on_error(code, context),
        }
        Ok(())
    }

    fn on_error(&mut self, code: ErrorCode, context: &mut Context<'_>) {
        match code {
            ErrorCode::UnknownMemberId => {
                self.member_id = Str::default();
                self.generation = -1;
                self.is_stable = !self.joins;
            }
            ErrorCode::IllegalGeneration | ErrorCode::RebalanceInProgress => self.is_stable = !self.joins,
            code if code.is_retriable() => self.link.mislead(),
            code => context
                .fail("errors fit what was asked", format!("a member was answered with {}", code.name())),
        }
        context.counters.count("client: member refused, goes on");
    }
}

impl Client for Member {
    fn wake(&mut self, context: &mut Context<'_>) {
        if self.link.is_overdue(context.now) {
            context.counters.count("client: answer overdue");
            self.link.close(context);
            (self.asked, self.is_tidy, self.sleeps) = (None, false, None);
        }
        if let Some((life, until)) = self.sleeps {
            if context.now < until {
                return context.wake_in(Duration::from_nanos(until.0 - context.now.0));
            }
            self.sleeps = None;
            if self.link.is_connected() {
                self.heartbeat(Asked::Overslept { life }, context);
            }
        }
        if context.groups_settled && self.asked.is_none() {
            return;
        }
        if self.joins
            && self.is_stable
            && self.asked.is_none()
            && !context.draining
            && context.dice.below(40) == 0
        {
            // The client's process ends without a word; another one comes.
            context.counters.count("client: member started over");
            self.link.close(context);
            self.member_id = Str::default();
            self.generation = -1;
            self.is_stable = false;
        } else if self.joins
            && self.is_stable
            && self.is_tidy
            && self.asked.is_none()
            && !context.draining
            && self.link.is_connected()
            && context.dice.below(10) == 0
        {
            // The client's process hangs for longer than its session lasts.
            let until = context.now.plus(self.session + OVERSLEEP);
            self.sleeps = Some((context.lives[0], until));
            return context.wake_in(self.session + OVERSLEEP);
        }
        if self.asked.is_none() {
            if !self.link.reach(&Target::Coordinator(self.group_id.clone()), context) {
                return context.wake_soon(20_000);
            }
            self.ask(context);
        }
        context.wake_in(Duration::from_millis(400));
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        let taken = match self.asked.take() {
            Some(Asked::Join) => self.on_joined(frame, context),
            Some(Asked::Overslept { life }) => self.on_overslept(frame, life, context),
            Some(Asked::SyncAgain) => self.on_synced_again(frame, context),
            Some(Asked::Sync) => self.on_synced(frame, context),
            Some(Asked::Heartbeat) => self.on_heartbeat(frame, context),
            Some(Asked::Commit { op, is_stale }) => self.on_committed(frame, op, is_stale, context),
            Some(Asked::Offset { op, place }) => self.on_offset(frame, op, place, context),
            None => Err("an answer without a question".into()),
        };
        if let Err(detail) = taken {
            context.fail("answers decode", detail);
        }
        context.wake_soon(20_000);
    }

    fn lost(&mut self, context: &mut Context<'_>) {
        self.link.lost();
        (self.asked, self.is_tidy, self.sleeps) = (None, false, None);
        context.wake_soon(10_000);
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    fn is_settled(&self) -> bool {
        self.is_stable
    }

    fn describe(&self) -> String {
        format!("a member of {} waits (stable: {})", self.group_id.as_str(), self.is_stable)
    }
}
