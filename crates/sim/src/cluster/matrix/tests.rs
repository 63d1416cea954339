//! Every row demanded is simulated or named as shown elsewhere, the page says so, and rows fail where they should.

use super::row::Expect;
use super::script::{Act, Who};
use super::*;
use crate::cluster::processor::FOUR_PER_CORE;
use broker::peer::Led;
use model::entry::Term;
use model::{LeaderEpoch, LogIndex, Mono, ShardId};

#[test]
fn every_row_is_simulated_or_named() {
    let mut known: Vec<u32> = rows().map(|row| row.number).collect();
    known.extend(elsewhere::ROWS.iter().map(|row| row.number));
    known.sort_unstable();
    assert_eq!(known, demanded().collect::<Vec<u32>>());
}

#[test]
fn the_page_tells_of_every_row_how_it_is_shown() {
    let page = include_str!("../../../../../docs/fault-matrix.md");
    let line_of = |number: u32| {
        let start = format!("| {number} |");
        page.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("row {number}"))
    };
    for row in rows() {
        let line = line_of(row.number);
        assert!(line.contains(&format!("`sim --fault {}`", row.number)), "row {}", row.number);
        assert_eq!(row.not_met.is_some(), line.contains("not met"), "row {}", row.number);
    }
    for row in elsewhere::ROWS {
        let line = line_of(row.number);
        match row.tests {
            "" => assert!(line.contains("not shown yet"), "row {}", row.number),
            tests => {
                tests.split("; ").for_each(|test| assert!(line.contains(&format!("`{test}`")), "{test}"))
            }
        }
    }
}

fn broken(row: &'static Row, mutant: Option<Mutant>) -> Option<String> {
    let (outcome, _) = run(row, 0, mutant);
    outcome.failure.map(|failure| failure.property)
}

fn numbered(number: u32) -> &'static Row {
    rows().find(|row| row.number == number).expect("a row of that number")
}

