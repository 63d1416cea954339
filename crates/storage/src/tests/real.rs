//! The same code over the machine's file system, and over the shim that makes the end of a process a power cut.

use super::history::{entry, options, partition};
use crate::disk::RealDisk;
use crate::disk::shim::ShimDisk;
use crate::{Disk, OpenError, open};
use model::job::{Checkpoint, Done, SegmentFlush, SegmentRead, ShardCheckpoint, WalAppend, WalRecycle};
use model::{HardState, LeaderEpoch, LogIndex, Offset, ShardId, StoredBatch, Term};
use std::path::Path;
use std::sync::Arc;

const SHARD: ShardId = ShardId(1);

/// Lives that each append, checkpoint the half of it, recycle, and end without a word.
fn lives<D: Disk>(disk: impl Fn() -> D) {
    let mut applied = 0;
    let mut last = 0;
    for life in 0..4 {
        let mut node = open(Arc::new(disk()), options(None)).expect("opens");
        let recovered = &node.recovered;
        assert_eq!(recovered.damage, None);
        assert!(recovered.notes.is_empty(), "life {life}: {:?}", recovered.notes);
        let entries = recovered.entries.iter().flat_map(|(_, entries)| entries);
        let indexes: Vec<u64> = entries.map(|entry| entry.index.0).collect();
        assert_eq!(indexes, (applied + 1..=last).collect::<Vec<_>>(), "life {life}");
        let segments = recovered.segments.first().map(|found| found.segments.clone()).unwrap_or_default();
        for segment in segments {
            let job = SegmentRead {
                partition: partition(SHARD),
                segment,
                offset: segment.base_offset,
                bytes_max: 1 << 20,
            };
            assert!(matches!(node.reader.read(&job), Ok(Done::Read(batches)) if !batches.is_empty()));
        }
        for index in last + 1..=last + 30 {
            let entries = vec![entry(SHARD, 1, index, index, 3000)];
            node.wal.append(WalAppend { entries, hard_states: Vec::new() }).expect("appended");
        }
        while node.wal.upkeep().expect("kept up") {}
        let batches = (applied..last).map(|n| {
            let bytes = super::history::batch(n, 1, 3000);
            StoredBatch::new(Offset(n as i64), LeaderEpoch(1), bytes)
        });
        let flush = SegmentFlush {
            partition: partition(SHARD),
            batches: batches.collect(),
            roll_bytes: 50_000,
            roll_ms: 1 << 40,
        };
        let shard = ShardCheckpoint {
            shard: SHARD,
            applied: LogIndex(last),
            applied_term: Term(1),
            hard_state: HardState::default(),
            voters: vec![1],
            state: "state".into(),
        };
        let job = Checkpoint { flushes: vec![flush], shards: vec![shard], ..Checkpoint::default() };
        node.segments.checkpoint(job).expect("a checkpoint");
        node.wal.recycle(&WalRecycle { keep_from: vec![(SHARD, LogIndex(last + 1))] }).expect("recycled");
        applied = last;
        last += 30;
    }
}

fn real(root: &Path) -> RealDisk {
    RealDisk::new(root).expect("a directory")
}

#[test]
fn lives_on_the_real_disk() {
    let root = tempfile::tempdir().expect("a directory");
    lives(|| real(root.path()));
}

#[test]
fn lives_that_end_with_a_power_cut() {
    let root = tempfile::tempdir().expect("a directory");
    lives(|| ShimDisk::new(real(root.path())).expect("a shim"));
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let root = tempfile::tempdir().expect("a directory");
    let first = open(Arc::new(real(root.path())), options(None)).expect("opens");
    let second = open(Arc::new(real(root.path())), options(None)).map(|_| ());
    assert!(matches!(second, Err(OpenError::Locked)));
    drop(first);
    open(Arc::new(real(root.path())), options(None)).expect("opens again");
}

#[test]
fn a_directory_of_something_else_stays_as_it_was() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::write(root.path().join("stranger"), "mine").expect("written");
    let shim = ShimDisk::new(real(root.path())).expect("a shim");
    let over_shim = open(Arc::new(shim), options(None)).map(|_| ());
    let refused = open(Arc::new(real(root.path())), options(None)).map(|_| ());
    for refused in [refused, over_shim] {
        assert!(matches!(refused, Err(OpenError::NotDataDirectory { found }) if found == "stranger"));
    }
    let left =
        std::fs::read_dir(root.path()).expect("listed").map(|entry| entry.expect("an entry").file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["stranger"]);
}
