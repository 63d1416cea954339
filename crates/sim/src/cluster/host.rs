//! A machine with its disk and clock, and the node of one life with its driver: sessions and frames on each connection, the
//! node's timer, and the start after a crash. The same duties as `runtime`, in one thread.

use super::intake::Intake;
use super::lanes::LaneQueue;
use super::processor::Processor;
use super::swarm::WAL_RESERVE_BYTES;
use super::{FAILED_STARTS_MAX, Happening, HostIndex, Mutant, ROOMY, WALL_START_MS, World};
use crate::dice::Dice;
use crate::disk::{CRASHED, SimDisk};
use crate::outcome::Failure;
use broker::config::Given;
use broker::level::{DISKS_NAMED, Level, NEWEST};
use broker::request::{ClientInfo, ConnectionId, Endpoint, Token};
use broker::{Effect, Event, LogLevel, Node, NodeConfig, Response, Status};
use kafka::frame::FrameReader;
use kafka::session::{Pending, Session, SessionConfig, SessionError, Step};
use model::{DiskId, Mono, NodeId, Now, TopicId, WallMs};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use storage::{Claimed, Options, Reader, Segments, Standing, Wal};

/// The cluster that every simulated disk belongs to.
const CLUSTER: [u8; 16] = *b"simulated-world!";
/// Most unanswered requests of a connection that the node takes on. Clients here have far fewer, but for the one that
/// waits for no answer while the disk stalls.
const UNANSWERED_MAX: usize = 5_000;
/// In ten thousand restarts, an upgrade.
const UPGRADE: u32 = 2_500;
/// Lines that the nodes of a world may log; further ones are left out.
const LOG_LINES_MAX: usize = 10_000;

/// An answer's place in the order of its connection.
enum Place {
    Asked(Token, Option<Pending>),
    Ready(Option<bytes::Bytes>),
}

struct Peer {
    session: Session,
    frames: FrameReader,
    places: VecDeque<Place>,
}

/// One machine of the world.
pub struct Host {
    pub disk: SimDisk,
    pub live: Option<Live>,
    pub starting: Option<Live>,
    /// Processes that were started here so far.
    pub life: u64,
    pub failed_starts: u32,
    pub wall_offset_ms: i64,
    drift_ppm: i64,
    /// The process is stopped (`kill -STOP`).
    pub is_stopped: bool,
    pub processor: Processor,
    pub intake: Intake,
    /// What came for a process that does not run just now, in order.
    pub held: VecDeque<Happening>,
    /// The machine is gone without a word: nothing that is sent to it comes back as refused.
    pub is_silent: bool,
    /// Until when the device answers nothing.
    pub frozen_until: Mono,
    /// The newest protocol level that the installed version of Sternpost speaks.
    pub level: Level,
    /// Some process was through with its recovery here.
    pub was_up: bool,
}

impl Host {
    pub fn new(dice: &mut Dice) -> Host {
        Host {
            disk: SimDisk::new(dice.next(), ROOMY),
            live: None,
            starting: None,
            life: 0,
            failed_starts: 0,
            wall_offset_ms: WALL_START_MS,
            drift_ppm: dice.between(0, 400) as i64 - 200,
            is_stopped: false,
            processor: Processor::default(),
            intake: Intake::default(),
            held: VecDeque::new(),
            is_silent: false,
            frozen_until: Mono(0),
            level: NEWEST,
            was_up: false,
        }
    }

    /// Virtual time that the calls of a job took, which began now.
    pub fn take_elapsed(&self, now: Mono) -> Duration {
        self.disk.take_elapsed() + self.frozen_until.since(now)
    }

    /// Whether a process runs here and is not stopped.
    pub fn runs(&self) -> bool {
        self.live.is_some() && !self.is_stopped
    }

    /// What the host's wall clock shows.
    fn wall(&self, mono: Mono) -> WallMs {
        let millis = (mono.0 / 1_000_000) as i64;
        WallMs(self.wall_offset_ms + millis + millis * self.drift_ppm / 1_000_000)
    }
}

fn disk_id(dice: &mut Dice) -> DiskId {
    DiskId::drawn((u128::from(dice.next()) << 64 | u128::from(dice.next())).to_be_bytes())
}

/// The id of the node on a host.
pub fn node_id(host: HostIndex) -> NodeId {
    NodeId(host as i32 + 1)
}

/// The host of a node.
pub fn host_of(node: NodeId) -> HostIndex {
    (node.0 - 1) as usize
}

