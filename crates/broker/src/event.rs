//! What goes into a node and what comes out. A driver (`runtime`, `sim`) owes the node this: call `step` for every
//! event at hand, then `settle` once (group commit: what came together goes to the disk together), then carry out the
//! effects in order; start every job it names, in order within a lane; report each completion exactly once; come with
//! `Event::Timer` when `next_deadline` has passed.

use crate::level::Level;
use crate::peer::{Link, PeerMessage};
use crate::request::{ClientInfo, ConnectionId, Request, Response, Token, Volume};
use model::job::{Done, Job, JobError, JobId};
use model::{DiskId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// A client asks.
    Request {
        /// Fresh; the answer carries it.
        token: Token,
        /// Where the question came in.
        connection: ConnectionId,
        /// Who asks.
        client: Arc<ClientInfo>,
        /// What.
        request: Request,
    },
    /// A connection is gone: its waiting questions need no answer any more.
    ConnectionClosed(ConnectionId),
    /// A storage job ended.
    JobDone {
        /// Which.
        id: JobId,
        /// How.
        result: Result<Done, JobError>,
    },
    /// A message of another node. Who sends is known from its hello.
    Peer {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
    },
    /// News of the connection to another node.
    Link(NodeId, Link),
    /// The volume that the data directory lies on, as it was just found; `None`: it cannot be looked at. For clients that ask: what the
    /// node itself does about a full disk rests on what its jobs bring back.
    Volume(Option<Volume>),
    /// `next_deadline` has passed.
    Timer,
    /// How is the node? Answered at once with `Effect::Status`.
    Observe(Token),
    /// Finish what is under way, write a clean checkpoint, then stop.
    Shutdown,
}

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Answer a question. Exactly one for each token, except when its connection closed before.
    Reply {
        /// Whose.
        token: Token,
        /// The answer.
        response: Response,
    },
    /// Carry out a storage job.
    Start {
        /// For the completion.
        id: JobId,
        /// The work.
        job: Job,
    },
    /// Tell another node something. It may be lost; a driver that drops messages to a peer says so with `Link::Lost`.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// Close a connection: its client is to go on with another node.
    HangUp(ConnectionId),
    /// The disk was named: it takes part from now on. The process goes on as one that starts.
    TakePart {
        /// As which of its node's replicas.
        replica: u32,
        /// The disks of the others, when a new cluster begins with them.
        founders: BTreeMap<NodeId, DiskId>,
    },
    /// Another disk has this one's place: it gives up what it holds and waits. The process goes on as one that starts.
    GiveUp,
    /// Answer to `Observe`.
    Status(Token, Box<Status>),
    /// Something an operator should read.
    Log(LogLevel, String),
    /// End the process: cleanly (`None`) or because the node must not go on.
    Stop(Option<String>),
}

/// Weight of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A person must look.
    Error,
    /// Unexpected, yet the node goes on.
    Warn,
    /// A change of state.
    Info,
}

/// A node at one moment, for metrics, health and the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The log is applied, the node is not about to stop, and it knows who serves the metadata group: requests are answered, here or
    /// by the node that the answer names.
    pub ready: bool,
    /// Why it is not, or what an operator should know (disk full, damage), one sentence each.
    pub conditions: Vec<String>,
    /// Why the next node of the cluster must not be taken down now, whichever it is, one sentence each; none: it may.
    pub must_stay: Vec<String>,
    /// The cluster's protocol level, as far as the node knows.
    pub level: Level,
    /// Topics.
    pub topics: u64,
    /// Partitions.
    pub partitions: u64,
    /// Shards, the metadata group included.
    pub shards: u64,
    /// Elections in which replicas here asked for votes; hand-overs do not count.
    pub elections_total: u64,
    /// How often a shard got another leader than the one known here, or its first.
    pub leader_changes_total: u64,
    /// Consumer groups.
    pub groups: u64,
    /// Produce requests waiting for their commit.
    pub delayed_produces: u64,
    /// Fetch requests waiting for data.
    pub delayed_fetches: u64,
    /// Bytes of committed batches kept in memory.
    pub tail_bytes: u64,
    /// WAL bytes that a restart would read.
    pub wal_held_bytes: u64,
    /// Preallocated WAL bytes left.
    pub wal_room_bytes: u64,
    /// Group commits so far.
    pub wal_appends_total: u64,
    /// Checkpoints so far.
    pub checkpoints_total: u64,
    /// Batches appended so far.
    pub batches_in_total: u64,
    /// Bytes of batches appended so far.
    pub bytes_in_total: u64,
    /// Bytes of batches handed to readers so far.
    pub bytes_out_total: u64,
    /// Reads that needed a segment.
    pub segment_reads_total: u64,
    /// Segments that were found damaged and are not whole again yet.
    pub damaged_segments: u64,
    /// Damaged segments that were mended.
    pub mended_segments_total: u64,
    /// Bytes of records that mended segments got from other nodes.
    pub mended_bytes_total: u64,
    /// How often the scrub has read everything.
    pub scrub_passes_total: u64,
    /// How often the log was written anew because some of it was damaged.
    pub log_renewals_total: u64,
}
