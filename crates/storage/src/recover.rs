//! The explicit way back for a damaged node.

use crate::disk::Disk;
use std::io;

/// Losses that were accepted, in words for the log.
pub fn notes<D: Disk>(_disk: &D) -> io::Result<Vec<String>> {
    Ok(Vec::new())
}
