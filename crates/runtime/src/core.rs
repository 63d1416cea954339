//! The node and what its driver knows beside it: who waits for which answer. One turn takes all events at hand, settles once,
//! then carries out the effects: storage jobs first, so that the disk works while the answers are handed over.
//!
//! The stop between a connection's task (`connection`) and the storage threads (`lanes`), in both directions.

use crate::clock::Clock;
use crate::driver::Ended;
use crate::gate::Held;
use crate::lanes::{AppendHere, Lanes, WalLane};
use crate::mailbox::Mailbox;
use crate::peers::Peers;
use broker::peer::{Link, PeerMessage};
use broker::request::{ClientInfo, ConnectionId, Token, Volume};
use broker::{Effect, Event, LogLevel, Node, Request, Status};
use model::job::{Done, Job, JobError, JobId};
use model::{Mono, NodeId};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// With no more events at hand than this, whoever runs the core may make a small append itself.
const EVENTS_ALONE_MAX: usize = 1;

/// What comes to the core.
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
    /// A message of another node.
    Peer {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
        /// Its part of what its connection may have on its way here.
        held: Held,
    },
    /// News of the connection to another node.
    Link(NodeId, Link),
    /// Another node says that this process must not go on, and why.
    Expelled(String),
    /// Somebody wants to know how the node is.
    Observe(oneshot::Sender<Box<Status>>),
    /// The volume that the data directory lies on.
    Volume(Option<Volume>),
    /// Finish and stop.
    Shutdown,
    /// The moment that a turn asked for has come.
    Tick,
}

/// What a turn leaves to be done.
pub struct Turn<'a> {
    /// To be made by whoever ran the turn, once the core is free.
    pub append: Option<AppendHere<'a>>,
    /// When the next turn is due; `None`: no sooner than was said before.
    pub deadline: Option<Mono>,
    /// The node stops: how, or why.
    pub stop: Option<Result<Ended, String>>,
}

/// A connection with unanswered requests.
struct Asker {
    mailbox: Arc<Mailbox>,
    /// Token and number of each; few, because a connection's unanswered requests are limited.
    unanswered: Vec<(Token, u64)>,
}

/// The node, and who waits for it.
pub struct Core {
    node: Node,
    clock: Clock,
    lanes: Lanes,
    /// `None`: a node of one.
    peers: Option<Arc<Peers>>,
    inputs: Vec<Input>,
    effects: Vec<Effect>,
    /// The deadline that the timer was set to and that has not come.
    timer: Option<Mono>,
    askers: HashMap<ConnectionId, Asker>,
    connections: HashMap<Token, ConnectionId>,
    observers: HashMap<Token, oneshot::Sender<Box<Status>>>,
    next_token: u64,
    /// Why this process must not go on.
    expelled: Option<String>,
}

impl Core {
    /// Before its first turn.
    pub fn new(node: Node, clock: Clock, lanes: Lanes, peers: Option<Arc<Peers>>) -> Core {
        Core {
            node,
            clock,
            lanes,
            peers,
            inputs: Vec::new(),
            effects: Vec::new(),
            timer: None,
            askers: HashMap::new(),
            connections: HashMap::new(),
            observers: HashMap::new(),
            next_token: 0,
            expelled: None,
        }
    }

    /// Where appends are made.
    pub fn wal_lane(&self) -> Arc<WalLane> {
        self.lanes.wal_lane()
    }

    /// What the next turn takes; empty in between.
    pub fn inputs(&mut self) -> &mut Vec<Input> {
        &mut self.inputs
    }

