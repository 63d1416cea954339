//! The network between the nodes: each dials each other and sends on what it dialled; a connection is in order per stream, it
//! may be slow, break, or be cut in one direction or both. What a cut holds up arrives when the cut is mended soon, as TCP
//! sends it again; otherwise the connection ends.

use super::host::node_id;
use super::queue::Queue;
use super::{Happening, HostIndex, World};
use crate::dice::Dice;
use crate::outcome::Failure;
use broker::Event;
use broker::level::{Level, Levels, NEWEST};
use broker::peer::{Link, PeerMessage, Stream, wire};
use bytes::Bytes;
use model::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A connection over which nothing gets through for so long is given up, as the runtime does.
const STALL_MAX: Duration = Duration::from_secs(2);
/// Longest wait between two attempts to connect.
const REDIAL_MICROS_MAX: u64 = 100_000;

/// The way from one node to another.
#[derive(Debug, Default)]
struct Way {
    /// The sender's connection; what it sends without one is lost.
    dialled: Option<u64>,
    /// The connection that the receiver reads.
    accepted: Option<u64>,
    /// The protocol level of the newest connection.
    level: Level,
    /// When the last frame of each stream arrives: the next one comes later.
    arrivals: [Mono; Stream::ALL.len()],
    /// Since when nothing gets through.
    cut: Option<Mono>,
    /// What arrives when the cut is mended.
    held: Vec<Bytes>,
    /// When the sender tries to connect again.
    dial_at: Option<Mono>,
}

/// All ways.
#[derive(Debug)]
pub struct PeerNet {
    ways: BTreeMap<(HostIndex, HostIndex), Way>,
    connections: u64,
    dice: Dice,
    /// Longest delay of a frame, microseconds.
    pub delay_micros_max: u64,
    /// In ten thousand frames, a reset of the connection.
    pub reset: u32,
    /// In ten thousand frames, one with a bit that flipped on its way.
    pub flips: u32,
    /// A host to which all ways together carry a byte in so many nanoseconds.
    pub narrow: Option<(HostIndex, u64)>,
}

impl PeerNet {
    pub fn new(dice: Dice) -> PeerNet {
        let (delay_micros_max, reset, flips, narrow) = (0, 0, 0, None);
        PeerNet { ways: BTreeMap::new(), connections: 0, dice, delay_micros_max, reset, flips, narrow }
    }

    fn way(&mut self, from: HostIndex, to: HostIndex) -> &mut Way {
        self.ways.entry((from, to)).or_default()
    }

    fn is_cut(&self, from: HostIndex, to: HostIndex) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| way.cut.is_some())
    }

    /// Cuts exactly these ways, mends all others. Says which are mended, with what they held up and for how long.
    fn cut_only(&mut self, cuts: &BTreeSet<(HostIndex, HostIndex)>, now: Mono) -> Vec<Mended> {
        for cut in cuts {
            self.way(cut.0, cut.1).cut.get_or_insert(now);
        }
        let mut mended = Vec::new();
        for (ends, way) in self.ways.iter_mut().filter(|(ends, _)| !cuts.contains(ends)) {
            if let Some(since) = way.cut.take() {
                let held = std::mem::take(&mut way.held);
                let is_over = now.since(since) >= STALL_MAX;
                mended.push(Mended { ends: *ends, held, is_over, link: way.accepted });
            }
        }
        mended
    }

    fn frame(
        &mut self,
        from: HostIndex,
        to: HostIndex,
        stream: Stream,
        bytes: Bytes,
        queue: &mut Queue<Happening>,
    ) {
        let delay = Duration::from_micros(30 + self.dice.skewed(0, self.delay_micros_max));
        let nanos = self.narrow.filter(|(host, _)| *host == to).map_or(0, |(_, nanos)| nanos);
        let way = self.way(from, to);
        let Some(link) = way.dialled else { return };
        let last = &mut way.arrivals[stream as usize];
        let carried = bytes.len() as u64 * nanos;
        *last = Mono(queue.now().plus(delay).0.max(last.0 + 1) + carried);
        queue.at(*last, Happening::Frame { from, to, link, bytes });
        if self.dice.chance(self.reset) {
            queue.after(delay, Happening::PeerReset { from, to, link });
        }
    }
}

