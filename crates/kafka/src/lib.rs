//! Kafka's wire protocol: frames, messages, record batches and one file per API. Pure: bytes in, bytes out.

pub mod api;
pub mod consumer_protocol;
pub mod frame;
pub mod message;
pub mod records;
pub mod session;
pub mod wire;
