//! Storage jobs: what the core asks of the disk, and what comes back. A job is plain data, so that a real thread and
//! the simulated world can both carry it out.
//!
//! Three lanes, each in its own order, each with a limited queue: the WAL lane (append, renew, recycle), the segment lane
//! (checkpoint, mend) and the read lane. The core keeps at most one append, one checkpoint and one mend outstanding.

use crate::{Entry, HardState, LogIndex, Offset, PartitionId, ShardId, StoredBatch, Term};
use bytes::Bytes;

/// What ties a completion to its job. Counts up; never used twice in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Work for the disk.
#[derive(Clone, Debug)]
pub enum Job {
    /// Make log entries and votes durable.
    Append(WalAppend),
    /// Let WAL files go that hold only what a durable checkpoint covers.
    Recycle(WalRecycle),
    /// Move committed batches into segments, make them durable, then record the state that stands on them.
    Checkpoint(Checkpoint),
    /// Read committed batches from segments.
    Read(SegmentRead),
    /// Find the first batch in the segments with a timestamp at or above a given one.
    Lookup(TimeLookup),
    /// Read committed batches only to see whether they are whole.
    Verify(SegmentRead),
    /// Go on with writing a damaged segment anew.
    Mend(SegmentMend),
    /// Look whether the log is whole, from a place on (at its start without one), about so many bytes of it.
    VerifyLog(Option<LogPlace>, usize),
    /// Append, into a new file that has all that a recovery needs: the others hold damage and are let go.
    Renew(WalRenewal),
}

/// One group commit: everything in it is durable when it completes. Never empty, except to mark an idle disk.
#[derive(Clone, Debug, Default)]
pub struct WalAppend {
    /// Entries in the order they are to be recovered. An entry at or below an index that the same shard wrote before replaces that suffix.
    pub entries: Vec<Entry>,
    /// Votes and terms that changed.
    pub hard_states: Vec<(ShardId, HardState)>,
}

/// What recovery would need from the WAL; files without any of it may be used anew.
#[derive(Clone, Debug, Default)]
pub struct WalRecycle {
    /// Per shard the first index that the newest durable checkpoint does not cover.
    pub keep_from: Vec<(ShardId, LogIndex)>,
}

/// Everything that becomes durable together.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Committed batches to put into segments, each partition at most once.
    pub flushes: Vec<SegmentFlush>,
    /// New log starts: segments wholly below may go once the checkpoint is durable.
    pub trims: Vec<(PartitionId, Offset)>,
    /// Deleted partitions: their segments may go once the checkpoint is durable.
    pub drops: Vec<PartitionId>,
    /// State of every shard. All shards, each time.
    pub shards: Vec<ShardCheckpoint>,
    /// The shutdown is clean: nothing follows in the WAL.
    pub clean: bool,
}

/// A partition's share of a checkpoint.
#[derive(Clone, Debug)]
pub struct SegmentFlush {
    /// The partition.
    pub partition: PartitionId,
    /// Consecutive batches; the first one's base offset is where the partition's segments end (or its log start when there are none).
    pub batches: Vec<StoredBatch>,
    /// Start a new segment when the newest is this large (Kafka: `segment.bytes`).
    pub roll_bytes: u64,
    /// Start a new segment when the first timestamp of the newest is this much older than the batch's, ms (Kafka: `segment.ms`).
    pub roll_ms: u64,
}

/// A shard's state machine at one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardCheckpoint {
    /// The shard.
    pub shard: ShardId,
    /// Last entry that the state contains.
    pub applied: LogIndex,
    /// Its term.
    pub applied_term: Term,
    /// Vote and term, so that a WAL without the shard is enough.
    pub hard_state: HardState,
    /// The members of its group at that index, as consensus writes them.
    pub members: Vec<u64>,
    /// The state, opaque below `broker`.
    pub state: Bytes,
}

/// One segment file of a partition, as far as it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Offset of its first record; names the file.
    pub base_offset: Offset,
    /// Offset behind its last record.
    pub end_offset: Offset,
    /// File size in bytes.
    pub size: u64,
    /// Bytes of record batches in it, without its own block headers: what retention by size counts.
    pub batch_bytes: u64,
    /// First batch's maximum timestamp, ms: what rolling by time counts from.
    pub first_timestamp: i64,
    /// Largest timestamp in it, ms: what retention by time and time look-ups use.
    pub max_timestamp: i64,
}

/// A partition's segments after a checkpoint or a recovery, in the order of their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSegments {
    /// The partition.
    pub partition: PartitionId,
    /// All its segments.
    pub segments: Vec<SegmentMeta>,
}

/// Read batches from one segment.
#[derive(Clone, Debug)]
pub struct SegmentRead {
    /// The partition.
    pub partition: PartitionId,
    /// The segment, as the core knows it; bytes behind its `size` are never touched.
    pub segment: SegmentMeta,
    /// The first batch returned holds this offset.
    pub offset: Offset,
    /// Stop before exceeding this many bytes, but return at least one batch.
    pub bytes_max: usize,
}

/// Find by time within segments `first..`, given in order.
#[derive(Clone, Debug)]
pub struct TimeLookup {
    /// The partition.
    pub partition: PartitionId,
    /// Segments to look at, in order.
    pub segments: Vec<SegmentMeta>,
    /// Smallest timestamp wanted, ms.
    pub timestamp: i64,
    /// Batches that end below this offset (the log start) do not count.
    pub from: Offset,
}

