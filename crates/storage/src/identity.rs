//! Whose disk this is: cluster, node and incarnation, written before anything else and again at each start, so that
//! peers can tell an old image that was put back (rule 14).

use crate::disk::Disk;
use crate::layout::{FORMAT_VERSION, Fields, is_sealed, read, replace, seal};
use model::NodeId;
use std::io;

/// Path of the file.
pub const PATH: &str = "identity";
/// Path while it is written; without meaning when found.
pub const PATH_NEW: &str = "identity.new";
const MAGIC: u64 = u64::from_le_bytes(*b"SPIDENTY");
const BYTES: usize = 48;

/// A data directory's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: [u8; 16],
    /// The node in it.
    pub node: NodeId,
    /// How often a process opened this disk for writing; never goes down.
    pub incarnation: u64,
}

/// Why there is none.
#[derive(Debug)]
pub enum Unreadable {
    /// No such file.
    Missing,
    /// It is not as it was written.
    Damaged,
    /// Of a format that this program does not know.
    Version(u32),
    /// The system's word.
    Io(io::Error),
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.cluster);
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        seal(&mut out, 0);
        out
    }

    /// Reads the bytes of the file.
    pub fn decode(bytes: &[u8]) -> Result<Identity, Unreadable> {
        let mut fields = Fields::new(bytes);
        if fields.u64() != Some(MAGIC) || bytes.len() != BYTES || !is_sealed(bytes) {
            return Err(Unreadable::Damaged);
        }
        match fields.u32() {
            Some(FORMAT_VERSION) => {}
            other => return Err(Unreadable::Version(other.unwrap_or(0))),
        }
        let mut identity = || {
            let node = NodeId(i32::from_le_bytes(fields.array()?));
            Some(Identity { node, cluster: fields.array()?, incarnation: fields.u64()? })
        };
        identity().ok_or(Unreadable::Damaged)
    }
}

/// Reads the file.
pub fn load<D: Disk>(disk: &D) -> Result<Identity, Unreadable> {
    let file = disk.open_read(PATH).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Io(error),
    })?;
    Identity::decode(&read(&file, 0, BYTES + 1).map_err(Unreadable::Io)?)
}

/// Writes the file, durable, in one step.
pub fn store<D: Disk>(disk: &D, identity: &Identity) -> io::Result<()> {
    replace(disk, PATH_NEW, PATH, &identity.encode())
}
