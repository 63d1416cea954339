//! The way of a group request to its coordinator and back: topic ids become names on the way in and ids again on the way
//! out; a request over several groups is cut by shard and its answers are joined.

use super::Node;
use crate::event::Effect;
use crate::group::{Coordinator, GroupEffect};
use crate::request::{
    Asker, DeleteGroups, DeleteGroupsResponse, DescribeGroups, DescribeGroupsResponse, FindCoordinator,
    FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse,
    OffsetCommit, OffsetCommitResponse, OffsetDelete, OffsetDeleteResponse, OffsetFetch, OffsetFetchGroup,
    OffsetFetchResponse, Refusal, Request, Response, SyncGroupResponse, Token, TopicRef,
};
use model::{ErrorCode, Now};
use std::collections::BTreeMap;

/// The only kind of coordinator there is so far.
const COORDINATOR_OF_GROUPS: i8 = 0;

/// What the answer to a commit or a deletion of positions looks like, with the codes of what never reached the coordinator.
#[derive(Debug)]
pub(super) struct CommitAnswer {
    topics: Vec<(TopicRef, Option<String>, Vec<(i32, ErrorCode)>)>,
}

/// A part of a request over several groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    whole: Token,
    slot: usize,
}

/// Answers of the parts, in order, as they come.
#[derive(Debug)]
pub(super) struct Join {
    answers: Vec<Option<Response>>,
    /// Names of the parts, in the same order.
    tokens: Vec<Token>,
    by_id: bool,
}

impl Node {
    pub(super) fn find_coordinator(
        &mut self,
        now: Now,
        token: Token,
        request: FindCoordinator,
        out: &mut Vec<Effect>,
    ) {
        self.ensure_offsets_topic(now, out);
        let find = |key: String| {
            let found = if request.key_type != COORDINATOR_OF_GROUPS {
                let text = "this node coordinates consumer groups only: transactions do not exist yet";
                Err(Refusal::new(ErrorCode::UnsupportedVersion, text)) // final: a retriable code would be retried for ever
            } else if self.frozen.is_some() {
                Err(ErrorCode::CoordinatorNotAvailable.into())
            } else {
                let shard = self.catalog.coordinator_shard(&key).map(|shard| self.shard_index(shard));
                let leader = shard.and_then(|at| self.leadership(at));
                let endpoint = leader.and_then(|leader| self.endpoint_of(leader.node).cloned());
                endpoint.ok_or(ErrorCode::CoordinatorNotAvailable.into())
            };
            (key, found)
        };
        let coordinators = request.keys.into_iter().map(find).collect();
        self.reply(token, Response::FindCoordinator(FindCoordinatorResponse { coordinators }), out);
    }

