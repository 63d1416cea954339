//! Leader epochs: records that were sent and acknowledged within one life of the node carry one epoch, and those of a
//! later life a higher one. What clients rely on to notice a log that was cut (KIP-101).

use crate::outcome::Failure;
use std::collections::BTreeMap;

/// What clients know of epochs. Places are (partition, offset of a batch).
#[derive(Debug, Default)]
pub struct Epochs {
    lives: BTreeMap<(u32, i64), u64>,
    read: BTreeMap<(u32, i64), i32>,
}

impl Epochs {
    /// A batch was sent once and acknowledged in the same life.
    pub fn placed(&mut self, partition: u32, base_offset: i64, life: u64) {
        self.lives.insert((partition, base_offset), life);
    }

    /// The final read found a batch with this epoch.
    pub fn found(&mut self, partition: u32, base_offset: i64, epoch: i32) {
        self.read.insert((partition, base_offset), epoch);
    }

    /// Compares neighbours in the log; says how many were compared over a restart.
    ///
    /// # Errors
    /// An epoch that did not rise with the life, or changed within one.
    pub fn judge(&self) -> Result<u64, Failure> {
        let mut premises = 0;
        let mut before: Option<(u32, u64, i32)> = None;
        for (place, epoch) in &self.read {
            let Some(life) = self.lives.get(place) else { continue };
            if let Some((partition, older_life, older_epoch)) = before
                && partition == place.0
            {
                premises += u64::from(*life > older_life);
                let holds = match life.cmp(&older_life) {
                    std::cmp::Ordering::Greater => *epoch > older_epoch,
                    std::cmp::Ordering::Equal => *epoch == older_epoch,
                    std::cmp::Ordering::Less => false,
                };
                if !holds {
                    let detail = format!(
                        "{place:?} of life {life} has epoch {epoch}, behind epoch {older_epoch} of life {older_life}"
                    );
                    return Err(Failure::new("leader epoch rises with each life", detail));
                }
            }
            before = Some((place.0, *life, *epoch));
        }
        Ok(premises)
    }
}
