//! Connections that peers dial: hello, judgement, greeting, then frames in until it breaks. Frames are checked and decoded on
//! the connection's own task; what is no message ends the connection and is never acted on.

use super::frames::Frames;
use super::register::{Birth, Seat, Verdict};
use super::{Peers, STALL_MAX};
use crate::complaint::left_out_note;
use crate::core::Input;
use crate::gate::{Held, Pool};
use broker::level::{Level, Levels};
use broker::peer::wire::{
    Greeting, HELLO_SIZE_MAX, Hello, SIZE_BYTES, decode, decode_hello, encode_greeting, frame_size,
};
use broker::peer::{PeerMessage, Stream, node_of};
use bytes::Bytes;
use model::{NodeId, TopicId};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, sleep_until, timeout};

/// Time for a stranger to say hello.
const HELLO_MAX: Duration = Duration::from_secs(2);
/// How often it is looked at whether an older process of the same node fell silent.
const CONTEST_LOOK: Duration = Duration::from_millis(50);
/// Messages of one connection that the core has not taken yet, bytes: beyond it the connection is not read further.
const INBOX_BYTES_MAX: usize = 16 << 20;
/// Pause after the system refused to accept (no descriptors left), so that the loop does not spin.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(50);

/// How a connection ended, when there is something to tell.
#[derive(Debug)]
enum End {
    /// The peer or this node closed it, a newer one replaced it, or the network broke it.
    Gone,
    /// No hello came, or none that can be read.
    NoHello(String),
    /// The hello was refused.
    Refused(NodeId, String),
    /// What came is no message.
    Malformed(NodeId, String),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

/// Accepts until the node stops.
pub async fn accept(listener: TcpListener, peers: Arc<Peers>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = peers.stopped() => return,
        };
        match accepted {
            Ok((socket, address)) => {
                let peers = peers.clone();
                tokio::spawn(async move {
                    let end = tokio::select! {
                        end = serve(socket, &peers) => end,
                        () = peers.stopped() => End::Gone,
                    };
                    complain(&peers, address, end);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection of a peer: {error}");
                sleep(ACCEPT_RETRY_AFTER).await;
            }
        }
    }
}

fn complain(peers: &Peers, address: SocketAddr, end: End) {
    let now = Instant::now();
    match end {
        End::Gone => {}
        End::NoHello(why) => {
            if let Some(left_out) = peers.complaints.admit(now) {
                tracing::warn!("a connection from {address} is no peer's: {why}{}", left_out_note(left_out));
            }
        }
        End::Refused(node, why) => {
            let line = format!("refused node {} from {}: {why}", node.0, address.ip());
            if peers.repeats.admit(&line, now) {
                tracing::error!("{line}");
            }
        }
        End::Malformed(node, why) => {
            peers.counters.peer_connections_broken.add(1);
            if let Some(left_out) = peers.complaints.admit(now) {
                tracing::warn!(
                    "closed the connection of node {} from {address}: {why}; nothing of it was used{}",
                    node.0,
                    left_out_note(left_out)
                );
            }
        }
    }
}

async fn serve(mut socket: TcpStream, peers: &Peers) -> End {
    let (hello, level, seat) = match welcome(&mut socket, peers).await {
        Ok(welcomed) => welcomed,
        Err(end) => return end,
    };
    let mut inbox = Inbox {
        peers,
        from: hello.node,
        stream: hello.stream,
        level,
        frames: Frames::new(peers.buffers.clone()),
        pool: Arc::new(Pool::new(INBOX_BYTES_MAX)),
    };
    match inbox.read(&socket, &seat).await {
        Ok(()) => End::Gone,
        Err(end) => end,
    }
}

/// From the first byte to the greeting.
async fn welcome(socket: &mut TcpStream, peers: &Peers) -> Result<(Hello, Level, Seat), End> {
    let Ok(_place) = peers.strangers.try_acquire() else {
        return Err(End::NoHello("too many others say no hello either".into()));
    };
    let hello = timeout(HELLO_MAX, read_hello(socket))
        .await
        .map_err(|_| End::NoHello(format!("no hello came within {HELLO_MAX:?}")))??;
    let level = match judge(&hello, peers) {
        Ok(level) => level,
        Err(why) => {
            say(socket, &Greeting::Refused(why.clone())).await;
            return Err(End::Refused(hello.node, why));
        }
    };
    // A connection may have waited to be accepted for longer than its dialler did for the greeting: it must not take the
    // place of the one that was dialled after it.
    match socket.try_read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Ok(0) | Err(_) => return Err(End::Gone),
        Ok(_) => return Err(End::NoHello("it speaks before it is greeted".into())),
    }
    let since = Instant::now();
    loop {
        let changed = peers.register.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match peers.register.judge(&hello, since, Instant::now()) {
            Verdict::Welcome { seat, is_new } => {
                if is_new && let Some(peer) = peers.peers.iter().find(|peer| peer.node == hello.node) {
                    peer.came.iter().for_each(tokio::sync::Notify::notify_one);
                }
                let Birth { incarnation, disk, .. } = peers.me.birth;
                let greeting = Greeting::Welcome { incarnation, level, disk };
                return if say(socket, &greeting).await { Ok((hello, level, seat)) } else { Err(End::Gone) };
            }
            Verdict::Expel(why) => {
                say(socket, &Greeting::Expelled(why.clone())).await;
                return Err(End::Refused(hello.node, why));
            }
            Verdict::Wait => {
                tokio::select! {
                    () = changed => {}
                    () = sleep(CONTEST_LOOK) => {}
                }
            }
        }
    }
}

