//! A simulated file: the image in the page cache and the image on the platter, page by page, and which pages differ
//! in which way. `dirty` pages are written by the next sync; `dropped` pages are what Linux leaves after a failed
//! sync: readable in the cache, clean for the kernel, absent on the platter.

use crate::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of a page of the cache.
pub const PAGE_BYTES: u64 = 4096;
/// What counts as a file's head.
const HEAD_BYTES: u64 = 16;
const PAGE: usize = PAGE_BYTES as usize;

static ZEROS: [u8; PAGE] = [0; PAGE];

thread_local! {
    static ZERO_PAGE: Arc<[u8; PAGE]> = Arc::new(ZEROS);
}

fn zero_page() -> Arc<[u8; PAGE]> {
    ZERO_PAGE.with(Arc::clone)
}

/// What becomes of sectors that were not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None reached the platter.
    Old,
    /// All did.
    New,
    /// Those before some point did.
    Prefix,
    /// Each for itself: old, new, half of each, or garbage.
    Mixed,
}

/// Sectors by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SectorCounts {
    pub old: u64,
    pub new: u64,
    pub shorn: u64,
    pub garbage: u64,
}

#[derive(Clone, Debug, Default)]
struct Image {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub struct SimFileData {
    cached: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
    /// Bytes from the start that have space reserved or written.
    pub allocated: u64,
    /// Names in the cached directories.
    pub links: u32,
}

impl SimFileData {
    pub fn len(&self) -> u64 {
        self.cached.len
    }

    /// Bytes of space this file takes.
    pub fn space(&self) -> u64 {
        self.allocated.next_multiple_of(PAGE_BYTES) + PAGE_BYTES
    }

