//! Identities for idempotent producers: each node has a block of ids from the metadata group and takes the next one from
//! the controller when it runs out. A block is one entry of the metadata log, so that no id is ever given twice.

use super::Node;
use crate::catalog::CatalogCommand;
use crate::command::Command;
use crate::event::Effect;
use crate::peer::PassedResult;
use crate::request::{InitProducerId, InitProducerIdResponse, Response, Token};
use model::{ErrorCode, NodeId, Now};
use std::collections::VecDeque;

/// Producer ids taken from the metadata group at a time.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// Who wants a block: this node, or a peer under the number of its request.
type Wanted = Option<(NodeId, u64)>;

/// Producer ids in hand, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    end: i64,
    waiting: VecDeque<Token>,
    /// A block for this node is on its way.
    asked: bool,
    /// At the controller: whom the block is for that is proposed, and who comes next.
    allocating: Option<Wanted>,
    wanted: VecDeque<Wanted>,
}

impl Node {
    pub(super) fn init_producer_id(
        &mut self,
        now: Now,
        token: Token,
        request: &InitProducerId,
        out: &mut Vec<Effect>,
    ) {
        if request.transactional_id.is_some() {
            self.reply_producer_id(token, Err(ErrorCode::UnsupportedVersion), out);
        } else if self.frozen.is_some() {
            self.reply_producer_id(token, Err(ErrorCode::CoordinatorNotAvailable), out);
        } else {
            self.producer_ids.waiting.push_back(token);
            self.give_producer_ids(out);
            if !self.producer_ids.waiting.is_empty() && !self.producer_ids.asked {
                self.producer_ids.asked = true;
                if self.is_controller() {
                    self.want_producer_ids(None);
                } else if !self.pass_for_producer_ids(now, out) {
                    self.no_producer_ids(out);
                }
            }
        }
    }

    fn give_producer_ids(&mut self, out: &mut Vec<Effect>) {
        while self.producer_ids.next < self.producer_ids.end
            && let Some(token) = self.producer_ids.waiting.pop_front()
        {
            let id = self.producer_ids.next;
            self.producer_ids.next += 1;
            self.reply_producer_id(token, Ok(id), out);
        }
    }

    /// A block is this node's alone.
    pub(super) fn take_producer_ids(&mut self, first: i64, count: i64, out: &mut Vec<Effect>) {
        self.producer_ids.asked = false;
        (self.producer_ids.next, self.producer_ids.end) = (first, first + count);
        self.give_producer_ids(out);
        // More came than a block holds.
        if !self.producer_ids.waiting.is_empty() {
            if self.is_controller() {
                self.producer_ids.asked = true;
                self.want_producer_ids(None);
            } else {
                self.no_producer_ids(out);
            }
        }
    }

    /// There is no block to be had: clients try again.
    pub(super) fn no_producer_ids(&mut self, out: &mut Vec<Effect>) {
        self.producer_ids.asked = false;
        for token in std::mem::take(&mut self.producer_ids.waiting) {
            self.reply_producer_id(token, Err(ErrorCode::CoordinatorLoadInProgress), out);
        }
    }

    fn reply_producer_id(&mut self, token: Token, id: Result<i64, ErrorCode>, out: &mut Vec<Effect>) {
        let response = match id {
            Ok(producer_id) => {
                InitProducerIdResponse { error: ErrorCode::None, producer_id, producer_epoch: 0 }
            }
            Err(error) => InitProducerIdResponse { error, producer_id: -1, producer_epoch: -1 },
        };
        self.reply(token, Response::InitProducerId(response), out);
    }

    // At the controller

    /// Proposes a block, behind those that are under way.
    pub(super) fn want_producer_ids(&mut self, wanted: Wanted) {
        self.producer_ids.wanted.push_back(wanted);
        self.allocate_producer_ids();
    }

    fn allocate_producer_ids(&mut self) {
        if self.producer_ids.allocating.is_none()
            && let Some(wanted) = self.producer_ids.wanted.pop_front()
        {
            self.producer_ids.allocating = Some(wanted);
            let first = self.catalog.next_producer_id();
            let allocate = CatalogCommand::AllocateProducerIds { first, count: PRODUCER_ID_BLOCK };
            self.shards[0].add(Command::Catalog(allocate), None);
        }
    }

    /// A block is given away. One that was written before this node began to serve may have been given out in part: only
    /// one asked for since counts.
    pub(super) fn on_producer_ids(&mut self, first: i64, count: i64, out: &mut Vec<Effect>) {
        match self.producer_ids.allocating.take() {
            None => return,
            Some(None) => self.take_producer_ids(first, count, out),
            Some(Some((peer, number))) => {
                self.answer_pass(peer, number, PassedResult::ProducerIds { first, count }, out);
            }
        }
        self.allocate_producer_ids();
    }

    /// This node is not the controller any more.
    pub(super) fn give_up_producer_ids(&mut self, out: &mut Vec<Effect>) {
        let wanted = std::mem::take(&mut self.producer_ids.wanted);
        for wanted in self.producer_ids.allocating.take().into_iter().chain(wanted) {
            match wanted {
                None => self.no_producer_ids(out),
                Some((peer, number)) => self.answer_pass(peer, number, PassedResult::NotController, out),
            }
        }
    }
}
