//! Proposals under way and the answers that wait for them. The rule of the room: an answer leaves only after everything
//! it may have seen is applied, so it is held by the newest proposal of its group. A dropped proposal refuses what it
//! holds and what later proposals of its groups hold, because they may have seen it.

use super::{GroupCommand, GroupEffect, Ticket};
use crate::request::{ConnectionId, Response, Token};
use std::collections::BTreeMap;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub token: Token,
    pub connection: ConnectionId,
}

/// An answer that waits for a proposal.
#[derive(Debug)]
pub(super) struct Held {
    pub waiter: Waiter,
    /// Group and member whose session starts anew when the answer leaves.
    pub member: Option<(String, String)>,
    pub response: Response,
}

#[derive(Debug)]
struct Flight {
    groups: Vec<String>,
    held: Vec<Held>,
    weight: usize,
}

#[derive(Debug)]
struct Last {
    ticket: Ticket,
    count: usize,
}

#[derive(Debug, Default)]
struct Connection {
    waiting: usize,
    closed: bool,
}

/// A flight that ended.
pub(super) struct Landed {
    pub groups: Vec<String>,
    pub held: Vec<Held>,
}

/// All proposals under way, and all waiting questions by connection.
#[derive(Debug, Default)]
pub(super) struct Flights {
    next: u64,
    open: BTreeMap<Ticket, Flight>,
    last: BTreeMap<String, Last>,
    connections: BTreeMap<ConnectionId, Connection>,
    weight: usize,
}

impl Flights {
    /// A question came in; `finish` ends it.
    pub(super) fn begin(&mut self, waiter: Waiter) {
        self.connections.entry(waiter.connection).or_default().waiting += 1;
    }

    /// The answer leaves, unless nobody is left to hear it.
    pub(super) fn finish(&mut self, waiter: Waiter, response: Response, out: &mut Vec<GroupEffect>) {
        let connection = self.connections.get_mut(&waiter.connection).expect("every answer has a question");
        assert!(connection.waiting > 0, "one answer for each question");
        connection.waiting -= 1;
        let closed = connection.closed;
        if connection.waiting == 0 {
            self.connections.remove(&waiter.connection);
        }
        if !closed {
            out.push(GroupEffect::Reply(waiter.token, response));
        }
    }

    /// Nobody hears the answers to this connection's questions any more.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.closed = true;
        }
    }

    /// Questions without an answer so far.
    pub(super) fn waiting_count(&self) -> usize {
        self.connections.values().map(|connection| connection.waiting).sum()
    }

    /// Proposes a command that changes `groups`.
    pub(super) fn propose(
        &mut self,
        groups: Vec<String>,
        command: GroupCommand,
        out: &mut Vec<GroupEffect>,
    ) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        for group in &groups {
            let last = self.last.entry(group.clone()).or_insert(Last { ticket, count: 0 });
            last.ticket = ticket;
            last.count += 1;
        }
        self.open.insert(ticket, Flight { groups, held: Vec::new(), weight: 0 });
        out.push(GroupEffect::Propose { ticket, command });
        ticket
    }

    /// Notes what a proposal adds to the table, bytes.
    pub(super) fn weigh(&mut self, ticket: Ticket, weight: usize) {
        self.open.get_mut(&ticket).expect("a proposal under way").weight += weight;
        self.weight += weight;
    }

    /// What all proposals under way add to the table, bytes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// The newest proposal of a group that is under way.
    pub(super) fn newest(&self, group: &str) -> Option<Ticket> {
        self.last.get(group).map(|last| last.ticket)
    }

    /// Lets an answer wait for a proposal that is under way.
    pub(super) fn hold(&mut self, ticket: Ticket, held: Held) {
        self.open.get_mut(&ticket).expect("an answer waits for a proposal under way").held.push(held);
    }

    /// A proposal is applied: hands out what waited for it. `None` for a ticket of an earlier leadership.
    pub(super) fn land(&mut self, ticket: Ticket) -> Option<Landed> {
        let flight = self.open.remove(&ticket)?;
        self.weight -= flight.weight;
        for group in &flight.groups {
            let last = self.last.get_mut(group).expect("a flight counts for its groups");
            last.count -= 1;
            if last.count == 0 {
                self.last.remove(group);
            }
        }
        Some(Landed { groups: flight.groups, held: flight.held })
    }

    /// Takes what later proposals of `groups` hold.
    pub(super) fn poison(&mut self, ticket: Ticket, groups: &[String]) -> Vec<Held> {
        let mut held = Vec::new();
        for flight in self.open.range_mut(ticket..).map(|(_, flight)| flight) {
            if flight.groups.iter().any(|group| groups.contains(group)) {
                held.append(&mut flight.held);
            }
        }
        held
    }

    /// Leadership is over: takes everything held and forgets the proposals.
    pub(super) fn abandon(&mut self) -> Vec<Held> {
        self.last.clear();
        self.weight = 0;
        std::mem::take(&mut self.open).into_values().flat_map(|flight| flight.held).collect()
    }
}
