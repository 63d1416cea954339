//! What waits in a producer: a queue of batches for each partition, a lane of ready partitions for each leader. A partition
//! stands in its leader's lane exactly when it has records and no batch in flight.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use kafka::records::{BatchBuilder, NewRecord};

use super::ProducerConfig;

/// Batches of one request together, bytes before compression.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Bytes a record takes beside its content, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// What a record is charged for, bytes.
pub(super) fn size_of(record: &NewRecord) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD_BYTES)
        .sum();
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers + RECORD_OVERHEAD_BYTES
}

/// A producer id with its epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    producer_id: i64,
    producer_epoch: i16,
}

impl Identity {
    pub fn new(producer_id: i64, producer_epoch: i16) -> Identity {
        Identity { producer_id, producer_epoch }
    }
}

/// A batch that grows.
struct Gathering {
    builder: BatchBuilder,
    tags: Vec<u64>,
    since: Instant,
    charged: usize,
}

/// A batch on its way, with identity and sequence.
pub(super) struct Outgoing {
    pub partition: i32,
    pub builder: BatchBuilder,
    pub tags: Vec<u64>,
    pub since: Instant,
    pub charged: usize,
}

#[derive(Default)]
struct Queue {
    leader: i32,
    gathering: VecDeque<Gathering>,
    in_flight: bool,
    /// Sequence of the next record under identity number `identity`.
    sequence: i32,
    identity: u64,
}

#[derive(Default)]
struct Lane {
    ready: VecDeque<usize>,
    in_flight: usize,
}

/// All queues of a producer.
pub(super) struct State {
    queues: Vec<Queue>,
    lanes: BTreeMap<i32, Lane>,
    /// Bytes charged, in flight included.
    charged: usize,
    /// Batches that wait or are in flight.
    batches: usize,
    identity: Identity,
    identity_number: u64,
    identity_lost: bool,
    sticky_partition: usize,
    sticky_bytes: usize,
}

impl State {
    pub fn new(leaders: Vec<i32>, identity: Identity) -> State {
        let queues: Vec<Queue> =
            leaders.into_iter().map(|leader| Queue { leader, ..Queue::default() }).collect();
        State {
            sticky_partition: identity.producer_id.unsigned_abs() as usize % queues.len(),
            queues,
            lanes: BTreeMap::new(),
            charged: 0,
            batches: 0,
            identity,
            identity_number: 0,
            identity_lost: false,
            sticky_bytes: 0,
        }
    }

    pub fn partition_count(&self) -> usize {
        self.queues.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// A record that is larger than the whole buffer goes when nothing else is there.
    pub fn has_room(&self, size: usize, buffer_bytes_max: usize) -> bool {
        self.charged == 0 || self.charged + size <= buffer_bytes_max
    }

    /// The partition of a keyless record.
    pub fn sticky(&mut self, size: usize, bytes_max: usize) -> i32 {
        if self.sticky_bytes > 0 && self.sticky_bytes + size > bytes_max {
            self.sticky_partition = (self.sticky_partition + 1) % self.queues.len();
            self.sticky_bytes = 0;
        }
        self.sticky_bytes += size;
        self.sticky_partition as i32
    }

    /// Adds a record; true when its partition has become ready by it.
    pub fn push(
        &mut self,
        partition: i32,
        record: &NewRecord,
        tag: u64,
        size: usize,
        config: &ProducerConfig,
    ) -> bool {
        let at = partition as usize;
        let queue = &mut self.queues[at];
        let was_idle = queue.gathering.is_empty() && !queue.in_flight;
        let fits =
            queue.gathering.back().is_some_and(|last| last.builder.size() + size <= config.batch_bytes);
        if !fits {
            let builder = BatchBuilder::new(config.compression);
            queue.gathering.push_back(Gathering {
                builder,
                tags: Vec::new(),
                since: Instant::now(),
                charged: 0,
            });
            self.batches += 1;
        }
        let last = queue.gathering.back_mut().expect("one was just added");
        last.builder.push(record);
        last.tags.push(tag);
        last.charged += size;
        self.charged += size;
        if was_idle {
            self.lanes.entry(queue.leader).or_default().ready.push_back(at);
        }
        was_idle
    }

    pub fn identity_lost(&self) -> bool {
        self.identity_lost
    }

    /// From now on sequences start anew under another producer id; what is in flight keeps the old one.
    pub fn renew(&mut self, identity: Identity) {
        self.identity = identity;
        self.identity_number += 1;
        self.identity_lost = false;
    }

    /// The batches of the next request to some leader, one for each of its ready partitions.
    pub fn take(&mut self, config: &ProducerConfig) -> Option<(i32, Vec<Outgoing>)> {
        if self.identity_lost {
            return None;
        }
        let (leader, lane) = self
            .lanes
            .iter_mut()
            .find(|(_, lane)| !lane.ready.is_empty() && lane.in_flight < config.in_flight_max)?;
        lane.in_flight += 1;
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(at) = lane.ready.pop_front() {
            let queue = &mut self.queues[at];
            let batch = queue.gathering.pop_front().expect("a ready partition has records");
            assert!(!queue.in_flight, "one batch of a partition is in flight at most");
            queue.in_flight = true;
            if queue.identity != self.identity_number {
                queue.identity = self.identity_number;
                queue.sequence = 0;
            }
            bytes += batch.charged;
            let Identity { producer_id, producer_epoch } = self.identity;
            let count = batch.builder.record_count();
            taken.push(Outgoing {
                partition: at as i32,
                builder: batch.builder.producer(producer_id, producer_epoch, queue.sequence),
                tags: batch.tags,
                since: batch.since,
                charged: batch.charged,
            });
            // Sequences wrap to 0 behind the largest.
            queue.sequence = queue.sequence.wrapping_add(count) & i32::MAX;
            if bytes >= REQUEST_BYTES_MAX {
                break;
            }
        }
        Some((*leader, taken))
    }

    /// A request has ended.
    pub fn request_ended(&mut self, leader: i32) {
        let lane = self.lanes.get_mut(&leader).expect("it was taken from this lane");
        lane.in_flight -= 1;
    }

    /// A batch has been delivered or has failed; its partition may send the next one.
    pub fn settle(&mut self, partition: i32, charged: usize, leader: Option<i32>) {
        let at = partition as usize;
        let queue = &mut self.queues[at];
        assert!(queue.in_flight, "only a batch in flight is settled");
        queue.in_flight = false;
        queue.leader = leader.unwrap_or(queue.leader);
        self.charged -= charged;
        self.batches -= 1;
        if !queue.gathering.is_empty() {
            self.lanes.entry(queue.leader).or_default().ready.push_back(at);
        }
    }

    /// The broker did not take the batch: its sequences are used again.
    pub fn give_back(&mut self, partition: i32, record_count: usize) {
        let queue = &mut self.queues[partition as usize];
        queue.sequence = queue.sequence.wrapping_sub(record_count as i32) & i32::MAX;
    }

    /// Nobody knows whether the broker took a batch, or it has forgotten us: no sequence of this identity is safe.
    pub fn lose_identity(&mut self) {
        self.identity_lost = true;
    }

    /// Everything that waits and is not in flight, given up: partition and tags.
    pub fn drain_waiting(&mut self) -> Vec<(i32, Vec<u64>)> {
        let mut drained = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.ready.clear();
        }
        for (at, queue) in self.queues.iter_mut().enumerate() {
            for batch in queue.gathering.drain(..) {
                self.charged -= batch.charged;
                self.batches -= 1;
                drained.push((at as i32, batch.tags));
            }
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &[u8]) -> NewRecord<'_> {
        NewRecord { value: Some(value), ..NewRecord::default() }
    }

