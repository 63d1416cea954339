//! Leader epochs: records that were sent and acknowledged within one life of one node carry epochs that no other life of any
//! node has, and the epochs of a log never go back. What clients rely on to notice a log that was cut (KIP-101).

use super::HostIndex;
use crate::outcome::Failure;
use std::collections::BTreeMap;

/// A process: its host, and which of that host's.
type Process = (HostIndex, u64);

/// What clients know of epochs. Places are (partition, offset of a batch).
#[derive(Debug, Default)]
pub struct Epochs {
    processes: BTreeMap<(u32, i64), Process>,
    read: BTreeMap<(u32, i64), i32>,
}

impl Epochs {
    /// A batch was sent once and acknowledged by the same process.
    pub fn placed(&mut self, partition: u32, base_offset: i64, process: Process) {
        self.processes.insert((partition, base_offset), process);
    }

    /// The final read found a batch with this epoch.
    pub fn found(&mut self, partition: u32, base_offset: i64, epoch: i32) {
        self.read.insert((partition, base_offset), epoch);
    }

    /// Compares neighbours in the log; says how many were compared over a change of the process. The only node of a world
    /// never loses its leadership: within one life its epoch stays.
    ///
    /// # Errors
    /// An epoch that went back, did not rise with the process, or changed within the only one.
    pub fn judge(&self, is_alone: bool) -> Result<u64, Failure> {
        let mut premises = 0;
        let mut before: Option<(u32, Process, i32)> = None;
        for (place, epoch) in &self.read {
            let Some(process) = self.processes.get(place) else { continue };
            if let Some((partition, older, older_epoch)) = before
                && partition == place.0
            {
                premises += u64::from(*process != older);
                let is_older = process.0 == older.0 && process.1 < older.1;
                let holds = match *process == older {
                    false => *epoch > older_epoch && !is_older,
                    true => *epoch == older_epoch || *epoch > older_epoch && !is_alone,
                };
                if !holds {
                    let detail = format!(
                        "{place:?} of (host, life) {process:?} has epoch {epoch}, behind epoch {older_epoch} of {older:?}"
                    );
                    return Err(Failure::new("leader epoch rises with each leader", detail));
                }
            }
            before = Some((place.0, *process, *epoch));
        }
        Ok(premises)
    }
}
