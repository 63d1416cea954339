//! How fast the disk of each node makes commits durable. A leader whose disk is far slower than those of a majority of the others
//! gives its shards away, and gets none back while that lasts: a disk that dies slowly must not set the pace of all.

use super::Node;
use crate::event::{Effect, LogLevel};
use crate::peer::node_of;
use model::{NodeId, Now};
use std::time::Duration;

/// A commit that takes the disk longer lets a leader give its leadership away at once.
pub(super) const DISK_STALL: Duration = Duration::from_millis(500);
/// A disk whose commits take less on average is never called slow.
const SLOW_MIN: Duration = Duration::from_millis(20);
/// Slow is: so many times the time of others.
const SLOW_FACTOR: u32 = 10;
/// Looks (a second each) in which a disk must be slow before its node gives leadership away.
const SLOW_LOOKS: u32 = 3;

/// What a node knows of its own disk.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Commits since the last look, and what they took in all.
    commits: u32,
    took: Duration,
    /// Average of one commit between the last looks that saw any.
    average: Option<Duration>,
    slow_looks: u32,
}

impl Pace {
    /// A commit became durable.
    pub(super) fn committed(&mut self, took: Duration) {
        self.commits += 1;
        self.took += took;
    }

    /// What a commit takes on average; `None` while nothing is committed.
    pub(super) fn average(&self) -> Option<Duration> {
        self.average
    }

    fn look(&mut self) {
        let (commits, took) = (std::mem::take(&mut self.commits), std::mem::take(&mut self.took));
        self.average = (commits > 0).then(|| took / commits);
    }
}

/// Whether commits that take `average` are slow beside those of another disk.
pub(super) fn is_slow(average: Option<Duration>, other: Option<Duration>) -> bool {
    let bound = other.map(|other| SLOW_MIN.max(other * SLOW_FACTOR));
    average > bound && bound.is_some()
}

/// The sentence about a slow disk.
pub(super) fn slow_words((own, other): (Duration, Duration)) -> String {
    let (own, other) = (own.as_secs_f64() * 1e3, other.as_secs_f64() * 1e3);
    format!("the disk is slow: a commit takes {own:.0} ms here and {other:.1} ms elsewhere")
}

impl Node {
    /// Called once a second: leadership leaves a disk that has been slow for a while.
    pub(super) fn mind_pace(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.pace.look();
        self.note_slow_peers(now.mono, self.pace.average);
        let slow = self.slow_disk();
        self.pace.slow_looks = if slow.is_some() { self.pace.slow_looks.saturating_add(1) } else { 0 };
        if self.pace.slow_looks == SLOW_LOOKS {
            let text = slow.map(slow_words).unwrap_or_default() + "; others are to lead";
            out.push(Effect::Log(LogLevel::Warn, text));
        }
        if self.pace.slow_looks >= SLOW_LOOKS {
            let quicker: Vec<NodeId> = self.quicker().map(|(node, _)| node).collect();
            self.hand_all_over(|heir| node_of(heir).is_some_and(|node| quicker.contains(&node)));
        }
    }

    /// What a commit takes here, and on the slowest of the nodes beside which that is slow, when these are a majority.
    pub(super) fn slow_disk(&self) -> Option<(Duration, Duration)> {
        let (count, other) = (self.quicker().count(), self.quicker().map(|(_, other)| other).max()?);
        let is_majority = count > self.config.voters.len() / 2;
        self.pace.average.filter(|_| is_majority).map(|own| (own, other))
    }

    /// The nodes beside whose disks this node's is slow, and what a commit takes them.
    fn quicker(&self) -> impl Iterator<Item = (NodeId, Duration)> + '_ {
        self.paces_of_peers().filter(|(_, other)| is_slow(self.pace.average, Some(*other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_many_times_slower_than_others() {
        let ms = |millis| Some(Duration::from_millis(millis));
        assert!(is_slow(ms(21), ms(1)));
        assert!(!is_slow(ms(20), ms(1)), "fast enough by itself");
        assert!(!is_slow(ms(90), ms(10)), "all are slow");
        assert!(is_slow(ms(101), ms(10)));
        assert!(!is_slow(None, ms(1)) && !is_slow(ms(100), None), "nothing is known");
    }

    #[test]
    fn the_average_is_that_of_the_last_look() {
        let mut pace = Pace::default();
        assert_eq!(pace.average(), None);
        pace.committed(Duration::from_millis(10));
        pace.committed(Duration::from_millis(30));
        pace.look();
        assert_eq!(pace.average(), Some(Duration::from_millis(20)));
        pace.look();
        assert_eq!(pace.average(), None, "nothing was committed since");
    }
}
