//! Bits of acknowledged segments that rot under a living node. What lies in that segment may be refused from then on,
//! and nothing else may: not its neighbours, and never may it be served wrong.

use super::World;
use super::client::Damage;
use kafka::wire::Uuid;

/// Bits that rot in one seed at most: the rest of the world goes on being judged.
const ROTTEN_MAX: usize = 2;

impl World {
    /// Lets a bit of a segment rot, if this seed has that trouble (worlds of one node).
    pub(super) fn rot(&mut self) {
        if !self.swarm.rot || self.damage.len() >= ROTTEN_MAX || self.hosts[0].live.is_none() {
            return;
        }
        let Some((path, _)) = self.hosts[0].disk.rot("segments") else { return };
        // A rotten index is built again; nobody notices.
        let Some(damage) = segment(&path) else { return };
        self.counters.count("world: segment rotten");
        self.damage.push(damage);
        self.bound_damage();
    }

    /// A damaged segment ends where the next one begins, once there is one.
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
