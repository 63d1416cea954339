//! One connection that this node dials: name to address, connect, hello, greeting, then frames out until it breaks; again and
//! again until the node stops. Tells the core what becomes of the connection of the log.

use super::backoff::Backoff;
use super::outbox::Outbox;
use super::writer::Writer;
use super::{LAST_MESSAGES_MAX, Peer, Peers, STALL_MAX};
use crate::complaint::left_out_note;
use crate::core::Input;
use broker::level::Level;
use broker::peer::wire::{
    Greeting, HELLO_SIZE_MAX, Hello, SIZE_BYTES, decode_greeting, encode_hello, frame_size,
};
use broker::peer::{Link, Stream};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

/// Time for a connection to come about, the name's look-up included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Time for the greeting: longer than a peer waits for an older process of this node to fall silent.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// Pause after a greeting that refuses: nothing changes until somebody changes a setting.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Why no connection came about.
#[derive(Debug)]
enum Failure {
    /// Nobody listens there.
    NobodyThere,
    /// No answer, or none that can be understood.
    Unreachable(String),
    /// The peer does not talk to this node.
    Refused(String),
    /// This process must not go on.
    Expelled(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Unreachable(error.to_string())
    }
}

/// How an established connection ended.
#[derive(Debug)]
enum End {
    /// This node stops.
    Stopped,
    /// Why it broke.
    Broken(String),
}

/// Keeps a connection until the node stops.
pub async fn dial(peers: Arc<Peers>, peer: usize, stream: Stream) {
    let seed = peers.me.birth.process ^ ((peer as u64) << 8) ^ stream as u64;
    let dialler = Dialler { peers: &peers, peer: &peers.peers[peer], stream };
    tokio::select! {
        biased;
        () = dialler.run(Backoff::new(seed)) => {}
        () = async { peers.stopped().await; sleep(LAST_MESSAGES_MAX).await } => {}
    }
}

struct Dialler<'a> {
    peers: &'a Peers,
    peer: &'a Peer,
    stream: Stream,
}