    /// More space needed when the file is to be allocated up to `end`.
    pub fn space_needed(&self, end: u64) -> u64 {
        end.max(self.allocated).next_multiple_of(PAGE_BYTES) - self.allocated.next_multiple_of(PAGE_BYTES)
    }

    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let end = self.cached.len.min(offset.saturating_add(buffer.len() as u64));
        let mut at = offset;
        while at < end {
            let (page, within) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let count = (PAGE - within).min((end - at) as usize);
            let out = &mut buffer[(at - offset) as usize..][..count];
            match self.cached.pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + count]),
                None => out.fill(0),
            }
            at += count as u64;
        }
        end.saturating_sub(offset) as usize
    }

    pub fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let (page, within) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let count = (PAGE - within).min(bytes.len());
            if count == PAGE && bytes[..PAGE] == ZEROS {
                // Preallocation writes megabytes of them: all share one page.
                self.cached.pages.insert(page, zero_page());
            } else {
                let image = self.cached.pages.entry(page).or_insert_with(zero_page);
                Arc::make_mut(image)[within..within + count].copy_from_slice(&bytes[..count]);
            }
            self.dirty.insert(page);
            self.dropped.remove(&page);
            at += count as u64;
            bytes = &bytes[count..];
        }
        self.cached.len = self.cached.len.max(at);
        self.allocated = self.allocated.max(at);
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.cached.len {
            let keep = len.div_ceil(PAGE_BYTES);
            for page in self.cached.pages.split_off(&keep).into_keys() {
                self.dirty.insert(page);
                self.dropped.remove(&page);
            }
            let within = (len % PAGE_BYTES) as usize;
            if within > 0
                && let Some(image) = self.cached.pages.get_mut(&(len / PAGE_BYTES))
            {
                Arc::make_mut(image)[within..].fill(0);
                self.dirty.insert(len / PAGE_BYTES);
            }
            self.allocated = self.allocated.min(len);
        }
        self.cached.len = len;
    }

    pub fn allocate(&mut self, len: u64) {
        self.cached.len = self.cached.len.max(len);
        self.allocated = self.allocated.max(len);
    }

    pub fn needs_sync(&self) -> bool {
        !self.dirty.is_empty() || self.cached.len != self.durable.len
    }

    /// Whether a failed sync left pages that the platter lacks.
    pub fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }

    pub fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            match self.cached.pages.get(&page) {
                Some(image) => self.durable.pages.insert(page, Arc::clone(image)),
                None => self.durable.pages.remove(&page),
            };
        }
        self.durable.len = self.cached.len;
    }

    /// A sync that failed: some pages were written, the others are forgotten by the kernel.
    pub fn fail_sync(&mut self, dice: &mut Dice) {
        for page in std::mem::take(&mut self.dirty) {
            if dice.below(4) == 0
                && let Some(image) = self.cached.pages.get(&page)
            {
                self.durable.pages.insert(page, Arc::clone(image));
            } else {
                self.dropped.insert(page);
            }
        }
    }

    /// Flips one bit of a page that is on the platter, in the cache too when it is clean there. `None`: there is no such page.
    pub fn rot(&mut self, dice: &mut Dice) -> Option<()> {
        let pages = self.clean_pages();
        let page = *pages.get(dice.index(pages.len().max(1)))?;
        let within = dice.below(PAGE_BYTES.min(self.durable.len.saturating_sub(page * PAGE_BYTES)).max(1));
        self.flip(page, within, 1 << dice.below(8));
        Some(())
    }

    fn clean_pages(&self) -> Vec<u64> {
        self.durable.pages.keys().filter(|page| !self.dirty.contains(page)).copied().collect()
    }

    /// A page of the platter is found in another one's place. `None`: no two of them differ.
    pub fn misplace(&mut self, dice: &mut Dice) -> Option<()> {
        let pages = self.clean_pages();
        let to = *pages.get(dice.index(pages.len().max(1)))?;
        let lost = &self.durable.pages[&to];
        let others: Vec<u64> = pages.into_iter().filter(|page| self.durable.pages[page] != *lost).collect();
        let from = *others.get(dice.index(others.len().max(1)))?;
        let bytes = Arc::clone(&self.durable.pages[&from]);
        for image in [&mut self.durable, &mut self.cached] {
            image.pages.insert(to, Arc::clone(&bytes));
        }
        Some(())
    }

    /// Flips one bit of the first few bytes. `None`: they are not on the platter.
    pub fn behead(&mut self, dice: &mut Dice) -> Option<()> {
        if !self.durable.pages.contains_key(&0) || self.dirty.contains(&0) {
            return None;
        }
        self.flip(0, dice.below(HEAD_BYTES), 1 << dice.below(8));
        Some(())
    }

    fn flip(&mut self, page: u64, within: u64, bit: u8) {
        for image in [&mut self.durable, &mut self.cached] {
            if let Some(bytes) = image.pages.get_mut(&page) {
                Arc::make_mut(bytes)[within as usize] ^= bit;
            }
        }
    }

    /// Loses what lies behind some point, durably.
    pub fn cut(&mut self, dice: &mut Dice) {
        self.set_len(dice.below(self.cached.len.max(1)));
        self.sync();
    }

    /// The power goes: what is on the platter becomes what is read from now on.
    pub fn power_cut(&mut self, dice: &mut Dice, sector_bytes: usize, fate: Fate) -> SectorCounts {
        let mut counts = SectorCounts::default();
        let unsynced: BTreeSet<u64> = self.dirty.union(&self.dropped).copied().collect();
        let sectors_per_page = PAGE / sector_bytes;
        let prefix = dice.below((unsynced.len() * sectors_per_page) as u64 + 1);
        let mut sector_number = 0;
        for page in unsynced {
            let mut on_platter = self.durable.pages.get(&page).map_or([0; PAGE], |image| **image);
            let wanted = self.cached.pages.get(&page).map_or([0; PAGE], |image| **image);
            let dropped = self.dropped.contains(&page);
            for (old, new) in on_platter.chunks_mut(sector_bytes).zip(wanted.chunks(sector_bytes)) {
                sector_number += 1;
                let roll = match fate {
                    _ if dropped => 16 * u64::from(dice.below(8) > 0),
                    Fate::Old => 16,
                    Fate::New => 0,
                    Fate::Prefix => 16 * u64::from(sector_number > prefix),
                    Fate::Mixed => dice.below(32),
                };
                resolve(roll, old, new, dice, &mut counts);
            }
            self.durable.pages.insert(page, Arc::new(on_platter));
        }
        if self.cached.len != self.durable.len {
            let lengthened = match fate {
                Fate::Old => false,
                Fate::New => true,
                Fate::Prefix | Fate::Mixed => dice.coin(),
            };
            if lengthened {
                self.durable.len = self.cached.len;
            }
        }
        let keep = self.durable.len.div_ceil(PAGE_BYTES);
        self.durable.pages.split_off(&keep);
        // Bytes behind the end of a file read as zero when it grows again.
        let within = (self.durable.len % PAGE_BYTES) as usize;
        if within > 0
            && let Some(image) = self.durable.pages.get_mut(&(self.durable.len / PAGE_BYTES))
        {
            Arc::make_mut(image)[within..].fill(0);
        }
        self.cached = self.durable.clone();
        self.allocated =
            self.allocated.min(self.cached.len.next_multiple_of(PAGE_BYTES)).max(self.cached.len);
        self.dirty.clear();
        self.dropped.clear();
        counts
    }
}

fn resolve(roll: u64, old: &mut [u8], new: &[u8], dice: &mut Dice, counts: &mut SectorCounts) {
    match roll {
        0..14 => {
            old.copy_from_slice(new);
            counts.new += 1;
        }
        14 => {
            let half = 1 + dice.index(old.len() - 1);
            old[..half].copy_from_slice(&new[..half]);
            counts.shorn += 1;
        }
        15 => {
            if dice.coin() {
                // Rot: the new bytes with one of them wrong.
                old.copy_from_slice(new);
                let at = dice.index(old.len());
                old[at] ^= 1 << dice.below(8);
            } else {
                old.iter_mut().for_each(|byte| *byte = dice.next() as u8);
            }
            counts.garbage += 1;
        }
        _ => counts.old += 1,
    }
}
