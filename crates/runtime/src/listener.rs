//! The listening socket: binds before anything else is touched, accepts under the limits, gives each connection a task.

use crate::complaint::{Complaints, left_out_note};
use crate::connection::{Connection, End};
use crate::counters::Counters;
use crate::driver::Driver;
use crate::gate::Pool;
use crate::mailbox::Mailbox;
use broker::config::{ListenerAddress, NodeSettings};
use broker::request::ConnectionId;
use kafka::session::SessionConfig;
use model::Buffers;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::Notify;

/// Answers that clients have not taken, all connections together, bytes: beyond it slow readers are disconnected.
const UNSENT_NODE_BYTES_MAX: usize = 256 << 20;
/// Memory of large requests kept for the next ones, bytes.
///
/// A flush lets go of most of what memory holds for readers at once, and the next requests want it again.
const IDLE_BUFFER_BYTES_MAX: usize = 128 << 20;
/// Memory that no request has needed for so long goes back to the system.
const TRIM_INTERVAL: Duration = Duration::from_secs(2);
/// File descriptors kept for everything but connections.
const DESCRIPTORS_RESERVED: u64 = 512;
/// Pause after the system refused to accept (no descriptors left), so that the loop does not spin.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(50);

/// Limits of every connection, from the node's settings.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest frame, bytes.
    pub request_bytes_max: usize,
    /// Unanswered requests of a connection.
    pub connection_requests_max: usize,
    /// Bytes of unanswered requests of a connection.
    pub connection_request_bytes_max: usize,
    /// Time without a request after which a connection is closed.
    pub connection_idle_max: Option<Duration>,
    /// Time for a frame to become whole.
    pub frame_timeout: Duration,
    /// Time for a client to take some of its answer.
    pub write_timeout: Duration,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one address.
    pub connections_per_ip_max: usize,
    /// Send buffer, bytes; `None`: the system decides.
    pub send_buffer_bytes: Option<u32>,
    /// Receive buffer, bytes; `None`: the system decides.
    pub receive_buffer_bytes: Option<u32>,
}

impl Limits {
    /// The limits that the settings name; connections also stay below the process's open files (`descriptors`).
    pub fn new(settings: &NodeSettings, descriptors: u64) -> Limits {
        let by_files =
            usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX).max(16);
        Limits {
            request_bytes_max: settings.request_bytes_max,
            connection_requests_max: settings.connection_requests_max,
            connection_request_bytes_max: settings.connection_request_bytes_max,
            connection_idle_max: settings.connection_idle_max,
            frame_timeout: settings.frame_timeout,
            write_timeout: settings.write_timeout,
            connections_max: settings.connections_max.min(by_files),
            connections_per_ip_max: settings.connections_per_ip_max,
            send_buffer_bytes: settings.send_buffer_bytes,
            receive_buffer_bytes: settings.receive_buffer_bytes,
        }
    }
}

/// A node's life as its connections see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are not accepted yet: the disk takes no part, and most likely will in a moment.
    Waiting,
    /// Requests are taken.
    Serving,
    /// No new request is taken; those under way are still answered.
    Draining,
    /// No further answer comes: connections end when theirs are written.
    Ending,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// Limits of each.
    pub limits: Limits,
    /// What their sessions share.
    pub session: Arc<SessionConfig>,
    /// The way to the core.
    pub driver: Arc<Driver>,
    /// Requests that wait for their answers.
    pub requests: Pool,
    /// Frames of which only a part has come.
    pub half_frames: Pool,
    /// Answers not taken.
    pub unsent: Pool,
    /// Memory of large requests, used again.
    pub buffers: Arc<Buffers>,
    /// What is counted.
    pub counters: Arc<Counters>,
    complaints: Complaints,
    refusals: Complaints,
    phase: AtomicU8,
    entered: Notify,
    mailboxes: Mutex<HashMap<ConnectionId, Arc<Mailbox>>>,
    idle: Notify,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    next_connection: AtomicU64,
}

impl Shared {
    /// Fresh, with nobody connected.
    pub fn new(
        settings: &NodeSettings,
        descriptors: u64,
        session: SessionConfig,
        driver: Arc<Driver>,
        counters: Arc<Counters>,
    ) -> Shared {
        Shared {
            limits: Limits::new(settings, descriptors),
            session: Arc::new(session),
            driver,
            requests: Pool::new(settings.queued_request_bytes_max),
            half_frames: Pool::new(settings.queued_request_bytes_max),
            unsent: Pool::new(UNSENT_NODE_BYTES_MAX),
            buffers: Buffers::new(IDLE_BUFFER_BYTES_MAX),
            counters,
            complaints: Complaints::default(),
            refusals: Complaints::default(),
            phase: AtomicU8::new(Phase::Waiting as u8),
            entered: Notify::new(),
            mailboxes: Mutex::new(HashMap::new()),
            idle: Notify::new(),
            addresses: Mutex::new(HashMap::new()),
            next_connection: AtomicU64::new(1),
        }
    }

