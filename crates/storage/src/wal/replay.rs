//! Reading the WAL back: from the files and the checkpoint's coordinates to every shard's entries and votes, with the
//! verdict on where the log ends: whole, torn (cut there, nobody was promised what follows) or damaged (rule 7).
//! Reads only; `open` makes durable what is kept.

use crate::disk::{Disk, DiskFile};
use crate::layout::read;
use crate::mutant::Mutant;
use crate::wal::files::{self, Names};
use crate::wal::format::{BadHeader, COMMIT_HEADER_BYTES, CommitHeader, FileHeader, ShardRow, decode_body};
use bytes::Bytes;
use model::job::WalAppend;
use model::limits::COMMIT_ALIGN_BYTES;
use model::{Entry, HardState, LogIndex, ShardId, Term};
use std::collections::BTreeMap;
use std::io;

/// Bytes read at a time: at first, and at most. Most files end soon after they begin, or go on to their end.
const WINDOW_BYTES_FIRST: usize = 16 << 10;
const WINDOW_BYTES_MAX: usize = 1 << 20;
/// Bytes read at a time where only claims are looked for.
const CLAIMS_BYTES: usize = 128 << 10;

/// Where the checkpoint stands; all zero when there is none.
#[derive(Clone, Debug, Default)]
pub struct From {
    /// Its sequence.
    pub checkpoint: u64,
    /// Newest commit that was durable when it was written.
    pub synced_upto: u64,
    /// Per shard: last index in the state, its term, vote and term.
    pub shards: BTreeMap<ShardId, (LogIndex, Term, HardState)>,
    /// Nothing follows in files up to this epoch: they need not be read.
    pub clean_epoch: Option<u64>,
}

/// One shard as the WAL leaves it.
#[derive(Clone, Debug, Default)]
pub struct ShardLog {
    /// Vote and term, first and last index.
    pub row: ShardRow,
    /// Entries behind the checkpoint, consecutive.
    pub entries: Vec<Entry>,
}

/// A WAL file that a later recycle must think about.
#[derive(Clone, Debug)]
pub struct FileSpan {
    /// Its epoch.
    pub epoch: u64,
    /// Allocated bytes.
    pub size: u64,
    /// Bytes with commits.
    pub used: u64,
    /// Largest index per shard in it.
    pub newest: BTreeMap<ShardId, LogIndex>,
}

/// What the WAL says.
#[derive(Debug, Default)]
pub struct Replayed {
    /// State of every shard after all whole commits.
    pub shards: BTreeMap<ShardId, ShardLog>,
    /// Last commit known durable.
    pub sequence: u64,
    /// Its hash.
    pub hash: u64,
    /// The shards' rows after it.
    pub settled: BTreeMap<ShardId, ShardRow>,
    /// Whole commits behind it, which may only be in the page cache.
    pub tail: Vec<(CommitHeader, WalAppend)>,
    /// Newest commit that was known durable by whoever wrote anything that was read.
    pub synced_upto: u64,
    /// Newest checkpoint that the WAL knows durable.
    pub checkpoint: u64,
    /// All files, rising epochs.
    pub files: Vec<FileSpan>,
    /// Names in the directory.
    pub names: Names,
    /// Bytes of commits read.
    pub held: u64,
    /// Where bytes fail that were known durable.
    pub damage: Option<Damage>,
    /// A torn commit was cut off.
    pub torn: Option<String>,
    /// A file is of a format that this program does not know.
    pub version: Option<(String, u32)>,
}

/// The first place where the WAL fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Epoch of the file, when it is there.
    pub epoch: Option<u64>,
    /// Sequence of the first commit that is not whole, or 0 when that cannot be said.
    pub sequence: u64,
    /// What is wrong, for a person.
    pub detail: String,
}

