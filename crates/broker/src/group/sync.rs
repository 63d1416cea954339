//! SyncGroup, Heartbeat and LeaveGroup: the life of a member inside a generation.

use super::classic::{Group, Phase};
use super::command::GroupCommand;
use super::config::GroupMutant;
use super::flight::Waiter;
use super::opaque::Opaque;
use super::turn::Turn;
use crate::request::{
    Heartbeat, HeartbeatResponse, LeaveGroup, LeaveGroupResponse, Response, SyncGroup, SyncGroupResponse,
};
use bytes::Bytes;
use model::ErrorCode;
use std::collections::BTreeMap;

/// An answer with an error.
pub(super) fn refusal(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error, ..Default::default() }
}

impl Group {
    /// A member asks for its assignment; the leader brings all of them.
    pub(super) fn on_sync(&mut self, turn: &mut Turn<'_>, waiter: Waiter, request: SyncGroup) {
        if let Err(error) = self.check_sync(turn, &request) {
            return turn.reply(waiter, Response::SyncGroup(refusal(error)));
        }
        let id = request.member_id.as_str();
        let overwrites = turn.config.mutant == Some(GroupMutant::AssignmentOverwritten)
            && self.phase == Phase::Stable
            && !request.assignments.is_empty();
        match self.phase {
            Phase::Empty | Phase::Preparing(_) => {
                turn.reply(waiter, Response::SyncGroup(refusal(ErrorCode::RebalanceInProgress)));
            }
            Phase::Stable if !overwrites => {
                self.synced(turn, id);
                self.answer_sync(turn, id, waiter);
            }
            Phase::Completing | Phase::Stable => {
                self.synced(turn, id);
                let member = self.members.get_mut(id).expect("checked above");
                if let Some(before) = member.sync.replace(waiter) {
                    turn.reply(before, Response::SyncGroup(refusal(ErrorCode::RebalanceInProgress)));
                }
                if self.is_leader(id) {
                    self.assign(turn, &request.assignments);
                }
            }
        }
    }

    fn check_sync(&self, turn: &Turn<'_>, request: &SyncGroup) -> Result<(), ErrorCode> {
        let differs = |asked: &Option<String>, ours: &Option<String>| {
            asked.as_ref().is_some_and(|asked| ours.as_ref() != Some(asked))
        };
        if self.phase == Phase::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(turn, request.generation)?;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// Whether a request speaks of the running generation.
    pub(super) fn check_generation(&self, turn: &Turn<'_>, generation: i32) -> Result<(), ErrorCode> {
        let unchecked = turn.config.mutant == Some(GroupMutant::GenerationUnchecked);
        if generation == self.generation || unchecked { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }

    fn synced(&mut self, turn: &mut Turn<'_>, id: &str) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            turn.end_sync_timer();
        }
    }

    /// The leader's assignment: into the log, then to the members that wait for it.
    fn assign(&mut self, turn: &mut Turn<'_>, assignments: &[(String, Bytes)]) {
        let shares: BTreeMap<&str, &Bytes> =
            assignments.iter().map(|(member, share)| (member.as_str(), share)).collect();
        let bytes: usize =
            self.members.keys().filter_map(|id| shares.get(id.as_str())).map(|s| s.len()).sum();
        if bytes > turn.config.group_bytes_max {
            return self.refuse_assignment(turn, bytes);
        }
        for (id, member) in &mut self.members {
            member.assignment =
                shares.get(id.as_str()).map(|share| Opaque::copy_of(share)).unwrap_or_default();
        }
        self.phase = Phase::Stable;
        self.since = turn.now.wall;
        let assignments = self.members.iter().filter(|(_, member)| member.assignment.size() > 0);
        turn.propose(GroupCommand::GroupAssigned {
            group: turn.name.to_owned(),
            at: turn.now.wall,
            generation: self.generation,
            assignments: assignments.map(|(id, member)| (id.clone(), member.assignment.clone())).collect(),
        });
        let waiting =
            self.members.iter_mut().filter_map(|(id, member)| Some((id.clone(), member.sync.take()?)));
        for (id, waiter) in waiting.collect::<Vec<_>>() {
            self.answer_sync(turn, &id, waiter);
        }
    }

    /// An assignment that no log entry can hold: everybody is told, and the members gather again.
    fn refuse_assignment(&mut self, turn: &mut Turn<'_>, bytes: usize) {
        for (id, member) in &mut self.members {
            if let Some(waiter) = member.sync.take() {
                turn.start_session(id, member.session_timeout);
                turn.reply(waiter, Response::SyncGroup(refusal(ErrorCode::UnknownServerError)));
            }
        }
        let max = turn.config.group_bytes_max;
        self.rebalance(turn, &format!("an assignment of {bytes} bytes is above the limit of {max}"));
    }

    fn answer_sync(&mut self, turn: &mut Turn<'_>, id: &str, waiter: Waiter) {
        let member = self.members.get_mut(id).expect("checked by the caller");
        let response = SyncGroupResponse {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.assignment.bytes(),
        };
        turn.start_session(id, member.session_timeout);
        turn.answer_member(waiter, Some((id, member)), Response::SyncGroup(response));
    }

    /// A member is alive; it learns here that it has to join again.
    pub(super) fn on_heartbeat(&mut self, turn: &mut Turn<'_>, waiter: Waiter, request: &Heartbeat) {
        let checked = self
            .check_member(&request.member_id, request.instance_id.as_deref())
            .and_then(|()| self.check_generation(turn, request.generation));
        let error = match checked {
            Err(error) => error,
            Ok(()) => {
                self.heard(turn, &request.member_id);
                if self.is_preparing() { ErrorCode::RebalanceInProgress } else { ErrorCode::None }
            }
        };
        turn.reply(waiter, Response::Heartbeat(HeartbeatResponse { error }));
    }

    /// A member was heard.
    pub(super) fn heard(&mut self, turn: &mut Turn<'_>, id: &str) {
        if let Some(member) = self.members.get(id) {
            turn.start_session(id, member.session_timeout);
        }
    }

    /// Members go by their own wish, or an operator's.
    pub(super) fn on_leave(&mut self, turn: &mut Turn<'_>, waiter: Waiter, request: LeaveGroup) {
        let mut gone = Vec::new();
        let mut answers = Vec::with_capacity(request.members.len());
        for (id, instance) in request.members {
            let error = match self.leave(turn, &id, instance.as_deref()) {
                Ok(member) => {
                    gone.extend(member);
                    ErrorCode::None
                }
                Err(error) => error,
            };
            answers.push((id, instance, error));
        }
        if gone.is_empty() {
            self.complete_if_all_joined(turn);
        } else {
            self.after_removal(turn, &format!("{} left", gone.join(", ")));
        }
        let response = LeaveGroupResponse { error: ErrorCode::None, members: answers };
        turn.answer(waiter, Response::LeaveGroup(response));
    }

    /// The member that went; none when it was only an id handed out, which is no reason for a rebalance.
    fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        id: &str,
        instance: Option<&str>,
    ) -> Result<Option<String>, ErrorCode> {
        let id = if id.is_empty() {
            let owner = instance.and_then(|instance| self.statics.get(instance));
            owner.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if self.pending.remove(id) {
            turn.end_session(id);
            return Ok(None);
        } else {
            self.check_member(id, instance)?;
            id.to_owned()
        };
        self.remove_member(turn, &id);
        Ok(Some(id))
    }
}
