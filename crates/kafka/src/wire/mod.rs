//! Primitive encodings of Kafka's protocol, under the generated messages: a decoder that checks every length against
//! what remains before it allocates, an encoder whose output is a list of segments, and the value types both share.

#[cfg(test)]
pub(crate) mod arbitrary;
mod decoder;
mod encoder;
mod error;
mod records;
mod string;
#[cfg(test)]
mod tests;
mod uuid;

pub use decoder::{Decoder, ELEMENT_MEMORY_MAX, TAGGED_FIELDS_MAX};
pub use encoder::{Encoder, REFERENCE_SIZE_MIN, Segments, TaggedFields};
pub use error::{DecodeError, EncodeError};
pub use records::Records;
pub use string::Str;
pub use uuid::Uuid;
