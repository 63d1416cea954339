//! The core thread: the only one that runs `Node::step`. It takes all events at hand, settles once, then carries out the
//! effects: storage jobs first, so that the disk works while the answers are handed over.
//!
//! The stop between a connection's task (`connection`) and the storage threads (`lanes`), in both directions.

use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::lanes::Lanes;
use crate::mailbox::Mailbox;
use broker::request::{ClientInfo, ConnectionId, Token};
use broker::{Effect, Event, LogLevel, Node, Request, Status};
use model::job::{Done, Job, JobError, JobId};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// With no more events at hand than this the core thread may make a small append itself.
const EVENTS_ALONE_MAX: usize = 1;

/// What comes to the core thread.
#[derive(Debug)]
pub enum Input {
    /// A client asks.
    Request {
        /// Where the answer goes.
        mailbox: Arc<Mailbox>,
        /// The request's number on its connection.
        number: u64,
        /// The connection.
        connection: ConnectionId,
        /// Who asks.
        client: Arc<ClientInfo>,
        /// What.
        request: Request,
    },
    /// A connection is gone.
    Closed(ConnectionId),
    /// A storage job ended.
    JobDone {
        /// Which.
        id: JobId,
        /// How.
        result: Result<Done, JobError>,
    },
    /// Somebody wants to know how the node is.
    Observe(oneshot::Sender<Box<Status>>),
    /// Finish and stop.
    Shutdown,
}

/// A connection with unanswered requests.
struct Peer {
    mailbox: Arc<Mailbox>,
    /// Token and number of each; few, because a connection's unanswered requests are limited.
    unanswered: Vec<(Token, u64)>,
}

/// The driver's side of the core thread.
pub struct Core {
    node: Node,
    clock: Clock,
    inbox: Arc<Inbox<Input>>,
    lanes: Lanes,
    peers: HashMap<ConnectionId, Peer>,
    connections: HashMap<Token, ConnectionId>,
    observers: HashMap<Token, oneshot::Sender<Box<Status>>>,
    next_token: u64,
}

impl Core {
    /// A core thread's state; `run` is its body.
    pub fn new(node: Node, clock: Clock, inbox: Arc<Inbox<Input>>, lanes: Lanes) -> Core {
        Core {
            node,
            clock,
            inbox,
            lanes,
            peers: HashMap::new(),
            connections: HashMap::new(),
            observers: HashMap::new(),
            next_token: 0,
        }
    }

    /// Runs until the node wants to stop. `None`: cleanly; else why.
    pub fn run(mut self) -> Option<String> {
        let mut inputs = Vec::new();
        let mut effects = Vec::new();
        // What the node wants to do before anybody asks.
        self.node.settle(self.clock.now(), &mut effects);
        let mut alone = false;
        loop {
            if let Some(outcome) = self.carry_out(&mut effects, alone) {
                return outcome;
            }
            let deadline = self.node.next_deadline();
            self.inbox.take(&mut inputs, deadline.and_then(|at| self.clock.instant(at)));
            let now = self.clock.now();
            if deadline.is_some_and(|at| at <= now.mono) {
                self.node.step(now, Event::Timer, &mut effects);
            }
            alone = inputs.len() <= EVENTS_ALONE_MAX;
            for input in inputs.drain(..) {
                if let Some(event) = self.event(input) {
                    self.node.step(now, event, &mut effects);
                }
            }
            self.node.settle(self.clock.now(), &mut effects);
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn event(&mut self, input: Input) -> Option<Event> {
        Some(match input {
            Input::Request { mailbox, number, connection, client, request } => {
                let token = self.token();
                let peer =
                    self.peers.entry(connection).or_insert_with(|| Peer { mailbox, unanswered: Vec::new() });
                peer.unanswered.push((token, number));
                self.connections.insert(token, connection);
                Event::Request { token, connection, client, request }
            }
            Input::Closed(connection) => {
                for (token, _) in self.peers.remove(&connection).into_iter().flat_map(|peer| peer.unanswered)
                {
                    self.connections.remove(&token);
                }
                Event::ConnectionClosed(connection)
            }
            Input::JobDone { id, result } => Event::JobDone { id, result },
            Input::Observe(observer) => {
                let token = self.token();
                self.observers.insert(token, observer);
                Event::Observe(token)
            }
            Input::Shutdown => Event::Shutdown,
        })
    }

    /// `Some` when the node stops.
    fn carry_out(&mut self, effects: &mut Vec<Effect>, alone: bool) -> Option<Option<String>> {
        // Jobs of one lane stay in their order.
        let alone = alone
            && !effects.iter().any(|effect| matches!(effect, Effect::Start { job: Job::Recycle(_), .. }));
        let mut stop = None;
        let mut last_append = None;
        let mut rest = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Start { id, job: Job::Append(append) } if alone => last_append = Some((id, append)),
                Effect::Start { id, job } => self.lanes.start(id, job),
                other => rest.push(other),
            }
        }
        for effect in rest {
            match effect {
                Effect::Start { .. } => unreachable!("started above"),
                Effect::Reply { token, response } => {
                    // Without an entry the connection closed in the meantime.
                    if let Some(connection) = self.connections.remove(&token) {
                        let peer = self.peers.get_mut(&connection).expect("an unanswered request has a peer");
                        let at = peer
                            .unanswered
                            .iter()
                            .position(|(other, _)| *other == token)
                            .expect("it is unanswered");
                        let (_, number) = peer.unanswered.swap_remove(at);
                        peer.mailbox.put(number, response);
                    }
                }
                Effect::Status(token, status) => {
                    if let Some(observer) = self.observers.remove(&token) {
                        // An observer that went away needs no answer.
                        drop(observer.send(status));
                    }
                }
                Effect::Log(LogLevel::Error, line) => tracing::error!("{line}"),
                Effect::Log(LogLevel::Warn, line) => tracing::warn!("{line}"),
                Effect::Log(LogLevel::Info, line) => tracing::info!("{line}"),
                Effect::Stop(reason) => stop = Some(reason),
            }
        }
        // Last, so that no answer waits for it.
        if let Some((id, append)) = last_append {
            match self.lanes.append_here(append) {
                Ok(result) => self.inbox.put(Input::JobDone { id, result }),
                Err(append) => self.lanes.start(id, Job::Append(append)),
            }
        }
        stop
    }
}
