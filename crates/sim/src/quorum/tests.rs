//! A smoke of the swarm, the meta-test of determinism, every mutant found, and failover within its targets.

use super::*;

/// A build without optimisation runs a taste of everything; `cargo test --release` all of it.
const IS_FAST: bool = !cfg!(debug_assertions);

/// Worlds after which every fault and every checker's premise must have come up.
const ALL_SEEN: u64 = 200;

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

fn smoke() -> u64 {
    from_environment("QUORUM_SEEDS", if IS_FAST { 200 } else { 30 })
}

#[test]
fn the_swarm_breaks_no_promise() {
    let summary = run_many(0..smoke(), &Options::default());
    println!("{}", summary.counters);
    println!(
        "{} worlds, {} operations, {} s virtual",
        summary.seeds,
        summary.operations,
        summary.virtual_nanos / 1_000_000_000
    );
    assert!(summary.failures.is_empty(), "failing seeds: {:?}", summary.failures);
    if summary.seeds >= ALL_SEEN {
        assert_eq!(summary.counters.missing(&DEMANDED), [""; 0]);
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 0..3 {
        let (first, second) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!(first, second);
    }
    assert_ne!(run(1, &Options::default()).trace_hash, run(2, &Options::default()).trace_hash);
}

#[test]
fn every_mutant_is_found_by_the_swarm() {
    let mut alive = Vec::new();
    for mutant in consensus::Mutant::ALL {
        // A rare meeting of faults: hunted by its name only (CONTRIBUTING.md).
        if mutant == consensus::Mutant::LoanUnchecked {
            continue;
        }
        let takes_many = [consensus::Mutant::VoteBeforePersist, consensus::Mutant::ReadWithoutQuorum];
        if takes_many.contains(&mutant) && !IS_FAST {
            continue;
        }
        match hunt(mutant, 0..1000, &Options::default()) {
            Some((seeds, failure)) => {
                println!("{mutant:?}: killed after {seeds} seeds: {}", failure.property)
            }
            None => alive.push(mutant),
        }
    }
    assert!(alive.is_empty(), "these live: {alive:?}");
}

fn failover_seeds() -> u64 {
    from_environment("QUORUM_FAILOVERS", if IS_FAST { 40 } else { 10 })
}

fn check_failover(loss: Loss, led_p99_max: Duration, others_p99_max: Duration) {
    let gaps = failover(loss, 0..failover_seeds());
    for (name, gaps) in [("led", &gaps.led), ("others", &gaps.others)] {
        let [p50, p99, most] = [500, 990, 1000].map(|permille| Gaps::quantile(gaps, permille));
        println!("{loss:?} {name}: {} gaps, p50 {p50:?}, p99 {p99:?}, longest {most:?}", gaps.len());
    }
    assert_eq!(gaps.failure, None);
    assert!(Gaps::quantile(&gaps.led, 990) < led_p99_max);
    assert!(Gaps::quantile(&gaps.others, 990) < others_p99_max);
}

#[test]
fn a_killed_leader_is_replaced_within_its_target() {
    check_failover(Loss::Killed, Duration::from_millis(100), Duration::from_millis(100));
}

#[test]
fn a_silent_leader_is_replaced_within_its_target() {
    check_failover(Loss::Silent, Duration::from_secs(1), Duration::from_millis(100));
}

#[test]
fn leadership_is_handed_over_within_its_target() {
    check_failover(Loss::HandedOver, Duration::from_millis(50), Duration::from_millis(50));
}
