//! Which of its node's disks a data directory is, and whether it takes part.

use crate::{DiskId, NodeId};
use std::collections::BTreeMap;

/// What a node knows of the disk that it starts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The disk's id; `None`: a version of Sternpost that knows of none may have to use it again.
    pub disk: Option<DiskId>,
    /// Which of the node's replicas is on it, from 0: a disk that is lost gives its place to another one as the next.
    pub replica: u32,
    /// It takes no part yet.
    pub waits: Option<Waits>,
    /// The disks of the other nodes with which it began a new cluster.
    pub founders: BTreeMap<NodeId, DiskId>,
}

/// A disk that holds nothing and waits until the cluster names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The disk of this node whose place it is to take without anybody's word.
    pub replaces: Option<DiskId>,
}
