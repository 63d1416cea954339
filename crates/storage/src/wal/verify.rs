//! Reads the log again while it is in use: what is durable must still be whole. A file that was let go meanwhile is no damage:
//! nothing ever comes back under its name.

use super::files::{self, read_header};
use super::format::{COMMIT_HEADER_BYTES, CommitHeader, FileHeader, decode_body};
use crate::checkpoint;
use crate::disk::{Disk, DiskFile, is_unreadable};
use crate::known::Known;
use crate::layout::read;
use model::ShardId;
use model::job::{DamagedFile, JobError, LogPlace};
use std::io;

/// How far a look at one file came.
enum Look {
    /// There is more to read.
    Goes(LogPlace),
    /// All of it that counts is whole; the commit with this sequence is elsewhere, or was not made yet.
    Ends(u64),
    /// Not whole, for a person.
    Bad(String),
}

/// Looks at some of the log from a place on, at the oldest file without one; says where to go on. Behind the end of the log looks at
/// the checkpoint that it stands on.
pub fn verify<D: Disk>(
    disk: &D,
    known: &Known,
    from: Option<LogPlace>,
    bytes_max: usize,
) -> Result<Option<LogPlace>, JobError> {
    // Looked at first: all up to here is durable before anything is read.
    let (synced_upto, checkpoint) = {
        let state = known.state();
        (state.synced_upto, state.checkpoint)
    };
    let failed = |error: io::Error| JobError::Device { detail: format!("read the log: {error}") };
    let epochs = files::names(disk).map_err(failed)?.epochs;
    let wanted = from.map_or(0, |place| place.epoch);
    let mut later = epochs.iter().copied().skip_while(|epoch| *epoch < wanted);
    let (Some(epoch), next) = (later.next(), later.next()) else {
        return Err(damaged(DamagedFile::Log(wanted), "there is no log any more"));
    };
    let place = from.filter(|place| place.epoch == epoch);
    if from.is_none() && !begins_at_checkpoint(disk, known, epoch).map_err(failed)? {
        let what = format!("{} needs a file before it that is missing", files::path(epoch));
        return Err(damaged(DamagedFile::Log(epoch), &what));
    }
    let outcome =
        look(disk, epoch, place, next, (synced_upto, bytes_max)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Look::Bad("is missing".into())),
            _ if is_unreadable(&error) => Ok(Look::Bad(format!("cannot be read: {error}"))),
            _ => Err(failed(error)),
        })?;
    match (outcome, next) {
        (Look::Goes(place), _) => Ok(Some(place)),
        (Look::Ends(sequence), Some(next)) => Ok(Some(LogPlace { epoch: next, at: 0, sequence, hash: 0 })),
        (Look::Ends(_), None) => verify_checkpoint(disk, checkpoint).map(|()| None),
        (Look::Bad(what), _) => match disk.exists(&files::path(epoch)).map_err(failed)? {
            true => Err(damaged(DamagedFile::Log(epoch), &format!("{} {what}", files::path(epoch)))),
            // It was let go, and so was all before it.
            false => Ok(next.map(|next| LogPlace { epoch: next, at: 0, sequence: 0, hash: 0 })),
        },
    }
}

/// The oldest file needs nothing but the checkpoint. One that is not whole is found by whoever looks at it.
fn begins_at_checkpoint<D: Disk>(disk: &D, known: &Known, epoch: u64) -> io::Result<bool> {
    let header = match disk.open_read_unbuffered(&files::path(epoch)).and_then(|file| read_header(&file)) {
        Err(error) if is_unreadable(&error) || error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    let state = known.state();
    let is_applied = |shard: &ShardId, last| last <= state.applied.get(shard).copied().unwrap_or_default();
    Ok(header.map_or(true, |header| header.shards.iter().all(|(shard, row)| is_applied(shard, row.last))))
}

fn damaged(file: DamagedFile, detail: &str) -> JobError {
    JobError::DamagedLog { file, detail: detail.to_owned() }
}

/// Commits of an earlier file count up to here and without it.
fn limit<D: Disk>(disk: &D, next: Option<u64>) -> io::Result<Option<u64>> {
    let Some(next) = next else { return Ok(Some(u64::MAX)) };
    let header = read_header(&disk.open_read_unbuffered(&files::path(next))?)?.ok();
    Ok(header.map(|header| if header.cut_at > 0 { header.cut_at } else { header.first_sequence }))
}

fn look<D: Disk>(
    disk: &D,
    epoch: u64,
    place: Option<LogPlace>,
    next: Option<u64>,
    (synced_upto, bytes_max): (u64, usize),
) -> io::Result<Look> {
    let file = disk.open_read_unbuffered(&files::path(epoch))?;
    let size = file.len()?;
    // A header that is not whole is found when its own file's turn comes.
    let limit = limit(disk, next)?.unwrap_or(0).min(synced_upto.saturating_add(1));
    let mut place = match place.filter(|place| place.at > 0) {
        Some(place) => place,
        None => match read_header(&file)? {
            Ok(header) if header.epoch == epoch => LogPlace {
                epoch,
                at: FileHeader::size(header.shards.len()),
                sequence: header.first_sequence,
                hash: header.previous_hash,
            },
            _ => return Ok(Look::Bad("has no whole header".into())),
        },
    };
    let end = place.at.saturating_add(bytes_max as u64);
    while place.sequence < limit {
        if place.at >= end {
            return Ok(Look::Goes(place));
        }
        let what = |place: LogPlace| format!("is damaged at byte {}, commit {}", place.at, place.sequence);
        let raw = read(&file, place.at, COMMIT_HEADER_BYTES)?;
        let follows = |header: &CommitHeader| {
            (header.epoch, header.sequence, header.previous_hash) == (epoch, place.sequence, place.hash)
                && header.size <= size.saturating_sub(place.at)
        };
        let Some(header) = CommitHeader::decode(&raw, None).filter(follows) else {
            return Ok(Look::Bad(what(place)));
        };
        let body = read(&file, place.at + COMMIT_HEADER_BYTES as u64, header.body_size as usize)?;
        if decode_body(&header, &body, None).is_none() {
            return Ok(Look::Bad(what(place)));
        }
        place = LogPlace {
            at: place.at + header.size,
            sequence: place.sequence + 1,
            hash: header.hash(),
            ..place
        };
    }
    Ok(Look::Ends(place.sequence))
}

/// The newest checkpoint that was durable, or a newer one, is whole.
fn verify_checkpoint<D: Disk>(disk: &D, durable: u64) -> Result<(), JobError> {
    let slots = match checkpoint::read_slots(disk, None) {
        Ok(slots) => slots,
        Err(error) if is_unreadable(&error) => {
            return Err(damaged(DamagedFile::Checkpoint, &format!("a checkpoint cannot be read: {error}")));
        }
        Err(error) => return Err(JobError::Device { detail: format!("read a checkpoint: {error}") }),
    };
    let newest = checkpoint::newest(&slots).map_or(0, |slot| slots[slot].sequence());
    match newest >= durable {
        true => Ok(()),
        false => Err(damaged(DamagedFile::Checkpoint, &format!("checkpoint {durable} is damaged"))),
    }
}
