//! Fuzz harnesses, short enough to run with the other tests; `cargo bolero test` runs one of them for as long as wanted.
//! Whatever the bytes: an error or a value, never a panic, and what was accepted can be written and read again.

use bytes::Bytes;
use kafka::frame::{FrameReader, decode_request_header};
use kafka::message::{ApiKey, RequestBody, ResponseBody};
use kafka::records::{Batches, Codec, Limits, first_at_or_after, records, validate};
use kafka::wire::{Decoder, Encoder};
use model::BatchHeader;
use model::batch::{HEADER_BYTES, LENGTH_END, crc_of};

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

#[test]
fn request_decode() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
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
    });
}

#[test]
fn response_decode() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
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
    });
}

#[test]
fn frames_and_headers() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let mut reader = FrameReader::new(1 << 16);
        for part in input.chunks(7) {
            reader.feed(part);
            while let Ok(Some(frame)) = reader.next_frame() {
                // Unknown keys and short headers are errors; a panic fails the harness.
                let _ = decode_request_header(&mut Decoder::new(frame));
            }
        }
    });
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

#[test]
fn batch_validate() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = Bytes::copy_from_slice(input);
        examine(input.clone());
        for batch in Batches::new(input) {
            let _ = batch;
        }
    });
}

fn codec(codec: Codec) {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let Some((count, body)) = input.split_first() else { return };
        examine(batch(codec, i32::from(*count % 8) + 1, body));
    });
}

#[test]
fn codec_none() {
    codec(Codec::None);
}

#[test]
fn codec_gzip() {
    codec(Codec::Gzip);
}

#[test]
fn codec_snappy() {
    codec(Codec::Snappy);
}

#[test]
fn codec_lz4() {
    codec(Codec::Lz4);
}

#[test]
fn codec_zstd() {
    codec(Codec::Zstd);
}

/// Real batches of each codec with a few bytes changed: deeper than random bytes get.
#[test]
fn damaged_real_batches() {
    let golden: Vec<(Codec, Vec<u8>)> = include_str!("../golden/batches.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, hex)| {
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            (Codec::from_name(name).expect("codec"), bytes[HEADER_BYTES..].to_vec())
        })
        .collect();
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let Some((choice, changes)) = input.split_first() else { return };
        let (codec, mut body) = golden[usize::from(*choice) % golden.len()].clone();
        for change in changes.chunks_exact(2).take(4) {
            let at = usize::from(change[0]) % body.len();
            body[at] = change[1];
        }
        examine(batch(codec, 4, &body));
    });
}
