//! Which process speaks for each peer. A node's disk counts the processes that opened it (its incarnation), so an old copy of
//! a disk and a disk that was emptied are known by a lower number, and two processes with one id by two names for the same
//! time. A connection that is admitted gets a seat, and loses it to a newer one of the same peer and stream.

use broker::peer::Stream;
use broker::peer::wire::Hello;
use model::{DiskId, NodeId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A process that said nothing for so long makes room for a newer one of the same node.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// While the process that a newer one would follow still speaks, the newer one waits so long before it is sent away: the
/// end of the older one's connections may come later than the newer one's hello.
const CONTEST_MAX: Duration = Duration::from_secs(3);

/// A process, as its node's disk and itself know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// How often the disk was opened.
    pub incarnation: u64,
    /// Drawn at its start.
    pub process: u64,
    /// The disk, if it has an id.
    pub disk: Option<DiskId>,
}

/// The last process of each node that was believed. Kept in memory: it forgets with the process, and other peers remember.
#[derive(Debug, Default)]
pub struct Incarnations(BTreeMap<NodeId, Birth>);

impl Incarnations {
    /// Whether a process may speak for a node.
    ///
    /// # Errors
    /// Why not, as a sentence for the one who runs it.
    pub fn judge(&self, node: NodeId, birth: Birth) -> Result<(), String> {
        let Some(seen) = self.0.get(&node) else { return Ok(()) };
        if birth.disk.is_some() && seen.disk.is_some() && birth.disk != seen.disk {
            return Ok(()); // its incarnations are counted from 1; which of the two takes part, the catalogue knows
        }
        let is_copy = birth.incarnation == seen.incarnation && birth.process != seen.process;
        if birth.incarnation < seen.incarnation || is_copy {
            return Err(format!(
                "its data directory was opened {} times so far, but nodes have seen that of node {} opened {} times, last by \
                 another process: it is empty, or an old copy, or two processes have the same node.id; start the node with its \
                 newest data",
                birth.incarnation, node.0, seen.incarnation
            ));
        }
        Ok(())
    }

    /// This process is the node from now on.
    pub fn remember(&mut self, node: NodeId, birth: Birth) {
        self.0.insert(node, birth);
    }
}

/// The peers that are connected to this node.
#[derive(Debug, Default)]
pub struct Register {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    incarnations: Incarnations,
    present: BTreeMap<NodeId, Presence>,
}

#[derive(Debug)]
struct Presence {
    process: u64,
    heard: Instant,
    connections: [Option<Arc<End>>; Stream::ALL.len()],
}

#[derive(Debug, Default)]
struct End {
    is_replaced: AtomicBool,
    replaced: Notify,
}

/// What is said to a hello that is right otherwise.
#[derive(Debug)]
pub enum Verdict {
    /// It is the peer; it has its seat as long as this lives.
    Welcome {
        /// The connection's place.
        seat: Seat,
        /// The peer is another process than the one that was here before.
        is_new: bool,
    },
    /// Another process of that node still speaks: look again after `Register::changed` or a moment.
    Wait,
    /// That process must not go on.
    Expel(String),
}

/// A connection's place in the register.
#[derive(Debug)]
pub struct Seat {
    register: Arc<Register>,
    node: NodeId,
    stream: Stream,
    end: Arc<End>,
}

impl Register {
    /// Judges who says hello, who waits for an answer since `since`.
    pub fn judge(self: &Arc<Register>, hello: &Hello, since: Instant, now: Instant) -> Verdict {
        let mut state = self.state();
        let State { incarnations, present } = &mut *state;
        let birth = Birth { incarnation: hello.incarnation, process: hello.process, disk: hello.disk };
        if let Err(why) = incarnations.judge(hello.node, birth) {
            return Verdict::Expel(why);
        }
        let presence = present.entry(hello.node).or_insert_with(|| Presence::new(hello.process, now));
        let is_other = presence.process != hello.process;
        if is_other && presence.is_alive(now) {
            if now.saturating_duration_since(since) < CONTEST_MAX {
                return Verdict::Wait;
            }
            return Verdict::Expel(format!(
                "another process with node.id {} is connected and alive; stop one of them, or give it its own node.id",
                hello.node.0
            ));
        }
        // An incarnation that was seen before is remembered already; a new one is of a process that nobody heard of.
        let is_new = incarnations.0.get(&hello.node) != Some(&birth);
        incarnations.remember(hello.node, birth);
        if is_other {
            presence.connections.iter_mut().filter_map(Option::take).for_each(|end| end.replace());
            presence.process = hello.process;
        }
        presence.heard = now;
        let end = Arc::new(End::default());
        if let Some(older) = presence.connections[hello.stream as usize].replace(end.clone()) {
            older.replace();
        }
        drop(state);
        let seat = Seat { register: self.clone(), node: hello.node, stream: hello.stream, end };
        Verdict::Welcome { seat, is_new }
    }

    /// Whether the process that a peer's greeting speaks of may be the peer.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_greeting(&self, node: NodeId, incarnation: u64, disk: Option<DiskId>) -> Result<(), String> {
        let state = self.state();
        match state.incarnations.0.get(&node) {
            Some(seen) => state.incarnations.judge(node, Birth { incarnation, disk, ..*seen }),
            None => Ok(()),
        }
    }

    /// Waits until a connection has ended.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    fn new(process: u64, now: Instant) -> Presence {
        Presence { process, heard: now, connections: Default::default() }
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.connections.iter().any(Option::is_some)
            && now.saturating_duration_since(self.heard) < SILENT_AFTER
    }
}

