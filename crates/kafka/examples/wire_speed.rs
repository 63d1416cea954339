//! Speed of the wire on one core: `cargo run --release -p kafka --example wire_speed`. Prints MB/s of the produce path
//! (decode, checksum, walk) and of an encoded fetch response.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka::message::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka::records::{BatchBuilder, Codec, Limits, NewRecord, validate};
use kafka::wire::{Decoder, Encoder, Records};

/// How long each row runs.
const RUN: Duration = Duration::from_millis(700);

/// Prints `bytes` per call as MB/s, and the time of one call.
fn row(what: &str, bytes: usize, mut call: impl FnMut()) {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < RUN {
        call();
        calls += 1;
    }
    let each = start.elapsed() / calls;
    println!("{what:44} {:>9.0} MB/s {each:>12.2?} each", bytes as f64 / each.as_secs_f64() / 1e6);
}

/// A batch of about `size` bytes of records of `value_size` bytes that compress to about a half.
fn batch(codec: Codec, size: usize, value_size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    let mut state = 1u64;
    while builder.size() + value_size + 20 < size {
        let value: Vec<u8> = (0..value_size)
            .map(|at| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                if at % 16 < 8 { b'x' } else { (state >> 56) as u8 }
            })
            .collect();
        builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() });
    }
    builder.build().expect("builds")
}

fn main() {
    let limits = Limits { batch_bytes_max: 4 << 20, ..Limits::default() };
    for value_size in [1024, 100] {
        let plain = batch(Codec::None, 1 << 20, value_size);
        let size = plain.len();
        let request = ProduceRequest {
            acks: -1,
            topic_data: vec![TopicProduceData {
                name: "flights".into(),
                partition_data: vec![PartitionProduceData { index: 0, records: Some(plain.clone()) }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut out = Encoder::new();
        request.encode(&mut out, 11).expect("encodes");
        let frame = out.finish().into_contiguous();
        println!("1 MiB batch of {value_size}-byte records");
        let decode = || ProduceRequest::decode(&mut Decoder::new(frame.clone()), 11).expect("decodes");
        row("  decode the produce request", size, || drop(decode()));
        row("  decode and validate", size, || {
            let mut request = decode();
            let records = request.topic_data[0].partition_data[0].records.take().expect("records");
            validate(records, &limits).expect("valid");
        });
        row("  of which checksum", size, || assert!(model::batch::crc_of(&plain) != 0));
        for codec in &Codec::ALL[1..] {
            let compressed = batch(*codec, 1 << 20, value_size);
            row(&format!("  validate {} (uncompressed MB/s)", codec.name()), size, || {
                validate(compressed.clone(), &limits).expect("valid");
            });
        }
    }
    println!("4 KiB batch of 100-byte records");
    for codec in Codec::ALL {
        let small = batch(codec, 4 << 10, 100);
        row(&format!("  validate {}", codec.name()), 4 << 10, || {
            validate(small.clone(), &limits).expect("valid");
        });
    }
    let piece = batch(Codec::None, 64 << 10, 1024);
    let partitions = 16;
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "flights".into(),
            partitions: (0..partitions)
                .map(|partition_index| PartitionData {
                    partition_index,
                    records: Some(Records::from(piece.clone())),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    row("encode a fetch response, 16 x 64 KiB", piece.len() * partitions as usize, || {
        let mut out = Encoder::framed();
        response.encode(&mut out, 12).expect("encodes");
        out.finish_frame().expect("fits");
    });
}