    pub(super) fn group_request(
        &mut self,
        now: Now,
        asker: Asker<'_>,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        match request {
            Request::OffsetCommit(request) => {
                let request = self.name_topics(asker.token, request);
                self.ask(now, asker, Request::OffsetCommit(request), out);
            }
            Request::OffsetDelete(request) => {
                let request = self.keep_known_topics(asker.token, request);
                self.ask(now, asker, Request::OffsetDelete(request), out);
            }
            Request::OffsetFetch(request) => {
                let by_id = request.topic_ids;
                let part = |group| {
                    Request::OffsetFetch(OffsetFetch {
                        groups: vec![group],
                        require_stable: request.require_stable,
                        topic_ids: by_id,
                    })
                };
                let parts = request.groups.into_iter().map(|group| part(self.name_fetched(group))).collect();
                let empty = Response::OffsetFetch(OffsetFetchResponse { groups: Vec::new() });
                self.ask_parts(now, asker, parts, empty, out);
            }
            Request::DescribeGroups(request) => {
                let part = |group| Request::DescribeGroups(DescribeGroups { groups: vec![group] });
                let parts = request.groups.into_iter().map(part).collect();
                let empty = Response::DescribeGroups(DescribeGroupsResponse { groups: Vec::new() });
                self.ask_parts(now, asker, parts, empty, out);
            }
            Request::DeleteGroups(request) => {
                let part = |group| Request::DeleteGroups(DeleteGroups { groups: vec![group] });
                let parts = request.groups.into_iter().map(part).collect();
                let empty = Response::DeleteGroups(DeleteGroupsResponse { groups: Vec::new() });
                self.ask_parts(now, asker, parts, empty, out);
            }
            Request::ListGroups(request) => {
                // Each node lists the groups that it coordinates; who wants all of them asks all nodes.
                let served: Vec<usize> =
                    (1..self.shards.len()).filter(|at| self.shards[*at].serving).collect();
                if served.is_empty() {
                    let response = ListGroupsResponse { error: ErrorCode::None, groups: Vec::new() };
                    self.reply(asker.token, Response::ListGroups(response), out);
                    return;
                }
                let tokens = self.join(asker.token, served.len(), false);
                for (at, token) in served.into_iter().zip(tokens) {
                    let asker = Asker { token, ..asker };
                    self.ask_shard(now, at, asker, Request::ListGroups(request.clone()), out);
                }
            }
            other => self.ask(now, asker, other, out),
        }
    }

    /// Several questions to several coordinators, one answer.
    fn ask_parts(
        &mut self,
        now: Now,
        asker: Asker<'_>,
        parts: Vec<Request>,
        empty: Response,
        out: &mut Vec<Effect>,
    ) {
        if parts.is_empty() {
            self.reply(asker.token, empty, out);
            return;
        }
        let by_id = matches!(&parts[0], Request::OffsetFetch(fetch) if fetch.topic_ids);
        let tokens = self.join(asker.token, parts.len(), by_id);
        for (token, request) in tokens.into_iter().zip(parts) {
            self.ask(now, Asker { token, ..asker }, request, out);
        }
    }

    /// Opens a join of so many parts and names them.
    fn join(&mut self, whole: Token, count: usize, by_id: bool) -> Vec<Token> {
        let tokens: Vec<Token> = (0..count).map(|_| self.internal_token()).collect();
        self.parts.extend(tokens.iter().enumerate().map(|(slot, token)| (*token, Part { whole, slot })));
        let answers = tokens.iter().map(|_| None).collect();
        self.joins.insert(whole, Join { answers, tokens: tokens.clone(), by_id });
        tokens
    }

    /// Nobody waits for the answer any more: what was kept for it goes.
    pub(super) fn forget_group_request(&mut self, token: Token) {
        self.commits.remove(&token);
        for part in self.joins.remove(&token).into_iter().flat_map(|join| join.tokens) {
            self.parts.remove(&part);
        }
    }

    fn ask(&mut self, now: Now, asker: Asker<'_>, request: Request, out: &mut Vec<Effect>) {
        let shard = self.catalog.coordinator_shard(group_of(&request)).map(|shard| self.shard_index(shard));
        match shard.filter(|at| self.shards[*at].serving && self.frozen.is_none()) {
            Some(at) => self.ask_shard(now, at, asker, request, out),
            None => {
                let response = not_coordinator(&request);
                self.answer_group(asker.token, response, out);
            }
        }
    }

    fn ask_shard(&mut self, now: Now, at: usize, asker: Asker<'_>, request: Request, out: &mut Vec<Effect>) {
        self.with_coordinator(at, out, |coordinator, effects| {
            coordinator.on_request(now, asker, request, effects);
        });
    }

    /// Lets the coordinator of a shard act, and carries out what it wants.
    pub(super) fn with_coordinator(
        &mut self,
        at: usize,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Coordinator, &mut Vec<GroupEffect>),
    ) {
        let mut effects = Vec::new();
        act(&mut self.shards[at].coordinator, &mut effects);
        for effect in effects {
            match effect {
                GroupEffect::Reply(token, response) => self.answer_group(token, response, out),
                GroupEffect::Propose { ticket, command } => self.shards[at].add_group(ticket, command),
                GroupEffect::Log(level, text) => out.push(Effect::Log(level, text)),
            }
        }
    }

    fn answer_group(&mut self, token: Token, response: Response, out: &mut Vec<Effect>) {
        if let Some(part) = self.parts.remove(&token) {
            let join = self.joins.get_mut(&part.whole).expect("a join outlives its parts");
            join.answers[part.slot] = Some(response);
            if join.answers.iter().all(Option::is_some) {
                let join = self.joins.remove(&part.whole).expect("looked at");
                let mut response = joined(join.answers.into_iter().flatten());
                if join.by_id {
                    self.identify_fetched(&mut response);
                }
                self.reply(part.whole, response, out);
            }
            return;
        }
        let response = match (response, self.commits.remove(&token)) {
            (Response::OffsetCommit(response), Some(answer)) => {
                Response::OffsetCommit(OffsetCommitResponse { topics: answer.fill(&response.topics) })
            }
            (
                Response::OffsetDelete(OffsetDeleteResponse { error: ErrorCode::None, topics }),
                Some(answer),
            ) => {
                let topics = answer.fill(&topics);
                Response::OffsetDelete(OffsetDeleteResponse { error: ErrorCode::None, topics })
            }
            (response, _) => response,
        };
        self.reply(token, response, out);
    }

    /// Turns topic ids into names and takes out what does not exist; the codes of the latter wait for the answer.
    fn name_topics(&mut self, token: Token, request: OffsetCommit) -> OffsetCommit {
        let mut answer = CommitAnswer { topics: Vec::with_capacity(request.topics.len()) };
        let mut topics = Vec::with_capacity(request.topics.len());
        for (topic, offsets) in request.topics {
            let found = self.resolve(&topic).map(|found| (found.name.clone(), found.shards.len()));
            match found {
                Err(code) => {
                    let codes = offsets.iter().map(|offset| (offset.index, code)).collect();
                    answer.topics.push((topic, None, codes));
                }
                Ok((name, partitions)) => {
                    let exists = |index: i32| usize::try_from(index).is_ok_and(|index| index < partitions);
                    let code = |index| {
                        if exists(index) { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition }
                    };
                    let codes = offsets.iter().map(|offset| (offset.index, code(offset.index))).collect();
                    answer.topics.push((topic, Some(name.clone()), codes));
                    let known: Vec<_> = offsets.into_iter().filter(|offset| exists(offset.index)).collect();
                    if !known.is_empty() {
                        topics.push((TopicRef::Name(name), known));
                    }
                }
            }
        }
        self.commits.insert(token, answer);
        OffsetCommit { topics, ..request }
    }

    /// Takes out topics that do not exist; their codes wait for the answer. A partition need not exist (as in Kafka):
    /// there is no position in it then.
    fn keep_known_topics(&mut self, token: Token, request: OffsetDelete) -> OffsetDelete {
        let mut answer = CommitAnswer { topics: Vec::with_capacity(request.topics.len()) };
        let mut topics = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in request.topics {
            let found = self.resolve(&topic).map(|found| found.name.clone());
            let code = found.as_ref().err().copied().unwrap_or(ErrorCode::None);
            let codes = partitions.iter().map(|index| (*index, code)).collect();
            answer.topics.push((topic, found.clone().ok(), codes));
            topics.extend(found.into_iter().map(|name| (TopicRef::Name(name), partitions.clone())));
        }
        self.commits.insert(token, answer);
        OffsetDelete { topics, ..request }
    }

    fn name_fetched(&self, mut group: OffsetFetchGroup) -> OffsetFetchGroup {
        for (topic, _) in group.topics.iter_mut().flatten() {
            if let Ok(found) = self.resolve(topic) {
                *topic = TopicRef::Name(found.name.clone());
            }
        }
        group
    }

    fn identify_fetched(&self, response: &mut Response) {
        let Response::OffsetFetch(response) = response else { return };
        for (topic, _) in response.groups.iter_mut().flat_map(|group| &mut group.topics) {
            if let Ok(found) = self.resolve(topic) {
                *topic = TopicRef::Id(found.id);
            }
        }
    }
}