/// The node of one life.
pub struct Live {
    node: Node,
    claimed: Claimed<SimDisk>,
    pub wal: Wal<SimDisk>,
    pub segments: Segments<SimDisk>,
    pub reader: Reader<SimDisk>,
    pub lanes: [LaneQueue; 3],
    peers: BTreeMap<ConnectionId, Peer>,
    connection_of: BTreeMap<Token, ConnectionId>,
    session_config: Arc<SessionConfig>,
    effects: Vec<Effect>,
    settle_waits: bool,
    timer_at: Option<Mono>,
}

impl Live {
    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn claimed(&self) -> &Claimed<SimDisk> {
        &self.claimed
    }
}

impl World {
    // Start and end

    /// The process starts: recovery, then the node.
    pub(super) fn on_start(&mut self, at: HostIndex) {
        if self.hosts[at].live.is_some() || self.hosts[at].starting.is_some() {
            return;
        }
        if std::mem::take(&mut self.hosts[at].is_silent) {
            // Whoever still talks to the process before this one hears now that it is gone.
            self.hang_up(at);
        }
        let honest = self.healed || self.hosts[at].failed_starts > FAILED_STARTS_MAX;
        let host = &mut self.hosts[at];
        host.disk = host.disk.restart();
        host.life += 1;
        let is_restart = host.life > 1;
        if honest {
            host.disk.set_faults(Default::default());
            host.disk.set_capacity(ROOMY);
        } else if self.swarm.crash_in_recovery && self.dice.coin() {
            let calls = self.dice.skewed(1, 60);
            let kind = self.crash_kind();
            self.hosts[at].disk.crash_at_call(calls, kind);
        }
        if is_restart {
            self.saw_restart();
            self.upgrade(at);
        }
        match self.open(at) {
            Ok(live) => {
                let host = &mut self.hosts[at];
                host.failed_starts = 0;
                host.starting = Some(live);
                self.queue.after(host.disk.take_elapsed(), Happening::Up(at));
            }
            Err(detail) => {
                self.hosts[at].failed_starts += 1;
                self.counters.count("node: start failed");
                if honest {
                    let failure = Failure::new("the node starts on an honest disk", detail);
                    self.failure.get_or_insert(failure);
                }
                if self.hosts[at].disk.crashed().is_none() {
                    let kind = self.crash_kind();
                    self.hosts[at].disk.crash(kind);
                }
                self.on_death(at);
            }
        }
    }

    /// Some restarts are upgrades: from then on the process speaks a newer level. None goes back. Nobody begins a cluster with mixed
    /// versions: what is upgraded has a disk that takes part.
    fn upgrade(&mut self, at: HostIndex) {
        let host = &mut self.hosts[at];
        if host.level < NEWEST && host.was_up && self.level_dice.chance(UPGRADE) {
            host.level = NEWEST;
            self.counters.count("world: node upgraded");
        }
    }

    fn options(&mut self, at: HostIndex) -> Options {
        Options {
            cluster: Some(CLUSTER),
            node: node_id(at),
            disk: (self.hosts[at].level >= DISKS_NAMED).then(|| disk_id(&mut self.level_dice)),
            wal: self.swarm.wal,
            mutant: match self.mutant {
                Some(Mutant::Storage(mutant)) => Some(mutant),
                _ => None,
            },
        }
    }

    /// All disks take part from the first start on, as if the cluster had begun long ago.
    pub(super) fn found(&mut self) {
        for at in 0..self.hosts.len() {
            let options = self.options(at);
            let claimed = storage::claim(Arc::new(self.hosts[at].disk.clone()), options);
            let taken = claimed.and_then(|mut claimed| claimed.take_part(0, &BTreeMap::new()));
            taken.expect("the disk is honest so far");
        }
    }

