//! Records in and out: produce, fetch, offset look-ups, delete-records and producer identities.

use super::{Endpoint, Refusal, TopicRef};
use bytes::Bytes;
use model::{BatchHeader, ErrorCode, NodeId, RecordFacts, StoredBatch};
use std::time::Duration;

/// `acks` of a producer that waits for all in-sync replicas; `min.insync.replicas` is about these alone.
pub const ACKS_ALL: i16 = -1;

/// Append at most one batch to each of several partitions (KIP-98: produce v3+ carries one batch a partition).
#[derive(Clone, Debug)]
pub struct Produce {
    /// 0: no answer wanted; 1 and -1 are answered alike, when a majority has fsynced. Anything else was refused before.
    pub acks: i16,
    /// How long the append may wait for its quorum.
    pub timeout: Duration,
    /// By topic, in the request's order.
    pub topics: Vec<ProduceTopic>,
}

/// A topic's share of a produce request.
#[derive(Clone, Debug)]
pub struct ProduceTopic {
    /// The topic.
    pub topic: TopicRef,
    /// Its partitions, in the request's order.
    pub partitions: Vec<ProducePartition>,
}

/// A partition's share of a produce request.
#[derive(Clone, Debug)]
pub struct ProducePartition {
    /// Partition number.
    pub index: i32,
    /// The validated batch, or why validation refused it (answered as it is, nothing is appended).
    pub batch: Result<ProducedBatch, BatchRefusal>,
}

/// Why a batch is refused, and for which of its records (KIP-467).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchRefusal {
    /// The reason.
    pub refusal: Refusal,
    /// Records at fault: place in the batch and a sentence. Empty when the batch as a whole is.
    pub records: Vec<(i32, String)>,
}

impl<R: Into<Refusal>> From<R> for BatchRefusal {
    fn from(refusal: R) -> BatchRefusal {
        BatchRefusal { refusal: refusal.into(), records: Vec::new() }
    }
}

/// One validated batch: CRC, count, offset deltas and sizes hold; no control batch; magic 2.
#[derive(Clone, Debug)]
pub struct ProducedBatch {
    /// The header as the producer sent it.
    pub header: BatchHeader,
    /// Exactly one batch, header included.
    pub bytes: Bytes,
    /// What its records are like.
    pub facts: RecordFacts,
}

/// Answer to `Produce`.
#[derive(Clone, Debug)]
pub struct ProduceResponse {
    /// In the request's order.
    pub topics: Vec<ProducedTopic>,
    /// Where the leaders named below are reached (KIP-951).
    pub endpoints: Vec<Endpoint>,
}

/// A topic's results.
#[derive(Clone, Debug)]
pub struct ProducedTopic {
    /// As asked.
    pub topic: TopicRef,
    /// In the request's order.
    pub partitions: Vec<ProducedPartition>,
}

/// A partition's result.
#[derive(Clone, Debug)]
pub struct ProducedPartition {
    /// Partition number.
    pub index: i32,
    /// Success or the reason.
    pub refusal: Refusal,
    /// Records at fault, see `BatchRefusal`.
    pub record_errors: Vec<(i32, String)>,
    /// Offset of the batch's first record, -1 on error.
    pub base_offset: i64,
    /// The broker's time when it stamped the records (`LogAppendTime`), else -1.
    pub log_append_time_ms: i64,
    /// First offset of the log, -1 on error.
    pub log_start_offset: i64,
    /// Leader and epoch to go to after `NotLeaderOrFollower`.
    pub current_leader: Option<(NodeId, i32)>,
}

/// Read from several partitions.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Longest wait for `bytes_min`.
    pub wait_max: Duration,
    /// Answer as soon as this many bytes are there (or an error is).
    pub bytes_min: usize,
    /// Stop adding batches beyond this many bytes; the first batch always fits.
    pub bytes_max: usize,
    /// Only committed transactions (until transactions exist: the same as false).
    pub read_committed: bool,
    /// Reader's rack, empty for none.
    pub rack: String,
    /// By topic, in the order in which answers are wanted.
    pub topics: Vec<FetchTopic>,
}

/// A topic's share of a fetch.
#[derive(Clone, Debug)]
pub struct FetchTopic {
    /// The topic.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// A position to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Partition number.
    pub index: i32,
    /// Leader epoch the client believes in, -1 for none: checked (KIP-320).
    pub current_leader_epoch: i32,
    /// Offset wanted.
    pub offset: i64,
    /// Epoch of the last record the client has, -1 for none (KIP-595: answers with the diverging epoch).
    pub last_fetched_epoch: i32,
    /// Most bytes of this partition; the first batch always fits.
    pub bytes_max: usize,
}

/// Answer to `Fetch`: every partition asked for, in the same order.
#[derive(Clone, Debug)]
pub struct FetchResponse {
    /// In the request's order.
    pub topics: Vec<FetchedTopic>,
    /// Where the leaders named below are reached.
    pub endpoints: Vec<Endpoint>,
}

/// A topic's answers.
#[derive(Clone, Debug)]
pub struct FetchedTopic {
    /// As asked.
    pub topic: TopicRef,
    /// In the request's order.
    pub partitions: Vec<FetchedPartition>,
}