impl CommitAnswer {
    fn fill(self, answered: &[(TopicRef, Vec<(i32, ErrorCode)>)]) -> Vec<(TopicRef, Vec<(i32, ErrorCode)>)> {
        let mut codes: BTreeMap<&str, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
        for (topic, found) in answered {
            if let TopicRef::Name(name) = topic {
                codes.entry(name).or_default().extend(found.iter().copied());
            }
        }
        let code = |name: Option<&String>, index: i32, before: ErrorCode| {
            if before.is_none() {
                let found =
                    name.and_then(|name| codes.get(name.as_str())).and_then(|codes| codes.get(&index));
                found.copied().unwrap_or(ErrorCode::UnknownServerError)
            } else {
                before
            }
        };
        let fill = |(topic, name, slots): (TopicRef, Option<String>, Vec<(i32, ErrorCode)>)| {
            let slots = slots
                .into_iter()
                .map(|(index, before)| (index, code(name.as_ref(), index, before)))
                .collect();
            (topic, slots)
        };
        self.topics.into_iter().map(fill).collect()
    }
}

fn group_of(request: &Request) -> &str {
    match request {
        Request::JoinGroup(request) => &request.group,
        Request::SyncGroup(request) => &request.group,
        Request::Heartbeat(request) => &request.group,
        Request::LeaveGroup(request) => &request.group,
        Request::OffsetCommit(request) => &request.group,
        Request::OffsetDelete(request) => &request.group,
        Request::OffsetFetch(request) => &request.groups[0].group,
        Request::DescribeGroups(request) => &request.groups[0],
        Request::DeleteGroups(request) => &request.groups[0],
        other => unreachable!("{} names no group", other.name()),
    }
}

