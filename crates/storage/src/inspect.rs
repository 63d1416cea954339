//! A stopped node's disk described as data: identity, checkpoint slots, WAL, segments, and what is damaged. Reads only,
//! and reads everything: each block of each segment is verified.

use crate::checkpoint::{SLOTS, Slot, read_slots};
use crate::disk::Disk;
use crate::identity::{self, Identity};
use crate::known::Known;
use crate::open::{OpenError, coordinates, find_checkpoint};
use crate::segments::read::{OpenSegments, Reader};
use crate::segments::{self};
use crate::wal::files;
use crate::wal::replay::replay;
use model::PartitionId;
use model::job::{Done, JobError, SegmentMeta, SegmentRead};
use serde::Serialize;
use std::sync::Arc;

/// Bytes verified at a time.
const VERIFY_BYTES: usize = 1 << 20;

/// Everything that is to be said of a data directory.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whose it is; `None` when the file is missing or damaged.
    pub identity: Option<Identity>,
    /// Both checkpoint slots.
    pub checkpoints: Vec<CheckpointReport>,
    /// The log.
    pub wal: WalReport,
    /// All segments that the newest checkpoint refers to.
    pub segments: Vec<SegmentReport>,
    /// Everything wrong, one sentence each; empty when nothing is.
    pub damage: Vec<String>,
}

/// One slot.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointReport {
    /// The file.
    pub path: String,
    /// "whole", "missing", or what is wrong.
    pub state: String,
    /// Counts up; 0 when not whole.
    pub sequence: u64,
    /// Newest WAL commit durable then.
    pub synced_upto: u64,
    /// Written by a clean shutdown.
    pub clean: bool,
    /// The shards' coordinates.
    pub shards: Vec<ShardReport>,
    /// Partitions with segments.
    pub partitions: usize,
}

/// A shard in a checkpoint or in the WAL.
#[derive(Clone, Debug, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: u32,
    /// Term of its vote.
    pub term: u64,
    /// Who got the vote, 0 for nobody.
    pub vote: u64,
    /// Last index: in the state (checkpoint) or in the log (WAL).
    pub last: u64,
    /// Entries that a recovery would replay; 0 in a checkpoint.
    pub entries: usize,
    /// Bytes of state; 0 in the WAL.
    pub state_bytes: usize,
}

/// The log.
#[derive(Clone, Debug, Serialize)]
pub struct WalReport {
    /// Files with commits.
    pub files: Vec<WalFileReport>,
    /// Files that wait to be used.
    pub spares: usize,
    /// Last commit known durable.
    pub sequence: u64,
    /// Whole commits behind it, which a start makes durable.
    pub tail_commits: usize,
    /// The shards' logs.
    pub shards: Vec<ShardReport>,
    /// Where a commit was cut off that nobody was promised.
    pub torn: Option<String>,
}

/// A WAL file.
#[derive(Clone, Debug, Serialize)]
pub struct WalFileReport {
    /// The file.
    pub path: String,
    /// Allocated bytes.
    pub size: u64,
    /// Bytes with commits that a recovery reads.
    pub used: u64,
}

/// A segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentReport {
    /// The file.
    pub path: String,
    /// First offset.
    pub base_offset: i64,
    /// Offset behind the last.
    pub end_offset: i64,
    /// Bytes.
    pub size: u64,
    /// Batches that passed all checks.
    pub batches: u64,
    /// What fails, when something does.
    pub damage: Option<String>,
}