/// A way that is not cut any more.
struct Mended {
    ends: (HostIndex, HostIndex),
    held: Vec<Bytes>,
    /// The cut was so long that the connection ended.
    is_over: bool,
    link: Option<u64>,
}

impl World {
    pub(super) fn send_to_peer(&mut self, from: HostIndex, to: HostIndex, message: &PeerMessage) {
        if let PeerMessage::Beat(beat) = message
            && self.script.is_some()
        {
            self.watch.told(from, &beat.led, self.queue.now());
        }
        if self.peers.way(from, to).dialled.is_none() {
            return self.counters.count("peers: message without a connection lost");
        }
        let level = self.peers.way(from, to).level;
        let bytes: Bytes = wire::encode(message, level).concat().into();
        if bytes.is_empty() {
            return self.counters.count("peers: message that an older version does not know");
        }
        if let PeerMessage::Consensus(consensus::Message { body: consensus::Body::Lend { .. }, .. }) = message
        {
            self.counters.count("peers: entries lent to a candidate");
        }
        if matches!(message, PeerMessage::Range(_)) {
            self.counters.count("peers: range for a replica far behind");
        }
        self.peers.frame(from, to, message.stream(), bytes, &mut self.queue);
    }

    pub(super) fn on_frame(&mut self, from: HostIndex, to: HostIndex, link: u64, bytes: Bytes) {
        let way = self.peers.way(from, to);
        let level = way.level;
        if way.accepted != Some(link) || self.hosts[to].live.is_none() {
            return;
        }
        if way.cut.is_some() {
            self.counters.count("peers: frame held up by a cut");
            return way.held.push(bytes);
        }
        if self.peers.flips > 0 && self.peers.dice.chance(self.peers.flips) {
            return self.on_flipped_frame(from, to, link, &bytes);
        }
        match wire::decode(bytes, level) {
            Ok(message) => self.step(to, Event::Peer { from: node_id(from), message }),
            Err(error) => {
                let failure = Failure::new("nodes understand each other", error.to_string());
                self.failure.get_or_insert(failure);
            }
        }
    }

    /// A bit of a frame flipped on its way: the frame is refused, and the connection with it.
    fn on_flipped_frame(&mut self, from: HostIndex, to: HostIndex, link: u64, bytes: &[u8]) {
        let mut flipped = bytes.to_vec();
        let bit = self.peers.dice.index(8 * flipped.len());
        flipped[bit / 8] ^= 1 << (bit % 8);
        let level = self.peers.way(from, to).level;
        if let Ok(message) = wire::decode(flipped.into(), level) {
            let failure = Failure::new("a frame with a flipped bit is refused", format!("{message:?}"));
            self.failure.get_or_insert(failure);
        }
        self.counters.count("peers: frame with a flipped bit refused");
        self.on_peer_reset(from, to, link);
    }

