//! WAL, segments, checkpoint and recovery, written as synchronous code over the `Disk` trait.
