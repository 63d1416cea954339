//! JoinGroup: who may come in, and what a member that comes again changes (KIP-62, KIP-345, KIP-394, KIP-814).

use super::classic::{Group, Member, Phase, snapshot_bytes};
use super::flight::Waiter;
use super::opaque::Opaque;
use super::sync;
use super::turn::Turn;
use crate::request::{ClientInfo, JoinGroup, JoinGroupResponse, Response};
use model::ErrorCode;

/// An answer with an error.
pub(super) fn refusal(error: ErrorCode, member_id: String) -> JoinGroupResponse {
    JoinGroupResponse { error, generation: -1, member_id, ..Default::default() }
}

/// One JoinGroup on its way through the rules.
pub(super) struct Joining<'a> {
    pub waiter: Waiter,
    pub client: &'a ClientInfo,
    pub request: JoinGroup,
}

impl Joining<'_> {
    fn refuse(self, turn: &mut Turn<'_>, error: ErrorCode) {
        let member_id = match error {
            ErrorCode::GroupMaxSizeReached => String::new(),
            _ => self.request.member_id,
        };
        turn.reply(self.waiter, Response::JoinGroup(refusal(error, member_id)));
    }

    /// Copies for the long run; a name given twice counts once.
    fn protocols(&self) -> Vec<(String, Opaque)> {
        let mut protocols: Vec<(String, Opaque)> = Vec::with_capacity(self.request.protocols.len());
        for (name, metadata) in &self.request.protocols {
            if !protocols.iter().any(|(before, _)| before == name) {
                protocols.push((name.clone(), Opaque::copy_of(metadata)));
            }
        }
        protocols
    }

    fn snapshot_bytes(&self) -> usize {
        let protocols = self.request.protocols.iter().map(|(name, data)| (name, data.len()));
        let instance = self.request.instance_id.as_deref();
        snapshot_bytes(&self.client.client_id, &self.client.host, instance, protocols)
    }

    fn reason(&self) -> &str {
        self.request.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided")
    }
}

impl Group {
    /// A member wants into the next generation.
    pub(super) fn on_join(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let request = &joining.request;
        if !self.has_room_for(turn, &joining) {
            let id = request.member_id.clone();
            let was_member = self.members.contains_key(&id);
            joining.refuse(turn, ErrorCode::GroupMaxSizeReached);
            if was_member {
                self.remove_member(turn, &id);
                self.after_removal(turn, "a member does not fit any more");
            } else if self.pending.remove(&id) {
                turn.end_session(&id);
                self.complete_if_all_joined(turn);
            }
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            joining.refuse(turn, ErrorCode::InconsistentGroupProtocol);
        } else if request.member_id.is_empty() {
            self.on_join_without_id(turn, joining);
        } else if self.pending.contains(&request.member_id) {
            if request.instance_id.is_some() {
                joining.refuse(turn, ErrorCode::UnknownMemberId);
            } else {
                let id = request.member_id.clone();
                self.add_member(turn, id, joining);
            }
        } else {
            self.on_join_again(turn, joining);
        }
    }

    fn has_room_for(&self, turn: &Turn<'_>, joining: &Joining<'_>) -> bool {
        let request = &joining.request;
        let replaced = request.instance_id.as_ref().and_then(|instance| self.statics.get(instance));
        let id = replaced.filter(|_| request.member_id.is_empty()).unwrap_or(&request.member_id).as_str();
        let member = self.members.get(id);
        let size_max = turn.config.group_size_max;
        let has_seat = match self.phase {
            Phase::Empty => true,
            Phase::Preparing(_) => {
                self.members.len() < size_max
                    || member.is_some_and(|member| member.join.is_some())
                    || self.joined_count() < size_max
            }
            Phase::Completing | Phase::Stable => member.is_some() || self.members.len() < size_max,
        };
        let bytes = self.snapshot_bytes(id) + joining.snapshot_bytes();
        let all_bytes = turn.desk.members_bytes + bytes;
        has_seat && bytes <= turn.config.group_bytes_max && all_bytes <= turn.config.members_bytes_max
    }

    fn on_join_without_id(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let prefix = joining.request.instance_id.as_deref().unwrap_or(&joining.client.client_id);
        let mut id = turn.desk.identities.member_id(prefix);
        while self.members.contains_key(&id) || self.pending.contains(&id) {
            id = turn.desk.identities.member_id(prefix);
        }
        if let Some(instance) = &joining.request.instance_id {
            match self.statics.get(instance).cloned() {
                Some(before) => self.replace_static(turn, before, id, joining),
                None => self.add_member(turn, id, joining),
            }
        } else if joining.request.requires_known_member_id {
            if self.pending.len() >= turn.config.pending_members_max {
                return joining.refuse(turn, ErrorCode::GroupMaxSizeReached);
            }
            turn.start_session(&id, joining.request.session_timeout);
            self.pending.insert(id.clone());
            turn.reply(joining.waiter, Response::JoinGroup(refusal(ErrorCode::MemberIdRequired, id)));
        } else {
            self.add_member(turn, id, joining);
        }
    }

