//! Batches of the Java client, batches of our own, and batches that lie.

use bytes::Bytes;
use model::BatchHeader;
use model::ErrorCode;
use model::batch::{HEADER_BYTES, LENGTH_END, crc_of};
use std::io::Read;

use super::validate::write_header;
use super::*;

const GOLDEN: &str = include_str!("../../golden/batches.txt");

fn golden() -> impl Iterator<Item = (Codec, Bytes)> {
    GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (codec, hex) = line.split_once(' ').expect("codec and hex");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (Codec::from_name(codec).expect("codec"), (0..hex.len()).step_by(2).map(byte).collect())
    })
}

fn sample(codec: Codec, count: i32) -> Bytes {
    let mut builder = BatchBuilder::new(codec).producer(9, 1, 5);
    for index in 0..count {
        let value = format!("value {index} ").repeat(20);
        builder.push(&NewRecord {
            timestamp: 1000 + i64::from(index % 7),
            key: (index % 2 == 0).then_some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[("trace", Some(b"1")), ("trace", None)],
        });
    }
    builder.build().expect("builds")
}

/// The batch with its header changed and its checksum made right again.
fn changed(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut copy = batch.to_vec();
    let mut header = BatchHeader::read(&copy).expect("header");
    change(&mut header);
    write_header(&mut copy, &header);
    header.crc = crc_of(&copy);
    write_header(&mut copy, &header);
    copy.into()
}

/// A batch of `header`'s kind around a body.
fn around(body: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let batch = sample(Codec::None, 1);
    let whole = [&batch[..HEADER_BYTES], body].concat();
    changed(&whole.into(), |header| {
        header.batch_length = (HEADER_BYTES - LENGTH_END + body.len()) as i32;
        change(header);
    })
}

fn check(batch: Bytes) -> Result<Vec<ValidatedBatch>, RecordsError> {
    validate(batch, &Limits::default())
}

#[test]
fn batches_of_the_java_client_validate_and_read_back() {
    let mut seen = 0;
    for (codec, batch) in golden() {
        let validated = check(batch.clone()).expect("the Java client's batch");
        let [validated] = validated.try_into().expect("one batch");
        assert_eq!(validated.bytes, batch);
        assert_eq!(Codec::from_attributes(validated.header.attributes), Ok(codec));
        assert_eq!((validated.header.max_timestamp, validated.facts.newest), (1005, Some((1, 1005))));
        assert_eq!(validated.header.producer_id, 4000);
        let read: Vec<Record> =
            records(&batch, 1 << 20).expect("opens").map(|r| r.expect("record")).collect();
        let values: Vec<Option<&[u8]>> = read.iter().map(|r| r.value.as_deref()).collect();
        let want: [Option<&[u8]>; 4] = [
            Some(b"value zero value zero value zero"),
            Some(b"value one value one value one"),
            None,
            Some(b"v3"),
        ];
        assert_eq!(values, want, "{codec:?}");
        assert_eq!(read[1].key, None);
        assert_eq!(
            read.iter().map(|r| (r.offset, r.timestamp)).collect::<Vec<_>>(),
            [(0, 1000), (1, 1005), (2, 1003), (3, 1005)]
        );
        let headers: Vec<_> = read[3].headers.iter().map(|h| (&h.key[..], h.value.as_deref())).collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"x"[..])), (b"h", None)], "duplicate keys stay");
        seen += 1;
    }
    assert_eq!(seen, Codec::ALL.len());
}

#[test]
fn our_uncompressed_batch_is_the_java_clients_byte_for_byte() {
    let (_, theirs) = golden().next().expect("the first is uncompressed");
    let mut ours = BatchBuilder::new(Codec::None).producer(4000, 3, 70);
    let push = |ours: &mut BatchBuilder, timestamp, key: Option<&str>, value: Option<&str>, headers| {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        ours.push(&NewRecord { timestamp, key, value, headers });
    };
    push(&mut ours, 1000, Some("k0"), Some("value zero value zero value zero"), &[]);
    push(&mut ours, 1005, None, Some("value one value one value one"), &[]);
    push(&mut ours, 1003, Some("k2"), None, &[]);
    push(&mut ours, 1005, Some("k3"), Some("v3"), &[("h", Some(b"x")), ("h", None)]);
    assert_eq!(ours.build().expect("builds"), theirs);
}

