//! WAL, segments, checkpoint and recovery, written as synchronous code over the `Disk` trait.

pub mod disk;

pub use disk::{Disk, DiskFile, RealDisk};
