//! Arbitrary bytes in the place of a data directory's files: never a panic, never an allocation beyond their size.
//! Kept inputs and a few hundred random ones with the other tests; `cargo xtask fuzz` runs them for a while.

#[path = "../../../tests/fuzz/driver.rs"]
mod driver;

#[path = "../src/tests/memory.rs"]
#[allow(dead_code)]
mod memory;

/// `memory.rs` is shared with the unit tests and names the room's modules from inside.
mod disk {
    pub use storage::disk::*;
}

use memory::MemoryDisk;
use model::job::{SegmentMeta, SegmentRead, TimeLookup};
use model::{NodeId, Offset, PartitionId, TopicId};
use std::sync::Arc;
use storage::{Options, WalSizes, inspect, open, recover};

fn options() -> Options {
    let wal = WalSizes { first_file_bytes: 16 << 10, file_bytes: 32 << 10, spare_bytes_max: 64 << 10 };
    Options { cluster: Some([7; 16]), node: NodeId(1), disk: None, wal, mutant: None }
}

/// A data directory with two commits; returns the WAL file's name.
fn written() -> (MemoryDisk, String) {
    let disk = MemoryDisk::default();
    let mut node = open(Arc::new(disk.clone()), options()).expect("opens");
    for _ in 0..2 {
        let vote = model::HardState { term: model::Term(1), vote: 1, commit: model::LogIndex(0) };
        let append =
            model::job::WalAppend { entries: Vec::new(), hard_states: vec![(model::ShardId(1), vote)] };
        node.wal.append(append).expect("appended");
    }
    let name = disk.files().into_iter().find(|name| name.ends_with(".wal")).expect("a file");
    (disk, name)
}

/// Two bytes say where in a WAL file the rest is written.
fn wal_recovery(input: &[u8]) {
    let Some((at, bytes)) = input.split_first_chunk::<2>() else { return };
    let (disk, name) = written();
    let mut content = disk.bytes(&name);
    let at = usize::from(u16::from_be_bytes(*at)) % content.len();
    let end = (at + bytes.len()).min(content.len());
    content[at..end].copy_from_slice(&bytes[..end - at]);
    disk.put(&name, &content);
    let shared = Arc::new(disk.clone());
    let report = inspect::inspect(&shared);
    let plan = recover::plan(&disk);
    if let Ok(Some(plan)) = plan {
        assert!(report.is_ok_and(|report| !report.damage.is_empty()), "inspect names what recover mends");
        recover::apply(&shared, &plan).expect("what was planned can be done");
        let recovered = open(shared.clone(), options()).expect("opens").recovered;
        assert_eq!(recovered.damage, None, "after {plan:?}");
    }
    let _outcome = open(shared, options());
}

/// The first byte says which file the rest becomes.
fn checkpoint_or_identity(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    let (disk, _) = written();
    disk.put(if which % 2 == 1 { "checkpoint.0" } else { "identity" }, bytes);
    let _outcome = open(Arc::new(disk), options());
}

/// The first two bytes say how much of the rest is the index; the segment comes behind it.
fn segment_open(input: &[u8]) {
    let Some((size, rest)) = input.split_first_chunk::<2>() else { return };
    let (index, bytes) = rest.split_at(usize::from(u16::from_be_bytes(*size)).min(rest.len()));
    let partition = PartitionId { topic: TopicId([1; 16]), index: 0 };
    let path = format!("segments/{}/0/{:020}", partition.topic.hex(), 0);
    let (disk, _) = written();
    let reader = open(Arc::new(disk.clone()), options()).expect("opens").reader;
    disk.put(&format!("{path}.seg"), bytes);
    disk.put(&format!("{path}.idx"), index);
    let segment = SegmentMeta {
        base_offset: Offset(0),
        end_offset: Offset(100),
        size: bytes.len() as u64,
        batch_bytes: 1,
        first_timestamp: 0,
        max_timestamp: 100,
    };
    let _read = reader.read(&SegmentRead { partition, segment, offset: Offset(5), bytes_max: 1 << 20 });
    let lookup = TimeLookup { partition, segments: vec![segment], timestamp: 5, from: Offset(0) };
    let _found = reader.lookup(&lookup);
}

driver::harnesses! {
    wal_recovery_takes_any_bytes: 300, wal_recovery;
    checkpoint_and_identity_take_any_bytes: 500, checkpoint_or_identity;
    segment_open_takes_any_bytes: 500, segment_open;
}