#[test]
fn our_batches_of_every_codec_round_trip() {
    for codec in Codec::ALL {
        for count in [1, 2, 500] {
            let batch = sample(codec, count);
            let [validated] = check(batch.clone()).expect("our own").try_into().expect("one batch");
            assert_eq!(validated.bytes, batch);
            assert_eq!(validated.facts.newest.map(|(place, _)| place), Some((count - 1).min(6)));
            let read: Result<Vec<Record>, _> = records(&batch, 1 << 20).expect("opens").collect();
            let read = read.expect("records");
            assert_eq!(read.len(), count as usize);
            assert!(read.iter().zip(0..).all(|(record, offset)| record.offset == offset));
        }
    }
}

#[test]
fn headers_that_lie_are_refused_with_kafkas_codes() {
    let batch = sample(Codec::None, 3);
    let lie = |change: fn(&mut BatchHeader), want: ErrorCode| {
        let error = check(changed(&batch, change)).expect_err("a lie");
        assert_eq!(error.code(), want, "{error}");
    };
    lie(|h| h.magic = 1, ErrorCode::UnsupportedForMessageFormat);
    lie(|h| h.magic = 0, ErrorCode::UnsupportedForMessageFormat);
    lie(|h| h.batch_length = -1, ErrorCode::CorruptMessage);
    lie(|h| h.batch_length = 3, ErrorCode::CorruptMessage);
    lie(|h| h.batch_length += 1, ErrorCode::CorruptMessage);
    lie(|h| h.batch_length = i32::MAX, ErrorCode::CorruptMessage);
    lie(|h| h.attributes |= 1 << 5, ErrorCode::InvalidRecord);
    lie(|h| h.attributes |= 1 << 6, ErrorCode::InvalidRecord);
    lie(|h| h.attributes |= 1 << 3, ErrorCode::InvalidTimestamp);
    lie(|h| h.attributes |= 5, ErrorCode::UnsupportedCompressionType);
    lie(|h| h.attributes |= 1, ErrorCode::InvalidRecord);
    lie(|h| h.records_count = 0, ErrorCode::InvalidRecord);
    lie(|h| h.records_count = -1, ErrorCode::InvalidRecord);
    lie(|h| h.last_offset_delta = 7, ErrorCode::InvalidRecord);
    lie(|h| (h.records_count, h.last_offset_delta) = (4, 3), ErrorCode::InvalidRecord);
    lie(|h| (h.records_count, h.last_offset_delta) = (2, 1), ErrorCode::InvalidRecord);
    lie(|h| (h.records_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1), ErrorCode::InvalidRecord);
    lie(|h| h.producer_epoch = -1, ErrorCode::InvalidRecord);
    lie(|h| h.base_sequence = -1, ErrorCode::InvalidRecord);
    lie(|h| h.producer_id = -2, ErrorCode::InvalidRecord);
    lie(|h| (h.producer_id, h.attributes) = (-1, 1 << 4), ErrorCode::InvalidRecord);
    lie(|h| h.base_timestamp = i64::MAX, ErrorCode::InvalidTimestamp);
}

#[test]
fn a_wrong_checksum_and_damaged_bytes_are_refused() {
    for codec in Codec::ALL {
        let batch = sample(codec, 3);
        for at in model::batch::PATCHED_BYTES..batch.len() {
            let mut damaged = batch.to_vec();
            damaged[at] ^= 0x10;
            assert!(check(damaged.into()).is_err(), "{codec:?} at {at}");
        }
    }
}

#[test]
fn forged_offset_and_epoch_are_the_logs_business() {
    let batch = changed(&sample(Codec::None, 3), |h| (h.base_offset, h.partition_leader_epoch) = (77, 99));
    assert!(check(batch).is_ok(), "the log replaces both");
}

#[test]
fn a_wrong_maximum_timestamp_is_put_right() {
    let batch = changed(&sample(Codec::Lz4, 3), |h| h.max_timestamp = i64::MAX);
    let [validated] = check(batch).expect("fixed").try_into().expect("one batch");
    assert_eq!((validated.header.max_timestamp, validated.facts.newest), (1002, Some((2, 1002))));
    assert_eq!(BatchHeader::read(&validated.bytes), Some(validated.header));
    assert_eq!(crc_of(&validated.bytes), validated.header.crc);
}

