//! Disks that are lost under a living cluster, one at a time: the host comes back with an empty one, an administrator gives its node's
//! place to it, and later the old one may be put back. Nothing acknowledged may be lost, and in the end every node takes part.

use super::host::node_id;
use super::{HEALED_MAX, Happening, HostIndex, ROOMY, World};
use crate::dice::Dice;
use crate::disk::{Harm, SimDisk};
use crate::outcome::Failure;
use broker::request::{ClientInfo, ConnectionId, RemoveRaftVoter, Token};
use broker::{Event, Request};
use model::{DiskId, Mono, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;
use storage::Standing;

/// Disks that one seed loses at most.
const LOSSES_MAX: u32 = 4;
/// … and at least, before its faults end by what clients have done.
const LOSSES_WANTED: u32 = 3;
/// For these clients go on so long at most, virtual time.
const WANTED_FOR: Duration = Duration::from_secs(12);
/// Records that a replica fetches while it catches up, bytes a second at least: it gets everything again and again here.
const CATCH_UP_RATE_MIN: u64 = 8 << 20;
/// How often the world looks whether a disk may be lost, and whether one waits for its node's place.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Whose requests the administrator's are.
const ADMINISTRATOR: ConnectionId = ConnectionId(u64::MAX);

/// What this seed does to disks.
pub(super) struct Losses {
    dice: Dice,
    lost: u32,
    /// Disks that were lost and may be found again.
    kept: BTreeMap<HostIndex, SimDisk>,
    /// The host whose log was damaged, and is not replaced yet.
    damaged: Option<HostIndex>,
    asked: u64,
}

impl World {
    /// A quarter of the worlds with several nodes lose disks. Every record is on more than one there, and none of them has other damage.
    pub(super) fn may_lose_disks(&mut self, mut dice: Dice) {
        if self.hosts.len() > 1 && dice.below(4) == 0 {
            self.swarm.rot = false;
            self.swarm.catch_up_rate = self.swarm.catch_up_rate.max(CATCH_UP_RATE_MIN);
            self.topics.iter_mut().for_each(|topic| topic.replicas = topic.replicas.max(3));
            self.look_after_disks(dice, 0);
        }
    }

    /// From now on an administrator gives the places of lost disks to those that wait for them; `lost` of those that are lost by chance
    /// count as lost already.
    fn look_after_disks(&mut self, dice: Dice, lost: u32) {
        self.losses = Some(Losses { dice, lost, kept: BTreeMap::new(), damaged: None, asked: 0 });
        self.queue.after(LOOK_EVERY, Happening::Loss);
    }

    /// Of a script: this node's disk is lost, and kept.
    pub(super) fn lose_disk_of(&mut self, at: HostIndex) {
        self.lose_by_script();
        let seed = self.dice.next();
        self.swap_disk(at, seed, true);
    }

    /// Of a script: a disk that was lost is found and put back.
    pub(super) fn put_disk_back(&mut self) {
        let kept = self.losses.as_ref().and_then(|losses| losses.kept.keys().next().copied());
        if let Some(at) = kept {
            self.swap_disk(at, 0, false);
        }
    }

    /// Of a script: this node dies, and its next start finds damage in files whose paths end so.
    pub(super) fn damage_files_of(&mut self, at: HostIndex, ending: &'static str) {
        self.lose_by_script();
        self.damage_file(at, "", ending);
    }

    /// Nothing is lost by chance.
    fn lose_by_script(&mut self) {
        if self.losses.is_none() {
            let dice = self.dice.fork();
            self.look_after_disks(dice, LOSSES_MAX);
        }
    }

    pub(super) fn on_loss(&mut self) {
        let is_settled = self.disks_are_settled();
        let healed = self.healed;
        let Some(losses) = &mut self.losses else { return };
        losses.damaged.take_if(|_| is_settled);
        if is_settled && healed {
            return;
        }
        if is_settled && losses.lost < LOSSES_MAX && losses.dice.below(3) == 0 {
            let kept = losses.kept.keys().next().copied().filter(|_| losses.dice.below(4) > 0);
            let at = kept.unwrap_or_else(|| losses.dice.index(self.hosts.len()));
            match kept.is_none() && losses.dice.below(3) == 0 {
                true => self.damage_file(at, "wal", ".wal"),
                false => self.lose_disk(at),
            }
        } else if losses.dice.below(8) == 0 {
            self.replace_one();
        }
        self.queue.after(LOOK_EVERY, Happening::Loss);
    }

    /// Whether every node's disk takes part in all its shards, and all nodes say so: then one may be lost.
    fn disks_are_settled(&self) -> bool {
        let named = |at: HostIndex| self.hosts[at].live.as_ref().and_then(|live| live.node().settled_disks());
        let Some(disks) = named(0) else { return false };
        (0..self.hosts.len()).all(|at| {
            let own = self.hosts[at].live.as_ref().and_then(|live| live.claimed().identity().disk);
            own.is_some() && disks.get(&node_id(at)) == own.as_ref() && named(at).as_ref() == Some(&disks)
        })
    }

    /// The host dies, and its next start finds the first bytes of a file damaged.
    fn damage_file(&mut self, at: HostIndex, directory: &str, ending: &str) {
        let kind = self.crash_kind();
        self.kill(at, kind);
        let is_meant = |path: &str| path.ends_with(ending);
        if self.hosts[at].disk.harm(Harm::Head, directory, is_meant).is_some() {
            self.counters.count("world: file damaged");
            let losses = self.losses.as_mut().expect("this world has them");
            (losses.lost, losses.damaged) = (losses.lost + 1, Some(at));
        }
    }

    /// Whether this host's log may be found damaged.
    pub(super) fn has_damaged_log(&self, at: HostIndex) -> bool {
        self.losses.as_ref().is_some_and(|losses| losses.damaged == Some(at))
    }

    /// A disk is lost, and perhaps kept.
    fn lose_disk(&mut self, at: HostIndex) {
        let losses = self.losses.as_mut().expect("this seed has them");
        losses.lost += 1;
        let (seed, is_kept) = (losses.dice.next(), losses.dice.below(4) > 0);
        self.swap_disk(at, seed, is_kept);
    }

    /// The host dies and comes back with an empty disk, or with one that it had before.
    fn swap_disk(&mut self, at: HostIndex, seed: u64, is_kept: bool) {
        let kind = self.crash_kind();
        self.kill(at, kind);
        let losses = self.losses.as_mut().expect("this world has them");
        let found = losses.kept.remove(&at);
        self.counters.count(match found {
            Some(_) => "world: lost disk put back",
            None => "world: disk lost",
        });
        let next = found.unwrap_or_else(|| SimDisk::new(seed, ROOMY));
        let lost = std::mem::replace(&mut self.hosts[at].disk, next);
        if is_kept {
            losses.kept.insert(at, lost);
        }
    }

    /// The administrator's word about a disk that waits, at any node that takes part. Not heard by the others, it is said again.
    fn replace_one(&mut self) {
        let waits = |at: &HostIndex| {
            let identity = self.hosts[*at].live.as_ref()?.claimed().identity();
            let waits = matches!(identity.standing, Standing::Waits { replaces: None });
            identity.disk.filter(|_| waits)
        };
        let waiting: Vec<(HostIndex, DiskId)> =
            (0..self.hosts.len()).filter_map(|at| Some((at, waits(&at)?))).collect();
        let Some(losses) = &mut self.losses else { return };
        let by = losses.dice.index(self.hosts.len());
        let Some((at, fresh)) = waiting.first().copied().filter(|(at, _)| *at != by) else { return };
        let node = node_id(at);
        let named = |by: HostIndex, node: NodeId| {
            let host = &self.hosts[by];
            host.live.as_ref().filter(|_| !host.is_stopped)?.node().named_disk(node)
        };
        let Some(before) = named(by, node).filter(|named| *named != fresh) else { return };
        losses.asked += 1;
        let token = Token(u64::MAX - losses.asked);
        let request = RemoveRaftVoter { cluster_id: None, node, disk: Some(before) };
        let client = ClientInfo { client_id: "administrator".into(), host: "client".into() };
        let request = Request::RemoveRaftVoter(request);
        self.step(by, Event::Request { token, connection: ADMINISTRATOR, client: client.into(), request });
    }

    /// Whether this seed's disks have been through enough.
    pub(super) fn has_lost_enough(&self) -> bool {
        let is_late = self.queue.now() >= Mono(0).plus(WANTED_FOR);
        self.losses.as_ref().is_none_or(|losses| losses.lost >= LOSSES_WANTED || is_late)
    }

    /// Waits until every disk takes part.
    pub(super) fn all_take_part(&mut self) -> Result<(), Failure> {
        if self.losses.is_none() {
            return Ok(());
        }
        let end = self.queue.now().plus(HEALED_MAX);
        if self.until(end, |world| {
            world.disks_are_settled() || world.losses.as_ref().is_some_and(|losses| losses.lost == 0)
        })? {
            return Ok(());
        }
        let status = self.status();
        Err(Failure::new("a replaced disk takes part in the end", status))
    }
}