    /// A process begins: it dials the others, and they try again now that it is there.
    pub(super) fn dial_all(&mut self, at: HostIndex) {
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            for (from, to) in [(at, other), (other, at)] {
                self.dial_soon(from, to, 500);
            }
        }
    }

    fn dial_soon(&mut self, from: HostIndex, to: HostIndex, micros_max: u64) {
        let moment = self.queue.now().plus(Duration::from_micros(self.dice.skewed(20, micros_max)));
        let way = self.peers.way(from, to);
        if way.dial_at.is_none_or(|set| moment < set) {
            way.dial_at = Some(moment);
            self.queue.at(moment, Happening::Dial { from, to });
        }
    }

    pub(super) fn on_dial(&mut self, from: HostIndex, to: HostIndex) {
        let now = self.queue.now();
        if self.peers.way(from, to).dial_at.take_if(|set| *set == now).is_none() {
            return;
        }
        if self.hosts[from].live.is_none() || self.peers.way(from, to).dialled.is_some() {
            return;
        }
        if self.stands_still(from) {
            return self.dial_soon(from, to, REDIAL_MICROS_MAX);
        }
        let life = self.hosts[from].life;
        let is_cut = self.peers.is_cut(from, to) || self.peers.is_cut(to, from);
        if !is_cut && self.hosts[to].live.is_some() {
            self.peers.connections += 1;
            let link = self.peers.connections;
            let levels = |at: HostIndex| Levels::up_to(self.hosts[at].level);
            let level = levels(from).common(levels(to)).expect("all levels go together here");
            if level < NEWEST {
                self.counters.count("peers: connected at an older level");
            }
            let way = self.peers.way(from, to);
            way.level = level;
            (way.dialled, way.accepted) = (Some(link), Some(link));
            return self.tell_link(from, to, life, Link::Up);
        }
        if !is_cut && !self.hosts[to].is_silent {
            self.tell_link(from, to, life, Link::Refused);
        }
        self.dial_soon(from, to, REDIAL_MICROS_MAX);
    }

    fn tell_link(&mut self, at: HostIndex, peer: HostIndex, life: u64, link: Link) {
        self.counters.count(match link {
            Link::Up => "peers: connected",
            Link::Lost => "peers: connection lost",
            Link::Refused => "peers: connection refused",
        });
        let wait = Duration::from_micros(20 + self.dice.below(200));
        self.queue.after(wait, Happening::News { at, peer, life, link });
    }

    pub(super) fn on_news(&mut self, at: HostIndex, peer: HostIndex, life: u64, link: Link) {
        if self.hosts[at].life == life {
            self.step(at, Event::Link(node_id(peer), link));
        }
    }

    /// A connection breaks; its sender hears of it and dials again.
    pub(super) fn on_peer_reset(&mut self, from: HostIndex, to: HostIndex, link: u64) {
        let way = self.peers.way(from, to);
        if way.accepted == Some(link) {
            way.accepted = None;
            way.held.clear();
        }
        if way.dialled != Some(link) {
            return;
        }
        way.dialled = None;
        let life = self.hosts[from].life;
        if self.hosts[from].live.is_some() {
            self.tell_link(from, to, life, Link::Lost);
            self.dial_soon(from, to, REDIAL_MICROS_MAX);
        }
    }

    /// The process is gone: what it sent may still arrive; what it was to read does not.
    pub(super) fn peer_died(&mut self, at: HostIndex) {
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            self.peers.way(at, other).dialled = None;
            let way = self.peers.way(other, at);
            way.accepted = None;
            way.held.clear();
            // A machine that is gone says nothing: its peers notice by what does not get through.
            let wait = if self.hosts[at].is_silent {
                STALL_MAX
            } else {
                Duration::from_micros(50 + self.dice.below(500))
            };
            if let Some(link) = self.peers.way(other, at).dialled {
                self.queue.after(wait, Happening::PeerReset { from: other, to: at, link });
            }
        }
    }

    /// Connections to a process that was here before this one end.
    pub(super) fn peers_hang_up(&mut self, at: HostIndex) {
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            if let Some(link) = self.peers.way(other, at).dialled {
                self.on_peer_reset(other, at, link);
            }
        }
    }

    /// Cuts exactly these ways.
    pub(super) fn cut_ways(&mut self, cuts: &BTreeSet<(HostIndex, HostIndex)>) {
        let now = self.queue.now();
        for (from, to) in cuts {
            // Nothing gets through for too long: the connection ends.
            if !self.peers.is_cut(*from, *to)
                && let Some(link) = self.peers.way(*from, *to).dialled
            {
                self.queue.after(STALL_MAX, Happening::Stalled { from: *from, to: *to, link });
            }
        }
        for Mended { ends: (from, to), held, is_over, link } in self.peers.cut_only(cuts, now) {
            let Some(link) = link else { continue };
            if is_over {
                self.on_peer_reset(from, to, link);
                continue;
            }
            for bytes in held {
                self.happen(Happening::Frame { from, to, link, bytes });
            }
        }
    }

    /// A connection that was cut so long ago: is it still?
    pub(super) fn on_stalled(&mut self, from: HostIndex, to: HostIndex, link: u64) {
        let now = self.queue.now();
        if self.peers.way(from, to).cut.is_some_and(|since| now.since(since) >= STALL_MAX) {
            self.counters.count("peers: connection ended by a long cut");
            self.on_peer_reset(from, to, link);
        }
    }
}
