//! The explicit way back for one damaged node (rule 8): `plan` says what can be kept and what may be missing, `apply`
//! cuts the log there once a person accepted it. Nothing is deleted: what is cut off goes to `quarantine/`, and a durable
//! record of the loss stays, which every later start reports. A crash in `apply`: plan and apply again.

use crate::checkpoint::{self, Content, SLOTS, Slot};
use crate::disk::{Disk, DiskFile};
use crate::identity;
use crate::known::Known;
use crate::layout::{read, replace};
use crate::open::{OpenError, coordinates, find_checkpoint};
use crate::sweep::quarantine;
use crate::wal::files;
use crate::wal::replay::{Replayed, replay};
use crate::wal::{Start, Wal, WalSizes};
use model::ShardId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub(crate) const LOSSES: &str = "losses";
/// Bytes of loss records that a start reports.
const LOSSES_BYTES_MAX: u64 = 1 << 20;

/// What recovering would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What is damaged, in words.
    pub damage: String,
    /// What is kept of each shard's log, and what is known of the rest.
    pub shards: Vec<ShardLoss>,
    /// Files that go to `quarantine/`.
    pub quarantined: Vec<String>,
}

/// One shard's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardLoss {
    /// The shard.
    pub shard: u32,
    /// Last index kept.
    pub kept_upto: u64,
    /// The log reached at least this index before; how far it went beyond cannot be known from a damaged log.
    pub was_at_least: u64,
}

/// What stands behind a plan.
struct Findings {
    content: Content,
    slot: usize,
    bad_slots: Vec<String>,
    replayed: Replayed,
    plan: Plan,
}

/// Says what recovering would keep and lose; `None` when nothing is damaged.
///
/// # Errors
/// As for `open`, without changing anything.
pub fn plan<D: Disk>(disk: &D) -> Result<Option<Plan>, OpenError> {
    Ok(findings(disk)?.map(|findings| findings.plan))
}

/// Cuts the log where the plan says. `accepted` must be what `plan` returned: the loss that a person agreed to.
///
/// # Errors
/// `Io` when the damage is not (or no more) the accepted one; otherwise as for `open`.
pub fn apply<D: Disk>(disk: &Arc<D>, accepted: &Plan) -> Result<(), OpenError> {
    if !disk.lock()? {
        return Err(OpenError::Locked);
    }
    let found = findings(&**disk)?.filter(|found| found.plan == *accepted);
    let Some(found) = found else {
        return Err(OpenError::Io("the damage is not the one that was accepted; plan again".into()));
    };
    record(&**disk, &found.plan)?;
    let mut content = found.content;
    let mut notes = Vec::new();
    if found.replayed.checkpoint > content.sequence || !found.bad_slots.is_empty() {
        // The newest checkpoint is gone: the one before takes its place, under a number above all that was known.
        content.sequence = content.sequence.max(found.replayed.checkpoint) + 1;
        content.clean = false;
        quarantine(&**disk, &found.bad_slots, &mut notes)?;
        checkpoint::write(&**disk, 1 - found.slot, &content, None)?;
    }
    quarantine(&**disk, &wal_files(&found.replayed), &mut notes)?;
    disk.create_dir_all(files::DIRECTORY)?;
    disk.sync_dir("")?;
    let mut replayed = found.replayed;
    let known = Arc::new(Known::default());
    known.state().checkpoint = content.sequence;
    let start = Start {
        sequence: replayed.sequence.max(replayed.synced_upto),
        hash: replayed.hash,
        rows: std::mem::take(&mut replayed.settled),
        older: Vec::new(),
        spares: Vec::new(),
        spare_number: replayed.names.spares.last().copied().unwrap_or(0),
        epoch: replayed.names.epochs.last().copied().unwrap_or(0),
        cut_at: replayed.sequence + 1,
    };
    let mut wal = Wal::new(disk.clone(), known, None, WalSizes::default(), start);
    Ok(wal.begin(&replayed.tail)?)
}

/// Losses that were accepted, in words for the log.
pub(crate) fn notes<D: Disk>(disk: &D) -> io::Result<Vec<String>> {
    let file = match disk.open_read(LOSSES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let bytes = read(&file, 0, file.len()?.min(LOSSES_BYTES_MAX) as usize)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_string).collect())
}

fn findings<D: Disk>(disk: &D) -> Result<Option<Findings>, OpenError> {
    if let Err(identity::Unreadable::Missing | identity::Unreadable::Damaged) = identity::load(disk) {
        return Err(OpenError::IdentityDamaged);
    }
    let slots = checkpoint::read_slots(disk, None)?;
    let bad = slots.iter().zip(SLOTS).filter(|(slot, _)| matches!(slot, Slot::Bad(_)));
    let bad_slots: Vec<String> = bad.map(|(_, path)| path.to_string()).collect();
    let (content, slot, mut damage) = find_checkpoint(disk, None, &mut Vec::new())?;
    let from = coordinates(&content);
    let replayed = replay(disk, &from, None)?;
    if let Some((path, version)) = replayed.version {
        return Err(OpenError::Version { path, version });
    }
    damage = replayed.damage.as_ref().map(|damage| damage.detail.clone()).or(damage);
    let Some(damage) = damage else { return Ok(None) };
    let mut seen: BTreeMap<ShardId, u64> = BTreeMap::new();
    for &epoch in &replayed.names.epochs {
        let file = disk.open_read(&files::path(epoch))?;
        for (shard, row) in files::read_header(&file)?.map(|header| header.shards).unwrap_or_default() {
            let seen = seen.entry(shard).or_default();
            *seen = (*seen).max(row.last.0);
        }
    }
    let kept = |shard: &ShardId| {
        let applied = from.shards.get(shard).map_or(0, |shard| shard.0.0);
        replayed.shards.get(shard).map_or(0, |log| log.row.last.0).max(applied)
    };
    let all = replayed.shards.keys().chain(seen.keys()).collect::<std::collections::BTreeSet<_>>();
    let shards = all.into_iter().map(|shard| ShardLoss {
        shard: shard.0,
        kept_upto: kept(shard),
        was_at_least: seen.get(shard).copied().unwrap_or(0).max(kept(shard)),
    });
    let shards = shards.collect();
    let quarantined = wal_files(&replayed).into_iter().chain(bad_slots.iter().cloned()).collect();
    let plan = Plan { damage, shards, quarantined };
    Ok(Some(Findings { content, slot, bad_slots, replayed, plan }))
}

/// WAL files from which nothing is kept.
fn wal_files(replayed: &Replayed) -> Vec<String> {
    let kept = replayed.files.iter().rev().find(|span| span.used > 0).map_or(0, |span| span.epoch);
    let after = replayed.names.epochs.iter().filter(|epoch| **epoch > kept);
    after.map(|epoch| files::path(*epoch)).collect()
}

/// Writes the loss down before anything is cut.
fn record<D: Disk>(disk: &D, plan: &Plan) -> io::Result<()> {
    const NEW: &str = "losses.new";
    let mut text = notes(disk)?.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("accepted loss: {}", plan.damage));
    for shard in &plan.shards {
        let ShardLoss { shard, kept_upto, was_at_least } = shard;
        text.push_str(&format!("; shard {shard} kept up to {kept_upto}, was at least {was_at_least}"));
    }
    text.push('\n');
    replace(disk, NEW, LOSSES, text.as_bytes())
}
