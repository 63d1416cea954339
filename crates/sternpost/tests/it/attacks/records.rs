//! Attacks inside a producer's batch: headers that lie, what only brokers may write, compressed data that is too much or none.

use super::{Scene, attacks};
use crate::node::Client;
use bytes::Bytes;
use kafka::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka::records::{BatchBuilder, Batches, Codec, NewRecord};
use model::batch::{
    ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, ATTRIBUTE_TRANSACTIONAL, HEADER_BYTES, LENGTH_END, crc_of,
};
use model::{BatchHeader, ErrorCode};

attacks! {
    wrong_checksums_counts_and_lengths: [], "";
    batches_that_only_brokers_write: [], "";
    forged_offsets_and_epochs: [], "";
    sequences_at_their_end_and_of_strangers: [], "";
    compression_bombs: [], "";
    many_bombs_in_one_request: [], "";
    compressed_in_compressed: [], "";
    truncated_and_foreign_streams: [], "";
    a_million_headers: [], "";
    old_message_formats: [], "";
    timestamps_of_records_beyond_time: [], "";
}

const TOPIC: &str = "hostile";
/// Value of a bomb: above what the node unpacks of one batch.
const BOMB_BYTES: usize = 80 << 20;

fn client(scene: &Scene) -> Client {
    let mut client = Client::new(scene.node.connect());
    client.make_topic(TOPIC);
    client
}

fn request(batches: &[Bytes]) -> ProduceRequest {
    // All for partition 0, which is there: one batch in each of several topic entries is judged batch by batch.
    let partition = |batch: &Bytes| PartitionProduceData { index: 0, records: Some(batch.clone()) };
    let topic = |(at, batch): (usize, &Bytes)| TopicProduceData {
        name: if at == 0 { TOPIC.into() } else { format!("{TOPIC}-{at}").as_str().into() },
        partition_data: vec![partition(batch)],
        ..Default::default()
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: batches.iter().enumerate().map(topic).collect(),
        ..Default::default()
    }
}

/// Error code and base offset of one batch.
fn outcome(client: &mut Client, batch: Bytes) -> (i16, i64) {
    let answer = client.ask(&request(&[batch]), 9);
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

fn refused(client: &mut Client, batch: Bytes, code: ErrorCode) {
    assert_eq!(outcome(client, batch.clone()), (code.code(), -1), "{batch:02x?}");
}

fn honest_batch() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    for value in [&b"one"[..], b"two", b"three"] {
        batch.push(&NewRecord { timestamp: 1000, value: Some(value), ..Default::default() });
    }
    batch.build().expect("a batch")
}

/// The batch with another header and the checksum that fits it.
fn bent(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut bytes = batch.to_vec();
    let mut header = BatchHeader::read(&bytes).expect("a header");
    change(&mut header);
    for _ in 0..2 {
        header.write(bytes.first_chunk_mut().expect("a header"));
        header.crc = crc_of(&bytes);
    }
    bytes.into()
}

/// A batch of one record that claims `body` as its compressed records.
fn around(codec: Codec, body: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&NewRecord::default());
    let sample = builder.build().expect("a batch");
    bent(&[&sample[..HEADER_BYTES], body].concat().into(), |header| {
        header.batch_length = (HEADER_BYTES - LENGTH_END + body.len()) as i32;
        header.attributes = codec as i16;
    })
}

fn zeroes(codec: Codec, size: usize) -> Bytes {
    let mut batch = BatchBuilder::new(codec);
    batch.push(&NewRecord { value: Some(&vec![0; size]), ..Default::default() });
    batch.build().expect("a batch")
}

