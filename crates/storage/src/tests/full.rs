//! No byte left: what is trimmed and dropped gives its space back all the same, and nothing else changes.

use super::history::{batch, entry, options, partition};
use super::memory::{Fault, MemoryDisk};
use crate::reserve::Reserve;
use crate::segments::path;
use crate::{Disk, Mutant, OpenError, Opened, open};
use model::job::{Checkpoint, Done, JobError, SegmentFlush, SegmentMeta, ShardCheckpoint, WalAppend};
use model::{HardState, LeaderEpoch, LogIndex, Offset, PartitionId, ShardId, StoredBatch, Term};
use std::sync::Arc;

const KEPT: ShardId = ShardId(1);
const GONE: ShardId = ShardId(2);

fn opened(disk: &MemoryDisk, mutant: Option<Mutant>) -> Opened<MemoryDisk> {
    open(Arc::new(disk.clone()), options(mutant)).expect("opens")
}

/// Offsets `from..to` of a shard's partition, a segment for each.
fn flush(shard: ShardId, from: i64, to: i64) -> SegmentFlush {
    let stored = |n: i64| StoredBatch::new(Offset(n), LeaderEpoch(3), batch(n as u64, 1, 20_000));
    let batches = (from..to).map(stored).collect();
    SegmentFlush { partition: partition(shard), batches, roll_bytes: 1, roll_ms: u64::MAX }
}

fn state(applied: u64) -> Vec<ShardCheckpoint> {
    let shard = |shard| ShardCheckpoint {
        shard,
        applied: LogIndex(applied),
        applied_term: Term(1),
        hard_state: HardState::default(),
        members: vec![1],
        state: format!("at {applied}").into(),
    };
    vec![shard(KEPT), shard(GONE)]
}

fn append(node: &mut Opened<MemoryDisk>, index: u64) {
    let entries = [KEPT, GONE].map(|shard| entry(shard, 1, index, index, 100)).to_vec();
    node.wal.append(WalAppend { entries, hard_states: Vec::new() }).expect("appended");
}

/// Two shards with two entries each: the first is in segments, by as many checkpoints as are asked for, the second is not.
fn node(disk: &MemoryDisk, checkpoints: i64, mutant: Option<Mutant>) -> Opened<MemoryDisk> {
    let mut node = opened(disk, mutant);
    append(&mut node, 1);
    for at in 0..checkpoints {
        let flushes = vec![flush(KEPT, at, at + 1), flush(GONE, at, at + 1)];
        let job = Checkpoint { flushes, shards: state(1), ..Checkpoint::default() };
        node.segments.checkpoint(job).expect("a checkpoint");
    }
    append(&mut node, 2);
    node
}

/// Moves on to the second entry, which needs space.
fn next(at: i64) -> Checkpoint {
    Checkpoint { flushes: vec![flush(KEPT, at, at + 1)], shards: state(2), ..Checkpoint::default() }
}

fn segments(node: &Opened<MemoryDisk>, partition: PartitionId) -> Vec<SegmentMeta> {
    node.segments.manifest().get(&partition).cloned().unwrap_or_default()
}

fn is_there(disk: &MemoryDisk, shard: ShardId, base: i64) -> bool {
    disk.files().contains(&path(&partition(shard), Offset(base)))
}

