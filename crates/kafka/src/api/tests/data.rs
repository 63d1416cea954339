//! Records in and out.

use broker::request::*;
use bytes::Bytes;
use model::batch::{HEADER_BYTES, crc_of};
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, StoredBatch};

use super::*;
use crate::message::delete_records::DeleteRecordsRequest;
use crate::message::fetch::{self, FetchRequest};
use crate::message::init_producer_id::InitProducerIdRequest;
use crate::message::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use crate::message::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use crate::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::records::{BatchBuilder, Batches, Codec, NewRecord};
use crate::session::SessionError;

/// One batch with these timestamps.
pub(super) fn batch(codec: Codec, timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    let value = [7; 1500];
    for timestamp in timestamps {
        builder.push(&NewRecord {
            timestamp: *timestamp,
            key: Some(b"key"),
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build().expect("a batch")
}

fn stored(base_offset: i64, codec: Codec, timestamps: &[i64]) -> StoredBatch {
    StoredBatch::new(Offset(base_offset), LeaderEpoch(5), batch(codec, timestamps))
}

fn leader(values: &mut Values) -> Option<(NodeId, i32)> {
    values.option(|values| (node(values), values.int32()))
}

pub(super) fn round_trips(covered: &mut Covered) {
    covered.each::<ProduceRequest>(produce);
    covered.each::<FetchRequest>(fetch);
    covered.each::<ListOffsetsRequest>(list_offsets);
    covered.each::<OffsetForLeaderEpochRequest>(offset_for_leader_epoch);
    covered.each::<DeleteRecordsRequest>(delete_records);
    covered.each::<InitProducerIdRequest>(init_producer_id);
}

/// A request of two topics and their partitions, each with a good batch or none.
fn produce_request(version: i16, values: &mut Values) -> ProduceRequest {
    let mut message = ProduceRequest::arbitrary(values, version);
    message.acks = if values.coin() { 1 } else { -1 };
    message.topic_data.truncate(2);
    for (at, topic) in message.topic_data.iter_mut().enumerate() {
        if version <= 12 {
            topic.name = format!("topic-{at}").into();
        }
        for (index, partition) in topic.partition_data.iter_mut().enumerate() {
            partition.index = index as i32;
            partition.records = values.coin().then(|| batch(Codec::Lz4, &[3, 1, 2]));
        }
    }
    message
}

fn produce(session: &mut Session, version: i16, values: &mut Values) {
    let message = produce_request(version, values);
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        let Request::Produce(it) = request else { panic!("{request:?}") };
        assert_eq!(it.acks, message.acks);
        assert_eq!(it.timeout.as_millis(), message.timeout_ms.max(0) as u128);
        assert_eq!(it.topics.len(), message.topic_data.len());
        for (topic, sent) in it.topics.iter().zip(&message.topic_data) {
            assert_eq!(topic.topic, meant(&sent.name, sent.topic_id, version >= 13));
            assert_eq!(topic.partitions.len(), sent.partition_data.len());
            for (partition, sent) in topic.partitions.iter().zip(&sent.partition_data) {
                assert_eq!(partition.index, sent.index);
                match (&partition.batch, &sent.records) {
                    (Ok(batch), Some(bytes)) => {
                        assert_eq!(batch.bytes, bytes);
                        assert_eq!((batch.header.records_count, batch.header.max_timestamp), (3, 3));
                    }
                    (Err(it), None) => assert_eq!(it.refusal.code, ErrorCode::InvalidRecord),
                    other => panic!("{other:?}"),
                }
            }
        }
        let topics = it.topics.iter().map(|topic| ProducedTopic {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|partition| ProducedPartition {
                    index: partition.index,
                    refusal: refusal(values),
                    record_errors: (0..values.below(3) as i32).map(|place| (place, text(values))).collect(),
                    base_offset: values.int64(),
                    log_append_time_ms: values.int64(),
                    log_start_offset: values.int64(),
                    current_leader: leader(values),
                })
                .collect(),
        });
        let topics = topics.collect();
        let endpoints = (0..values.below(3)).map(|_| endpoint(values)).collect();
        let answer = ProduceResponse { topics, endpoints };
        said = Some(answer.clone());
        Response::Produce(answer)
    });
    let said = said.expect("the core was asked");
    assert_eq!(read.throttle_time_ms, 0);
    assert_eq!(read.node_endpoints.len(), if version >= 10 { said.endpoints.len() } else { 0 });
    for (it, said) in read.node_endpoints.iter().zip(&said.endpoints) {
        assert_eq!((it.node_id, &*it.host, it.port), (said.node.0, &*said.host, said.port.into()));
        assert_eq!(it.rack.as_deref(), said.rack.as_deref());
    }
    assert_eq!(read.responses.len(), said.topics.len());
    for (it, said) in read.responses.iter().zip(&said.topics) {
        assert_eq!((it.name.clone(), it.topic_id), named(&said.topic));
        assert_eq!(it.partition_responses.len(), said.partitions.len());
        for (it, said) in it.partition_responses.iter().zip(&said.partitions) {
            assert_eq!((it.index, it.error_code), (said.index, said.refusal.code.code()));
            assert_eq!((it.base_offset, it.log_append_time_ms), (said.base_offset, said.log_append_time_ms));
            assert_eq!(it.log_start_offset, if version >= 5 { said.log_start_offset } else { -1 });
            assert_eq!(it.error_message, message_of(&said.refusal).filter(|_| version >= 8));
            let told = it.record_errors.iter().map(|it| {
                (it.batch_index, it.batch_index_error_message.as_deref().unwrap_or_default().to_owned())
            });
            let expected = if version >= 8 { said.record_errors.clone() } else { vec![] };
            assert_eq!(told.collect::<Vec<_>>(), expected);
            let leader = said.current_leader.filter(|_| version >= 10).unwrap_or((NodeId(-1), -1));
            let told = (NodeId(it.current_leader.leader_id), it.current_leader.leader_epoch);
            assert_eq!(told, leader);
        }
    }
}

