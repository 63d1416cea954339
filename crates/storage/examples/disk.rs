//! What the log and the checkpoint reach on this machine's disk, beside the disk's own rate, in turns: `cargo run
//! --release -p storage --example disk -- <directory>`. A measure, never a test.

use bytes::Bytes;
use model::batch::{BatchHeader, HEADER_BYTES, LENGTH_END};
use model::job::{Checkpoint, JobError, SegmentFlush, ShardCheckpoint, WalAppend, WalRecycle};
use model::{
    Entry, EntryKind, HardState, LeaderEpoch, LogIndex, NodeId, Offset, PartitionId, ShardId, StoredBatch,
    Term, TopicId,
};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{Disk, DiskFile, Opened, Options, RealDisk, open};

const TURN: Duration = Duration::from_secs(1);
const RAW_FILE_BYTES: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args().nth(1).ok_or("name a directory that may be written to")?;
    for (payload, size) in [(4096 - 200, "4 KiB"), (65536 - 200, "64 KiB"), ((1 << 20) - 200, "1 MiB")] {
        for turn in 0..3 {
            let raw = raw(&format!("{root}/raw"), payload as u64 + 200)?;
            let (fresh, used) = wal(&format!("{root}/wal"), payload)?;
            let mb = (payload + 200) as f64 / 1e6;
            println!(
                "{size} turn {turn}: raw {raw:.0}/s ({:.0} MB/s), wal first second {fresh:.0}/s, used files {used:.0}/s ({:.0} MB/s), {:.2} of raw",
                raw * mb,
                used * mb,
                used / raw
            );
        }
    }
    checkpoints(&format!("{root}/checkpoint"))
}

fn text(error: JobError) -> String {
    error.to_string()
}

/// Write + fdatasync of whole sectors over a file that was written before.
fn raw(root: &str, size: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let disk = RealDisk::new(root)?;
    let file = disk.create("raw")?;
    let zeros = vec![1; 1 << 20];
    for at in (0..RAW_FILE_BYTES).step_by(zeros.len()) {
        file.write_at(at, &[IoSlice::new(&zeros)])?;
    }
    file.sync_data()?;
    let bytes = vec![7; size as usize];
    let (begin, mut count, mut at) = (Instant::now(), 0, 0);
    while begin.elapsed() < TURN {
        file.write_at(at, &[IoSlice::new(&bytes)])?;
        file.sync_data()?;
        count += 1;
        at = if at + 2 * size > RAW_FILE_BYTES { 0 } else { at + size };
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

fn new_node(root: &str) -> Result<Opened<RealDisk>, Box<dyn std::error::Error>> {
    if std::path::Path::new(root).exists() {
        std::fs::remove_dir_all(root)?;
    }
    let disk = Arc::new(RealDisk::new(root)?);
    let options = Options { cluster: Some([1; 16]), node: NodeId(1), ..Options::default() };
    Ok(open(disk, options)?)
}

fn wal(root: &str, payload: usize) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let mut node = new_node(root)?;
    let bytes = Bytes::from(vec![7; payload]);
    let mut index = 0;
    let mut turn = |node: &mut Opened<RealDisk>, time: Duration| -> Result<f64, Box<dyn std::error::Error>> {
        let (begin, mut count) = (Instant::now(), 0);
        while begin.elapsed() < time {
            index += 1;
            let entry = Entry {
                shard: ShardId(1),
                term: Term(1),
                index: LogIndex(index),
                kind: EntryKind::Normal,
                descriptor: Bytes::from_static(b"descriptor"),
                payload: bytes.clone().into(),
            };
            node.wal.append(WalAppend { entries: vec![entry], hard_states: Vec::new() }).map_err(text)?;
            count += 1;
            if node.wal.held() > 128 << 20 {
                node.wal
                    .recycle(&WalRecycle { keep_from: vec![(ShardId(1), LogIndex(index))] })
                    .map_err(text)?;
            }
        }
        Ok(f64::from(count) / begin.elapsed().as_secs_f64())
    };
    let fresh = turn(&mut node, TURN)?;
    while node.wal.upkeep().map_err(text)? {}
    let used = turn(&mut node, TURN)?;
    Ok((fresh, used))
}

fn batch(size: usize) -> Bytes {
    let header = BatchHeader {
        base_offset: 0,
        batch_length: (size - LENGTH_END) as i32,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: 1,
    };
    let mut bytes = vec![0; size];
    header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("61 bytes"));
    bytes.into()
}

/// Checkpoints that touch few and many of 10,000 partitions, and the start after them.
fn checkpoints(root: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut node = new_node(root)?;
    let small = batch(1024);
    let mut ends = vec![0i64; 10_000];
    for touched in [10_000usize, 10_000, 1, 16, 32, 33, 256, 1000, 10_000] {
        let mut job = Checkpoint::default();
        for (index, end) in ends.iter_mut().enumerate().take(touched) {
            let partition = PartitionId { topic: TopicId([3; 16]), index: index as i32 };
            let batches = vec![StoredBatch::new(Offset(*end), LeaderEpoch(0), small.clone())];
            *end += 1;
            job.flushes.push(SegmentFlush { partition, batches, roll_bytes: 1 << 30, roll_ms: u64::MAX });
        }
        for shard in 0..17 {
            job.shards.push(ShardCheckpoint {
                shard: ShardId(shard),
                applied: LogIndex(0),
                applied_term: Term(0),
                hard_state: HardState::default(),
                members: vec![1],
                state: Bytes::from(vec![1; 64 << 10]),
            });
        }
        let begin = Instant::now();
        node.segments.checkpoint(job).map_err(text)?;
        println!(
            "checkpoint of {touched} of 10,000 partitions: {:.1} ms",
            begin.elapsed().as_secs_f64() * 1e3
        );
    }
    drop(node);
    let begin = Instant::now();
    let disk = Arc::new(RealDisk::new(root)?);
    let node = open(disk, Options { cluster: Some([1; 16]), node: NodeId(1), ..Options::default() })?;
    let found = node.recovered.segments.len();
    println!(
        "start after an unclean end with {found} partitions: {:.1} ms",
        begin.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}
