//! Bytes of a client that outlive their request: metadata, assignments. Always a copy of their own, because a slice
//! would pin the whole request buffer.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;

/// Client bytes in an allocation of their own; clones share it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opaque(Bytes);

impl Opaque {
    /// A copy of `source`.
    pub fn copy_of(source: &[u8]) -> Opaque {
        Opaque(Bytes::copy_from_slice(source))
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// How many bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Read access.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Opaque, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Opaque;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a run of bytes")
            }

            fn visit_bytes<E: Error>(self, source: &[u8]) -> Result<Opaque, E> {
                Ok(Opaque::copy_of(source))
            }

            fn visit_byte_buf<E: Error>(self, source: Vec<u8>) -> Result<Opaque, E> {
                Ok(Opaque(source.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Opaque, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = source.next_element()? {
                    bytes.push(byte);
                }
                Ok(Opaque(bytes.into()))
            }
        }

        deserializer.deserialize_byte_buf(Reader)
    }
}