/// A produce of one partition.
pub(super) fn produce_one(records: Option<Bytes>, acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData { index: 0, records };
    let topic =
        TopicProduceData { name: "t".into(), partition_data: vec![partition], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 100, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// Why validation refuses a batch.
fn batch_refusal(records: Bytes, version: i16) -> BatchRefusal {
    let frame = frame(&produce_one(Some(records), 1), version);
    let Ok(Step::Ask { request: Request::Produce(it), .. }) = session().on_frame(frame) else {
        panic!("the core says the rest")
    };
    it.topics[0].partitions[0].batch.clone().expect_err("a bad batch")
}

fn produce_refusal(records: Bytes, version: i16) -> Refusal {
    batch_refusal(records, version).refusal
}

#[test]
fn a_malformed_record_is_named_by_its_place() {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in [&b"one"[..], b"two"] {
        builder.push(&NewRecord { timestamp: 1, value: Some(value), ..NewRecord::default() });
    }
    let mut bytes = builder.build().expect("a batch").to_vec();
    // The second record's offset delta: behind its size, attributes and timestamp delta.
    let second = HEADER_BYTES + 1 + usize::from(bytes[HEADER_BYTES] >> 1);
    bytes[second + 3] = 10;
    let crc = crc_of(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let refusal = batch_refusal(bytes.into(), 9);
    assert_eq!(refusal.refusal.code, ErrorCode::InvalidRecord);
    let text = refusal.refusal.message.expect("a sentence");
    assert_eq!(refusal.records, [(1, text)]);
    // A fault of the whole batch names none.
    let good = batch(Codec::None, &[1, 2]);
    assert!(batch_refusal([good.clone(), good].concat().into(), 9).records.is_empty());
}

#[test]
fn bad_batches_are_refused_by_partition_with_kafkas_codes() {
    let good = batch(Codec::None, &[1, 2]);
    let mut flipped = good.to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    assert_eq!(produce_refusal(flipped.into(), 9).code, ErrorCode::CorruptMessage);
    let twice = [good.clone(), good.clone()].concat();
    assert_eq!(produce_refusal(twice.into(), 9).code, ErrorCode::InvalidRecord);
    let mut old = good.to_vec();
    old[16] = 1;
    assert_eq!(produce_refusal(old.into(), 3).code, ErrorCode::UnsupportedForMessageFormat);
    let zstd = batch(Codec::Zstd, &[1]);
    assert_eq!(produce_refusal(zstd, 6).code, ErrorCode::UnsupportedCompressionType);
    let mut transactional = BatchBuilder::new(Codec::None).producer(1, 0, 0).transactional();
    transactional.push(&NewRecord { timestamp: 1, ..NewRecord::default() });
    let refusal = produce_refusal(transactional.build().expect("a batch"), 11);
    assert_eq!(refusal.code, ErrorCode::InvalidTxnState);
    assert!(refusal.message.expect("a sentence").contains("transactions"));
}

#[test]
fn a_produce_keeps_slices_of_the_request() {
    let frame = frame(&produce_one(Some(batch(Codec::None, &[1])), 1), 9);
    let range = frame.as_ptr_range();
    let Ok(Step::Ask { request: Request::Produce(it), .. }) = session().on_frame(frame) else {
        panic!("the core says the rest")
    };
    let batch = it.topics[0].partitions[0].batch.as_ref().expect("a good batch");
    assert!(range.contains(&batch.bytes.as_ptr()), "no copy");
}

#[test]
fn wrong_acks_and_doubled_partitions_never_reach_the_core() {
    let read = refused(&mut session(), 9, &produce_one(Some(batch(Codec::None, &[1])), 2));
    let partition = &read.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (ErrorCode::InvalidRequiredAcks.code(), -1));
    let mut doubled = produce_one(Some(batch(Codec::None, &[1])), 1);
    doubled.topic_data.push(doubled.topic_data[0].clone());
    let read = refused(&mut session(), 9, &doubled);
    assert_eq!(read.responses[1].partition_responses[0].error_code, ErrorCode::InvalidRequest.code());
    doubled.acks = 0;
    let error = session().on_frame(frame(&doubled, 9)).expect_err("nobody waits for an answer");
    assert_eq!(error, SessionError::SilentProduce { code: ErrorCode::InvalidRequest });
}

#[test]
fn acks_0_is_answered_by_silence_or_the_end_of_the_connection() {
    for (code, ends) in [(ErrorCode::None, false), (ErrorCode::NotLeaderOrFollower, true)] {
        let mut session = session();
        let step = session.on_frame(frame(&produce_one(Some(batch(Codec::None, &[1])), 0), 7));
        let Ok(Step::Ask { pending, wants_reply: false, .. }) = step else { panic!("{step:?}") };
        let partition = ProducedPartition {
            index: 0,
            refusal: code.into(),
            record_errors: vec![],
            base_offset: 0,
            log_append_time_ms: -1,
            log_start_offset: 0,
            current_leader: None,
        };
        let topic = ProducedTopic { topic: TopicRef::Name("t".into()), partitions: vec![partition] };
        let answer = Response::Produce(ProduceResponse { topics: vec![topic], endpoints: vec![] });
        match session.reply(pending, answer) {
            Ok(None) => assert!(!ends),
            Err(SessionError::SilentProduce { code: told }) => assert!(ends && told == code),
            other => panic!("{other:?}"),
        }
    }
}

fn fetch(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = FetchRequest::arbitrary(values, version);
    message.replica_id = -1;
    message.replica_state = fetch::ReplicaState::default();
    message.isolation_level = values.coin().into();
    message.session_id = 0;
    message.session_epoch = -1;
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        let Request::Fetch(it) = request else { panic!("{request:?}") };
        assert_eq!(it.wait_max.as_millis(), message.max_wait_ms.max(0) as u128);
        assert_eq!(it.bytes_max, (message.max_bytes.max(0) as usize).min(55 << 20));
        assert_eq!(it.bytes_min, (message.min_bytes.max(0) as usize).min(it.bytes_max));
        assert_eq!(it.read_committed, message.isolation_level == 1);
        assert_eq!(it.rack, *message.rack_id);
        assert_eq!(it.topics.len(), message.topics.len());
        for (topic, sent) in it.topics.iter().zip(&message.topics) {
            assert_eq!(topic.topic, meant(&sent.topic, sent.topic_id, version >= 13));
            let positions = sent.partitions.iter().map(|sent| FetchPartition {
                index: sent.partition,
                current_leader_epoch: if version >= 9 { sent.current_leader_epoch } else { -1 },
                offset: sent.fetch_offset,
                last_fetched_epoch: if version >= 12 { sent.last_fetched_epoch } else { -1 },
                bytes_max: sent.partition_max_bytes.max(0) as usize,
            });
            assert_eq!(topic.partitions, positions.collect::<Vec<_>>());
        }
        let answer = fetch_answer(&it, values);
        said = Some(answer.clone());
        Response::Fetch(answer)
    });
    let said = said.expect("the core was asked");
    assert_eq!((read.throttle_time_ms, read.error_code, read.session_id), (0, 0, 0));
    assert_eq!(read.node_endpoints.len(), if version >= 16 { said.endpoints.len() } else { 0 });
    // A topic without partitions has nothing to say.
    let topics: Vec<_> = said.topics.iter().filter(|topic| !topic.partitions.is_empty()).collect();
    assert_eq!(read.responses.len(), topics.len());
    for (it, said) in read.responses.iter().zip(topics) {
        assert_eq!((it.topic.clone(), it.topic_id), named(&said.topic));
        assert_eq!(it.partitions.len(), said.partitions.len());
        for (it, said) in it.partitions.iter().zip(&said.partitions) {
            fetched_partition(it, said, version, message.isolation_level == 1);
        }
    }
}

