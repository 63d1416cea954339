//! The same code over the machine's file system, and over the shim that makes the end of a process a power cut.

use super::history::{entry, options, partition};
use crate::disk::RealDisk;
use crate::disk::shim::ShimDisk;
use crate::disk::{DiskFile, FileWrite};
use crate::{Disk, OpenError, open};
use model::job::{Checkpoint, Done, SegmentFlush, SegmentRead, ShardCheckpoint, WalAppend, WalRecycle};
use model::{HardState, LeaderEpoch, LogIndex, Offset, ShardId, StoredBatch, Term};
use std::io::{ErrorKind, IoSlice};
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
            members: vec![1],
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

/// More files than are written together, twice: several threads write them, each ends up with its own bytes.
#[test]
fn a_checkpoint_of_many_partitions() {
    const PARTITIONS: u64 = 300;
    let root = tempfile::tempdir().expect("a directory");
    let mut node = open(Arc::new(real(root.path())), options(None)).expect("opens");
    let stored = |at: u64, round: u64| {
        let bytes = super::history::batch(at * 10 + round, 1, 2000 + at as usize);
        StoredBatch::new(Offset(round as i64), LeaderEpoch(1), bytes)
    };
    let id = |at| model::PartitionId { index: at as i32, ..partition(SHARD) };
    for round in 0..2 {
        let flush = |at| SegmentFlush {
            partition: id(at),
            batches: vec![stored(at, round)],
            roll_bytes: 1 << 30,
            roll_ms: u64::MAX,
        };
        let job = Checkpoint { flushes: (0..PARTITIONS).map(flush).collect(), ..Checkpoint::default() };
        node.segments.checkpoint(job).expect("a checkpoint");
    }
    for at in 0..PARTITIONS {
        let segment = node.segments.manifest()[&id(at)][0];
        let job = SegmentRead { partition: id(at), segment, offset: Offset(0), bytes_max: 1 << 20 };
        match node.reader.read(&job).expect("whole") {
            Done::Read(batches) => {
                let read: Vec<_> = batches.iter().map(StoredBatch::to_contiguous).collect();
                assert_eq!(read, [0, 1].map(|round| stored(at, round).to_contiguous()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_of_many_files_that_cannot_be_written_is_an_error() {
    let root = tempfile::tempdir().expect("a directory");
    let disk = real(root.path());
    let bytes = [7; 4096];
    let write =
        |path: String| FileWrite { path, is_new: true, offset: 0, pieces: vec![IoSlice::new(&bytes)] };
    let mut writes: Vec<_> = (0..40).map(|at| write(format!("file-{at}"))).collect();
    disk.write_files(&writes).expect("written");
    assert!(
        (0..40)
            .all(|at| disk.open_read(&format!("file-{at}")).expect("there").len().expect("a size") == 4096)
    );
    writes.insert(20, write("nowhere/file".into()));
    assert_eq!(disk.write_files(&writes).expect_err("no such directory").kind(), ErrorKind::NotFound);
    disk.write_files(&[]).expect("nothing to do");
}