fn wrong_checksums_counts_and_lengths(scene: &Scene) {
    let mut client = client(scene);
    let good = honest_batch();
    let mut flipped = good.to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    refused(&mut client, flipped.into(), ErrorCode::CorruptMessage);
    refused(&mut client, good.slice(..good.len() - 1), ErrorCode::CorruptMessage);
    refused(&mut client, good.slice(..20), ErrorCode::CorruptMessage);
    refused(&mut client, [&good[..], &good[..]].concat().into(), ErrorCode::InvalidRecord);
    for length in [-1, 0, i32::MIN, i32::MAX] {
        let lied = bent(&good, |header| header.batch_length = length);
        refused(&mut client, lied, ErrorCode::CorruptMessage);
    }
    for (count, delta) in [(0, -1), (-1, -2), (2, 1), (4, 3), (3, 1), (i32::MAX, i32::MAX - 1), (3, i32::MIN)]
    {
        let lied = bent(&good, |header| {
            header.records_count = count;
            header.last_offset_delta = delta;
        });
        refused(&mut client, lied, ErrorCode::InvalidRecord);
    }
    // A record that claims more than the batch holds: the first byte of the body is its length.
    let mut long = good.to_vec();
    long[HEADER_BYTES] = 0x7e;
    refused(&mut client, bent(&long.into(), |_| ()), ErrorCode::InvalidRecord);
}

fn batches_that_only_brokers_write(scene: &Scene) {
    let mut client = client(scene);
    let with = |attributes| bent(&honest_batch(), |header| header.attributes |= attributes);
    refused(&mut client, with(ATTRIBUTE_CONTROL), ErrorCode::InvalidRecord);
    refused(&mut client, with(ATTRIBUTE_CONTROL | ATTRIBUTE_TRANSACTIONAL), ErrorCode::InvalidRecord);
    refused(&mut client, with(1 << 6), ErrorCode::InvalidRecord);
    refused(&mut client, with(i16::MIN), ErrorCode::InvalidRecord);
    refused(&mut client, with(ATTRIBUTE_LOG_APPEND_TIME), ErrorCode::InvalidTimestamp);
    let outside = with(ATTRIBUTE_TRANSACTIONAL);
    refused(&mut client, outside, ErrorCode::InvalidRecord);
}

/// The log gives offsets and epochs; what a producer wrote there is gone when the batch is read back.
fn forged_offsets_and_epochs(scene: &Scene) {
    let mut client = client(scene);
    for (offset, epoch) in [(1 << 60, i32::MAX), (i64::MIN, i32::MIN), (-1, 77)] {
        let forged = bent(&honest_batch(), |header| {
            header.base_offset = offset;
            header.partition_leader_epoch = epoch;
        });
        let (code, base_offset) = outcome(&mut client, forged);
        assert_eq!(code, 0);
        let partition = FetchPartition {
            fetch_offset: base_offset,
            partition_max_bytes: 1 << 20,
            current_leader_epoch: -1,
            ..Default::default()
        };
        let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
        let answer =
            client.ask(&FetchRequest { max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }, 11);
        let records = answer.responses[0].partitions[0].records.clone().expect("records").into_contiguous();
        let (header, _) = Batches::new(records).next().expect("a batch").expect("a whole batch");
        assert_eq!((header.base_offset, header.records_count), (base_offset, 3));
        assert!((0..1000).contains(&header.partition_leader_epoch), "{header:?}");
    }
}

fn sequences_at_their_end_and_of_strangers(scene: &Scene) {
    let mut client = client(scene);
    let batch = |id, epoch, sequence| {
        bent(&honest_batch(), |header| {
            header.producer_id = id;
            header.producer_epoch = epoch;
            header.base_sequence = sequence;
        })
    };
    // Each round another producer: the last sequences, over the end, and the first behind it.
    let id = 1_000_000 + scene.honest.acknowledged() as i64;
    assert_eq!(outcome(&mut client, batch(id, 3, i32::MAX - 1)).0, 0);
    assert_eq!(outcome(&mut client, batch(id, 3, 1)).0, 0);
    refused(&mut client, batch(id, 3, 50), ErrorCode::OutOfOrderSequenceNumber);
    refused(&mut client, batch(id, 2, 4), ErrorCode::InvalidProducerEpoch);
    for (id, epoch, sequence) in [(-2, 0, 0), (5, -1, 0), (5, 0, -1), (i64::MIN, -1, -1)] {
        refused(&mut client, batch(id, epoch, sequence), ErrorCode::InvalidRecord);
    }
    // The honest client's id elsewhere, and a gap in the honest client's own sequence.
    for id in 0..10 {
        outcome(&mut client, batch(id, 0, 12_345));
    }
    let mut gap = request(&[batch(0, 0, i32::MAX / 2)]);
    gap.topic_data[0].name = "honest".into();
    let answer = client.ask(&gap, 9);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::OutOfOrderSequenceNumber.code());
}

