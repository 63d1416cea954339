//! Messages that wait for one connection to a peer. The core puts them in and never waits; the connection's writer takes them
//! out, several at a time. What finds no room, or no connection, is dropped: consensus sends it again, but it has to hear of the loss.

use super::writer::Writer;
use broker::peer::{PeerMessage, Stream};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use tokio::sync::Notify;

/// Bytes that wait for the connection of the log. Consensus keeps far less under way to one replica of one shard.
const LOG_BYTES_MAX: usize = 64 << 20;
/// Bytes that wait for the connection of states and ranges.
const BULK_BYTES_MAX: usize = 64 << 20;

/// What waits for one connection.
#[derive(Debug)]
pub struct Outbox {
    stream: Stream,
    bytes_max: usize,
    state: Mutex<State>,
    /// The open connection. Whoever holds it writes; it is locked before `state`.
    writer: Mutex<Option<Writer>>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<PeerMessage>,
    bytes: usize,
    is_open: bool,
    /// A loss was told since something was sent last.
    is_told: bool,
    /// Messages were dropped since the connection was there last.
    dropped: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits.
    Kept,
    /// It is lost, and the node must hear of it.
    Lost,
    /// It is lost as the one before was.
    LostAgain,
}

impl Outbox {
    /// An empty one, closed.
    pub fn new(stream: Stream) -> Outbox {
        let bytes_max = match stream {
            Stream::Beats => 0, // the newest one, whatever its size
            Stream::Log => LOG_BYTES_MAX,
            Stream::Bulk => BULK_BYTES_MAX,
        };
        Outbox::with_limit(stream, bytes_max)
    }

    /// An empty one that keeps so many bytes.
    pub fn with_limit(stream: Stream, bytes_max: usize) -> Outbox {
        Outbox { stream, bytes_max, state: Mutex::default(), writer: Mutex::default(), filled: Notify::new() }
    }

    /// Adds a message behind the others. Somebody has to write it then, or to `wake` the dialler.
    pub fn put(&self, message: PeerMessage) -> Put {
        let mut state = self.state();
        if self.stream == Stream::Beats {
            // A beat that was not sent says less than the one behind it.
            if state.is_open {
                state.waiting.clear();
                state.waiting.push_back(message);
            }
            return Put::Kept;
        }
        let size = message.size();
        // A message larger than the limit goes when it is alone: it could never go otherwise.
        if !state.is_open || state.bytes > 0 && state.bytes + size > self.bytes_max {
            return state.lose();
        }
        state.bytes += size;
        state.waiting.push_back(message);
        Put::Kept
    }

    /// A connection is there. Whether messages were dropped since the last one went.
    pub fn open(&self) -> bool {
        let mut state = self.state();
        assert!(!state.is_open, "one connection at a time");
        state.is_open = true;
        std::mem::take(&mut state.dropped)
    }

    /// The connection is gone, and what waits with it.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_open = false;
        state.bytes = 0;
        state.is_told = true; // whoever closes says so
        state.waiting = VecDeque::new();
    }

    /// A message was taken and cannot be sent.
    pub fn lose(&self) -> Put {
        self.state().lose()
    }

    /// Takes messages until there are so many bytes of them; at least one if one waits.
    pub fn take(&self, into: &mut Vec<PeerMessage>, bytes_max: usize) {
        let mut state = self.state();
        let mut taken = 0;
        while taken < bytes_max
            && let Some(message) = state.waiting.pop_front()
        {
            let size = message.size();
            taken += size;
            if self.stream != Stream::Beats {
                state.bytes -= size;
            }
            into.push(message);
            state.is_told = false;
        }
    }

    /// Bytes of the messages that wait, those of beats not counted; `None`: none waits.
    pub fn waiting_bytes(&self) -> Option<usize> {
        let state = self.state();
        (!state.waiting.is_empty()).then_some(state.bytes)
    }

    /// The open connection, if there is one.
    pub fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `writer`; `None` when somebody else has it.
    pub fn try_writer(&self) -> Option<MutexGuard<'_, Option<Writer>>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The dialler looks again whether something waits.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits until something may be there.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lose(&mut self) -> Put {
        self.dropped = !self.is_open;
        if std::mem::replace(&mut self.is_told, true) { Put::LostAgain } else { Put::Lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::peer::Passed;

    fn message(number: u64) -> PeerMessage {
        PeerMessage::Pass(number, Box::new(Passed::ProducerIds))
    }

    fn beat(catalog: u64) -> PeerMessage {
        PeerMessage::Beat(Box::new(broker::peer::Beat {
            endpoint: broker::request::Endpoint {
                node: model::NodeId(1),
                host: "a".into(),
                port: 1,
                rack: None,
            },
            led: Vec::new(),
            catalog: model::LogIndex(catalog),
            is_ready: true,
            leaderless: Vec::new(),
            commit_micros: None,
            level: 2,
            disk: None,
        }))
    }

    fn take(outbox: &Outbox) -> Vec<PeerMessage> {
        let mut taken = Vec::new();
        outbox.take(&mut taken, usize::MAX);
        taken
    }

    #[test]
    fn a_loss_is_told_once_until_something_was_sent() {
        let outbox = Outbox::with_limit(Stream::Log, message(0).size());
        outbox.open();
        assert_eq!(outbox.put(message(1)), Put::Kept);
        assert_eq!(outbox.put(message(2)), Put::Lost);
        assert_eq!(outbox.put(message(3)), Put::LostAgain);
        assert_eq!(take(&outbox), [message(1)]);
        assert_eq!(outbox.put(message(4)), Put::Kept);
        assert_eq!(outbox.put(message(5)), Put::Lost);
    }

    #[test]
    fn what_was_dropped_without_a_connection_is_known_at_the_next_one() {
        let outbox = Outbox::new(Stream::Bulk);
        assert_eq!(outbox.put(message(1)), Put::Lost);
        assert_eq!(outbox.put(message(2)), Put::LostAgain);
        assert!(outbox.open());
        assert_eq!(outbox.put(message(3)), Put::Kept);
        outbox.close();
        assert!(!outbox.open());
        assert!(take(&outbox).is_empty(), "what waited for the old connection is gone");
    }

    #[test]
    fn only_the_newest_beat_waits() {
        let outbox = Outbox::new(Stream::Beats);
        outbox.put(beat(1));
        outbox.open();
        assert!(take(&outbox).is_empty());
        outbox.put(beat(2));
        outbox.put(beat(3));
        assert_eq!(take(&outbox), [beat(3)]);
    }
}
