//! A cluster of one, three or five nodes and its clients, whole: the broker's `Node`, storage over simulated disks, the
//! codec's sessions and the nodes' own protocol with real bytes in and out, on one event heap with a virtual clock. Chaos first
//! (a quarter of the time is quiet), then everything is healed, the clients finish, every partition is read to its
//! end, and the checkers judge the history.

mod agreement;
mod client;
mod epochs;
mod faults;
mod host;
mod intake;
mod lanes;
mod losses;
pub(crate) mod matrix;
mod net;
mod peers;
mod processor;
mod queue;
mod rot;
mod swarm;
#[cfg(test)]
mod tests;

use crate::counters::Counters;
use crate::dice::Dice;
use crate::outcome::{Failure, Outcome};
use crate::trace::Trace;
use broker::group::GroupMutant;
use broker::level::{DISKS_NAMED, OLDEST};
use broker::peer::Link;
use broker::request::ConnectionId;
use bytes::Bytes;
use checker::{Group, History};
use client::admin::Admin;
use client::final_reader::FinalReader;
use client::member::Member;
use client::producer::Producer;
use client::reader::Reader;
use client::session_reader::SessionReader;
use client::{Client, Context, Damage, Ids, Topic};
use epochs::Epochs;
use host::Host;
use intake::Piece;
use lanes::Lane;
use matrix::script::Script;
use matrix::watch::Watch;
use model::job::{Done, JobError, JobId};
use model::{Mono, WallMs};
use net::Net;
use peers::PeerNet;
use queue::Queue;
use std::collections::BTreeMap;
use std::time::Duration;
use swarm::Swarm;

/// Client operations that each seed completes at least, under faults and after.
pub const OPERATIONS_MIN: u64 = 600;
/// Virtual time after which a seed's faults end, whatever was done.
const CHAOS_MAX: Duration = Duration::from_secs(40);
/// Virtual time in which a healed node must do what is left of the minimum, and answer everything that waits.
const HEALED_MAX: Duration = Duration::from_secs(60);
/// The wall clocks' time when a world begins.
const WALL_START_MS: i64 = 1_700_000_000_000;
/// A node's wall clock jumps to within so much of the right time: beyond an hour a broker refuses records of its future.
const WALL_JUMP_MS_MAX: u64 = 25 * 60_000;
/// Events after which a seed counts as going round in circles.
const HAPPENINGS_MAX: u64 = 400_000;
/// The same for each node of several: they talk to each other all the time.
const HAPPENINGS_OF_SEVERAL_MAX: u64 = 1_000_000;
/// A disk with room for everything a seed writes.
const ROOMY: u64 = 1 << 32;
/// Makes the dice for protocol levels others than all that are made from the seed.
const LEVEL_SEED: u64 = 0x6c65_7665_6c00;
/// The same for disks that are lost.
const LOSS_SEED: u64 = 0x6c6f_7373_0000;
/// Starts that may fail in a row before the disk becomes honest.
const FAILED_STARTS_MAX: u32 = 5;

pub use swarm::{DEMANDED, DEMANDED_OF_SEVERAL};

/// Which known-bad variant is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Of the broker.
    Broker(broker::Mutant),
    /// Of the group coordinator.
    Group(broker::group::GroupMutant),
    /// Of storage.
    Storage(storage::Mutant),
    /// Of consensus.
    Consensus(consensus::Mutant),
}

/// A mutant of the coordinator that no world can show: a node drops a proposal only when it loses its leadership, and then all
/// that is speculative goes. The coordinator's own model test finds it.
const OF_NONE: Mutant = Mutant::Group(GroupMutant::DropKeepsSpeculation);
/// A mutant that takes a loan which was overtaken by a new leader's entries: a thing of thousands of worlds, which the quorum's has.
const OF_QUORUM: Mutant = Mutant::Consensus(consensus::Mutant::LoanUnchecked);
/// Mutants of the broker that need followers, or nodes whose catalogue is behind.
const BROKER_OF_SEVERAL: [broker::Mutant; 8] = [
    broker::Mutant::EmptyTakesPart,
    broker::Mutant::ReplacedGoesOn,
    broker::Mutant::ManifestMissesRange,
    broker::Mutant::ApplyReadsClock,
    broker::Mutant::DeletionNotAwaited,
    broker::Mutant::LevelOfMajority,
    broker::Mutant::MendSkipsLacking,
    broker::Mutant::DamageForgotten,
];
/// A mutant of storage that needs somebody who has what a segment lacks.
pub const STORAGE_OF_SEVERAL: storage::Mutant = storage::Mutant::MendTrustsBlocks;