#[test]
fn sizes_and_numbers_of_batches_are_limited() {
    let batch = sample(Codec::None, 3);
    let two: Bytes = [&batch[..], &batch[..]].concat().into();
    assert_eq!(check(two.clone()), Err(RecordsError::TooManyBatches(1)));
    let limits = Limits { batches_max: 2, ..Limits::default() };
    assert_eq!(validate(two.clone(), &limits).map(|batches| batches.len()), Ok(2));
    assert_eq!(
        validate(two.slice(..two.len() - 1), &limits),
        Err(RecordsError::BatchTruncated { needed: batch.len(), remaining: batch.len() - 1 })
    );
    let limits = Limits { batch_bytes_max: batch.len() - 1, ..Limits::default() };
    assert_eq!(validate(batch, &limits).expect_err("too large").code(), ErrorCode::MessageTooLarge);
    assert_eq!(check(Bytes::new()), Err(RecordsError::Empty));
    let limits = Limits { zstd_allowed: false, ..Limits::default() };
    let error = validate(sample(Codec::Zstd, 1), &limits).expect_err("too early a version");
    assert_eq!(error.code(), ErrorCode::UnsupportedCompressionType);
}

#[test]
fn bodies_that_do_not_add_up() {
    let record = [16, 0, 0, 0, 2, b'k', 2, b'v', 0];
    assert!(check(around(&record, |_| ())).is_ok());
    let bad = |body: &[u8], why: &str| {
        let plain = check(around(body, |_| ()));
        assert!(plain.is_err(), "{why}");
        for codec in &Codec::ALL[1..] {
            let compressed = codec.compress(body.to_vec()).expect("compresses");
            let error = check(around(&compressed, |h| h.attributes = *codec as i16));
            assert_eq!(error, plain, "{why}: {codec:?}");
        }
    };
    bad(&[&record[..], &[0]].concat(), "a byte behind the records");
    bad(&record[..8], "the last byte is missing");
    bad(&[18, 0, 0, 0, 2, b'k', 2, b'v', 0, 0], "a record longer than its fields");
    bad(&[14, 0, 0, 0, 2, b'k', 2, b'v', 0], "a record shorter than its fields");
    bad(&[1, 0, 0, 0, 2, b'k', 2, b'v', 0], "a negative size");
    bad(&[16, 0, 0, 2, 2, b'k', 2, b'v', 0], "offset delta 1 first");
    bad(&[16, 0, 0, 0, 40, b'k', 2, b'v', 0], "a key beyond the record");
    bad(&[16, 0, 0, 0, 3, b'k', 2, b'v', 0], "key length -2");
    bad(&[16, 0, 0, 0, 2, b'k', 2, b'v', 1], "header count -1");
    bad(&[16, 0, 0, 0, 2, b'k', 2, b'v', 2], "a header that is not there");
    bad(&[20, 0, 0, 0, 2, b'k', 2, b'v', 2, 1, 0], "a header without a key");
    bad(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "a size of too many bits");
    bad(&[], "nothing");
    let twice = [record, record].concat();
    let error = check(around(&twice, |h| (h.records_count, h.last_offset_delta) = (2, 1)));
    assert_eq!(error, Err(RecordsError::Record { index: 1, why: "offset deltas are not dense" }), "0 and 0");
}

#[test]
fn compressed_bodies_with_something_behind_are_refused() {
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let batch = sample(codec, 3);
        let body = [&batch[HEADER_BYTES..], b"junk"].concat();
        let error = check(around(&body, |h| {
            (h.attributes, h.records_count, h.last_offset_delta) = (codec as i16, 3, 2);
        }));
        assert!(error.is_err(), "{codec:?}");
        for cut in HEADER_BYTES..batch.len() {
            let error = check(around(&batch[HEADER_BYTES..cut], |h| {
                (h.attributes, h.records_count, h.last_offset_delta) = (codec as i16, 3, 2);
            }));
            assert!(error.is_err(), "{codec:?} cut at {cut}");
        }
    }
}

#[test]
fn compressed_in_compressed_is_only_bytes() {
    let inner = sample(Codec::Gzip, 100);
    let mut outer = BatchBuilder::new(Codec::Gzip);
    outer.push(&NewRecord { value: Some(&inner), ..NewRecord::default() });
    assert!(check(outer.build().expect("builds")).is_ok(), "a value may be anything");
    let twice = Codec::Gzip.compress(inner[HEADER_BYTES..].to_vec()).expect("compresses");
    assert!(check(around(&twice, |h| h.attributes = Codec::Gzip as i16)).is_err());
}

