//! The world of a quorum: nodes, clients, network and faults on one event heap, ordered by time and a seeded tie-break.

use super::checker::Checker;
use super::faults::Mix;
use super::network::Network;
use super::node::{Answer, Effect, Process, Request, Start};
use super::{Options, Plan};
use crate::dice::Dice;
use crate::disk::{Crash, SimDisk};
use crate::trace::Trace;
use bytes::Bytes;
use consensus::{HEARTBEAT_INTERVAL, decode, encode};
use model::{LogIndex, Mono, ShardId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What happens at a moment. A node's `life` keeps what was meant for a dead process from the next one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Message { to: u64, frame: Bytes },
    Heartbeat { from: u64, to: u64 },
    Refused { node: u64, life: u64, peer: u64 },
    Tick { node: u64, life: u64 },
    Timer { node: u64, life: u64 },
    Committed { node: u64, life: u64 },
    Request { node: u64, client: usize, attempt: u64 },
    Answer { client: usize, attempt: u64, answer: Option<u64>, done: bool },
    Impatient { client: usize, attempt: u64 },
    Client { client: usize },
    Restart { node: u64 },
    Fault,
}

pub(super) struct Host {
    pub disk: SimDisk,
    pub process: Option<Process>,
    pub life: u64,
    /// A stopped process (SIGSTOP, a busy machine) sees nothing before this.
    pub paused_until: Mono,
    timer: Option<Mono>,
    /// Since when the node hears nobody, and its terms when that had settled.
    pub isolated: Option<(Mono, Option<Vec<u64>>)>,
    pub will_restart: bool,
}

/// A client: one operation at a time on one shard, at once again when it fails.
pub(super) struct Client {
    pub shard: ShardId,
    attempt: u64,
    request: Option<Request>,
    node: u64,
    /// Of ten thousand operations, those that read. Who only reads stays with a leader that is none any more: it is never refused.
    reads: u32,
    /// When the operation that is not yet done was first tried.
    since: Mono,
    pub last_done: Mono,
    pub done: u64,
    /// Longest wait for one operation, retries included.
    pub longest: Duration,
}

pub(super) struct World {
    pub options: Options,
    pub seed: u64,
    pub now: Mono,
    heap: BinaryHeap<Reverse<(Mono, u64, u64, Event)>>,
    number: u64,
    pub dice: Dice,
    tie: Dice,
    pub hosts: Vec<Host>,
    pub clients: Vec<Client>,
    pub network: Network,
    pub checker: Checker,
    pub trace: Trace,
    pub operations: u64,
    /// Everything is well again: faults are over.
    pub healed: bool,
    pub checkpoint_every: u64,
    append_bytes_max: u64,
    pub events: u64,
    pub mix: Option<Mix>,
    stopped: bool,
}

impl World {
    pub fn new(seed: u64, options: &Options) -> World {
        let mut dice = Dice::new(seed);
        let (tie, network) = (dice.fork(), Network::new(dice.fork()));
        let host = |node: u64| Host {
            disk: SimDisk::new(seed ^ node.rotate_left(40), 64 << 20),
            process: None,
            life: 0,
            paused_until: Mono(0),
            timer: None,
            isolated: None,
            will_restart: false,
        };
        let client = |number: usize| Client {
            shard: ShardId(number as u32 % options.shards),
            attempt: 0,
            request: None,
            node: 1,
            reads: 0,
            since: Mono(0),
            last_done: Mono(0),
            done: 0,
            longest: Duration::ZERO,
        };
        let mut world = World {
            seed,
            now: Mono(1_000_000_000),
            heap: BinaryHeap::new(),
            number: 0,
            tie,
            hosts: (1..=options.nodes).map(host).collect(),
            clients: (0..options.clients).map(client).collect(),
            network,
            checker: Checker::default(),
            trace: Trace::default(),
            operations: 0,
            healed: false,
            checkpoint_every: if options.plan == Plan::Swarm { dice.skewed(5, 2000) } else { 10_000 },
            append_bytes_max: if options.plan == Plan::Swarm { dice.skewed(1, 4000) } else { 1 << 20 },
            options: options.clone(),
            dice,
            events: 0,
            mix: None,
            stopped: false,
        };
        for node in 1..=options.nodes {
            world.start(node);
        }
        for client in 0..options.clients {
            let at = Duration::from_millis(world.dice.below(300));
            world.after(at, Event::Client { client });
            if world.options.plan == Plan::Swarm {
                let others_write = client >= world.options.shards as usize;
                world.clients[client].reads = if others_write && world.dice.coin() { 10_000 } else { 2_000 };
            }
        }
        world
    }

