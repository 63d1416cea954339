//! A damaged segment is written anew: from its whole blocks, and from another replica where there are none.

use super::history::{batch, options, partition};
use super::memory::{Fault, MemoryDisk};
use crate::segments::path;
use crate::{Opened, open};
use model::job::{
    Checkpoint, Done, JobError, Mended, SegmentFlush, SegmentMend, SegmentMeta, SegmentRead, ShardCheckpoint,
};
use model::{HardState, LeaderEpoch, LogIndex, Offset, PartitionId, ShardId, StoredBatch, Term};
use std::sync::Arc;

const SHARD: ShardId = ShardId(1);
/// Several blocks, in two stretches of which the first ends within a sector.
const FIRST: i64 = 14;
const ALL: i64 = 20;

fn id() -> PartitionId {
    partition(SHARD)
}

fn opened(disk: &MemoryDisk) -> Opened<MemoryDisk> {
    open(Arc::new(disk.clone()), options(None)).expect("opens")
}

/// What every replica has.
fn stored(from: i64, to: i64) -> Vec<StoredBatch> {
    (from..to).map(|n| StoredBatch::new(Offset(n), LeaderEpoch(3), batch(n as u64, 1, 20_000))).collect()
}

fn job(from: i64, to: i64, change: impl FnOnce(&mut Checkpoint)) -> Checkpoint {
    let flush =
        SegmentFlush { partition: id(), batches: stored(from, to), roll_bytes: 1 << 30, roll_ms: u64::MAX };
    let shard = ShardCheckpoint {
        shard: SHARD,
        applied: LogIndex(to as u64),
        applied_term: Term(1),
        hard_state: HardState::default(),
        members: vec![1],
        state: "state".into(),
    };
    let mut job = Checkpoint { flushes: vec![flush], shards: vec![shard], ..Checkpoint::default() };
    change(&mut job);
    job
}

/// A node with one segment of all batches.
fn with_segment() -> (MemoryDisk, Opened<MemoryDisk>) {
    let disk = MemoryDisk::default();
    let mut node = opened(&disk);
    node.segments.checkpoint(job(0, FIRST, |_| {})).expect("durable");
    node.segments.checkpoint(job(FIRST, ALL, |_| {})).expect("durable");
    (disk, node)
}

fn meta(node: &Opened<MemoryDisk>) -> SegmentMeta {
    node.segments.manifest()[&id()][0]
}

fn file() -> String {
    path(&id(), Offset(0))
}

fn step(node: &mut Opened<MemoryDisk>, batches: Vec<StoredBatch>) -> Result<Mended, JobError> {
    step_from(node, batches, 0)
}

fn step_from(
    node: &mut Opened<MemoryDisk>,
    batches: Vec<StoredBatch>,
    needed_from: i64,
) -> Result<Mended, JobError> {
    let needed_from = Offset(needed_from);
    let job =
        SegmentMend { partition: id(), base_offset: Offset(0), batches, needed_from, bytes_max: 50_000 };
    match node.segments.mend(job)? {
        Done::Mend(mended) => Ok(mended),
        other => panic!("{other:?}"),
    }
}

/// Mends with what another replica has, `at_once` batches at a time; the bytes that came from there.
fn mend(node: &mut Opened<MemoryDisk>, at_once: i64) -> Result<u64, JobError> {
    let mut batches = Vec::new();
    loop {
        match step(node, std::mem::take(&mut batches))? {
            Mended::Copied => {}
            Mended::Lacks { from, to } => batches = stored(from.0, to.0.min(from.0 + at_once)),
            Mended::Whole { brought } => return Ok(brought),
            Mended::Gone => panic!("it is there"),
        }
    }
}

/// Batches as a reader gets them.
fn served(batches: Vec<StoredBatch>) -> Vec<Vec<u8>> {
    batches.iter().map(|batch| [&batch.prefix()[..], &batch.rest()].concat()).collect()
}

/// All that can be read, in order, and where something cannot.
fn readable(node: &Opened<MemoryDisk>) -> (Vec<Vec<u8>>, Option<i64>) {
    let (mut found, mut offset) = (Vec::new(), Offset(0));
    while offset < meta(node).end_offset {
        let read = SegmentRead { partition: id(), segment: meta(node), offset, bytes_max: 100_000 };
        match node.reader.read(&read) {
            Ok(Done::Read(batches)) => {
                offset = batches.last().expect("there is more").next_offset();
                found.extend(served(batches));
            }
            Err(_) => return (found, Some(offset.0)),
            other => panic!("{other:?}"),
        }
    }
    (found, None)
}

fn assert_whole(node: &Opened<MemoryDisk>, to: i64) {
    let (found, hole) = readable(node);
    assert_eq!((hole, found.len()), (None, to as usize));
    assert!(found == served(stored(0, to)));
}