    fn push(state: &mut State, partition: i32, config: &ProducerConfig) -> bool {
        let record = record(b"v");
        state.push(partition, &record, 7, size_of(&record), config)
    }

    #[test]
    fn a_partition_has_one_batch_in_flight() {
        let config = ProducerConfig::default();
        let mut state = State::new(vec![1, 1, 2], Identity::new(5, 0));
        assert!(push(&mut state, 0, &config));
        assert!(!push(&mut state, 0, &config));
        let (leader, batches) = state.take(&config).expect("ready");
        assert_eq!((leader, batches.len(), batches[0].tags.len()), (1, 1, 2));
        assert!(!push(&mut state, 0, &config), "the next batch waits");
        assert!(state.take(&config).is_none());
        state.settle(0, batches[0].charged, Some(2));
        state.request_ended(1);
        let (leader, batches) = state.take(&config).expect("ready again");
        assert_eq!((leader, batches.len()), (2, 1), "with its new leader");
        state.settle(0, batches[0].charged, None);
        assert!(state.is_empty());
        assert_eq!(state.charged, 0);
    }

    #[test]
    fn a_lane_has_so_many_requests_in_flight() {
        let config = ProducerConfig { in_flight_max: 1, ..ProducerConfig::default() };
        let mut state = State::new(vec![1, 1, 2], Identity::new(5, 0));
        push(&mut state, 0, &config);
        assert!(state.take(&config).is_some());
        push(&mut state, 1, &config);
        assert!(state.take(&config).is_none());
        push(&mut state, 2, &config);
        assert_eq!(state.take(&config).map(|(leader, _)| leader), Some(2));
        state.request_ended(1);
        assert_eq!(state.take(&config).map(|(leader, _)| leader), Some(1));
    }

    #[test]
    fn sequences_follow_on_and_start_anew_under_another_id() {
        let config = ProducerConfig::default();
        let mut state = State::new(vec![1], Identity::new(5, 0));
        let sequence_of_next = |state: &mut State| {
            push(state, 0, &config);
            push(state, 0, &config);
            let (_, mut batches) = state.take(&config).expect("ready");
            let batch = batches.remove(0);
            state.settle(0, batch.charged, None);
            state.request_ended(1);
            let bytes = batch.builder.build().expect("records");
            let header = model::BatchHeader::read(&bytes).expect("a header");
            (header.producer_id, header.base_sequence)
        };
        assert_eq!(sequence_of_next(&mut state), (5, 0));
        assert_eq!(sequence_of_next(&mut state), (5, 2));
        state.give_back(0, 2);
        assert_eq!(sequence_of_next(&mut state), (5, 2));
        state.lose_identity();
        state.renew(Identity::new(6, 0));
        assert_eq!(sequence_of_next(&mut state), (6, 0));
    }

    #[test]
    fn keyless_records_move_on_after_so_many_bytes() {
        let mut state = State::new(vec![1, 1, 1], Identity::new(0, 0));
        let partitions: Vec<i32> = (0..6).map(|_| state.sticky(50, 100)).collect();
        assert_eq!(partitions, [0, 0, 1, 1, 2, 2]);
    }
}