impl Mutant {
    /// Every one of broker and coordinator that a world of one node must kill.
    pub fn of_one() -> Vec<Mutant> {
        let is_of_several = |mutant: &Mutant| match mutant {
            Mutant::Broker(mutant) => BROKER_OF_SEVERAL.contains(mutant),
            Mutant::Group(_) => false,
            Mutant::Storage(_) | Mutant::Consensus(_) => true,
        };
        Mutant::all().into_iter().filter(|mutant| !is_of_several(mutant)).collect()
    }

    /// Every one of broker, coordinator and consensus: what a world of several nodes must kill.
    pub fn of_several() -> Vec<Mutant> {
        let is_elsewhere = |mutant: &Mutant| match mutant {
            Mutant::Storage(mutant) => *mutant != STORAGE_OF_SEVERAL,
            mutant => *mutant == OF_QUORUM,
        };
        Mutant::all().into_iter().filter(|mutant| !is_elsewhere(mutant)).collect()
    }

    fn all() -> Vec<Mutant> {
        let broker = broker::Mutant::ALL.iter().map(|mutant| Mutant::Broker(*mutant));
        let group = GroupMutant::ALL.iter().map(|mutant| Mutant::Group(*mutant));
        let storage = storage::Mutant::ALL.iter().map(|mutant| Mutant::Storage(*mutant));
        let consensus = consensus::Mutant::ALL.iter().map(|mutant| Mutant::Consensus(*mutant));
        broker.chain(group).chain(storage).chain(consensus).filter(|mutant| *mutant != OF_NONE).collect()
    }

    /// Room and name.
    pub fn name(self) -> String {
        match self {
            Mutant::Broker(mutant) => format!("broker::{mutant:?}"),
            Mutant::Group(mutant) => format!("group::{mutant:?}"),
            Mutant::Storage(mutant) => format!("storage::{mutant:?}"),
            Mutant::Consensus(mutant) => format!("consensus::{mutant:?}"),
        }
    }
}

/// Index of a client.
type ClientIndex = usize;

/// Index of a host.
type HostIndex = usize;

/// What the heap holds. What a process is told carries its host, and the life in which it was begun.
#[derive(Debug)]
enum Happening {
    /// Bytes reach the node.
    ToNode(ConnectionId, Bytes),
    /// Bytes reach a client.
    ToClient(ConnectionId, Bytes),
    /// The node hears that a client closed.
    ClosedAtNode(ConnectionId),
    /// A client hears that the node closed.
    ClosedAtClient(ConnectionId),
    /// A connection breaks.
    Reset(ConnectionId),
    /// A client's time has come.
    Wake(ClientIndex),
    /// A storage job of this life ended.
    JobDone(HostIndex, u64, Lane, JobId, Box<Result<Done, JobError>>),
    /// The WAL lane may be idle since this number of jobs.
    WalIdle(HostIndex, u64, u64),
    /// The WAL lane has marked its last commit and prepared its files.
    WalRested(HostIndex, u64),
    /// The node's deadline.
    Timer(HostIndex, u64),
    /// The node settles what its last events asked for.
    Settle(HostIndex, u64),
    /// The weather changes.
    Weather,
    /// A disk may be lost, or given its node's place.
    Loss,
    /// The next step of a script.
    Step,
    /// The node starts (again).
    Start(HostIndex),
    /// Recovery is done: the node listens.
    Up(HostIndex),
    /// A paused process goes on.
    Resume(HostIndex, u64),
    /// The processor may take up what a client has sent.
    Turn(HostIndex, u64),
    /// Others get the processor of this host, at the end of its process's slice of this number.
    Preempted(HostIndex, u64),
    /// The process of this host may get its processor again.
    Scheduled(HostIndex),
    /// A frame of another node arrives.
    Frame { from: HostIndex, to: HostIndex, link: u64, bytes: Bytes },
    /// A node tries to connect to another.
    Dial { from: HostIndex, to: HostIndex },
    /// A node hears about its connection to another.
    News { at: HostIndex, peer: HostIndex, life: u64, link: Link },
    /// A connection between nodes breaks.
    PeerReset { from: HostIndex, to: HostIndex, link: u64 },
    /// A connection between nodes may have been cut for too long.
    Stalled { from: HostIndex, to: HostIndex, link: u64 },
}