#[test]
fn any_byte_gone_bad_is_mended() {
    let (disk, _) = with_segment();
    let size = disk.bytes(&file()).len();
    let before = disk.bytes(&file());
    for at in (0..size).step_by(997).chain(0..64) {
        let (disk, mut node) = with_segment();
        disk.rot(&file(), at);
        let (rest, hole) = readable(&node);
        let brought = mend(&mut node, 1 + at as i64 % 3).expect("mended");
        assert_whole(&node, ALL);
        assert_eq!(brought > 0, hole.is_some() && at >= 64, "byte {at}: {} batches were whole", rest.len());
        assert_eq!(disk.bytes(&file()).len(), size, "byte {at}");
        let kept = disk.files().into_iter().filter(|name| name.starts_with("quarantine/")).count();
        assert_eq!(kept > 0, brought > 0, "the damaged bytes are evidence");
        assert_whole(&opened(&disk.after_power_cut(at as u64)), ALL);
    }
    assert_eq!(disk.bytes(&file()), before);
}

#[test]
fn files_that_are_missing_cut_or_anothers_are_mended() {
    let damages: [&dyn Fn(&MemoryDisk); 4] = [
        &|disk| crate::Disk::unlink(disk, &file()).expect("there"),
        &|disk| disk.put(&file(), &disk.bytes(&file())[..100_000]),
        &|disk| disk.put(&file(), &[]),
        &|disk| {
            let other = with_segment().0;
            let mut bytes = other.bytes(&file());
            bytes[12] ^= 1; // of another partition, with a checksum that is none
            bytes.rotate_left(4096);
            disk.put(&file(), &bytes);
        },
    ];
    for damage in damages {
        let (disk, node) = with_segment();
        drop(node);
        damage(&disk);
        let mut node = opened(&disk.after_process_crash());
        assert!(readable(&node).1.is_some());
        assert!(mend(&mut node, 4).expect("mended") > 0);
        assert_whole(&node, ALL);
        // What comes next goes where it would have gone.
        node.segments.checkpoint(job(ALL, ALL + 3, |_| {})).expect("durable");
        assert_whole(&node, ALL + 3);
    }
}

#[test]
fn a_whole_segment_stays_as_it_is() {
    let (disk, mut node) = with_segment();
    assert_eq!(mend(&mut node, 1), Ok(0));
    assert_whole(&node, ALL);
    assert!(!disk.files().iter().any(|name| name.starts_with("quarantine/") || name.ends_with(".new")));
}

/// Dead at any call, the next life adds to the segment, and then the power goes: a mended file whose name was not durable took along what
/// followed. (`sim --world three --seed 1349` once.)
#[test]
fn what_follows_a_mend_that_died_stays() {
    for after in 1.. {
        let (disk, mut node) = with_segment();
        disk.rot(&file(), 70_000);
        disk.fail_after(after, Fault::Die);
        drop(mend(&mut node, 1));
        let struck = disk.heal() > 0;
        let next = disk.after_process_crash();
        let mut node = opened(&next);
        node.segments.checkpoint(job(ALL, ALL + 3, |_| {})).expect("durable");
        for seed in 0..8 {
            let node = opened(&next.after_power_cut(seed));
            let read = SegmentRead {
                partition: id(),
                segment: meta(&node),
                offset: Offset(ALL),
                bytes_max: 100_000,
            };
            let found = node.reader.read(&read);
            assert!(matches!(found, Ok(Done::Read(_))), "died at call {after}: {found:?}");
        }
        if !struck {
            break;
        }
    }
}

