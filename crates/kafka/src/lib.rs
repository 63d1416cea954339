//! Kafka's wire protocol: frames, messages, record batches and one file per API. Pure: bytes in, bytes out.

pub mod message;
pub mod wire;
