//! The node of one life and its driver: sessions and frames on each connection, three storage lanes that carry jobs out
//! at virtual times, the node's timer, and the start after a crash. The same duties as `runtime`, in one thread.

use super::{Happening, Mutant, World};
use crate::disk::CRASHED;
use crate::outcome::Failure;
use broker::config::Given;
use broker::request::{ClientInfo, ConnectionId, Endpoint, Token};
use broker::{Effect, Event, Node, NodeConfig, Response};
use kafka::frame::FrameReader;
use kafka::session::{Pending, Session, SessionConfig, SessionError, Step};
use model::job::{Done, Job, JobError, JobId, WalAppend};
use model::{Mono, NodeId, TopicId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use storage::{Options, Reader, Segments, Wal};

use super::FAILED_STARTS_MAX;
use crate::disk::SimDisk;

/// The only node.
const NODE: NodeId = NodeId(1);
/// The cluster that every simulated disk belongs to.
const CLUSTER: [u8; 16] = *b"simulated-world!";
/// Without a job for so long the WAL lane marks its last commit and prepares files.
const WAL_IDLE_AFTER: Duration = Duration::from_millis(50);
/// Most unanswered requests of a connection that the node takes on. Clients here have far fewer, but for the one that
/// waits for no answer while the disk stalls.
const UNANSWERED_MAX: usize = 5_000;

/// Which thread of the real driver carries a job out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Appends and recycling.
    Wal,
    /// Checkpoints.
    Segments,
    /// Reads and look-ups.
    Reads,
}

/// A lane's queue.
struct LaneQueue {
    jobs: VecDeque<(JobId, Job)>,
    busy: bool,
    /// Jobs begun so far.
    begun: u64,
    /// When the newest of them was begun.
    since: Mono,
}

impl Default for LaneQueue {
    fn default() -> LaneQueue {
        LaneQueue { jobs: VecDeque::new(), busy: false, begun: 0, since: Mono(0) }
    }
}

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

/// The node of one life.
pub struct Live {
    node: Node,
    wal: Wal<SimDisk>,
    segments: Segments<SimDisk>,
    reader: Reader<SimDisk>,
    lanes: [LaneQueue; 3],
    peers: BTreeMap<ConnectionId, Peer>,
    connection_of: BTreeMap<Token, ConnectionId>,
    session_config: Arc<SessionConfig>,
    effects: Vec<Effect>,
    settle_waits: bool,
    timer_at: Option<Mono>,
}

impl World {
    // Start and end

    /// The process starts: recovery, then the node.
    pub(super) fn on_start(&mut self) {
        if self.live.is_some() || self.starting.is_some() {
            return;
        }
        self.disk = self.disk.restart();
        self.life += 1;
        if self.life > 1 {
            self.saw_restart();
        }
        let honest = self.healed || self.failed_starts > FAILED_STARTS_MAX;
        if honest {
            self.disk.set_faults(Default::default());
            self.disk.set_capacity(super::ROOMY);
        } else if self.swarm.crash_in_recovery && self.dice.coin() {
            let calls = self.dice.skewed(1, 60);
            let kind = self.crash_kind();
            self.disk.crash_at_call(calls, kind);
        }
        match self.open() {
            Ok(live) => {
                self.failed_starts = 0;
                self.starting = Some(live);
                self.queue.after(self.disk.take_elapsed(), Happening::Up);
            }
            Err(detail) => {
                self.failed_starts += 1;
                self.counters.count("node: start failed");
                if honest {
                    let failure = Failure::new("the node starts on an honest disk", detail);
                    self.failure.get_or_insert(failure);
                }
                if self.disk.crashed().is_none() {
                    let kind = self.crash_kind();
                    self.disk.crash(kind);
                }
                self.on_death();
            }
        }
    }