/// Describes a data directory that no process uses.
///
/// # Errors
/// What the system says, or a format version that is unknown. Damage is part of the report.
pub fn inspect<D: Disk>(disk: &Arc<D>) -> Result<Report, OpenError> {
    let mut damage = Vec::new();
    let identity = match identity::load(&**disk) {
        Ok(identity) => Some(identity),
        Err(identity::Unreadable::Io(error)) => return Err(error.into()),
        Err(identity::Unreadable::Version(version)) => {
            return Err(OpenError::Version { path: identity::PATH.into(), version });
        }
        Err(_) => {
            damage.push("the file `identity` is missing or damaged".into());
            None
        }
    };
    let slots = read_slots(&**disk, None)?;
    let checkpoints = slots.iter().zip(SLOTS).map(|(slot, path)| describe_slot(slot, path)).collect();
    let (content, _, bad) = find_checkpoint(&**disk, None, &mut Vec::new())?;
    damage.extend(bad);
    let replayed = replay(&**disk, &coordinates(&content), None)?;
    damage.extend(replayed.damage.as_ref().map(|damage| damage.detail.clone()));
    damage.extend(
        replayed
            .version
            .as_ref()
            .map(|(path, version)| format!("{path} has the unknown format version {version}")),
    );
    let wal = WalReport {
        files: replayed
            .files
            .iter()
            .map(|span| WalFileReport { path: files::path(span.epoch), size: span.size, used: span.used })
            .collect(),
        spares: replayed.names.spares.len(),
        sequence: replayed.sequence,
        tail_commits: replayed.tail.len(),
        shards: replayed
            .shards
            .iter()
            .map(|(shard, log)| ShardReport {
                shard: shard.0,
                term: log.row.hard_state.term.0,
                vote: log.row.hard_state.vote,
                last: log.row.last.0,
                entries: log.entries.len(),
                state_bytes: 0,
            })
            .collect(),
        torn: replayed.torn.clone(),
    };
    let reader = Reader::new(disk.clone(), None, Arc::new(OpenSegments::new()), Arc::new(Known::default()));
    let mut segments = Vec::new();
    for (partition, metas) in &content.manifest {
        for meta in metas {
            let report = verify(&reader, partition, meta);
            damage.extend(report.damage.clone());
            segments.push(report);
        }
    }
    Ok(Report { identity, checkpoints, wal, segments, damage })
}

fn describe_slot(slot: &Slot, path: &str) -> CheckpointReport {
    let mut report = CheckpointReport {
        path: path.into(),
        state: String::new(),
        sequence: slot.sequence(),
        synced_upto: 0,
        clean: false,
        shards: Vec::new(),
        partitions: 0,
    };
    report.state = match slot {
        Slot::Missing => "missing".into(),
        Slot::Bad(what) => what.clone(),
        Slot::Version(version) => format!("unknown format version {version}"),
        Slot::Whole(content) => {
            report.synced_upto = content.synced_upto;
            report.clean = content.clean;
            report.partitions = content.manifest.len();
            let shards = content.shards.iter().map(|shard| ShardReport {
                shard: shard.shard.0,
                term: shard.hard_state.term.0,
                vote: shard.hard_state.vote,
                last: shard.applied.0,
                entries: 0,
                state_bytes: shard.state.len(),
            });
            report.shards = shards.collect();
            "whole".into()
        }
    };
    report
}

/// Reads all of a segment; goes on behind what is damaged as far as that is known, so that all of it is named.
fn verify<D: Disk>(reader: &Reader<D>, partition: &PartitionId, meta: &SegmentMeta) -> SegmentReport {
    let mut report = SegmentReport {
        path: segments::path(partition, meta.base_offset),
        base_offset: meta.base_offset.0,
        end_offset: meta.end_offset.0,
        size: meta.size,
        batches: 0,
        damage: None,
    };
    let mut offset = meta.base_offset;
    while offset < meta.end_offset {
        let job = SegmentRead { partition: *partition, segment: *meta, offset, bytes_max: VERIFY_BYTES };
        match reader.read(&job) {
            Ok(Done::Read(batches)) => match batches.last() {
                Some(last) => {
                    report.batches += batches.len() as u64;
                    offset = last.next_offset();
                }
                None => break,
            },
            Ok(_) => unreachable!("a read answers with batches"),
            Err(JobError::Damaged { detail, .. } | JobError::Device { detail }) => {
                report.damage = Some(detail);
                break;
            }
            Err(JobError::NoSpace | JobError::DamagedLog { .. }) => unreachable!("a segment is read"),
        }
    }
    report
}
