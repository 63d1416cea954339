//! How long writes stop when a leader's node is lost, in virtual time, in an otherwise calm world: measured by clients
//! that try again at once, from the first write that failed or was delayed to its acknowledgement.

use super::world::World;
use super::{Options, Plan};
use crate::disk::Crash;
use crate::outcome::Failure;
use model::ShardId;
use std::time::Duration;

/// How the node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process is killed: connections are reset, reconnects refused.
    Killed,
    /// The machine is gone: nothing answers.
    Silent,
    /// The leader hands over and then ends.
    HandedOver,
}

/// Longest waits of clients for one write, per lost node.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// On shards that the lost node led, sorted.
    pub led: Vec<Duration>,
    /// On other shards, sorted.
    pub others: Vec<Duration>,
    /// What went wrong, with its seed.
    pub failure: Option<(u64, Failure)>,
}

impl Gaps {
    /// The value that `permille` of the sorted gaps do not exceed.
    pub fn quantile(gaps: &[Duration], permille: usize) -> Duration {
        gaps.get((gaps.len() * permille / 1000).min(gaps.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Loses the node that leads shard 0, once per seed.
pub fn failover(loss: Loss, seeds: std::ops::Range<u64>) -> Gaps {
    let options = Options {
        shards: 6,
        clients: 6,
        patience: Duration::from_millis(30),
        think: Duration::from_micros(500),
        plan: Plan::Calm,
        ..Options::default()
    };
    let mut gaps = Gaps::default();
    for seed in seeds {
        let mut world = World::new(seed, &options);
        let warm = world.now.plus(Duration::from_millis(2000 + world.dice.below(1000)));
        world.run_until(warm);
        let Some(lost) = world.leader_of(ShardId(0)) else {
            gaps.failure = Some((seed, Failure::new("a calm world has a leader", "none after two seconds")));
            return gaps;
        };
        let led: Vec<bool> =
            world.clients.iter().map(|client| world.leader_of(client.shard) == Some(lost)).collect();
        world.clients.iter_mut().for_each(|client| client.longest = Duration::ZERO);
        match loss {
            Loss::Killed => world.kill(lost, Crash::Process),
            Loss::Silent => world.kill(lost, Crash::Power),
            Loss::HandedOver => world.hand_over_all(lost),
        }
        let end = world.now.plus(Duration::from_millis(2500));
        world.run_until(end);
        for (client, led) in led.into_iter().enumerate() {
            let gap = world.clients[client].longest.max(world.waiting(client));
            if led { gaps.led.push(gap) } else { gaps.others.push(gap) }
        }
        if let Some(failure) = world.checker.failure.take() {
            gaps.failure = Some((seed, failure));
            return gaps;
        }
    }
    gaps.led.sort_unstable();
    gaps.others.sort_unstable();
    gaps
}
