//! Cost of a session on one core: `cargo run --release -p kafka --example session_speed`. Prints what a produce and a
//! fetch take from frame to question and from answer to segments, beside the bytes they carry.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::request::*;
use bytes::Bytes;
use kafka::frame::{SIZE_BYTES, encode_request};
use kafka::message::{fetch, produce};
use kafka::records::{BatchBuilder, Codec, NewRecord};
use kafka::session::{Session, SessionConfig, Step};
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, StoredBatch};

/// How long each row runs.
const RUN: Duration = Duration::from_millis(500);
/// Latest versions by name: what librdkafka sends.
const PRODUCE_VERSION: i16 = 10;
const FETCH_VERSION: i16 = 12;

fn row(what: &str, bytes: usize, mut call: impl FnMut()) {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < RUN {
        call();
        calls += 1;
    }
    let each = start.elapsed() / calls;
    println!("{what:52} {each:>10.2?} each {:>9.0} MB/s", bytes as f64 / each.as_secs_f64() / 1e6);
}

fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    while builder.size() + 1040 < size {
        builder.push(&NewRecord { value: Some(&[b'x'; 1024]), ..NewRecord::default() });
    }
    builder.build().expect("builds")
}

fn produced(it: Produce) -> Response {
    let topics = it.topics.into_iter().map(|topic| ProducedTopic {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| ProducedPartition {
                index: partition.index,
                refusal: Refusal::OK,
                record_errors: vec![],
                base_offset: 1,
                log_append_time_ms: -1,
                log_start_offset: 0,
                current_leader: None,
            })
            .collect(),
    });
    Response::Produce(ProduceResponse { topics: topics.collect(), endpoints: vec![] })
}

fn fetched(it: &Fetch, batches: &[StoredBatch]) -> Response {
    let topics = it.topics.iter().map(|topic| FetchedTopic {
        topic: topic.topic.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| FetchedPartition {
                index: partition.index,
                error: ErrorCode::None,
                high_watermark: 100,
                last_stable_offset: 100,
                log_start_offset: 0,
                diverging: None,
                current_leader: None,
                batches: batches.to_vec(),
            })
            .collect(),
    });
    Response::Fetch(FetchResponse { topics: topics.collect(), endpoints: vec![] })
}

fn fetch_frame(session_id: i32, session_epoch: i32, partitions: i32) -> Bytes {
    let partitions = (0..partitions).map(|partition| fetch::FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..fetch::FetchPartition::default()
    });
    let topic =
        fetch::FetchTopic { topic: "flights".into(), partitions: partitions.collect(), ..Default::default() };
    let message =
        fetch::FetchRequest { session_id, session_epoch, topics: vec![topic], ..Default::default() };
    let frame = encode_request(&message, FETCH_VERSION, 1, None).expect("encodes");
    frame.into_contiguous().slice(SIZE_BYTES..)
}

fn main() {
    let mut session = Session::new(Arc::new(SessionConfig::new("c", NodeId(0))), ClientInfo::default());
    for (partitions, size) in [(1, 2000), (1, 1 << 20), (16, 16 << 10), (256, 4 << 10)] {
        let records = batch(size);
        let carried = records.len() * partitions as usize;
        let partition_data = (0..partitions)
            .map(|index| produce::PartitionProduceData { index, records: Some(records.clone()) })
            .collect();
        let topic =
            produce::TopicProduceData { name: "flights".into(), partition_data, ..Default::default() };
        let message = produce::ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
        let frame = encode_request(&message, PRODUCE_VERSION, 1, None).expect("encodes");
        let frame = frame.into_contiguous().slice(SIZE_BYTES..);
        row(&format!("produce, {partitions} x {} bytes, there and back", records.len()), carried, || {
            let Ok(Step::Ask { pending, request: Request::Produce(it), .. }) =
                session.on_frame(frame.clone())
            else {
                panic!("a produce")
            };
            black_box(session.reply(pending, produced(it)).expect("fits"));
        });
    }
    for (partitions, batches) in [(1, 0), (1, 64), (16, 16), (1000, 0)] {
        let stored = vec![StoredBatch::new(Offset(7), LeaderEpoch(1), batch(16 << 10)); batches];
        let carried = stored.iter().map(StoredBatch::size).sum::<usize>() * partitions as usize;
        let frame = fetch_frame(0, -1, partitions);
        row(&format!("fetch, {partitions} partitions x {batches} batches of 16 KiB"), carried, || {
            let Ok(Step::Ask { pending, request: Request::Fetch(it), .. }) = session.on_frame(frame.clone())
            else {
                panic!("a fetch")
            };
            black_box(session.reply(pending, fetched(&it, &stored)).expect("fits"));
        });
    }
    let Ok(Step::Ask { pending, request: Request::Fetch(it), .. }) =
        session.on_frame(fetch_frame(0, 0, 1000))
    else {
        panic!("a fetch")
    };
    session.reply(pending, fetched(&it, &[])).expect("fits");
    let mut epoch = 0;
    row("incremental fetch, 1000 partitions, no news", 0, || {
        epoch += 1;
        let frame = fetch_frame(1, epoch, 0);
        let Ok(Step::Ask { pending, request: Request::Fetch(it), .. }) = session.on_frame(frame) else {
            panic!("a fetch")
        };
        assert_eq!(it.topics[0].partitions.len(), 1000);
        black_box(session.reply(pending, fetched(&it, &[])).expect("fits"));
    });
}