    /// Steps the node with all inputs, settles it and carries out what it wants.
    pub fn turn<'a>(&mut self, wal: &'a WalLane) -> Turn<'a> {
        let now = self.clock.now();
        let mut inputs = std::mem::take(&mut self.inputs);
        let mut effects = std::mem::take(&mut self.effects);
        let alone = inputs.len() <= EVENTS_ALONE_MAX;
        for input in inputs.drain(..) {
            if let Some(event) = self.event(input) {
                self.node.step(now, event, &mut effects);
            }
        }
        // After what has come: a process that stood still for a while must not take an answer at hand for one that is late.
        if self.node.next_deadline().is_some_and(|at| at <= now.mono) {
            self.node.step(now, Event::Timer, &mut effects);
        }
        self.node.settle(self.clock.now(), &mut effects);
        let (append, stop) = self.carry_out(&mut effects, alone, wal);
        (self.inputs, self.effects) = (inputs, effects);
        let stop = stop.or_else(|| self.expelled.take().map(Err));
        Turn { append, deadline: self.sooner_deadline(), stop }
    }

    /// The next deadline, when the timer does not ring before it anyway.
    fn sooner_deadline(&mut self) -> Option<Mono> {
        let next = self.node.next_deadline()?;
        if self.timer.is_some_and(|at| at <= next) {
            return None;
        }
        self.timer = Some(next);
        Some(next)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn event(&mut self, input: Input) -> Option<Event> {
        Some(match input {
            Input::Request { mailbox, number, connection, client, request } => {
                let token = self.token();
                let asker = self
                    .askers
                    .entry(connection)
                    .or_insert_with(|| Asker { mailbox, unanswered: Vec::new() });
                asker.unanswered.push((token, number));
                self.connections.insert(token, connection);
                Event::Request { token, connection, client, request }
            }
            Input::Closed(connection) => {
                let asker = self.askers.remove(&connection);
                for (token, _) in asker.into_iter().flat_map(|asker| asker.unanswered) {
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
            Input::Peer { from, message, held } => {
                drop(held); // its connection may bring more
                Event::Peer { from, message }
            }
            Input::Link(peer, link) => Event::Link(peer, link),
            Input::Expelled(why) => {
                self.expelled.get_or_insert(why);
                return None;
            }
            Input::Volume(volume) => Event::Volume(volume),
            Input::Shutdown => Event::Shutdown,
            Input::Tick => {
                self.timer = None;
                return None;
            }
        })
    }

    /// The append that whoever runs the core makes itself, and whether the node stops.
    fn carry_out<'a>(
        &mut self,
        effects: &mut Vec<Effect>,
        alone: bool,
        wal: &'a WalLane,
    ) -> (Option<AppendHere<'a>>, Option<Result<Ended, String>>) {
        // Jobs of one lane stay in their order.
        let alone = alone
            && !effects.iter().any(|effect| matches!(effect, Effect::Start { job: Job::Recycle(_), .. }));
        let mut stop = None;
        let mut here = None;
        let mut rest = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Start { id, job: Job::Append(append) } if alone => {
                    match self.lanes.append_here(wal, id, append) {
                        Ok(append) => here = Some(append),
                        Err(append) => self.lanes.start(id, Job::Append(append)),
                    }
                }
                Effect::Start { id, job } => self.lanes.start(id, job),
                other => rest.push(other),
            }
        }
        let mut sends = false;
        for effect in rest {
            match effect {
                Effect::Start { .. } => unreachable!("started above"),
                Effect::Reply { token, response } => {
                    // Without an entry the connection closed in the meantime.
                    if let Some(connection) = self.connections.remove(&token) {
                        let asker = self.askers.get_mut(&connection).expect("somebody asked");
                        let at = asker
                            .unanswered
                            .iter()
                            .position(|(other, _)| *other == token)
                            .expect("it is unanswered");
                        let (_, number) = asker.unanswered.swap_remove(at);
                        asker.mailbox.put(number, response);
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
                Effect::Send { to, message } => {
                    self.peers.as_ref().expect("a node of one sends nothing").send(to, message);
                    sends = true;
                }
                Effect::Stop(reason) => stop = Some(reason.map_or(Ok(Ended::Stopped), Err)),
                Effect::TakePart { replica, founders } => {
                    stop = Some(Ok(Ended::TakesPart { replica, founders }));
                }
                Effect::GiveUp => stop = Some(Ok(Ended::GivesUp)),
                Effect::HangUp(connection) => {
                    if let Some(asker) = self.askers.get(&connection) {
                        asker.mailbox.hang_up();
                    }
                }
            }
        }
        if let Some(peers) = self.peers.as_ref().filter(|_| sends) {
            peers.flush();
        }
        (here, stop)
    }
}
