//! A coordinator, its log and a virtual clock. Proposals wait in a queue until the test applies or drops them.

use crate::LogLevel;
use crate::group::{Coordinator, GroupCommand, GroupConfig, GroupEffect, Ticket};
use crate::request::*;
use bytes::Bytes;
use model::{ErrorCode, Mono, Now, WallMs};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) struct World {
    pub coordinator: Coordinator,
    pub now: Now,
    pub proposals: VecDeque<(Ticket, GroupCommand)>,
    /// Whether proposals are applied at once.
    pub is_prompt: bool,
    replies: BTreeMap<Token, Response>,
    tokens: u64,
    pub warned: Vec<String>,
}

/// A member as a scenario sees it.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub id: String,
    pub instance: Option<String>,
    pub protocols: Vec<(String, Bytes)>,
    pub session: Duration,
    pub rebalance: Duration,
    pub requires_known_id: bool,
    pub skips: bool,
    pub kind: String,
}

pub(super) fn who(id: &str) -> Who {
    Who {
        id: id.into(),
        instance: None,
        protocols: protocols(&["range"]),
        session: 10 * SECOND,
        rebalance: 60 * SECOND,
        requires_known_id: false,
        skips: false,
        kind: "consumer".into(),
    }
}

pub(super) fn fixed(instance: &str) -> Who {
    Who { instance: Some(instance.into()), ..who("") }
}

pub(super) fn protocols(names: &[&str]) -> Vec<(String, Bytes)> {
    names.iter().map(|name| ((*name).to_owned(), Bytes::from_static(b"meta"))).collect()
}

impl World {
    pub(super) fn new() -> World {
        World::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> World {
        let mut world = World {
            coordinator: Coordinator::new(config, 1),
            now: Now { mono: Mono(1), wall: WallMs(1_000_000) },
            proposals: VecDeque::new(),
            is_prompt: true,
            replies: BTreeMap::new(),
            tokens: 0,
            warned: Vec::new(),
        };
        world.coordinator.become_leader(world.now);
        world
    }

    pub(super) fn send(&mut self, request: Request) -> Token {
        self.send_from(ConnectionId(1), request)
    }

    pub(super) fn send_from(&mut self, connection: ConnectionId, request: Request) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let client = ClientInfo { client_id: "app".into(), host: "10.0.0.1".into() };
        let asker = Asker { token, connection, client: &client };
        let mut out = Vec::new();
        self.coordinator.on_request(self.now, asker, request, &mut out);
        self.take(out);
        token
    }

    pub(super) fn take(&mut self, out: Vec<GroupEffect>) {
        for effect in out {
            match effect {
                GroupEffect::Reply(token, response) => {
                    assert!(self.replies.insert(token, response).is_none(), "one answer for each question");
                }
                GroupEffect::Propose { ticket, command } => self.proposals.push_back((ticket, command)),
                GroupEffect::Log(LogLevel::Warn, text) => self.warned.push(text),
                GroupEffect::Log(..) => {}
            }
        }
        if self.is_prompt {
            self.apply_all();
        }
    }

    pub(super) fn apply_all(&mut self) {
        while let Some((ticket, command)) = self.proposals.pop_front() {
            self.coordinator.apply(&command);
            let mut out = Vec::new();
            self.coordinator.on_applied(self.now, ticket, &mut out);
            self.take(out);
        }
    }

    pub(super) fn drop_first(&mut self) {
        let (ticket, _) = self.proposals.pop_front().expect("a proposal is under way");
        let mut out = Vec::new();
        self.coordinator.on_dropped(self.now, ticket, &mut out);
        self.take(out);
    }

