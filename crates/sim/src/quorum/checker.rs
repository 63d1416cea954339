//! What must hold between replicas, whatever breaks. Each property has a name; the first one that does not hold ends the
//! world. Premises are counted: a property that never had anything to judge proves nothing.

use crate::counters::Counters;
use crate::dice::mix;
use crate::outcome::Failure;
use consensus::{Body, Group, Message};
use model::{Entry, LogIndex, ShardId, Term};
use std::collections::BTreeMap;

/// The state machine of a shard: a hash over everything applied, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub index: LogIndex,
    pub term: Term,
    pub chain: u64,
}

impl Applied {
    /// Its size as bytes.
    pub const SIZE: usize = 24;

    pub fn encode(&self) -> bytes::Bytes {
        [self.index.0, self.term.0, self.chain].iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    pub fn decode(state: &[u8]) -> Applied {
        assert_eq!(state.len(), Applied::SIZE);
        let field = |at: usize| u64::from_be_bytes(state[at..at + 8].try_into().expect("eight bytes"));
        Applied { index: LogIndex(field(0)), term: Term(field(8)), chain: field(16) }
    }

    /// The state with one more entry.
    pub fn with(self, entry: &Entry) -> Applied {
        let mut content = model::checksum::crc32c(&entry.descriptor);
        for piece in entry.payload.pieces() {
            content = model::checksum::crc32c_append(content, piece);
        }
        let chain = mix(self.chain.rotate_left(7)
            ^ mix(entry.index.0)
            ^ entry.term.0.rotate_left(32)
            ^ u64::from(content));
        Applied { index: entry.index, term: entry.term, chain }
    }
}

/// The payload that belongs to an operation; what is applied is checked against it.
pub fn payload_of(operation: u64) -> bytes::Bytes {
    let size = mix(operation) as usize % 300;
    (0..size).map(|at| mix(operation ^ (at as u64 / 8) << 40).to_be_bytes()[at % 8]).collect()
}

/// What was seen in a world so far.
#[derive(Default)]
pub struct Checker {
    pub counters: Counters,
    /// Who led a term.
    leaders: BTreeMap<(ShardId, Term), u64>,
    /// Whom a node voted for in a term, over all its lives.
    votes: BTreeMap<(u64, ShardId, Term), u64>,
    /// What anybody applied first at an index: state and operation.
    canonical: BTreeMap<(ShardId, LogIndex), (Applied, u64)>,
    /// Operations that a client was told of.
    acknowledged: BTreeMap<(ShardId, LogIndex), u64>,
    /// Commit index of a term's leader when it was first looked at.
    commits: BTreeMap<(ShardId, Term), LogIndex>,
    pub failure: Option<Failure>,
}

impl Checker {
    pub fn fail(&mut self, property: &'static str, detail: String) {
        if self.failure.is_none() {
            self.failure = Some(Failure::new(property, detail));
        }
    }

    /// Election safety and leader completeness.
    pub fn on_leader(&mut self, node: u64, group: &Group) {
        let (shard, term) = (group.config().shard, group.term());
        let other = *self.leaders.entry((shard, term)).or_insert(node);
        self.counters.count("checker: a leader was elected");
        if other != node {
            self.fail("election safety", format!("{shard:?} {term:?} is led by {other} and {node}"));
        }
        let newest = self.canonical.range((shard, LogIndex(0))..=(shard, LogIndex(u64::MAX)));
        for ((_, index), (applied, _)) in newest.rev().take(64) {
            let held = group.term_at(*index);
            let is_compacted = index.next() < group.first_index();
            if !is_compacted && held != Some(applied.term) {
                let detail = format!(
                    "node {node} leads {shard:?} in {term:?} with {held:?} at {index:?}, applied was {applied:?}"
                );
                self.fail("leader completeness", detail);
                return;
            }
        }
    }

    /// A leader counts copies of its own term's entries only (Raft paper, 5.4.2).
    pub fn on_commit(&mut self, group: &Group) {
        if !group.is_leader() {
            return;
        }
        let (shard, term, committed) = (group.config().shard, group.term(), group.committed());
        let known = self.commits.entry((shard, term)).or_insert(committed);
        if committed > *known {
            *known = committed;
            if group.term_at(committed) != Some(term) {
                let detail = format!(
                    "{shard:?}: the leader of {term:?} committed {committed:?} of {:?}",
                    group.term_at(committed)
                );
                self.fail("leaders commit by entries of their own term", detail);
            }
        }
    }