    /// Where the node is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Waiting,
            1 => Phase::Serving,
            2 => Phase::Draining,
            _ => Phase::Ending,
        }
    }

    /// Waits no longer, if it still does.
    pub fn serve(&self) {
        let (from, to) = (Phase::Waiting as u8, Phase::Serving as u8);
        if self.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.entered.notify_waiters();
        }
    }

    /// Until a phase lies behind it.
    pub async fn is_over(&self, phase: Phase) {
        loop {
            let entered = self.entered.notified();
            tokio::pin!(entered);
            entered.as_mut().enable();
            if self.phase() as u8 > phase as u8 {
                return;
            }
            entered.await;
        }
    }

    /// Moves on, and makes every connection look.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.entered.notify_waiters();
        for mailbox in self.lock_mailboxes().values() {
            mailbox.stir();
        }
    }

    /// A connection that `enter` is to reach from now on.
    pub fn join(&self, id: ConnectionId, mailbox: &Arc<Mailbox>) {
        self.lock_mailboxes().insert(id, mailbox.clone());
    }

    fn leave(&self, id: ConnectionId) {
        self.lock_mailboxes().remove(&id);
    }

    fn lock_mailboxes(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Mailbox>>> {
        self.mailboxes.lock().expect("no holder of this lock panics")
    }

    /// Waits until no connection is open.
    pub async fn all_closed(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.counters.connections.get() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn admit(&self, address: IpAddr) -> Result<(), &'static str> {
        if self.counters.connections.get() >= self.limits.connections_max as u64 {
            return Err("max.connections is reached");
        }
        let mut addresses = self.addresses.lock().expect("no holder of this lock panics");
        let count = addresses.entry(address).or_insert(0);
        if *count >= self.limits.connections_per_ip_max {
            return Err("max.connections.per.ip is reached");
        }
        *count += 1;
        self.counters.connections.add(1);
        Ok(())
    }

    fn dismiss(&self, address: IpAddr) {
        let mut addresses = self.addresses.lock().expect("no holder of this lock panics");
        let count = addresses.get_mut(&address).expect("an admitted address is counted");
        *count -= 1;
        if *count == 0 {
            addresses.remove(&address);
        }
        drop(addresses);
        self.counters.connections.remove(1);
        self.idle.notify_waiters();
    }
}

/// Binds a listening socket.
///
/// # Errors
/// One clear sentence: the host is unknown, or the address is taken or not allowed.
pub async fn bind(address: &ListenerAddress, backlog: u32) -> Result<TcpListener, String> {
    let shown = display(address);
    let candidates: Vec<SocketAddr> = if address.host.is_empty() {
        // All interfaces: IPv6 with IPv4 inside, or IPv4 alone where there is no IPv6.
        vec![(Ipv6Addr::UNSPECIFIED, address.port).into(), (Ipv4Addr::UNSPECIFIED, address.port).into()]
    } else {
        lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|error| format!("cannot find the address of {}: {error}", address.host))?
            .collect()
    };
    let mut last = None;
    for candidate in candidates {
        match bind_one(candidate, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(format!(
                    "cannot listen on {shown}: another process uses that port; choose another one, or stop that process"
                ));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => format!("cannot listen on {shown}: {error}"),
        None => format!("cannot listen on {shown}: the host has no address"),
    })
}

fn bind_one(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Host and port as people write them.
pub fn display(address: &ListenerAddress) -> String {
    match address.host.as_str() {
        "" => format!("*:{}", address.port),
        host if host.contains(':') => format!("[{host}]:{}", address.port),
        host => format!("{host}:{}", address.port),
    }
}

/// Gives memory back that no request needs any more, for as long as the node is there.
pub async fn trim(buffers: Weak<Buffers>) {
    let mut ticks = tokio::time::interval(TRIM_INTERVAL);
    loop {
        ticks.tick().await;
        let Some(buffers) = buffers.upgrade() else { return };
        buffers.trim();
    }
}

/// Accepts until draining begins.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    shared.is_over(Phase::Waiting).await;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.is_over(Phase::Serving) => return,
        };
        match accepted {
            Ok((stream, address)) => greet(stream, address, &shared),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
            }
        }
    }
}

fn greet(stream: TcpStream, address: SocketAddr, shared: &Arc<Shared>) {
    let counters = &shared.counters;
    counters.connections_accepted.add(1);
    let ip = address.ip().to_canonical();
    if let Err(why) = shared.admit(ip) {
        counters.connections_refused.add(1);
        if let Some(left_out) = shared.refusals.admit(Instant::now()) {
            tracing::warn!("refused a connection from {ip}: {why}{}", left_out_note(left_out));
        }
        return;
    }
    if let Err(error) = prepare(&stream, &shared.limits) {
        tracing::debug!("cannot set up the connection from {ip}: {error}");
    }
    let id = ConnectionId(shared.next_connection.fetch_add(1, Ordering::Relaxed));
    let shared = shared.clone();
    tokio::spawn(async move {
        let end = Connection::new(stream, &shared, id, ip.to_string()).run().await;
        if let Some(complaint) = end.complaint() {
            shared.counters.connections_broken.add(1);
            if let Some(left_out) = shared.complaints.admit(Instant::now()) {
                tracing::warn!(
                    "closed the connection from {address}: {complaint}{}",
                    left_out_note(left_out)
                );
            }
        }
        if let End::Io(error) = &end {
            tracing::debug!("the connection from {address} broke: {error}");
        }
        shared.leave(id);
        shared.dismiss(ip);
    });
}

fn prepare(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(size) = limits.send_buffer_bytes {
        rustix::net::sockopt::set_socket_send_buffer_size(stream, size as usize)?;
    }
    if let Some(size) = limits.receive_buffer_bytes {
        rustix::net::sockopt::set_socket_recv_buffer_size(stream, size as usize)?;
    }
    Ok(())
}
