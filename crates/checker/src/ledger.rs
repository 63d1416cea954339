//! What a history says, put in order once for all checkers: each produce with its outcome, each observation with what
//! was known when it was asked for, and each partition's log as readers saw it. A fact that contradicts an older one
//! never replaces it; the checkers compare.

use crate::history::{Event, History, Op, Partition, Producer, RecordId, SeenRecord};
use std::collections::{BTreeMap, HashMap};

/// How a produce ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, at this offset where the answer named one.
    Acked(Option<i64>),
    /// Refused for good.
    Failed,
    /// Nobody knows.
    Indeterminate,
}

/// One produce.
#[derive(Debug)]
pub struct Produce<'a> {
    pub op: Op,
    pub producer: Producer,
    pub idempotent: bool,
    pub partition: Partition,
    pub records: &'a [RecordId],
    /// How often it was sent again.
    pub retries: u64,
    pub outcome: Outcome,
    /// Timestamps of the records, where the workload told.
    pub timestamps: &'a [i64],
    /// Size of the batch, 0 where the workload did not tell.
    pub bytes: u64,
    /// Event number of the acknowledgement.
    pub acked_at: Option<usize>,
    /// Event number of the call.
    pub invoked_at: usize,
    /// Highest offset acknowledged to the same producer and partition before the call; -1 for none.
    pub own_acked_before: i64,
}

/// What may go by age or size.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub millis: Option<i64>,
    pub bytes: Option<u64>,
}

/// One answered look-up by time.
#[derive(Debug)]
pub struct TimeLookup {
    pub partition: Partition,
    pub timestamp: i64,
    pub found: Option<(i64, i64)>,
    /// Event number of the call.
    pub asked_at: usize,
    /// Highest offset that anyone had asked to trim to before the answer.
    pub trim_ceiling: i64,
}

/// One answered fetch, or a final read.
#[derive(Debug)]
pub struct Observation<'a> {
    pub partition: Partition,
    /// Event number of the answer.
    pub at: usize,
    /// Highest end of log told or acknowledged to anyone before the call.
    pub watermark_floor: i64,
    /// Highest log start told to anyone before the call.
    pub log_start_floor: i64,
    /// Highest offset that anyone had asked to trim to before the answer.
    pub trim_ceiling: i64,
    /// Latest time of the node's clock before the answer.
    pub clock_ms: i64,
    pub high_watermark: i64,
    pub log_start: Option<i64>,
    pub records: &'a [SeenRecord],
    /// Restarts before the answer.
    pub restarts: u32,
}

/// The final read of a partition.
#[derive(Clone, Copy, Debug)]
pub struct FinalLog<'a> {
    pub log_start: i64,
    pub high_watermark: i64,
    pub records: &'a [SeenRecord],
}

/// Where a record was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Index into `produces`.
    pub produce: usize,
    /// Its place within the produce.
    pub place: usize,
}

/// The history in order.
#[derive(Debug)]
pub struct Ledger<'a> {
    pub produces: Vec<Produce<'a>>,
    pub sent: HashMap<RecordId, Sent>,
    pub observations: Vec<Observation<'a>>,
    pub finals: BTreeMap<Partition, FinalLog<'a>>,
    /// Every place at which a record was seen, first sighting of each offset, in order of offsets.
    pub seen: BTreeMap<(Partition, i64), Option<RecordId>>,
    pub retentions: HashMap<Partition, Retention>,
    pub lookups: Vec<TimeLookup>,
    /// Ranges that the final reader was refused, in the order of the reading.
    pub refused: Vec<(Partition, i64, i64)>,
}

/// When something was told.
#[derive(Clone, Copy)]
struct Moment {
    at: usize,
    clock_ms: i64,
    restarts: u32,
}

#[derive(Clone, Copy, Default)]
struct PartitionFloors {
    watermark: i64,
    log_start: i64,
    trim: i64,
}

impl PartitionFloors {
    fn told(&mut self, high_watermark: i64, log_start: Option<i64>) {
        raise(&mut self.watermark, high_watermark);
        raise(&mut self.log_start, log_start.unwrap_or(0));
    }
}

/// Fetches under way, and what each node told where only that binds it.
#[derive(Default)]
struct Fetches {
    asked: HashMap<Op, (Partition, Option<u32>, PartitionFloors)>,
    told: HashMap<(Partition, u32), PartitionFloors>,
}