impl End {
    fn replace(&self) {
        self.is_replaced.store(true, Ordering::Release);
        self.replaced.notify_one();
    }
}

impl Seat {
    /// The peer said something.
    pub fn heard(&self, now: Instant) {
        let mut state = self.register.state();
        if let Some(presence) = state.present.get_mut(&self.node)
            && !self.is_replaced()
        {
            presence.heard = now;
        }
    }

    /// Whether a newer connection has the place.
    pub fn is_replaced(&self) -> bool {
        self.end.is_replaced.load(Ordering::Acquire)
    }

    /// Waits until a newer connection has the place.
    pub async fn replaced(&self) {
        self.end.replaced.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.register.state();
        if let Some(presence) = state.present.get_mut(&self.node) {
            presence.connections[self.stream as usize].take_if(|end| Arc::ptr_eq(end, &self.end));
        }
        drop(state);
        self.register.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(incarnation: u64, process: u64, stream: Stream) -> Hello {
        let levels = broker::level::Levels::up_to(1);
        Hello {
            cluster: [0; 16],
            node: NodeId(2),
            to: NodeId(1),
            incarnation,
            process,
            stream,
            levels,
            disk: None,
        }
    }

    fn welcome(register: &Arc<Register>, hello: &Hello, now: Instant) -> (Seat, bool) {
        match register.judge(hello, now, now) {
            Verdict::Welcome { seat, is_new } => (seat, is_new),
            other => panic!("{other:?}"),
        }
    }

    fn expelled(register: &Arc<Register>, hello: &Hello, since: Instant, now: Instant) -> String {
        match register.judge(hello, since, now) {
            Verdict::Expel(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_newer_connection_of_a_stream_replaces_the_older() {
        let (register, now) = (Arc::new(Register::default()), Instant::now());
        let (first, is_new) = welcome(&register, &hello(3, 7, Stream::Log), now);
        assert!(is_new);
        let (beats, is_new) = welcome(&register, &hello(3, 7, Stream::Beats), now);
        assert!(!is_new);
        let (second, _) = welcome(&register, &hello(3, 7, Stream::Log), now);
        assert!(first.is_replaced());
        assert!(!second.is_replaced() && !beats.is_replaced());
        drop(first);
        let (_third, _) = welcome(&register, &hello(3, 7, Stream::Log), now);
        assert!(second.is_replaced(), "the place was the second's, not the first's");
    }

    #[test]
    fn old_disks_and_copies_are_known() {
        let (register, now) = (Arc::new(Register::default()), Instant::now());
        drop(welcome(&register, &hello(3, 7, Stream::Log), now));
        assert!(expelled(&register, &hello(2, 8, Stream::Log), now, now).contains("opened 2 times"));
        assert!(expelled(&register, &hello(3, 8, Stream::Log), now, now).contains("another process"));
        drop(welcome(&register, &hello(4, 9, Stream::Log), now));
        assert!(expelled(&register, &hello(3, 7, Stream::Log), now, now).contains("opened 3 times"));
        assert!(register.judge_greeting(NodeId(2), 4, None).is_ok());
        assert!(register.judge_greeting(NodeId(2), 3, None).is_err());
        assert!(register.judge_greeting(NodeId(3), 1, None).is_ok());
    }

    #[test]
    fn another_disk_of_a_node_counts_anew() {
        let (register, now) = (Arc::new(Register::default()), Instant::now());
        let on = |disk: u8, incarnation, process| Hello {
            disk: Some(DiskId([disk; 16])),
            ..hello(incarnation, process, Stream::Log)
        };
        drop(welcome(&register, &on(1, 9, 7), now));
        assert!(expelled(&register, &on(1, 8, 8), now, now).contains("opened 8 times"));
        drop(welcome(&register, &on(2, 1, 9), now));
        assert!(register.judge_greeting(NodeId(2), 1, Some(DiskId([3; 16]))).is_ok());
        assert!(register.judge_greeting(NodeId(2), 0, Some(DiskId([2; 16]))).is_err());
    }

    #[test]
    fn a_second_process_waits_for_the_first_to_fall_silent() {
        let (register, start) = (Arc::new(Register::default()), Instant::now());
        let (first, _) = welcome(&register, &hello(3, 7, Stream::Log), start);
        let (other, other_later) = (hello(4, 8, Stream::Log), start + SILENT_AFTER);
        assert!(matches!(register.judge(&other, start, start), Verdict::Wait));
        // It speaks on: the second one is sent away in the end.
        first.heard(start + CONTEST_MAX);
        assert!(expelled(&register, &other, start, start + CONTEST_MAX).contains("another process"));
        // It is silent: the second one is the node.
        let now = other_later + CONTEST_MAX;
        let (second, is_new) = welcome(&register, &other, now);
        assert!(is_new && first.is_replaced());
        first.heard(now);
        // Its connections end: the third one does not wait.
        drop(second);
        assert!(welcome(&register, &hello(5, 9, Stream::Log), now).1);
    }
}
