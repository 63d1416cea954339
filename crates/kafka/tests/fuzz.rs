//! Fuzz harnesses: kept inputs and a few thousand random ones with the other tests; `cargo xtask fuzz` runs them all for a
//! while, `cargo bolero test` one of them for as long as wanted.
//! Whatever the bytes: an error or a value, never a panic, and what was accepted can be written and read again.

#[path = "../../../tests/fuzz/driver.rs"]
mod driver;

use bytes::Bytes;
use kafka::consumer_protocol;
use kafka::frame::{FrameReader, decode_request_header};
use kafka::message::consumer_protocol_subscription::ConsumerProtocolSubscription;
use kafka::message::{ApiKey, RequestBody, ResponseBody};
use kafka::records::{Batches, Codec, Limits, first_at_or_after, records, validate};
use kafka::wire::{Decoder, Encoder};
use model::BatchHeader;
use model::batch::{HEADER_BYTES, LENGTH_END, crc_of};
use std::sync::LazyLock;

/// Inputs per harness in an ordinary test run.
const ITERATIONS: usize = 20_000;

/// Decompressed bytes per batch: small, so that inputs reach the limit.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

/// Key and version from the first two bytes, the rest is the body.
fn pick(input: &[u8]) -> Option<(ApiKey, i16, Bytes)> {
    let (choice, body) = input.split_first_chunk::<2>()?;
    let key = ApiKey::ALL[usize::from(choice[0]) % ApiKey::ALL.len()];
    let versions = key.valid_versions();
    let count = versions.end() - versions.start() + 1;
    let version = versions.start() + i16::from(choice[1]) % count;
    Some((key, version, Bytes::copy_from_slice(body)))
}

fn decode_request(input: &[u8]) {
    let Some((key, version, body)) = pick(input) else { return };
    let decode = |bytes: Bytes| RequestBody::decode(key, &mut Decoder::new(bytes), version);
    let encode = |request: RequestBody| {
        let mut out = Encoder::new();
        request.encode(&mut out, version).expect("what was read can be written");
        out.finish().into_contiguous()
    };
    if let Ok(request) = decode(body) {
        let bytes = encode(request);
        assert_eq!(encode(decode(bytes.clone()).expect("our own bytes")), bytes);
    }
}

fn decode_response(input: &[u8]) {
    let Some((key, version, body)) = pick(input) else { return };
    let decode = |bytes: Bytes| ResponseBody::decode(key, &mut Decoder::new(bytes), version);
    let encode = |response: ResponseBody| {
        let mut out = Encoder::new();
        response.encode(&mut out, version).expect("what was read can be written");
        out.finish().into_contiguous()
    };
    if let Ok(response) = decode(body) {
        let bytes = encode(response);
        assert_eq!(encode(decode(bytes.clone()).expect("our own bytes")), bytes);
    }
}

fn cut_frames(input: &[u8]) {
    let mut reader = FrameReader::new(1 << 16);
    for part in input.chunks(7) {
        reader.feed(part);
        while let Ok(Some(frame)) = reader.next_frame() {
            // Unknown keys and short headers are errors; a panic fails the harness.
            let _ = decode_request_header(&mut Decoder::new(frame));
        }
    }
}

/// A batch whose length, count and checksum fit its body, so that inputs reach the records.
fn batch(codec: Codec, record_count: i32, body: &[u8]) -> Bytes {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(body);
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: (bytes.len() - LENGTH_END) as i32,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: codec as i16,
        last_offset_delta: record_count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: record_count,
    };
    for _ in 0..2 {
        header.write(bytes.first_chunk_mut().expect("a header"));
        header.crc = crc_of(&bytes);
    }
    bytes.into()
}

/// Validation, both readers, and their agreement.
fn examine(bytes: Bytes) {
    // The log gives the base offset, whatever the producer wrote there.
    let mut bytes = bytes.to_vec();
    if let Some(base_offset) = bytes.first_chunk_mut::<8>() {
        *base_offset = [0; 8];
    }
    let bytes = Bytes::from(bytes);
    let limits = Limits { decompressed_bytes_max: DECOMPRESSED_BYTES_MAX, ..Limits::default() };
    let validated = validate(bytes.clone(), &limits);
    let _ = first_at_or_after(&bytes, 0, DECOMPRESSED_BYTES_MAX);
    let read =
        records(&bytes, DECOMPRESSED_BYTES_MAX).and_then(|records| records.collect::<Result<Vec<_>, _>>());
    if let Ok(batches) = validated {
        let read = read.expect("a valid batch can be read");
        let [batch] = &batches[..] else { panic!("one batch was allowed") };
        assert_eq!(read.len(), batch.header.records_count as usize);
        assert_eq!(read.iter().map(|record| record.timestamp).max(), Some(batch.header.max_timestamp));
    }
}

fn validate_batch(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    examine(input.clone());
    for batch in Batches::new(input) {
        let _ = batch;
    }
}

/// The first byte says how many records the header claims, the rest is their compressed bytes.
fn unpack(codec: Codec, input: &[u8]) {
    let Some((count, body)) = input.split_first() else { return };
    examine(batch(codec, i32::from(*count % 8) + 1, body));
}

/// Real batches of each codec, the header aside.
static GOLDEN: LazyLock<Vec<(Codec, Vec<u8>)>> = LazyLock::new(|| {
    let lines = include_str!("../golden/batches.txt").lines().filter(|line| !line.starts_with('#'));
    let batches = lines.filter_map(|line| line.split_once(' ')).map(|(name, hex)| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        (Codec::from_name(name).expect("codec"), bytes[HEADER_BYTES..].to_vec())
    });
    batches.collect()
});

/// A real batch with a few bytes changed: deeper than random bytes get.
fn damage_batch(input: &[u8]) {
    let Some((choice, changes)) = input.split_first() else { return };
    let (codec, mut body) = GOLDEN[usize::from(*choice) % GOLDEN.len()].clone();
    for change in changes.chunks_exact(2).take(4) {
        let at = usize::from(change[0]) % body.len();
        body[at] = change[1];
    }
    examine(batch(codec, 4, &body));
}

/// A subscription of a group's member, as the coordinator reads it.
fn read_subscription(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(subscription) = consumer_protocol::decode::<ConsumerProtocolSubscription>(bytes) {
        assert!(subscription.topics.len() <= input.len());
    }
}

driver::harnesses! {
    request_decode: ITERATIONS, decode_request;
    response_decode: ITERATIONS, decode_response;
    frames_and_headers: ITERATIONS, cut_frames;
    batch_validate: ITERATIONS, validate_batch;
    codec_none: ITERATIONS, |input: &[u8]| unpack(Codec::None, input);
    codec_gzip: ITERATIONS, |input: &[u8]| unpack(Codec::Gzip, input);
    codec_snappy: ITERATIONS, |input: &[u8]| unpack(Codec::Snappy, input);
    codec_lz4: ITERATIONS, |input: &[u8]| unpack(Codec::Lz4, input);
    codec_zstd: ITERATIONS, |input: &[u8]| unpack(Codec::Zstd, input);
    damaged_real_batches: ITERATIONS, damage_batch;
    subscription_decode: ITERATIONS, read_subscription;
}