impl Happening {
    /// The host whose process must run for it.
    fn process(&self, net: &Net) -> Option<HostIndex> {
        match self {
            Happening::ToNode(id, _) | Happening::ClosedAtNode(id) => net.host_of(*id),
            Happening::JobDone(at, ..)
            | Happening::WalIdle(at, ..)
            | Happening::WalRested(at, _)
            | Happening::Timer(at, _)
            | Happening::Settle(at, _)
            | Happening::Turn(at, _)
            | Happening::News { at, .. } => Some(*at),
            Happening::Frame { to, .. } => Some(*to),
            _ => None,
        }
    }
}

/// The world of one seed.
struct World {
    dice: Dice,
    queue: Queue<Happening>,
    net: Net,
    peers: PeerNet,
    hosts: Vec<Host>,
    swarm: Swarm,
    clients: Vec<Option<Box<dyn Client>>>,
    topics: Vec<Topic>,
    history: History,
    counters: Counters,
    ids: Ids,
    trace: Trace,
    failure: Option<Failure>,
    mutant: Option<Mutant>,
    healed: bool,
    draining: bool,
    groups_settled: bool,
    next_token: u64,
    happenings: u64,
    wakes: Vec<Option<Mono>>,
    /// What the nodes logged.
    log: Vec<String>,
    epochs: Epochs,
    /// The latest time that any node's clock has shown.
    node_clock_ms: i64,
    damage: Vec<Damage>,
    /// Of several nodes: those whose segments were harmed last.
    harmed: BTreeMap<HostIndex, rot::Harmed>,
    /// Of seeds that lose disks.
    losses: Option<losses::Losses>,
    /// Dice of their own for what is installed where.
    level_dice: Dice,
    /// A row of the fault matrix, in place of the weather.
    script: Option<Script>,
    watch: Watch,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::run::leave_log(std::mem::take(&mut self.log));
        }
    }
}

/// Runs one seed of a cluster of so many nodes.
pub fn run(seed: u64, nodes: usize, mutant: Option<Mutant>) -> Outcome {
    let mut world = World::new(seed, nodes, mutant);
    let failure = world.live_through().err();
    outcome(seed, &mut world, failure)
}

/// What a world was, at its end.
fn outcome(seed: u64, world: &mut World, failure: Option<Failure>) -> Outcome {
    let mut counters = std::mem::take(&mut world.counters);
    for host in &world.hosts {
        counters.merge(&host.disk.counters());
        world.trace.number(host.disk.trace_hash());
    }
    world.trace.number(world.history.events().len() as u64);
    Outcome {
        seed,
        trace_hash: world.trace.hash(),
        operations: world.ids.done,
        virtual_nanos: world.queue.now().0,
        log: std::mem::take(&mut world.log),
        counters,
        failure,
    }
}

impl World {
    fn new(seed: u64, nodes: usize, mutant: Option<Mutant>) -> World {
        let mut dice = Dice::new(seed);
        let swarm = Swarm::roll(&mut dice, nodes);
        let mut ids = Ids::default();
        let mut topics = swarm::topics(&mut dice, &mut ids);
        // Dice of their own: worlds of one node, and kept seeds, stay what they were.
        swarm::replicas(&mut topics, nodes, Dice::new(!seed));
        let mut world = World::with(dice, nodes, swarm, ids, topics, mutant);
        world.install(Dice::new(seed ^ LEVEL_SEED));
        world.may_lose_disks(Dice::new(seed ^ LOSS_SEED));
        world
    }

