//! Opening a data directory: whose it is, what is whole, and making durable all of it that is kept before anyone votes,
//! acknowledges or serves (rule 2). A crash at any call here, and opening again, gives the same answer.

use crate::checkpoint::{self, Content, Failed, Slot};
use crate::disk::{Disk, DiskFile};
use crate::identity::{self, Identity, Standing, Unreadable};
use crate::known::Known;
use crate::mutant::Mutant;
use crate::reserve::{self, Reserve};
use crate::segments::read::{OpenSegments, Reader};
use crate::segments::{self, Segments};
use crate::wal::files::{self, Spare};
use crate::wal::replay::{From, Replayed, replay};
use crate::wal::{Start, Wal, WalSizes};
use crate::{claim, recover, sweep};
use model::job::{JobError, PartitionSegments, Recovered};
use model::{DiskId, NodeId};
use std::io;
use std::sync::Arc;

/// Epochs of WAL files that one opening may use: its incarnation stands above these bits.
const INCARNATION_SHIFT: u32 = 32;

/// How to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// For a new data directory: the cluster it is to belong to. A known one must agree when this is given.
    pub cluster: Option<[u8; 16]>,
    /// The node.
    pub node: NodeId,
    /// For a data directory without one: its id, drawn by the caller. A new one waits then until it is told to take part. `None`: a
    /// version of Sternpost that knows of no disks may have to use it again.
    pub disk: Option<DiskId>,
    /// Sizes of WAL files.
    pub wal: WalSizes,
    /// A known-bad variant, for the simulator's mutation run only.
    pub mutant: Option<Mutant>,
}

/// An open data directory: three lanes, each for its own thread, and what was found.
pub struct Opened<D: Disk> {
    /// Whose it is.
    pub identity: Identity,
    /// Appends.
    pub wal: Wal<D>,
    /// Checkpoints.
    pub segments: Segments<D>,
    /// Reads.
    pub reader: Reader<D>,
    /// What the node starts from.
    pub recovered: Recovered,
}

/// Why a data directory was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("the data directory is in use by another process; stop that one first")]
    Locked,
    /// There is something, and it is not ours.
    #[error("this is not a Sternpost data directory (found `{found}`); name an empty or a new one")]
    NotDataDirectory {
        /// A name that was found.
        found: String,
    },
    /// The file that says whose disk this is fails its checks.
    #[error(
        "the file `identity` of the data directory is damaged or missing while there is data; restore it or replace the node"
    )]
    IdentityDamaged,
    /// Another node's or cluster's disk.
    #[error(
        "the data directory belongs to node {found} of cluster {cluster}, not to this one; check node.id, sternpost.cluster.id and the directory"
    )]
    OtherNode {
        /// The owner.
        found: i32,
        /// Its cluster, as clients see it.
        cluster: String,
    },
    /// A format of the future, or of nobody.
    #[error(
        "`{path}` has format version {version}, which this version of Sternpost does not know; use the version that wrote it"
    )]
    Version {
        /// The file.
        path: String,
        /// What it says.
        version: u32,
    },
    /// A new data directory needs one.
    #[error("a new data directory needs a cluster id")]
    NoCluster,
    /// Space ran out before the log could be made durable.
    #[error("no space left in the data directory to start; free some and start again")]
    NoSpace,
    /// The system's word.
    #[error("the data directory cannot be used: {0}")]
    Io(String),
}

impl std::convert::From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        if crate::disk::is_no_space(&error) { OpenError::NoSpace } else { OpenError::Io(error.to_string()) }
    }
}

impl std::convert::From<JobError> for OpenError {
    fn from(error: JobError) -> OpenError {
        match error {
            JobError::NoSpace => OpenError::NoSpace,
            other => OpenError::Io(other.to_string()),
        }
    }
}

impl<D: Disk> Opened<D> {
    /// Of a node that has others: a disk whose log is damaged is to come back empty, as the next replica of its node, and waits until the cluster
    /// has named it so. Nothing on it is touched before. Says what is damaged; nothing when all is whole, or the disk has no id.
    pub fn wait_if_damaged(&mut self) -> Option<String> {
        let disk = self.identity.disk?;
        let damage = self.recovered.damage.take()?;
        self.identity.disk = Some(disk.successor());
        self.identity.standing = Standing::Waits { replaces: Some(disk) };
        self.recovered = Recovered::default();
        Some(damage)
    }
}

impl std::convert::From<Failed> for OpenError {
    fn from(failed: Failed) -> OpenError {
        match failed {
            Failed::Before(error) | Failed::Sync(error) => error.into(),
        }
    }
}

/// Opens a data directory. Of one that waits, and holds nothing, nothing is touched: its lanes have nothing to do.
///
/// # Errors
/// One sentence that says what to do. After an error of the device nothing must be tried again in this process.
pub fn open<D: Disk>(disk: Arc<D>, options: Options) -> Result<Opened<D>, OpenError> {
    claim::claim(disk, options)?.open()
}

