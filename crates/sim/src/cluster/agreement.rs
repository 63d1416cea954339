//! Replicas that have applied as much of a shard's log are in the same state, byte by byte: what an entry does depends on nothing
//! but the entries before it. And once everything is healed, all of them come to have as much.

use super::{HEALED_MAX, World};
use crate::outcome::Failure;
use model::{LogIndex, ShardId};
use std::collections::BTreeMap;

const PROPERTY: &str = "replicas-agree";

impl World {
    /// Waits until all replicas of each shard have come equally far, and compares them.
    pub(super) fn agree(&mut self) -> Result<(), Failure> {
        if self.hosts.len() == 1 {
            return Ok(());
        }
        let end = self.queue.now().plus(HEALED_MAX);
        if !self.until(end, |world| world.are_abreast() && world.has_level_of_all())? {
            let heads: Vec<String> =
                self.heads().iter().map(|(shard, heads)| format!("{shard:?}: {heads:?}")).collect();
            let status = self.status();
            let text = format!(
                "some stay behind, by how much they have applied, or by the level: {}; {status}",
                heads.join(", ")
            );
            return Err(Failure::new(PROPERTY, text));
        }
        let mut states = BTreeMap::new();
        for (at, live) in
            self.hosts.iter().enumerate().filter_map(|(at, host)| Some((at, host.live.as_ref()?)))
        {
            for state in live.node().states() {
                let (first, known) = states.entry(state.shard).or_insert_with(|| (at, state.clone()));
                if known.state != state.state {
                    let (shard, index) = (state.shard.0, state.applied.0);
                    let text =
                        format!("shard {shard} at entry {index} is not the same on hosts {first} and {at}");
                    return Err(Failure::new(PROPERTY, text));
                }
                self.counters.add(PROPERTY, u64::from(at != *first));
            }
        }
        Ok(())
    }

    /// The cluster has the protocol level that every node speaks, and no higher one.
    fn has_level_of_all(&self) -> bool {
        let spoken = self.hosts.iter().map(|host| host.level).min();
        let mut live = self.hosts.iter().filter_map(|host| host.live.as_ref());
        live.all(|live| Some(live.node().level()) == spoken)
    }

    pub(super) fn are_abreast(&self) -> bool {
        let all_live = self.hosts.iter().all(|host| host.live.is_some());
        all_live && self.heads().values().all(|heads| heads.iter().all(|head| *head == heads[0]))
    }

    /// How far the replicas of each shard have come.
    fn heads(&self) -> BTreeMap<ShardId, Vec<LogIndex>> {
        let mut heads: BTreeMap<ShardId, Vec<LogIndex>> = BTreeMap::new();
        for live in self.hosts.iter().filter_map(|host| host.live.as_ref()) {
            for (shard, applied) in live.node().applied() {
                heads.entry(shard).or_default().push(applied);
            }
        }
        heads
    }
}