impl Replayed {
    /// Takes a commit into the shards' state.
    fn apply(&mut self, header: &CommitHeader, append: WalAppend, from: &From, mutant: Option<Mutant>) {
        for (shard, hard_state) in append.hard_states {
            let log = self.shards.entry(shard).or_default();
            log.row.hard_state = newer(log.row.hard_state, hard_state);
        }
        for entry in append.entries {
            let applied = from.shards.get(&entry.shard).map_or(LogIndex(0), |shard| shard.0);
            let log = self.shards.entry(entry.shard).or_default();
            let follows = entry.index <= log.row.last.max(applied).next();
            if !follows {
                let detail =
                    format!("entries of shard {} before {} are missing", entry.shard.0, entry.index.0);
                self.damage.get_or_insert(Damage { epoch: None, sequence: header.sequence, detail });
                return;
            }
            if mutant == Some(Mutant::SuffixNotReplaced) && entry.index <= log.row.last {
                continue;
            }
            log.row.last = entry.index;
            if log.row.first.0 == 0 || entry.index < log.row.first {
                log.row.first = entry.index;
            }
            log.entries.retain_from(entry.index);
            if entry.index > applied || mutant == Some(Mutant::AppliedEntriesReplayed) {
                log.entries.push(entry);
            }
        }
        self.sequence = header.sequence;
        self.hash = header.hash();
    }

    /// The shards' rows for a file's header.
    fn rows(&self) -> BTreeMap<ShardId, ShardRow> {
        self.shards.iter().map(|(shard, log)| (*shard, log.row)).collect()
    }
}

/// Drops a replaced suffix.
trait RetainFrom {
    /// Keeps what lies below `index`.
    fn retain_from(&mut self, index: LogIndex);
}

impl RetainFrom for Vec<Entry> {
    fn retain_from(&mut self, index: LogIndex) {
        while self.last().is_some_and(|last| last.index >= index) {
            self.pop();
        }
    }
}

/// The later of two states of one voter: terms only rise, and within a term a vote is given once.
pub fn newer(old: HardState, new: HardState) -> HardState {
    let commit = old.commit.max(new.commit);
    let vote = match old.term.cmp(&new.term) {
        std::cmp::Ordering::Greater => old.vote,
        std::cmp::Ordering::Less => new.vote,
        std::cmp::Ordering::Equal if new.vote != 0 => new.vote,
        std::cmp::Ordering::Equal => old.vote,
    };
    HardState { term: old.term.max(new.term), vote, commit }
}

/// Reads a file in windows that its entries share.
struct Windows<F> {
    file: F,
    size: u64,
    window: Bytes,
    start: u64,
    /// Bytes to read next.
    wanted: usize,
}

impl<F: DiskFile> Windows<F> {
    /// `count` bytes at `at`, or fewer where the file ends.
    fn get(&mut self, at: u64, count: usize) -> io::Result<Bytes> {
        let count = count.min(usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX));
        let inside = at.checked_sub(self.start).map(|skip| skip as usize);
        if let Some(skip) = inside.filter(|skip| skip.saturating_add(count) <= self.window.len()) {
            return Ok(self.window.slice(skip..skip + count));
        }
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        self.window = read(&self.file, at, count.max(self.wanted.min(left)))?;
        self.wanted = (2 * self.wanted).min(WINDOW_BYTES_MAX);
        self.start = at;
        Ok(self.window.slice(..count.min(self.window.len())))
    }
}

struct Live<F> {
    epoch: u64,
    header: FileHeader,
    windows: Windows<F>,
}