#[test]
fn a_snappy_block_cannot_claim_what_it_cannot_hold() {
    // A bare block and a framed one that claim 4 GiB - 1 in a few bytes.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let framed = [&[0x82][..], b"SNAPPY\0", &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 6], &claim].concat();
    for body in [&claim[..], &framed] {
        let error = check(around(body, |h| h.attributes = Codec::Snappy as i16));
        assert!(matches!(error, Err(RecordsError::Compression { .. })), "{error:?}");
    }
    let body = snap::raw::Encoder::new().compress_vec(&vec![0; 2 << 20]).expect("compresses");
    let limits = Limits { decompressed_bytes_max: 1 << 20, ..Limits::default() };
    let error = validate(around(&body, |h| h.attributes = Codec::Snappy as i16), &limits);
    assert_eq!(error, Err(RecordsError::DecompressedTooLarge(1 << 20)));
}

#[test]
fn bare_snappy_is_accepted() {
    let plain = sample(Codec::None, 3);
    let body = snap::raw::Encoder::new().compress_vec(&plain[HEADER_BYTES..]).expect("compresses");
    let batch = around(&body, |h| {
        (h.attributes, h.records_count, h.last_offset_delta) = (Codec::Snappy as i16, 3, 2);
        h.max_timestamp = 1002;
    });
    assert!(check(batch).is_ok());
}

#[test]
fn a_zstd_window_above_the_cap_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("encoder");
    encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).expect("parameter");
    std::io::copy(&mut std::io::repeat(7).take(1 << 20), &mut encoder).expect("memory");
    let body = encoder.finish().expect("memory");
    let error = check(around(&body, |h| h.attributes = Codec::Zstd as i16));
    assert!(matches!(error, Err(RecordsError::Compression { codec: "zstd", .. })), "{error:?}");
}

#[test]
fn the_first_record_at_or_after_a_timestamp() {
    for (codec, batch) in golden() {
        let find = |timestamp| {
            first_at_or_after(&batch, timestamp, 1 << 20).map(|p| p.map(|p| (p.offset_delta, p.timestamp)))
        };
        assert_eq!(find(0), Ok(Some((0, 1000))), "{codec:?}");
        assert_eq!(find(1001), Ok(Some((1, 1005))));
        assert_eq!(find(1005), Ok(Some((1, 1005))));
        assert_eq!(find(1006), Ok(None));
    }
    let batch = model::batch::with_append_time(&sample(Codec::Gzip, 3), 5000);
    let first = first_at_or_after(&batch, 4999, 1 << 20).expect("readable").expect("there");
    assert_eq!((first.offset_delta, first.timestamp), (0, 5000));
    let read: Vec<i64> =
        records(&batch, 1 << 20).expect("opens").map(|r| r.expect("record").timestamp).collect();
    assert_eq!(read, [5000; 3], "the broker's time counts");
}

#[test]
fn a_fetch_may_end_inside_a_batch() {
    let batch = sample(Codec::None, 3);
    let two = Bytes::from([&batch[..], &batch[..]].concat());
    for cut in 0..two.len() {
        let whole: Result<Vec<_>, _> = Batches::new(two.slice(..cut)).collect();
        assert_eq!(whole.expect("no error").len(), cut / batch.len(), "cut at {cut}");
    }
}

/// Zeroes compress to blocks that end in zeroes: an end mark that was cut off must not be seen in them.
#[test]
fn a_truncated_stream_is_refused_wherever_it_is_cut() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec);
        builder.push(&NewRecord { value: Some(&[0; 10_000]), ..NewRecord::default() });
        let whole = builder.build().expect("builds");
        for cut in HEADER_BYTES..whole.len() {
            let mut bytes = whole[..cut].to_vec();
            let mut header = BatchHeader::read(&bytes).expect("a header");
            header.batch_length = (cut - LENGTH_END) as i32;
            for _ in 0..2 {
                header.write(bytes.first_chunk_mut().expect("a header"));
                header.crc = crc_of(&bytes);
            }
            assert!(validate(bytes.into(), &Limits::default()).is_err(), "{codec:?} cut at {cut}");
        }
    }
}