/// The same row with expectations that do not hold.
fn wrong(number: u32, expects: &'static [Expect]) -> &'static Row {
    Box::leak(Box::new(Row { expects, ..*numbered(number) }))
}

#[test]
fn rows_hold_and_replay() {
    for number in [1, 22, 44] {
        let row = numbered(number);
        let first = run(row, 0, None);
        assert_eq!(first.0.failure, None, "row {number}");
        assert_eq!(first, run(row, 0, None), "row {number}");
    }
}

#[test]
fn a_driver_that_works_for_the_gone_keeps_the_storm_going() {
    let tune = |swarm: &mut Swarm| {
        (numbered(75).tune)(swarm);
        swarm.serves_the_gone = true;
    };
    let row = Box::leak(Box::new(Row { tune, ..*numbered(75) }));
    assert_eq!(broken(row, None).as_deref(), Some("as much is acknowledged as before"));
}

#[test]
fn rows_fail_by_their_own_expectations() {
    let wrong = [
        (wrong(1, &[Expect::Gap(5)]), "a partition takes records again"),
        (wrong(9, &[Expect::Takeover(0)]), "another node leads"),
        (wrong(13, &[Expect::NoRise]), "nobody is elected"),
        (wrong(11, &[Expect::Takeovers(1)]), "the trouble made another node lead"),
        (wrong(5, &[Expect::NoDeath]), "no process ends"),
        (wrong(35, &[Expect::Deaths(1)]), "the trouble ended processes"),
    ];
    for (row, property) in wrong {
        assert_eq!(broken(row, None).as_deref(), Some(property), "row {}", row.number);
    }
}

/// What row 16 does, with a leader that stalls for longer than it may.
#[test]
fn a_leader_that_gets_no_processor_for_long_is_replaced() {
    const STEPS: &[script::Step] =
        &[(0, Act::Contend(FOUR_PER_CORE)), (800, Act::Stall(Who::Leader, 700)), (4_000, Act::Mend)];
    let row: &'static Row = Box::leak(Box::new(Row { steps: STEPS, ..*numbered(16) }));
    assert_eq!(broken(row, None).as_deref(), Some("nobody is elected"));
}

#[test]
fn rows_find_mutants() {
    let found = [
        (29, Mutant::Consensus(consensus::Mutant::NoPreVote), "nobody is elected"),
        (1, Mutant::Broker(broker::Mutant::EpochNotBumped), "leader epoch rises with each leader"),
        (50, Mutant::Storage(storage::Mutant::MendTrustsBlocks), "a session misses nothing"),
        (51, Mutant::Broker(broker::Mutant::MendSkipsLacking), "damaged segments are mended"),
        (52, Mutant::Broker(broker::Mutant::DamageForgotten), "damaged segments are mended"),
        (
            53,
            Mutant::Storage(storage::Mutant::CheckpointChecksumIgnored),
            "the node starts on an honest disk",
        ),
        (55, Mutant::Broker(broker::Mutant::DamageForgotten), "damaged segments are mended"),
        (56, Mutant::Broker(broker::Mutant::EmptyTakesPart), "the node stops only when its device fails"),
        (57, Mutant::Broker(broker::Mutant::EmptyTakesPart), "the node stops only when its device fails"),
        (58, Mutant::Broker(broker::Mutant::ReplacedGoesOn), "all replicas have everything"),
    ];
    for (number, mutant, property) in found {
        assert_eq!(broken(numbered(number), Some(mutant)).as_deref(), Some(property), "row {number}");
    }
    // Which promise breaks first is chance: two leaders commit what they like, or acknowledge it.
    let lonely = Mutant::Consensus(consensus::Mutant::CommitWithoutQuorum);
    let hasty = Mutant::Broker(broker::Mutant::AckBeforeCommit);
    assert!(broken(numbered(21), Some(lonely)).is_some());
    assert!(broken(numbered(21), Some(hasty)).is_some());
}

fn led(term: u64) -> [Led; 1] {
    let (in_sync, driven) = (Vec::new(), LogIndex(0));
    [Led { shard: ShardId(1), term: Term(term), epoch: LeaderEpoch(0), in_sync, driven }]
}

#[test]
fn who_was_replaced_or_is_in_a_minority_must_not_acknowledge() {
    let mut watch = watch::Watch::default();
    watch.told(0, &led(1), Mono(10));
    watch.told(1, &led(2), Mono(20));
    assert!(watch.judge_ack(0, Mono(15)).is_ok(), "sent while it led");
    assert!(watch.judge_ack(0, Mono(25)).is_err(), "sent when another led");
    assert!(watch.judge_ack(1, Mono(25)).is_ok());
    watch.minority_since = Some(Mono(30));
    assert!(watch.judge_ack(1, Mono(29)).is_ok());
    assert!(watch.judge_ack(1, Mono(31)).is_err());
    watch.minority_since = None;
    watch.told(0, &led(3), Mono(40));
    assert!(watch.judge_ack(0, Mono(35)).is_ok(), "it leads again");
}

#[test]
fn gaps_and_takeovers_are_measured() {
    let ms = |millis: u64| Mono(millis * 1_000_000);
    let mut watch = watch::Watch::default();
    watch.told(0, &led(1), ms(0));
    watch.begin(ms(10));
    watch.asked(7, ms(20));
    watch.await_others(0, ms(30));
    assert!(watch.still_awaited().is_some());
    watch.told(2, &led(2), ms(80));
    watch.acknowledged(7, ms(120));
    assert_eq!(watch.figures.takeover, Duration::from_millis(50));
    assert_eq!(watch.figures.gap, Duration::from_millis(100));
    assert!(watch.still_awaited().is_none());
    watch.asked(7, ms(200));
    watch.close_gaps(ms(900));
    assert_eq!(watch.figures.gap, Duration::from_millis(700), "an answer that never came counts");
}
