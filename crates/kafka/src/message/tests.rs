//! Every message × every version × seeded values: our bytes are read by two independent implementations, come back
//! byte for byte, and read back as the value they were made of. Malformed bytes: an error or a value, never a panic.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use kafka_wire_core::{ApiVersion, DecodeLimits, KafkaDecode, KafkaEncode};

use super::arbitrary::for_each_message;
use super::*;
use crate::wire::arbitrary::Values;

/// Values per message and version.
const ROUNDS: u64 = 100;

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut out = Encoder::new();
    let why = |e| format!("{} v{version}: {e}", M::NAME);
    message.encode(&mut out, version).map_err(why).expect("an arbitrary value fits its version");
    out.finish().into_contiguous()
}

fn decoded<M: Message>(bytes: &Bytes, version: i16) -> Result<M, DecodeError> {
    let mut buf = Decoder::new(bytes.clone());
    let message = M::decode(&mut buf, version)?;
    buf.finish()?;
    Ok(message)
}

/// The bytes as `kafka-protocol` writes what it read; `None` for a version it does not know.
fn through_kafka_protocol<T>(bytes: &Bytes, version: i16) -> Option<Bytes>
where
    T: Decodable + Encodable + kafka_protocol::protocol::Message,
{
    if version < T::VERSIONS.min || version > T::VERSIONS.max {
        return None;
    }
    let mut rest = bytes.clone();
    let value = T::decode(&mut rest, version).expect("kafka-protocol reads our bytes");
    assert!(rest.is_empty(), "kafka-protocol leaves {} bytes", rest.len());
    let mut out = BytesMut::new();
    value.encode(&mut out, version).expect("kafka-protocol writes what it read");
    Some(out.freeze())
}

/// The bytes as `kafka-wire` writes what it read; `None` for a version it does not know.
fn through_kafka_wire<T>(bytes: &Bytes, version: i16) -> Option<Bytes>
where
    T: KafkaDecode + KafkaEncode + kafka_wire::KafkaMessage,
{
    let version = ApiVersion::new(version);
    if !T::supports(version) {
        return None;
    }
    let mut decoder = kafka_wire_core::Decoder::new(bytes.clone(), DecodeLimits::default())
        .expect("below kafka-wire's limits");
    let value = T::decode(&mut decoder, version).expect("kafka-wire reads our bytes");
    decoder.finish().expect("kafka-wire reads all bytes");
    let mut out = BytesMut::new();
    value.encode_into(&mut out, version).expect("kafka-wire writes what it read");
    Some(out.freeze())
}

