//! The honest client: an idempotent producer that sends one record at a time to a topic of its own for as long as it is
//! asked to, checks each answer, and keeps how long each took.

use crate::node::{Client, PATIENCE};
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka::message::init_producer_id::InitProducerIdRequest;
use kafka::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka::records::{BatchBuilder, Codec, NewRecord};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TOPIC: &str = "honest";

#[derive(Default)]
struct State {
    acknowledged: usize,
    latencies: Vec<Duration>,
    stopped: bool,
    failed: bool,
}

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

/// A client at work on its own thread.
pub struct Honest {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Honest {
    /// Begins at once.
    pub fn start(stream: TcpStream) -> Honest {
        let progress = Arc::new(Progress::default());
        let kept = progress.clone();
        let body = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(Client::new(stream), &kept)));
            kept.state.lock().unwrap_or_else(PoisonError::into_inner).failed = outcome.is_err();
            kept.moved.notify_all();
        };
        Honest { progress, thread: Some(std::thread::spawn(body)) }
    }

    /// What a test's failed assertion leaves behind is whole: each change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.progress.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.state().acknowledged
    }

    /// Waits until so many are.
    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        while state.acknowledged < count {
            assert!(!state.failed, "the honest client has met an error");
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the honest client is stuck at {} records", state.acknowledged);
            let waited = self.progress.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What each answer took since the last call.
    pub fn take_latencies(&self) -> Vec<Duration> {
        std::mem::take(&mut self.state().latencies)
    }

    /// Lets it read back what it wrote. Fails when any answer was not what an honest client may expect.
    pub fn finish(mut self) -> Vec<Duration> {
        self.state().stopped = true;
        let thread = self.thread.take().expect("ended once");
        thread.join().expect("it catches what goes wrong");
        assert!(!self.state().failed, "the honest client has met an error");
        self.take_latencies()
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.state().stopped = true;
    }
}

fn work(mut client: Client, progress: &Progress) {
    client.make_topic(TOPIC);
    let id = client.ask(&InitProducerIdRequest { transactional_id: None, ..Default::default() }, 4);
    assert_eq!(id.error_code, 0);
    let mut written = 0_i32;
    while !progress.state.lock().unwrap_or_else(PoisonError::into_inner).stopped {
        let began = Instant::now();
        let mut batch = BatchBuilder::new(Codec::None).producer(id.producer_id, id.producer_epoch, written);
        batch.push(&NewRecord { value: Some(b"honest work"), ..Default::default() });
        let partition = PartitionProduceData { index: 0, records: Some(batch.build().expect("a batch")) };
        let topic =
            TopicProduceData { name: TOPIC.into(), partition_data: vec![partition], ..Default::default() };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
        let answer = client.ask(&request, 9);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(written)));
        written += 1;
        let mut state = progress.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.latencies.push(began.elapsed());
        state.acknowledged += 1;
        progress.moved.notify_all();
    }
    // The first and the last record are there, and nothing behind it.
    for offset in [0, i64::from(written) - 1] {
        let partition =
            FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
        let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { max_bytes: 1 << 20, topics: vec![topic], ..Default::default() };
        let answer = client.ask(&request, 11);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, i64::from(written)));
    }
}