fn fetch_answer(asked: &Fetch, values: &mut Values) -> FetchResponse {
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| FetchedPartition {
            index: partition.index,
            error: error(values),
            high_watermark: values.int64(),
            last_stable_offset: values.int64(),
            log_start_offset: values.int64(),
            diverging: values.option(|values| (values.int32(), values.int64())),
            current_leader: leader(values),
            batches: (0..values.below(3)).map(|at| stored(10 * at as i64, Codec::Snappy, &[1, 2])).collect(),
        });
        FetchedTopic { topic: topic.topic.clone(), partitions: partitions.collect() }
    });
    let topics = topics.collect();
    FetchResponse { topics, endpoints: (0..values.below(3)).map(|_| endpoint(values)).collect() }
}

fn fetched_partition(it: &fetch::PartitionData, said: &FetchedPartition, version: i16, committed: bool) {
    assert_eq!((it.partition_index, it.error_code), (said.index, said.error.code()));
    assert_eq!((it.high_watermark, it.last_stable_offset), (said.high_watermark, said.last_stable_offset));
    assert_eq!(it.log_start_offset, if version >= 5 { said.log_start_offset } else { -1 });
    assert_eq!(it.aborted_transactions, committed.then(Vec::new));
    assert_eq!(it.preferred_read_replica, -1);
    let diverging = said.diverging.filter(|_| version >= 12).unwrap_or((-1, -1));
    assert_eq!((it.diverging_epoch.epoch, it.diverging_epoch.end_offset), diverging);
    let leader = said.current_leader.filter(|_| version >= 12).unwrap_or((NodeId(-1), -1));
    assert_eq!((NodeId(it.current_leader.leader_id), it.current_leader.leader_epoch), leader);
    let bytes = it.records.clone().expect("never null").into_contiguous();
    let expected: Vec<Bytes> = said.batches.iter().map(StoredBatch::to_contiguous).collect();
    let got: Vec<Bytes> = Batches::new(bytes).map(|batch| batch.expect("whole").1).collect();
    assert_eq!(got, expected);
}

