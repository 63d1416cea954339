//! Three nodes and a network of plain memory under a virtual clock: messages go through their frames, each link in order,
//! nodes are killed, started and cut off. The simulation does more of this; here is what one wants to see first.

mod answers;
mod catch_up;
mod classes;
mod disks;
mod insync;
mod levels;
mod losses;
mod mend;
mod refusals;

use super::topics::new_topic;
use super::{MemoryDisk, config};
use crate::config::{Given, parse_node};
use crate::event::{Effect, Event, Status};
use crate::level::{Level, NEWEST};
use crate::node::Node;
use crate::peer::{Link, PeerMessage, Stream, wire};
use crate::request::*;
use crate::sample::batch;
use bytes::Bytes;
use consensus::Random;
use model::job::{Job, JobId};
use model::{
    BatchHeader, DiskId, ErrorCode, Mono, NodeId, Now, Owner, RecordFacts, ShardId, StoredBatch, Waits,
    WallMs,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) const NODES: usize = 3;
/// Every wait in a test ends here, virtual time.
const LIMIT: Duration = Duration::from_secs(60);

enum Happening {
    Frame { from: usize, to: usize, level: Level, frame: Bytes },
    Done { node: usize, life: u64, id: JobId, job: Box<Job> },
    Timer { node: usize, life: u64 },
    Dial { from: usize, to: usize },
    Again { node: usize },
}

#[derive(Default)]
pub(super) struct Place {
    pub(super) node: Option<Node>,
    disk: MemoryDisk,
    life: u64,
    timer: Option<Mono>,
    /// The newest protocol level that its version of Sternpost speaks.
    level: Level,
    /// Its disk, as the directory says.
    owner: Owner,
}

pub(super) struct Cluster {
    pub(super) places: Vec<Place>,
    pub(super) now: Mono,
    queue: BTreeMap<(Mono, u64), Happening>,
    number: u64,
    random: Random,
    /// When the last frame of a link arrives: the next one comes later.
    arrivals: BTreeMap<(usize, usize, Stream), Mono>,
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Nodes to which nothing happens: it waits for them.
    pub(super) paused: BTreeSet<usize>,
    /// Which messages to a node never arrive.
    lost: Option<fn(usize, &PeerMessage) -> bool>,
    pub(super) replies: BTreeMap<Token, Response>,
    next_token: u64,
    checkpoint_bytes: usize,
    catch_up_rate: u64,
    data_shards: u32,
    hung_up: BTreeSet<ConnectionId>,
    /// Lines that nodes wrote, counted by their words.
    logged: BTreeMap<String, usize>,
    /// Which node may stop by itself, and why it did.
    may_stop: Option<usize>,
    stopped: Option<String>,
}

/// One batch for each of these partitions.
fn produce(topic: &str, indexes: &[i32], producer: (i64, i32), mark: i64) -> Request {
    let bytes = batch(1, mark, Some(producer), 200);
    let header = BatchHeader::read(&bytes).expect("header");
    let batch = ProducedBatch { header, bytes, facts: RecordFacts::default() };
    let part = |index: &i32| ProducePartition { index: *index, batch: Ok(batch.clone()) };
    let partitions = indexes.iter().map(part).collect();
    let topics = vec![ProduceTopic { topic: TopicRef::Name(topic.into()), partitions }];
    Request::Produce(Produce { acks: -1, timeout: Duration::from_secs(1), topics })
}

impl Cluster {
    pub(super) fn new(seed: u64) -> Cluster {
        Cluster::with(seed, 1 << 20)
    }

    fn with(seed: u64, checkpoint_bytes: usize) -> Cluster {
        Cluster::made(seed, checkpoint_bytes, config().data_shards)
    }

    pub(super) fn of_shards(seed: u64, data_shards: u32) -> Cluster {
        Cluster::made(seed, 1 << 20, data_shards)
    }

