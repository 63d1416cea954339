//! All worlds by name: what a command line needs to run seeds, replay one, and let mutants in. No printing here; the
//! results render themselves as text (`Display`) or JSON (`to_json`).

use crate::outcome::Outcome;
use crate::run::{MutantResult, Plan, Summary, kill, run_seeds};
use crate::{cluster, quorum, storage_world};
use std::str::FromStr;

/// A kind of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// One node with clients, whole.
    One,
    /// Three nodes with clients, whole.
    Three,
    /// Five nodes with clients, whole.
    Five,
    /// Storage alone.
    Storage,
    /// Three nodes of consensus over storage.
    Quorum,
}

/// A known-bad variant of one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Of broker or group coordinator in the world of one node.
    One(cluster::Mutant),
    /// Of broker, group coordinator or consensus in the world of three nodes.
    Three(cluster::Mutant),
    /// Of storage in its own world.
    Storage(storage::Mutant),
    /// Of consensus.
    Quorum(consensus::Mutant),
}

impl World {
    /// Every kind.
    pub const ALL: [World; 5] = [World::One, World::Three, World::Five, World::Storage, World::Quorum];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            World::One => "one",
            World::Three => "three",
            World::Five => "five",
            World::Storage => "storage",
            World::Quorum => "quorum",
        }
    }

    /// Counters that a run over many seeds must have seen.
    pub fn demanded(self) -> &'static [&'static str] {
        match self {
            World::One => cluster::DEMANDED,
            World::Three | World::Five => cluster::DEMANDED_OF_SEVERAL,
            World::Storage => storage_world::DEMANDED,
            World::Quorum => &quorum::DEMANDED,
        }
    }

    /// The mutants that this world must kill. Storage's are let into its own world only; five nodes show what three show.
    pub fn mutants(self) -> Vec<Mutant> {
        match self {
            World::One => cluster::Mutant::of_one().into_iter().map(Mutant::One).collect(),
            World::Three => cluster::Mutant::of_several().into_iter().map(Mutant::Three).collect(),
            World::Five => Vec::new(),
            World::Storage => {
                let all =
                    storage::Mutant::ALL.iter().filter(|mutant| **mutant != cluster::STORAGE_OF_SEVERAL);
                all.map(|mutant| Mutant::Storage(*mutant)).collect()
            }
            World::Quorum => consensus::Mutant::ALL.iter().map(|mutant| Mutant::Quorum(*mutant)).collect(),
        }
    }

    /// Runs one seed: the same seed gives the same outcome, byte for byte.
    pub fn run(self, seed: u64) -> Outcome {
        match self {
            World::One => cluster::run(seed, 1, None),
            World::Three => cluster::run(seed, 3, None),
            World::Five => cluster::run(seed, 5, None),
            World::Storage => storage_world::run(seed, None),
            World::Quorum => quorum::run(seed, &quorum::Options::default()),
        }
    }

    /// Runs many seeds. With fewer than `seeds_to_demand` seeds nothing is demanded of the counters.
    pub fn run_seeds(
        self,
        plan: Plan,
        seeds_to_demand: u64,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Summary {
        let demanded = if plan.seeds >= seeds_to_demand { self.demanded() } else { &[] };
        run_seeds(self.name(), demanded, plan, &|seed| self.run(seed), progress)
    }
}

impl FromStr for World {
    type Err = String;

    fn from_str(name: &str) -> Result<World, String> {
        World::ALL.into_iter().find(|world| world.name() == name).ok_or_else(|| {
            format!("there is no world '{name}'; the worlds are one, three, five, storage and quorum")
        })
    }
}

/// Mutants that are found within thousands of worlds, or not at all by as many as a hunt has: `all` leaves them out, and each is
/// hunted by its name (CONTRIBUTING.md).
const RARE: [&str; 3] =
    ["consensus::LoanUnchecked", "broker::DeletionNotAwaited", "storage::NameCacheTrusted"];

impl Mutant {
    /// Room and name, as `storage::AckBeforeFsync`.
    pub fn name(self) -> String {
        match self {
            Mutant::One(mutant) | Mutant::Three(mutant) => mutant.name(),
            Mutant::Storage(mutant) => format!("storage::{mutant:?}"),
            Mutant::Quorum(mutant) => format!("consensus::{mutant:?}"),
        }
    }

    /// The world that it is let into.
    pub fn world(self) -> World {
        match self {
            Mutant::One(_) => World::One,
            Mutant::Three(_) => World::Three,
            Mutant::Storage(_) => World::Storage,
            Mutant::Quorum(_) => World::Quorum,
        }
    }

    /// Every mutant of every world.
    pub fn all() -> Vec<Mutant> {
        World::ALL.into_iter().flat_map(World::mutants).collect()
    }

    /// The mutants that a name means: one, with or without its room, or `all` but those that are rarely found.
    ///
    /// # Errors
    /// One sentence when there is none of that name.
    pub fn named(name: &str) -> Result<Vec<Mutant>, String> {
        let meant: Vec<Mutant> = Mutant::all()
            .into_iter()
            .filter(|mutant| {
                let own = mutant.name();
                name == "all" && !RARE.contains(&own.as_str())
                    || own == name
                    || own.rsplit("::").next() == Some(name)
            })
            .collect();
        if meant.is_empty() {
            return Err(format!("there is no mutant '{name}'; `--mutant all` names them all"));
        }
        Ok(meant)
    }

    /// Runs one seed with this variant let in.
    pub fn run(self, seed: u64) -> Outcome {
        match self {
            Mutant::One(mutant) => cluster::run(seed, 1, Some(mutant)),
            Mutant::Three(mutant) => cluster::run(seed, 3, Some(mutant)),
            Mutant::Storage(mutant) => storage_world::run(seed, Some(mutant)),
            Mutant::Quorum(mutant) => {
                quorum::run(seed, &quorum::Options { mutant: Some(mutant), ..quorum::Options::default() })
            }
        }
    }

    /// Runs seeds until one fails.
    pub fn kill(self, plan: Plan) -> MutantResult {
        kill(self.world().name(), self.name(), plan, &|seed| self.run(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!("one".parse(), Ok(World::One));
        assert_eq!("three".parse(), Ok(World::Three));
        assert!("two".parse::<World>().is_err());
        assert_eq!(Mutant::named("AckBeforeFsync").map(|found| found.len()), Ok(1));
        assert_eq!(
            Mutant::named("AckBeforeCommit").map(|found| found.len()),
            Ok(2),
            "of one node and of three"
        );
        assert_eq!(Mutant::named("storage::AckBeforeFsync").map(|found| found.len()), Ok(1));
        assert!(Mutant::named("all").is_ok_and(|all| all.len() >= 20));
        assert!(Mutant::named("nobody").is_err());
        for rare in RARE {
            assert!(Mutant::named(rare).is_ok(), "{rare}");
        }
    }
}