/// A sessionless fetch of one partition.
pub(super) fn fetch_one(session_id: i32, session_epoch: i32) -> FetchRequest {
    let partition =
        fetch::FetchPartition { partition_max_bytes: 1 << 20, ..fetch::FetchPartition::default() };
    let topic =
        fetch::FetchTopic { topic: "t".into(), partitions: vec![partition], ..fetch::FetchTopic::default() };
    FetchRequest { session_id, session_epoch, topics: vec![topic], ..FetchRequest::default() }
}

/// The core's answer with these batches for the only partition.
fn fetched(request: Request, batches: Vec<StoredBatch>) -> Response {
    let Request::Fetch(it) = request else { panic!("{request:?}") };
    let partition = FetchedPartition {
        index: it.topics[0].partitions[0].index,
        error: ErrorCode::None,
        high_watermark: 9,
        last_stable_offset: 9,
        log_start_offset: 0,
        diverging: None,
        current_leader: None,
        batches,
    };
    let topic = FetchedTopic { topic: it.topics[0].topic.clone(), partitions: vec![partition] };
    Response::Fetch(FetchResponse { topics: vec![topic], endpoints: vec![] })
}

#[test]
fn zstd_is_kept_from_clients_that_cannot_read_it() {
    for (version, code) in [(9, ErrorCode::UnsupportedCompressionType), (10, ErrorCode::None)] {
        let read = exchange(&mut session(), version, &fetch_one(0, -1), |request| {
            fetched(request, vec![stored(0, Codec::None, &[1]), stored(1, Codec::Zstd, &[1])])
        });
        let partition = &read.responses[0].partitions[0];
        assert_eq!(partition.error_code, code.code());
        assert_eq!(partition.records.as_ref().expect("never null").is_empty(), !code.is_none());
    }
}

