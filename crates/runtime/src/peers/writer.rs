//! What goes out on one open connection: frames of the messages in its outbox, as far as the socket takes them. Whoever runs
//! the core writes a few small messages itself: they need not wait until another thread wakes up. The dialler writes all others, and
//! what the socket did not take.

use super::{Peer, Peers};
use broker::level::Level;
use broker::peer::wire::{SIZE_BYTES, encode, frame_size};
use broker::peer::{PeerMessage, Stream};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;

/// Messages taken from the outbox at once, bytes.
const TAKE_BYTES_MAX: usize = 1 << 20;
/// Pieces of frames given to the system in one write.
const WRITE_PIECES_MAX: usize = 64;
/// More bytes than these are left to the dialler: whoever runs the core has other work.
const WRITE_HERE_BYTES_MAX: usize = 32 << 10;

/// An open connection, and what it has not taken yet.
#[derive(Debug)]
pub struct Writer {
    socket: Arc<TcpStream>,
    level: Level,
    output: VecDeque<Bytes>,
    taken: Vec<PeerMessage>,
    written_at: Instant,
}

impl Writer {
    /// One that has taken everything.
    pub fn new(socket: Arc<TcpStream>, level: Level) -> Writer {
        Writer { socket, level, output: VecDeque::new(), taken: Vec::new(), written_at: Instant::now() }
    }

    /// Since when the socket has taken none of what waits for it; `None`: nothing waits.
    pub fn stuck_since(&self) -> Option<Instant> {
        (!self.output.is_empty()).then_some(self.written_at)
    }
}

impl Peers {
    /// Writes what was sent, or wakes up those who do. After every batch of `send`; never waits.
    pub fn flush(&self) {
        for peer in &self.peers {
            for stream in Stream::ALL {
                let outbox = &peer.outboxes[stream as usize];
                let Some(bytes) = outbox.waiting_bytes() else { continue };
                if bytes > WRITE_HERE_BYTES_MAX || !self.write_here(peer, stream) {
                    outbox.wake();
                }
            }
        }
    }

    /// False when the dialler has to see to it: it is at it, there is no connection, or the socket does not take everything.
    fn write_here(&self, peer: &Peer, stream: Stream) -> bool {
        let Some(mut writer) = peer.outboxes[stream as usize].try_writer() else { return false };
        let Some(writer) = writer.as_mut().filter(|writer| writer.output.is_empty()) else { return false };
        loop {
            match self.write_some(peer, stream, writer) {
                Ok(0) => return true,
                Ok(_) => {}
                // What broke it is there for the dialler too.
                Err(_) => return false,
            }
        }
    }

    /// Writes once, as much as the socket takes at once; 0 when there is nothing to write.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now, else why the connection broke.
    pub(super) fn write_some(&self, peer: &Peer, stream: Stream, writer: &mut Writer) -> io::Result<usize> {
        if writer.output.is_empty() {
            peer.outboxes[stream as usize].take(&mut writer.taken, TAKE_BYTES_MAX);
            for message in writer.taken.drain(..) {
                self.frame(peer, stream, &message, writer.level, &mut writer.output);
            }
            writer.written_at = Instant::now();
            if writer.output.is_empty() {
                return Ok(0);
            }
        }
        loop {
            match write(&writer.socket, &mut writer.output) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.counters.peer_bytes_out.add(count as u64);
                    writer.written_at = Instant::now();
                    return Ok(count);
                }
            }
        }
    }

    /// Adds a message's frame to what goes out.
    fn frame(
        &self,
        peer: &Peer,
        stream: Stream,
        message: &PeerMessage,
        level: Level,
        output: &mut VecDeque<Bytes>,
    ) {
        let pieces = encode(message, level);
        if pieces.is_empty() {
            return;
        }
        let head =
            pieces.first().and_then(|piece| piece.first_chunk::<SIZE_BYTES>()).expect("a frame has a size");
        if let Err(error) = frame_size(*head, usize::MAX) {
            tracing::error!("a message to {} cannot be sent: {error}", peer.name());
            self.lost(peer.node, peer.outboxes[stream as usize].lose());
            return;
        }
        output.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
    }
}

/// Writes as much as the socket takes at once.
fn write(socket: &TcpStream, output: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices: [IoSlice<'_>; WRITE_PIECES_MAX] = std::array::from_fn(|_| IoSlice::new(&[]));
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(&*output) {
        *slice = IoSlice::new(piece);
        count += 1;
    }
    let written = socket.try_write_vectored(&slices[..count])?;
    let mut rest = written;
    while rest > 0 {
        let front = output.front_mut().expect("what was written was there");
        let step = rest.min(front.len());
        front.advance(step);
        rest -= step;
        if front.is_empty() {
            output.pop_front();
        }
    }
    Ok(written)
}
