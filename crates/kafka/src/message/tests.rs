//! Every message × every version × seeded values: our bytes are read by two independent implementations, come back
//! byte for byte, and read back as the value they were made of. Malformed bytes: an error or a value, never a panic.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use kafka_wire_core::{ApiVersion, DecodeLimits, KafkaDecode, KafkaEncode};

use super::arbitrary::for_each_message;
use super::*;
use crate::wire::arbitrary::Values;

/// Values per message and version.
const ROUNDS: u64 = 24;

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

/// How many comparisons took place, per oracle.
#[derive(Default, Debug)]
struct Compared {
    kafka_protocol: usize,
    kafka_wire: usize,
}

fn differential<M, P, W>(arbitrary: fn(&mut Values, i16) -> M, compared: &mut Compared)
where
    M: Message + PartialEq + std::fmt::Debug,
    P: Decodable + Encodable + kafka_protocol::protocol::Message,
    W: KafkaDecode + KafkaEncode + kafka_wire::KafkaMessage,
{
    for version in M::VERSION_MIN..=M::VERSION_MAX {
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
    assert!(compared.kafka_protocol > 8_000, "{compared:?}");
    assert!(compared.kafka_wire > 8_000, "{compared:?}");
}
