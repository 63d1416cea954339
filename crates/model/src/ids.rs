//! Identities: what a number names, so that two of them are never mixed up.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A node of the cluster (Kafka: `node.id`, broker id). Not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub i32);

/// A data directory's own id, drawn when it was first used: a disk that is lost or emptied comes back as another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskId(pub [u8; 16]);

impl fmt::Display for DiskId {
    /// As Kafka writes a directory's id.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&TopicId(self.0).base64())
    }
}

impl DiskId {
    /// Of random bytes. Two bits are given: it is never zero, and its text never begins like an option.
    pub fn drawn(mut random: [u8; 16]) -> DiskId {
        random[0] = random[0] & 0x7f | 1;
        DiskId(random)
    }

    /// The id under which a disk comes back that was emptied: the same one each time, should it be interrupted on the way.
    pub fn successor(self) -> DiskId {
        let mixed = u128::from_be_bytes(self.0).wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mixed = (mixed ^ mixed.rotate_left(61)).wrapping_mul(0xda94_2042_e4dd_58b5_2360_ed05_1fc6_5da5);
        DiskId::drawn(mixed.to_be_bytes())
    }
}

/// One Raft group. Shard 0 is the metadata group; data shards count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The group that replicates topics, configurations and ids.
    pub const METADATA: ShardId = ShardId(0);
    /// Shards below it are on all nodes, and are there from the start. From here on they are on the nodes that the catalogue
    /// names, and are there from when it names them.
    pub const FIRST_PLACED: ShardId = ShardId(1 << 16);
}

/// A partition's number inside its topic, from 0.
pub type PartitionIndex = i32;

/// A topic's identity for life: a name that is deleted and created again gets another one (KIP-516).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id that means "none" on the wire.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// Lower-case hexadecimal, 32 characters: the form used in paths.
    pub fn hex(&self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(32), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string");
            text
        })
    }

    /// Reads Kafka's text form; `None` when it is anything else.
    pub fn from_base64(text: &str) -> Option<TopicId> {
        let six_bits = |symbol: u8| {
            Some(u128::from(match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            }))
        };
        let (last, first) = text.as_bytes().split_last()?;
        if first.len() != 21 {
            return None;
        }
        let word = first.iter().try_fold(0, |word, symbol| Some(word << 6 | six_bits(*symbol)?))?;
        // 128 bits are two more than 21 symbols; the other four of the last one are zero.
        let id = TopicId((word << 2 | six_bits(*last)? >> 4).to_be_bytes());
        (id.base64() == text).then_some(id)
    }

    /// Kafka's text form: 22 characters of URL-safe base64 without padding.
    pub fn base64(&self) -> String {
        const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::with_capacity(22);
        for chunk in self.0.chunks(3) {
            let word = chunk
                .iter()
                .enumerate()
                .fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
            for i in 0..=chunk.len() {
                text.push(char::from(SYMBOLS[(word >> (18 - 6 * i) & 63) as usize]));
            }
        }
        text
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.base64())
    }
}

/// A partition by identity: what storage and shards know it by. Names live in metadata only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number inside the topic.
    pub index: PartitionIndex,
}

/// Position of a record in its partition, from 0, dense. The only offset space a client sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset `count` records later.
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

/// Counts the leaders of a partition; part of every batch (Kafka: partition leader epoch). Never the Raft term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaderEpoch(pub i32);

/// An idempotent producer's identity; -1 in a batch means "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// A batch of a producer without identity.
    pub const NONE: ProducerId = ProducerId(-1);
}

/// Incarnation of a producer id; -1 means "none".
pub type ProducerEpoch = i16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_comes_back_and_nothing_else_is_taken() {
        for byte in [0, 1, 0x7f, 0xff] {
            let id = TopicId(std::array::from_fn(|at| byte ^ at as u8));
            assert_eq!(TopicId::from_base64(&id.base64()), Some(id));
        }
        for wrong in
            ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAA+", "AAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(TopicId::from_base64(wrong), None, "{wrong}");
        }
    }
}
