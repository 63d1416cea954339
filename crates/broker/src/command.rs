//! What an entry of a shard's log does: the descriptor that consensus carries and the WAL keeps. Record batches lie in
//! the entry's payload, in the order of the `Append` commands. Serialized with postcard behind a version byte.

use crate::catalog::CatalogCommand;
use crate::group::GroupCommand;
use bytes::Bytes;
use model::{LeaderEpoch, LogIndex, Offset, PartitionId, ProducerId};
use serde::{Deserialize, Serialize};

/// Version of the descriptor's encoding; another one refuses to apply.
pub const DESCRIPTOR_VERSION: u8 = 2;

/// The commands of one entry, applied together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The leader's wall clock when it proposed the entry, ms. Apply knows no other time.
    pub at_ms: i64,
    /// In order.
    pub commands: Vec<Command>,
}

/// One change of a shard's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The next `size` bytes of the payload are a batch at this place.
    Append {
        /// The partition.
        partition: PartitionId,
        /// Must be the partition's log end.
        base_offset: Offset,
        /// The shard's leader epoch.
        leader_epoch: LeaderEpoch,
        /// Bytes of the batch.
        size: u32,
    },
    /// The partition exists from now on. Again, or when a newer catalogue has spoken here before: no effect.
    CreatePartition {
        /// The partition.
        partition: PartitionId,
        /// How much of the metadata log the leader that wanted it had applied: only a catalogue that is at least as new may
        /// say that it must go.
        catalog: LogIndex,
    },
    /// As `RemovePartition`, of a catalogue of unknown age. Not written any more.
    DeletePartition(PartitionId),
    /// The log starts here at the earliest (retention, delete-records).
    Trim {
        /// The partition.
        partition: PartitionId,
        /// New first offset; never above the log end.
        log_start: Offset,
    },
    /// Producers that were silent for too long.
    ForgetProducers {
        /// The partition.
        partition: PartitionId,
        /// Which.
        producers: Vec<ProducerId>,
    },
    /// A change of a group (coordinator shards).
    Group(GroupCommand),
    /// A change of the catalogue (metadata group).
    Catalog(CatalogCommand),
    /// The partition and its records are gone. Again: no effect.
    RemovePartition {
        /// The partition.
        partition: PartitionId,
        /// How much of the metadata log the leader that wanted it had applied: from then on no older one creates anything here.
        catalog: LogIndex,
    },
}

/// A descriptor that cannot be applied: written by another version, or damaged behind a valid checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorError(pub String);

impl Descriptor {
    /// The bytes that go into the log.
    pub fn encode(&self) -> Bytes {
        let bytes =
            postcard::to_extend(self, vec![DESCRIPTOR_VERSION]).expect("plain data always serializes");
        bytes.into()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the version is another or the bytes are not a descriptor.
    pub fn decode(bytes: &[u8]) -> Result<Descriptor, DescriptorError> {
        match bytes.split_first() {
            Some((&DESCRIPTOR_VERSION, rest)) => postcard::from_bytes(rest)
                .map_err(|error| DescriptorError(format!("read a log entry: {error}"))),
            Some((version, _)) => Err(DescriptorError(format!(
                "a log entry has format {version}, this version reads {DESCRIPTOR_VERSION}"
            ))),
            None => Err(DescriptorError("a log entry is empty".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TopicId;

    #[test]
    fn round_trip_and_refusals() {
        let partition = PartitionId { topic: TopicId([7; 16]), index: 3 };
        let descriptor = Descriptor {
            at_ms: 99,
            commands: vec![
                Command::CreatePartition { partition, catalog: LogIndex(8) },
                Command::Append { partition, base_offset: Offset(5), leader_epoch: LeaderEpoch(1), size: 70 },
            ],
        };
        let bytes = descriptor.encode();
        assert_eq!(Descriptor::decode(&bytes), Ok(descriptor));
        assert!(Descriptor::decode(&[]).is_err());
        assert!(Descriptor::decode(&[9, 1, 2]).is_err());
        assert!(Descriptor::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
