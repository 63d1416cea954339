//! From one generation to the next: gather the members, give up on the missing ones, write the new generation down,
//! answer those who joined. The generation is in the log before any member learns of it, so it never goes back.

use super::classic::{Group, InitialDelay, Phase};
use super::config::{GroupMutant, RETRY_PAUSE_MIN};
use super::join;
use super::sync;
use super::turn::Turn;
use crate::request::{JoinGroupResponse, Response};
use model::ErrorCode;

impl Group {
    /// Starts a rebalance, or goes on with the one under way if nobody is missing any more.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>, reason: &str) {
        if self.is_preparing() { self.complete_if_all_joined(turn) } else { self.rebalance(turn, reason) }
    }

    /// Starts a rebalance.
    pub(super) fn rebalance(&mut self, turn: &mut Turn<'_>, reason: &str) {
        assert!(!self.is_preparing(), "one rebalance at a time");
        if self.phase == Phase::Completing {
            for (id, member) in &mut self.members {
                member.assignment = Default::default();
                if let Some(waiter) = member.sync.take() {
                    turn.start_session(id, member.session_timeout);
                    turn.reply(waiter, Response::SyncGroup(sync::refusal(ErrorCode::RebalanceInProgress)));
                }
            }
        }
        self.pending_sync.clear();
        turn.end_sync_timer();
        turn.log(format!("rebalance after generation {} ({reason})", self.generation));
        if self.phase == Phase::Empty {
            let delay = turn.config.initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.phase = Phase::Preparing(Some(InitialDelay { delay, remaining, joined: false }));
            turn.start_join_timer(delay);
            return;
        }
        self.phase = Phase::Preparing(None);
        if self.all_joined() {
            self.complete_join(turn);
        } else {
            turn.start_join_timer(self.rebalance_timeout());
        }
    }

    /// Ends the join phase if nobody is missing. The first generation always waits for its delay.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::Preparing(None) && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// The join phase has lasted long enough.
    pub(super) fn on_join_alarm(&mut self, turn: &mut Turn<'_>) {
        if turn.config.mutant == Some(GroupMutant::JoinTimerIgnored) {
            return;
        }
        let max = turn.config.initial_rebalance_delay;
        match &mut self.phase {
            Phase::Preparing(Some(initial)) if initial.joined && !initial.remaining.is_zero() => {
                let delay = max.min(initial.remaining);
                let remaining = initial.remaining.saturating_sub(initial.delay);
                *initial = InitialDelay { delay, remaining, joined: false };
                turn.start_join_timer(delay);
            }
            Phase::Preparing(_) => self.complete_join(turn),
            other => unreachable!("the join alarm of a group that is {other:?}"),
        }
    }

    /// Ends the join phase: who has not joined is out (a static member stays until its session ends), the rest are
    /// the next generation.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.end_join_timer();
        let missing: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.join.is_none() && member.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &missing {
            self.remove_member(turn, id);
        }
        if !missing.is_empty() {
            turn.log(format!("removed members that did not join again: {}", missing.join(", ")));
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            turn.start_join_timer(self.rebalance_timeout().max(RETRY_PAUSE_MIN));
            return;
        }
        self.generation = self.generation.checked_add(1).expect("a group lives less than 2^31 generations");
        self.since = turn.now.wall;
        self.pending_sync.clear();
        self.protocol = self.select_protocol();
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            turn.propose_membership(self);
            turn.log(format!("empty with generation {}", self.generation));
            return;
        }
        self.phase = Phase::Completing;
        for member in self.members.values_mut() {
            member.assignment = Default::default();
        }
        if turn.config.mutant != Some(GroupMutant::GenerationNotLogged) {
            turn.propose_membership(self);
        }
        turn.log(format!("generation {} with {} members", self.generation, self.members.len()));
        self.answer_joins(turn);
        turn.start_sync_timer(self.rebalance_timeout());
    }

    /// The leader stays if it joined, else the first member that did leads. False when nobody joined.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        match self.members.iter().find(|(_, member)| member.join.is_some()) {
            Some((id, _)) => {
                self.leader = Some(id.clone());
                true
            }
            None => false,
        }
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let mut roster = self.roster();
        let leader = self.leader.clone().unwrap_or_default();
        for (id, member) in &mut self.members {
            member.is_new = false;
            self.pending_sync.insert(id.clone());
            turn.start_session(id, member.session_timeout);
            let Some(waiter) = member.join.take() else { continue };
            let response = JoinGroupResponse {
                error: ErrorCode::None,
                generation: self.generation,
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                leader: leader.clone(),
                skip_assignment: false,
                member_id: id.clone(),
                members: if *id == leader { std::mem::take(&mut roster) } else { Vec::new() },
            };
            turn.answer_member(waiter, Some((id, member)), Response::JoinGroup(response));
        }
    }

    /// Members had time enough to sync: who did not is out.
    pub(super) fn on_sync_alarm(&mut self, turn: &mut Turn<'_>) {
        assert!(
            matches!(self.phase, Phase::Completing | Phase::Stable),
            "the sync alarm follows a generation"
        );
        let held = |id: &String| self.members.get(id).is_some_and(|member| member.held.is_some());
        if self.pending_sync.iter().any(held) {
            turn.start_sync_timer(self.rebalance_timeout().max(RETRY_PAUSE_MIN));
            return;
        }
        let silent: Vec<String> = std::mem::take(&mut self.pending_sync).into_iter().collect();
        if silent.is_empty() {
            return;
        }
        for id in &silent {
            self.remove_member(turn, id);
        }
        self.rebalance(turn, &format!("no SyncGroup from {}", silent.join(", ")));
    }

    /// A member, or a member id handed out, was silent too long.
    pub(super) fn on_session_alarm(&mut self, turn: &mut Turn<'_>, id: &str) {
        if turn.config.mutant == Some(GroupMutant::SessionTimerIgnored) {
            return;
        }
        if self.pending.remove(id) {
            turn.log(format!("member id {id} never came back"));
            self.complete_if_all_joined(turn);
            return;
        }
        let member = self.members.get(id).expect("a session belongs to a member");
        if member.is_waiting() {
            return;
        }
        self.remove_member(turn, id);
        turn.log(format!("member {id} was silent too long"));
        self.after_removal(turn, &format!("session of {id} timed out"));
    }

    /// Goes on after members went.
    pub(super) fn after_removal(&mut self, turn: &mut Turn<'_>, reason: &str) {
        match self.phase {
            Phase::Completing | Phase::Stable => self.rebalance(turn, reason),
            Phase::Preparing(_) => self.complete_if_all_joined(turn),
            Phase::Empty => {}
        }
    }

    /// Forgets a member; what it waits for is answered with UNKNOWN_MEMBER_ID.
    pub(super) fn remove_member(&mut self, turn: &mut Turn<'_>, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        self.tally.remove(&member);
        turn.end_session(id);
        self.pending_sync.remove(id);
        if let Some(waiter) = member.join {
            turn.reply(waiter, Response::JoinGroup(join::refusal(ErrorCode::UnknownMemberId, String::new())));
        }
        if let Some(waiter) = member.sync {
            turn.reply(waiter, Response::SyncGroup(sync::refusal(ErrorCode::UnknownMemberId)));
        }
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
