//! One node and its clients, whole: the broker's `Node`, storage over the simulated disk, the codec's sessions with real
//! bytes in and out, on one event heap with a virtual clock. Chaos first (a quarter of the time is quiet), then
//! everything is healed, the clients finish, every partition is read to its end, and the checkers judge the history.

mod client;
mod epochs;
mod live;
mod net;
mod queue;
mod rot;
mod swarm;
#[cfg(test)]
mod tests;

use crate::counters::Counters;
use crate::dice::Dice;
use crate::disk::{Crash, DiskFaults, SimDisk};
use crate::outcome::{Failure, Outcome};
use crate::trace::Trace;
use broker::group::GroupMutant;
use broker::request::ConnectionId;
use bytes::Bytes;
use checker::{Event as Seen, Group, History};
use client::admin::Admin;
use client::final_reader::FinalReader;
use client::member::Member;
use client::producer::Producer;
use client::reader::Reader;
use client::session_reader::SessionReader;
use client::{Client, Context, Damage, Ids, Topic};
use epochs::Epochs;
use live::{Lane, Live};
use model::job::{Done, JobError, JobId};
use model::{Mono, Now, WallMs};
use net::{CALM, Net};
use queue::Queue;
use std::time::Duration;
use swarm::Swarm;

/// Client operations that each seed completes at least, under faults and after.
pub const OPERATIONS_MIN: u64 = 600;
/// Virtual time after which a seed's faults end, whatever was done.
const CHAOS_MAX: Duration = Duration::from_secs(40);
/// Virtual time in which a healed node must do what is left of the minimum, and answer everything that waits.
const HEALED_MAX: Duration = Duration::from_secs(60);
/// The wall clock's time when a world begins.
const WALL_START_MS: i64 = 1_700_000_000_000;
/// The node's wall clock jumps to within so much of the right time: beyond an hour a broker refuses records of its future.
const WALL_JUMP_MS_MAX: u64 = 25 * 60_000;
/// Events after which a seed counts as going round in circles.
const HAPPENINGS_MAX: u64 = 400_000;
/// A disk with room for everything a seed writes.
const ROOMY: u64 = 1 << 32;
/// Starts that may fail in a row before the disk becomes honest.
const FAILED_STARTS_MAX: u32 = 5;

pub use swarm::DEMANDED;

/// Which known-bad variant is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Of the broker.
    Broker(broker::Mutant),
    /// Of the group coordinator.
    Group(broker::group::GroupMutant),
    /// Of storage.
    Storage(storage::Mutant),
}

/// The coordinator's mutant that no world of one node can show: proposals are dropped when a leadership is lost, and the
/// only voter never loses its own. The model in `broker::group`'s own tests kills it.
const OF_THE_GROUP_MODEL: [GroupMutant; 1] = [GroupMutant::DropKeepsSpeculation];

impl Mutant {
    /// Every one of the three rooms that this world must kill.
    pub fn all() -> Vec<Mutant> {
        let broker = broker::Mutant::ALL.iter().map(|mutant| Mutant::Broker(*mutant));
        let group = broker::group::GroupMutant::ALL
            .iter()
            .filter(|mutant| !OF_THE_GROUP_MODEL.contains(mutant))
            .map(|mutant| Mutant::Group(*mutant));
        let storage = storage::Mutant::ALL.iter().map(|mutant| Mutant::Storage(*mutant));
        broker.chain(group).chain(storage).collect()
    }

    /// Room and name.
    pub fn name(self) -> String {
        match self {
            Mutant::Broker(mutant) => format!("broker::{mutant:?}"),
            Mutant::Group(mutant) => format!("group::{mutant:?}"),
            Mutant::Storage(mutant) => format!("storage::{mutant:?}"),
        }
    }
}

/// Index of a client.
type ClientIndex = usize;

/// What the heap holds.
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
    JobDone(u64, Lane, JobId, Box<Result<Done, JobError>>),
    /// The WAL lane may be idle since this number of jobs.
    WalIdle(u64, u64),
    /// The WAL lane has marked its last commit and prepared its files.
    WalRested(u64),
    /// The node's deadline.
    Timer(u64),
    /// The node settles what its last events asked for.
    Settle(u64),
    /// The weather changes.
    Weather,
    /// The node starts (again).
    Start,
    /// Recovery is done: the node listens.
    Up,
}

