//! What clients hear of leaders while a node is being lost. Whoever asks in the first moments would be told of a leader that is dead,
//! or of none, and come back much later, for clients wait before they ask again: so the answer waits for the next leader, as long
//! as elections take (docs/decisions/0020).

use super::{Node, Timer};
use crate::event::Effect;
use crate::request::{ConnectionId, Endpoint, Metadata, Response, Token};
use model::{Mono, NodeId, Now, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest wait of an answer for a leader, counted from the loss: elections are done by then, or there is no majority.
const NEXT_LEADER_MAX: Duration = Duration::from_millis(400);
/// A client that asks once more may have seen a connection end that this node has only to hear of, in the same instant.
const NEWS_AFTER: Duration = Duration::from_millis(3);
/// A beat that came so long after a connection broke was sent after it.
const BEAT_LATE_MAX: Duration = Duration::from_millis(100);
/// A node that is gone is listed for so long: librdkafka gives up partitions that move away from a node which the same answer leaves out,
/// until its timer of a second finds them.
const LISTED_FOR: Duration = Duration::from_secs(3);
/// Answers that may wait; others are given as things are.
const WAITING_MAX: usize = 10_000;

/// Nodes that may be gone, and who waits for news.
#[derive(Default)]
pub(super) struct Losses {
    since: BTreeMap<NodeId, Mono>,
    waiting: Vec<Waiting>,
    /// Shards without a leader to be named, when that was last looked at.
    unled: BTreeSet<ShardId>,
    /// Connections that were told before.
    told: BTreeSet<ConnectionId>,
}

struct Waiting {
    token: Token,
    request: Metadata,
    /// Not before.
    opens: Mono,
    /// Its shards have been looked at.
    is_looked_at: bool,
}

impl Losses {
    /// A connection to a node broke, or nobody answers there.
    pub(super) fn lost(&mut self, now: Mono, node: NodeId) {
        self.since.entry(node).or_insert(now);
    }

    /// A connection to it stands again.
    pub(super) fn found(&mut self, node: NodeId) {
        self.since.remove(&node);
    }

    /// It beats; what was under way when the connection broke says nothing.
    pub(super) fn beats(&mut self, now: Mono, node: NodeId) {
        if self.since.get(&node).is_some_and(|lost| now.since(*lost) > BEAT_LATE_MAX) {
            self.found(node);
        }
    }

    /// A client's connection is closed.
    pub(super) fn on_connection_closed(&mut self, connection: ConnectionId) {
        self.told.remove(&connection);
    }

    /// Until when answers wait for leaders, if a node was lost a moment ago.
    fn opens(&self, now: Mono) -> Option<Mono> {
        let newest = self.since.values().max()?;
        Some(newest.plus(NEXT_LEADER_MAX)).filter(|opens| now < *opens)
    }
}

impl Node {
    /// Answers now, or once there are leaders to be named.
    pub(super) fn answer_metadata(
        &mut self,
        now: Now,
        token: Token,
        connection: ConnectionId,
        request: Metadata,
        out: &mut Vec<Effect>,
    ) {
        let losses = &mut self.peers.losses;
        let asks_again = !losses.told.insert(connection);
        let may_wait = !self.is_alone() && self.frozen.is_none();
        let losses = &mut self.peers.losses;
        if !may_wait || losses.waiting.len() >= WAITING_MAX || !asks_again && losses.opens(now.mono).is_none()
        {
            return self.tell_metadata(now, token, &request, out);
        }
        let opens = if asks_again { now.mono.plus(NEWS_AFTER) } else { now.mono };
        losses.waiting.push(Waiting { token, request, opens, is_looked_at: false });
        self.set_timer(opens, Timer::Settle);
    }

    /// Answers those whose leaders are there now, or who waited for long enough.
    pub(super) fn answer_waiting(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.peers.losses.waiting.is_empty() {
            return;
        }
        let closed_until = self.peers.losses.opens(now.mono).filter(|_| self.frozen.is_none());
        let unled = if closed_until.is_some() { self.unled() } else { BTreeSet::new() };
        let is_news = unled != self.peers.losses.unled;
        for mut waiting in std::mem::take(&mut self.peers.losses.waiting) {
            if !self.connection_of.contains_key(&waiting.token) {
                continue;
            }
            let waits = now.mono < waiting.opens
                || closed_until.is_some()
                    && (waiting.is_looked_at && !is_news || self.asks_for(&waiting.request, &unled));
            if !waits {
                self.tell_metadata(now, waiting.token, &waiting.request, out);
                continue;
            }
            if now.mono >= waiting.opens && !std::mem::replace(&mut waiting.is_looked_at, true) {
                self.set_timer(closed_until.expect("it waits for a leader"), Timer::Settle);
            }
            self.peers.losses.waiting.push(waiting);
        }
        self.peers.losses.unled = unled;
    }

    fn tell_metadata(&mut self, now: Now, token: Token, request: &Metadata, out: &mut Vec<Effect>) {
        let response = Response::Metadata(self.describe_topics(request, self.listed(now)));
        self.reply(token, response, out);
    }

    /// All nodes that live or were lost a moment ago, in the order of their ids.
    fn listed(&self, now: Now) -> Vec<Endpoint> {
        let since = &self.peers.losses.since;
        let is_young = |node: &NodeId| since.get(node).is_some_and(|lost| now.mono.since(*lost) < LISTED_FOR);
        let listed = |node: &NodeId| {
            let lost = || is_young(node).then(|| self.peers.known_endpoint(*node)).flatten();
            self.endpoint_of(*node).or_else(lost).cloned()
        };
        self.config.voters.iter().filter_map(listed).collect()
    }

    /// Shards whose leader is not known, or may be dead.
    fn unled(&self) -> BTreeSet<ShardId> {
        let since = &self.peers.losses.since;
        let is_led = |at: usize| self.leadership(at).is_some_and(|leader| !since.contains_key(&leader.node));
        (0..self.shards.len()).filter(|at| !is_led(*at)).map(|at| self.shards[at].id).collect()
    }

    /// Whether a request is about any of these shards.
    fn asks_for(&self, request: &Metadata, shards: &BTreeSet<ShardId>) -> bool {
        let has = |shard: &ShardId| shards.contains(shard);
        match &request.topics {
            _ if shards.is_empty() => false,
            None => self.catalog.topics().any(|topic| topic.shards.iter().any(has)),
            Some(asked) => {
                let mut topics = asked.iter().filter_map(|topic| self.resolve(topic).ok());
                topics.any(|topic| topic.shards.iter().any(has))
            }
        }
    }
}
