//! WAL, segments, checkpoint and recovery, written as synchronous code over the `Disk` trait: the stop between what
//! consensus orders and what a disk keeps. `open` gives three lanes (`Wal`, `Segments`, `Reader`), each for a thread of
//! its own, and what was recovered. Knows no socket, no clock and no thread; docs/formats.md draws the bytes.

mod checkpoint;
mod claim;
pub mod disk;
mod identity;
pub mod inspect;
mod known;
mod layout;
mod lru;
mod mutant;
mod open;
pub mod recover;
mod reserve;
mod segments;
mod sweep;
mod wal;

pub use claim::{Claimed, claim};
pub use disk::{Disk, DiskFile, RealDisk};
pub use identity::{Identity, Standing};
pub use mutant::Mutant;
pub use open::{OpenError, Opened, Options, open};
pub use segments::Segments;
pub use segments::read::Reader;
pub use wal::{Wal, WalSizes};

#[cfg(test)]
mod tests;