/// `open`, of a directory that this process holds.
pub(crate) fn open_claimed<D: Disk>(
    disk: &Arc<D>,
    options: Options,
    identity: Identity,
) -> Result<Opened<D>, OpenError> {
    match begin(disk, options, identity) {
        Err(OpenError::NoSpace) if reserve::give_back(&**disk)? => begin(disk, options, identity),
        other => other,
    }
}

fn begin<D: Disk>(disk: &Arc<D>, options: Options, mut identity: Identity) -> Result<Opened<D>, OpenError> {
    let mutant = options.mutant;
    let mut notes = recover::notes(&**disk)?;
    let (content, slot, mut damage) = find_checkpoint(&**disk, mutant, &mut notes)?;
    let from = coordinates(&content);
    let mut replayed = replay(&**disk, &from, mutant)?;
    if let Some((path, version)) = replayed.version {
        return Err(OpenError::Version { path, version });
    }
    notes.extend(
        replayed.torn.take().map(|place| format!("cut the log at {place}: it was never acknowledged")),
    );
    damage = replayed.damage.take().map(|damage| damage.detail).or(damage);
    let waits = matches!(identity.standing, Standing::Waits { .. });
    let known = Arc::new(Known::default());
    let leftovers = if waits {
        Vec::new()
    } else if damage.is_none() {
        identity.incarnation += 1;
        identity.disk = identity.disk.or(options.disk);
        disk.create_dir_all(files::DIRECTORY)?;
        disk.create_dir_all(segments::DIRECTORY)?;
        identity::store(&**disk, &identity)?;
        let is_cached_only = content.sequence > replayed.checkpoint;
        if content.sequence > 0 && is_cached_only && mutant != Some(Mutant::CheckpointCacheTrusted) {
            checkpoint::settle(&**disk, slot, &content)?;
        }
        if content.clean { Vec::new() } else { sweep::sweep(&**disk, &content, &replayed.names, &mut notes)? }
    } else {
        known.state().failed = damage.as_ref().map(|damage| format!("the log is damaged: {damage}"));
        Vec::new()
    };
    {
        let mut state = known.state();
        state.checkpoint = content.sequence;
        state.applied = from.shards.iter().map(|(shard, (applied, ..))| (*shard, *applied)).collect();
    }
    let wal =
        start_wal(disk, &known, &options, &mut replayed, identity.incarnation, damage.is_none() && !waits)?;
    known.state().last = replayed.shards.iter().map(|(shard, log)| (*shard, log.row.last)).collect();
    let recovered = Recovered {
        shards: content.shards.clone(),
        segments: content
            .manifest
            .iter()
            .map(|(partition, segments)| PartitionSegments {
                partition: *partition,
                segments: segments.clone(),
            })
            .collect(),
        hard_states: replayed.shards.iter().map(|(shard, log)| (*shard, log.row.hard_state)).collect(),
        entries: replayed
            .shards
            .into_iter()
            .filter(|(_, log)| !log.entries.is_empty())
            .map(|(shard, log)| (shard, log.entries))
            .collect(),
        room: wal.room(),
        held: replayed.held,
        notes,
        damage,
    };
    let mut reserve = Reserve::new(&options.wal);
    if recovered.damage.is_none() && !waits {
        reserve.put_by(&**disk)?;
    }
    let readers = Arc::new(OpenSegments::new());
    let reader = Reader::new(disk.clone(), mutant, readers.clone(), known.clone());
    let segments = Segments::new(disk.clone(), known, mutant, (content, slot), leftovers, readers, reserve);
    Ok(Opened { identity, wal, segments, reader, recovered })
}