#[test]
fn a_dropped_partition_goes_while_others_cannot_be_flushed() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 2, None);
    let before = segments(&node, partition(KEPT));
    disk.fail_after(1, Fault::NoSpace);
    let job = Checkpoint { drops: vec![partition(GONE)], ..next(2) };
    assert_eq!(node.segments.checkpoint(job.clone()).expect_err("no space"), JobError::NoSpace);
    assert_eq!(node.segments.releases(), 1);
    assert!(!is_there(&disk, GONE, 0) && !is_there(&disk, GONE, 1), "the space is back");
    assert!(!is_there(&disk, KEPT, 2), "the attempt is taken back");
    assert_eq!(node.segments.checkpoint(job.clone()).expect_err("no space"), JobError::NoSpace);
    assert_eq!(node.segments.releases(), 1, "nothing more to let go");
    disk.heal();

    for cut in [disk.after_process_crash(), disk.after_power_cut(1), disk.after_power_cut(2)] {
        let node = opened(&cut, None);
        assert_eq!(node.recovered.damage, None);
        assert!(node.recovered.notes.is_empty(), "{:?}", node.recovered.notes);
        assert_eq!(node.recovered.shards, state(1), "where the last checkpoint of everything has them");
        assert_eq!(segments(&node, partition(KEPT)), before);
        assert!(segments(&node, partition(GONE)).is_empty());
        let from: Vec<_> = node.recovered.entries.iter().map(|(_, entries)| entries[0].index).collect();
        assert_eq!(from, [LogIndex(2); 2], "the log has the rest");
    }
    node.segments.checkpoint(job).expect("space has come");
    assert_eq!(segments(&node, partition(KEPT)).len(), 3);
}

#[test]
fn trimmed_segments_go_and_the_freed_space_is_used_at_once() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 2, None);
    let trims = vec![(partition(KEPT), Offset(1))];
    disk.fail_after(1, Fault::NoSpace);
    let job = Checkpoint { trims, ..next(2) };
    node.segments.checkpoint(job.clone()).expect_err("no space");
    assert!(!is_there(&disk, KEPT, 0) && is_there(&disk, KEPT, 1));
    disk.heal();
    match node.segments.checkpoint(job).expect("space has come") {
        Done::Checkpoint { changed } => {
            let bases: Vec<_> = changed[0].segments.iter().map(|segment| segment.base_offset.0).collect();
            assert_eq!(bases, [1, 2], "whoever asked learns what went before");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trim_is_told_even_when_nothing_is_flushed_any_more() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 2, None);
    let trims = vec![(partition(KEPT), Offset(1))];
    disk.fail_after(1, Fault::NoSpace);
    node.segments.checkpoint(Checkpoint { trims: trims.clone(), ..next(2) }).expect_err("no space");
    disk.heal();
    let job = Checkpoint { trims, shards: state(1), ..Checkpoint::default() };
    match node.segments.checkpoint(job).expect("a checkpoint") {
        Done::Checkpoint { changed } => assert_eq!(changed[0].segments.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_second_slot_a_deletion_waits_for_space() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 1, None);
    disk.fail_after(1, Fault::NoSpace);
    let job = Checkpoint { drops: vec![partition(GONE)], ..next(1) };
    assert_eq!(node.segments.checkpoint(job.clone()).expect_err("no space"), JobError::NoSpace);
    assert_eq!(node.segments.releases(), 0);
    assert!(is_there(&disk, GONE, 0), "nothing goes that a checkpoint refers to");
    disk.heal();
    node.segments.checkpoint(job).expect("space has come");
    assert!(!is_there(&disk, GONE, 0));
}

/// The slot that an attempt without space had made was taken for one with a durable name.
#[test]
fn a_first_checkpoint_is_durable_after_attempts_without_space() {
    for (checkpoints, after) in (0..2).flat_map(|checkpoints| (1..40).map(move |after| (checkpoints, after)))
    {
        let disk = MemoryDisk::default();
        let mut node = node(&disk, checkpoints, None);
        disk.fail_after(after, Fault::NoSpace);
        let first = node.segments.checkpoint(next(checkpoints));
        disk.heal();
        if first.is_err() {
            node.segments.checkpoint(next(checkpoints)).expect("space has come");
        }
        for cut in 0..12 {
            let node = opened(&disk.after_power_cut(cut), None);
            assert_eq!(node.recovered.damage, None);
            assert_eq!(
                node.recovered.shards,
                state(2),
                "{checkpoints} before, no space from call {after} on"
            );
        }
    }
}

#[test]
fn a_device_that_fails_while_it_lets_go_is_final() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 2, None);
    disk.fail_after(1, Fault::NoSpaceNoSync);
    let job = Checkpoint { drops: vec![partition(GONE)], ..next(2) };
    let failed = node.segments.checkpoint(job.clone()).expect_err("no sync");
    assert!(matches!(failed, JobError::Device { .. }), "{failed}");
    disk.heal();
    assert_eq!(node.segments.checkpoint(job).expect_err("never again"), failed);
    assert!(is_there(&disk, GONE, 0));
}

