//! Rows 60 to 79: clocks, coordinators and clients.

use super::row::{Expect, Row};
use super::script::{Act, Who};
use crate::disk::Crash;
use std::time::Duration;

const MINUTE_MS: i64 = 60_000;
/// Row 75: how often its clients do something while nothing is wrong. What is counted takes 20 times as long: each has its part in it.
const NORMAL_PACE_MICROS: u64 = 1_200_000;

/// In the order of their numbers.
pub const ROWS: &[Row] = &[
    Row {
        number: 60,
        title: "the leader's wall clock jumps by 50 min, back and forth",
        steps: &[
            (0, Act::Clock(Who::Leader, 50 * MINUTE_MS)),
            (1_000, Act::Clock(Who::Same, -50 * MINUTE_MS)),
            (2_000, Act::Clock(Who::Same, 0)),
        ],
        expects: &[
            Expect::NoRise,
            Expect::Gap(400),
            Expect::NoDeath,
            Expect::Seen("world: wall clock jumped"),
        ],
        ..Row::PLAIN
    },
    Row {
        number: 61,
        title: "every wall clock jumps all the time",
        steps: &[
            (0, Act::Clock(Who::Any, 25 * MINUTE_MS)),
            (50, Act::Clock(Who::Any, -25 * MINUTE_MS)),
            (100, Act::Clock(Who::Leader, 3_000)),
        ],
        expects: &[
            Expect::NoRise,
            Expect::Gap(400),
            Expect::NoDeath,
            Expect::Seen("world: wall clock jumped"),
        ],
        rounds: 20,
        round_millis: 150,
        ..Row::PLAIN
    },
    Row {
        number: 62,
        title: "wall clocks half a second apart, and a leader that is replaced",
        steps: &[
            (0, Act::Clock(Who::Node(0), 250)),
            (1, Act::Clock(Who::Node(1), -250)),
            (1_000, Act::Pause(Who::Leader, 1_500)),
        ],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(1), Expect::Gap(2_500)],
        rounds: 1,
        round_millis: 3_500,
        ..Row::PLAIN
    },
    Row {
        number: 63,
        title: "the leader's wall clock goes back",
        steps: &[(0, Act::Clock(Who::Leader, MINUTE_MS)), (800, Act::Clock(Who::Same, -MINUTE_MS))],
        expects: &[
            Expect::NoRise,
            Expect::Gap(400),
            Expect::NoDeath,
            Expect::Seen("world: wall clock jumped"),
            Expect::Seen("client: time found"),
        ],
        round_millis: 1_600,
        ..Row::PLAIN
    },
    Row {
        number: 68,
        title: "coordinator killed while groups rebalance",
        steps: LEADER_DIES,
        expects: &[
            Expect::Deaths(3),
            Expect::Takeover(1_000),
            Expect::Seen("client: group joined"),
            Expect::Seen("client: committed offset read"),
        ],
        rounds: 3,
        tune: |swarm| (swarm.members, swarm.idempotent_producers) = (5, 1),
        ..Row::PLAIN
    },
    Row {
        number: 74,
        title: "all of 60 clients connect again at once",
        steps: &[(0, Act::ResetClients)],
        expects: &[
            Expect::NoRise,
            Expect::Gap(1_500),
            Expect::NoDeath,
            Expect::Seen("client: produce sent again"),
        ],
        round_millis: 1_500,
        tune: |swarm| {
            (swarm.idempotent_producers, swarm.readers, swarm.members) = (40, 15, 5);
            swarm.pace_micros = 50_000;
        },
        ..Row::PLAIN
    },
    Row {
        number: 75,
        title: "a retry storm: three times the load for 60 s",
        verdict: "D",
        steps: &[
            (0, Act::Work(16_000)),
            (1_000, Act::Count),
            (25_000, Act::Count),
            (25_000, Act::Pace(NORMAL_PACE_MICROS / 3)),
            (85_000, Act::Pace(NORMAL_PACE_MICROS)),
            (95_000, Act::Count),
            (119_000, Act::Count),
            (119_000, Act::Pace(8_000)),
        ],
        expects: &[
            Expect::Goodput(95),
            Expect::Gap(2_500),
            Expect::NoRise,
            Expect::NoDeath,
            Expect::Seen("client: produce sent again"),
            Expect::Seen("node: request of a client that is gone left out"),
        ],
        rounds: 1,
        round_millis: 119_500,
        tune: |swarm| {
            (swarm.idempotent_producers, swarm.readers, swarm.members) = (90, 1, 1);
            (swarm.pace_micros, swarm.data_shards) = (NORMAL_PACE_MICROS, 3);
            swarm.patience = Some(Duration::from_millis(800));
        },
        ..Row::PLAIN
    },
    Row {
        number: 76,
        title: "the node that leads most of 32 shards is killed",
        steps: &[(0, Act::Kill(Who::Busiest, Crash::Process))],
        expects: &[Expect::Deaths(1), Expect::Takeover(3_000), Expect::Takeovers(8), Expect::Gap(3_500)],
        rounds: 1,
        tune: |swarm| swarm.data_shards = 32,
        ..Row::PLAIN
    },
    Row {
        number: 77,
        title: "a follower catches up by records from segments",
        steps: &[(0, Act::Kill(Who::Follower, Crash::Process))],
        expects: &[Expect::NoRise, Expect::Gap(500), Expect::Seen("peers: range for a replica far behind")],
        rounds: 1,
        round_millis: 5_000,
        down_millis: 3_000,
        tune: |swarm| {
            (swarm.log_kept_bytes, swarm.pull_bytes, swarm.checkpoint_bytes) = (4_000, 4_000, 40_000);
            (swarm.tail_bytes_max, swarm.value_bytes_max) = (40_000, 8_000);
        },
        ..Row::PLAIN
    },
    Row {
        number: 79,
        title: "batches with a wrong checksum",
        // The clients do it.
        steps: &[(0, Act::Mend)],
        expects: &[
            Expect::NoDeath,
            Expect::NoRise,
            Expect::Gap(500),
            Expect::Seen("client: corrupt batch refused"),
        ],
        rounds: 1,
        tune: |swarm| swarm.plain_producers = 5,
        ..Row::PLAIN
    },
];

const LEADER_DIES: &[(u64, Act)] = &[(0, Act::Kill(Who::Leader, Crash::Process))];