#[test]
fn a_fetch_answer_shares_the_batches_bytes() {
    let in_memory = stored(40, Codec::None, &[1]);
    let from_segment = StoredBatch::from_log(stored(41, Codec::None, &[1]).to_contiguous()).expect("a batch");
    let sources = [in_memory.clone(), from_segment.clone()].map(|batch| batch.as_produced().clone());
    let mut session = session();
    let step = session.on_frame(frame(&fetch_one(0, -1), 11));
    let Ok(Step::Ask { pending, request, .. }) = step else { panic!("{step:?}") };
    let answer = session.reply(pending, fetched(request, vec![in_memory, from_segment]));
    let answer = answer.expect("it fits").expect("an answer");
    for source in sources {
        let shared = answer.pieces().iter().any(|piece| source.as_ptr_range().contains(&piece.as_ptr()));
        assert!(shared, "the payload is not copied");
    }
}

#[test]
fn a_fetch_in_a_brokers_name_is_refused() {
    let mut message = fetch_one(0, -1);
    message.replica_id = 1;
    let read = refused(&mut session(), 6, &message);
    assert_eq!(read.responses[0].partitions[0].error_code, ErrorCode::ClusterAuthorizationFailed.code());
    assert_eq!(
        refused(&mut session(), 12, &message).error_code,
        ErrorCode::ClusterAuthorizationFailed.code()
    );
}