    /// One vote per term, over restarts.
    pub fn on_send(&mut self, message: &Message) {
        let (voter, candidate) = match message.body {
            Body::Vote { pre: false, .. } => (message.from, message.from),
            Body::VoteResponse { pre: false, reject: false, .. } => (message.from, message.to),
            _ => return,
        };
        self.counters.count("checker: a vote was cast");
        let first = *self.votes.entry((voter, message.shard, message.term)).or_insert(candidate);
        if first != candidate {
            let detail = format!(
                "{voter} votes for {first} and {candidate} in {:?} {:?}",
                message.shard, message.term
            );
            self.fail("one vote per term", detail);
        }
    }

    /// State-machine safety: whoever applies an index applies the same as the first one did, with the bytes that belong
    /// to it, in order, and not before they are durable there.
    pub fn on_apply(&mut self, node: u64, before: Applied, entry: &Entry, durable: LogIndex) -> Applied {
        let after = before.with(entry);
        let operation = operation_of(entry);
        if entry.index != before.index.next() {
            self.fail(
                "applied in order",
                format!("node {node}: {:?} behind {:?}", entry.index, before.index),
            );
        }
        if entry.index > durable {
            self.fail(
                "durable before applied",
                format!("node {node}: {:?} applied, durable is {durable:?}", entry.index),
            );
        }
        if operation != 0 && entry.payload.join() != payload_of(operation) {
            let detail = format!(
                "node {node} {:?} {:?}: operation {operation} with foreign bytes",
                entry.shard, entry.index
            );
            self.fail("payload belongs to its entry", detail);
        }
        self.on_state(node, entry.shard, after, Some(operation));
        after
    }

    /// The same for a state that was installed.
    pub fn on_state(&mut self, node: u64, shard: ShardId, state: Applied, operation: Option<u64>) {
        self.counters.count("checker: an entry was applied");
        let fresh = (state, operation.unwrap_or(u64::MAX));
        let slot = self.canonical.entry((shard, state.index)).or_insert(fresh);
        let (first, known) = *slot;
        if let Some(operation) = operation
            && known == u64::MAX
        {
            slot.1 = operation;
        }
        if first != state || operation.is_some_and(|operation| operation != known && known != u64::MAX) {
            let detail = format!("node {node} {shard:?}: {state:?} where another replica has {first:?}");
            self.fail("state-machine safety", detail);
        }
    }

    /// A client was told that its operation is in the log at `index`.
    pub fn on_acknowledged(&mut self, shard: ShardId, index: LogIndex, operation: u64) {
        self.counters.count("client: acknowledged write");
        if let Some(other) = self.acknowledged.insert((shard, index), operation) {
            self.fail("acknowledged once", format!("{shard:?} {index:?}: {other} and {operation}"));
        }
    }

    /// Newest index acknowledged: what a read that starts now must see.
    pub fn newest_acknowledged(&self, shard: ShardId) -> LogIndex {
        let range = (shard, LogIndex(0))..=(shard, LogIndex(u64::MAX));
        self.acknowledged.range(range).next_back().map_or(LogIndex(0), |((_, index), _)| *index)
    }

    /// A read was answered.
    pub fn on_read(&mut self, node: u64, shard: ShardId, asked_at: LogIndex, answered: LogIndex) {
        self.counters.count("client: answered read");
        if answered < asked_at {
            let detail = format!(
                "node {node} {shard:?}: {answered:?}, but {asked_at:?} was acknowledged before the read began"
            );
            self.fail("no stale read", detail);
        }
    }

    /// Log matching: where two logs have the same term at an index, they are the same up to there.
    pub fn on_pair(&mut self, left: &Group, right: &Group) {
        let last = left.last_index().min(right.last_index());
        let first = left.first_index().max(right.first_index());
        let (mut index, mut matched) = (last, false);
        let floor = LogIndex(last.0.saturating_sub(200)).max(first);
        while index >= floor && index.0 > 0 {
            let same = left.term_at(index) == right.term_at(index);
            if matched && !same {
                let detail = format!(
                    "{:?}: nodes {} and {} part at {index:?} below a common entry",
                    left.config().shard,
                    left.config().node,
                    right.config().node
                );
                self.fail("log matching", detail);
                return;
            }
            if !same {
                self.counters.count("checker: logs had parted");
            }
            matched |= same;
            index = LogIndex(index.0 - 1);
        }
    }

    /// At the end: every acknowledged operation is where its client was told.
    pub fn at_end(&mut self) {
        for ((shard, index), operation) in std::mem::take(&mut self.acknowledged) {
            let kept = self.canonical.get(&(shard, index)).map(|(_, operation)| *operation);
            if kept != Some(operation) && kept != Some(u64::MAX) {
                let detail =
                    format!("{shard:?} {index:?}: {operation} was acknowledged, the log has {kept:?}");
                self.fail("acknowledged is never lost", detail);
            }
        }
    }
}

/// The operation that an entry carries; 0 for a new leader's first.
pub fn operation_of(entry: &Entry) -> u64 {
    entry.descriptor.as_ref().try_into().map_or(0, u64::from_be_bytes)
}