    /// Lets time pass, stopping at each deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        while let Some(at) = self.coordinator.next_deadline().filter(|at| *at <= end) {
            self.jump(at);
            let mut out = Vec::new();
            self.coordinator.on_timer(self.now, &mut out);
            self.take(out);
        }
        self.jump(end);
    }

    fn jump(&mut self, at: Mono) {
        let passed = at.since(self.now.mono);
        self.now.mono = self.now.mono.max(at);
        self.now.wall.0 += passed.as_millis() as i64;
    }

    /// Lets time pass while these members of a group send heartbeats.
    pub(super) fn pass_with(&mut self, time: Duration, generation: i32, members: &[&str]) {
        for _ in 0..time.as_secs() {
            self.pass(SECOND);
            for member in members {
                self.heartbeat(member, generation);
            }
        }
    }

    /// The leader stops and a new one starts from the log: everything applied stays, the rest is lost.
    pub(super) fn restart(&mut self) {
        self.proposals.clear();
        let mut out = Vec::new();
        self.coordinator.resign(&mut out);
        self.take(out);
        assert_eq!(self.coordinator.waiting_count(), 0);
        self.coordinator.become_leader(self.now);
    }

    pub(super) fn reply(&mut self, token: Token) -> Option<Response> {
        self.replies.remove(&token)
    }

    pub(super) fn join(&mut self, member: &Who) -> Token {
        self.send(Request::JoinGroup(JoinGroup {
            group: "g".into(),
            session_timeout: member.session,
            rebalance_timeout: member.rebalance,
            member_id: member.id.clone(),
            instance_id: member.instance.clone(),
            protocol_type: member.kind.clone(),
            protocols: member.protocols.clone(),
            reason: None,
            requires_known_member_id: member.requires_known_id,
            supports_skipping_assignment: member.skips,
        }))
    }

    pub(super) fn joined(&mut self, token: Token) -> JoinGroupResponse {
        match self.reply(token) {
            Some(Response::JoinGroup(answer)) => answer,
            other => panic!("no answer to JoinGroup but {other:?}"),
        }
    }

    pub(super) fn join_error(&mut self, member: &Who) -> ErrorCode {
        let token = self.join(member);
        self.joined(token).error
    }

    pub(super) fn sync_with(&mut self, id: &str, generation: i32, shares: &[(&str, &'static [u8])]) -> Token {
        self.send(Request::SyncGroup(SyncGroup {
            group: "g".into(),
            generation,
            member_id: id.into(),
            instance_id: None,
            protocol_type: None,
            protocol: None,
            assignments: shares.iter().map(|(m, s)| ((*m).to_owned(), Bytes::from_static(s))).collect(),
        }))
    }

    pub(super) fn synced(&mut self, token: Token) -> SyncGroupResponse {
        match self.reply(token) {
            Some(Response::SyncGroup(answer)) => answer,
            other => panic!("no answer to SyncGroup but {other:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, id: &str, generation: i32) -> ErrorCode {
        self.heartbeat_as(id, None, generation)
    }

    pub(super) fn heartbeat_as(&mut self, id: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        let instance_id = instance.map(str::to_owned);
        let request = Heartbeat { group: "g".into(), generation, member_id: id.into(), instance_id };
        let token = self.send(Request::Heartbeat(request));
        match self.reply(token) {
            Some(Response::Heartbeat(answer)) => answer.error,
            other => panic!("no answer to Heartbeat but {other:?}"),
        }
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members.iter().map(|(id, i)| ((*id).to_owned(), i.map(str::to_owned))).collect();
        let token = self.send(Request::LeaveGroup(LeaveGroup { group: "g".into(), members }));
        match self.reply(token) {
            Some(Response::LeaveGroup(answer)) => answer.members.into_iter().map(|(_, _, e)| e).collect(),
            other => panic!("no answer to LeaveGroup but {other:?}"),
        }
    }

    pub(super) fn start_commit(
        &mut self,
        group: &str,
        id: &str,
        generation: i32,
        topic: &str,
        offset: i64,
    ) -> Token {
        let position = OffsetToCommit { index: 0, offset, leader_epoch: 3, metadata: Some("text".into()) };
        self.send(Request::OffsetCommit(OffsetCommit {
            group: group.into(),
            generation,
            member_id: id.into(),
            instance_id: None,
            topics: vec![(TopicRef::Name(topic.into()), vec![position])],
        }))
    }

    pub(super) fn committed(&mut self, token: Token) -> ErrorCode {
        match self.reply(token) {
            Some(Response::OffsetCommit(answer)) => answer.topics[0].1[0].1,
            other => panic!("no answer to OffsetCommit but {other:?}"),
        }
    }

    pub(super) fn commit(&mut self, id: &str, generation: i32, offset: i64) -> ErrorCode {
        let token = self.start_commit("g", id, generation, "t", offset);
        self.committed(token)
    }

    pub(super) fn fetch(
        &mut self,
        group: &str,
        topics: Option<&[(&str, i32)]>,
    ) -> Vec<(TopicRef, Vec<FetchedOffset>)> {
        let topics = topics.map(|topics| {
            topics.iter().map(|(name, index)| (TopicRef::Name((*name).into()), vec![*index])).collect()
        });
        let asked = OffsetFetchGroup { group: group.into(), member_id: None, member_epoch: -1, topics };
        let token = self.send(Request::OffsetFetch(OffsetFetch {
            groups: vec![asked],
            require_stable: true,
            topic_ids: false,
        }));
        match self.reply(token) {
            Some(Response::OffsetFetch(mut answer)) => {
                assert_eq!(answer.groups[0].error, ErrorCode::None);
                answer.groups.remove(0).topics
            }
            other => panic!("no answer to OffsetFetch but {other:?}"),
        }
    }

    pub(super) fn offset(&mut self, group: &str, topic: &str) -> i64 {
        self.fetch(group, Some(&[(topic, 0)]))[0].1[0].offset
    }

    pub(super) fn start_delete(&mut self, groups: &[&str]) -> Token {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.send(Request::DeleteGroups(DeleteGroups { groups }))
    }

    pub(super) fn deleted(&mut self, token: Token) -> Vec<ErrorCode> {
        match self.reply(token) {
            Some(Response::DeleteGroups(answer)) => answer.groups.into_iter().map(|(_, e)| e).collect(),
            other => panic!("no answer to DeleteGroups but {other:?}"),
        }
    }

    pub(super) fn describe(&mut self) -> DescribedGroup {
        let token = self.send(Request::DescribeGroups(DescribeGroups { groups: vec!["g".into()] }));
        match self.reply(token) {
            Some(Response::DescribeGroups(mut answer)) => answer.groups.remove(0),
            other => panic!("no answer to DescribeGroups but {other:?}"),
        }
    }

    pub(super) fn phase(&mut self) -> GroupPhase {
        self.describe().state
    }

    /// Brings these members into one stable generation; their ids come back in the same order, the leader's first
    /// when it is the first.
    pub(super) fn stabilize(&mut self, members: &[Who]) -> (i32, Vec<String>) {
        let tokens: Vec<Token> = members.iter().map(|member| self.join(member)).collect();
        self.pass(SECOND * 7);
        let answers: Vec<JoinGroupResponse> = tokens.into_iter().map(|token| self.joined(token)).collect();
        for answer in &answers {
            assert_eq!(answer.error, ErrorCode::None, "{answer:?}");
        }
        let generation = answers[0].generation;
        let leader = answers[0].leader.clone();
        let shares: Vec<(String, Bytes)> = answers
            .iter()
            .map(|answer| (answer.member_id.clone(), Bytes::from(answer.member_id.clone())))
            .collect();
        let ids: Vec<String> = answers.into_iter().map(|answer| answer.member_id).collect();
        let mut waiting = Vec::new();
        for id in ids.iter().filter(|id| **id != leader).chain([&leader]) {
            waiting.push(self.send(Request::SyncGroup(SyncGroup {
                group: "g".into(),
                generation,
                member_id: id.clone(),
                instance_id: None,
                protocol_type: Some("consumer".into()),
                protocol: None,
                assignments: if *id == leader { shares.clone() } else { Vec::new() },
            })));
        }
        for token in waiting {
            assert_eq!(self.synced(token).error, ErrorCode::None);
        }
        assert_eq!(self.phase(), GroupPhase::Stable);
        (generation, ids)
    }
}
