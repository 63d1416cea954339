//! What clients have sent to a process and it has not taken up. Normally it takes everything up as it comes. Where requests cost
//! processor time, one of each connection after the other has its turn, as the tasks of the real driver have.

use super::{Happening, HostIndex, World};
use broker::request::ConnectionId;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A request that is only looked at costs such a part of its time.
const LOOK_SHARE: u32 = 10;

/// Something that came over a connection.
#[derive(Debug)]
pub enum Piece {
    /// A request; clients of worlds in which requests cost something send each in one piece.
    Bytes(Bytes),
    /// The client's end of the connection.
    End,
}

/// What waits at a host.
#[derive(Debug, Default)]
pub struct Intake {
    /// Processor time of a request.
    cost: Option<Duration>,
    waiting: BTreeMap<ConnectionId, VecDeque<Piece>>,
    /// Connections of which something waits, the next one first.
    turns: VecDeque<ConnectionId>,
    /// The processor has a request.
    is_busy: bool,
}

impl Intake {
    /// Whether what comes now must wait.
    pub fn is_slow(&self) -> bool {
        self.cost.is_some() || !self.turns.is_empty()
    }

    /// The process is gone, and what waited for it.
    pub fn forget(&mut self) {
        *self = Intake { cost: self.cost, ..Intake::default() };
    }

    fn push(&mut self, id: ConnectionId, piece: Piece) {
        let pieces = self.waiting.entry(id).or_default();
        pieces.push_back(piece);
        if pieces.len() == 1 {
            self.turns.push_back(id);
        }
    }

    /// What has its turn, and whether the client has closed the connection behind it.
    fn pop(&mut self) -> Option<(ConnectionId, Piece, bool)> {
        let id = self.turns.pop_front()?;
        let pieces = self.waiting.get_mut(&id).expect("a connection with a turn has something");
        let piece = pieces.pop_front().expect("a connection with a turn has something");
        let is_gone = matches!(pieces.back(), Some(Piece::End));
        if pieces.is_empty() {
            self.waiting.remove(&id);
        } else {
            self.turns.push_back(id);
        }
        Some((id, piece, is_gone))
    }
}

impl World {
    /// From now on each request costs every process so much of its processor's time.
    pub(super) fn set_request_cost(&mut self, cost: Option<Duration>) {
        self.hosts.iter_mut().for_each(|host| host.intake.cost = cost);
    }

    /// Something came that must wait for its turn.
    pub(super) fn wait_for_turn(&mut self, at: HostIndex, id: ConnectionId, piece: Piece) {
        let host = &mut self.hosts[at];
        host.intake.push(id, piece);
        if !std::mem::replace(&mut host.intake.is_busy, true) {
            self.queue.after(Duration::ZERO, Happening::Turn(at, host.life));
        }
    }

    /// The processor is free for what has its turn.
    pub(super) fn on_turn(&mut self, at: HostIndex, life: u64) {
        if self.live_of(at, life).is_none() {
            return;
        }
        let Some((id, piece, is_gone)) = self.hosts[at].intake.pop() else {
            self.hosts[at].intake.is_busy = false;
            return;
        };
        let cost = self.hosts[at].intake.cost.unwrap_or_default();
        let cost = match piece {
            Piece::Bytes(bytes) => match self.on_bytes(at, id, &bytes, is_gone) {
                0 => cost / LOOK_SHARE,
                _ => cost,
            },
            Piece::End => {
                self.on_end(at, id);
                Duration::ZERO
            }
        };
        self.queue.after(cost, Happening::Turn(at, life));
    }
}
