//! A consumer of the random model: what it knows, what it asks next, what it makes of an answer. It follows the rules
//! of stock clients; crashes and changes of mind come from the model.

use crate::request::*;
use bytes::Bytes;
use model::{ErrorCode, Mono};
use std::time::Duration;

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Joins next.
    Out,
    /// Syncs next.
    Joined,
    /// Sends heartbeats and commits.
    Member,
    /// Silent for ever, but for a late commit.
    Dead,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub group: String,
    pub instance: Option<String>,
    pub id: String,
    pub generation: i32,
    pub state: State,
    /// Waits for an answer.
    pub is_busy: bool,
    pub acts_at: Mono,
    /// What it last told about itself; a change makes it join again.
    pub metadata: u8,
    /// Members it has to assign, when it leads.
    pub roster: Vec<(String, Option<String>)>,
}

impl Client {
    pub(super) fn new(group: &str, instance: Option<String>, acts_at: Mono) -> Client {
        Client {
            group: group.to_owned(),
            instance,
            id: String::new(),
            generation: -1,
            state: State::Out,
            is_busy: false,
            acts_at,
            metadata: 0,
            roster: Vec::new(),
        }
    }

    /// How the client is told apart in an assignment.
    pub(super) fn identity(&self) -> &str {
        self.instance.as_deref().unwrap_or(&self.id)
    }

    pub(super) fn join(
        &self,
        session: Duration,
        rebalance: Duration,
        requires_known_member_id: bool,
    ) -> Request {
        Request::JoinGroup(JoinGroup {
            group: self.group.clone(),
            session_timeout: session,
            rebalance_timeout: rebalance,
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::from(vec![self.metadata]))],
            reason: None,
            requires_known_member_id,
            supports_skipping_assignment: self.metadata.is_multiple_of(2),
        })
    }

    /// Shares carry the nonce of the leader's decision and the identity they are meant for.
    pub(super) fn sync(&self, nonce: u64) -> Request {
        let share = |(id, instance): &(String, Option<String>)| {
            let identity = instance.as_ref().unwrap_or(id);
            (id.clone(), Bytes::from(format!("{nonce}/{identity}")))
        };
        Request::SyncGroup(SyncGroup {
            group: self.group.clone(),
            generation: self.generation,
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignments: self.roster.iter().map(share).collect(),
        })
    }

    pub(super) fn heartbeat(&self) -> Request {
        Request::Heartbeat(Heartbeat {
            group: self.group.clone(),
            generation: self.generation,
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
        })
    }

    pub(super) fn commit(&self, offset: i64) -> Request {
        let position = OffsetToCommit { index: 0, offset, leader_epoch: -1, metadata: None };
        Request::OffsetCommit(OffsetCommit {
            group: self.group.clone(),
            generation: self.generation,
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            topics: vec![(TopicRef::Name("t".into()), vec![position])],
        })
    }

    pub(super) fn leave(&self) -> Request {
        let members = vec![(self.id.clone(), self.instance.clone())];
        Request::LeaveGroup(LeaveGroup { group: self.group.clone(), members })
    }

    /// Takes an answer in. `Err` for one that no rule explains.
    pub(super) fn on_reply(&mut self, response: &Response) -> Result<(), String> {
        self.is_busy = false;
        if self.state == State::Dead {
            return Ok(());
        }
        let error = match response {
            Response::JoinGroup(answer) if answer.error.is_none() => {
                self.id = answer.member_id.clone();
                self.generation = answer.generation;
                self.state = State::Joined;
                let others = answer.members.iter().map(|(id, instance, _)| (id.clone(), instance.clone()));
                self.roster = if answer.skip_assignment { Vec::new() } else { others.collect() };
                ErrorCode::None
            }
            Response::JoinGroup(answer) => {
                if answer.error == ErrorCode::MemberIdRequired {
                    self.id = answer.member_id.clone();
                }
                answer.error
            }
            Response::SyncGroup(answer) => {
                if answer.error.is_none() {
                    self.state = State::Member;
                }
                answer.error
            }
            Response::Heartbeat(answer) => answer.error,
            Response::OffsetCommit(answer) => answer.topics[0].1[0].1,
            Response::LeaveGroup(_) => {
                self.id.clear();
                self.state = State::Out;
                ErrorCode::None
            }
            other => return Err(format!("unexpected answer {other:?}")),
        };
        match error {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {
                self.state = State::Out;
            }
            ErrorCode::NotCoordinator if self.state == State::Member => {}
            ErrorCode::NotCoordinator => self.state = State::Out,
            ErrorCode::UnknownMemberId => {
                self.id.clear();
                self.state = State::Out;
            }
            ErrorCode::FencedInstanceId => self.state = State::Dead,
            other => return Err(format!("unexpected error {other} for {self:?}")),
        }
        Ok(())
    }
}
