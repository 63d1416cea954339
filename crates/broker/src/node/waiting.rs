//! A disk that takes no part yet. It tells the other nodes that it waits, and takes part when the catalogue of one of them names it, or
//! when all of them wait as well: then a new cluster begins. Its clients are sent away.
//!
//! A node whose disk was lost comes back empty, and its vote and acknowledgements with it: were it to take part at once, two nodes
//! could agree that what it had acknowledged never was.

use super::{Node, Timer};
use crate::event::{Effect, Event, LogLevel};
use crate::level::{DISKS_NAMED, Level};
use crate::mutant::Mutant;
use crate::peer::{PeerMessage, Wait};
use consensus::HEARTBEAT_INTERVAL;
use model::{DiskId, NodeId, Now};
use std::collections::BTreeMap;

/// So many beats after its start a node that still waits says why in its log.
const QUIET_BEATS: u32 = 40;

/// What it has heard.
#[derive(Default)]
pub(super) struct Waiting {
    others: BTreeMap<NodeId, Other>,
    /// Its own beats so far.
    beats: u32,
    /// What was last logged of why it waits.
    told: Option<String>,
    /// It is named: whoever runs the node starts it anew.
    is_over: bool,
}

/// Another node.
#[derive(Default)]
struct Other {
    /// The disk with which it waited when it was last heard to.
    waits: Option<DiskId>,
    /// It has heard all the others wait.
    has_heard_all: bool,
    /// It takes part: the highest protocol level that it knows, and its disk.
    takes_part: Option<(Level, Option<DiskId>)>,
}

impl Node {
    /// Takes one event as long as the disk waits.
    pub(super) fn step_waiting(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Request { connection, .. } => out.push(Effect::HangUp(connection)),
            Event::Peer { from, message } => self.on_peer_waiting(from, message, out),
            Event::Timer => self.run_timers(now, out),
            Event::Observe(token) => out.push(Effect::Status(token, Box::new(self.status()))),
            Event::Volume(volume) => self.volume = volume,
            Event::Shutdown => out.push(Effect::Stop(None)),
            Event::ConnectionClosed(_) | Event::JobDone { .. } | Event::Link(..) => {}
        }
    }

    /// Every `HEARTBEAT_INTERVAL`.
    pub(super) fn beat_waiting(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.set_timer(now.mono.plus(HEARTBEAT_INTERVAL), Timer::Beat);
        let disk = self.config.owner.disk.expect("a disk that waits has an id");
        let replaces = self.config.owner.waits.and_then(|waits| waits.replaces);
        let heard = |(node, other): (&NodeId, &Other)| other.waits.map(|_| *node);
        let waiting = self.waiting.as_ref().expect("it waits");
        let wait = Wait {
            endpoint: self.config.endpoint.clone(),
            disk,
            replaces,
            level: self.config.level,
            heard: waiting.others.iter().filter_map(heard).collect(),
        };
        let message = PeerMessage::Wait(Box::new(wait));
        out.extend(self.others().map(|to| Effect::Send { to: *to, message: message.clone() }));
        if self.is_alone() {
            self.take_part(0, out);
        }
        self.tell_why_it_waits(out);
    }

    fn tell_why_it_waits(&mut self, out: &mut Vec<Effect>) {
        let words = self.waiting_words();
        let waiting = self.waiting.as_mut().expect("it waits");
        waiting.beats += 1;
        if waiting.beats > QUIET_BEATS && !waiting.is_over && waiting.told != words {
            waiting.told.clone_from(&words);
            out.extend(words.map(|words| Effect::Log(LogLevel::Warn, words)));
        }
    }

    /// Why the disk takes no part yet, and what to do about it.
    pub(super) fn waiting_words(&self) -> Option<String> {
        let waiting = self.waiting.as_ref()?;
        let disk = self.config.owner.disk.unwrap_or_default();
        let takes_part = |node: &NodeId| waiting.others.get(node).is_some_and(|it| it.takes_part.is_some());
        if self.others().any(takes_part) {
            return Some(match self.config.owner.waits.and_then(|waits| waits.replaces) {
                Some(_) => format!("its damaged disk is being replaced by itself, empty, as disk {disk}"),
                None => format!(
                    "its disk {disk} is new here and takes no part: the cluster knows another one of this node. If that one is lost for \
                     good, `sternpost cluster replace-node {}` gives its place to this one; else mount it",
                    self.config.node.0
                ),
            });
        }
        let silent =
            self.others().filter(|node| waiting.others.get(*node).is_none_or(|it| it.waits.is_none()));
        let silent: Vec<String> = silent.map(|node| node.0.to_string()).collect();
        Some(match silent.as_slice() {
            [] => format!("its disk {disk} is new: a new cluster begins"),
            [node] => format!("its disk {disk} is new: a new cluster begins when node {node} is up, too"),
            _ => format!(
                "its disk {disk} is new: a new cluster begins when nodes {} are up, too",
                silent.join(" and ")
            ),
        })
    }

    fn on_peer_waiting(&mut self, from: NodeId, message: PeerMessage, out: &mut Vec<Effect>) {
        let waiting = self.waiting.as_mut().expect("it waits");
        match message {
            PeerMessage::Wait(wait) => {
                let other = waiting.others.entry(from).or_default();
                other.waits = Some(wait.disk);
                other.has_heard_all = wait.heard.len() + 1 == self.config.voters.len();
            }
            PeerMessage::Beat(beat) => {
                let disk = beat.disk.map(|named| named.disk);
                waiting.others.entry(from).or_default().takes_part = Some((beat.level, disk));
                if self.config.mutant == Some(Mutant::EmptyTakesPart) {
                    return self.take_part(0, out);
                }
            }
            PeerMessage::Named { disk, replica } => {
                if self.config.owner.disk == Some(disk) {
                    self.take_part(replica, out);
                }
                return;
            }
            _ => return,
        }
        self.consider_founding(out);
    }

    /// All others wait, too: a new cluster begins once each knows that of all. Or some are of versions that know of no disks, and begin as
    /// those always did.
    fn consider_founding(&mut self, out: &mut Vec<Effect>) {
        let others = &self.waiting.as_ref().expect("it waits").others;
        let is_older = |other: &Other| other.takes_part.is_some_and(|(level, _)| level < DISKS_NAMED);
        if others.len() + 1 < self.config.voters.len()
            || !others.values().all(|other| other.waits.is_some() || is_older(other))
        {
            return;
        }
        // Whoever has begun with the disk that waited here before knew as much.
        let has_begun =
            |other: &Other| other.takes_part.is_some_and(|(_, disk)| disk.is_some() && disk == other.waits);
        if others.values().all(|other| other.has_heard_all)
            || others.values().any(|other| has_begun(other) || is_older(other))
        {
            self.take_part(0, out);
        }
    }

    fn take_part(&mut self, replica: u32, out: &mut Vec<Effect>) {
        let waiting = self.waiting.as_mut().expect("it waits");
        if std::mem::replace(&mut waiting.is_over, true) {
            return;
        }
        out.push(Effect::Log(LogLevel::Info, "the disk takes part from now on".into()));
        let waits = waiting.others.iter().filter_map(|(node, other)| Some((*node, other.waits?)));
        let founders = if replica == 0 { waits.collect() } else { BTreeMap::new() };
        out.push(Effect::TakePart { replica, founders });
    }
}