/// The answer of a node that does not (yet) coordinate the group: clients look for the coordinator again.
fn not_coordinator(request: &Request) -> Response {
    let error = ErrorCode::NotCoordinator;
    match request {
        Request::JoinGroup(asked) => Response::JoinGroup(JoinGroupResponse {
            error,
            generation: -1,
            member_id: asked.member_id.clone(),
            ..JoinGroupResponse::default()
        }),
        Request::SyncGroup(_) => {
            Response::SyncGroup(SyncGroupResponse { error, ..SyncGroupResponse::default() })
        }
        Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse { error }),
        Request::LeaveGroup(_) => Response::LeaveGroup(LeaveGroupResponse { error, members: Vec::new() }),
        Request::OffsetCommit(asked) => {
            let codes = |(topic, offsets): &(TopicRef, Vec<crate::request::OffsetToCommit>)| {
                (topic.clone(), offsets.iter().map(|offset| (offset.index, error)).collect())
            };
            Response::OffsetCommit(OffsetCommitResponse { topics: asked.topics.iter().map(codes).collect() })
        }
        Request::OffsetDelete(_) => {
            Response::OffsetDelete(OffsetDeleteResponse { error, topics: Vec::new() })
        }
        Request::OffsetFetch(asked) => {
            let group = asked.groups[0].group.clone();
            let fetched = crate::request::FetchedGroup { group, error, topics: Vec::new() };
            Response::OffsetFetch(OffsetFetchResponse { groups: vec![fetched] })
        }
        Request::DescribeGroups(asked) => {
            let described = crate::request::DescribedGroup {
                group: asked.groups[0].clone(),
                refusal: error.into(),
                state: crate::request::GroupPhase::Dead,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            };
            Response::DescribeGroups(DescribeGroupsResponse { groups: vec![described] })
        }
        Request::DeleteGroups(asked) => {
            Response::DeleteGroups(DeleteGroupsResponse { groups: vec![(asked.groups[0].clone(), error)] })
        }
        other => unreachable!("{} names no group", other.name()),
    }
}

/// One answer of several of the same kind.
fn joined(mut parts: impl Iterator<Item = Response>) -> Response {
    let mut whole = parts.next().expect("a join has parts");
    for part in parts {
        match (&mut whole, part) {
            (Response::OffsetFetch(whole), Response::OffsetFetch(part)) => whole.groups.extend(part.groups),
            (Response::DescribeGroups(whole), Response::DescribeGroups(part)) => {
                whole.groups.extend(part.groups)
            }
            (Response::DeleteGroups(whole), Response::DeleteGroups(part)) => whole.groups.extend(part.groups),
            (Response::ListGroups(whole), Response::ListGroups(part)) => {
                whole.groups.extend(part.groups);
                if whole.error.is_none() {
                    whole.error = part.error;
                }
            }
            (whole, part) => unreachable!("parts of one request answer alike: {whole:?}, {part:?}"),
        }
    }
    whole
}
