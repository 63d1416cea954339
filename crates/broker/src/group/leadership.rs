//! Between the log and the leader's view: apply, land or drop a proposal, take over, step down, snapshot.

use super::classic::{Group, Phase};
use super::command::{GroupCommand, Ticket};
use super::config::GroupMutant;
use super::coordinator::{Coordinator, GroupEffect};
use super::refusal::refused;
use super::table::GroupTable;
use super::timer::{Alarm, Timers};
use super::{join, sync};
use crate::request::Response;
use model::{ErrorCode, Now};

impl Coordinator {
    /// Carries out one command of the log, on every replica. Reads no clock and no setting.
    pub fn apply(&mut self, command: &GroupCommand) {
        self.table.apply(command, &mut self.positions_bytes);
    }

    /// A command of this leadership was applied: the answers that waited for it leave. Tickets of an earlier leadership
    /// have no effect.
    pub fn on_applied(&mut self, now: Now, ticket: Ticket, out: &mut Vec<GroupEffect>) {
        let Some(landed) = self.desk.flights.land(ticket) else { return };
        for held in landed.held {
            if let Some((name, id)) = held.member {
                let group = self.groups.get_mut(&name);
                let member = group.and_then(|group| group.members.get_mut(&id));
                if let Some(member) = member.filter(|member| member.held == Some(ticket)) {
                    member.held = None;
                    let at = now.mono.plus(member.session_timeout);
                    self.desk.timers.set(Alarm::Session(name, id), at);
                }
            }
            self.finish(held.waiter, held.response, out);
        }
        self.settle(now, landed.groups);
    }

    /// A command of this leadership will not be applied: who waited for it is sent away with NOT_COORDINATOR, and the
    /// view of its groups is loaded again from the table.
    pub fn on_dropped(&mut self, now: Now, ticket: Ticket, out: &mut Vec<GroupEffect>) {
        let Some(landed) = self.desk.flights.land(ticket) else { return };
        let later = self.desk.flights.poison(ticket, &landed.groups);
        for held in landed.held.into_iter().chain(later) {
            self.finish(held.waiter, refused(held.response, ErrorCode::NotCoordinator), out);
        }
        if self.config.mutant != Some(GroupMutant::DropKeepsSpeculation) {
            for name in &landed.groups {
                self.unload(name, out);
                self.unsettled.insert(name.clone());
            }
        }
        self.settle(now, landed.groups);
    }

    /// Nothing is under way for some of these groups any more: what was thrown away is loaded, what is void is forgotten.
    fn settle(&mut self, now: Now, names: Vec<String>) {
        for name in names {
            if self.desk.flights.newest(&name).is_some() {
                continue;
            }
            if self.unsettled.remove(&name) {
                self.load(now, &name);
            }
            let is_void = self.groups.get(&name).is_some_and(Group::is_void);
            if is_void && !self.is_remembered(&name) {
                self.groups.remove(&name);
            }
        }
    }

    /// Brings the view of a group in line with the table. Members get their whole session time-out to be heard.
    fn load(&mut self, now: Now, name: &str) {
        let Some(stored) = self.table.groups.get(name) else { return };
        let group = match &stored.membership {
            Some(membership) => Group::load(membership),
            None => Group::new(now.wall),
        };
        group.check_invariants();
        for (id, member) in &group.members {
            let alarm = Alarm::Session(name.to_owned(), id.clone());
            self.desk.timers.set(alarm, now.mono.plus(member.session_timeout));
        }
        if let Phase::Preparing(_) = group.phase {
            self.desk.timers.set(Alarm::Join(name.to_owned()), now.mono.plus(group.rebalance_timeout()));
        }
        self.desk.members_bytes += group.snapshot_bytes("");
        let before = self.groups.insert(name.to_owned(), group);
        assert!(before.is_none(), "a group is loaded once");
    }

    /// Throws the view of a group away; who waits in it is sent to look for the coordinator again.
    pub(super) fn unload(&mut self, name: &str, out: &mut Vec<GroupEffect>) {
        let Some(group) = self.groups.remove(name) else { return };
        self.desk.members_bytes -= group.snapshot_bytes("");
        self.desk.timers.clear(Alarm::Join(name.to_owned()));
        self.desk.timers.clear(Alarm::Sync(name.to_owned()));
        for id in group.pending {
            self.desk.timers.clear(Alarm::Session(name.to_owned(), id));
        }
        for (id, member) in group.members {
            self.desk.timers.clear(Alarm::Session(name.to_owned(), id.clone()));
            if let Some(waiter) = member.join {
                let response = join::refusal(ErrorCode::NotCoordinator, id);
                self.finish(waiter, Response::JoinGroup(response), out);
            }
            if let Some(waiter) = member.sync {
                let response = sync::refusal(ErrorCode::NotCoordinator);
                self.finish(waiter, Response::SyncGroup(response), out);
            }
        }
    }

    /// This replica leads from now on; every earlier entry of the log is applied. Stable groups go on without a
    /// rebalance; a generation without assignment gathers its members anew.
    pub fn become_leader(&mut self, now: Now) {
        assert!(!self.is_leader, "a leader does not become leader");
        self.is_leader = true;
        self.is_limit_reported = false;
        self.desk.is_full_reported = false;
        self.desk.identities.stir(now.mono.0.rotate_left(32) ^ now.wall.0.cast_unsigned());
        let names: Vec<String> = self.table.groups.keys().cloned().collect();
        for name in names {
            self.load(now, &name);
        }
        let at = now.mono.plus(self.config.offsets_retention_check_interval);
        self.desk.timers.set(Alarm::Expiry, at);
    }

    /// This replica does not lead any more: everybody who waits is sent to look for the coordinator again. Without
    /// effect on a follower.
    pub fn resign(&mut self, out: &mut Vec<GroupEffect>) {
        self.is_leader = false;
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            self.unload(&name, out);
        }
        for held in self.desk.flights.abandon() {
            self.finish(held.waiter, refused(held.response, ErrorCode::NotCoordinator), out);
        }
        self.unsettled.clear();
        self.expiry_at = None;
        self.desk.timers = Timers::default();
    }

    /// The durable state, as of the last command applied.
    pub fn snapshot(&self) -> GroupTable {
        self.table.clone()
    }

    /// The durable state, for reading.
    pub fn table(&self) -> &GroupTable {
        &self.table
    }

    /// Puts a snapshot in the place of the durable state. Panics on a leader.
    pub fn restore(&mut self, table: GroupTable) {
        assert!(!self.is_leader, "a leader does not restore a snapshot");
        self.table = table;
        if self.config.mutant == Some(GroupMutant::OffsetsLostOnRestore) {
            self.table.groups.values_mut().for_each(|stored| stored.offsets.clear());
        }
        self.positions_bytes = self.table.positions_bytes();
    }
}