    fn open(&mut self, at: HostIndex) -> Result<Live, String> {
        let options = self.options(at);
        let is_alone = self.hosts.len() == 1;
        let disk = Arc::new(self.hosts[at].disk.clone());
        let mut claimed = storage::claim(disk, options).map_err(|error| error.to_string())?;
        if is_alone && matches!(claimed.identity().standing, Standing::Waits { .. }) {
            claimed.take_part(0, &BTreeMap::new()).map_err(|error| error.to_string())?;
        }
        let mut opened = claimed.open().map_err(|error| error.to_string())?;
        if self.has_damaged_log(at) && opened.wait_if_damaged().is_some() {
            self.counters.count("node: log found damaged");
        }
        let identity = opened.identity;
        if let Some(damage) = &opened.recovered.damage {
            let failure = Failure::new("no damage where none was done", damage.clone());
            self.failure.get_or_insert(failure);
        }
        if !opened.recovered.shards.is_empty() {
            self.counters.count("node: recovered from a checkpoint");
        }
        if opened.recovered.entries.iter().any(|(_, entries)| !entries.is_empty()) {
            self.counters.count("node: recovered entries");
        }
        let cluster_id = TopicId(CLUSTER).base64();
        let given = |name: &str, value: &str| Given {
            name: name.to_owned(),
            value: value.to_owned(),
            origin: "the simulated world".to_owned(),
        };
        let (settings, _) = broker::config::parse_node(&[vec![
            given("group.initial.rebalance.delay.ms", "20"),
            given("group.min.session.timeout.ms", "100"),
            given("log.retention.check.interval.ms", &self.swarm.retention_check_millis.to_string()),
            given("sternpost.catch.up.rate", &self.swarm.catch_up_rate.to_string()),
            given("sternpost.scrub.interval.ms", if self.swarm.rot { "300" } else { "86400000" }),
        ]])?;
        let config = NodeConfig {
            node: node_id(at),
            owner: identity.owner(),
            voters: (0..self.hosts.len()).map(node_id).collect(),
            cluster_id: cluster_id.clone(),
            endpoint: Endpoint { node: node_id(at), host: "node".into(), port: 9092, rack: None },
            log_dir: "/data".into(),
            seed: self.dice.next(),
            settings,
            level: self.hosts[at].level,
            data_shards: self.swarm.data_shards,
            tail_bytes_max: self.swarm.tail_bytes_max,
            log_kept_bytes: self.swarm.log_kept_bytes,
            pull_bytes: self.swarm.pull_bytes,
            checkpoint_bytes: self.swarm.checkpoint_bytes,
            wal_held_bytes_max: self.swarm.wal_held_bytes_max,
            wal_reserve_bytes: WAL_RESERVE_BYTES,
            mutant: match self.mutant {
                Some(Mutant::Broker(mutant)) => Some(mutant),
                _ => None,
            },
            group_mutant: match self.mutant {
                Some(Mutant::Group(mutant)) => Some(mutant),
                _ => None,
            },
            consensus_mutant: match self.mutant {
                Some(Mutant::Consensus(mutant)) => Some(mutant),
                _ => None,
            },
        };
        let node = Node::new(config, opened.recovered, self.now(at))?;
        Ok(Live {
            node,
            claimed,
            wal: opened.wal,
            segments: opened.segments,
            reader: opened.reader,
            lanes: Default::default(),
            peers: BTreeMap::new(),
            connection_of: BTreeMap::new(),
            session_config: Arc::new(SessionConfig::new(cluster_id, node_id(at))),
            effects: Vec::new(),
            settle_waits: false,
            timer_at: None,
        })
    }

    pub(super) fn on_up(&mut self, at: HostIndex) {
        let host = &mut self.hosts[at];
        let Some(live) = host.starting.take() else { return };
        host.live = Some(live);
        host.was_up = true;
        let life = host.life;
        self.net.listens(at, true);
        self.dial_all(at);
        self.on_settle(at, life);
    }

    /// The node of a host while this life of it lasts.
    pub(super) fn live_of(&mut self, at: HostIndex, life: u64) -> Option<&mut Live> {
        let host = &mut self.hosts[at];
        host.live.as_mut().filter(|_| life == host.life)
    }

    pub(super) fn shut_down(&mut self, at: HostIndex) {
        if self.hosts[at].live.is_some() {
            self.step(at, Event::Shutdown);
        }
    }

    fn on_stop(&mut self, at: HostIndex, reason: Option<String>) {
        let is_crashed = self.hosts[at].disk.crashed().is_some();
        match reason {
            None => {
                self.counters.count("node: clean shutdown");
                let kind = self.crash_kind();
                self.hosts[at].disk.crash(kind);
            }
            Some(_) if is_crashed => {}
            Some(reason) if reason.contains("Input/output error") || reason.contains(CRASHED) => {
                self.counters.count("node: stopped by a failing device");
                let kind = self.crash_kind();
                self.hosts[at].disk.crash(kind);
            }
            Some(reason) => {
                let failure = Failure::new("the node stops only when its device fails", reason);
                self.failure.get_or_insert(failure);
            }
        }
        self.on_death(at);
    }

    /// The disk becomes another one, and the process starts over on it.
    fn start_over(&mut self, at: HostIndex, named: Option<(u32, BTreeMap<NodeId, DiskId>)>) {
        let live = self.hosts[at].live.as_mut().expect("it runs");
        let done = match &named {
            Some((replica, founders)) => live.claimed.take_part(*replica, founders),
            None => live.claimed.give_up(),
        };
        self.counters.count(if named.is_some() { "node: takes part" } else { "node: gave its place away" });
        if done.is_err() {
            // The process ends with that error; the next one begins where this one came to.
            self.counters.count("node: its disk did not become another one");
        }
        if self.hosts[at].disk.crashed().is_none() {
            let kind = self.crash_kind();
            self.hosts[at].disk.crash(kind);
        }
        self.on_death(at);
    }