    /// In a half of the worlds with several nodes all begin with older versions of Sternpost, which need not be the same.
    fn install(&mut self, mut dice: Dice) {
        if self.hosts.len() > 1 && dice.coin() {
            for host in &mut self.hosts {
                host.level = if dice.coin() { OLDEST } else { DISKS_NAMED - 1 };
            }
        }
        self.level_dice = dice;
    }

    fn with(
        mut dice: Dice,
        nodes: usize,
        swarm: Swarm,
        ids: Ids,
        topics: Vec<Topic>,
        mutant: Option<Mutant>,
    ) -> World {
        World {
            queue: Queue::new(dice.fork()),
            net: Net::new(dice.fork()),
            peers: PeerNet::new(dice.fork()),
            hosts: (0..nodes).map(|_| Host::new(&mut dice)).collect(),
            dice,
            swarm,
            clients: Vec::new(),
            topics,
            history: History::default(),
            counters: Counters::default(),
            ids,
            trace: Trace::default(),
            failure: None,
            mutant,
            healed: false,
            draining: false,
            groups_settled: false,
            next_token: 0,
            happenings: 0,
            wakes: Vec::new(),
            log: Vec::new(),
            epochs: Epochs::default(),
            node_clock_ms: i64::MIN,
            damage: Vec::new(),
            harmed: BTreeMap::new(),
            losses: None,
            level_dice: Dice::new(0),
            script: None,
            watch: Watch::default(),
        }
    }

    fn live_through(&mut self) -> Result<(), Failure> {
        self.begin();
        let chaos_end = self.queue.now().plus(CHAOS_MAX);
        if !self.until(chaos_end, |world| Admin::has_topics(&world.topics))? {
            return Err(self.unsettled("topics are made before the weather begins", |_| false));
        }
        self.add_clients();
        self.queue.after(Duration::ZERO, Happening::Weather);
        self.until(chaos_end, |world| world.ids.done >= OPERATIONS_MIN && world.has_lost_enough())?;
        self.heal();
        let healed_end = self.queue.now().plus(HEALED_MAX);
        if !self.until(healed_end, |world| world.ids.done >= OPERATIONS_MIN)? {
            let mut failure = self.unsettled("goodput after healing", |_| false);
            failure.detail += &format!("; {} operations were done", self.ids.done);
            return Err(failure);
        }
        self.finish()
    }

    /// All nodes start, and the topics are about to be made.
    fn begin(&mut self) {
        (0..self.hosts.len()).for_each(|at| self.queue.after(Duration::ZERO, Happening::Start(at)));
        self.add_client(|context| Box::new(Admin::new(context)));
    }

    /// The clients come to an end, every partition is read to its own, and the checkers judge.
    fn finish(&mut self) -> Result<(), Failure> {
        self.draining = true;
        self.wake_all();
        let settled = |world: &World| world.clients.iter().flatten().all(|client| client.is_settled());
        if !self.until(self.queue.now().plus(HEALED_MAX), settled)? {
            return Err(self.unsettled("groups come to rest after healing", |client| client.is_settled()));
        }
        self.groups_settled = true;
        self.bound_damage();
        self.all_take_part()?;
        self.all_mended()?;
        self.settle_down("everything is answered after healing")?;
        self.add_client(|context| Box::new(FinalReader::new(context)));
        self.settle_down("everything is readable after healing")?;
        self.agree()?;
        self.judge()
    }

    fn settle_down(&mut self, property: &str) -> Result<(), Failure> {
        let end = self.queue.now().plus(HEALED_MAX);
        let idle = |world: &World| world.clients.iter().flatten().all(|client| client.is_idle());
        if self.until(end, idle)? {
            return Ok(());
        }
        Err(self.unsettled(property, |client| client.is_idle()))
    }

    fn unsettled(&mut self, property: &str, is_done: impl Fn(&dyn Client) -> bool) -> Failure {
        let waiting: Vec<String> = self
            .clients
            .iter()
            .flatten()
            .filter(|client| !is_done(client.as_ref()))
            .map(|client| client.describe())
            .collect();
        let status = self.status();
        Failure::new(property, format!("{}; {status}", waiting.join("; ")))
    }

