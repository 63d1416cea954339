//! Seeds are clean, and one seed gives the same world twice.

use super::*;

#[test]
fn seeds_are_clean() {
    for (nodes, seeds) in [(1, 10), (3, 5), (5, 2)] {
        for seed in 0..seeds {
            let outcome = run(seed, nodes, None);
            assert!(outcome.failure.is_none(), "seed {seed} of {nodes} nodes: {:?}", outcome.failure);
            assert!(outcome.operations >= OPERATIONS_MIN);
        }
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for (nodes, seeds) in [(1, 3), (3, 2)] {
        for seed in 0..seeds {
            assert_eq!(run(seed, nodes, None), run(seed, nodes, None));
        }
    }
}

/// Each once broke what its comment says; some only as the world was then.
#[test]
fn seeds_that_found_something_stay_clean() {
    let found = [
        // A vote written down while a state was installed told of a commit that the log did not have.
        (3, 3),
        (3, 13),
        // Records had gone at the leader between its state and the pull: what followed left a gap in the segments.
        (3, 12),
        (3, 353),
        // A shard's log was ahead of the catalogue: the partition did not hear of its new segments.
        (3, 17),
        // All that a state spoke of had gone at the leader.
        (3, 22),
        // raft joined entries to a message that began elsewhere: two replicas had different entries at one index.
        (3, 24),
        // A topic was there by its name and id while a disk that hung kept its partition from being made.
        (1, 8855),
        // A state came that was older than what had gone, by the replica that an earlier state's records were pulled from.
        (3, 15261),
        (3, 42222),
        // The log was written anew without that of a shard which the catalogue did not know yet.
        (3, 30),
        // A controller that had been stopped and voted out refused to delete a topic that it had not heard of.
        (3, 1344),
        // Others had let go what lay before the log start: a damaged segment that reached across it stayed as it was.
        (3, 548),
        // A mend passed over what nobody reads any more, and put what stood before it and behind it into one block.
        (3, 8091),
        // The check of a mended node counted passes over what was not part of any state yet.
        (3, 756),
        // An answer to what the process before had asked for brought records of another partition.
        (3, 4877),
        // Of two voters left, one installed a state whose records the other had and did not know to be committed; checkpoints went round.
        (3, 1875),
        // A process died between a mended segment's new name and its sync; the next one added to the file, and the power took the name.
        (3, 1349),
        // Two of three restarted and went back to the time when the disk that was replaced still voted; the third had lost its own by then.
        (3, 2209),
        // Two answers without records led past the node that had them and back to the one that had none.
        (3, 3595),
        // Of three that began a cluster two died before they took part, and the third one alone named nobody.
        (3, 8390),
        // Damage to what no state knew yet was found after the world had gone on to harm another node.
        (3, 3531),
        // A state came with a new term, which was written down as if the state were durable; the next start found the log too short.
        (3, 77618),
    ];
    for (nodes, seed) in found {
        let outcome = run(seed, nodes, None);
        assert!(outcome.failure.is_none(), "seed {seed} of {nodes} nodes: {:?}", outcome.failure);
    }
}

/// A person who replays a seed wants to read what led to the broken invariant.
#[test]
fn a_broken_invariant_leaves_the_log() {
    let mutant = Some(Mutant::Broker(broker::Mutant::ManifestMissesRange));
    let outcomes = (0..20).map(|seed| crate::run::caught(seed, &|seed| run(seed, 3, mutant)));
    let broken = |outcome: &Outcome| {
        outcome.failure.as_ref().is_some_and(|failure| failure.property == "invariant holds")
    };
    let outcome = outcomes.into_iter().find(broken).expect("the mutant breaks an invariant");
    assert!(!outcome.log.is_empty());
}