/// Makes the end of the log durable in a new file.
fn start_wal<D: Disk>(
    disk: &Arc<D>,
    known: &Arc<Known>,
    options: &Options,
    replayed: &mut Replayed,
    incarnation: u64,
    is_whole: bool,
) -> Result<Wal<D>, OpenError> {
    let mut spares = Vec::new();
    for &number in &replayed.names.spares {
        let file = disk.open_read(&files::spare_path(number))?;
        let size = file.len()?;
        if is_whole && size < options.wal.first_file_bytes.min(options.wal.file_bytes) {
            // A crash between making the file and giving it its blocks: it never held anything.
            disk.unlink(&files::spare_path(number))?;
            continue;
        }
        let zeroed = if files::read_header(&file)?.is_ok() { size } else { 0 };
        spares.push(Spare { number, size, zeroed });
    }
    let tail = std::mem::take(&mut replayed.tail);
    let trusted = tail.last().filter(|_| options.mutant == Some(Mutant::PageCacheTrusted));
    let (sequence, hash) =
        trusted.map_or((replayed.sequence, replayed.hash), |(header, _)| (header.sequence, header.hash()));
    let rewritten = if trusted.is_some() { &[] } else { tail.as_slice() };
    let start = Start {
        sequence,
        hash,
        rows: replayed.settled.clone(),
        older: replayed.files.clone(),
        spare_number: replayed.names.spares.last().copied().unwrap_or(0),
        spares,
        // Epochs of this opening are its own: one that failed may have left commits behind in a file that never got its
        // name, under the epoch that would come next, and with the hashes that this one writes too.
        epoch: replayed.names.epochs.last().copied().unwrap_or(0).max(incarnation << INCARNATION_SHIFT),
        cut_at: 0,
    };
    let mut wal = Wal::new(disk.clone(), known.clone(), options.mutant, options.wal, start);
    if !is_whole {
        return Ok(wal);
    }
    match wal.begin(rewritten) {
        Ok(()) => Ok(wal),
        // Reading needs no room for appends.
        Err(JobError::NoSpace) if rewritten.is_empty() && !disk.exists(reserve::PATH)? => Ok(wal),
        Err(error) => Err(error.into()),
    }
}

/// Whose directory it is; of an empty one, whose it is to be.
pub(crate) fn find_identity<D: Disk>(disk: &D, options: &Options) -> Result<Identity, OpenError> {
    match identity::load(disk) {
        Ok(identity) => {
            let other_cluster = options.cluster.is_some_and(|cluster| cluster != identity.cluster);
            if identity.node != options.node || other_cluster {
                let cluster = model::TopicId(identity.cluster).base64();
                return Err(OpenError::OtherNode { found: identity.node.0, cluster });
            }
            Ok(identity)
        }
        Err(Unreadable::Missing) => {
            let names = disk.list("")?;
            let ours = |name: &str| {
                checkpoint::SLOTS.contains(&name)
                    || [files::DIRECTORY, segments::DIRECTORY, reserve::PATH].contains(&name)
            };
            let harmless = ["lock", "lost+found", ".shim", identity::PATH_NEW];
            for entry in &names {
                let is_empty_dir = entry.is_dir && disk.list(&entry.name)?.is_empty();
                if harmless.contains(&entry.name.as_str()) || ours(&entry.name) && is_empty_dir {
                    continue;
                }
                return Err(match ours(&entry.name) {
                    true => OpenError::IdentityDamaged,
                    false => OpenError::NotDataDirectory { found: entry.name.clone() },
                });
            }
            let cluster = options.cluster.ok_or(OpenError::NoCluster)?;
            let plain = Identity::plain(cluster, options.node, 0);
            Ok(match options.disk {
                None => plain,
                disk => Identity { disk, standing: Standing::Waits { replaces: None }, ..plain },
            })
        }
        Err(Unreadable::Damaged) => Err(OpenError::IdentityDamaged),
        Err(Unreadable::Version(version)) => Err(OpenError::Version { path: identity::PATH.into(), version }),
        Err(Unreadable::Io(error)) => Err(error.into()),
    }
}

/// The newest whole checkpoint. One bad slot is a write that was cut off, unless the WAL knows better.
pub(crate) fn find_checkpoint<D: Disk>(
    disk: &D,
    mutant: Option<Mutant>,
    notes: &mut Vec<String>,
) -> Result<(Content, usize, Option<String>), OpenError> {
    let slots = checkpoint::read_slots(disk, mutant)?;
    for (slot, path) in slots.iter().zip(checkpoint::SLOTS) {
        match slot {
            Slot::Version(version) => {
                return Err(OpenError::Version { path: path.into(), version: *version });
            }
            Slot::Bad(what) => {
                notes.push(format!("{path} is not whole ({what}): a checkpoint that was cut off"))
            }
            Slot::Missing | Slot::Whole(_) => {}
        }
    }
    let all_bad = slots.iter().all(|slot| matches!(slot, Slot::Bad(_)));
    let damage = all_bad.then(|| "both checkpoint slots are damaged".to_string());
    match checkpoint::newest(&slots) {
        Some(best) => match slots.into_iter().nth(best) {
            Some(Slot::Whole(content)) => Ok((*content, best, damage)),
            _ => unreachable!("the newest slot is whole"),
        },
        // The first one goes to slot 0.
        None => Ok((Content::default(), 1, damage)),
    }
}

/// What replay must know of a checkpoint.
pub(crate) fn coordinates(content: &Content) -> From {
    let shards = content.shards.iter();
    From {
        checkpoint: content.sequence,
        synced_upto: content.synced_upto,
        shards: shards
            .map(|shard| (shard.shard, (shard.applied, shard.applied_term, shard.hard_state)))
            .collect(),
        clean_epoch: content.clean.then_some(content.epoch),
    }
}