fn compression_bombs(scene: &Scene) {
    let mut client = client(scene);
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd, Codec::Snappy] {
        let bomb = zeroes(codec, BOMB_BYTES);
        refused(&mut client, bomb, ErrorCode::MessageTooLarge);
    }
}

fn many_bombs_in_one_request(scene: &Scene) {
    let mut client = client(scene);
    // Each is within what one batch may unpack to: together they meet the request's limit.
    let bomb = zeroes(Codec::Zstd, 60 << 20);
    let bombs = vec![bomb; 40];
    let answer = client.ask(&request(&bombs), 9);
    let refused =
        answer.responses.iter().filter(|topic| topic.partition_responses[0].error_code != 0).count();
    assert!(refused >= 30, "{refused} of 40 refused");
}

/// Bytes in a value are bytes: nothing unpacks them.
fn compressed_in_compressed(scene: &Scene) {
    let mut client = client(scene);
    let inner = zeroes(Codec::Gzip, BOMB_BYTES);
    let mut outer = BatchBuilder::new(Codec::Gzip);
    outer.push(&NewRecord { value: Some(&inner), ..Default::default() });
    assert_eq!(outcome(&mut client, outer.build().expect("a batch")).0, 0);
}

fn truncated_and_foreign_streams(scene: &Scene) {
    let mut client = client(scene);
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd, Codec::Snappy] {
        let whole = zeroes(codec, 10_000);
        let body = &whole[HEADER_BYTES..];
        for cut in [0, 1, body.len() / 2, body.len() - 1] {
            refused(&mut client, around(codec, &body[..cut]), ErrorCode::InvalidRecord);
        }
        refused(&mut client, around(codec, b"no stream of any kind"), ErrorCode::InvalidRecord);
        refused(&mut client, around(codec, &[body, b"x"].concat()), ErrorCode::InvalidRecord);
    }
    // A zstd frame with a window of 2 GiB around four raw bytes.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 0x21, 0, 0, 1, 2, 3, 4];
    refused(&mut client, around(Codec::Zstd, &window), ErrorCode::InvalidRecord);
    // Codecs that do not exist.
    for number in 5..8 {
        let batch = bent(&honest_batch(), |header| header.attributes = number);
        refused(&mut client, batch, ErrorCode::UnsupportedCompressionType);
    }
}

fn a_million_headers(scene: &Scene) {
    let mut client = client(scene);
    let headers = vec![("", None); 1_000_000];
    // In the open they are above message.max.bytes; compressed they are a record like others, walked without a list.
    for (codec, code) in [(Codec::None, ErrorCode::MessageTooLarge), (Codec::Gzip, ErrorCode::None)] {
        let mut batch = BatchBuilder::new(codec);
        batch.push(&NewRecord { headers: &headers, ..Default::default() });
        assert_eq!(outcome(&mut client, batch.build().expect("a batch")).0, code.code());
    }
    // One that only claims them: length, attributes, deltas, no key, no value, 2^31 - 1 headers.
    let claimed = [0x16, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0];
    let mut batch = around(Codec::None, &claimed);
    batch = bent(&batch, |header| header.attributes = 0);
    refused(&mut client, batch, ErrorCode::InvalidRecord);
}

fn old_message_formats(scene: &Scene) {
    let mut client = client(scene);
    for magic in [0, 1, 3, 0xff] {
        let mut batch = honest_batch().to_vec();
        batch[16] = magic;
        refused(&mut client, batch.into(), ErrorCode::UnsupportedForMessageFormat);
    }
}

fn timestamps_of_records_beyond_time(scene: &Scene) {
    let mut client = client(scene);
    for base in [i64::MIN, i64::MAX, -5] {
        let batch = bent(&honest_batch(), |header| header.base_timestamp = base);
        let (code, _) = outcome(&mut client, batch);
        let known = [ErrorCode::None, ErrorCode::InvalidTimestamp];
        assert!(known.iter().any(|known| known.code() == code), "{base}: {code}");
    }
    // The claimed newest timestamp is not believed.
    let batch = bent(&honest_batch(), |header| header.max_timestamp = i64::MAX);
    assert_eq!(outcome(&mut client, batch).0, 0);
}
