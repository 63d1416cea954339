//! Simulated clients that speak Kafka's bytes. Each is a small state machine: it wakes, it hears answers, it loses its
//! connection; it writes the history that the checkers judge. Retries, back-off and time-outs are those of stock clients
//! in kind, shorter in time.

pub mod admin;
pub mod final_reader;
pub mod link;
pub mod member;
pub mod producer;
pub mod reader;
pub mod session_reader;

use super::epochs::Epochs;
use super::matrix::watch::Watch;
use super::net::Net;
use super::queue::Queue;
use super::{ClientIndex, Happening, HostIndex};
use crate::counters::Counters;
use crate::dice::Dice;
use crate::outcome::Failure;
use bytes::Bytes;
use checker::{Event, Group, History, Op, Partition, RecordId};
use kafka::wire::{Str, Uuid};
use model::{Mono, WallMs};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A topic of the world.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: &'static str,
    /// Known once the topic was made; zero while it is being made or deleted.
    pub id: Uuid,
    pub partitions: i32,
    /// Nodes that each partition is on.
    pub replicas: usize,
    /// The checkers' number of its first partition. A topic made again gets another one.
    pub first: u32,
    /// Made with these settings.
    pub configs: Vec<(&'static str, i64)>,
    /// Deleted and made again under its name now and then. What is sent by name may then reach the next one, as it may
    /// in Kafka: only clients that name topics by id use it.
    pub mortal: bool,
    /// Ids of its earlier lives, whose deletion was acknowledged.
    pub buried: Vec<Uuid>,
}

/// A partition as clients and checkers name it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index into the topics.
    pub topic: usize,
    /// Partition number.
    pub index: i32,
    /// The checkers' name.
    pub partition: Partition,
}

/// A range of offsets that the world has damaged: one segment of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// The topic's id.
    pub topic: Uuid,
    /// Partition number.
    pub index: i32,
    /// First offset of the segment.
    pub from: i64,
    /// First offset of the next one, where there was one.
    pub to: Option<i64>,
}

/// What a client can see and do at one moment.
pub struct Context<'a> {
    pub now: Mono,
    pub wall: WallMs,
    pub me: ClientIndex,
    pub dice: &'a mut Dice,
    pub net: &'a mut Net,
    pub queue: &'a mut Queue<Happening>,
    pub history: &'a mut History,
    pub counters: &'a mut Counters,
    pub topics: &'a mut Vec<Topic>,
    pub ids: &'a mut Ids,
    /// When each client is to be woken: one moment each, the earliest asked for.
    pub wakes: &'a mut Vec<Option<Mono>>,
    /// Which life of its process each host has.
    pub lives: &'a [u64],
    /// The latest time that any node's clock has shown.
    pub node_clock_ms: i64,
    /// Segments of the only node that were damaged for good.
    pub damage: &'a [Damage],
    /// Something was damaged, or cannot always be read.
    pub was_harmed: bool,
    pub epochs: &'a mut Epochs,
    pub watch: &'a mut Watch,
    /// Clients do something at most so often, microseconds.
    pub pace_micros: u64,
    /// How long a producer waits for an answer, where that is not the usual time.
    pub patience: Option<Duration>,
    /// Largest value of a record, bytes.
    pub value_bytes_max: u64,
    /// No new work: finish what is under way.
    pub draining: bool,
    /// Members of groups finish too.
    pub groups_settled: bool,
    /// Set by a client that saw what no client may see.
    pub failure: &'a mut Option<Failure>,
}

/// Numbers that are never used twice in a world.
#[derive(Debug, Default)]
pub struct Ids {
    op: u64,
    record: u64,
    producer: u32,
    partition: u32,
    /// Timestamps of the newest records, to look times up that records carry.
    pub timestamps: Vec<i64>,
    /// Leader, and member ids as the leader was told, of each generation of each group; and the newest generation told.
    pub generations: BTreeMap<(Group, i32), (String, Vec<String>)>,
    /// Records that were sent without an answer.
    pub unanswered: BTreeSet<RecordId>,
    /// Operations answered so far.
    pub done: u64,
}