    pub fn after(&mut self, delay: Duration, event: Event) {
        self.number += 1;
        let at = self.now.plus(delay);
        self.heap.push(Reverse((at, self.tie.next(), self.number, event)));
    }

    /// Lets the world go on until `until`, or until something is wrong.
    pub fn run_until(&mut self, until: Mono) {
        while self.checker.failure.is_none() {
            match self.heap.peek() {
                Some(Reverse((at, ..))) if *at <= until => {}
                _ => break,
            }
            let Some(Reverse((at, _, _, event))) = self.heap.pop() else { break };
            self.now = at;
            self.events += 1;
            self.handle(event);
        }
        self.now = self.now.max(until);
    }

    pub fn host(&mut self, node: u64) -> &mut Host {
        &mut self.hosts[node as usize - 1]
    }

    /// A live process of this life; pushes the event back when it is stopped.
    fn awake(&mut self, node: u64, life: Option<u64>, event: &Event) -> bool {
        let now = self.now;
        let host = self.host(node);
        if host.process.is_none() || life.is_some_and(|life| life != host.life) {
            return false;
        }
        if host.paused_until > now {
            let wait = host.paused_until.since(now);
            self.after(wait, event.clone());
            return false;
        }
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Message { to, ref frame } => {
                if !self.awake(to, None, &event) {
                    return;
                }
                self.trace.number(u64::from(model::checksum::crc32c(frame)) ^ self.now.0);
                let message = match decode(frame.clone()) {
                    Ok(message) => message,
                    Err(error) => return self.checker.fail("frames read back", error.to_string()),
                };
                self.on_message(to, message);
            }
            Event::Heartbeat { from, to } => {
                if self.awake(to, None, &event) {
                    let now = self.now;
                    let process = self.host(to).process.as_mut().expect("awake");
                    process.evidence.get_mut(&from).expect("a peer").on_heartbeat(now);
                }
            }
            Event::Refused { node, life, peer } => {
                if self.awake(node, Some(life), &event) && self.host(peer).process.is_none() {
                    let process = self.host(node).process.as_mut().expect("awake");
                    process.evidence.get_mut(&peer).expect("a peer").on_refused();
                    process.replicas.values_mut().for_each(|replica| replica.group.unreachable(peer));
                    self.settle(node, true);
                }
            }
            Event::Tick { node, life } => {
                if self.awake(node, Some(life), &event) {
                    self.on_tick(node, life);
                }
            }
            Event::Timer { node, life } => {
                if self.awake(node, Some(life), &event) {
                    self.host(node).timer = None;
                    self.settle(node, true);
                }
            }
            Event::Committed { node, life } => {
                if self.awake(node, Some(life), &event) {
                    let host = &mut self.hosts[node as usize - 1];
                    let process = host.process.as_mut().expect("awake");
                    if process.on_committed(node, &mut self.checker).is_err() {
                        return self.on_disk_error(node);
                    }
                    self.settle(node, false);
                }
            }
            Event::Request { node, client, attempt } => self.on_request(node, client, attempt, &event),
            Event::Answer { client, attempt, answer, done } => self.on_answer(client, attempt, answer, done),
            Event::Impatient { client, attempt } => {
                if self.clients[client].attempt == attempt && self.clients[client].request.is_some() {
                    self.checker.counters.count("client: asked again");
                    self.retry(client, None);
                }
            }
            Event::Client { client } => self.begin(client),
            Event::Restart { node } => self.start(node),
            Event::Fault => self.on_fault(),
        }
    }

    fn on_message(&mut self, to: u64, message: consensus::Message) {
        let process = self.host(to).process.as_mut().expect("awake");
        let Some(replica) = process.replicas.get_mut(&message.shard) else { return };
        if let Err(error) = replica.group.step(message) {
            match error {
                consensus::StepError::Halted(halt) => {
                    self.checker.fail("a disk that lost nothing is accepted", format!("node {to}: {halt}"));
                }
                other => self.checker.fail("correct replicas are understood", format!("node {to}: {other}")),
            }
            return;
        }
        self.settle(to, false);
    }

    fn on_tick(&mut self, node: u64, life: u64) {
        let nodes = self.options.nodes;
        let (now, host) = (self.now, &mut self.hosts[node as usize - 1]);
        let process = host.process.as_mut().expect("awake");
        process.replicas.values_mut().for_each(|replica| replica.group.tick());
        process.leave_stalled_disk(now, &mut self.checker);
        let marked = process.mark_idle();
        for peer in (1..=nodes).filter(|peer| *peer != node) {
            for delay in self.network.route(node, peer, &mut self.checker.counters) {
                self.after(delay, Event::Heartbeat { from: node, to: peer });
            }
        }
        if marked.is_err() {
            return self.on_disk_error(node);
        }
        self.settle(node, true);
        self.after(HEARTBEAT_INTERVAL, Event::Tick { node, life });
        self.check_pairs(node);
        self.check_isolation(node);
    }

    fn check_pairs(&mut self, node: u64) {
        let next = node % self.options.nodes + 1;
        let (left, right) = (&self.hosts[node as usize - 1], &self.hosts[next as usize - 1]);
        if let (Some(left), Some(right)) = (&left.process, &right.process) {
            for (shard, replica) in &left.replicas {
                if let Some(other) = right.replicas.get(shard) {
                    self.checker.on_pair(&replica.group, &other.group);
                }
            }
        }
    }

    /// After anything that happened at a node: its elections, its disk, its messages.
    pub fn settle(&mut self, node: u64, elections: bool) {
        let now = self.now;
        let host = &mut self.hosts[node as usize - 1];
        let Some(process) = host.process.as_mut() else { return };
        let due = if elections { process.check_failover(now) } else { None };
        process.drain(node, &mut self.checker);
        let commit = process.start_commit(now);
        let (effects, life) = (std::mem::take(&mut process.effects), host.life);
        if let Some(due) = due.filter(|due| host.timer.is_none_or(|timer| *due < timer)) {
            host.timer = Some(due);
            self.after(due.since(now), Event::Timer { node, life });
        }
        match commit {
            None => {}
            Some(Ok(time)) => self.after(time, Event::Committed { node, life }),
            Some(Err(_)) => self.on_disk_error(node),
        }
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    let frame: Bytes = encode(&message).concat().into();
                    for delay in self.network.route(node, message.to, &mut self.checker.counters) {
                        self.after(delay, Event::Message { to: message.to, frame: frame.clone() });
                    }
                }
                Effect::Reply { client, attempt, answer } => {
                    let (answer, done) = match answer {
                        Answer::Done => (None, true),
                        Answer::Elsewhere(leader) => (leader, false),
                    };
                    let delay = self.network.latency();
                    self.after(delay, Event::Answer { client, attempt, answer, done });
                }
            }
        }
    }

    /// Starts a node on what its disk kept.
    pub fn start(&mut self, node: u64) {
        let start = Start {
            node,
            nodes: self.options.nodes,
            shards: self.options.shards,
            seed: self.seed,
            now: self.now,
            mutant: self.options.mutant,
            checkpoint_every: self.checkpoint_every,
            append_bytes_max: self.append_bytes_max,
        };
        let host = &mut self.hosts[node as usize - 1];
        host.will_restart = false;
        if host.process.is_some() {
            return;
        }
        if host.life > 0 {
            host.disk = host.disk.restart();
            self.checker.counters.count("node: restarted");
        }
        host.life += 1;
        (host.timer, host.paused_until) = (None, self.now);
        if host.life > 1 && !self.healed && self.options.plan == Plan::Swarm && self.dice.chance(500) {
            let kind = if self.dice.coin() { Crash::Process } else { Crash::Power };
            host.disk.crash_at_call(self.dice.skewed(1, 60), kind);
        }
        match Process::start(&start, host.disk.clone(), &mut self.checker) {
            Ok(process) => {
                host.process = Some(process);
                let life = host.life;
                let at = Duration::from_micros(self.dice.below(50_000));
                self.after(at, Event::Tick { node, life });
                self.settle(node, false);
            }
            Err(_) => {
                self.checker.counters.count("node: crashed while starting");
                self.on_disk_error(node);
            }
        }
    }

    /// The disk said no: by a crash that struck within a call, or by an error, which ends the process as well.
    fn on_disk_error(&mut self, node: u64) {
        let kind = self.host(node).disk.crashed().unwrap_or(Crash::Process);
        self.kill(node, kind);
    }

    /// Ends a process. A killed one resets its connections, and nobody listens; a machine without power says nothing.
    pub fn kill(&mut self, node: u64, kind: Crash) {
        let healed = self.healed;
        let host = self.host(node);
        host.disk.crash(kind);
        host.process = None;
        host.isolated = None;
        self.checker.counters.count(match kind {
            Crash::Process => "node: killed",
            Crash::Power => "node: power cut",
        });
        if kind == Crash::Process {
            for peer in (1..=self.options.nodes).filter(|peer| *peer != node) {
                if !self.network.is_cut(node, peer) && !self.network.is_cut(peer, node) {
                    // The reset, then a connection attempt that is refused.
                    let delay = self.network.latency() + self.network.latency() + self.network.latency();
                    let life = self.host(peer).life;
                    self.after(delay, Event::Refused { node: peer, life, peer: node });
                }
            }
        }
        if !self.host(node).will_restart && self.options.plan == Plan::Swarm {
            let longest = if healed { 50 } else { 3000 };
            let delay = Duration::from_millis(self.dice.skewed(1, longest));
            self.host(node).will_restart = true;
            self.after(delay, Event::Restart { node });
        }
    }

    /// Clients finish nothing more.
    pub fn stop_clients(&mut self) {
        self.stopped = true;
        self.clients.iter_mut().for_each(|client| client.request = None);
    }

    /// A node gives away all it leads and ends two hundred milliseconds later.
    pub fn hand_over_all(&mut self, node: u64) {
        let heir = node % self.options.nodes + 1;
        if let Some(process) = &mut self.host(node).process {
            process.replicas.values_mut().for_each(|replica| replica.group.transfer_leader(heir));
        }
        self.settle(node, false);
        let until = self.now.plus(Duration::from_millis(200));
        self.run_until(until);
        self.kill(node, Crash::Process);
    }

    fn begin(&mut self, client: usize) {
        if self.stopped {
            return;
        }
        let now = self.now;
        let reads = self.dice.chance(self.clients[client].reads);
        let newest = self.checker.newest_acknowledged(self.clients[client].shard);
        self.operations += 1;
        let operation = self.operations;
        let client_state = &mut self.clients[client];
        client_state.since = now;
        client_state.request =
            Some(if reads { Request::Read { asked_at: newest } } else { Request::Write { operation } });
        self.ask(client);
    }

    fn ask(&mut self, client: usize) {
        let delay = self.network.latency();
        let patience = self.options.patience;
        let state = &mut self.clients[client];
        state.attempt += 1;
        let (node, attempt) = (state.node, state.attempt);
        self.after(delay, Event::Request { node, client, attempt });
        self.after(patience, Event::Impatient { client, attempt });
    }

    /// The same intent again, somewhere else. A write gets a new number: nobody knows what became of the old one.
    fn retry(&mut self, client: usize, leader: Option<u64>) {
        let newest = self.checker.newest_acknowledged(self.clients[client].shard);
        self.operations += 1;
        let (operation, nodes) = (self.operations, self.options.nodes);
        let state = &mut self.clients[client];
        state.node = leader.unwrap_or(state.node % nodes + 1);
        state.request = state.request.map(|request| match request {
            Request::Write { .. } => Request::Write { operation },
            Request::Read { .. } => Request::Read { asked_at: newest },
        });
        self.ask(client);
    }

    fn on_request(&mut self, node: u64, client: usize, attempt: u64, event: &Event) {
        if self.host(node).process.is_none() {
            // Nobody listens: a refused connection is an answer; a machine without power gives none.
            if self.host(node).disk.crashed() == Some(Crash::Process) {
                let delay = self.network.latency();
                self.after(delay, Event::Answer { client, attempt, answer: None, done: false });
            }
            return;
        }
        if !self.awake(node, None, event) {
            return;
        }
        let state = &self.clients[client];
        let (shard, Some(request)) = (state.shard, state.request) else { return };
        if state.attempt == attempt {
            let process = self.host(node).process.as_mut().expect("awake");
            process.on_request(client, attempt, shard, request);
            self.settle(node, false);
        }
    }

    fn on_answer(&mut self, client: usize, attempt: u64, leader: Option<u64>, done: bool) {
        let now = self.now;
        let (think, pause) = (self.options.think, Duration::from_millis(2));
        let state = &mut self.clients[client];
        if state.attempt != attempt || state.request.is_none() {
            return;
        }
        if done {
            state.request = None;
            state.attempt += 1;
            state.done += 1;
            state.longest = state.longest.max(now.since(state.since));
            state.last_done = now;
            self.after(think, Event::Client { client });
        } else if leader.is_some_and(|leader| leader != state.node) {
            self.retry(client, leader);
        } else {
            // Nobody leads: a moment's rest, so that a world without a leader does not turn in circles.
            self.after(pause, Event::Impatient { client, attempt });
        }
    }

    /// How long the client has been waiting for what it does now.
    pub fn waiting(&self, client: usize) -> Duration {
        let state = &self.clients[client];
        if state.request.is_some() { self.now.since(state.since) } else { Duration::ZERO }
    }

    /// Newest index applied by any node.
    pub fn newest_applied(&self, shard: ShardId) -> LogIndex {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let states = processes.filter_map(|process| process.replicas.get(&shard));
        states.map(|replica| replica.state.index).max().unwrap_or_default()
    }
}