fn list_offsets(session: &mut Session, version: i16, values: &mut Values) {
    const SPECIAL: [(i64, OffsetTarget, i16); 8] = [
        (0, OffsetTarget::Timestamp(0), 1),
        (1234, OffsetTarget::Timestamp(1234), 1),
        (-1, OffsetTarget::Latest, 1),
        (-2, OffsetTarget::Earliest, 1),
        (-3, OffsetTarget::MaxTimestamp, 7),
        (-4, OffsetTarget::EarliestLocal, 8),
        (-5, OffsetTarget::LatestTiered, 9),
        (-6, OffsetTarget::LatestTiered, 11),
    ];
    let mut message = ListOffsetsRequest::arbitrary(values, version);
    message.replica_id = -1;
    message.isolation_level = if version >= 2 { values.coin().into() } else { 0 };
    for partition in message.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.timestamp = SPECIAL[values.below(SPECIAL.len())].0;
    }
    let special = |timestamp: i64| SPECIAL.iter().find(|it| it.0 == timestamp).expect("one of them");
    let mut said = Vec::new();
    let read = exchange(session, version, &message, |request| {
        let Request::ListOffsets(it) = request else { panic!("{request:?}") };
        assert_eq!(it.read_committed, message.isolation_level == 1);
        assert_eq!(it.topics.len(), message.topics.len());
        let topics = it.topics.iter().zip(&message.topics).map(|(topic, sent)| {
            assert_eq!(topic.topic, TopicRef::Name(sent.name.to_string()));
            let mut asked = topic.partitions.iter();
            for sent in sent.partitions.iter().filter(|sent| version >= special(sent.timestamp).2) {
                let asked = asked.next().expect("allowed in this version");
                assert_eq!((asked.index, asked.target), (sent.partition_index, special(sent.timestamp).1));
                let epoch = if version >= 4 { sent.current_leader_epoch } else { -1 };
                assert_eq!(asked.current_leader_epoch, epoch);
            }
            assert!(asked.next().is_none());
            let partitions = topic.partitions.iter().map(|partition| ListedPartition {
                index: partition.index,
                error: if values.coin() { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition },
                found: match values.below(3) {
                    0 => FoundOffset::Nothing,
                    1 => FoundOffset::Offset { offset: values.int64(), leader_epoch: values.int32() },
                    _ => FoundOffset::InBatch {
                        batch: stored(100, Codec::Gzip, &[10, 30, 20]),
                        timestamp: 15,
                        from: 0,
                    },
                },
            });
            ListedTopic { topic: topic.topic.clone(), partitions: partitions.collect() }
        });
        let answer = ListOffsetsResponse { topics: topics.collect() };
        said.extend(answer.topics.iter().flat_map(|topic| topic.partitions.clone()));
        Response::ListOffsets(answer)
    });
    let mut said = said.into_iter();
    assert_eq!(read.topics.len(), message.topics.len());
    for (it, sent) in read.topics.iter().zip(&message.topics) {
        assert_eq!((it.name.clone(), it.partitions.len()), (sent.name.clone(), sent.partitions.len()));
        for (it, sent) in it.partitions.iter().zip(&sent.partitions) {
            let (error, timestamp, offset, epoch) = if version < special(sent.timestamp).2 {
                (ErrorCode::UnsupportedVersion, -1, -1, -1)
            } else {
                match said.next().expect("answered") {
                    ListedPartition { error, .. } if !error.is_none() => (error, -1, -1, -1),
                    ListedPartition { found: FoundOffset::Nothing, .. } => (ErrorCode::None, -1, -1, -1),
                    ListedPartition { found: FoundOffset::Offset { offset, leader_epoch }, .. } => {
                        (ErrorCode::None, -1, offset, leader_epoch)
                    }
                    ListedPartition { .. } => (ErrorCode::None, 30, 101, 5),
                }
            };
            assert_eq!((it.partition_index, it.error_code), (sent.partition_index, error.code()));
            assert_eq!((it.timestamp, it.offset), (timestamp, offset));
            assert_eq!(it.leader_epoch, if version >= 4 { epoch } else { -1 });
        }
    }
}

#[test]
fn a_timestamp_is_found_behind_the_log_start() {
    let topic = ListOffsetsTopic {
        name: "t".into(),
        partitions: vec![ListOffsetsPartition { timestamp: 15, ..Default::default() }],
    };
    let message = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    // Records 100 to 102 at 10, 30 and 20 ms: asked for 15 from three log starts.
    for (from, expected) in [(0, (30, 101)), (102, (20, 102)), (103, (30, 103))] {
        let read = exchange(&mut session(), 7, &message, |_| {
            let batch = stored(100, Codec::Zstd, &[10, 30, 20]);
            let found = FoundOffset::InBatch { batch, timestamp: 15, from };
            let partition = ListedPartition { index: 0, error: ErrorCode::None, found };
            let topic = ListedTopic { topic: TopicRef::Name("t".into()), partitions: vec![partition] };
            Response::ListOffsets(ListOffsetsResponse { topics: vec![topic] })
        });
        let partition = &read.topics[0].partitions[0];
        assert_eq!((partition.timestamp, partition.offset), expected);
    }
}

