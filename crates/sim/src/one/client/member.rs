//! A member of a consumer group: joins, syncs, sends heartbeats, commits offsets of the partitions it was given and
//! asks for them; beside it, a client that commits without membership. A refused generation means that a commit did
//! not happen; any other trouble leaves it open.

use super::link::Link;
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
use model::ErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

const JOIN_VERSION: i16 = 5;
const SYNC_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
const COMMIT_VERSION: i16 = 7;

/// A question under way.
enum Asked {
    Join,
    Sync,
    Heartbeat,
    Commit { op: Op, is_stale: bool },
    Offset { op: Op, place: Place },
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
}

impl Member {
    pub fn new(group: Group, group_id: &'static str, joins: bool, context: &mut Context<'_>) -> Member {
        let mut link = Link::new("sim-member");
        link.patience = Duration::from_secs(12);
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
        }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        if !self.is_stable {
            return self.join(context);
        }
        let places = if self.joins { self.assigned.clone() } else { vec![context.any_place()] };
        let choice = context.dice.below(10);
        if places.is_empty() || (choice < 2 && self.joins) {
            let request = HeartbeatRequest {
                group_id: self.group_id.clone(),
                generation_id: self.generation,
                member_id: self.member_id.clone(),
                group_instance_id: None,
            };
            self.asked = Some(Asked::Heartbeat);
            return self.link.send(&request, HEARTBEAT_VERSION, context);
        }
        let place = places[context.dice.index(places.len())];
        if choice < 7 { self.commit(place, context) } else { self.offset(place, context) }
    }

    fn join(&mut self, context: &mut Context<'_>) {
        let protocol =
            JoinGroupRequestProtocol { name: Str::from_static("sim"), metadata: Bytes::from_static(b"m") };
        let request = JoinGroupRequest {
            group_id: self.group_id.clone(),
            session_timeout_ms: 800,
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
        for (topic, known) in context.topics.iter().enumerate() {
            for index in 0..known.partitions {
                if !shares.is_empty() {
                    let share = next % shares.len();
                    shares[share].extend([topic as u8, index as u8]);
                    next += 1;
                }
            }
        }
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
        self.asked = Some(Asked::Sync);
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
                self.sync(context);
            }
            ErrorCode::MemberIdRequired => self.member_id = response.member_id,
            code => self.on_error(code, context),
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
            code if code.is_retriable() => {}
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
            self.asked = None;
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
        }
        if self.asked.is_none() {
            if !self.link.connect(context) {
                return context.wake_soon(20_000);
            }
            self.ask(context);
        }
        context.wake_in(Duration::from_millis(400));
    }

    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>) {
        let taken = match self.asked.take() {
            Some(Asked::Join) => self.on_joined(frame, context),
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
        self.asked = None;
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
