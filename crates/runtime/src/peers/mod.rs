//! The node's connections to its peers. Each node dials each peer once for every stream, says hello, and only sends on what it
//! dialled; on what it accepted it only reads. So a connection is one way, in order, and its two ends need no agreement on
//! who dials (docs/nodes.md).
//!
//! Out: `core` → `outbox` → `writer` → socket. In: socket → `acceptor` → `frames` → `driver` → `core`. Diallers have a thread of
//! their own: whoever runs the core may wait for the disk, and what it sent before must not wait with it.

mod acceptor;
mod address;
mod backoff;
mod dialler;
mod frames;
mod outbox;
mod register;
#[cfg(test)]
mod tests;
mod writer;

pub use register::Birth;

use crate::complaint::{Complaints, Repeats};
use crate::core::Input;
use crate::counters::Counters;
use crate::driver::Driver;
use crate::listener::display;
use address::{Address, Names};
use broker::config::Voter;
use broker::level::Levels;
use broker::peer::{Link, PeerMessage, Stream};
use model::{Buffers, NodeId};
use outbox::{Outbox, Put};
use register::Register;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

/// Connections that may be under way without having said hello: more are closed at once.
const STRANGERS_MAX: usize = 64;
/// Connections of peers that may wait to be accepted.
pub const PEER_BACKLOG: u32 = 128;
/// A write that takes none of its bytes for so long ends the connection, and so does a frame of which no more comes.
const STALL_MAX: Duration = Duration::from_secs(2);
/// Time for the last messages to go out when the node stops.
const LAST_MESSAGES_MAX: Duration = Duration::from_millis(500);

/// This node, as it introduces itself.
#[derive(Clone, Copy, Debug)]
pub struct Me {
    /// Its cluster.
    pub cluster: [u8; 16],
    /// Its id.
    pub node: NodeId,
    /// This process on its disk.
    pub birth: Birth,
    /// The protocol levels that it speaks.
    pub levels: Levels,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    address: Arc<Address>,
    outboxes: [Outbox; Stream::ALL.len()],
    /// A new process of the peer said hello: diallers that wait for their next try need not wait longer.
    came: [Notify; Stream::ALL.len()],
}

impl Peer {
    /// As a log line names it.
    fn name(&self) -> String {
        format!("node {} at {}", self.node.0, display(&self.address.given))
    }
}

/// All of them.
#[derive(Debug)]
pub struct Peers {
    me: Me,
    peers: Vec<Peer>,
    driver: Arc<Driver>,
    register: Arc<Register>,
    buffers: Arc<Buffers>,
    counters: Arc<Counters>,
    strangers: Semaphore,
    /// Lines that would come with every try.
    repeats: Repeats,
    /// Lines about connections that came, went, or carried what they must not.
    complaints: Complaints,
    stopping: watch::Sender<bool>,
}

impl Peers {
    /// The peers among these voters, none connected.
    pub fn new(
        me: Me,
        voters: &[Voter],
        driver: Arc<Driver>,
        buffers: Arc<Buffers>,
        counters: Arc<Counters>,
    ) -> Peers {
        Peers::with_names(&Names::System, me, voters, driver, buffers, counters)
    }

    /// The same, whose names lead where these say.
    fn with_names(
        names: &Names,
        me: Me,
        voters: &[Voter],
        driver: Arc<Driver>,
        buffers: Arc<Buffers>,
        counters: Arc<Counters>,
    ) -> Peers {
        let peers = voters.iter().filter(|voter| voter.node != me.node).map(|voter| Peer {
            node: voter.node,
            address: Arc::new(Address::new(voter.address.clone(), names.clone())),
            outboxes: Stream::ALL.map(Outbox::new),
            came: Default::default(),
        });
        Peers {
            me,
            peers: peers.collect(),
            driver,
            register: Arc::default(),
            buffers,
            counters,
            strangers: Semaphore::new(STRANGERS_MAX),
            repeats: Repeats::default(),
            complaints: Complaints::default(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Begins to accept (on this runtime) and to dial (on a thread of its own, which ends after `stop`).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self: &Arc<Peers>, listener: TcpListener) -> io::Result<JoinHandle<()>> {
        tokio::spawn(acceptor::accept(listener, self.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let peers = self.clone();
        Builder::new().name("peers".into()).spawn(move || {
            runtime.block_on(async {
                let mut diallers = tokio::task::JoinSet::new();
                for peer in 0..peers.peers.len() {
                    for stream in Stream::ALL {
                        diallers.spawn(dialler::dial(peers.clone(), peer, stream));
                    }
                }
                while let Some(ended) = diallers.join_next().await {
                    ended.expect("a panic ends the process");
                }
            });
        })
    }

    /// Sends a message with the next `flush`, or tells the node that it is lost. Never waits.
    pub fn send(&self, to: NodeId, message: PeerMessage) {
        let peer = self.peers.iter().find(|peer| peer.node == to).expect("a node sends to voters only");
        let put = peer.outboxes[message.stream() as usize].put(message);
        self.lost(to, put);
    }

    fn lost(&self, to: NodeId, put: Put) {
        if put != Put::Kept {
            self.counters.peer_messages_dropped.add(1);
        }
        if put == Put::Lost {
            self.driver.leave(Input::Link(to, Link::Lost));
        }
    }

    /// Sends what waits, within a limit, then ends all connections.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until `stop`.
    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is in `self`.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}