/// A partition's answer.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    /// Partition number.
    pub index: i32,
    /// Success or the reason.
    pub error: ErrorCode,
    /// Offset behind the last committed record, -1 on error.
    pub high_watermark: i64,
    /// Offset up to which transactions are decided, -1 on error.
    pub last_stable_offset: i64,
    /// First offset of the log, -1 on error.
    pub log_start_offset: i64,
    /// Epoch and its end offset at which the client's log and this one part.
    pub diverging: Option<(i32, i64)>,
    /// Leader and epoch to go to.
    pub current_leader: Option<(NodeId, i32)>,
    /// Consecutive batches; the first one may begin below the offset asked for.
    pub batches: Vec<StoredBatch>,
}

/// Offsets by time.
#[derive(Clone, Debug)]
pub struct ListOffsets {
    /// As in `Fetch`.
    pub read_committed: bool,
    /// By topic.
    pub topics: Vec<ListOffsetsTopic>,
}

/// A topic's share.
#[derive(Clone, Debug)]
pub struct ListOffsetsTopic {
    /// The topic, by name in all versions so far.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// One look-up.
#[derive(Clone, Copy, Debug)]
pub struct ListOffsetsPartition {
    /// Partition number.
    pub index: i32,
    /// As in `FetchPartition`.
    pub current_leader_epoch: i32,
    /// What is asked for.
    pub target: OffsetTarget,
}

/// What `ListOffsets` can look for; negative timestamps on the wire are the special ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetTarget {
    /// The first record with a timestamp at or above this, ms.
    Timestamp(i64),
    /// Behind the last committed record (-1).
    Latest,
    /// First offset of the log (-2).
    Earliest,
    /// The record with the largest timestamp (-3).
    MaxTimestamp,
    /// First offset on local disks (-4): as `Earliest` until tiering exists.
    EarliestLocal,
    /// Last offset in tiered storage (-5): none until tiering exists.
    LatestTiered,
}

/// Answer to `ListOffsets`.
#[derive(Clone, Debug)]
pub struct ListOffsetsResponse {
    /// In the request's order.
    pub topics: Vec<ListedTopic>,
}

/// A topic's answers.
#[derive(Clone, Debug)]
pub struct ListedTopic {
    /// As asked.
    pub topic: TopicRef,
    /// In the request's order.
    pub partitions: Vec<ListedPartition>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct ListedPartition {
    /// Partition number.
    pub index: i32,
    /// Success or the reason.
    pub error: ErrorCode,
    /// What was found.
    pub found: FoundOffset,
}

/// Where a look-up by time ended. Finding the record inside a (possibly compressed) batch is the wire's work.
#[derive(Clone, Debug)]
pub enum FoundOffset {
    /// No such record: offset -1, timestamp -1.
    Nothing,
    /// An offset without a timestamp (special targets), with its leader epoch (-1 when unknown).
    Offset {
        /// The offset.
        offset: i64,
        /// Its epoch.
        leader_epoch: i32,
    },
    /// The first record at or above the timestamp lies in this batch.
    InBatch {
        /// The batch.
        batch: StoredBatch,
        /// Smallest timestamp wanted, ms.
        timestamp: i64,
        /// Records below this offset (the log start) do not count.
        from: i64,
    },
}

/// Where epochs end (KIP-101, KIP-279).
#[derive(Clone, Debug)]
pub struct OffsetForLeaderEpoch {
    /// By topic: partition, epoch the client believes in (-1: none), epoch asked for.
    pub topics: Vec<(String, Vec<EpochQuery>)>,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct EpochQuery {
    /// Partition number.
    pub index: i32,
    /// As in `FetchPartition`.
    pub current_leader_epoch: i32,
    /// The epoch whose end is wanted.
    pub leader_epoch: i32,
}

/// Answer to `OffsetForLeaderEpoch`.
#[derive(Clone, Debug)]
pub struct OffsetForLeaderEpochResponse {
    /// In the request's order.
    pub topics: Vec<(String, Vec<EpochEnd>)>,
}

/// One answer: the largest epoch at or below the one asked for, and the offset behind its last record; -1 and -1 when unknown.
#[derive(Clone, Copy, Debug)]
pub struct EpochEnd {
    /// Partition number.
    pub index: i32,
    /// Success or the reason.
    pub error: ErrorCode,
    /// The epoch found.
    pub leader_epoch: i32,
    /// Where it ends.
    pub end_offset: i64,
}

/// Raise log starts.
#[derive(Clone, Debug)]
pub struct DeleteRecords {
    /// By topic: partition and the new first offset; -1 means the high watermark.
    pub topics: Vec<(String, Vec<(i32, i64)>)>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Answer to `DeleteRecords`: partition, the log start now (-1 on error), success or the reason.
#[derive(Clone, Debug)]
pub struct DeleteRecordsResponse {
    /// In the request's order.
    pub topics: Vec<(String, Vec<(i32, i64, ErrorCode)>)>,
}

/// An identity for a producer.
#[derive(Clone, Debug)]
pub struct InitProducerId {
    /// Wanted for transactions: refused by name until they exist.
    pub transactional_id: Option<String>,
    /// The identity the producer has, to get its next epoch (KIP-360); -1 for none.
    pub producer_id: i64,
    /// Its epoch; -1 for none.
    pub producer_epoch: i16,
}

/// Answer to `InitProducerId`.
#[derive(Clone, Debug)]
pub struct InitProducerIdResponse {
    /// Success or the reason.
    pub error: ErrorCode,
    /// The identity, -1 on error.
    pub producer_id: i64,
    /// Its epoch, -1 on error.
    pub producer_epoch: i16,
}