/// Reads the WAL. `Err` only when the device fails; damage is part of the answer.
pub fn replay<D: Disk>(disk: &D, from: &From, mutant: Option<Mutant>) -> io::Result<Replayed> {
    let names = files::names(disk)?;
    let mut replayed = Replayed { synced_upto: from.synced_upto, ..Replayed::default() };
    let clean = from.clean_epoch.filter(|epoch| names.epochs.iter().all(|other| other <= epoch));
    let mut live = Vec::new();
    for &epoch in &names.epochs {
        let file = disk.open_read(&files::path(epoch))?;
        let size = file.len()?;
        replayed.files.push(FileSpan { epoch, size, used: 0, newest: BTreeMap::new() });
        let header = match files::read_header(&file)? {
            Ok(header) if header.epoch == epoch => header,
            Ok(_) if mutant == Some(Mutant::RecycledBytesTrusted) => continue,
            Ok(_) => {
                live.push(Err((epoch, "its header is another file's")));
                continue;
            }
            Err(BadHeader::Damaged(what)) => {
                live.push(Err((epoch, what)));
                continue;
            }
            Err(BadHeader::Version(version)) => {
                replayed.version = Some((files::path(epoch), version));
                return Ok(replayed);
            }
        };
        let windows = Windows { file, size, window: Bytes::new(), start: 0, wanted: WINDOW_BYTES_FIRST };
        live.push(Ok(Live { epoch, header, windows }));
    }
    replayed.names = names;
    // The newest file before which the checkpoint covers everything: what is older may be there, in part or not at all.
    let covered = |live: &Result<Live<D::File>, _>| {
        live.as_ref().is_ok_and(|live| {
            live.header
                .shards
                .iter()
                .all(|(shard, row)| row.last <= from.shards.get(shard).map_or(LogIndex(0), |shard| shard.0))
        })
    };
    let start = live.iter().rposition(covered);
    for live in live.iter().flatten() {
        replayed.synced_upto = replayed.synced_upto.max(live.header.synced_upto);
        replayed.checkpoint = replayed.checkpoint.max(live.header.checkpoint);
    }
    if start.is_none() && (!live.is_empty() || from.synced_upto > 0) {
        let detail = "the oldest WAL file needs one before it that is missing or unreadable".into();
        replayed.damage = Some(Damage { epoch: None, sequence: 0, detail });
    }
    let live = live.split_off(start.unwrap_or(0));
    if let Some(Ok(first)) = live.first() {
        replayed.sequence = first.header.first_sequence - 1;
        replayed.hash = first.header.previous_hash;
    }
    if clean.is_some() && replayed.damage.is_none() {
        let rows = live.iter().flatten().flat_map(|live| &live.header.shards);
        for (shard, row) in rows {
            let log = replayed.shards.entry(*shard).or_default();
            log.row.hard_state = newer(log.row.hard_state, row.hard_state);
        }
        replayed.sequence = from.synced_upto;
        replayed.hash = 0;
    } else {
        read_files(live, from, &mut replayed, mutant)?;
    }
    for (shard, (applied, _, hard_state)) in &from.shards {
        let log = replayed.shards.entry(*shard).or_default();
        log.row.last = log.row.last.max(*applied);
        log.row.hard_state = match mutant {
            Some(Mutant::CheckpointVoteWins) => *hard_state,
            _ => newer(*hard_state, log.row.hard_state),
        };
    }
    if replayed.checkpoint > from.checkpoint {
        let detail = format!("checkpoint {} was durable and is not readable", replayed.checkpoint);
        replayed.damage.get_or_insert(Damage { epoch: None, sequence: 0, detail });
    }
    replayed.settled = replayed.rows();
    let (sequence, hash) = (replayed.sequence, replayed.hash);
    for (header, append) in replayed.tail.clone() {
        if replayed.damage.is_none() {
            replayed.apply(&header, append, from, mutant);
        }
    }
    (replayed.sequence, replayed.hash) = (sequence, hash);
    Ok(replayed)
}

