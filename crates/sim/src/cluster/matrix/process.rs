//! Rows 1 to 20: processes that die, stop, start and stand still.

use super::row::{Expect, Row};
use super::script::{Act, Who};
use crate::cluster::processor::FOUR_PER_CORE;
use crate::disk::Crash;

const LEADER_DIES: &[(u64, Act)] = &[(0, Act::Kill(Who::Leader, Crash::Process))];

/// In the order of their numbers.
pub const ROWS: &[Row] = &[
    Row {
        number: 1,
        title: "leader killed",
        steps: LEADER_DIES,
        expects: &[Expect::Deaths(2), Expect::Takeover(1_000), Expect::Takeovers(2), Expect::Gap(1_500)],
        ..Row::PLAIN
    },
    Row {
        number: 2,
        title: "follower killed",
        steps: &[(0, Act::Kill(Who::Follower, Crash::Process))],
        expects: &[Expect::Deaths(2), Expect::NoRise, Expect::Gap(400)],
        ..Row::PLAIN
    },
    Row {
        number: 3,
        title: "controller killed",
        steps: &[(0, Act::Kill(Who::Controller, Crash::Process))],
        expects: &[Expect::Deaths(2), Expect::Takeover(1_000), Expect::Gap(1_500)],
        ..Row::PLAIN
    },
    Row {
        number: 4,
        title: "two of three killed",
        verdict: "U, A when one is back",
        steps: &[(0, Act::Kill(Who::Leader, Crash::Process)), (30, Act::Kill(Who::Other, Crash::Process))],
        expects: &[Expect::Deaths(4), Expect::Gap(1_500 + 2_500)],
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 5,
        title: "all killed",
        verdict: "U, then A",
        steps: &[(0, Act::KillAll(Crash::Process))],
        expects: &[Expect::Deaths(6), Expect::Gap(1_500 + 2_500)],
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 6,
        title: "killed in a loop",
        verdict: "D",
        steps: &[(0, Act::Kill(Who::Any, Crash::Process)), (400, Act::Kill(Who::Leader, Crash::Process))],
        expects: &[Expect::Deaths(10), Expect::Progress],
        rounds: 6,
        round_millis: 1_600,
        down_millis: 200,
        ..Row::PLAIN
    },
    Row {
        number: 7,
        title: "killed within recovery",
        verdict: "D",
        steps: &[(0, Act::Kill(Who::Leader, Crash::Power)), (300, Act::Kill(Who::Any, Crash::Process))],
        expects: &[Expect::Deaths(4), Expect::Seen("node: start failed")],
        down_millis: 100,
        tune: |swarm| (swarm.crash_in_recovery, swarm.power) = (true, true),
        ..Row::PLAIN
    },
    Row {
        number: 8,
        title: "killed at each call of the disk",
        steps: &[(0, Act::Fuse(Who::Leader))],
        expects: &[Expect::Progress, Expect::Deaths(2), Expect::Seen("disk: process crash within a write")],
        rounds: 6,
        round_millis: 1_500,
        down_millis: 300,
        ..Row::PLAIN
    },
    Row {
        number: 9,
        title: "SIGTERM of the leader",
        steps: &[(0, Act::Stop(Who::Leader))],
        expects: &[Expect::Deaths(2), Expect::Takeover(50), Expect::Takeovers(2), Expect::Gap(400)],
        ..Row::PLAIN
    },
    Row {
        number: 10,
        title: "rolling restart",
        steps: &[
            (0, Act::Stop(Who::Node(0))),
            (2_500, Act::Stop(Who::Node(1))),
            (5_000, Act::Stop(Who::Node(2))),
        ],
        expects: &[Expect::Deaths(3), Expect::Gap(500)],
        rounds: 1,
        round_millis: 7_500,
        down_millis: 500,
        ..Row::PLAIN
    },
    Row {
        number: 11,
        title: "leader paused for 100 ms",
        steps: &[(0, Act::Pause(Who::Leader, 100))],
        expects: &[Expect::NoRise, Expect::Gap(500), Expect::Seen("world: process paused")],
        rounds: 6,
        round_millis: 500,
        ..Row::PLAIN
    },
    Row {
        number: 12,
        title: "leader paused for 5 s",
        steps: &[(0, Act::Pause(Who::Leader, 5_000))],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(1), Expect::Gap(2_500), Expect::NoDeath],
        rounds: 1,
        round_millis: 6_500,
        ..Row::PLAIN
    },
    Row {
        number: 13,
        title: "leader paused longer than its lease, within appends",
        steps: &[(0, Act::Pause(Who::Leader, 900))],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(3), Expect::Gap(2_500), Expect::NoDeath],
        rounds: 4,
        round_millis: 2_000,
        ..Row::PLAIN
    },
    Row {
        number: 14,
        title: "all paused",
        verdict: "U, then A",
        steps: &[(0, Act::PauseAll(3_000))],
        expects: &[Expect::Rises(4), Expect::Gap(3_000 + 2_000), Expect::NoDeath],
        round_millis: 5_000,
        ..Row::PLAIN
    },
    Row {
        number: 15,
        title: "follower paused for 60 s",
        steps: &[(0, Act::Pause(Who::Follower, 60_000))],
        // A client that asks the paused node gives that up after a second.
        expects: &[Expect::NoRise, Expect::Gap(1_500), Expect::NoDeath],
        rounds: 1,
        round_millis: 61_000,
        tune: |swarm| (swarm.log_kept_bytes, swarm.pace_micros) = (20_000, 60_000),
        ..Row::PLAIN
    },
    Row {
        number: 16,
        title: "four times more to do than processors, on every node",
        steps: &[
            (0, Act::Contend(FOUR_PER_CORE)),
            (800, Act::Stall(Who::Leader, 150)),
            (1_600, Act::Stall(Who::Follower, 400)),
            (2_600, Act::Stall(Who::Leader, 150)),
            (3_200, Act::Stall(Who::Follower, 900)),
            (4_800, Act::Stall(Who::Follower, 3_000)),
            (8_400, Act::Stall(Who::Leader, 150)),
        ],
        expects: &[
            Expect::NoRise,
            Expect::Gap(500),
            Expect::NoDeath,
            Expect::Seen("world: process waited for its processor"),
            Expect::Seen("world: process stalled"),
        ],
        rounds: 3,
        round_millis: 10_000,
        ..Row::PLAIN
    },
    Row {
        number: 19,
        title: "a broken invariant ends the process",
        steps: LEADER_DIES,
        expects: &[Expect::Deaths(1), Expect::Takeover(1_000), Expect::Gap(1_500)],
        rounds: 1,
        ..Row::PLAIN
    },
    Row {
        number: 20,
        title: "a disk thread hangs",
        steps: &[(0, Act::Freeze(Who::Leader, 6_000))],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(1), Expect::Gap(2_500)],
        rounds: 1,
        round_millis: 8_000,
        ..Row::PLAIN
    },
];