/// The world of one seed.
struct World {
    dice: Dice,
    queue: Queue<Happening>,
    net: Net,
    disk: SimDisk,
    swarm: Swarm,
    live: Option<Live>,
    starting: Option<Live>,
    life: u64,
    failed_starts: u32,
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
    wall_offset_ms: i64,
    drift_ppm: i64,
    next_token: u64,
    happenings: u64,
    wakes: Vec<Option<Mono>>,
    epochs: Epochs,
    node_clock_ms: i64,
    damage: Vec<Damage>,
}

/// Runs one seed.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let mut world = World::new(seed, mutant);
    let failure = world.live_through().err();
    let mut counters = std::mem::take(&mut world.counters);
    counters.merge(&world.disk.counters());
    world.trace.number(world.disk.trace_hash());
    world.trace.number(world.history.events().len() as u64);
    Outcome {
        seed,
        trace_hash: world.trace.hash(),
        operations: world.ids.done,
        virtual_nanos: world.queue.now().0,
        counters,
        failure,
    }
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> World {
        let mut dice = Dice::new(seed);
        let swarm = Swarm::roll(&mut dice);
        let mut ids = Ids::default();
        let topics = swarm::topics(&mut dice, &mut ids);
        let disk = SimDisk::new(dice.next(), ROOMY);
        World {
            queue: Queue::new(dice.fork()),
            net: Net::new(dice.fork()),
            drift_ppm: dice.between(0, 400) as i64 - 200,
            dice,
            disk,
            swarm,
            live: None,
            starting: None,
            life: 0,
            failed_starts: 0,
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
            wall_offset_ms: WALL_START_MS,
            next_token: 0,
            happenings: 0,
            wakes: Vec::new(),
            epochs: Epochs::default(),
            node_clock_ms: i64::MIN,
            damage: Vec::new(),
        }
    }

    /// Both clocks of the node.
    fn now(&mut self) -> Now {
        let mono = self.queue.now();
        let millis = (mono.0 / 1_000_000) as i64;
        let wall = WallMs(self.wall_offset_ms + millis + millis * self.drift_ppm / 1_000_000);
        self.node_clock_ms = self.node_clock_ms.max(wall.0);
        Now { mono, wall }
    }

    fn live_through(&mut self) -> Result<(), Failure> {
        self.queue.after(Duration::ZERO, Happening::Start);
        self.add_client(|context| Box::new(Admin::new(context)));
        let chaos_end = self.queue.now().plus(CHAOS_MAX);
        self.until(chaos_end, |world| Admin::has_topics(&world.topics))?;
        self.add_clients();
        self.queue.after(Duration::ZERO, Happening::Weather);
        self.until(chaos_end, |world| world.ids.done >= OPERATIONS_MIN)?;
        self.heal();
        let healed_end = self.queue.now().plus(HEALED_MAX);
        if !self.until(healed_end, |world| world.ids.done >= OPERATIONS_MIN)? {
            return Err(Failure::new(
                "goodput after healing",
                format!("{} operations were done", self.ids.done),
            ));
        }
        self.draining = true;
        self.wake_all();
        let settled = |world: &World| world.clients.iter().flatten().all(|client| client.is_settled());
        if !self.until(self.queue.now().plus(HEALED_MAX), settled)? {
            return Err(self.unsettled("groups come to rest after healing", |client| client.is_settled()));
        }
        self.groups_settled = true;
        self.bound_damage();
        self.settle_down("everything is answered after healing")?;
        self.add_client(|context| Box::new(FinalReader::new(context)));
        self.settle_down("everything is readable after healing")?;
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
        self.counters.add("leader-epoch-rises", self.epochs.judge()?);
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
            if self.happenings > HAPPENINGS_MAX {
                let mut failure = self.unsettled("the world comes to rest", |client| client.is_idle());
                let (now, done) = (self.queue.now(), self.ids.done);
                failure.detail += &format!("; {now:?}, {done} operations, the next event: {happening:?}");
                return Err(failure);
            }
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.trace.number(self.queue.now().0);
        match happening {
            Happening::ToNode(id, bytes) => {
                self.trace.number(u64::from(model::checksum::crc32c(&bytes)));
                if self.net.is_open_at_node(id) {
                    self.on_bytes(id, &bytes);
                }
            }
            Happening::ToClient(id, bytes) => {
                self.trace.number(u64::from(model::checksum::crc32c(&bytes)));
                if let Some(client) = self.net.client_of(id) {
                    self.deliver(client, &bytes);
                }
            }
            Happening::ClosedAtNode(id) => {
                if self.net.is_open_at_node(id) {
                    self.on_closed(id);
                }
                self.net.closed_by_client(id);
            }
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
            Happening::JobDone(life, lane, id, result) => self.on_job_done(life, lane, id, *result),
            Happening::WalIdle(life, jobs) => self.on_wal_idle(life, jobs),
            Happening::WalRested(life) => self.on_wal_rested(life),
            Happening::Timer(life) => self.on_timer(life),
            Happening::Settle(life) => self.on_settle(life),
            Happening::Weather => self.on_weather(),
            Happening::Start => self.on_start(),
            Happening::Up => self.on_up(),
        }
    }

    fn deliver(&mut self, index: ClientIndex, bytes: &[u8]) {
        self.with_client(index, |client, context| {
            client.link().feed(bytes);
            loop {
                match client.link().next_frame() {
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
        let now = self.queue.now();
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
            life: self.life,
            node_clock_ms: self.node_clock_ms,
            damage: &self.damage,
            epochs: &mut self.epochs,
            value_bytes_max: self.swarm.value_bytes_max,
            draining: self.draining,
            groups_settled: self.groups_settled,
            failure: &mut self.failure,
        };
        act(&mut context)
    }

    // Faults

    fn on_weather(&mut self) {
        if self.healed {
            return;
        }
        self.net.faults = self.swarm.net;
        self.disk.set_capacity(ROOMY);
        let quiet = self.dice.below(4) == 0;
        if quiet {
            self.counters.count("world: quiet period");
            self.net.faults = CALM;
            self.disk.set_faults(DiskFaults::default());
        } else {
            self.disk.set_faults(self.swarm.disk);
            self.trouble();
        }
        let wait = Duration::from_millis(self.dice.skewed(5, self.swarm.weather_millis_max));
        self.queue.after(wait, Happening::Weather);
    }

    /// One of the troubles that this seed has.
    fn trouble(&mut self) {
        match self.dice.below(7) {
            6 => self.rot(),
            0 if self.swarm.crash => {
                let kind = self.crash_kind();
                self.counters.count(if kind == Crash::Power {
                    "world: power cut"
                } else {
                    "world: process killed"
                });
                self.kill(kind);
            }
            1 | 2 if self.swarm.crash => {
                let calls = self.dice.skewed(1, 120);
                let kind = self.crash_kind();
                self.disk.crash_at_call(calls, kind);
            }
            3 if self.swarm.full => {
                self.counters.count("world: disk full");
                let room = self.dice.skewed(0, 1 << 20);
                self.disk.set_capacity(self.disk.used() + room);
            }
            4 if self.swarm.clock_jumps => {
                self.counters.count("world: wall clock jumped");
                let to = self.dice.between(0, 2 * WALL_JUMP_MS_MAX) as i64 - WALL_JUMP_MS_MAX as i64;
                self.wall_offset_ms = WALL_START_MS + to;
            }
            5 if self.swarm.shutdowns => self.shut_down(),
            _ => {}
        }
    }

    fn crash_kind(&mut self) -> Crash {
        if self.swarm.power && self.dice.coin() { Crash::Power } else { Crash::Process }
    }

    /// The node's process is gone; another one starts in a while.
    fn kill(&mut self, kind: Crash) {
        if self.live.is_none() && self.starting.is_none() {
            return;
        }
        self.disk.crash(kind);
        self.on_death();
    }

    fn on_death(&mut self) {
        self.live = None;
        self.starting = None;
        self.net.node_died(&mut self.queue);
        let wait = Duration::from_micros(self.dice.skewed(100, 200_000));
        self.queue.after(wait, Happening::Start);
    }

    fn heal(&mut self) {
        self.healed = true;
        self.net.faults = CALM;
        self.disk.set_faults(DiskFaults::default());
        self.disk.set_capacity(ROOMY);
        self.disk.disarm();
        self.bound_damage();
    }

    fn saw_restart(&mut self) {
        self.history.push(Seen::Restarted);
    }
}
