//! The log of a running process is damaged: a look at it finds that, and what a start needs is written anew from memory.

use super::history::{entry, options};
use super::memory::{Fault, MemoryDisk};
use crate::layout::padded;
use crate::wal::format::{COMMIT_HEADER_BYTES, CommitHeader, FileHeader};
use crate::{Opened, open};
use model::job::{Checkpoint, DamagedFile, Done, JobError, ShardCheckpoint, WalAppend, WalRenewal};
use model::{Entry, HardState, LogIndex, ShardId, Term};
use std::sync::Arc;

const SHARD: ShardId = ShardId(1);
const APPLIED: u64 = 4;
const LAST: u64 = 30;

fn opened(disk: &MemoryDisk) -> Opened<MemoryDisk> {
    open(Arc::new(disk.clone()), options(None)).expect("opens")
}

fn entries(from: u64, to: u64) -> Vec<Entry> {
    (from..=to).map(|index| entry(SHARD, 1, index, index, 5_000)).collect()
}

fn vote() -> HardState {
    HardState { term: Term(7), vote: 2, commit: LogIndex(3) }
}

/// A node with several log files, of which the checkpoint covers some entries.
fn with_log() -> (MemoryDisk, Opened<MemoryDisk>) {
    let disk = MemoryDisk::default();
    let mut node = opened(&disk);
    for at in 1..=LAST {
        let hard_states = if at == 2 { vec![(SHARD, vote())] } else { Vec::new() };
        let append = WalAppend { entries: entries(at, at), hard_states };
        node.wal.append(append).expect("durable");
        if at == APPLIED {
            node.segments.checkpoint(checkpoint()).expect("durable");
        }
    }
    (disk, node)
}

fn checkpoint() -> Checkpoint {
    let shard = ShardCheckpoint {
        shard: SHARD,
        applied: LogIndex(APPLIED),
        applied_term: Term(1),
        hard_state: vote(),
        members: vec![1],
        state: "state".into(),
    };
    Checkpoint { shards: vec![shard], ..Checkpoint::default() }
}

fn logs(disk: &MemoryDisk) -> Vec<String> {
    disk.files().into_iter().filter(|name| name.starts_with("wal/") && name.ends_with(".wal")).collect()
}

fn verify(node: &Opened<MemoryDisk>) -> Result<(), JobError> {
    let mut place = None;
    loop {
        match node.reader.verify_log(place, 10_000)? {
            Done::VerifyLog(None) => return Ok(()),
            Done::VerifyLog(next) => place = next,
            other => panic!("{other:?}"),
        }
    }
}

fn renew(node: &mut Opened<MemoryDisk>, damaged: u64) -> Result<(), JobError> {
    let append = WalAppend { entries: entries(APPLIED + 1, LAST), hard_states: Vec::new() };
    node.wal.renew(WalRenewal { append, damaged }).map(drop)
}

/// What the next start finds is what there was.
fn assert_kept(disk: &MemoryDisk) {
    let node = opened(disk);
    let found = node.recovered;
    assert_eq!(found.damage, None);
    assert!(found.entries == [(SHARD, entries(APPLIED + 1, LAST))]);
    assert_eq!(found.hard_states, [(SHARD, vote())]);
}

/// Bytes of a log file that mean something: headers and bodies, without padding.
fn meaning(bytes: &[u8]) -> Vec<usize> {
    let shards = FileHeader::decode(bytes).expect("whole").shards.len();
    let table = crate::wal::format::FILE_HEADER_BYTES + shards * crate::wal::format::SHARD_ROW_BYTES;
    let mut found: Vec<usize> = (0..table).collect();
    let mut at = FileHeader::size(shards) as usize;
    while let Some(header) = CommitHeader::decode(&bytes[at.min(bytes.len())..], None) {
        found.extend(at..at + COMMIT_HEADER_BYTES + header.body_size as usize);
        at += header.size as usize;
        assert_eq!(padded(at as u64), at as u64);
    }
    found
}

#[test]
fn any_byte_of_the_log_gone_bad_is_found_and_written_anew() {
    let (disk, node) = with_log();
    assert_eq!(verify(&node), Ok(()));
    let files = logs(&disk);
    assert!(files.len() > 2, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let places = meaning(&disk.bytes(file));
        for at in places.iter().copied().step_by(401).chain(places.iter().copied().take(100)) {
            let (disk, mut node) = with_log();
            disk.rot(file, at);
            let epoch = match verify(&node) {
                Err(JobError::DamagedLog { file: DamagedFile::Log(epoch), .. }) => epoch,
                other => panic!("byte {at} of {file}: {other:?}"),
            };
            assert_eq!(crate::wal::files::path(epoch), *file, "byte {at}");
            renew(&mut node, epoch).expect("durable");
            assert_eq!(verify(&node), Ok(()), "byte {at} of {file}");
            assert_eq!(logs(&disk).len(), 1);
            assert!(disk.files().iter().any(|name| name.starts_with("quarantine/wal_")), "file {number}");
            assert_kept(&disk.after_power_cut(at as u64));
            assert_kept(&disk.after_process_crash());
        }
    }
}

#[test]
fn log_files_that_are_missing_or_cut_are_written_anew() {
    for number in 0..3 {
        for cut in [None, Some(0), Some(9_000)] {
            let (disk, mut node) = with_log();
            let file = logs(&disk)[number].clone();
            match cut {
                None => crate::Disk::unlink(&disk, &file).expect("there"),
                Some(size) => disk.put(&file, &disk.bytes(&file)[..size]),
            }
            let epoch = match verify(&node) {
                Err(JobError::DamagedLog { file: DamagedFile::Log(epoch), .. }) => epoch,
                other => panic!("file {number}, {cut:?}: {other:?}"),
            };
            renew(&mut node, epoch).expect("durable");
            assert_eq!(verify(&node), Ok(()), "file {number}, {cut:?}");
            assert_kept(&disk.after_process_crash());
        }
    }
}

/// Dead at any call: everything is as it was, or new.
#[test]
fn a_renewal_may_die_anywhere() {
    for fault in [Fault::Die, Fault::NoSpace] {
        for after in 1.. {
            let (disk, mut node) = with_log();
            disk.fail_after(after, fault);
            let done = renew(&mut node, 1);
            let struck = disk.heal() > 0;
            for next in
                [disk.after_process_crash(), disk.after_power_cut(after), disk.after_power_cut(!after)]
            {
                assert_kept(&next);
            }
            if !struck {
                assert_eq!(done, Ok(()));
                break;
            }
        }
    }
}

#[test]
fn a_bad_checkpoint_is_found() {
    let (disk, mut node) = with_log();
    node.segments.checkpoint(checkpoint()).expect("durable");
    for at in [0, 20, 40, 70] {
        disk.rot("checkpoint.1", at);
        disk.rot("checkpoint.0", at);
        let found = verify(&node);
        assert!(
            matches!(found, Err(JobError::DamagedLog { file: DamagedFile::Checkpoint, .. })),
            "byte {at}: {found:?}"
        );
        disk.rot("checkpoint.1", at);
        disk.rot("checkpoint.0", at);
        assert_eq!(verify(&node), Ok(()));
    }
    disk.rot("checkpoint.1", 20);
    disk.rot("checkpoint.0", 20);
    assert!(verify(&node).is_err());
    node.segments.checkpoint(checkpoint()).expect("durable");
    assert_eq!(verify(&node), Ok(()), "the next checkpoint mends it");
    assert_kept(&disk.after_process_crash());
}
