//! Is a peer node gone? One judge per node pair, fed by the heartbeat stream between nodes, off the data path and shared
//! by all shards. Its verdict opens the vote filter (`Group::open_vote_filter`) of the shards that the node led and lets
//! their elections start at once. It is evidence for liveness only: no promise rests on it.
//!
//! Gone is: a reconnect that was refused after a reset, or silence beyond a bound that grows with the jitter seen.

use model::Mono;
use std::time::Duration;

/// Each node says "here" this often to each other node.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);
/// Silence shorter than this is never evidence.
pub const SILENCE_MIN: Duration = Duration::from_millis(250);
/// Silence longer than this always is; a node that needs more patience reports itself degraded.
pub const SILENCE_MAX: Duration = Duration::from_millis(500);
/// The bound is this many times the largest jitter of the last thousand heartbeats (their p99.9).
const JITTER_FACTOR: u32 = 10;
/// Heartbeats in one half of the window that jitter is remembered for.
const HALF_WINDOW: u32 = 500;
/// A gap between two looks at the clock that is longer than this is this node's own stall.
const OWN_STALL: Duration = Duration::from_millis(150);

/// What one node knows of another one's life.
#[derive(Clone, Debug)]
pub struct Evidence {
    heard: Mono,
    looked: Mono,
    refused: bool,
    /// Largest jitter in the half window that is filling, and in the one before.
    jitter: [Duration; 2],
    heartbeats: u32,
}

impl Evidence {
    /// The peer is given the benefit of the doubt from `now` on.
    pub fn new(now: Mono) -> Evidence {
        Evidence { heard: now, looked: now, refused: false, jitter: [Duration::ZERO; 2], heartbeats: 0 }
    }

    /// A heartbeat (or anything else that its node sent just now) arrived.
    pub fn on_heartbeat(&mut self, now: Mono) {
        let gap = now.since(self.heard);
        if gap < SILENCE_MAX {
            let late = gap.saturating_sub(HEARTBEAT_INTERVAL);
            self.jitter[0] = self.jitter[0].max(late);
        }
        self.heartbeats += 1;
        if self.heartbeats == HALF_WINDOW {
            self.heartbeats = 0;
            self.jitter = [Duration::ZERO, self.jitter[0]];
        }
        (self.heard, self.refused) = (now, false);
    }

    /// After a reset the reconnect was refused: nobody listens there. A reset alone is no evidence.
    pub fn on_refused(&mut self) {
        self.refused = true;
    }

    /// After a reset the reconnect was accepted.
    pub fn on_connected(&mut self, now: Mono) {
        (self.heard, self.refused) = (now, false);
    }

    /// Silence beyond this is evidence.
    pub fn bound(&self) -> Duration {
        (self.jitter[0].max(self.jitter[1]) * JITTER_FACTOR).clamp(SILENCE_MIN, SILENCE_MAX)
    }

    /// True when jitter asks for more patience than `SILENCE_MAX`: this node pair is degraded.
    pub fn is_degraded(&self) -> bool {
        self.jitter[0].max(self.jitter[1]) * JITTER_FACTOR > SILENCE_MAX
    }

    /// The verdict. Call at least every `HEARTBEAT_INTERVAL`: a longer pause between calls is this node's own stall, for
    /// which nobody else is blamed.
    pub fn is_gone(&mut self, now: Mono) -> bool {
        if now.since(self.looked) > OWN_STALL {
            self.heard = self.heard.max(now);
        }
        self.looked = now;
        self.refused || now.since(self.heard) > self.bound()
    }
}

/// The order in which the voters that are left stand for election of a shard: 0 at once, others later by a step each, so
/// that votes do not split. Spread by shard, so that one node does not inherit all; those that are `idle` stand behind the others.
pub fn candidate_rank(
    shard: model::ShardId,
    node: u64,
    voters: &[u64],
    gone: &[u64],
    idle: &[u64],
) -> Option<usize> {
    let mut left: Vec<u64> = voters.iter().copied().filter(|voter| !gone.contains(voter)).collect();
    if left.is_empty() {
        return None;
    }
    left.sort_unstable();
    let first = shard.0 as usize % left.len();
    left.rotate_left(first);
    left.sort_by_key(|voter| idle.contains(voter));
    left.iter().position(|voter| *voter == node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ShardId;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn silence_beyond_the_bound_is_evidence_and_a_heartbeat_ends_it() {
        let mut evidence = Evidence::new(at(0));
        for beat in 1..=20 {
            evidence.on_heartbeat(at(beat * 50));
            assert!(!evidence.is_gone(at(beat * 50)));
        }
        assert!((1..=5).all(|step| !evidence.is_gone(at(1000 + step * 50))));
        assert!(evidence.is_gone(at(1251)));
        evidence.on_heartbeat(at(1252));
        assert!(!evidence.is_gone(at(1253)));
    }

    #[test]
    fn jitter_raises_the_bound_up_to_the_cap() {
        let mut evidence = Evidence::new(at(0));
        evidence.on_heartbeat(at(90));
        assert_eq!(evidence.bound(), Duration::from_millis(400));
        evidence.on_heartbeat(at(90 + 300));
        assert_eq!(evidence.bound(), SILENCE_MAX);
        assert!(evidence.is_degraded());
        (0..2 * HALF_WINDOW).for_each(|beat| evidence.on_heartbeat(at(390 + 50 * u64::from(beat))));
        assert_eq!(evidence.bound(), SILENCE_MIN);
    }

    #[test]
    fn an_own_stall_blames_nobody() {
        let mut evidence = Evidence::new(at(0));
        assert!(!evidence.is_gone(at(10)));
        assert!(!evidence.is_gone(at(5000)));
        assert!(!evidence.is_gone(at(5100)));
    }

    #[test]
    fn a_refused_reconnect_is_evidence_at_once_a_good_one_is_not() {
        let mut evidence = Evidence::new(at(0));
        evidence.on_refused();
        assert!(evidence.is_gone(at(1)));
        evidence.on_connected(at(2));
        assert!(!evidence.is_gone(at(3)));
    }

    #[test]
    fn ranks_are_a_permutation_of_those_left() {
        for shard in 0..5 {
            let ranks = [1, 2, 3, 4, 5]
                .map(|node| candidate_rank(ShardId(shard), node, &[5, 4, 3, 2, 1], &[2, 4], &[]));
            assert_eq!(ranks[1], None);
            let mut left: Vec<_> = ranks.into_iter().flatten().collect();
            left.sort_unstable();
            assert_eq!(left, [0, 1, 2]);
        }
    }

    #[test]
    fn the_idle_stand_behind_the_others() {
        for shard in 0..5 {
            let rank = |idle: &[u64]| {
                [1, 2, 3].map(|node| candidate_rank(ShardId(shard), node, &[1, 2, 3], &[], idle))
            };
            assert_eq!(rank(&[2])[1], Some(2));
            assert_eq!(rank(&[1, 3])[1], Some(0));
            assert_eq!(rank(&[1, 2, 3]), rank(&[]));
        }
    }
}
