//! Connections between the clients and the nodes: bytes in order, cut anywhere, with delays; a connection may be reset
//! with bytes on their way. What was sent before a side died may still arrive.

use super::queue::Queue;
use super::{ClientIndex, Happening, HostIndex};
use crate::counters::Counters;
use crate::dice::Dice;
use broker::request::ConnectionId;
use bytes::Bytes;
use model::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug)]
pub struct NetFaults {
    /// Longest delay of a piece, microseconds.
    pub delay_micros_max: u64,
    /// In ten thousand pieces, a reset of the connection.
    pub reset: u32,
    /// In ten thousand pieces, one that is cut in two.
    pub cut: u32,
}

/// A network that loses nothing.
pub const CALM: NetFaults = NetFaults { delay_micros_max: 100, reset: 0, cut: 0 };

#[derive(Debug)]
struct Connection {
    client: ClientIndex,
    host: HostIndex,
    /// Both sides' last arrival: bytes stay in order.
    node_last: Mono,
    client_last: Mono,
    node_open: bool,
    client_open: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Net {
    connections: BTreeMap<ConnectionId, Connection>,
    next: u64,
    dice: Dice,
    /// In force now.
    pub faults: NetFaults,
    /// Hosts whose node listens.
    listening: BTreeSet<HostIndex>,
    /// Hosts that no client reaches.
    hidden: BTreeSet<HostIndex>,
}

impl Net {
    pub fn new(dice: Dice) -> Net {
        let (listening, hidden) = (BTreeSet::new(), BTreeSet::new());
        Net { connections: BTreeMap::new(), next: 0, dice, faults: CALM, listening, hidden }
    }

    /// A host's node listens from now on, or does not.
    pub fn listens(&mut self, host: HostIndex, is_so: bool) {
        if is_so {
            self.listening.insert(host);
        } else {
            self.listening.remove(&host);
        }
    }

    /// A new connection, or none when the node is down.
    pub fn connect(&mut self, client: ClientIndex, host: HostIndex) -> Option<ConnectionId> {
        if !self.listening.contains(&host) || self.hidden.contains(&host) {
            return None;
        }
        self.next += 1;
        let connection = Connection {
            client,
            host,
            node_last: Mono(0),
            client_last: Mono(0),
            node_open: true,
            client_open: true,
        };
        self.connections.insert(ConnectionId(self.next), connection);
        Some(ConnectionId(self.next))
    }

    /// No client reaches this host, and nothing from it reaches a client.
    pub fn hide(&mut self, host: HostIndex) {
        self.hidden.insert(host);
    }

    /// Every host is reached again. Connections that lost something on their way end.
    pub fn show_all(&mut self, queue: &mut Queue<Happening>) {
        for host in std::mem::take(&mut self.hidden) {
            let of_it = self.connections.iter().filter(|(_, connection)| connection.host == host);
            let ids: Vec<ConnectionId> = of_it.map(|(id, _)| *id).collect();
            for id in ids {
                self.close_client(id, queue);
                self.close_node(id, queue);
            }
        }
    }

    /// Connections that a client holds open.
    pub fn open_connections(&self) -> Vec<ConnectionId> {
        let open = self.connections.iter().filter(|(_, connection)| connection.client_open);
        open.map(|(id, _)| *id).collect()
    }

    /// Whose connection it is, while that side is open.
    pub fn client_of(&self, id: ConnectionId) -> Option<ClientIndex> {
        self.connections
            .get(&id)
            .filter(|connection| connection.client_open)
            .map(|connection| connection.client)
    }

    /// Where a connection leads.
    pub fn host_of(&self, id: ConnectionId) -> Option<HostIndex> {
        self.connections.get(&id).map(|connection| connection.host)
    }

    /// Whether the node's side is open.
    pub fn is_open_at_node(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.node_open)
    }

    /// Bytes from a client to the node.
    pub fn send_to_node(
        &mut self,
        id: ConnectionId,
        bytes: Bytes,
        queue: &mut Queue<Happening>,
        counters: &mut Counters,
    ) {
        self.send(id, bytes, true, queue, counters);
    }