impl Dialler<'_> {
    async fn run(&self, mut backoff: Backoff) {
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = self.peers.stopped() => return,
            };
            let pause = match connected {
                Ok((socket, level)) => {
                    let since = Instant::now();
                    let socket = Arc::new(socket);
                    self.opened();
                    let end = self.serve(&socket, level).await;
                    drop(socket);
                    match end {
                        End::Stopped => return,
                        End::Broken(why) => self.broke(&why),
                    }
                    backoff.after(since.elapsed().max(Duration::from_nanos(1)))
                }
                Err(failure) => {
                    let pause = backoff.after(Duration::ZERO);
                    self.failed(failure).unwrap_or(pause)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.peer.came[self.stream as usize].notified() => {}
                () = self.peers.stopped() => return,
            }
        }
    }

    fn outbox(&self) -> &Outbox {
        &self.peer.outboxes[self.stream as usize]
    }

    fn tell(&self, link: Link) {
        self.peers.driver.leave(Input::Link(self.peer.node, link));
    }

    /// A connection that is ready for frames, and the level to speak on it.
    async fn connect(&self) -> Result<(TcpStream, Level), Failure> {
        let late = |limit: Duration, what| Failure::Unreachable(format!("{what} within {limit:?}"));
        let mut socket =
            timeout(CONNECT_MAX, self.reach()).await.map_err(|_| late(CONNECT_MAX, "no connection"))??;
        let level = timeout(GREETING_MAX, self.greet(&mut socket))
            .await
            .map_err(|_| late(GREETING_MAX, "no greeting"))??;
        Ok((socket, level))
    }

    /// Connects to the first address that answers.
    async fn reach(&self) -> Result<TcpStream, Failure> {
        let mut failure = None;
        for candidate in self.peer.address.look_up().await.map_err(Failure::Unreachable)? {
            match TcpStream::connect(candidate).await {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    // What is on its way to a host that went without a word: the system ends the connection.
                    let millis = u32::try_from(STALL_MAX.as_millis()).expect("seconds");
                    rustix::net::sockopt::set_tcp_user_timeout(&socket, millis).map_err(io::Error::from)?;
                    return Ok(socket);
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    failure.get_or_insert(Failure::NobodyThere);
                }
                Err(error) => failure = Some(error.into()),
            }
        }
        Err(failure.expect("a look-up finds an address, or says why not"))
    }

    async fn greet(&self, socket: &mut TcpStream) -> Result<Level, Failure> {
        let me = &self.peers.me;
        let hello = Hello {
            cluster: me.cluster,
            node: me.node,
            to: self.peer.node,
            incarnation: me.birth.incarnation,
            process: me.birth.process,
            stream: self.stream,
            levels: me.levels,
            disk: me.birth.disk,
        };
        socket.write_all(&encode_hello(&hello)).await?;
        match read_greeting(socket).await? {
            Greeting::Welcome { incarnation, level, disk } => {
                let judged = self.peers.register.judge_greeting(self.peer.node, incarnation, disk);
                judged.map_err(Failure::Unreachable)?;
                if !(me.levels.oldest..=me.levels.newest).contains(&level) {
                    return Err(Failure::Unreachable(format!(
                        "it wants protocol level {level}, which was not offered"
                    )));
                }
                Ok(level)
            }
            Greeting::Refused(why) => Err(Failure::Refused(why)),
            Greeting::Expelled(why) => Err(Failure::Expelled(why)),
        }
    }

    fn opened(&self) {
        self.peers.counters.peer_connections.add(1);
        let dropped = self.outbox().open();
        match self.stream {
            Stream::Beats => {}
            Stream::Log => {
                if let Some(left_out) = self.peers.complaints.admit(Instant::now()) {
                    tracing::info!("connected to {}{}", self.peer.name(), left_out_note(left_out));
                }
                self.tell(Link::Up);
            }
            // What was meant for this connection before it was there can be sent again now.
            Stream::Bulk if dropped => self.tell(Link::Lost),
            Stream::Bulk => {}
        }
    }

    fn broke(&self, why: &str) {
        self.peers.counters.peer_connections.remove(1);
        self.peers.counters.peer_connections_broken.add(1);
        self.outbox().close();
        if self.stream == Stream::Log
            && let Some(left_out) = self.peers.complaints.admit(Instant::now())
        {
            tracing::warn!("lost the connection to {}: {why}{}", self.peer.name(), left_out_note(left_out));
        }
        if self.stream != Stream::Beats {
            self.tell(Link::Lost);
        }
    }

    /// Says why there is no connection, and how long to wait when that is not the usual time.
    fn failed(&self, failure: Failure) -> Option<Duration> {
        let repeats = &self.peers.repeats;
        match failure {
            Failure::NobodyThere => {
                if self.stream == Stream::Log {
                    self.tell(Link::Refused);
                }
                let line = format!("nobody answers for {}; trying on", self.peer.name());
                if repeats.admit(&line, Instant::now()) {
                    tracing::info!("{line}");
                }
                None
            }
            Failure::Unreachable(why) => {
                let line = format!("cannot reach {}: {why}; trying on", self.peer.name());
                if repeats.admit(&line, Instant::now()) {
                    tracing::warn!("{line}");
                }
                None
            }
            Failure::Refused(why) => {
                let line = format!("{} refuses this node: {why}; trying on", self.peer.name());
                if repeats.admit(&line, Instant::now()) {
                    tracing::error!("{line}");
                }
                Some(REFUSED_PAUSE)
            }
            Failure::Expelled(why) => {
                self.peers
                    .driver
                    .leave(Input::Expelled(format!("{} sent this node away: {why}", self.peer.name())));
                Some(REFUSED_PAUSE)
            }
        }
    }

    /// Sends until the connection ends.
    async fn serve(&self, socket: &Arc<TcpStream>, level: Level) -> End {
        *self.outbox().writer() = Some(Writer::new(socket.clone(), level));
        let end = self.write_on(socket).await;
        *self.outbox().writer() = None;
        end
    }

    async fn write_on(&self, socket: &TcpStream) -> End {
        loop {
            tokio::task::consume_budget().await;
            let stuck_since = {
                let mut writer = self.outbox().writer();
                let writer = writer.as_mut().expect("it is there until this ends");
                match self.peers.write_some(self.peer, self.stream, writer) {
                    Ok(0) if self.peers.is_stopping() => return End::Stopped,
                    Ok(0) => None,
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => writer.stuck_since(),
                    Err(error) => return End::Broken(error.to_string()),
                }
            };
            let writes = stuck_since.is_some();
            let late = stuck_since.unwrap_or_else(Instant::now) + STALL_MAX;
            tokio::select! {
                ready = socket.readable() => if let Some(end) = ready.map_or_else(broken, |()| heard(socket)) {
                    return end;
                },
                ready = socket.writable(), if writes => if let Err(error) = ready {
                    return End::Broken(error.to_string());
                },
                () = self.outbox().filled(), if !writes => {}
                () = sleep_until(late.into()), if writes => {
                    return End::Broken(format!("it took nothing for {STALL_MAX:?}"));
                }
                () = self.peers.stopped(), if !writes => {}
            }
        }
    }
}

fn broken(error: io::Error) -> Option<End> {
    Some(End::Broken(error.to_string()))
}

/// The peer says nothing on this connection: what can be read is its end.
fn heard(socket: &TcpStream) -> Option<End> {
    match socket.try_read(&mut [0]) {
        Ok(0) => Some(End::Broken("it closed the connection".into())),
        Ok(_) => Some(End::Broken("it spoke where it only listens".into())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
        Err(error) => broken(error),
    }
}

async fn read_greeting(socket: &mut TcpStream) -> Result<Greeting, Failure> {
    let unclear =
        |error: &dyn std::fmt::Display| Failure::Unreachable(format!("its greeting is none: {error}"));
    let mut head = [0; SIZE_BYTES];
    socket.read_exact(&mut head).await?;
    let size = frame_size(head, HELLO_SIZE_MAX).map_err(|error| unclear(&error))?;
    let mut frame = vec![0; size];
    frame[..SIZE_BYTES].copy_from_slice(&head);
    socket.read_exact(&mut frame[SIZE_BYTES..]).await?;
    decode_greeting(&frame).map_err(|error| unclear(&error))
}
