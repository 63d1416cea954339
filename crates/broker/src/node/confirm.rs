//! Answers that must be current: before one is given, a majority says that this node still leads the shard that it is about
//! (Raft's ReadIndex). A leader that was voted out and does not know would tell the past otherwise. One question per
//! shard is under way at a time and serves everybody who came before it.

use super::Node;
use crate::event::Effect;
use crate::request::{ClientInfo, ConnectionId, Part, Request, Token};
use consensus::Read;
use model::{ErrorCode, LogIndex, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who waits for confirmation.
#[derive(Default)]
pub(super) struct Confirming {
    gates: BTreeMap<Token, Gate>,
    shards: BTreeMap<usize, Asking>,
    next: u64,
}

/// A request that waits for some shards.
struct Gate {
    asker: Asker,
    request: Request,
    remaining: usize,
}

/// On whose behalf a request waits.
enum Asker {
    /// A client, on the leader of what it asks about.
    Client(ConnectionId, Arc<ClientInfo>),
    /// A client or another node, on the controller: the catalogue shall change.
    Change,
}

/// What waits for one shard.
#[derive(Clone, Copy)]
enum Waiter {
    /// A request that is carried out then.
    Gate(Token),
    /// A part of an answer under way that refuses with this then.
    Refusal(Part, ErrorCode),
}

/// One shard's questions.
#[derive(Default)]
struct Asking {
    /// Came after the question under way.
    next: Vec<Waiter>,
    under_way: Option<(u64, Vec<Waiter>)>,
    /// Confirmed, once the state contains so much of the log.
    confirmed: BTreeMap<LogIndex, Vec<Waiter>>,
}

impl Confirming {
    fn keep(&mut self, token: Token, shards: &BTreeSet<usize>, gate: Gate) {
        for at in shards {
            self.shards.entry(*at).or_default().next.push(Waiter::Gate(token));
        }
        self.gates.insert(token, gate);
    }
}

impl Node {
    /// Keeps a request whose answer must be current until that is confirmed; gives back every other one.
    pub(super) fn confirm_first(
        &mut self,
        token: Token,
        connection: ConnectionId,
        client: &Arc<ClientInfo>,
        request: Request,
    ) -> Option<Request> {
        if self.is_alone() || self.frozen.is_some() {
            return Some(request);
        }
        let mut shards = self.shards_asked(&request);
        shards.retain(|at| self.shards[*at].serving);
        if shards.is_empty() {
            return Some(request);
        }
        let asker = Asker::Client(connection, client.clone());
        self.confirming.keep(token, &shards, Gate { asker, request, remaining: shards.len() });
        None
    }

    /// Keeps a change until a majority has said that this node is still the controller.
    pub(super) fn confirm_change(&mut self, token: Token, request: Request) {
        let gate = Gate { asker: Asker::Change, request, remaining: 1 };
        self.confirming.keep(token, &BTreeSet::from([0]), gate);
    }

    /// Lets a part of an answer refuse a batch with `code` once a majority has said that this node still leads the shard; with
    /// NOT_LEADER_OR_FOLLOWER when it does not. False when that needs no confirmation.
    ///
    /// Clients take it for final: by the state of a leader that was voted out they would number batches anew that its successor
    /// has.
    pub(super) fn confirm_refusal(&mut self, at: usize, part: Part, code: ErrorCode) -> bool {
        let is_judged = matches!(code, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::InvalidProducerEpoch);
        let confirms = is_judged && !self.is_alone() && self.frozen.is_none();
        if confirms {
            self.confirming.shards.entry(at).or_default().next.push(Waiter::Refusal(part, code));
        }
        confirms
    }

    /// Requests that wait for confirmation.
    pub(super) fn confirming(&self) -> usize {
        self.confirming.gates.len()
    }

    /// The shards that a request wants current news of.
    fn shards_asked(&self, request: &Request) -> BTreeSet<usize> {
        match request {
            Request::OffsetFetch(request) => {
                let shards =
                    request.groups.iter().filter_map(|asked| self.catalog.coordinator_shard(&asked.group));
                shards.map(|shard| self.shard_index(shard)).collect()
            }
            Request::ListOffsets(request) => {
                let mut shards = BTreeSet::new();
                for topic in &request.topics {
                    let Ok(found) = self.resolve(&topic.topic) else { continue };
                    let indexes =
                        topic.partitions.iter().filter_map(|asked| usize::try_from(asked.index).ok());
                    let asked = indexes.filter_map(|index| found.shards.get(index));
                    shards.extend(asked.map(|shard| self.shard_index(*shard)));
                }
                shards
            }
            _ => BTreeSet::new(),
        }
    }

    /// Asks for every shard that somebody waits for, unless a question is under way there.
    pub(super) fn confirm_asked(&mut self) {
        for (at, asking) in &mut self.confirming.shards {
            if asking.next.is_empty() || asking.under_way.is_some() {
                continue;
            }
            let id = self.confirming.next + 1;
            // Not while leadership is moving: it stays, or it is lost and `unconfirmed` comes.
            if self.shards[*at].group.read_index(id).is_ok() {
                self.confirming.next = id;
                asking.under_way = Some((id, std::mem::take(&mut asking.next)));
            }
        }
    }

    /// A majority has answered.
    pub(super) fn on_confirmed(&mut self, at: usize, reads: &[Read]) {
        let Some(asking) = self.confirming.shards.get_mut(&at) else { return };
        for read in reads {
            if let Some((_, waiting)) = asking.under_way.take_if(|(id, _)| *id == read.id) {
                asking.confirmed.entry(read.index).or_default().extend(waiting);
            }
        }
    }

    /// Carries out what is confirmed and whose state is complete.
    pub(super) fn carry_out_confirmed(&mut self, now: Now, at: usize, out: &mut Vec<Effect>) {
        let applied = self.shards[at].applied();
        while let Some(asking) = self.confirming.shards.get_mut(&at)
            && let Some(first) = asking.confirmed.first_entry()
            && *first.key() <= applied
        {
            let waiting = first.remove();
            self.open_gates(now, waiting, None, out);
        }
    }

    /// Leadership of the shard is lost: whoever waits is answered by a node that knows so.
    pub(super) fn unconfirmed(&mut self, now: Now, at: usize, out: &mut Vec<Effect>) {
        let Some(asking) = self.confirming.shards.remove(&at) else { return };
        let under_way = asking.under_way.into_iter().flat_map(|(_, waiting)| waiting);
        let waiting = asking.confirmed.into_values().flatten().chain(under_way).chain(asking.next).collect();
        self.open_gates(now, waiting, Some(ErrorCode::NotLeaderOrFollower), out);
    }

    /// Lets go who waited. `lost`: what those hear who wanted to refuse something.
    fn open_gates(&mut self, now: Now, waiting: Vec<Waiter>, lost: Option<ErrorCode>, out: &mut Vec<Effect>) {
        for waiter in waiting {
            let token = match waiter {
                Waiter::Gate(token) => token,
                Waiter::Refusal(part, code) => {
                    self.part_failed(part, lost.unwrap_or(code), out);
                    continue;
                }
            };
            let Some(gate) = self.confirming.gates.get_mut(&token) else { continue }; // the connection is gone
            gate.remaining -= 1;
            if gate.remaining == 0 {
                let gate = self.confirming.gates.remove(&token).expect("looked at");
                match gate.asker {
                    Asker::Client(connection, client) => {
                        self.carry_out(now, token, connection, client, gate.request, out);
                    }
                    Asker::Change => self.change_confirmed(now, token, gate.request, out),
                }
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget_confirming(&mut self, token: Token) {
        self.confirming.gates.remove(&token);
    }
}