fn read_files<F: DiskFile>(
    live: Vec<Result<Live<F>, (u64, &'static str)>>,
    from: &From,
    replayed: &mut Replayed,
    mutant: Option<Mutant>,
) -> io::Result<()> {
    let ends = |header: &FileHeader| if header.cut_at > 0 { header.cut_at } else { header.first_sequence };
    let firsts: Vec<Option<u64>> =
        live.iter().map(|live| live.as_ref().ok().map(|live| ends(&live.header))).collect();
    for (position, file) in live.into_iter().enumerate() {
        if replayed.damage.is_some() {
            return Ok(());
        }
        let mut file = match file {
            Ok(file) => file,
            Err((epoch, what)) => {
                let detail = format!("{}: {what}", files::path(epoch));
                let sequence = replayed.sequence + 1;
                replayed.damage = Some(Damage { epoch: Some(epoch), sequence, detail });
                return Ok(());
            }
        };
        for (shard, row) in &file.header.shards {
            let log = replayed.shards.entry(*shard).or_default();
            log.row.hard_state = newer(log.row.hard_state, row.hard_state);
            if position == 0 {
                log.row.last = row.last;
                log.row.first = row.first;
            }
        }
        let limit = firsts.get(position + 1).copied().flatten().unwrap_or(u64::MAX);
        read_commits(&mut file, limit, from, replayed, mutant)?;
    }
    Ok(())
}

fn read_commits<F: DiskFile>(
    file: &mut Live<F>,
    limit: u64,
    from: &From,
    replayed: &mut Replayed,
    mutant: Option<Mutant>,
) -> io::Result<()> {
    let mut at = FileHeader::size(file.header.shards.len());
    let (mut sequence, mut hash) = match replayed.tail.last() {
        Some((header, _)) => (header.sequence + 1, header.hash()),
        None => (replayed.sequence + 1, replayed.hash),
    };
    if file.header.cut_at == sequence && replayed.tail.is_empty() {
        sequence = file.header.first_sequence;
        replayed.sequence = sequence - 1;
    }
    if file.header.first_sequence != sequence || file.header.previous_hash != hash {
        let detail = format!("{} does not follow the file before it", files::path(file.epoch));
        replayed.damage = Some(Damage { epoch: Some(file.epoch), sequence, detail });
        return Ok(());
    }
    while sequence < limit {
        let known = replayed.synced_upto;
        let Some((header, append)) = read_commit(file, at, sequence, hash, mutant)? else {
            let known = known.max(newest_claim(file, at, sequence)?);
            let place = format!("commit {sequence} at byte {at} of {}", files::path(file.epoch));
            if sequence <= known && mutant != Some(Mutant::DamageTakenForTornTail) {
                // What claims that it was durable claims so for the commits before it, too.
                replayed.synced_upto = known;
                settle(replayed, from, mutant);
                let detail = format!("{place} is damaged; it was durable (known up to {known})");
                replayed.damage = Some(Damage { epoch: Some(file.epoch), sequence, detail });
            } else if !file.windows.get(at, 8)?.iter().all(|byte| *byte == 0) {
                replayed.torn = Some(place);
            }
            break;
        };
        at += header.size;
        (sequence, hash) = (sequence + 1, header.hash());
        replayed.synced_upto = replayed.synced_upto.max(header.synced_upto);
        replayed.checkpoint = replayed.checkpoint.max(header.checkpoint);
        replayed.held += header.size;
        let span = replayed.files.iter_mut().find(|span| span.epoch == file.epoch).expect("listed");
        span.used = at;
        for entry in &append.entries {
            let newest = span.newest.entry(entry.shard).or_default();
            *newest = (*newest).max(entry.index);
        }
        replayed.tail.push((header, append));
        settle(replayed, from, mutant);
        if replayed.damage.is_some() {
            break;
        }
    }
    Ok(())
}

/// Moves what is known durable from the tail into the shards.
fn settle(replayed: &mut Replayed, from: &From, mutant: Option<Mutant>) {
    let known =
        replayed.tail.iter().take_while(|(header, _)| header.sequence <= replayed.synced_upto).count();
    let settled: Vec<_> = replayed.tail.drain(..known).collect();
    for (header, append) in settled {
        replayed.apply(&header, append, from, mutant);
        if replayed.damage.is_some() {
            return;
        }
    }
}

fn read_commit<F: DiskFile>(
    file: &mut Live<F>,
    at: u64,
    sequence: u64,
    hash: u64,
    mutant: Option<Mutant>,
) -> io::Result<Option<(CommitHeader, WalAppend)>> {
    let Some(header) = CommitHeader::decode(&file.windows.get(at, COMMIT_HEADER_BYTES)?, mutant) else {
        return Ok(None);
    };
    let follows = header.epoch == file.epoch && header.sequence == sequence && header.previous_hash == hash;
    if !follows && mutant != Some(Mutant::RecycledBytesTrusted) {
        return Ok(None);
    }
    if header.size > file.windows.size - at {
        return Ok(None);
    }
    let body = file.windows.get(at + COMMIT_HEADER_BYTES as u64, header.body_size as usize)?;
    Ok(decode_body(&header, &body, mutant).map(|append| (header, append)))
}

/// The largest claim of durability in the headers behind a commit that is not whole. A header lies within one sector,
/// so it is whole or not there, even when the commit that it begins is torn.
fn newest_claim<F: DiskFile>(file: &Live<F>, from: u64, sequence: u64) -> io::Result<u64> {
    let mut newest = 0;
    let mut chunk = vec![0; CLAIMS_BYTES];
    for at in (from..file.windows.size).step_by(CLAIMS_BYTES) {
        let count = file.windows.file.read_at(at, &mut chunk)?;
        let headers =
            chunk[..count].chunks(COMMIT_ALIGN_BYTES).filter_map(|raw| CommitHeader::decode(raw, None));
        for header in headers.filter(|header| header.epoch == file.epoch && header.sequence > sequence) {
            newest = newest.max(header.synced_upto);
        }
    }
    Ok(newest)
}