fn offset_for_leader_epoch(session: &mut Session, version: i16, values: &mut Values) {
    let message = OffsetForLeaderEpochRequest::arbitrary(values, version);
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        let Request::OffsetForLeaderEpoch(it) = request else { panic!("{request:?}") };
        assert_eq!(it.topics.len(), message.topics.len());
        let mut topics = Vec::new();
        for ((name, queries), sent) in it.topics.into_iter().zip(&message.topics) {
            assert_eq!(name, *sent.topic);
            let asked: Vec<_> =
                queries.iter().map(|it| (it.index, it.current_leader_epoch, it.leader_epoch)).collect();
            let sent = sent.partitions.iter();
            let sent: Vec<_> =
                sent.map(|it| (it.partition, it.current_leader_epoch, it.leader_epoch)).collect();
            assert_eq!(asked, sent);
            let ends = queries.iter().map(|query| EpochEnd {
                index: query.index,
                error: error(values),
                leader_epoch: values.int32(),
                end_offset: values.int64(),
            });
            topics.push((name, ends.collect()));
        }
        said = Some(OffsetForLeaderEpochResponse { topics });
        Response::OffsetForLeaderEpoch(said.clone().expect("just set"))
    });
    let read: Vec<(String, Vec<_>)> = read
        .topics
        .iter()
        .map(|topic| {
            let ends = topic.partitions.iter();
            let ends = ends.map(|it| (it.partition, it.error_code, it.leader_epoch, it.end_offset));
            (topic.topic.to_string(), ends.collect())
        })
        .collect();
    let said = said.expect("asked").topics.into_iter().map(|(name, ends)| {
        let ends = ends.iter().map(|it| (it.index, it.error.code(), it.leader_epoch, it.end_offset));
        (name, ends.collect())
    });
    assert_eq!(read, said.collect::<Vec<(String, Vec<_>)>>());
}

fn delete_records(session: &mut Session, version: i16, values: &mut Values) {
    let message = DeleteRecordsRequest::arbitrary(values, version);
    let mut said = None;
    let read = exchange(session, version, &message, |request| {
        let Request::DeleteRecords(it) = request else { panic!("{request:?}") };
        assert_eq!(it.timeout.as_millis(), message.timeout_ms.max(0) as u128);
        let sent: Vec<(String, Vec<(i32, i64)>)> = message
            .topics
            .iter()
            .map(|topic| {
                let starts = topic.partitions.iter().map(|it| (it.partition_index, it.offset));
                (topic.name.to_string(), starts.collect())
            })
            .collect();
        assert_eq!(it.topics, sent);
        let topics: Vec<(String, Vec<_>)> = it
            .topics
            .into_iter()
            .map(|(name, starts)| {
                let ends = starts.into_iter().map(|(index, _)| (index, values.int64(), error(values)));
                (name, ends.collect())
            })
            .collect();
        said = Some(topics.clone());
        Response::DeleteRecords(DeleteRecordsResponse { topics })
    });
    let read = read.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions =
            partitions.map(|it| (it.partition_index, it.low_watermark, ErrorCode::from_code(it.error_code)));
        (topic.name.to_string(), partitions.collect())
    });
    assert_eq!(read.collect::<Vec<(String, Vec<_>)>>(), said.expect("asked"));
}

