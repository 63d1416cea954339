//! Fetch sessions (KIP-227) of one connection: the client sends only what changed in its list of partitions, and is
//! told only of partitions with news. The core sees neither: it always gets the whole list. A session lives and dies
//! with its connection, so an id from another connection is unknown here and the client starts again by itself.
//!
//! Invariant: `order` holds each live slot exactly once, `by_key` finds it, and an answer is matched to `order` only
//! while the session's epoch is still the one that the question got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::request::{FetchPartition, FetchTopic, FetchedPartition, TopicRef};
use model::{ErrorCode, TopicId};

use crate::message::fetch as wire;
use crate::wire::{Str, Uuid};

/// Session id of a fetch without session.
pub(crate) const NO_SESSION: i32 = 0;
/// Epoch of a full fetch that wants a new session.
pub(crate) const EPOCH_INITIAL: i32 = 0;
/// Epoch of a full fetch that wants no session, or closes the one it names.
pub(crate) const EPOCH_FINAL: i32 = -1;

/// Sessions of one connection. A client has one; several serve a proxy that shares a connection among its clients.
/// The one unused for longest gives way.
pub const FETCH_SESSIONS_MAX: usize = 8;

/// Partitions in the fetch sessions of all connections together. At its limit fetches go without session; those that race
/// for the last places may pass it by what one connection may have.
#[derive(Debug)]
pub struct FetchSessionPool {
    partitions: AtomicUsize,
    partitions_max: usize,
}

impl FetchSessionPool {
    /// An empty pool.
    pub fn new(partitions_max: usize) -> FetchSessionPool {
        FetchSessionPool { partitions: AtomicUsize::new(0), partitions_max }
    }

    /// Partitions that are still free.
    fn room(&self) -> usize {
        self.partitions_max.saturating_sub(self.partitions.load(Ordering::Relaxed))
    }

    /// A connection that held `before` partitions holds `after` now.
    fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.partitions.fetch_add(after - before, Ordering::Relaxed);
        } else {
            let held = self.partitions.fetch_sub(before - after, Ordering::Relaxed);
            assert!(held >= before - after, "a pool never gets more back than it gave");
        }
    }
}

/// How the answer to a fetch is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Every partition; the id of the new session, or `NO_SESSION`.
    Full {
        /// The new session.
        session_id: i32,
    },
    /// Only partitions with news.
    Incremental {
        /// The session.
        session_id: i32,
        /// The session's epoch behind this fetch.
        epoch: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Name(Str),
    Id(Uuid),
}

impl Topic {
    /// The topic in a buffer of its own: a session outlives the request.
    fn of(name: &Str, id: Uuid, by_id: bool) -> Topic {
        if by_id { Topic::Id(id) } else { Topic::Name(name.detached()) }
    }

    fn to_ref(&self) -> TopicRef {
        match self {
            Topic::Name(name) => TopicRef::Name(name.to_string()),
            Topic::Id(id) => TopicRef::Id(TopicId(id.0)),
        }
    }
}

/// A partition of a session: what the client last asked and what it was last told.
#[derive(Clone, Debug)]
struct Cached {
    topic: Topic,
    asked: FetchPartition,
    /// -1: tell it again whatever it is.
    high_watermark: i64,
    log_start_offset: i64,
}

impl Cached {
    /// Notes what an answer says; true when the client must be told.
    fn note(&mut self, answer: &FetchedPartition) -> bool {
        let news = !answer.batches.is_empty()
            || answer.high_watermark != self.high_watermark
            || answer.log_start_offset != self.log_start_offset
            || answer.diverging.is_some()
            || !answer.error.is_none();
        // After an error the client is told the watermark again, even an unchanged one, so that it sees it go.
        self.high_watermark = if answer.error.is_none() { answer.high_watermark } else { -1 };
        self.log_start_offset = answer.log_start_offset;
        news
    }
}

#[derive(Debug)]
struct FetchSession {
    id: i32,
    /// Epoch that the next incremental fetch must carry.
    epoch: i32,
    by_id: bool,
    slots: Vec<Option<Cached>>,
    free: Vec<u32>,
    by_key: BTreeMap<(Topic, i32), u32>,
    /// Slots in the order in which partitions are asked for: those that gave data last stand at the end.
    order: Vec<u32>,
}

