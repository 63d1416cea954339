//! The simulated directory tree: inodes, the names that the cache knows and the names on the platter, and per
//! directory the changes that no sync has made durable yet. A power cut loses or keeps each of them for itself.

use super::file::{Fate, SectorCounts, SimFileData};
use crate::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

/// Number of a file or directory.
pub type Inode = u64;
/// The data directory itself.
pub const ROOT: Inode = 0;

/// A change of names within one directory.
#[derive(Clone, Debug)]
enum NameChange {
    Set { name: String, inode: Inode },
    Remove { name: String, inode: Inode },
    Rename { from: String, to: String, inode: Inode },
}

/// One directory.
#[derive(Clone, Debug, Default)]
struct Directory {
    cached: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    pending: Vec<NameChange>,
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.cached, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// A name is gone, from the platter too, whatever becomes of the changes before.
    fn lose(&mut self, name: &str) {
        self.cached.remove(name);
        self.durable.remove(name);
        self.pending.retain(|change| match change {
            NameChange::Set { name: to, .. } | NameChange::Rename { to, .. } => to != name,
            NameChange::Remove { .. } => true,
        });
    }
}

/// What somebody or something does to a file that was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// One bit is wrong.
    Bit,
    /// It ends earlier.
    Cut,
    /// It is not there any more.
    Gone,
    /// One of its first bits is wrong: of a log file, what says which it is.
    Head,
    /// One of its pages is where another should be.
    Misplaced,
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &NameChange) {
    let mut remove = |name: &String, inode: &Inode| {
        if names.get(name) == Some(inode) {
            names.remove(name);
        }
    };
    match change {
        NameChange::Set { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Remove { name, inode } => remove(name, inode),
        NameChange::Rename { from, to, inode } => {
            remove(from, inode);
            names.insert(to.clone(), *inode);
        }
    }
}

/// Names by what a power cut did to them.
#[derive(Clone, Copy, Debug, Default)]
pub struct CutCounts {
    pub names_kept: u64,
    pub names_lost: u64,
    pub sectors: SectorCounts,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Tree {
    files: BTreeMap<Inode, SimFileData>,
    directories: BTreeMap<Inode, Directory>,
    next: Inode,
    /// Space taken by files that have a name.
    pub used: u64,
}

impl Default for Tree {
    fn default() -> Tree {
        let directories = BTreeMap::from([(ROOT, Directory::default())]);
        Tree { files: BTreeMap::new(), directories, next: ROOT + 1, used: 0 }
    }
}

impl Tree {
    fn split(path: &str) -> (&str, &str) {
        path.rsplit_once('/').unwrap_or(("", path))
    }

    /// The inode of a path.
    pub fn find(&self, path: &str) -> io::Result<Inode> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let directory = self.directories.get(&at).ok_or(ErrorKind::NotADirectory)?;
            at = *directory.cached.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    pub fn find_file(&self, path: &str) -> io::Result<Inode> {
        let inode = self.find(path)?;
        if self.files.contains_key(&inode) { Ok(inode) } else { Err(ErrorKind::IsADirectory.into()) }
    }

    pub fn is_directory(&self, inode: Inode) -> bool {
        self.directories.contains_key(&inode)
    }

    fn directory(&mut self, path: &str) -> io::Result<&mut Directory> {
        let inode = self.find(path)?;
        self.directories.get_mut(&inode).ok_or(ErrorKind::NotADirectory.into())
    }

    /// A file by inode; open handles outlive names.
    pub fn file(&self, inode: Inode) -> &SimFileData {
        self.files.get(&inode).expect("an open file stays until its process dies")
    }

    /// Changes a file and keeps account of its space.
    pub fn with_file<T>(&mut self, inode: Inode, change: impl FnOnce(&mut SimFileData) -> T) -> T {
        let file = self.files.get_mut(&inode).expect("an open file stays until its process dies");
        let before = file.space();
        let result = change(file);
        if file.links > 0 {
            self.used = self.used - before + file.space();
        }
        result
    }

    pub fn create(&mut self, path: &str) -> io::Result<Inode> {
        if let Ok(inode) = self.find_file(path) {
            self.with_file(inode, |file| file.set_len(0));
            return Ok(inode);
        }
        let (parent, name) = Tree::split(path);
        let inode = self.next;
        self.directory(parent)?.change(NameChange::Set { name: name.to_owned(), inode });
        self.next += 1;
        self.files.insert(inode, SimFileData::default());
        self.link(inode);
        Ok(inode)
    }

    fn link(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.links += 1;
            if file.links == 1 {
                self.used += file.space();
            }
        }
    }

    fn unlink_inode(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.links -= 1;
            if file.links == 0 {
                self.used -= file.space();
            }
        }
    }

    pub fn create_dir_all(&mut self, path: &str) -> io::Result<()> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let next = self.next;
            let directory = self.directories.get_mut(&at).ok_or(ErrorKind::NotADirectory)?;
            at = match directory.cached.get(name) {
                Some(inode) => *inode,
                None => {
                    directory.change(NameChange::Set { name: name.to_owned(), inode: next });
                    self.directories.insert(next, Directory::default());
                    self.next += 1;
                    next
                }
            };
        }
        Ok(())
    }

    pub fn unlink(&mut self, path: &str) -> io::Result<()> {
        let inode = self.find_file(path)?;
        let (parent, name) = Tree::split(path);
        self.directory(parent)?.change(NameChange::Remove { name: name.to_owned(), inode });
        self.unlink_inode(inode);
        Ok(())
    }

    pub fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        let inode = self.find(path)?;
        let directory = self.directories.get(&inode).ok_or(ErrorKind::NotADirectory)?;
        if !directory.cached.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = Tree::split(path);
        self.directory(parent)?.change(NameChange::Remove { name: name.to_owned(), inode });
        Ok(())
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from)?;
        let ((parent, name), (to_parent, to_name)) = (Tree::split(from), Tree::split(to));
        let replaced = match self.find(to) {
            Ok(replaced) if self.is_directory(replaced) => return Err(ErrorKind::IsADirectory.into()),
            Ok(replaced) => Some(replaced),
            Err(_) => None,
        };
        self.find(to_parent)?;
        if parent == to_parent {
            let (from, to) = (name.to_owned(), to_name.to_owned());
            self.directory(parent)?.change(NameChange::Rename { from, to, inode });
        } else {
            self.directory(to_parent)?.change(NameChange::Set { name: to_name.to_owned(), inode });
            self.directory(parent)?.change(NameChange::Remove { name: name.to_owned(), inode });
        }
        if let Some(replaced) = replaced.filter(|replaced| *replaced != inode) {
            self.unlink_inode(replaced);
        }
        Ok(())
    }

    pub fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        self.directory(path)?.sync();
        Ok(())
    }

    pub fn sync_all(&mut self) {
        self.files.values_mut().for_each(SimFileData::sync);
        self.directories.values_mut().for_each(Directory::sync);
    }

    pub fn fail_sync_all(&mut self, dice: &mut Dice) {
        self.files.values_mut().for_each(|file| file.fail_sync(dice));
    }

    pub fn list(&self, path: &str) -> io::Result<Vec<(String, bool)>> {
        let inode = self.find(path)?;
        let directory = self.directories.get(&inode).ok_or(ErrorKind::NotADirectory)?;
        Ok(directory.cached.iter().map(|(name, inode)| (name.clone(), self.is_directory(*inode))).collect())
    }

    /// Files that a sync would have something to do for.
    pub fn unsynced_files(&self) -> usize {
        self.files.values().filter(|file| file.needs_sync()).count()
    }

    /// Harms one of the wanted files under a directory; says which one.
    pub fn harm(
        &mut self,
        dice: &mut Dice,
        harm: Harm,
        directory: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let mut paths = Vec::new();
        let mut open = vec![directory.to_owned()];
        while let Some(at) = open.pop() {
            for (name, is_directory) in self.list(&at).ok()? {
                let path = if at.is_empty() { name } else { format!("{at}/{name}") };
                match is_directory {
                    true => open.push(path),
                    false if is_wanted(&path) => paths.push(path),
                    false => {}
                }
            }
        }
        let path = paths.get(dice.index(paths.len().max(1)))?.clone();
        let inode = self.find_file(&path).ok()?;
        match harm {
            Harm::Bit => self.files.get_mut(&inode)?.rot(dice)?,
            Harm::Head => self.files.get_mut(&inode)?.behead(dice)?,
            Harm::Misplaced => self.files.get_mut(&inode)?.misplace(dice)?,
            Harm::Cut => self.with_file(inode, |file| file.cut(dice)),
            Harm::Gone => {
                let (parent, name) = Tree::split(&path);
                self.directory(parent).ok()?.lose(name);
                self.unlink_inode(inode);
            }
        }
        Some(path)
    }

    /// The power goes. Every change of a name that was not synced is kept or lost for itself, unless this cut
    /// (`all`) keeps or loses them together.
    pub fn power_cut(&mut self, dice: &mut Dice, sector_bytes: usize) -> CutCounts {
        let mut counts = CutCounts::default();
        let all = match dice.below(4) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        for directory in self.directories.values_mut() {
            for change in std::mem::take(&mut directory.pending) {
                if all.unwrap_or_else(|| dice.coin()) {
                    apply(&mut directory.durable, &change);
                    counts.names_kept += 1;
                } else {
                    counts.names_lost += 1;
                }
            }
            directory.cached = directory.durable.clone();
        }
        for file in self.files.values_mut() {
            if !file.needs_sync() && !file.has_dropped() {
                continue;
            }
            let fate = match dice.below(6) {
                0 => Fate::Old,
                1 => Fate::New,
                2 => Fate::Prefix,
                _ => Fate::Mixed,
            };
            let sectors = file.power_cut(dice, sector_bytes, fate);
            counts.sectors.old += sectors.old;
            counts.sectors.new += sectors.new;
            counts.sectors.shorn += sectors.shorn;
            counts.sectors.garbage += sectors.garbage;
        }
        self.forget_unreachable();
        counts
    }

    /// Drops what no name leads to, in the cache or on the platter (its handles are dead), and counts space anew.
    pub fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut links: BTreeMap<Inode, u32> = BTreeMap::new();
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            let Some(directory) = self.directories.get(&inode) else { continue };
            for child in directory.cached.values() {
                *links.entry(*child).or_default() += 1;
            }
            for child in directory.cached.values().chain(directory.durable.values()) {
                if reached.insert(*child) {
                    open.push(*child);
                }
            }
            for change in &directory.pending {
                if let NameChange::Set { inode, .. }
                | NameChange::Remove { inode, .. }
                | NameChange::Rename { inode, .. } = change
                    && reached.insert(*inode)
                {
                    open.push(*inode);
                }
            }
        }
        self.files.retain(|inode, _| reached.contains(inode));
        self.directories.retain(|inode, _| reached.contains(inode));
        self.used = 0;
        for (inode, file) in &mut self.files {
            file.links = links.get(inode).copied().unwrap_or_default();
            if file.links > 0 {
                self.used += file.space();
            }
        }
    }
}