    /// Bytes from the node to a client.
    pub fn send_to_client(
        &mut self,
        id: ConnectionId,
        bytes: Bytes,
        queue: &mut Queue<Happening>,
        counters: &mut Counters,
    ) {
        self.send(id, bytes, false, queue, counters);
    }

    fn send(
        &mut self,
        id: ConnectionId,
        mut bytes: Bytes,
        to_node: bool,
        queue: &mut Queue<Happening>,
        counters: &mut Counters,
    ) {
        let cut = bytes.len() > 1 && self.dice.chance(self.faults.cut);
        if cut {
            counters.count("net: bytes cut in two");
            let rest = bytes.split_off(1 + self.dice.index(bytes.len() - 1));
            self.piece(id, bytes, to_node, queue);
            bytes = rest;
        }
        self.piece(id, bytes, to_node, queue);
        if self.dice.chance(self.faults.reset) {
            counters.count("net: connection reset");
            let wait = Duration::from_micros(self.dice.below(self.faults.delay_micros_max.max(1)));
            queue.after(wait, Happening::Reset(id));
        }
    }

    fn piece(&mut self, id: ConnectionId, bytes: Bytes, to_node: bool, queue: &mut Queue<Happening>) {
        let delay = Duration::from_micros(20 + self.dice.skewed(0, self.faults.delay_micros_max));
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if self.hidden.contains(&connection.host) {
            return;
        }
        let last = if to_node { &mut connection.node_last } else { &mut connection.client_last };
        let arrival = Mono(queue.now().plus(delay).0.max(last.0 + 1));
        *last = arrival;
        queue
            .at(arrival, if to_node { Happening::ToNode(id, bytes) } else { Happening::ToClient(id, bytes) });
    }

    /// The client closes its side; the node hears of it behind what was sent before.
    pub fn close_client(&mut self, id: ConnectionId, queue: &mut Queue<Happening>) {
        if let Some(connection) = self.connections.get_mut(&id)
            && std::mem::replace(&mut connection.client_open, false)
        {
            let moment = connection.node_last.max(queue.now());
            queue.at(Mono(moment.0 + 1), Happening::ClosedAtNode(id));
        }
    }

    /// The node closes its side; the client hears of it behind what was sent before.
    pub fn close_node(&mut self, id: ConnectionId, queue: &mut Queue<Happening>) {
        if let Some(connection) = self.connections.get_mut(&id)
            && std::mem::replace(&mut connection.node_open, false)
        {
            let moment = connection.client_last.max(queue.now());
            queue.at(Mono(moment.0 + 1), Happening::ClosedAtClient(id));
        }
    }

    /// The connection breaks: both sides hear of it, bytes on their way to the client are lost.
    pub fn reset(&mut self, id: ConnectionId, queue: &mut Queue<Happening>) -> Option<ClientIndex> {
        let client = self.client_of(id);
        self.close_client(id, queue);
        client
    }

    /// The node died: every connection to it breaks behind what is on its way.
    pub fn hang_up(&mut self, host: HostIndex, queue: &mut Queue<Happening>) {
        let of_it = self.connections.iter().filter(|(_, connection)| connection.host == host);
        let open: Vec<ConnectionId> = of_it.map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.close_node(id, queue));
    }

    /// Forgets a connection that both sides have closed.
    pub fn forget_closed(&mut self, id: ConnectionId) {
        if self
            .connections
            .get(&id)
            .is_some_and(|connection| !connection.node_open && !connection.client_open)
        {
            self.connections.remove(&id);
        }
    }

    /// Marks the node's side as closed without telling the client (it closed first).
    pub fn closed_by_client(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.node_open = false;
        }
        self.forget_closed(id);
    }

    /// Marks the client's side as closed (it heard of the node's close).
    pub fn closed_by_node(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.client_open = false;
        }
        self.forget_closed(id);
    }
}
