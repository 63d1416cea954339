//! A history: what clients asked for, what they were told, what they saw, in the order it happened to them. The
//! workload (simulated or real) writes it; nothing in it comes from inside a node. A call and its answer are two
//! events, so that real-time order can be judged: an answer before a call binds it, a concurrent one does not.

/// A partition of the workload. A topic deleted and made again gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// One producer incarnation (an idempotent producer that asked for a new identity is another one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer(pub u32);

/// A consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

/// A record's identity, written into the record by the workload and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// Ties an answer to its call. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub u64);

/// A record where a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRecord {
    /// Its offset.
    pub offset: i64,
    /// Its identity; `None` when the bytes are no record of this workload (always a phantom).
    pub record: Option<RecordId>,
}

/// One thing that happened at a client, or to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A produce was sent for the first time.
    ProduceInvoked {
        /// The call.
        op: Op,
        /// Who sends.
        producer: Producer,
        /// Whether the broker must keep duplicates of it away and its order.
        idempotent: bool,
        /// Where to.
        partition: Partition,
        /// What, in order.
        records: Vec<RecordId>,
    },
    /// The same produce was sent again, after an answer was lost or said "try again".
    ProduceRetried {
        /// The call.
        op: Op,
    },
    /// The produce was acknowledged.
    ProduceAcked {
        /// The call.
        op: Op,
        /// Offset of its first record; `None` when the broker did not say (duplicate older than it remembers).
        base_offset: Option<i64>,
    },
    /// The produce was refused for good: none of its attempts was or will be appended.
    ProduceFailed {
        /// The call.
        op: Op,
    },
    /// What the records of a produce carry: follows `ProduceInvoked` where look-ups by time or retention are judged.
    Stamped {
        /// The call.
        op: Op,
        /// Each record's timestamp, milliseconds since 1970.
        timestamps: Vec<i64>,
        /// Size of the batch as it was sent, bytes.
        bytes: u64,
    },
    /// Nobody will ever know. (A produce without any answer at the end of the history counts as this.)
    ProduceIndeterminate {
        /// The call.
        op: Op,
    },
    /// A fetch (or a look at the newest offset) was sent.
    FetchInvoked {
        /// The call.
        op: Op,
        /// Where.
        partition: Partition,
        /// The node that is asked, where its answer may be behind what other nodes told: a leader that was just replaced and
        /// does not know it. Such an answer is held against what that node told. `None`: the answer must be current.
        node: Option<u32>,
    },
    /// It was answered.
    Fetched {
        /// The call.
        op: Op,
        /// Offset behind the last committed record, as told.
        high_watermark: i64,
        /// First offset still there, as told; `None` when the answer has no such field.
        log_start: Option<i64>,
        /// What came, in order.
        records: Vec<SeenRecord>,
    },
    /// Someone may remove records below this offset from now on (DeleteRecords, or retention: `i64::MAX`).
    TrimInvoked {
        /// Where.
        partition: Partition,
        /// First offset that has to stay.
        before: i64,
    },
    /// The partition's oldest segments may go from now on, by age or by size.
    RetentionSet {
        /// Where.
        partition: Partition,
        /// Age beyond which records may go, milliseconds.
        millis: Option<i64>,
        /// Size that has to stay, bytes of batches.
        bytes: Option<u64>,
    },
    /// The latest time that the node's own clock has shown so far: what retention by age goes by.
    NodeClock {
        /// Milliseconds since 1970.
        wall_ms: i64,
    },
    /// The first record at or after a time was asked for.
    TimeSought {
        /// The call.
        op: Op,
        /// Where.
        partition: Partition,
        /// The time, milliseconds since 1970.
        timestamp: i64,
    },
    /// It was answered.
    TimeFound {
        /// The call.
        op: Op,
        /// Offset and timestamp told; `None` for "no such record".
        found: Option<(i64, i64)>,
    },
    /// The final reader was refused these offsets because their bytes are damaged, and the workload had damaged them:
    /// they are no loss, and no gap either.
    Refused {
        /// Where.
        partition: Partition,
        /// First offset refused.
        from: i64,
        /// Offset behind the last one refused.
        to: i64,
    },
    /// The whole partition from its start to its end, read after everything was healed.
    FinalLog {
        /// Where.
        partition: Partition,
        /// First offset still there.
        log_start: i64,
        /// Offset behind the last record.
        high_watermark: i64,
        /// Everything between.
        records: Vec<SeenRecord>,
    },
    /// A group's offset was sent to be committed.
    CommitInvoked {
        /// The call.
        op: Op,
        /// The group.
        group: Group,
        /// Where.
        partition: Partition,
        /// The next offset the group wants to read.
        offset: i64,
    },
    /// It was acknowledged.
    CommitAcked {
        /// The call.
        op: Op,
    },
    /// It was refused for good: it never took or will take effect.
    CommitFailed {
        /// The call.
        op: Op,
    },
    /// A group's committed offset was asked for.
    OffsetFetchInvoked {
        /// The call.
        op: Op,
        /// The group.
        group: Group,
        /// Where.
        partition: Partition,
    },
    /// It was answered.
    OffsetFetched {
        /// The call.
        op: Op,
        /// What was told; `None` for "nothing committed".
        offset: Option<i64>,
    },
    /// A node was restarted, in whatever way it went down.
    Restarted,
}

/// Events in the order in which they happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
}

impl History {
    /// Adds what happened last.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Everything so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Everything so far, to be doctored (tests of the checkers).
    pub fn events_mut(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }
}
