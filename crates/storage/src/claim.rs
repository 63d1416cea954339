//! Taking a data directory: locked, known whose it is, and whether it takes part. One that waits holds nothing. A disk gives its place to
//! the node's next replica by becoming one that waits; what was on it goes to quarantine.

use crate::checkpoint::SLOTS;
use crate::disk::Disk;
use crate::identity::{self, Identity, Standing};
use crate::open::{OpenError, Opened, Options, find_identity, open_claimed};
use crate::wal::files;
use crate::{recover, segments, sweep};
use model::{DiskId, NodeId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// A data directory that this process holds.
#[derive(Debug)]
pub struct Claimed<D: Disk> {
    disk: Arc<D>,
    options: Options,
    identity: Identity,
}

/// Takes a data directory, a new one when it is empty. Its files are not looked at.
///
/// # Errors
/// As of `open`.
pub fn claim<D: Disk>(disk: Arc<D>, options: Options) -> Result<Claimed<D>, OpenError> {
    // Once without the lock, which is a file: a directory of something else stays as it was.
    find_identity(&*disk, &options)?;
    if !disk.lock()? {
        return Err(OpenError::Locked);
    }
    let identity = find_identity(&*disk, &options)?;
    if let Standing::Waits { .. } = identity.standing {
        // A new one waits under this id from now on; one that gave its place away may have been stopped on the way.
        identity::store(&*disk, &identity)?;
        empty(&*disk)?;
    }
    Ok(Claimed { disk, options, identity })
}

impl<D: Disk> Claimed<D> {
    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The cluster named it, or begins with it and these others: from now on it takes part as this replica of its node. Durable when this
    /// returns. One that took part so far was found damaged: it is emptied first.
    ///
    /// # Errors
    /// The device's or the file system's; it waits still, or takes part at the next start.
    pub fn take_part(&mut self, replica: u32, founders: &BTreeMap<NodeId, DiskId>) -> Result<(), OpenError> {
        if let (Standing::TakesPart, Some(disk)) = (self.identity.standing, self.identity.disk) {
            self.renounce(disk.successor(), true)?;
        }
        let mut named = Identity { replica, standing: Standing::TakesPart, ..self.identity };
        let mut others = founders.iter().map(|(node, disk)| (*node, *disk));
        named.founders = std::array::from_fn(|_| others.next());
        identity::store(&*self.disk, &named)?;
        self.identity = named;
        Ok(())
    }

    /// Another disk has its place: it gives up what is on it, and waits.
    ///
    /// # Errors
    /// As of `renounce`.
    pub fn give_up(&mut self) -> Result<(), OpenError> {
        self.renounce(self.identity.disk.unwrap_or_default().successor(), false)
    }

    /// Gives up what is on it: it waits under another id, whatever happens from here on. `takes_over`: to take its own place as the next
    /// replica, without anybody's word.
    ///
    /// # Errors
    /// The device's or the file system's; before the first step is durable all is as it was, behind it the next start goes on.
    pub fn renounce(&mut self, fresh: DiskId, takes_over: bool) -> Result<(), OpenError> {
        let replaces = self.identity.disk.filter(|_| takes_over);
        let waits = Identity { disk: Some(fresh), standing: Standing::Waits { replaces }, ..self.identity };
        identity::store(&*self.disk, &waits)?;
        self.identity = waits;
        Ok(empty(&*self.disk)?)
    }

    /// Opens it.
    ///
    /// # Errors
    /// As of `open`.
    pub fn open(&self) -> Result<Opened<D>, OpenError> {
        open_claimed(&self.disk, self.options, self.identity)
    }
}

/// Moves everything of an earlier replica to quarantine.
fn empty<D: Disk>(disk: &D) -> io::Result<()> {
    let of_a_replica = [SLOTS[0], SLOTS[1], files::DIRECTORY, segments::DIRECTORY, recover::LOSSES];
    let mut found = Vec::new();
    for name in of_a_replica {
        if disk.exists(name)? {
            found.push(name.to_owned());
        }
    }
    sweep::quarantine(disk, &found, &mut Vec::new())
}
