//! The fault matrix: each fault that a cluster must survive, by its number, as a script in an otherwise calm world with the
//! usual clients and checkers. What a simulated cluster cannot show is named with what shows it.

mod clocks;
mod disks;
pub mod elsewhere;
mod process;
mod row;
pub mod script;
#[cfg(test)]
mod tests;
mod trouble;
pub mod watch;

use super::client::Ids;
use super::client::admin::Admin;
use super::swarm::{self, Swarm};
use super::{HEALED_MAX, Happening, Mutant, World};
use crate::dice::Dice;
use crate::outcome::{Failure, Outcome};
pub use row::Row;
use script::Script;
use std::time::Duration;
pub use watch::Figures;

/// Numbers of the rows that must be simulated, or named as shown elsewhere.
pub fn demanded() -> impl Iterator<Item = u32> {
    (1..=68).chain(74..=77).chain([79, 80])
}

/// Rows that are simulated, in the order of their numbers.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    process::ROWS.iter().chain(trouble::ROWS).chain(disks::ROWS).chain(clocks::ROWS)
}

/// Virtual time in which the world is made before the troubles: shards are led by those who should lead them.
const CALM_BEFORE: Duration = Duration::from_secs(7);
/// A script takes no longer.
const SCRIPT_MAX: Duration = Duration::from_secs(180);
/// Behind the troubles each client is served again within this time, without anybody's doing.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Acknowledgements that show it.
const AGAIN_ACKS: u64 = 20;
/// Behind the troubles all replicas have everything within this time.
const WHOLE_MAX: Duration = Duration::from_secs(30);
/// Between two looks at that.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs one seed of a row.
pub fn run(row: &'static Row, seed: u64, mutant: Option<Mutant>) -> (Outcome, Figures) {
    let mut world = World::scripted(row, seed, mutant);
    let failure = world.live_by_script().err();
    let outcome = super::outcome(seed, &mut world, failure);
    (outcome, world.watch.figures)
}

impl World {
    fn scripted(row: &'static Row, seed: u64, mutant: Option<Mutant>) -> World {
        let mut dice = Dice::new(seed);
        let mut swarm = Swarm::calm();
        (row.tune)(&mut swarm);
        let mut ids = Ids::default();
        let mut topics = swarm::topics(&mut dice, &mut ids);
        for topic in &mut topics {
            // A topic that is being made is led by nobody, and that is no fault.
            (topic.replicas, topic.mortal) = (row.nodes, false);
        }
        let mut world = World::with(dice, row.nodes, swarm, ids, topics, mutant);
        world.script = Some(Script::new(row, seed));
        world.peers.delay_micros_max = swarm.peer_delay_micros_max;
        world.found();
        world
    }

    fn live_by_script(&mut self) -> Result<(), Failure> {
        self.begin();
        let end = self.queue.now().plus(HEALED_MAX);
        if !self.until(end, |world| Admin::has_topics(&world.topics))? {
            return Err(self.unsettled("topics are made in a calm world", |_| false));
        }
        let calm_end = self.queue.now().plus(CALM_BEFORE);
        self.until(calm_end, |_| false)?;
        self.add_clients();
        let warm_end = self.queue.now().plus(Duration::from_secs(1));
        self.until(warm_end, |_| false)?;
        self.watch.begin(self.queue.now());
        self.queue.after(Duration::ZERO, Happening::Step);
        let script_end = self.queue.now().plus(SCRIPT_MAX);
        if !self.until(script_end, |world| world.script.as_ref().is_some_and(|script| script.is_done))? {
            return Err(Failure::new("a script comes to its end", String::new()));
        }
        self.settle_again()?;
        self.judge_row()?;
        self.finish()
    }

    /// Without anybody's doing clients are served, and all replicas have everything.
    fn settle_again(&mut self) -> Result<(), Failure> {
        self.heal();
        let ended = self.queue.now();
        let acks = self.watch.figures.acks + AGAIN_ACKS;
        if !self.until(ended.plus(AGAIN_MAX), |world| world.watch.figures.acks >= acks)? {
            return Err(self.unsettled("clients are served again within 5 s", |client| client.is_idle()));
        }
        self.watch.figures.again = self.queue.now().since(ended);
        loop {
            if self.is_whole() {
                break;
            }
            if self.queue.now().since(ended) > WHOLE_MAX {
                return Err(self.unsettled("all replicas have everything", |_| true));
            }
            let look = self.queue.now().plus(LOOK_EVERY);
            self.until(look, |_| false)?;
        }
        self.watch.figures.whole = self.queue.now().since(ended);
        self.watch.close_gaps(self.queue.now());
        self.watch.end();
        Ok(())
    }

    /// Every node runs, is ready, and says that the next one may go.
    fn is_whole(&mut self) -> bool {
        (0..self.hosts.len())
            .all(|at| self.observe(at).is_some_and(|status| status.ready && status.must_stay.is_empty()))
    }

    /// Notes since when too few nodes run.
    pub(super) fn look_for_majority(&mut self) {
        let now = self.queue.now();
        let is_majority = self.hosts.iter().filter(|host| host.runs()).count() > self.hosts.len() / 2;
        let since = self.watch.minority_since.take().filter(|_| !is_majority);
        self.watch.minority_since = since.or((!is_majority).then_some(now));
    }

    fn judge_row(&mut self) -> Result<(), Failure> {
        let Some(script) = &self.script else { return Ok(()) };
        script.row.judge(&self.watch, script)
    }
}