impl FetchSession {
    fn new(id: i32, by_id: bool) -> FetchSession {
        FetchSession {
            id,
            epoch: EPOCH_INITIAL + 1,
            by_id,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// Adds partitions, or changes what is asked of them. False when the session would get too large.
    fn update(&mut self, topics: &[wire::FetchTopic], partitions_max: usize) -> bool {
        for topic in topics {
            let name = Topic::of(&topic.topic, topic.topic_id, self.by_id);
            for partition in &topic.partitions {
                let asked = position(partition);
                let key = (name.clone(), partition.partition);
                if let Some(slot) = self.by_key.get(&key) {
                    self.cached(*slot).asked = asked;
                    continue;
                }
                if self.order.len() == partitions_max {
                    return false;
                }
                let cached = Cached { topic: name.clone(), asked, high_watermark: -1, log_start_offset: -1 };
                let slot = self.place(cached);
                self.by_key.insert(key, slot);
                self.order.push(slot);
            }
        }
        true
    }

    fn place(&mut self, cached: Cached) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(cached);
            return slot;
        }
        self.slots.push(Some(cached));
        u32::try_from(self.slots.len() - 1).expect("the session's limit is far below")
    }

    fn cached(&mut self, slot: u32) -> &mut Cached {
        self.slots[slot as usize].as_mut().expect("a slot in use")
    }

    fn forget(&mut self, topics: &[wire::ForgottenTopic]) {
        let mut gone = false;
        for topic in topics {
            let name = Topic::of(&topic.topic, topic.topic_id, self.by_id);
            for index in &topic.partitions {
                if let Some(slot) = self.by_key.remove(&(name.clone(), *index)) {
                    self.slots[slot as usize] = None;
                    self.free.push(slot);
                    gone = true;
                }
            }
        }
        if gone {
            self.order.retain(|slot| self.slots[*slot as usize].is_some());
        }
    }

    /// The whole list, neighbours of one topic together.
    fn expand(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut last: Option<&Topic> = None;
        for slot in &self.order {
            let cached = self.slots[*slot as usize].as_ref().expect("a slot in use");
            if last != Some(&cached.topic) {
                topics.push(FetchTopic { topic: cached.topic.to_ref(), partitions: Vec::new() });
                last = Some(&cached.topic);
            }
            topics.last_mut().expect("pushed before").partitions.push(cached.asked);
        }
        topics
    }
}

/// What is asked of one partition.
pub(crate) fn position(partition: &wire::FetchPartition) -> FetchPartition {
    FetchPartition {
        index: partition.partition,
        current_leader_epoch: partition.current_leader_epoch,
        offset: partition.fetch_offset,
        last_fetched_epoch: partition.last_fetched_epoch,
        bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
    }
}

/// The sessions of one connection.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    /// The most recently used last.
    sessions: Vec<FetchSession>,
    ids: i32,
    /// Partitions in all sessions together.
    partitions_max: usize,
    pool: Arc<FetchSessionPool>,
    /// Partitions taken from the pool.
    held: usize,
}

impl Drop for FetchSessions {
    fn drop(&mut self) {
        self.pool.change(self.held, 0);
    }
}

impl FetchSessions {
    pub(crate) fn new(partitions_max: usize, pool: Arc<FetchSessionPool>) -> FetchSessions {
        FetchSessions { sessions: Vec::new(), ids: NO_SESSION, partitions_max, pool, held: 0 }
    }

    /// Partitions that a session which is not among `sessions` may have.
    fn room(&self) -> usize {
        let here = self.partitions();
        let own = self.partitions_max.saturating_sub(here);
        own.min((self.pool.room() + self.held).saturating_sub(here))
    }

    /// Turns a fetch into the whole list to ask the core for, or an error of the session.
    pub(crate) fn plan(
        &mut self,
        message: &wire::FetchRequest,
        by_id: bool,
    ) -> Result<(Cut, Vec<FetchTopic>), ErrorCode> {
        let planned = self.place(message, by_id);
        let held = self.partitions();
        if held != self.held {
            self.pool.change(self.held, held);
            self.held = held;
        }
        planned
    }

    /// Partitions remembered.
    pub(crate) fn partitions(&self) -> usize {
        self.sessions.iter().map(|session| session.order.len()).sum()
    }

