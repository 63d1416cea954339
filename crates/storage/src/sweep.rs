//! After a start that no clean shutdown went before: looks at every name below `segments/` and `wal/`. What an
//! interrupted checkpoint left is remembered until the next one makes it needless; what nobody knows is moved to
//! `quarantine/`, never deleted (rule 11).

use crate::checkpoint::Content;
use crate::disk::{DirEntry, Disk};
use crate::layout::read;
use crate::segments::format::{HEADER_BYTES, SegmentHeader};
use crate::segments::{self, DIRECTORY};
use crate::wal::files::{self, Names};
use model::{Offset, PartitionId, TopicId};
use std::collections::BTreeSet;
use std::io;

/// Where unknown files go.
pub const QUARANTINE: &str = "quarantine";
/// Lines about single files in the notes; more are counted.
const NOTES_MAX: usize = 20;

/// Looks at all names; returns the segments that nobody refers to yet or any more, for the next checkpoint to delete.
pub fn sweep<D: Disk>(
    disk: &D,
    content: &Content,
    wal: &Names,
    notes: &mut Vec<String>,
) -> io::Result<Vec<(PartitionId, Offset)>> {
    let mut leftovers = Vec::new();
    let mut strangers: Vec<String> =
        wal.unknown.iter().map(|name| format!("{}/{name}", files::DIRECTORY)).collect();
    let mut seen = BTreeSet::new();
    for topic in list(disk, DIRECTORY)? {
        let topic_path = format!("{DIRECTORY}/{}", topic.name);
        let Some(id) = topic_id(&topic) else {
            strangers.push(topic_path);
            continue;
        };
        for directory in list(disk, &topic_path)? {
            let path = format!("{topic_path}/{}", directory.name);
            let index = directory.name.parse().ok().filter(|index: &i32| *index >= 0 && directory.is_dir);
            let Some(partition) = index.map(|index| PartitionId { topic: id, index }) else {
                strangers.push(path);
                continue;
            };
            for file in list(disk, &path)? {
                let path = format!("{path}/{}", file.name);
                match verdict(disk, content, partition, &file, &path)? {
                    Verdict::Known(base) => drop(seen.insert((partition, base))),
                    Verdict::Leftover(base) => leftovers.push((partition, base)),
                    Verdict::Disposable => {}
                    Verdict::Unfinished => disk.unlink(&path)?,
                    Verdict::Stranger => strangers.push(path),
                }
            }
        }
    }
    let known = content.manifest.iter();
    let all = known.flat_map(|(partition, metas)| metas.iter().map(|meta| (*partition, meta.base_offset)));
    let missing: Vec<_> = all.filter(|key| !seen.contains(key)).collect();
    for (partition, base) in missing.iter().take(NOTES_MAX) {
        notes.push(format!("{} is missing: its offsets cannot be read", segments::path(partition, *base)));
    }
    if missing.len() > NOTES_MAX {
        notes.push(format!("{} segments are missing in all", missing.len()));
    }
    quarantine(disk, &strangers, notes)?;
    Ok(leftovers)
}

enum Verdict {
    /// The checkpoint refers to it.
    Known(Offset),
    /// Made by a checkpoint that never became durable, or waiting to be deleted.
    Leftover(Offset),
    /// An index.
    Disposable,
    /// A segment that was being written anew.
    Unfinished,
    /// Nobody knows it.
    Stranger,
}

fn verdict<D: Disk>(
    disk: &D,
    content: &Content,
    partition: PartitionId,
    file: &DirEntry,
    path: &str,
) -> io::Result<Verdict> {
    let named =
        |suffix| file.name.strip_suffix(suffix).filter(|digits: &&str| digits.len() == 20 && !file.is_dir);
    if named(".idx").is_some() {
        return Ok(Verdict::Disposable);
    }
    if named(".new").is_some() {
        return Ok(Verdict::Unfinished);
    }
    let Some(base) = named(".seg").and_then(|digits| digits.parse().ok()).map(Offset) else {
        return Ok(Verdict::Stranger);
    };
    let metas = content.manifest.get(&partition);
    if metas.is_some_and(|metas| metas.iter().any(|meta| meta.base_offset == base)) {
        return Ok(Verdict::Known(base));
    }
    if content.deletes.contains(&(partition, base)) {
        return Ok(Verdict::Leftover(base));
    }
    let header = SegmentHeader::decode(&read(&disk.open_read(path)?, 0, HEADER_BYTES)?);
    let unborn = header.is_ok_and(|header| {
        header.partition == partition && header.base_offset == base && header.made_by > content.sequence
    });
    Ok(if unborn { Verdict::Leftover(base) } else { Verdict::Stranger })
}

/// Moves files aside under names that say where they were.
pub fn quarantine<D: Disk>(disk: &D, paths: &[String], notes: &mut Vec<String>) -> io::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    disk.create_dir_all(QUARANTINE)?;
    disk.sync_dir("")?;
    for path in paths {
        let name = path.replace('/', "_");
        let mut to = format!("{QUARANTINE}/{name}");
        let mut number = 1;
        while disk.exists(&to)? {
            to = format!("{QUARANTINE}/{name}.{number}");
            number += 1;
        }
        disk.rename(path, &to)?;
        if number <= NOTES_MAX && paths.len() <= NOTES_MAX {
            notes.push(format!("{path} belongs to nobody: moved to {to}"));
        }
    }
    if paths.len() > NOTES_MAX {
        notes.push(format!("{} files belong to nobody: moved to {QUARANTINE}/", paths.len()));
    }
    disk.sync_dir(QUARANTINE)?;
    let directories: BTreeSet<&str> =
        paths.iter().map(|path| path.rsplit_once('/').map_or("", |(directory, _)| directory)).collect();
    directories.into_iter().try_for_each(|directory| disk.sync_dir(directory))
}

fn list<D: Disk>(disk: &D, path: &str) -> io::Result<Vec<DirEntry>> {
    match disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn topic_id(entry: &DirEntry) -> Option<TopicId> {
    let digits = entry.name.as_str();
    if !entry.is_dir || digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut id = [0; 16];
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(TopicId(id))
}
