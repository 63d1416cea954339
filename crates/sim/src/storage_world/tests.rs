//! Seeds are clean, one seed gives the same world twice, and mutants of storage are killed.

use super::*;

#[test]
fn seeds_are_clean() {
    for seed in 0..40 {
        let outcome = run(seed, None);
        assert!(outcome.failure.is_none(), "seed {seed}: {:?}", outcome.failure);
        assert!(outcome.operations >= JOBS_MIN);
    }
}

/// Seed 3134: of several partitions dropped at once, the first had batches once and no segment any more, all trimmed away.
#[test]
fn partitions_dropped_without_segments() {
    let outcome = run(3134, None);
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 0..5 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

/// A few that one seed or two must kill; `sternpost sim --mutant all` does all of them.
#[test]
fn plain_mutants_are_killed_at_once() {
    for mutant in [Mutant::AckBeforeFsync, Mutant::FsyncErrorRetried, Mutant::SuffixNotReplaced] {
        let plan = crate::run::Plan { first: 0, seeds: 20, threads: 1 };
        let result =
            crate::run::kill("storage", format!("{mutant:?}"), plan, &|seed| run(seed, Some(mutant)));
        assert!(result.seeds_to_kill.is_some(), "{mutant:?} survived");
    }
}
