//! One group's turn: what a rule of the coordinator needs beside the group itself.

use super::GroupEffect;
use super::classic::{Group, Member};
use super::command::{GroupCommand, Ticket};
use super::config::{GroupConfig, GroupMutant};
use super::flight::{Flights, Held, Waiter};
use super::identity::Identities;
use super::timer::{Alarm, Timers};
use crate::LogLevel;
use crate::request::Response;
use model::Now;
use std::time::Duration;

/// What the leader keeps for all groups together.
#[derive(Debug)]
pub(super) struct Desk {
    pub timers: Timers,
    pub flights: Flights,
    pub identities: Identities,
    /// Bytes of the members of all groups; while a group has its turn, of all others.
    pub members_bytes: usize,
    /// The limit of positions was met and the log says so already.
    pub is_full_reported: bool,
}

/// One group's turn.
pub(super) struct Turn<'a> {
    /// The group's id.
    pub name: &'a str,
    pub now: Now,
    pub config: &'a GroupConfig,
    pub desk: &'a mut Desk,
    pub out: &'a mut Vec<GroupEffect>,
}

impl Turn<'_> {
    /// Answers at once.
    pub(super) fn reply(&mut self, waiter: Waiter, response: Response) {
        self.desk.flights.finish(waiter, response, self.out);
    }

    /// Answers when everything proposed for this group so far is applied.
    pub(super) fn answer(&mut self, waiter: Waiter, response: Response) {
        self.answer_member(waiter, None, response);
    }

    /// Answers a member, see `answer`; its session starts anew when the answer leaves.
    pub(super) fn answer_member(
        &mut self,
        waiter: Waiter,
        member: Option<(&str, &mut Member)>,
        response: Response,
    ) {
        let newest = self.desk.flights.newest(self.name);
        let newest = newest.filter(|_| self.config.mutant != Some(GroupMutant::AckBeforeApply));
        match newest {
            None => self.reply(waiter, response),
            Some(ticket) => {
                let member = member.map(|(id, member)| {
                    member.held = Some(ticket);
                    (self.name.to_owned(), id.to_owned())
                });
                self.desk.flights.hold(ticket, Held { waiter, member, response });
            }
        }
    }

    /// Proposes a command about this group.
    pub(super) fn propose(&mut self, command: GroupCommand) -> Ticket {
        self.desk.flights.propose(vec![self.name.to_owned()], command, self.out)
    }

    /// Proposes the membership as it is now.
    pub(super) fn propose_membership(&mut self, group: &Group) -> Ticket {
        let membership = group.membership();
        self.propose(GroupCommand::GroupChanged { group: self.name.to_owned(), membership })
    }

    /// The member was heard: its time starts anew.
    pub(super) fn start_session(&mut self, member: &str, timeout: Duration) {
        let alarm = Alarm::Session(self.name.to_owned(), member.to_owned());
        self.desk.timers.set(alarm, self.now.mono.plus(timeout));
    }

    /// The member is gone.
    pub(super) fn end_session(&mut self, member: &str) {
        self.desk.timers.clear(Alarm::Session(self.name.to_owned(), member.to_owned()));
    }

    pub(super) fn start_join_timer(&mut self, after: Duration) {
        self.desk.timers.set(Alarm::Join(self.name.to_owned()), self.now.mono.plus(after));
    }

    pub(super) fn end_join_timer(&mut self) {
        self.desk.timers.clear(Alarm::Join(self.name.to_owned()));
    }

    pub(super) fn start_sync_timer(&mut self, after: Duration) {
        self.desk.timers.set(Alarm::Sync(self.name.to_owned()), self.now.mono.plus(after));
    }

    pub(super) fn end_sync_timer(&mut self) {
        self.desk.timers.clear(Alarm::Sync(self.name.to_owned()));
    }

    /// A position was refused because those of all groups take as much as they may. One line for each leadership.
    pub(super) fn report_full(&mut self) {
        if !std::mem::replace(&mut self.desk.is_full_reported, true) {
            let max = self.config.positions_bytes_max;
            let text =
                format!("no room for more committed offsets: those of all groups together reach {max} bytes");
            self.out.push(GroupEffect::Log(LogLevel::Warn, text));
        }
    }

    /// A change of state that an operator may want to read.
    pub(super) fn log(&mut self, text: String) {
        self.out.push(GroupEffect::Log(LogLevel::Info, format!("group {}: {text}", self.name)));
    }
}
