//! Bytes that version 1 wrote: each format is read back from the files in `tests/golden/`, and written the same. A
//! change that breaks these needs a new format version (rule 16). `STORAGE_GOLDEN=write` makes them anew.

use super::history::{batch, entry, options, partition};
use super::memory::MemoryDisk;
use crate::open;
use model::job::{Checkpoint, Done, SegmentFlush, SegmentRead, ShardCheckpoint, WalAppend};
use model::{HardState, LeaderEpoch, LogIndex, Offset, ShardId, StoredBatch, Term};
use std::path::PathBuf;
use std::sync::Arc;

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect()
}

/// A small history that uses every record kind and every file.
fn written() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let mut node = open(Arc::new(disk.clone()), options(None)).expect("opens");
    let vote = HardState { term: Term(3), vote: 2, commit: LogIndex(1) };
    let entries = vec![entry(ShardId(1), 3, 1, 11, 40), entry(ShardId(2), 3, 1, 12, 2000)];
    node.wal.append(WalAppend { entries, hard_states: vec![(ShardId(1), vote)] }).expect("appended");
    let batches = (0..3).map(|n| StoredBatch::new(Offset(n), LeaderEpoch(5), batch(n as u64, 1, 30)));
    let flush = SegmentFlush {
        partition: partition(ShardId(1)),
        batches: batches.collect(),
        roll_bytes: 1 << 20,
        roll_ms: 1 << 30,
    };
    let shard = ShardCheckpoint {
        shard: ShardId(1),
        applied: LogIndex(1),
        applied_term: Term(3),
        hard_state: vote,
        members: vec![1, 2, 3],
        state: "state".into(),
    };
    let job = Checkpoint { flushes: vec![flush], shards: vec![shard], ..Checkpoint::default() };
    node.segments.checkpoint(job).expect("a checkpoint");
    node.wal
        .append(WalAppend { entries: vec![entry(ShardId(1), 3, 2, 13, 40)], ..WalAppend::default() })
        .expect("appended");
    disk
}

/// Trailing zeros of preallocation do not belong into the repository.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    bytes
}

#[test]
fn version_1_is_written_and_read_as_ever() {
    let disk = written();
    let files: Vec<String> =
        disk.files().into_iter().filter(|name| !name.ends_with(".spare") && name != "reserve").collect();
    let restored = MemoryDisk::default();
    for file in &files {
        let path = golden(&file.replace('/', "_"));
        let bytes = trimmed(disk.bytes(file));
        if std::env::var("STORAGE_GOLDEN").as_deref() == Ok("write") {
            std::fs::create_dir_all(golden("")).expect("made");
            std::fs::write(&path, &bytes).expect("written");
        }
        let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(kept == bytes, "{file} is written differently");
        let mut whole = kept;
        whole.resize(whole.len().next_multiple_of(4096), 0);
        restored.put(file, if file == "identity" { &bytes } else { &whole });
    }
    let node = open(Arc::new(restored), options(None)).expect("opens");
    let recovered = &node.recovered;
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.shards[0].state, "state");
    assert_eq!(recovered.shards[0].members, [1, 2, 3]);
    let vote = HardState { term: Term(3), vote: 2, commit: LogIndex(1) };
    assert_eq!(recovered.hard_states[0], (ShardId(1), vote));
    assert_eq!(recovered.entries[0], (ShardId(1), vec![entry(ShardId(1), 3, 2, 13, 40)]));
    assert_eq!(recovered.entries[1], (ShardId(2), vec![entry(ShardId(2), 3, 1, 12, 2000)]));
    let segment = recovered.segments[0].segments[0];
    let job =
        SegmentRead { partition: partition(ShardId(1)), segment, offset: Offset(1), bytes_max: 1 << 20 };
    match node.reader.read(&job) {
        Ok(Done::Read(batches)) => {
            assert_eq!(
                (batches.len(), batches[0].base_offset, batches[0].leader_epoch),
                (2, Offset(1), LeaderEpoch(5))
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_version_is_refused_with_its_number() {
    for name in ["identity", "wal/", "checkpoint.0"] {
        let disk = written();
        let file = disk.files().into_iter().find(|file| file.starts_with(name)).expect("written");
        let mut bytes = disk.bytes(&file);
        bytes[8] = 9;
        let (header, at) = match name {
            "identity" => (48, 44),
            "wal/" => (88, 84),
            _ => (64, 60),
        };
        let crc = model::checksum::crc32c(&bytes[..at]);
        bytes[at..header].copy_from_slice(&crc.to_le_bytes());
        disk.put(&file, &bytes);
        let error = open(Arc::new(disk), options(None)).map(|_| ()).expect_err("refused");
        assert!(error.to_string().contains("format version 9"), "{error}");
    }
}
