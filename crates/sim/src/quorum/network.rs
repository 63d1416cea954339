//! The network between nodes: messages are bytes that are delayed, overtaken, lost and repeated; links are cut one way or
//! both. Clients reach every node that runs.

use crate::counters::Counters;
use crate::dice::Dice;
use std::collections::BTreeSet;
use std::time::Duration;

/// How badly a world's network behaves, in ten thousand messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkFaults {
    pub loss: u32,
    pub repeat: u32,
    /// Messages that take up to `slow` instead of the usual time.
    pub late: u32,
    pub slow: Duration,
}

/// Links and their faults.
pub struct Network {
    pub faults: NetworkFaults,
    dice: Dice,
    /// One-way cuts, from and to.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    pub fn new(dice: Dice) -> Network {
        Network { faults: NetworkFaults::default(), dice, cut: BTreeSet::new() }
    }

    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Whether a node can hear or reach nobody.
    pub fn is_isolated(&self, node: u64, nodes: u64) -> bool {
        (1..=nodes)
            .filter(|peer| *peer != node)
            .all(|peer| self.is_cut(node, peer) && self.is_cut(peer, node))
    }

    /// The usual time of a message.
    pub fn latency(&mut self) -> Duration {
        Duration::from_micros(self.dice.between(100, 600))
    }

    /// When copies of a message arrive: none, one or two.
    pub fn route(&mut self, from: u64, to: u64, counters: &mut Counters) -> Vec<Duration> {
        if self.is_cut(from, to) {
            counters.count("network: message on a cut link");
            return Vec::new();
        }
        if self.dice.chance(self.faults.loss) {
            counters.count("network: message lost");
            return Vec::new();
        }
        let mut arrivals = vec![self.delay(counters)];
        if self.dice.chance(self.faults.repeat) {
            counters.count("network: message repeated");
            arrivals.push(self.delay(counters));
        }
        arrivals
    }

    fn delay(&mut self, counters: &mut Counters) -> Duration {
        if self.dice.chance(self.faults.late) {
            counters.count("network: message late");
            return Duration::from_micros(
                self.dice.between(600, self.faults.slow.as_micros().max(601) as u64),
            );
        }
        self.latency()
    }
}