    fn open(&mut self) -> Result<Live, String> {
        let options = Options {
            cluster: Some(CLUSTER),
            node: NODE,
            wal: self.swarm.wal,
            mutant: match self.mutant {
                Some(Mutant::Storage(mutant)) => Some(mutant),
                _ => None,
            },
        };
        let opened =
            storage::open(Arc::new(self.disk.clone()), options).map_err(|error| error.to_string())?;
        if let Some(damage) = &opened.recovered.damage
            && self.damage.is_empty()
        {
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
        ]])?;
        let config = NodeConfig {
            node: NODE,
            voters: vec![NODE],
            cluster_id: cluster_id.clone(),
            endpoint: Endpoint { node: NODE, host: "node".into(), port: 9092, rack: None },
            seed: self.dice.next(),
            settings,
            data_shards: self.swarm.data_shards,
            tail_bytes_max: self.swarm.tail_bytes_max,
            log_kept_bytes: 0,
            checkpoint_bytes: self.swarm.checkpoint_bytes,
            wal_held_bytes_max: self.swarm.wal_held_bytes_max,
            mutant: match self.mutant {
                Some(Mutant::Broker(mutant)) => Some(mutant),
                _ => None,
            },
            group_mutant: match self.mutant {
                Some(Mutant::Group(mutant)) => Some(mutant),
                _ => None,
            },
        };
        let node = Node::new(config, opened.recovered, self.now())?;
        Ok(Live {
            node,
            wal: opened.wal,
            segments: opened.segments,
            reader: opened.reader,
            lanes: Default::default(),
            peers: BTreeMap::new(),
            connection_of: BTreeMap::new(),
            session_config: Arc::new(SessionConfig::new(cluster_id, NODE)),
            effects: Vec::new(),
            settle_waits: false,
            timer_at: None,
        })
    }

    pub(super) fn on_up(&mut self) {
        let Some(live) = self.starting.take() else { return };
        self.live = Some(live);
        self.net.listening = true;
        self.on_settle(self.life);
    }

    pub(super) fn shut_down(&mut self) {
        if self.live.is_some() {
            self.step(Event::Shutdown);
        }
    }

    fn on_stop(&mut self, reason: Option<String>) {
        match reason {
            None => {
                self.counters.count("node: clean shutdown");
                let kind = self.crash_kind();
                self.disk.crash(kind);
            }
            Some(_) if self.disk.crashed().is_some() => {}
            Some(reason) if reason.contains("input/output error") || reason.contains(CRASHED) => {
                self.counters.count("node: stopped by a failing device");
                let kind = self.crash_kind();
                self.disk.crash(kind);
            }
            Some(reason) => {
                let failure = Failure::new("the node stops only when its device fails", reason);
                self.failure.get_or_insert(failure);
            }
        }
        self.on_death();
    }

    // Connections

    pub(super) fn on_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(live) = &mut self.live else { return };
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
                Err(error) => return self.client_was_cut(id, error.to_string()),
            };
            match peer.session.on_frame(frame) {
                Ok(Step::Reply(answer)) => {
                    peer.places.push_back(Place::Ready(Some(answer.into_contiguous())))
                }
                Ok(Step::Ask { pending, request, client, .. }) => {
                    self.next_token += 1;
                    let token = Token(self.next_token);
                    peer.places.push_back(Place::Asked(token, Some(pending)));
                    live.connection_of.insert(token, id);
                    events.push(Event::Request { token, connection: id, client, request });
                }
                Err(error) => return self.client_was_cut(id, error.to_string()),
            }
        }
        assert!(peer.places.len() <= UNANSWERED_MAX, "clients here wait for their answers");
        events.into_iter().for_each(|event| self.step(event));
        self.write_answers(id);
    }

    /// Honest clients send nothing that the node must refuse to read.
    fn client_was_cut(&mut self, id: ConnectionId, error: String) {
        let failure = Failure::new("honest requests are understood", error);
        self.failure.get_or_insert(failure);
        self.net.close_node(id, &mut self.queue);
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId) {
        let Some(live) = &mut self.live else { return };
        if live.peers.remove(&id).is_some() {
            live.connection_of.retain(|_, connection| *connection != id);
            self.step(Event::ConnectionClosed(id));
        }
    }

    fn on_reply(&mut self, token: Token, response: Response) {
        let Some(live) = &mut self.live else { return };
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
                self.on_closed(id);
                return self.net.close_node(id, &mut self.queue);
            }
            Err(error) => return self.client_was_cut(id, error.to_string()),
        }
        self.write_answers(id);
    }

    fn write_answers(&mut self, id: ConnectionId) {
        let Some(peer) = self.live.as_mut().and_then(|live| live.peers.get_mut(&id)) else { return };
        while let Some(Place::Ready(_)) = peer.places.front() {
            if let Some(Place::Ready(Some(answer))) = peer.places.pop_front() {
                self.net.send_to_client(id, answer, &mut self.queue, &mut self.counters);
            }
        }
    }

    // The node

    fn step(&mut self, event: Event) {
        let now = self.now();
        let Some(live) = &mut self.live else { return };
        live.node.step(now, event, &mut live.effects);
        if !std::mem::replace(&mut live.settle_waits, true) {
            let wait = Duration::from_micros(self.dice.below(80));
            self.queue.after(wait, Happening::Settle(self.life));
        }
    }

    pub(super) fn on_settle(&mut self, life: u64) {
        let now = self.now();
        let Some(live) = self.live.as_mut().filter(|_| life == self.life) else { return };
        live.settle_waits = false;
        live.node.settle(now, &mut live.effects);
        self.carry_out();
        self.set_timer();
    }

    /// How the node is, for the report of a failure.
    pub(super) fn status(&mut self) -> String {
        let now = self.now();
        let Some(live) = &mut self.live else { return "the node is down".into() };
        let mut effects = Vec::new();
        live.node.step(now, Event::Observe(Token(0)), &mut effects);
        let status = effects.into_iter().find_map(|effect| match effect {
            Effect::Status(_, status) => Some(status),
            _ => None,
        });
        let lanes: Vec<(usize, bool)> = live.lanes.iter().map(|lane| (lane.jobs.len(), lane.busy)).collect();
        format!("{status:?}, lanes {lanes:?}, {:?}", self.swarm)
    }

    fn set_timer(&mut self) {
        let now = self.queue.now();
        let Some(live) = &mut self.live else { return };
        if let Some(deadline) = live.node.next_deadline()
            && live.timer_at.is_none_or(|at| deadline < at)
        {
            live.timer_at = Some(deadline.max(now));
            self.queue.at(deadline, Happening::Timer(self.life));
        }
    }

    pub(super) fn on_timer(&mut self, life: u64) {
        let now = self.queue.now();
        let Some(live) = self.live.as_mut().filter(|_| life == self.life) else { return };
        if live.timer_at.is_some_and(|at| at <= now) {
            live.timer_at = None;
        }
        if live.node.next_deadline().is_some_and(|at| at <= now) {
            self.step(Event::Timer);
        } else {
            self.set_timer();
        }
    }

    /// Storage jobs first, then answers, as the real driver does.
    fn carry_out(&mut self) {
        let Some(live) = &mut self.live else { return };
        let effects = std::mem::take(&mut live.effects);
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Start { id, job } => self.enqueue(id, job),
                other => rest.push(other),
            }
            if self.live.is_none() {
                return;
            }
        }
        for effect in rest {
            match effect {
                Effect::Reply { token, response } => self.on_reply(token, response),
                Effect::Send { .. } => unreachable!("a node of one has no peers"),
                Effect::Stop(reason) => return self.on_stop(reason),
                Effect::Start { .. } | Effect::Status(..) | Effect::Log(..) => {}
            }
        }
    }

    // Storage lanes

    fn enqueue(&mut self, id: JobId, job: Job) {
        let lane = match job {
            Job::Append(_) | Job::Recycle(_) => Lane::Wal,
            Job::Checkpoint(_) => Lane::Segments,
            Job::Read(_) | Job::Lookup(_) => Lane::Reads,
        };
        if let Some(live) = &mut self.live {
            live.lanes[lane as usize].jobs.push_back((id, job));
        }
        self.begin_next(lane);
    }

    /// Carries the lane's next job out; its answer comes after the time that its calls took.
    fn begin_next(&mut self, lane: Lane) {
        let Some(live) = &mut self.live else { return };
        let queue = &mut live.lanes[lane as usize];
        if queue.busy {
            return;
        }
        let Some((id, job)) = queue.jobs.pop_front() else {
            if lane == Lane::Wal {
                let begun = queue.begun;
                self.queue.after(WAL_IDLE_AFTER, Happening::WalIdle(self.life, begun));
            }
            return;
        };
        queue.busy = true;
        queue.begun += 1;
        queue.since = self.queue.now();
        let result = match job {
            Job::Append(append) => live.wal.append(append),
            Job::Recycle(recycle) => live.wal.recycle(&recycle),
            Job::Checkpoint(checkpoint) => {
                let (before, flushes) = (live.segments.releases(), !checkpoint.flushes.is_empty());
                let result = live.segments.checkpoint(checkpoint);
                if live.segments.releases() > before && flushes {
                    self.counters.count("node: full disk got space back");
                }
                result
            }
            Job::Read(read) => {
                let result = live.reader.read(&read);
                if let Some(next) = live.reader.next(&read, &result) {
                    self.counters.count("node: read ahead");
                    live.reader.read_ahead(&next);
                }
                result
            }
            Job::Lookup(lookup) => live.reader.lookup(&lookup),
        };
        if self.disk.crashed().is_some() {
            return self.on_death();
        }
        self.counters.count(match (&result, lane) {
            (Ok(Done::Append { .. }), _) => "node: append",
            (Ok(Done::Recycle { .. }), _) => "node: log recycled",
            (Ok(Done::Checkpoint { .. }), _) => "node: checkpoint",
            (Ok(Done::Read(_)), _) => "node: records read from segments",
            (Ok(Done::Lookup(_)), _) => "node: time looked up",
            (Err(JobError::NoSpace), Lane::Wal) => "node: append without space",
            (Err(JobError::NoSpace), _) => "node: checkpoint without space",
            (Err(JobError::Damaged { .. }), _) => "node: read refused",
            (Err(JobError::Device { .. }), _) => "node: device failed",
        });
        if let Err(JobError::Damaged { detail }) = &result {
            // A segment may go between the plan of a read and the read; the node must not tell a client of damage then.
            let is_gone = detail.ends_with("is missing");
            self.counters.count(if is_gone {
                "node: read of a segment just deleted"
            } else {
                "node: damage found"
            });
            if !is_gone && self.damage.is_empty() {
                let failure = Failure::new("no damage where none was done", detail.clone());
                self.failure.get_or_insert(failure);
            }
        }
        let took = self.disk.take_elapsed();
        self.queue.after(took, Happening::JobDone(self.life, lane, id, Box::new(result)));
    }

    pub(super) fn on_job_done(&mut self, life: u64, lane: Lane, id: JobId, result: Result<Done, JobError>) {
        let Some(live) = self.live.as_mut().filter(|_| life == self.life) else { return };
        let own = &mut live.lanes[lane as usize];
        own.busy = false;
        let since = own.since;
        // Lanes stand beside each other: a whole job of one within a job of another.
        if live.lanes.iter().any(|other| other.busy && other.since <= since) {
            self.counters.count(match lane {
                Lane::Wal => "lanes: a job of the log within another lane's",
                Lane::Segments => "lanes: a checkpoint within another lane's job",
                Lane::Reads => "lanes: a read within another lane's job",
            });
        }
        self.step(Event::JobDone { id, result });
        self.begin_next(lane);
    }

    /// The WAL lane had nothing to do: the last commit is marked as durable, the next file prepared.
    pub(super) fn on_wal_idle(&mut self, life: u64, begun: u64) {
        let Some(live) = self.live.as_mut().filter(|_| life == self.life) else { return };
        let queue = &mut live.lanes[Lane::Wal as usize];
        if queue.busy || queue.begun != begun {
            return;
        }
        // A failure is not reported: the device refuses the next append with the same reason.
        if live.wal.append(WalAppend::default()).is_ok() {
            self.counters.count("node: marker");
            drop(live.wal.upkeep());
        }
        if self.disk.crashed().is_some() {
            return self.on_death();
        }
        queue.busy = true;
        queue.since = self.queue.now();
        let took = self.disk.take_elapsed();
        self.queue.after(took, Happening::WalRested(self.life));
    }

    pub(super) fn on_wal_rested(&mut self, life: u64) {
        let Some(live) = self.live.as_mut().filter(|_| life == self.life) else { return };
        let queue = &mut live.lanes[Lane::Wal as usize];
        queue.busy = false;
        if !queue.jobs.is_empty() {
            self.begin_next(Lane::Wal);
        }
    }
}