    fn take(&mut self, id: i32) -> Option<FetchSession> {
        let at = self.sessions.iter().position(|session| session.id == id)?;
        Some(self.sessions.remove(at))
    }

    fn place(
        &mut self,
        message: &wire::FetchRequest,
        by_id: bool,
    ) -> Result<(Cut, Vec<FetchTopic>), ErrorCode> {
        if matches!(message.session_epoch, EPOCH_INITIAL | EPOCH_FINAL) {
            self.take(message.session_id);
            let session = (message.session_epoch == EPOCH_INITIAL).then(|| self.open(message, by_id));
            return Ok(match session.flatten() {
                Some((session_id, topics)) => (Cut::Full { session_id }, topics),
                None => (Cut::Full { session_id: NO_SESSION }, as_asked(message, by_id)),
            });
        }
        let Some(mut session) = self.take(message.session_id) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != message.session_epoch {
            self.sessions.push(session);
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            self.sessions.push(session);
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.forget(&message.forgotten_topics_data);
        if !session.update(&message.topics, self.room()) {
            // Dropped: the client opens another and gets its answers without a session.
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if session.order.is_empty() {
            return Ok((Cut::Full { session_id: NO_SESSION }, Vec::new()));
        }
        session.epoch = next_epoch(session.epoch);
        let cut = Cut::Incremental { session_id: session.id, epoch: session.epoch };
        let topics = session.expand();
        self.sessions.push(session);
        Ok((cut, topics))
    }

    /// A session for a full fetch; `None` when it would be empty or too large.
    fn open(&mut self, message: &wire::FetchRequest, by_id: bool) -> Option<(i32, Vec<FetchTopic>)> {
        if self.sessions.len() == FETCH_SESSIONS_MAX {
            self.sessions.remove(0);
        }
        let mut session = FetchSession::new(self.ids.checked_add(1).unwrap_or(1), by_id);
        let room = self.room();
        if !session.update(&message.topics, room) || session.order.is_empty() {
            return None;
        }
        self.ids = session.id;
        let topics = session.expand();
        self.sessions.push(session);
        Some((self.ids, topics))
    }

    /// Notes an answer in its session: calls `keep` for each partition in order with whether the client must be told.
    /// An error when the session went on or away in the meantime and the answer was to be cut.
    pub(crate) fn note<'a>(
        &mut self,
        cut: Cut,
        partitions: impl Iterator<Item = &'a FetchedPartition>,
        mut keep: impl FnMut(bool),
    ) -> Result<(), ErrorCode> {
        let (session_id, epoch, full) = match cut {
            Cut::Full { session_id } => (session_id, EPOCH_INITIAL + 1, true),
            Cut::Incremental { session_id, epoch } => (session_id, epoch, false),
        };
        let session = self.sessions.iter_mut().find(|session| session.id == session_id);
        let Some(session) = session.filter(|session| session.epoch == epoch) else {
            if !full {
                return Err(ErrorCode::InvalidFetchSessionEpoch);
            }
            partitions.for_each(|_| keep(true));
            return Ok(());
        };
        let mut quiet = Vec::with_capacity(session.order.len());
        let mut gave_data = Vec::new();
        let order = std::mem::take(&mut session.order);
        let mut slots = order.iter();
        for answer in partitions {
            let slot = *slots.next().expect("the core answers each partition once");
            let cached = session.cached(slot);
            assert_eq!(cached.asked.index, answer.index, "the core answers in the request's order");
            let news = cached.note(answer);
            keep(full || news);
            let rotates = !full && !answer.batches.is_empty();
            if rotates { gave_data.push(slot) } else { quiet.push(slot) }
        }
        assert!(slots.next().is_none(), "the core answers each partition");
        quiet.append(&mut gave_data);
        session.order = quiet;
        Ok(())
    }
}

/// The partitions of a fetch without session.
pub(crate) fn as_asked(message: &wire::FetchRequest, by_id: bool) -> Vec<FetchTopic> {
    let topics = message.topics.iter().map(|topic| FetchTopic {
        topic: Topic::of(&topic.topic, topic.topic_id, by_id).to_ref(),
        partitions: topic.partitions.iter().map(position).collect(),
    });
    topics.collect()
}

/// Epochs of a session go round from 1: 0 and -1 have their own meaning.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}