async fn read_hello(socket: &mut TcpStream) -> Result<Hello, End> {
    socket.set_nodelay(true)?;
    let unclear = |error: &dyn std::fmt::Display| End::NoHello(format!("its hello is none: {error}"));
    let mut head = [0; SIZE_BYTES];
    socket.read_exact(&mut head).await?;
    let size = frame_size(head, HELLO_SIZE_MAX).map_err(|error| unclear(&error))?;
    let mut frame = vec![0; size];
    frame[..SIZE_BYTES].copy_from_slice(&head);
    socket.read_exact(&mut frame[SIZE_BYTES..]).await?;
    decode_hello(&frame).map_err(|error| unclear(&error))
}

/// What settings must have made right, and the level to speak.
fn judge(hello: &Hello, peers: &Peers) -> Result<Level, String> {
    let (me, node) = (peers.me.node.0, hello.node.0);
    if hello.cluster != peers.me.cluster {
        return Err(format!(
            "node {node} belongs to cluster {}, node {me} to cluster {}; check controller.quorum.voters and sternpost.cluster.id, \
             and that the data directory is the right one",
            TopicId(hello.cluster).base64(),
            TopicId(peers.me.cluster).base64()
        ));
    }
    if hello.node == peers.me.node {
        return Err(format!("node.id {node} is the id of the node that was called; give each node its own"));
    }
    if !peers.peers.iter().any(|peer| peer.node == hello.node) {
        return Err(format!("node {node} is not in controller.quorum.voters of node {me}"));
    }
    if hello.to != peers.me.node {
        return Err(format!(
            "node {me} answers at the address that node {node} has for node {}; check controller.quorum.voters",
            hello.to.0
        ));
    }
    peers.me.levels.common(hello.levels).ok_or_else(|| {
        let words = |levels: Levels| format!("protocol levels {} to {}", levels.oldest, levels.newest);
        format!(
            "node {node} speaks {}, node {me} {}: their versions of Sternpost are too far apart; upgrade over one in between",
            words(hello.levels),
            words(peers.me.levels)
        )
    })
}

/// Sends a greeting; false when the connection broke.
async fn say(socket: &mut TcpStream, greeting: &Greeting) -> bool {
    matches!(timeout(STALL_MAX, socket.write_all(&encode_greeting(greeting))).await, Ok(Ok(())))
}

/// What comes from one peer.
struct Inbox<'a> {
    peers: &'a Peers,
    from: NodeId,
    stream: Stream,
    level: Level,
    frames: Frames,
    /// What the core has not taken.
    pool: Arc<Pool>,
}

impl Inbox<'_> {
    async fn read(&mut self, socket: &TcpStream, seat: &Seat) -> Result<(), End> {
        let mut read_since = Instant::now();
        loop {
            tokio::task::consume_budget().await;
            let pool = self.pool.clone();
            let reads = pool.is_open();
            if reads {
                match self.frames.read(socket) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        self.peers.counters.peer_bytes_in.add(count as u64);
                        read_since = Instant::now();
                        seat.heard(read_since);
                        self.deliver(seat)?;
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            } else {
                // Not the peer's fault.
                read_since = Instant::now();
            }
            let opened = pool.opened();
            tokio::pin!(opened);
            if !reads {
                opened.as_mut().enable();
                if pool.is_open() {
                    continue;
                }
            }
            tokio::select! {
                () = seat.replaced() => return Ok(()),
                ready = socket.readable(), if reads => ready?,
                () = &mut opened, if !reads => {}
                () = sleep_until((read_since + STALL_MAX).into()), if reads && self.frames.is_amid_frame() => {
                    return Err(self.malformed(format!("a frame did not become whole within {STALL_MAX:?}")));
                }
            }
        }
    }

    /// Hands all whole frames to the core, which then runs once.
    fn deliver(&mut self, seat: &Seat) -> Result<(), End> {
        let mut delivered = false;
        let outcome = loop {
            match self.frames.next_frame() {
                Ok(None) => break Ok(()),
                Ok(Some(_)) if seat.is_replaced() => break Ok(()),
                Ok(Some(frame)) => match self.message(frame) {
                    Ok(input) => {
                        self.peers.driver.push(input);
                        delivered = true;
                    }
                    Err(end) => break Err(end),
                },
                Err(why) => break Err(self.malformed(why)),
            }
        };
        if delivered {
            self.peers.driver.run();
        }
        outcome
    }

    fn message(&self, frame: Bytes) -> Result<Input, End> {
        let size = frame.len();
        let message = decode(frame, self.level).map_err(|error| self.malformed(error.to_string()))?;
        if message.stream() != self.stream {
            return Err(self.malformed("a message came over the wrong stream".into()));
        }
        if let PeerMessage::Consensus(message) = &message
            && (node_of(message.from) != Some(self.from) || node_of(message.to) != Some(self.peers.me.node))
        {
            return Err(self.malformed("a message came from or to another node than its connection".into()));
        }
        Ok(Input::Peer { from: self.from, message, held: Held::new(&self.pool, size) })
    }

    fn malformed(&self, why: String) -> End {
        End::Malformed(self.from, why)
    }
}