fn init_producer_id(session: &mut Session, version: i16, values: &mut Values) {
    let mut message = InitProducerIdRequest::arbitrary(values, version);
    message.transactional_id = None;
    if version >= 3 {
        (message.producer_id, message.producer_epoch) = if values.coin() { (-1, -1) } else { (9, 3) };
    }
    let (code, id, epoch) = (error(values), values.int64(), values.int16());
    let read = exchange(session, version, &message, |request| {
        let Request::InitProducerId(it) = request else { panic!("{request:?}") };
        assert_eq!(it.transactional_id, None);
        let known = if version >= 3 { (message.producer_id, message.producer_epoch) } else { (-1, -1) };
        assert_eq!((it.producer_id, it.producer_epoch), known);
        Response::InitProducerId(InitProducerIdResponse {
            error: code,
            producer_id: id,
            producer_epoch: epoch,
        })
    });
    assert_eq!((read.error_code, read.producer_id, read.producer_epoch), (code.code(), id, epoch));
}

#[test]
fn a_transactional_producer_is_told_that_there_are_no_transactions() {
    for (id, code) in [("tx", ErrorCode::UnsupportedVersion), ("", ErrorCode::InvalidRequest)] {
        let message = InitProducerIdRequest { transactional_id: Some(id.into()), ..Default::default() };
        let read = refused(&mut session(), 1, &message);
        assert_eq!((read.error_code, read.producer_id), (code.code(), -1));
    }
    let half = InitProducerIdRequest {
        transactional_id: None,
        producer_id: 5,
        producer_epoch: -1,
        ..Default::default()
    };
    assert_eq!(refused(&mut session(), 4, &half).error_code, ErrorCode::InvalidRequest.code());
}

/// A batch of zeroes: a few KiB that become 2 MiB.
fn bomb() -> Bytes {
    let mut builder = BatchBuilder::new(Codec::Gzip);
    builder.push(&NewRecord { timestamp: 5, value: Some(&[0; 2 << 20]), ..NewRecord::default() });
    builder.build().expect("a batch")
}

/// A connection whose requests may decompress 8 MiB, 4 MiB a batch.
fn tight_session() -> Session {
    let mut config = SessionConfig::new("c", NodeId(7));
    config.limits.decompressed_bytes_max = 4 << 20;
    config.limits.request_decompressed_bytes_max = 8 << 20;
    Session::new(Arc::new(config), ClientInfo { client_id: String::new(), host: "/10.0.0.9".into() })
}

#[test]
fn many_small_bombs_in_one_produce_meet_a_limit() {
    let mut message = produce_one(None, 1);
    message.topic_data[0].partition_data =
        (0..100).map(|index| PartitionProduceData { index, records: Some(bomb()) }).collect();
    let Ok(Step::Ask { request: Request::Produce(it), .. }) = tight_session().on_frame(frame(&message, 9))
    else {
        panic!("the core says the rest")
    };
    let codes: Vec<_> =
        it.topics[0].partitions.iter().map(|it| it.batch.as_ref().err().map(|it| it.refusal.code)).collect();
    assert_eq!(codes[..2], [None, None]);
    assert!(codes[3..].iter().all(|code| *code == Some(ErrorCode::MessageTooLarge)), "{codes:?}");
}

#[test]
fn many_look_ups_in_bombs_meet_a_limit() {
    let partitions = (0..100).map(|partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: 5,
        ..ListOffsetsPartition::default()
    });
    let topic = ListOffsetsTopic { name: "t".into(), partitions: partitions.collect() };
    let message = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let batch = StoredBatch::new(Offset(0), LeaderEpoch(0), bomb());
    let read = exchange(&mut tight_session(), 7, &message, |_| {
        let partitions = (0..100).map(|index| ListedPartition {
            index,
            error: ErrorCode::None,
            found: FoundOffset::InBatch { batch: batch.clone(), timestamp: 5, from: 0 },
        });
        let topic = ListedTopic { topic: TopicRef::Name("t".into()), partitions: partitions.collect() };
        Response::ListOffsets(ListOffsetsResponse { topics: vec![topic] })
    });
    let codes: Vec<_> = read.topics[0].partitions.iter().map(|it| it.error_code).collect();
    assert_eq!(codes[..2], [0, 0]);
    assert!(codes[5..].iter().all(|code| *code == ErrorCode::OffsetNotAvailable.code()), "{codes:?}");
}
