//! The cluster's nodes: what each holds on disk.

/// How large the partitions on this node are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeLogDirs {
    /// Topics by name with partitions; `None`: all of them.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
}

/// Answer to `DescribeLogDirs`: a node has one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeLogDirsResponse {
    /// Its path.
    pub path: String,
    /// Those that were asked for and are here, by topic.
    pub topics: Vec<(String, Vec<HeldPartition>)>,
}

/// A partition on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPartition {
    /// Partition number.
    pub index: i32,
    /// Bytes of its segment files, and of committed batches that are so far in the node's log alone.
    pub bytes: u64,
}