    // Connections

    /// Takes up what a client sent; says to how many requests. Where the client is gone, those that matter only for their
    /// answers are left out, as the real driver does.
    pub(super) fn on_bytes(&mut self, at: HostIndex, id: ConnectionId, bytes: &[u8], is_gone: bool) -> usize {
        let Some(live) = &mut self.hosts[at].live else { return 0 };
        let config = &live.session_config;
        let peer = live.peers.entry(id).or_insert_with(|| Peer {
            session: Session::new(
                Arc::clone(config),
                ClientInfo { client_id: String::new(), host: "client".into() },
            ),
            frames: FrameReader::default(),
            places: VecDeque::new(),
        });
        peer.frames.feed(bytes);
        let mut events = Vec::new();
        loop {
            let frame = match peer.frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.client_was_cut(id, error.to_string());
                    return 0;
                }
            };
            match peer.session.on_frame(frame) {
                Ok(Step::Reply(answer)) => {
                    peer.places.push_back(Place::Ready(Some(answer.into_contiguous())))
                }
                Ok(Step::Ask { request, .. })
                    if is_gone && request.is_for_its_answer() && !self.swarm.serves_the_gone =>
                {
                    self.counters.count("node: request of a client that is gone left out");
                }
                Ok(Step::Ask { pending, request, client, .. }) => {
                    self.next_token += 1;
                    let token = Token(self.next_token);
                    peer.places.push_back(Place::Asked(token, Some(pending)));
                    live.connection_of.insert(token, id);
                    events.push(Event::Request { token, connection: id, client, request });
                }
                Err(error) => {
                    self.client_was_cut(id, error.to_string());
                    return 0;
                }
            }
        }
        assert!(peer.places.len() <= UNANSWERED_MAX, "clients here wait for their answers");
        let asked = events.len();
        events.into_iter().for_each(|event| self.step(at, event));
        self.write_answers(at, id);
        asked
    }

    /// Honest clients send nothing that the node must refuse to read.
    fn client_was_cut(&mut self, id: ConnectionId, error: String) {
        let failure = Failure::new("honest requests are understood", error);
        self.failure.get_or_insert(failure);
        self.net.close_node(id, &mut self.queue);
    }

    /// A client closed its side.
    pub(super) fn on_end(&mut self, at: HostIndex, id: ConnectionId) {
        if self.net.is_open_at_node(id) {
            self.on_closed(at, id);
        }
        self.net.closed_by_client(id);
    }

    pub(super) fn on_closed(&mut self, at: HostIndex, id: ConnectionId) {
        let Some(live) = &mut self.hosts[at].live else { return };
        if live.peers.remove(&id).is_some() {
            live.connection_of.retain(|_, connection| *connection != id);
            self.step(at, Event::ConnectionClosed(id));
        }
    }

    fn on_reply(&mut self, at: HostIndex, token: Token, response: Response) {
        if let Response::RemoveRaftVoter(response) = &response {
            let is_ok = response.refusal.is_ok();
            self.counters.count(if is_ok { "world: disk replaced" } else { "world: disk not replaced yet" });
        }
        let Some(live) = &mut self.hosts[at].live else { return };
        let Some(id) = live.connection_of.remove(&token) else { return };
        let peer = live.peers.get_mut(&id).expect("an unanswered request has a peer");
        let place = peer
            .places
            .iter_mut()
            .find(|place| matches!(place, Place::Asked(asked, _) if *asked == token))
            .expect("an answer has its place");
        let Place::Asked(_, pending) = place else { unreachable!("found as such") };
        let pending = pending.take().expect("answered once");
        match peer.session.reply(pending, response) {
            Ok(answer) => *place = Place::Ready(answer.map(kafka::wire::Segments::into_contiguous)),
            Err(SessionError::SilentProduce { .. }) => {
                // The client hears nothing but the end of its connection.
                self.counters.count("node: connection closed for a produce without an answer");
                self.on_closed(at, id);
                return self.net.close_node(id, &mut self.queue);
            }
            Err(error) => return self.client_was_cut(id, error.to_string()),
        }
        self.write_answers(at, id);
    }

    fn write_answers(&mut self, at: HostIndex, id: ConnectionId) {
        let live = self.hosts[at].live.as_mut();
        let Some(peer) = live.and_then(|live| live.peers.get_mut(&id)) else { return };
        while let Some(Place::Ready(_)) = peer.places.front() {
            if let Some(Place::Ready(Some(answer))) = peer.places.pop_front() {
                self.net.send_to_client(id, answer, &mut self.queue, &mut self.counters);
            }
        }
    }

    // The node

    /// Both clocks of a host.
    fn now(&mut self, at: HostIndex) -> Now {
        let mono = self.queue.now();
        let wall = self.hosts[at].wall(mono);
        self.node_clock_ms = self.node_clock_ms.max(wall.0);
        Now { mono, wall }
    }

    pub(super) fn step(&mut self, at: HostIndex, event: Event) {
        let now = self.now(at);
        let host = &mut self.hosts[at];
        let Some(live) = &mut host.live else { return };
        live.node.step(now, event, &mut live.effects);
        if !std::mem::replace(&mut live.settle_waits, true) {
            let wait = Duration::from_micros(self.dice.below(80));
            self.queue.after(wait, Happening::Settle(at, host.life));
        }
    }

    pub(super) fn on_settle(&mut self, at: HostIndex, life: u64) {
        let now = self.now(at);
        let Some(live) = self.live_of(at, life) else { return };
        live.settle_waits = false;
        live.node.settle(now, &mut live.effects);
        self.carry_out(at);
        self.set_timer(at);
    }

    /// How the nodes are, for the report of a failure.
    pub(super) fn status(&mut self) -> String {
        let hosts: Vec<String> = (0..self.hosts.len()).map(|at| self.status_of(at)).collect();
        format!("{}; {:?}", hosts.join("; "), self.swarm)
    }

    fn status_of(&mut self, at: HostIndex) -> String {
        let status = self.observe(at);
        let Some(live) = &self.hosts[at].live else { return format!("node {} is down", at + 1) };
        let lanes = live.lanes.each_ref().map(LaneQueue::load);
        format!("node {}: {status:?}, lanes {lanes:?}", at + 1)
    }

    /// How a node is; `None` when it is down.
    pub(super) fn observe(&mut self, at: HostIndex) -> Option<Status> {
        let now = self.now(at);
        let mut effects = Vec::new();
        self.hosts[at].live.as_mut()?.node.step(now, Event::Observe(Token(0)), &mut effects);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Status(_, status) => Some(*status),
            _ => None,
        })
    }

    fn set_timer(&mut self, at: HostIndex) {
        let now = self.queue.now();
        let host = &mut self.hosts[at];
        let Some(live) = &mut host.live else { return };
        if let Some(deadline) = live.node.next_deadline()
            && live.timer_at.is_none_or(|set| deadline < set)
        {
            live.timer_at = Some(deadline.max(now));
            self.queue.at(deadline, Happening::Timer(at, host.life));
        }
    }

    pub(super) fn on_timer(&mut self, at: HostIndex, life: u64) {
        let now = self.queue.now();
        let Some(live) = self.live_of(at, life) else { return };
        if live.timer_at.is_some_and(|set| set <= now) {
            live.timer_at = None;
        }
        if live.node.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.step(at, Event::Timer);
        } else {
            self.set_timer(at);
        }
    }

    fn note(&mut self, at: HostIndex, level: LogLevel, text: &str) {
        if self.log.len() < LOG_LINES_MAX {
            let seconds = Duration::from_nanos(self.queue.now().0).as_secs_f64();
            let level = format!("{level:?}").to_uppercase();
            self.log.push(format!("{seconds:10.6} s {level:5} node {}: {text}", at + 1));
        }
    }

    /// Storage jobs first, then messages to peers and answers, as the real driver does.
    fn carry_out(&mut self, at: HostIndex) {
        let Some(live) = &mut self.hosts[at].live else { return };
        let effects = std::mem::take(&mut live.effects);
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Start { id, job } => self.enqueue(at, id, job),
                other => rest.push(other),
            }
            if self.hosts[at].live.is_none() {
                return;
            }
        }
        for effect in rest {
            match effect {
                Effect::Reply { token, response } => self.on_reply(at, token, response),
                Effect::Send { to, message } => self.send_to_peer(at, host_of(to), &message),
                Effect::Stop(reason) => return self.on_stop(at, reason),
                Effect::TakePart { replica, founders } => {
                    return self.start_over(at, Some((replica, founders)));
                }
                Effect::GiveUp => return self.start_over(at, None),
                Effect::HangUp(connection) => {
                    self.on_closed(at, connection);
                    self.net.close_node(connection, &mut self.queue);
                }
                Effect::Log(level, text) => self.note(at, level, &text),
                Effect::Start { .. } | Effect::Status(..) => {}
            }
        }
    }
}