impl Fetches {
    /// A question, with what anybody was told before.
    fn ask(&mut self, op: Op, partition: Partition, node: Option<u32>, anybody: PartitionFloors) {
        let of_node = node.map(|node| *self.told.entry((partition, node)).or_default());
        self.asked.insert(op, (partition, node, of_node.unwrap_or(anybody)));
    }

    /// Its answer: where, and what it is held against.
    fn answer(
        &mut self,
        op: Op,
        high_watermark: i64,
        log_start: Option<i64>,
    ) -> (Partition, PartitionFloors) {
        let (partition, node, before) =
            self.asked.remove(&op).expect("the workload answers only what was asked");
        if let Some(node) = node {
            self.told.entry((partition, node)).or_default().told(high_watermark, log_start);
        }
        (partition, before)
    }
}

impl<'a> Ledger<'a> {
    pub fn new(history: &'a History) -> Ledger<'a> {
        let mut ledger = Ledger {
            produces: Vec::new(),
            sent: HashMap::new(),
            observations: Vec::new(),
            finals: BTreeMap::new(),
            seen: BTreeMap::new(),
            retentions: HashMap::new(),
            lookups: Vec::new(),
            refused: Vec::new(),
        };
        let mut floors: HashMap<Partition, PartitionFloors> = HashMap::new();
        let mut by_op: HashMap<Op, usize> = HashMap::new();
        let mut fetches = Fetches::default();
        let mut own_acked: HashMap<(Producer, Partition), i64> = HashMap::new();
        let mut restarts = 0;
        let mut clock_ms = i64::MIN;
        for (at, event) in history.events().iter().enumerate() {
            match event {
                Event::ProduceInvoked { op, producer, idempotent, partition, records } => {
                    let index = ledger.produces.len();
                    by_op.insert(*op, index);
                    for (place, record) in records.iter().enumerate() {
                        let before = ledger.sent.insert(*record, Sent { produce: index, place });
                        assert!(before.is_none(), "the workload used record id {record:?} twice");
                    }
                    ledger.produces.push(Produce {
                        op: *op,
                        producer: *producer,
                        idempotent: *idempotent,
                        partition: *partition,
                        records,
                        retries: 0,
                        outcome: Outcome::Indeterminate,
                        timestamps: &[],
                        bytes: 0,
                        acked_at: None,
                        invoked_at: at,
                        own_acked_before: own_acked.get(&(*producer, *partition)).copied().unwrap_or(-1),
                    });
                }
                Event::ProduceRetried { op } => ledger.produce(&by_op, *op).retries += 1,
                Event::Stamped { op, timestamps, bytes } => {
                    let produce = ledger.produce(&by_op, *op);
                    (produce.timestamps, produce.bytes) = (timestamps, *bytes);
                }
                Event::ProduceAcked { op, base_offset } => {
                    let produce = ledger.produce(&by_op, *op);
                    produce.outcome = Outcome::Acked(*base_offset);
                    produce.acked_at = Some(at);
                    if let Some(base) = base_offset {
                        let end = base + produce.records.len() as i64;
                        let (producer, partition) = (produce.producer, produce.partition);
                        raise(&mut floors.entry(partition).or_default().watermark, end);
                        raise(own_acked.entry((producer, partition)).or_insert(-1), end - 1);
                    }
                }
                Event::ProduceFailed { op } => ledger.produce(&by_op, *op).outcome = Outcome::Failed,
                Event::ProduceIndeterminate { op } => {
                    ledger.produce(&by_op, *op).outcome = Outcome::Indeterminate;
                }
                Event::FetchInvoked { op, partition, node } => {
                    fetches.ask(*op, *partition, *node, *floors.entry(*partition).or_default());
                }
                Event::Fetched { op, high_watermark, log_start, records } => {
                    let (partition, before) = fetches.answer(*op, *high_watermark, *log_start);
                    let floor = floors.entry(partition).or_default();
                    let known = PartitionFloors { trim: floor.trim, ..before };
                    floor.told(*high_watermark, *log_start);
                    let told = (*high_watermark, *log_start, records.as_slice());
                    ledger.observe(partition, Moment { at, clock_ms, restarts }, known, told);
                }
                Event::TrimInvoked { partition, before } => {
                    raise(&mut floors.entry(*partition).or_default().trim, *before);
                }
                Event::NodeClock { wall_ms } => raise(&mut clock_ms, *wall_ms),
                Event::FinalLog { partition, log_start, high_watermark, records } => {
                    let known = *floors.entry(*partition).or_default();
                    let told = (*high_watermark, Some(*log_start), records.as_slice());
                    ledger.observe(*partition, Moment { at, clock_ms, restarts }, known, told);
                    let last = FinalLog { log_start: *log_start, high_watermark: *high_watermark, records };
                    ledger.finals.insert(*partition, last);
                }
                Event::Restarted => restarts += 1,
                Event::RetentionSet { .. }
                | Event::TimeSought { .. }
                | Event::TimeFound { .. }
                | Event::Refused { .. }
                | Event::CommitInvoked { .. }
                | Event::CommitAcked { .. }
                | Event::CommitFailed { .. }
                | Event::OffsetFetchInvoked { .. }
                | Event::OffsetFetched { .. } => {}
            }
        }
        ledger.note_exceptions(history);
        ledger
    }

    fn observe(
        &mut self,
        partition: Partition,
        moment: Moment,
        known: PartitionFloors,
        (high_watermark, log_start, records): (i64, Option<i64>, &'a [SeenRecord]),
    ) {
        self.observations.push(Observation {
            partition,
            at: moment.at,
            watermark_floor: known.watermark,
            log_start_floor: known.log_start,
            trim_ceiling: known.trim,
            clock_ms: moment.clock_ms,
            high_watermark,
            log_start,
            records,
            restarts: moment.restarts,
        });
        self.see(partition, records);
    }

    /// Look-ups by time, what retention may take, and what was refused as damaged.
    fn note_exceptions(&mut self, history: &History) {
        let mut sought: HashMap<Op, (Partition, i64, usize)> = HashMap::new();
        let mut trims: HashMap<Partition, i64> = HashMap::new();
        for (at, event) in history.events().iter().enumerate() {
            match event {
                Event::TrimInvoked { partition, before } => {
                    raise(trims.entry(*partition).or_default(), *before);
                }
                Event::RetentionSet { partition, millis, bytes } => {
                    self.retentions.insert(*partition, Retention { millis: *millis, bytes: *bytes });
                }
                Event::TimeSought { op, partition, timestamp } => {
                    sought.insert(*op, (*partition, *timestamp, at));
                }
                Event::TimeFound { op, found } => {
                    let (partition, timestamp, asked_at) =
                        sought.remove(op).expect("the workload answers only what was asked");
                    let trim_ceiling = trims.get(&partition).copied().unwrap_or_default();
                    let found = *found;
                    self.lookups.push(TimeLookup { partition, timestamp, found, asked_at, trim_ceiling });
                }
                Event::Refused { partition, from, to } => self.refused.push((*partition, *from, *to)),
                _ => {}
            }
        }
    }

    /// The produce that sent `record`, and the record's place in it.
    pub fn sender(&self, record: RecordId) -> Option<(&Produce<'a>, usize)> {
        self.sent.get(&record).map(|sent| (&self.produces[sent.produce], sent.place))
    }

    /// Whether the final reader was refused this offset as damaged.
    pub fn is_refused(&self, partition: Partition, offset: i64) -> bool {
        self.refused.iter().any(|(at, from, to)| *at == partition && (*from..*to).contains(&offset))
    }

    /// Offsets between `from` and `to` that the final reader was refused.
    pub fn refused_between(&self, partition: Partition, from: i64, to: i64) -> i64 {
        let within = self.refused.iter().filter(|(at, ..)| *at == partition);
        within.map(|(_, first, end)| (to.min(*end) - from.max(*first)).max(0)).sum()
    }

    fn produce(&mut self, by_op: &HashMap<Op, usize>, op: Op) -> &mut Produce<'a> {
        &mut self.produces[*by_op.get(&op).expect("the workload answers only what was asked")]
    }

    fn see(&mut self, partition: Partition, records: &[SeenRecord]) {
        for seen in records {
            self.seen.entry((partition, seen.offset)).or_insert(seen.record);
        }
    }
}

fn raise(value: &mut i64, to: i64) {
    *value = (*value).max(to);
}