#[test]
fn letting_go_with_the_new_state_is_noticed() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 2, Some(Mutant::ReleaseTakesNewState));
    disk.fail_after(1, Fault::NoSpace);
    let job = Checkpoint { drops: vec![partition(GONE)], ..next(2) };
    node.segments.checkpoint(job).expect_err("no space");
    let node = opened(&disk.after_process_crash(), None);
    assert!(node.recovered.entries.is_empty(), "entries are lost that no segment has");
}

/// What somebody frees while a checkpoint lacks space is the checkpoint's: the log takes its next file when that is durable.
#[test]
fn the_log_takes_no_spare_from_a_checkpoint_that_lacks_space() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 1, None);
    let spares = || disk.files().iter().filter(|name| name.ends_with(".spare")).count();
    assert_eq!(spares(), 1, "one waits");
    disk.fail_after(1, Fault::NoSpace);
    node.segments.checkpoint(next(1)).expect_err("no space");
    disk.heal();
    let room = node.wal.room();
    let mut index = 2;
    while spares() > 0 {
        index += 1;
        append(&mut node, index);
    }
    assert!(!node.wal.upkeep().expect("nothing to do"));
    append(&mut node, index + 1);
    assert!(spares() == 0 && node.wal.room() < room, "the last file is in use and there is no other");
    node.segments.checkpoint(next(1)).expect("space has come");
    append(&mut node, index + 2);
    assert_eq!(spares(), 1);
}

/// The log's end goes into a new file, and there is room for the deletion that will make space.
#[test]
fn a_start_on_a_full_disk_takes_the_space_put_by() {
    let disk = MemoryDisk::default();
    let room = node(&disk, 2, None).recovered.room;
    for cut in [disk.after_process_crash(), disk.after_power_cut(1), disk.after_power_cut(2)] {
        cut.fail_after(1, Fault::NoSpaceBesideReserve);
        let mut node = opened(&cut, None);
        assert!(cut.heal() > 0 && !cut.files().contains(&"reserve".to_owned()));
        let entries: usize = node.recovered.entries.iter().map(|(_, entries)| entries.len()).sum();
        assert_eq!((entries, node.recovered.room > 0), (2, room > 0));
        append(&mut node, 3);
        node.segments.checkpoint(next(2)).expect("space has come");
        assert!(cut.files().contains(&"reserve".to_owned()), "put by again");
    }
}

#[test]
fn without_space_put_by_a_start_says_what_to_do() {
    let disk = MemoryDisk::default();
    drop(node(&disk, 2, None));
    let cut = disk.after_process_crash();
    cut.unlink("reserve").expect("it was put by");
    cut.fail_after(1, Fault::NoSpace);
    let refused = open(Arc::new(cut), options(None)).map(|_| ());
    assert!(matches!(refused, Err(OpenError::NoSpace)), "{refused:?}");
}

#[test]
fn a_device_that_fails_while_space_is_put_by_is_final() {
    let disk = MemoryDisk::default();
    let mut node = node(&disk, 2, None);
    drop(node.segments.checkpoint(next(2)).expect("a checkpoint"));
    let mut reserve = Reserve::new(&options(None).wal);
    disk.unlink("reserve").expect("it was put by");
    disk.fail_after(3, Fault::Io);
    assert!(reserve.put_by(&disk).is_err());
    disk.heal();
    reserve.put_by(&disk).expect("space");
    disk.unlink("reserve").expect("it is put by");
    disk.fail_after(1, Fault::NoSpace);
    Reserve::new(&options(None).wal).put_by(&disk).expect("none is no error");
    assert!(!disk.files().contains(&"reserve".to_owned()));
}
