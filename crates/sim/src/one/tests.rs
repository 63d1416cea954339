//! Seeds are clean, and one seed gives the same world twice.

use super::*;

#[test]
fn seeds_are_clean() {
    for seed in 0..10 {
        let outcome = run(seed, None);
        assert!(outcome.failure.is_none(), "seed {seed}: {:?}", outcome.failure);
        assert!(outcome.operations >= OPERATIONS_MIN);
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 0..3 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}