/// How many comparisons took place, per oracle, and what an oracle does not know.
#[derive(Default, Debug)]
struct Compared {
    kafka_protocol: usize,
    kafka_wire: usize,
    kafka_protocol_lacks: Vec<(&'static str, i16)>,
    kafka_wire_lacks: Vec<(&'static str, i16)>,
}

fn differential<M, P, W>(arbitrary: fn(&mut Values, i16) -> M, compared: &mut Compared)
where
    M: Message + PartialEq + std::fmt::Debug,
    P: Decodable + Encodable + kafka_protocol::protocol::Message,
    W: KafkaDecode + KafkaEncode + kafka_wire::KafkaMessage,
{
    for version in M::VERSION_MIN..=M::VERSION_MAX {
        if version < P::VERSIONS.min || version > P::VERSIONS.max {
            compared.kafka_protocol_lacks.push((M::NAME, version));
        }
        if !W::supports(ApiVersion::new(version)) {
            compared.kafka_wire_lacks.push((M::NAME, version));
        }
        for seed in 0..ROUNDS {
            let value = arbitrary(&mut Values::new(seed << 8 | version as u64), version);
            let bytes = encoded(&value, version);
            assert_eq!(
                decoded::<M>(&bytes, version).as_ref(),
                Ok(&value),
                "{} v{version} seed {seed}",
                M::NAME
            );
            if let Some(theirs) = through_kafka_protocol::<P>(&bytes, version) {
                assert_eq!(bytes, theirs, "kafka-protocol: {} v{version} seed {seed}: {value:?}", M::NAME);
                compared.kafka_protocol += 1;
            }
            if let Some(theirs) = through_kafka_wire::<W>(&bytes, version) {
                assert_eq!(bytes, theirs, "kafka-wire: {} v{version} seed {seed}: {value:?}", M::NAME);
                compared.kafka_wire += 1;
            }
        }
    }
}

#[test]
fn bytes_equal_those_of_two_other_implementations() {
    let mut compared = Compared::default();
    macro_rules! all {
        ($(($module:ident, $name:ident),)*) => {
            $(differential::<$module::$name, kafka_protocol::messages::$name, kafka_wire::$name>(
                $module::$name::arbitrary,
                &mut compared,
            );)*
        };
    }
    for_each_message!(all);
    println!("{compared:?}");
    assert!(compared.kafka_wire_lacks.is_empty(), "one oracle knows everything: {compared:?}");
    assert!(compared.kafka_protocol > 40_000, "{compared:?}");
    assert!(compared.kafka_wire > 40_000, "{compared:?}");
}

/// Malformed bytes: whatever the answer, no panic; and what is accepted can be written again.
fn survive<M: Message>(bytes: &Bytes, version: i16) {
    if let Ok(message) = decoded::<M>(bytes, version) {
        let again = encoded(&message, version);
        let twice = encoded(&decoded::<M>(&again, version).expect("our own bytes"), version);
        assert_eq!(again, twice, "{} v{version}", M::NAME);
    }
}

fn malformed<M: Message>(arbitrary: fn(&mut Values, i16) -> M) {
    for version in M::VERSION_MIN..=M::VERSION_MAX {
        let mut values = Values::new(0x5eed + version as u64);
        for _ in 0..3 {
            let bytes = encoded(&arbitrary(&mut values, version), version);
            for cut in (0..bytes.len()).take(600) {
                let mut buf = Decoder::new(bytes.slice(..cut));
                assert!(M::decode(&mut buf, version).is_err(), "{} v{version} cut at {cut}", M::NAME);
            }
            for _ in 0..40 {
                let mut damaged = bytes.to_vec();
                for _ in 0..=values.below(3) {
                    let at = values.below(damaged.len().max(1));
                    if let Some(byte) = damaged.get_mut(at) {
                        *byte ^= 1 << values.below(8);
                    }
                }
                survive::<M>(&damaged.into(), version);
            }
        }
    }
}

#[test]
fn truncated_and_damaged_bytes_never_panic() {
    macro_rules! all {
        ($(($module:ident, $name:ident),)*) => { $(malformed::<$module::$name>($module::$name::arbitrary);)* };
    }
    for_each_message!(all);
}

#[test]
fn a_small_request_cannot_claim_large_lists() {
    // Topics: 2^31 - 1 claimed in a body of 13 bytes.
    let bytes = Bytes::from_static(&[0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0]);
    let error = decoded::<produce::ProduceRequest>(&bytes, 3);
    assert_eq!(error, Err(DecodeError::ListTooLong { count: 0x7fff_ffff, remaining: 1 }));
}

#[test]
fn a_set_field_that_a_version_lacks_is_an_error() {
    let request = offset_fetch::OffsetFetchRequest { require_stable: true, ..Default::default() };
    let error = request.encode(&mut Encoder::new(), 6);
    assert_eq!(error, Err(EncodeError::FieldNotInVersion { field: "RequireStable", version: 6 }));
    let request = metadata::MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(
        request.encode(&mut Encoder::new(), 0),
        Err(EncodeError::NullField { field: "Topics", version: 0 })
    );
    let request = fetch::FetchRequest { rack_id: "r1".into(), ..Default::default() };
    assert_eq!(request.encode(&mut Encoder::new(), 4), Ok(()), "the rack is ignorable");
}

#[test]
fn keys_versions_and_header_versions() {
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::from_code(key.code()), Some(*key));
    }
    assert_eq!(ApiKey::from_code(4), None);
    assert_eq!(ApiKey::Produce.valid_versions(), 3..=13);
    assert_eq!(ApiKey::Fetch.valid_versions(), 4..=18);
    assert!(!ApiKey::Produce.is_flexible(8) && ApiKey::Produce.is_flexible(9));
    assert_eq!(
        (ApiKey::Metadata.request_header_version(8), ApiKey::Metadata.request_header_version(9)),
        (1, 2)
    );
    assert_eq!(
        (ApiKey::Metadata.response_header_version(8), ApiKey::Metadata.response_header_version(9)),
        (0, 1)
    );
    assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
    assert_eq!(ApiKey::ApiVersions.request_header_version(4), 2);
    assert!(!ApiKey::SaslHandshake.is_flexible(1));
    assert!(ApiKey::InitProducerId.latest_version_unstable());
}