impl Ids {
    pub fn op(&mut self) -> Op {
        self.op += 1;
        Op(self.op)
    }

    pub fn record(&mut self) -> RecordId {
        self.record += 1;
        RecordId(self.record)
    }

    /// Numbers for the partitions of a topic; the first of them.
    pub fn partitions(&mut self, count: i32) -> u32 {
        let first = self.partition;
        self.partition += count.unsigned_abs();
        first
    }

    pub fn producer(&mut self) -> checker::Producer {
        self.producer += 1;
        checker::Producer(self.producer)
    }
}

impl Context<'_> {
    /// Calls this client again after a while.
    pub fn wake_in(&mut self, wait: Duration) {
        let moment = self.now.plus(wait);
        if self.wakes[self.me].is_none_or(|at| moment < at) {
            self.wakes[self.me] = Some(moment);
            self.queue.at(moment, Happening::Wake(self.me));
        }
    }

    /// Calls this client again after up to `micros_max` microseconds.
    pub fn wake_soon(&mut self, micros_max: u64) {
        let wait = Duration::from_micros(self.dice.skewed(10, micros_max).max(self.pace_micros));
        self.wake_in(wait);
    }

    /// Writes into the history.
    pub fn record(&mut self, event: Event) {
        self.history.push(event);
    }

    /// Any partition of a topic that is there to stay; with `by_id`, of any topic that is there now.
    pub fn any_place(&mut self, by_id: bool) -> Place {
        let fits = |topic: &Topic| !topic.id.is_zero() && (by_id || !topic.mortal);
        let fitting: Vec<usize> = (0..self.topics.len()).filter(|at| fits(&self.topics[*at])).collect();
        let topic = fitting[self.dice.index(fitting.len())];
        let index = self.dice.below(self.topics[topic].partitions as u64) as i32;
        self.place(topic, index)
    }

    /// A partition by topic and number.
    pub fn place(&self, topic: usize, index: i32) -> Place {
        Place { topic, index, partition: Partition(self.topics[topic].first + index as u32) }
    }

    /// A topic's name as the wire wants it.
    pub fn topic_name(&self, topic: usize) -> Str {
        Str::from_static(self.topics[topic].name)
    }

    /// Whether a refusal at this offset is the world's own doing.
    pub fn is_damaged(&self, place: Place, offset: i64) -> bool {
        let topic = self.topics[place.topic].id;
        self.damage.iter().any(|damage| {
            (damage.topic, damage.index) == (topic, place.index)
                && offset >= damage.from
                && damage.to.is_none_or(|to| offset < to)
        })
    }

    /// The cluster is one node: what it told binds it at once.
    pub fn is_alone(&self) -> bool {
        self.lives.len() == 1
    }

    /// What a fetch from this node is held against: with several nodes, a leader that was just replaced and does not know it
    /// tells less than the new one did.
    pub fn source(&self, host: Option<HostIndex>) -> Option<u32> {
        host.filter(|_| !self.is_alone()).map(|host| host as u32)
    }

    /// Whether records of this topic go by age or size.
    pub fn has_retention(&self, place: Place) -> bool {
        self.topics[place.topic].configs.iter().any(|(name, _)| name.starts_with("retention."))
    }

    /// What must never be seen was seen.
    pub fn fail(&mut self, property: &str, detail: String) {
        self.failure.get_or_insert_with(|| Failure::new(property, detail));
    }
}

/// One client.
pub trait Client {
    /// Time to do something: connect, send, give up waiting.
    fn wake(&mut self, context: &mut Context<'_>);
    /// A whole response frame came.
    fn answer(&mut self, frame: Bytes, context: &mut Context<'_>);
    /// The connection is gone.
    fn lost(&mut self, context: &mut Context<'_>);
    /// Bytes came; the link cuts them into frames.
    fn link(&mut self) -> &mut link::Link;
    /// Nothing is under way.
    fn is_idle(&self) -> bool;
    /// A member of a group has its share.
    fn is_settled(&self) -> bool {
        true
    }
    /// What is under way, for the report when it never ends.
    fn describe(&self) -> String;
}
