//! Whose disk this is: cluster, node and incarnation, written before anything else and again at each start, so that
//! peers can tell an old image that was put back (rule 14). And which of the node's disks: one that is lost gives its place to
//! another, as the next replica, which takes no part before the cluster has named it.

use crate::disk::Disk;
use crate::layout::{FORMAT_VERSION, Fields, is_sealed, read, replace, seal};
use model::{DiskId, NodeId, Owner, Waits};
use std::io;

/// Path of the file.
pub const PATH: &str = "identity";
/// Path while it is written; without meaning when found.
pub const PATH_NEW: &str = "identity.new";
const MAGIC: u64 = u64::from_le_bytes(*b"SPIDENTY");
/// Of the form without a disk's id, which versions of Sternpost before protocol level 3 read.
const BYTES: usize = 48;
/// The form with one.
const VERSION_2: u32 = 2;
const BYTES_2: usize = 168;
/// The other nodes of a cluster of five.
pub const FOUNDERS_MAX: usize = 4;
/// More is not read: forms of the future are larger.
const FILE_BYTES_MAX: usize = 4096;

/// A data directory's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: [u8; 16],
    /// The node in it.
    pub node: NodeId,
    /// How often a process opened this disk for writing; never goes down.
    pub incarnation: u64,
    /// Which disk it is; `None` as long as it may be used by a version of Sternpost that knows of none.
    pub disk: Option<DiskId>,
    /// Which of the node's replicas is on it, from 0: the next one is on another disk, or on this one when it was emptied.
    pub replica: u32,
    /// Whether it takes part.
    pub standing: Standing,
    /// The disks of the other nodes with which it began a new cluster: one of them that was stopped before it took part may still.
    pub founders: [Option<(NodeId, DiskId)>; FOUNDERS_MAX],
}

/// Whether a disk takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Standing {
    /// It votes and acknowledges as the replica that it is.
    TakesPart,
    /// It holds nothing, and waits until the cluster names it.
    Waits {
        /// The disk whose place it is to take without anybody's word: what this directory was before it was found damaged.
        replaces: Option<DiskId>,
    },
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
    /// Of a disk that takes part since before disks had ids.
    pub fn plain(cluster: [u8; 16], node: NodeId, incarnation: u64) -> Identity {
        let (disk, founders) = (None, [None; FOUNDERS_MAX]);
        Identity { cluster, node, incarnation, disk, replica: 0, standing: Standing::TakesPart, founders }
    }

    /// What the node that starts on it is to know.
    pub fn owner(&self) -> Owner {
        let waits = match self.standing {
            Standing::TakesPart => None,
            Standing::Waits { replaces } => Some(Waits { replaces }),
        };
        let founders = self.founders.into_iter().flatten().collect();
        Owner { disk: self.disk, replica: self.replica, waits, founders }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES_2);
        let version = if self.disk.is_some() { VERSION_2 } else { FORMAT_VERSION };
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.cluster);
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        match self.disk {
            None => {
                assert!(
                    self.replica == 0 && self.standing == Standing::TakesPart,
                    "a disk with an id says so"
                );
                out.extend_from_slice(&0u32.to_le_bytes());
            }
            Some(disk) => {
                let (waits, replaces) = match self.standing {
                    Standing::TakesPart => (0u32, None),
                    Standing::Waits { replaces } => (1, replaces),
                };
                out.extend_from_slice(&self.replica.to_le_bytes());
                out.extend_from_slice(&waits.to_le_bytes());
                out.extend_from_slice(&disk.0);
                out.extend_from_slice(&replaces.unwrap_or_default().0);
                for (node, disk) in
                    self.founders.map(|founder| founder.unwrap_or((NodeId(-1), DiskId::default())))
                {
                    out.extend_from_slice(&node.0.to_le_bytes());
                    out.extend_from_slice(&disk.0);
                }
                out.extend_from_slice(&0u32.to_le_bytes());
            }
        }
        seal(&mut out, 0);
        out
    }

    /// Reads the bytes of the file.
    pub fn decode(bytes: &[u8]) -> Result<Identity, Unreadable> {
        let mut fields = Fields::new(bytes);
        if fields.u64() != Some(MAGIC) || !is_sealed(bytes) {
            return Err(Unreadable::Damaged);
        }
        let version = fields.u32().unwrap_or(0);
        let size = match version {
            FORMAT_VERSION => BYTES,
            VERSION_2 => BYTES_2,
            other => return Err(Unreadable::Version(other)),
        };
        if bytes.len() != size {
            return Err(Unreadable::Damaged);
        }
        let mut identity = || {
            let node = NodeId(i32::from_le_bytes(fields.array()?));
            let mut identity = Identity::plain(fields.array()?, node, fields.u64()?);
            identity.replica = fields.u32()?;
            if version == VERSION_2 {
                let (waits, disk, replaces) =
                    (fields.u32()?, DiskId(fields.array()?), DiskId(fields.array()?));
                let replaces = (replaces != DiskId::default()).then_some(replaces);
                identity.disk = Some(disk);
                if waits != 0 {
                    identity.standing = Standing::Waits { replaces };
                }
                for founder in &mut identity.founders {
                    let (node, disk) = (i32::from_le_bytes(fields.array()?), DiskId(fields.array()?));
                    *founder = (node >= 0).then_some((NodeId(node), disk));
                }
            }
            Some(identity)
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
    Identity::decode(&read(&file, 0, FILE_BYTES_MAX).map_err(Unreadable::Io)?)
}

/// Writes the file, durable, in one step.
pub fn store<D: Disk>(disk: &D, identity: &Identity) -> io::Result<()> {
    replace(disk, PATH_NEW, PATH, &identity.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        let plain = Identity::plain([7; 16], NodeId(3), 9);
        assert_eq!(plain.encode().len(), BYTES);
        let named = Identity { disk: Some(DiskId([1; 16])), replica: 5, ..plain };
        let waits = |replaces| {
            let mut waits = named;
            waits.standing = Standing::Waits { replaces };
            waits
        };
        let mut founded = named;
        founded.founders[0] = Some((NodeId(0), DiskId([7; 16])));
        founded.founders[3] = Some((NodeId(9), DiskId([8; 16])));
        for identity in [plain, named, founded, waits(None), waits(Some(DiskId([2; 16])))] {
            let bytes = identity.encode();
            assert_eq!(Identity::decode(&bytes).ok(), Some(identity));
            for place in 0..bytes.len() {
                let mut bent = bytes.clone();
                bent[place] ^= 1;
                assert!(matches!(Identity::decode(&bent), Err(Unreadable::Damaged)), "byte {place}");
            }
            assert!(matches!(Identity::decode(&bytes[..bytes.len() - 1]), Err(Unreadable::Damaged)));
        }
        let mut newer = named.encode();
        newer.truncate(newer.len() - 4);
        newer[8] = 3;
        seal(&mut newer, 0);
        assert!(matches!(Identity::decode(&newer), Err(Unreadable::Version(3))));
    }
}