    fn add_member(&mut self, turn: &mut Turn<'_>, id: String, joining: Joining<'_>) {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(joining.request.protocol_type.clone());
        }
        if let Phase::Preparing(Some(initial)) = &mut self.phase {
            initial.joined = true;
        }
        if let Some(instance) = &joining.request.instance_id {
            let before = self.statics.insert(instance.clone(), id.clone());
            assert!(before.is_none(), "a static identity belongs to one member");
        }
        self.leader.get_or_insert_with(|| id.clone());
        turn.start_session(&id, turn.config.new_member_join_timeout);
        let reason = format!("new member {id}; client reason: {}", joining.reason());
        let member = Member {
            instance_id: joining.request.instance_id.clone(),
            client_id: joining.client.client_id.clone(),
            client_host: joining.client.host.clone(),
            session_timeout: joining.request.session_timeout,
            rebalance_timeout: joining.request.rebalance_timeout,
            protocols: joining.protocols(),
            assignment: Opaque::default(),
            join: Some(joining.waiter),
            sync: None,
            held: None,
            is_new: true,
        };
        self.tally.add(&member);
        self.members.insert(id, member);
        self.rebalance_or_complete(turn, &reason);
    }

    fn on_join_again(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let request = &joining.request;
        let id = request.member_id.clone();
        if let Err(error) = self.check_member(&id, request.instance_id.as_deref()) {
            return joining.refuse(turn, error);
        }
        let unchanged = self.members[&id].offers(&request.protocols);
        let is_leader = self.is_leader(&id);
        let why = match self.phase {
            Phase::Preparing(_) => "joins again",
            Phase::Completing if unchanged => return self.tell_generation(turn, &id, joining.waiter),
            Phase::Stable if is_leader => "the leader joins again",
            Phase::Stable if unchanged => return self.tell_generation(turn, &id, joining.waiter),
            Phase::Completing | Phase::Stable => "changes its metadata",
            Phase::Empty => unreachable!("an empty group has no members"),
        };
        let reason = format!("{why}: {id}; client reason: {}", joining.reason());
        self.update_member(turn, &id, joining);
        self.rebalance_or_complete(turn, &reason);
    }

    /// The running generation once more, for a member that changes nothing.
    fn tell_generation(&mut self, turn: &mut Turn<'_>, id: &str, waiter: Waiter) {
        let lists_members = self.phase == Phase::Completing && self.is_leader(id);
        let response = JoinGroupResponse {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members: if lists_members { self.roster() } else { Vec::new() },
        };
        let member = self.members.get_mut(id).expect("checked by the caller");
        turn.start_session(id, member.session_timeout);
        turn.answer_member(waiter, Some((id, member)), Response::JoinGroup(response));
    }

    fn update_member(&mut self, turn: &mut Turn<'_>, id: &str, joining: Joining<'_>) {
        let protocols = joining.protocols();
        let member = self.members.get_mut(id).expect("checked by the caller");
        self.tally.remove(member);
        member.protocols = protocols;
        self.tally.add(member);
        member.session_timeout = joining.request.session_timeout;
        member.rebalance_timeout = joining.request.rebalance_timeout;
        if let Some(before) = member.join.replace(joining.waiter) {
            let again = refusal(ErrorCode::RebalanceInProgress, id.to_owned());
            turn.reply(before, Response::JoinGroup(again));
        }
    }

    /// A static member came back without its id: it takes the place of the old one, which is fenced from now on. A
    /// stable group goes on as it is when its protocol stays the same.
    fn replace_static(&mut self, turn: &mut Turn<'_>, before: String, id: String, joining: Joining<'_>) {
        let instance = joining.request.instance_id.clone().expect("checked by the caller");
        let mut member = self.members.remove(&before).expect("a static identity belongs to a member");
        turn.end_session(&before);
        if let Some(waiter) = member.join.take() {
            let fenced = refusal(ErrorCode::FencedInstanceId, before.clone());
            turn.reply(waiter, Response::JoinGroup(fenced));
        }
        if let Some(waiter) = member.sync.take() {
            turn.reply(waiter, Response::SyncGroup(sync::refusal(ErrorCode::FencedInstanceId)));
        }
        member.held = None;
        let leader_before = self.leader.clone().unwrap_or_default();
        if self.is_leader(&before) {
            self.leader = Some(id.clone());
        }
        if self.pending_sync.remove(&before) {
            self.pending_sync.insert(id.clone());
        }
        self.statics.insert(instance.clone(), id.clone());
        turn.start_session(&id, joining.request.session_timeout);
        self.members.insert(id.clone(), member);
        let waiter = joining.waiter;
        let skips = joining.request.supports_skipping_assignment;
        let reason = format!("static member {instance} is now {id}; client reason: {}", joining.reason());
        self.update_member(turn, &id, joining);
        match self.phase {
            Phase::Stable if self.select_protocol() == self.protocol => {
                turn.log(format!("static member {instance} is now {id}, without a rebalance"));
                turn.propose_membership(self);
                let leads = self.is_leader(&id);
                let response = JoinGroupResponse {
                    error: ErrorCode::None,
                    generation: self.generation,
                    protocol_type: self.protocol_type.clone(),
                    protocol: self.protocol.clone(),
                    leader: if skips { self.leader.clone().unwrap_or_default() } else { leader_before },
                    skip_assignment: skips && leads,
                    member_id: id.clone(),
                    members: if skips && leads { self.roster() } else { Vec::new() },
                };
                let member = self.members.get_mut(&id).expect("inserted above");
                member.join = None;
                turn.answer_member(waiter, Some((&id, member)), Response::JoinGroup(response));
            }
            Phase::Stable | Phase::Completing => self.rebalance(turn, &reason),
            Phase::Preparing(_) => self.complete_if_all_joined(turn),
            Phase::Empty => unreachable!("an empty group has no members"),
        }
    }
}
