//! Space put by for the day on which the disk is full: a start must make the log's end durable in a new file, and whoever
//! deletes then needs a log to write that into (docs/decisions/0008). A start without space gives it back; it is put by again
//! once there is space.

use crate::disk::{Disk, DiskFile, is_no_space};
use crate::wal::WalSizes;
use std::io;

/// Path of the file; what is in it has no meaning.
pub const PATH: &str = "reserve";

/// The space, as one process sees it.
#[derive(Debug)]
pub struct Reserve {
    bytes: u64,
    is_put_by: bool,
}

impl Reserve {
    /// Nothing is put by yet. There is to be room for a first log file, and as much again for checkpoint and identity.
    pub fn new(sizes: &WalSizes) -> Reserve {
        Reserve { bytes: 2 * sizes.first_file_bytes, is_put_by: false }
    }

    /// Puts the space by, unless it is or there is none.
    pub fn put_by<D: Disk>(&mut self, disk: &D) -> io::Result<()> {
        if self.is_put_by {
            return Ok(());
        }
        match self.take(disk) {
            Ok(()) => self.is_put_by = true,
            Err(error) if is_no_space(&error) => drop(give_back(disk)?),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take<D: Disk>(&self, disk: &D) -> io::Result<()> {
        let file = if disk.exists(PATH)? { disk.open(PATH)? } else { disk.create(PATH)? };
        if file.len()? < self.bytes {
            file.allocate(self.bytes)?;
            file.sync_data()?;
            disk.sync_dir("")?;
        }
        Ok(())
    }
}

/// Gives the space back; `false` when none was put by.
pub fn give_back<D: Disk>(disk: &D) -> io::Result<bool> {
    if !disk.exists(PATH)? {
        return Ok(false);
    }
    disk.unlink(PATH)?;
    disk.sync_dir("")?;
    Ok(true)
}
