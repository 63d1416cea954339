//! Acknowledged segments that are damaged under living nodes. Of one node a bit or two rot for good: what lies in that segment may
//! be refused from then on, and nothing else may. Of several nodes one at a time has damage, bits or a lost end or a whole file; all
//! of it is mended from the others in the end. Never may anything be served wrong.

use super::client::Damage;
use super::lanes::Lane;
use super::{HEALED_MAX, HostIndex, World};
use crate::disk::Harm;
use crate::outcome::Failure;
use kafka::wire::Uuid;
use model::job::{Done, SegmentRead};
use std::collections::BTreeSet;

/// Bits that rot in one seed at most where nobody mends them: the rest of the world goes on being judged.
const ROTTEN_MAX: usize = 2;
const VERIFIED_BYTES: usize = 1 << 20;
const PROPERTY: &str = "damaged segments are mended";

/// A node whose segments were harmed: its process then, and how often that had read all segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Harmed {
    life: u64,
    passes: u64,
}

impl World {
    /// Damages a segment, if this seed has that trouble.
    pub(super) fn rot(&mut self) {
        match self.hosts.len() {
            _ if !self.swarm.rot => {}
            1 => self.rot_for_good(),
            _ => self.harm_one_of_many(),
        }
    }

    fn rot_for_good(&mut self) {
        if self.damage.len() >= ROTTEN_MAX || self.hosts[0].live.is_none() {
            return;
        }
        let Some(path) = self.hosts[0].disk.harm(Harm::Bit, "segments", |_| true) else { return };
        // A rotten index is built again; nobody notices.
        let Some(damage) = segment(&path) else { return };
        self.counters.count("world: segment rotten");
        self.damage.push(damage);
        self.bound_damage();
    }

    /// One at a time: the others have what it lacks, unless they never had it.
    fn harm_one_of_many(&mut self) {
        let at = self.dice.index(self.hosts.len());
        if self.harmed.keys().any(|harmed| *harmed != at) && !self.is_mended() {
            return;
        }
        let harm = [Harm::Bit, Harm::Bit, Harm::Cut, Harm::Gone][self.dice.index(4)];
        if self.harm_segment(at, harm, |_| true) {
            self.harmed.retain(|harmed, _| *harmed == at);
        }
    }

    /// Harms a segment of a node whose partition is wanted and is on other nodes too; says whether there was one.
    fn harm_segment(&mut self, at: HostIndex, harm: Harm, is_wanted: impl Fn(i32) -> bool) -> bool {
        let kept: BTreeSet<[u8; 16]> =
            self.topics.iter().filter(|topic| topic.replicas > 1).map(|topic| topic.id.0).collect();
        let is_kept = |path: &str| {
            segment(path).is_some_and(|damage| kept.contains(&damage.topic.0) && is_wanted(damage.index))
        };
        if self.hosts[at].disk.harm(harm, "segments", is_kept).is_none() {
            return false;
        }
        self.counters.count("world: segment damaged");
        self.harmed.insert(at, self.harmed_now(at));
        true
    }

    /// Of a script: harms a segment of this node, or of one that is not whole yet.
    pub(super) fn harm_one(&mut self, at: HostIndex, harm: Harm) {
        let still = self.harmed.keys().copied().find(|harmed| !self.is_node_mended(*harmed));
        self.harm_segment(still.unwrap_or(at), harm, |_| true);
    }

    /// Of a script: harms a segment of every node, each in partitions of its own.
    pub(super) fn harm_each(&mut self, harm: Harm) {
        let nodes = self.hosts.len();
        for at in 0..nodes {
            self.harm_segment(at, harm, |index| index as usize % nodes == at);
        }
    }

    fn harmed_now(&self, at: HostIndex) -> Harmed {
        let host = &self.hosts[at];
        let passes = host.live.as_ref().map_or(0, |live| live.node().scrub_passes());
        Harmed { life: host.life, passes }
    }

    /// Whether a client may meet damage.
    pub(super) fn was_harmed(&self) -> bool {
        !self.harmed.is_empty() || !self.damage.is_empty() || self.swarm.disk.read_error > 0
    }

    fn is_mended(&self) -> bool {
        self.harmed.keys().all(|harmed| self.is_node_mended(*harmed))
    }

    /// A node that was harmed has read all its segments since, and has found nothing that it did not mend.
    fn is_node_mended(&self, at: HostIndex) -> bool {
        let (host, harmed) = (&self.hosts[at], self.harmed[&at]);
        host.live.as_ref().is_some_and(|live| {
            // The pass under way then may have gone by already.
            let passes = if host.life == harmed.life { harmed.passes + 2 } else { 1 };
            live.node().damaged_segments() == 0 && live.node().scrub_passes() >= passes
        })
    }

    /// Waits until all is mended, and reads every segment of every node to see whether it is.
    pub(super) fn all_mended(&mut self) -> Result<(), Failure> {
        if self.harmed.is_empty() {
            return Ok(());
        }
        let is_still = |world: &World| {
            let mut live = world.hosts.iter().map(|host| host.live.as_ref());
            live.all(|live| live.is_some_and(|live| live.lanes[Lane::Segments as usize].is_idle()))
        };
        // What a replica holds that has no state for it yet is read when it has: the passes up to then do not count.
        self.until(self.queue.now().plus(HEALED_MAX), World::are_abreast)?;
        // Damage to what no state knew yet may have been found later than the world took it for mended: all nodes count.
        self.harmed = (0..self.hosts.len()).map(|at| (at, self.harmed_now(at))).collect();
        let end = self.queue.now().plus(HEALED_MAX);
        if !self.until(end, |world| world.is_mended() && is_still(world))? {
            let status = self.status();
            return Err(Failure::new(PROPERTY, status));
        }
        for live in self.hosts.iter().filter_map(|host| host.live.as_ref()) {
            for (partition, segment, log_start) in live.node().segments() {
                let mut offset = segment.base_offset.max(log_start);
                while offset < segment.end_offset {
                    let read = SegmentRead { partition, segment, offset, bytes_max: VERIFIED_BYTES };
                    offset = match live.reader.verify(&read) {
                        Ok(Done::Verify(Some(next))) => next,
                        other => return Err(Failure::new(PROPERTY, format!("{read:?}: {other:?}"))),
                    };
                }
            }
        }
        self.counters.count("world: all segments whole again");
        Ok(())
    }

    /// A segment that is damaged for good ends where the next one begins, once there is one.
    pub(super) fn bound_damage(&mut self) {
        for damage in self.damage.iter_mut().filter(|damage| damage.to.is_none()) {
            let hex: String = damage.topic.0.iter().map(|byte| format!("{byte:02x}")).collect();
            let names = self.hosts[0].disk.peek(&format!("segments/{hex}/{}", damage.index));
            damage.to =
                names.iter().filter_map(|name| base_offset(name)).filter(|base| *base > damage.from).min();
        }
    }
}

/// Which segment a path is.
fn segment(path: &str) -> Option<Damage> {
    let mut parts = path.strip_prefix("segments/")?.split('/');
    let (hex, index, name) = (parts.next()?, parts.next()?, parts.next()?);
    let mut topic = [0; 16];
    for (at, byte) in topic.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(Damage { topic: Uuid(topic), index: index.parse().ok()?, from: base_offset(name)?, to: None })
}

fn base_offset(name: &str) -> Option<i64> {
    name.strip_suffix(".seg")?.parse().ok()
}