/// Dead at any call: the next life reads what is whole, says so where something is not, and mends it.
#[test]
fn a_mend_may_die_anywhere() {
    for after in 1.. {
        let (disk, mut node) = with_segment();
        disk.rot(&file(), 70_000);
        disk.fail_after(after, Fault::Die);
        let done = mend(&mut node, 1);
        let struck = disk.heal() > 0;
        for next in [disk.after_process_crash(), disk.after_power_cut(after), disk.after_power_cut(!after)] {
            let mut node = opened(&next);
            let (found, hole) = readable(&node);
            assert!(found == served(stored(0, hole.unwrap_or(ALL))), "nothing wrong is served");
            mend(&mut node, 2).expect("mended");
            assert_whole(&node, ALL);
            assert!(!next.files().iter().any(|name| name.ends_with(".new")), "{:?}", next.files());
        }
        if !struck {
            assert!(done.is_ok());
            break;
        }
        assert!(done.is_err());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (disk, mut node) = with_segment();
    disk.rot(&file(), 70_000);
    let damaged = disk.bytes(&file());
    let lacking = |node: &mut Opened<MemoryDisk>| loop {
        if let Mended::Lacks { from, to } = step(node, Vec::new()).expect("a step") {
            break (from.0, to.0);
        }
    };
    let (from, to) = lacking(&mut node);
    let longer = |n: i64| StoredBatch::new(Offset(n), LeaderEpoch(3), batch(n as u64, 1, 20_004));
    for wrong in [stored(from + 1, to), stored(from, ALL + 1), (from..to).map(longer).collect()] {
        let mut outcome = step(&mut node, wrong);
        while let Ok(Mended::Copied) = outcome {
            outcome = step(&mut node, Vec::new());
        }
        assert!(matches!(outcome, Err(JobError::Damaged { .. })), "{outcome:?}");
        assert_eq!(disk.bytes(&file()), damaged);
        assert_eq!(lacking(&mut node), (from, to), "it begins again");
    }
}

#[test]
fn without_space_nothing_changes_and_a_later_try_succeeds() {
    for after in 1.. {
        let (disk, mut node) = with_segment();
        disk.rot(&file(), 70_000);
        disk.fail_after(after, Fault::NoSpace);
        let done = mend(&mut node, 1);
        if disk.heal() == 0 {
            assert!(done.is_ok());
            break;
        }
        if done.is_err() {
            assert_eq!(done, Err(JobError::NoSpace));
            assert!(!disk.files().iter().any(|name| name.ends_with(".new")));
        }
        mend(&mut node, 1).expect("mended");
        assert_whole(&node, ALL);
    }
}

#[test]
fn a_segment_may_grow_or_go_while_it_is_mended() {
    let (disk, mut node) = with_segment();
    disk.rot(&file(), 70_000);
    let first = step(&mut node, Vec::new()).expect("a step");
    node.segments.checkpoint(job(ALL, ALL + 2, |_| {})).expect("durable");
    let mut batches = match first {
        Mended::Lacks { from, to } => stored(from.0, to.0),
        _ => Vec::new(),
    };
    loop {
        match step(&mut node, std::mem::take(&mut batches)).expect("a step") {
            Mended::Lacks { from, to } => batches = stored(from.0, to.0),
            Mended::Copied => {}
            other => break assert!(matches!(other, Mended::Whole { .. })),
        }
    }
    assert_whole(&node, ALL + 2);

    disk.rot(&file(), 70_000);
    step(&mut node, Vec::new()).expect("a step");
    let goes = |job: &mut Checkpoint| (job.flushes, job.drops) = (Vec::new(), vec![id()]);
    node.segments.checkpoint(job(0, ALL, goes)).expect("durable");
    assert_eq!(step(&mut node, Vec::new()), Ok(Mended::Gone));
    assert!(!disk.files().iter().any(|name| name.starts_with("segments/")), "{:?}", disk.files());
}

/// Other replicas let go what lies below the log start: nothing waits for it, and what is whole on either side of it stays.
#[test]
fn what_nobody_reads_may_stay_away() {
    let read = |node: &Opened<MemoryDisk>, offset| {
        let read = SegmentRead { partition: id(), segment: meta(node), offset: Offset(offset), bytes_max: 1 };
        match node.reader.read(&read) {
            Ok(Done::Read(batches)) => Some(served(batches)),
            _ => None,
        }
    };
    let cut = |disk: &MemoryDisk| disk.put(&file(), &[&disk.bytes(&file())[..70_000], &[0; 4096]].concat());
    let rotten = |at| move |disk: &MemoryDisk| disk.rot(&file(), at);
    let size = with_segment().0.bytes(&file()).len();
    let mut damages: Vec<Box<dyn Fn(&MemoryDisk)>> = vec![Box::new(cut)];
    damages.extend((0..size).step_by(4999).map(|at| Box::new(rotten(at)) as Box<dyn Fn(&MemoryDisk)>));
    let mut stayed_away = 0;
    let all = damages.iter().enumerate().flat_map(|damage| (0..ALL).map(move |from| (damage, from)));
    for ((nth, damage), from) in all {
        let (disk, mut node) = with_segment();
        damage(&disk);
        let readable: Vec<bool> = (0..ALL).map(|offset| read(&node, offset).is_some()).collect();
        let mut batches = Vec::new();
        let brought = loop {
            match step_from(&mut node, std::mem::take(&mut batches), from).expect("a step") {
                Mended::Lacks { from: lacking, to } => {
                    assert!(lacking.0 >= from, "{lacking:?} is not needed");
                    batches = stored(lacking.0, to.0);
                }
                Mended::Copied => {}
                Mended::Whole { brought } => break brought,
                Mended::Gone => panic!("it is there"),
            }
        };
        if nth == 0 {
            assert!(brought > 0, "its end is cut off");
            assert!(from < 5 || read(&node, from - 1).is_none(), "it was lacking and nobody brought it");
        }
        for offset in 0..ALL {
            let found = read(&node, offset);
            let may_lack = offset < from && !readable[offset as usize];
            stayed_away += u64::from(found.is_none());
            let is_right = found.map_or(may_lack, |found| found == served(stored(offset, offset + 1)));
            assert!(is_right, "offset {offset}, needed from {from}");
        }
    }
    assert!(stayed_away > 0);
}

/// What the simulation's mutant does: damaged blocks get new checksums.
#[test]
fn a_mend_that_trusts_blocks_serves_what_is_wrong() {
    let (disk, node) = with_segment();
    drop(node);
    disk.rot(&file(), 70_000);
    let options = options(Some(crate::Mutant::MendTrustsBlocks));
    let mut node = open(Arc::new(disk.after_process_crash()), options).expect("opens");
    assert_eq!(mend(&mut node, 1), Ok(0));
    let (found, hole) = readable(&node);
    assert!(hole.is_none() && found != served(stored(0, ALL)));
}