    fn judge(&mut self) -> Result<(), Failure> {
        let judgement = checker::judge(&self.history);
        for verdict in &judgement.verdicts {
            self.counters.add(verdict.property.name(), verdict.premises);
        }
        if let Some(verdict) = judgement.broken().next() {
            return Err(Failure::new(verdict.property.name(), verdict.details.join("; ")));
        }
        self.counters.add("leader-epoch-rises", self.epochs.judge(self.hosts.len() == 1)?);
        Ok(())
    }

    /// Runs the world until a moment or until something is so; says whether it is.
    fn until(&mut self, end: Mono, is_so: impl Fn(&World) -> bool) -> Result<bool, Failure> {
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if is_so(self) {
                return Ok(true);
            }
            if self.queue.now() >= end {
                return Ok(false);
            }
            let Some(happening) = self.queue.pop() else { return Ok(false) };
            self.happenings += 1;
            if self.happenings > self.happenings_max() {
                let mut failure = self.unsettled("the world comes to rest", |client| client.is_idle());
                let (now, done) = (self.queue.now(), self.ids.done);
                failure.detail += &format!("; {now:?}, {done} operations, the next event: {happening:?}");
                return Err(failure);
            }
            self.happen(happening);
        }
    }

    fn happenings_max(&self) -> u64 {
        match self.hosts.len() {
            1 => HAPPENINGS_MAX,
            nodes => HAPPENINGS_OF_SEVERAL_MAX * nodes as u64,
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.trace.number(self.queue.now().0);
        let process = happening.process(&self.net);
        if let Some(at) = process.filter(|at| self.stands_still(*at)) {
            return self.hosts[at].held.push_back(happening);
        }
        match happening {
            Happening::ToNode(id, bytes) => {
                self.trace.number(u64::from(model::checksum::crc32c(&bytes)));
                match self.net.host_of(id).filter(|_| self.net.is_open_at_node(id)) {
                    Some(at) if self.hosts[at].intake.is_slow() => {
                        self.wait_for_turn(at, id, Piece::Bytes(bytes));
                    }
                    Some(at) => {
                        self.on_bytes(at, id, &bytes, false);
                    }
                    None => {}
                }
            }
            Happening::ToClient(id, bytes) => {
                self.trace.number(u64::from(model::checksum::crc32c(&bytes)));
                if let Some(client) = self.net.client_of(id) {
                    self.deliver(client, &bytes);
                }
            }
            Happening::ClosedAtNode(id) => match self.net.host_of(id) {
                Some(at) if self.hosts[at].intake.is_slow() && self.net.is_open_at_node(id) => {
                    self.wait_for_turn(at, id, Piece::End);
                }
                Some(at) => self.on_end(at, id),
                None => {}
            },
            Happening::ClosedAtClient(id) => {
                let client = self.net.client_of(id);
                self.net.closed_by_node(id);
                if let Some(client) = client {
                    self.with_client(client, |client, context| client.lost(context));
                }
            }
            Happening::Reset(id) => {
                if let Some(client) = self.net.reset(id, &mut self.queue) {
                    self.with_client(client, |client, context| client.lost(context));
                }
            }
            Happening::Wake(client) => {
                if self.wakes[client] == Some(self.queue.now()) {
                    self.wakes[client] = None;
                    self.with_client(client, |client, context| client.wake(context));
                }
            }
            Happening::JobDone(at, life, lane, id, result) => self.on_job_done(at, life, lane, id, *result),
            Happening::WalIdle(at, life, jobs) => self.on_wal_idle(at, life, jobs),
            Happening::WalRested(at, life) => self.on_wal_rested(at, life),
            Happening::Timer(at, life) => self.on_timer(at, life),
            Happening::Settle(at, life) => self.on_settle(at, life),
            Happening::Weather => self.on_weather(),
            Happening::Loss => self.on_loss(),
            Happening::Step => self.on_step(),
            Happening::Turn(at, life) => self.on_turn(at, life),
            Happening::Start(at) => self.on_start(at),
            Happening::Up(at) => self.on_up(at),
            Happening::Resume(at, life) => self.on_resume(at, life),
            Happening::Preempted(at, slice) => self.on_preempted(at, slice),
            Happening::Scheduled(at) => self.on_scheduled(at),
            Happening::Frame { from, to, link, bytes } => {
                self.trace.number(u64::from(model::checksum::crc32c(&bytes)));
                self.on_frame(from, to, link, bytes);
            }
            Happening::Dial { from, to } => self.on_dial(from, to),
            Happening::News { at, peer, life, link } => self.on_news(at, peer, life, link),
            Happening::PeerReset { from, to, link } => self.on_peer_reset(from, to, link),
            Happening::Stalled { from, to, link } => self.on_stalled(from, to, link),
        }
    }

    fn deliver(&mut self, index: ClientIndex, bytes: &[u8]) {
        self.with_client(index, |client, context| {
            client.link().feed(bytes);
            loop {
                match client.link().next_frame(context) {
                    Ok(Some(frame)) => client.answer(frame, context),
                    Ok(None) => break,
                    Err(error) => {
                        context.fail("answers are frames", error.to_string());
                        break;
                    }
                }
                if !client.link().is_connected() {
                    break;
                }
            }
        });
    }

    // Clients

    fn add_clients(&mut self) {
        for _ in 0..self.swarm.idempotent_producers {
            self.add_client(|context| Box::new(Producer::new(true, context)));
        }
        for _ in 0..self.swarm.plain_producers {
            self.add_client(|context| Box::new(Producer::new(false, context)));
        }
        for _ in 0..self.swarm.unanswered_producers {
            self.add_client(|context| Box::new(Producer::unanswered(context)));
        }
        if self.swarm.session_reader {
            self.add_client(|context| Box::new(SessionReader::new(context)));
        }
        for _ in 0..self.swarm.readers {
            self.add_client(|context| Box::new(Reader::new(context)));
        }
        for _ in 0..self.swarm.members {
            self.add_client(|context| Box::new(Member::new(Group(0), "crew", true, context)));
        }
        self.add_client(|context| Box::new(Member::new(Group(1), "lone", false, context)));
    }

    fn add_client(&mut self, make: impl FnOnce(&mut Context<'_>) -> Box<dyn Client>) {
        let index = self.clients.len();
        self.clients.push(None);
        self.wakes.push(None);
        let client = self.with_context(index, make);
        self.clients[index] = Some(client);
        self.wake(index);
    }

    fn wake(&mut self, index: ClientIndex) {
        self.with_context(index, |context| context.wake_in(Duration::ZERO));
    }

    fn wake_all(&mut self) {
        (0..self.clients.len()).for_each(|client| self.wake(client));
    }

    fn with_client(&mut self, index: ClientIndex, act: impl FnOnce(&mut dyn Client, &mut Context<'_>)) {
        let Some(mut client) = self.clients[index].take() else { return };
        self.with_context(index, |context| act(client.as_mut(), context));
        self.clients[index] = Some(client);
    }

    fn with_context<T>(&mut self, me: ClientIndex, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let (now, was_harmed) = (self.queue.now(), self.was_harmed());
        let lives: Vec<u64> = self.hosts.iter().map(|host| host.life).collect();
        if self.script.is_some() {
            self.look_for_majority();
        }
        let mut context = Context {
            now,
            // Clients' clocks are right: only the node's jumps.
            wall: WallMs(WALL_START_MS + (now.0 / 1_000_000) as i64),
            me,
            dice: &mut self.dice,
            net: &mut self.net,
            queue: &mut self.queue,
            history: &mut self.history,
            counters: &mut self.counters,
            topics: &mut self.topics,
            ids: &mut self.ids,
            wakes: &mut self.wakes,
            lives: &lives,
            node_clock_ms: self.node_clock_ms,
            damage: &self.damage,
            was_harmed,
            epochs: &mut self.epochs,
            watch: &mut self.watch,
            pace_micros: self.swarm.pace_micros,
            patience: self.swarm.patience,
            value_bytes_max: self.swarm.value_bytes_max,
            draining: self.draining,
            groups_settled: self.groups_settled,
            failure: &mut self.failure,
        };
        act(&mut context)
    }
}