/// One step of writing a damaged segment anew: whole blocks are copied, what no whole block holds comes from another replica. One
/// segment at a time: a step for another one gives up what was begun.
#[derive(Clone, Debug)]
pub struct SegmentMend {
    /// The partition.
    pub partition: PartitionId,
    /// Names the segment.
    pub base_offset: Offset,
    /// Consecutive batches, the first holds the offset that was lacking after the last step; none in the first step.
    pub batches: Vec<StoredBatch>,
    /// Nobody reads below this offset, the log start: what is lacking there stays away.
    pub needed_from: Offset,
    /// About so many bytes are copied in this step.
    pub bytes_max: usize,
}

/// Where a look through the log stands. Made by the lane, and given back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// Epoch of the file.
    pub epoch: u64,
    /// Byte in it; 0: its header comes first.
    pub at: u64,
    /// Sequence of the commit there.
    pub sequence: u64,
    /// Hash of the commit before.
    pub hash: u64,
}

/// The log in one new file.
#[derive(Clone, Debug)]
pub struct WalRenewal {
    /// Every entry of every shard behind the newest durable checkpoint, and votes and terms that are not durable yet.
    pub append: WalAppend,
    /// Epoch of the file that is damaged: it is put aside.
    pub damaged: u64,
}

/// A file that the node starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagedFile {
    /// A file of the log, by its epoch.
    Log(u64),
    /// The newest checkpoint.
    Checkpoint,
}

/// How far a segment is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// There is more to copy: go on.
    Copied,
    /// No whole block holds these offsets, and they are needed: `from` up to, and without, `to`.
    Lacks {
        /// The first.
        from: Offset,
        /// Behind the last.
        to: Offset,
    },
    /// The segment is whole and durable. So many bytes of records came from elsewhere; 0: there was nothing to mend.
    Whole {
        /// Bytes.
        brought: u64,
    },
    /// The segment is not there any more.
    Gone,
}

/// Preallocated bytes of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalRoom {
    /// Left for appends: below a reserve the core refuses produce.
    pub bytes: u64,
    /// The disk gave no further file: an append beyond these bytes will find no space.
    pub is_all: bool,
}

/// How a job ended well.
#[derive(Clone, Debug)]
pub enum Done {
    /// The append is durable.
    Append {
        /// What is left.
        room: WalRoom,
        /// WAL bytes that a recovery would read now.
        held: u64,
    },
    /// Files were let go.
    Recycle {
        /// As in `Append`.
        room: WalRoom,
        /// As in `Append`.
        held: u64,
    },
    /// The checkpoint is durable.
    Checkpoint {
        /// The partitions whose segments changed.
        changed: Vec<PartitionSegments>,
    },
    /// What was read: consecutive batches, possibly none when the offset is behind the segment's end.
    Read(Vec<StoredBatch>),
    /// The batch that was found.
    Lookup(Option<StoredBatch>),
    /// All is whole up to here; `None` when the offset is behind the segment's end.
    Verify(Option<Offset>),
    /// A segment is so far mended.
    Mend(Mended),
    /// The log is whole up to here; `None`: all of it, and the checkpoint that it stands on.
    VerifyLog(Option<LogPlace>),
}

/// How a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobError {
    /// No space left; nothing was changed, except that a checkpoint may have let trimmed and dropped segments go. The same job may be given again later.
    NoSpace,
    /// Offsets of a segment fail their checks, or cannot be read: never serve them.
    Damaged {
        /// The partition.
        partition: PartitionId,
        /// Names the segment.
        base_offset: Offset,
        /// What is wrong and where, for a person.
        detail: String,
    },
    /// What the next start reads fails its checks, or cannot be read. This process has all of it in memory.
    DamagedLog {
        /// The file.
        file: DamagedFile,
        /// What is wrong and where, for a person.
        detail: String,
    },
    /// The device failed. It must not be used again by this process (fsync errors are not retried).
    Device {
        /// What the system said.
        detail: String,
    },
}

impl std::fmt::Display for JobError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JobError::NoSpace => out.write_str("no space left on the device"),
            JobError::Damaged { detail, .. } => write!(out, "damaged data: {detail}"),
            JobError::DamagedLog { detail, .. } => write!(out, "damaged log: {detail}"),
            JobError::Device { detail } => write!(out, "the device failed: {detail}"),
        }
    }
}

/// What a start finds on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest whole checkpoint's shards; empty on a new disk.
    pub shards: Vec<ShardCheckpoint>,
    /// All partitions' segments at that checkpoint.
    pub segments: Vec<PartitionSegments>,
    /// Per shard the entries behind the checkpoint, consecutive, all durable now.
    pub entries: Vec<(ShardId, Vec<Entry>)>,
    /// Per shard the newest vote and term from WAL or checkpoint.
    pub hard_states: Vec<(ShardId, HardState)>,
    /// Preallocated WAL bytes left.
    pub room: u64,
    /// WAL bytes that were read.
    pub held: u64,
    /// What was found and done, in words for the log.
    pub notes: Vec<String>,
    /// Set when the WAL is damaged below what was known durable: the node may serve what is whole, and must refuse writes until `sternpost recover`.
    pub damage: Option<String>,
}