    fn made(seed: u64, checkpoint_bytes: usize, data_shards: u32) -> Cluster {
        let mut cluster = Cluster {
            places: (0..NODES).map(|_| Place { level: NEWEST, ..Place::default() }).collect(),
            now: Mono(1),
            queue: BTreeMap::new(),
            number: 0,
            random: Random::new(seed),
            arrivals: BTreeMap::new(),
            cut: BTreeSet::new(),
            paused: BTreeSet::new(),
            lost: None,
            replies: BTreeMap::new(),
            next_token: 0,
            checkpoint_bytes,
            catch_up_rate: 1 << 30,
            data_shards,
            hung_up: BTreeSet::new(),
            logged: BTreeMap::new(),
            may_stop: None,
            stopped: None,
        };
        (0..NODES).for_each(|node| cluster.start(node));
        cluster
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, wall: WallMs(1_000_000 + (self.now.0 / 1_000_000) as i64) }
    }

    fn after(&mut self, micros: u64, happening: Happening) {
        self.number += 1;
        self.queue.insert((self.now.plus(Duration::from_micros(micros)), self.number), happening);
    }

    /// A node of what is durable at a place.
    fn node_of(&mut self, at: usize) -> Result<Node, String> {
        let id = NodeId(at as i32 + 1);
        let endpoint = Endpoint { node: id, host: format!("host{}", id.0), port: 9092, rack: None };
        let mut config = super::NodeConfig { node: id, endpoint, ..config() };
        config.level = self.places[at].level;
        config.owner = self.places[at].owner.clone();
        config.voters = (1..=NODES as i32).map(NodeId).collect();
        config.seed = self.random.next_u64();
        config.data_shards = self.data_shards;
        let all =
            Given { name: "default.replication.factor".into(), value: "3".into(), origin: "test".into() };
        (config.settings, _) = parse_node(&[vec![all]]).expect("a known setting");
        config.checkpoint_bytes = self.checkpoint_bytes;
        config.tail_bytes_max = 2 * self.checkpoint_bytes;
        config.settings.catch_up_rate = self.catch_up_rate;
        config.settings.scrub_interval = Duration::from_secs(1);
        let now = self.clock();
        Node::new(config, self.places[at].disk.recovered(), now)
    }

    pub(super) fn start(&mut self, at: usize) {
        let node = self.node_of(at).expect("what was durable");
        let place = &mut self.places[at];
        place.life += 1;
        place.timer = None;
        place.node = Some(node);
        self.settle(at, Vec::new());
        for other in (0..NODES).filter(|other| *other != at) {
            self.after(100, Happening::Dial { from: at, to: other });
            self.after(100, Happening::Dial { from: other, to: at });
        }
    }

    /// The process ends; a write under way may or may not have come to its end.
    pub(super) fn kill(&mut self, at: usize) {
        self.places[at].node = None;
        let of_it = |happening: &Happening| matches!(happening, Happening::Done { node, .. } if *node == at);
        let lost = self.queue.iter().filter(|(_, happening)| of_it(happening)).map(|(key, _)| *key);
        let lost: Vec<_> = lost.collect();
        for key in lost {
            if let Some(Happening::Done { job, .. }) = self.queue.remove(&key)
                && self.random.permille(500)
            {
                drop(self.places[at].disk.run(*job));
            }
        }
        for other in (0..NODES).filter(|other| *other != at) {
            self.step(other, Event::Link(NodeId(at as i32 + 1), Link::Lost));
            self.after(300, Happening::Dial { from: other, to: at });
        }
    }

    pub(super) fn step(&mut self, at: usize, event: Event) {
        let now = self.clock();
        let Some(node) = &mut self.places[at].node else { return };
        let mut effects = Vec::new();
        node.step(now, event, &mut effects);
        self.settle(at, effects);
    }

    fn settle(&mut self, at: usize, mut effects: Vec<Effect>) {
        let now = self.clock();
        let life = self.places[at].life;
        let node = self.places[at].node.as_mut().expect("a live node settles");
        node.settle(now, &mut effects);
        let deadline = node.next_deadline();
        for effect in effects {
            match effect {
                Effect::Reply { token, response } => {
                    assert!(self.replies.insert(token, response).is_none());
                }
                Effect::Start { id, job } => {
                    let micros = 100 + self.random.below(2_000);
                    self.after(micros, Happening::Done { node: at, life, id, job: Box::new(job) });
                }
                Effect::Send { to, message } => {
                    let to = to.0 as usize - 1;
                    let level = self.places[at].level.min(self.places[to].level);
                    let frame: Bytes = wire::encode(&message, level).concat().into();
                    if frame.is_empty() {
                        continue;
                    }
                    let earliest = self.now.plus(Duration::from_micros(50 + self.random.below(300)));
                    let last = self.arrivals.entry((at, to, message.stream())).or_default();
                    *last = earliest.max(last.plus(Duration::from_nanos(1)));
                    self.number += 1;
                    self.queue.insert((*last, self.number), Happening::Frame { from: at, to, level, frame });
                }
                Effect::Stop(reason) if self.may_stop == Some(at) => self.stopped = reason,
                Effect::Stop(reason) => panic!("node {} stops: {reason:?}", at + 1),
                Effect::Log(_, line) => {
                    let words: String = line.chars().filter(|c| !c.is_ascii_digit()).collect();
                    *self.logged.entry(words).or_default() += 1;
                }
                Effect::TakePart { replica, founders } => {
                    let disk = self.places[at].owner.disk;
                    self.places[at].owner = Owner { disk, replica, waits: None, founders };
                    self.after(1, Happening::Again { node: at });
                }
                Effect::GiveUp => {
                    self.lose_disk(at, None);
                    self.after(1, Happening::Again { node: at });
                }
                Effect::HangUp(connection) => drop(self.hung_up.insert(connection)),
                Effect::Status(..) => {}
            }
        }
        if let Some(deadline) = deadline {
            let timer = &mut self.places[at].timer;
            if timer.is_none_or(|set| deadline < set) {
                *timer = Some(deadline);
                self.number += 1;
                self.queue.insert((deadline.max(self.now), self.number), Happening::Timer { node: at, life });
            }
        }
    }

    /// Lets the next thing happen.
    fn happen(&mut self) {
        let ((at, number), happening) = self.queue.pop_first().expect("nodes have timers");
        self.now = self.now.max(at);
        let (Happening::Frame { to: node, .. }
        | Happening::Dial { from: node, .. }
        | Happening::Again { node }
        | Happening::Done { node, .. }
        | Happening::Timer { node, .. }) = &happening;
        if self.paused.contains(node) {
            self.queue.insert((at.plus(Duration::from_millis(1)), number), happening);
            return;
        }
        match happening {
            Happening::Frame { from, to, level, frame } => {
                if !self.cut.contains(&(from, to)) && self.places[from].node.is_some() {
                    let message = wire::decode(frame, level).expect("as it was sent");
                    if self.lost.is_some_and(|is_lost| is_lost(to, &message)) {
                        return;
                    }
                    self.step(to, Event::Peer { from: NodeId(from as i32 + 1), message });
                }
            }
            Happening::Done { node, life, id, job } => {
                if self.places[node].life == life && self.places[node].node.is_some() {
                    let result = self.places[node].disk.run(*job);
                    self.step(node, Event::JobDone { id, result });
                }
            }
            Happening::Timer { node, life } => {
                // One that was set before an earlier one is of no use any more.
                let is_set = self.places[node].timer.is_some_and(|set| set <= at);
                if is_set && self.places[node].life == life && self.places[node].node.is_some() {
                    self.places[node].timer = None;
                    self.step(node, Event::Timer);
                }
            }
            Happening::Again { node } => {
                self.kill(node);
                self.start(node);
            }
            Happening::Dial { from, to } => {
                let link = match (&self.places[to].node, self.cut.contains(&(from, to))) {
                    (_, true) => None,
                    (Some(_), false) => Some(Link::Up),
                    (None, false) => Some(Link::Refused),
                };
                if let Some(link) = link {
                    self.step(from, Event::Link(NodeId(to as i32 + 1), link));
                }
                if link != Some(Link::Up) && self.places[from].node.is_some() {
                    self.after(20_000, Happening::Dial { from, to });
                }
            }
        }
    }

    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Cluster) -> bool) -> Duration {
        let began = self.now;
        while !is_so(self) {
            assert!(self.now.since(began) < LIMIT, "{what}: not within {LIMIT:?}");
            self.happen();
        }
        self.now.since(began)
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.happen();
        }
    }

    pub(super) fn ask(&mut self, at: usize, request: Request) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        let client = Arc::new(ClientInfo { client_id: "c".into(), host: "h".into() });
        let connection = ConnectionId(at as u64 + 10 * self.places[at].life);
        self.step(at, Event::Request { token, connection, client, request });
        token
    }

    /// Asks and waits for the answer; none comes from a node that dies, or hangs up.
    pub(super) fn call(&mut self, at: usize, request: Request) -> Option<Response> {
        let life = self.places[at].life;
        self.places[at].node.as_ref()?;
        let connection = ConnectionId(at as u64 + 10 * life);
        let token = self.ask(at, request);
        self.until("an answer", |cluster| {
            cluster.replies.contains_key(&token)
                || cluster.places[at].node.is_none()
                || cluster.places[at].life != life
                || cluster.hung_up.contains(&connection)
        });
        self.hung_up.remove(&connection);
        self.replies.remove(&token)
    }

    /// What each node that runs says of itself.
    pub(super) fn statuses(&self) -> Vec<Status> {
        self.places.iter().filter_map(|place| place.node.as_ref()).map(Node::status).collect()
    }

    pub(super) fn all_ready(&mut self) -> Duration {
        self.until("all nodes are ready", |cluster| {
            cluster.places.iter().all(|place| place.node.as_ref().is_some_and(|node| node.status().ready))
        })
    }

    pub(super) fn create(&mut self, at: usize, name: &str, partitions: i32) -> Option<ErrorCode> {
        self.create_with(at, new_topic(name, partitions))
    }

    fn create_with(&mut self, at: usize, topic: NewTopic) -> Option<ErrorCode> {
        let topics = vec![NewTopic { replication_factor: -1, ..topic }];
        let request = CreateTopics { topics, validate_only: false, timeout: Duration::from_secs(5) };
        match self.call(at, Request::CreateTopics(request))? {
            Response::CreateTopics(response) => Some(response.topics[0].refusal.code),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn metadata(&mut self, at: usize, name: &str) -> MetadataResponse {
        let topics = Some(vec![TopicRef::Name(name.into())]);
        let request = Metadata { topics, allow_auto_topic_creation: false };
        match self.call(at, Request::Metadata(request)) {
            Some(Response::Metadata(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Asks one node to write one batch.
    fn try_write(
        &mut self,
        at: usize,
        topic: &str,
        index: i32,
        producer: (i64, i32),
        mark: i64,
    ) -> Option<ProduceResponse> {
        match self.call(at, produce(topic, &[index], producer, mark))? {
            Response::Produce(response) => Some(response),
            other => panic!("{other:?}"),
        }
    }

    /// Writes one batch to a partition, asking node after node until one acknowledges. Returns the offset.
    pub(super) fn write(&mut self, topic: &str, index: i32, producer: (i64, i32), mark: i64) -> i64 {
        let mut at = self.random.below(NODES as u64) as usize;
        let end = self.now.plus(LIMIT);
        loop {
            assert!(self.now < end, "no node acknowledges");
            let mut next = (at + 1) % NODES;
            if let Some(response) = self.try_write(at, topic, index, producer, mark) {
                let answer = &response.topics[0].partitions[0];
                if answer.refusal.is_ok() {
                    return answer.base_offset;
                }
                assert!(answer.refusal.code.is_retriable(), "{answer:?}");
                if let Some((leader, _)) = answer.current_leader {
                    assert!(response.endpoints.iter().any(|endpoint| endpoint.node == leader));
                    next = leader.0 as usize - 1;
                }
            }
            at = next;
            self.run_for(Duration::from_millis(5));
        }
    }

    pub(super) fn leader(&mut self, topic: &str, index: usize) -> Option<usize> {
        let at = (0..NODES).find(|at| self.places[*at].node.is_some())?;
        let found = self.metadata(at, topic);
        found.topics[0].partitions.get(index)?.leader.map(|node| node.0 as usize - 1)
    }

    /// All committed batches of a partition, from whoever leads it.
    fn read(&mut self, topic: &str, index: i32) -> Vec<StoredBatch> {
        let mut batches: Vec<StoredBatch> = Vec::new();
        let end = self.now.plus(LIMIT);
        loop {
            assert!(self.now < end, "nobody serves {topic}-{index}");
            let offset = batches.last().map_or(0, |batch| batch.next_offset().0);
            let partition = FetchPartition {
                index,
                current_leader_epoch: -1,
                offset,
                last_fetched_epoch: -1,
                bytes_max: 1 << 20,
            };
            let topics =
                vec![FetchTopic { topic: TopicRef::Name(topic.into()), partitions: vec![partition] }];
            let fetch = Fetch {
                wait_max: Duration::ZERO,
                bytes_min: 1,
                bytes_max: 1 << 20,
                read_committed: false,
                rack: String::new(),
                topics,
            };
            let Some(at) = self.leader(topic, index as usize) else {
                self.run_for(Duration::from_millis(20));
                continue;
            };
            match self.call(at, Request::Fetch(fetch)) {
                Some(Response::Fetch(mut response)) => {
                    let found = response.topics.remove(0).partitions.remove(0);
                    if !found.error.is_none() {
                        assert!(found.error.is_retriable(), "{found:?}");
                        self.run_for(Duration::from_millis(20));
                        continue;
                    }
                    if offset == found.high_watermark {
                        return batches;
                    }
                    batches.extend(found.batches);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn three_nodes_form_a_cluster_and_share_the_leaders() {
    let mut c = Cluster::new(1);
    assert!(c.all_ready() < Duration::from_secs(3));
    // Any node takes the request; the answer is told when this node's own catalogue has it.
    for at in 0..NODES {
        let name = format!("t{at}");
        assert_eq!(c.create(at, &name, 6), Some(ErrorCode::None));
        let found = c.metadata(at, &name);
        assert_eq!(found.brokers.len(), NODES);
        let topic = &found.topics[0];
        assert_eq!((topic.error, topic.partitions.len()), (ErrorCode::None, 6));
        for partition in &topic.partitions {
            assert_eq!(partition.replicas.len(), NODES);
            assert!(partition.error.is_none() && partition.leader.is_some(), "{partition:?}");
        }
    }
    let leaders: BTreeSet<_> = (0..6).filter_map(|index| c.leader("t0", index)).collect();
    assert!(leaders.len() > 1, "one node leads all");
    assert_eq!(c.create(1, "t0", 1), Some(ErrorCode::TopicAlreadyExists));
    for mark in 0..20 {
        assert_eq!(c.write("t0", 0, (9, mark as i32), mark), mark);
    }
    assert_eq!(c.read("t0", 0).len(), 20);
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_is_lost() {
    let mut slowest = Duration::ZERO;
    for seed in 0..5 {
        let mut c = Cluster::new(seed);
        c.all_ready();
        assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
        for mark in 0..10 {
            assert_eq!(c.write("a", 0, (9, mark as i32), mark), mark);
        }
        let leader = c.leader("a", 0).expect("it was written to");
        c.kill(leader);
        let began = c.now;
        assert_eq!(c.write("a", 0, (9, 10), 10), 10);
        slowest = slowest.max(c.now.since(began));
        c.run_for(Duration::from_secs(1));
        c.start(leader);
        c.all_ready();
        assert_eq!(c.write("a", 0, (9, 11), 11), 11);
        let marks: Vec<i64> = c.read("a", 0).iter().map(|batch| batch.header().base_timestamp).collect();
        assert_eq!(marks, (0..12).collect::<Vec<i64>>());
    }
    assert!(slowest < Duration::from_millis(200), "a write waited {slowest:?}");
}

#[test]
fn an_isolated_leader_acknowledges_nothing_and_is_replaced() {
    let mut c = Cluster::new(3);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    assert_eq!(c.write("a", 0, (9, 0), 0), 0);
    let old = c.leader("a", 0).expect("it was written to");
    for other in (0..NODES).filter(|other| *other != old) {
        c.cut.extend([(old, other), (other, old)]);
    }
    // It still thinks that it leads: what it is asked must not be answered from the past.
    let list = ListOffsets {
        read_committed: false,
        topics: vec![ListOffsetsTopic {
            topic: TopicRef::Name("a".into()),
            partitions: vec![ListOffsetsPartition {
                index: 0,
                current_leader_epoch: -1,
                target: OffsetTarget::Latest,
            }],
        }],
    };
    let stale = c.ask(old, Request::ListOffsets(list));
    let began = c.now;
    let mut at = (old + 1) % NODES;
    for mark in 1..5 {
        let offset = c.write("a", 0, (9, mark as i32), mark);
        assert_eq!(offset, mark);
        at = c.leader_seen_by((old + 1) % NODES, "a").unwrap_or(at);
    }
    assert!(c.now.since(began) < Duration::from_millis(1500), "{:?}", c.now.since(began));
    assert_ne!(at, old);
    c.until("the old leader knows", |c| c.replies.contains_key(&stale));
    match c.replies.remove(&stale) {
        Some(Response::ListOffsets(response)) => {
            assert_eq!(response.topics[0].partitions[0].error, ErrorCode::NotLeaderOrFollower);
        }
        other => panic!("{other:?}"),
    }
    c.cut.clear();
    c.all_ready();
    let marks: Vec<i64> = c.read("a", 0).iter().map(|batch| batch.header().base_timestamp).collect();
    assert_eq!(marks, (0..5).collect::<Vec<i64>>());
}

impl Cluster {
    fn leader_seen_by(&mut self, at: usize, topic: &str) -> Option<usize> {
        self.metadata(at, topic).topics[0].partitions[0].leader.map(|node| node.0 as usize - 1)
    }
}

/// Who hears none of the others stops leading as soon as they are taken for gone, long before raft's own check of its quorum: its
/// clients are sent away while the others elect a leader.
#[test]
fn a_leader_that_is_cut_off_resigns() {
    let mut c = Cluster::new(13);
    c.all_ready();
    assert_eq!(c.create(0, "a", 6), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(2));
    for other in 1..NODES {
        c.cut.extend([(0, other), (other, 0)]);
    }
    let leads = |c: &Cluster| {
        let node = c.places[0].node.as_ref().expect("runs");
        node.shards.iter().any(|shard| shard.serving)
    };
    assert!(leads(&c));
    let took = c.until("it leads nothing", |c| !leads(c));
    let bound = consensus::SILENCE_MAX + 2 * consensus::HEARTBEAT_INTERVAL;
    assert!(took <= bound, "{took:?}");
    // One of the others is enough to go on.
    c.cut.clear();
    c.until("it leads again", |c| leads(c));
    c.cut.extend([(0, 1), (1, 0)]);
    c.run_for(Duration::from_secs(2));
    assert!(leads(&c));
}

/// Who hears nobody but is heard by all says with its beats that it resigned: the others do not wait out raft's time for a leader that
/// they hear.
#[test]
fn the_others_hear_that_a_leader_resigned() {
    let mut c = Cluster::new(13);
    c.all_ready();
    assert_eq!(c.create(0, "a", 6), Some(ErrorCode::None));
    c.run_for(Duration::from_secs(2));
    let led_by = |c: &Cluster, at: usize| {
        let node = c.places[at].node.as_ref().expect("runs");
        node.shards.iter().filter(|shard| shard.serving).count()
    };
    let all: usize = (0..NODES).map(|at| led_by(&c, at)).sum();
    assert!(led_by(&c, 0) > 0);
    c.cut.extend((1..NODES).map(|other| (other, 0)));
    let took = c.until("the others lead all", |c| (1..NODES).map(|at| led_by(c, at)).sum::<usize>() == all);
    let bound = consensus::SILENCE_MAX + Duration::from_millis(400);
    assert!(took <= bound, "{took:?}");
}

/// Kills, starts and cuts at random while an idempotent producer writes: every acknowledged batch is there once, at its
/// offset, and in the end all nodes have the same.
#[test]
fn chaos_loses_nothing() {
    let mut installed = 0;
    for seed in 0..20 {
        // Every second world forgets its log quickly: who comes back needs a state.
        let mut c = Cluster::with(1000 + seed, if seed % 2 == 0 { 1 << 20 } else { 3000 });
        c.all_ready();
        assert_eq!(c.create(0, "a", 4), Some(ErrorCode::None));
        let mut written = [0; 4];
        for round in 0..120 {
            match c.random.below(12) {
                0 => {
                    let victim = c.random.below(NODES as u64) as usize;
                    let alive = c.places.iter().filter(|place| place.node.is_some()).count();
                    if alive == NODES {
                        c.kill(victim);
                    }
                }
                1 => {
                    if let Some(at) = (0..NODES).find(|at| c.places[*at].node.is_none()) {
                        c.start(at);
                    }
                }
                2 if c.places.iter().all(|place| place.node.is_some()) => {
                    let (from, to) =
                        (c.random.below(NODES as u64) as usize, c.random.below(NODES as u64) as usize);
                    c.cut.insert((from, to));
                    c.run_for(Duration::from_millis(100));
                    c.cut.clear();
                }
                _ => {}
            }
            let index = round % 4;
            let mark = written[index];
            let offset = c.write("a", index as i32, (9 + index as i64, mark as i32), mark);
            assert_eq!(offset, mark, "seed {seed}: idempotence and density");
            written[index] += 1;
        }
        for at in (0..NODES).filter(|at| c.places[*at].node.is_none()).collect::<Vec<_>>() {
            c.start(at);
        }
        c.all_ready();
        for index in 0..4 {
            let marks: Vec<i64> =
                c.read("a", index).iter().map(|batch| batch.header().base_timestamp).collect();
            assert_eq!(marks, (0..written[index as usize]).collect::<Vec<i64>>(), "seed {seed}");
        }
        c.run_for(Duration::from_secs(2));
        let logs = |place: &Place| {
            let node = place.node.as_ref().expect("all run");
            let logs = node.shards.iter().flat_map(|shard| &shard.partitions);
            logs.map(|(id, partition)| (*id, partition.log.clone())).collect::<Vec<_>>()
        };
        assert_eq!(logs(&c.places[0]), logs(&c.places[1]));
        assert_eq!(logs(&c.places[0]), logs(&c.places[2]));
        let lines = c.logged.iter().filter(|(words, _)| words.contains("is installed"));
        installed += lines.map(|(_, count)| count).sum::<usize>();
    }
    assert!(installed > 20, "{installed} states were installed");
}
