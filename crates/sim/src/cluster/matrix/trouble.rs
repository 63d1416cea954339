//! Rows 21 to 43: the network, and power.

use super::row::{Expect, Row};
use super::script::{Act, Shape, Who};
use crate::disk::Crash;

/// Four times the longest silence that a peer is granted.
const FOUR_TIMEOUTS: u64 = 4 * 500;

/// In the order of their numbers.
pub const ROWS: &[Row] = &[
    Row {
        number: 21,
        title: "leader cut off from its peers, reached by clients",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Isolated)), (2_500, Act::Mend)],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(2), Expect::Gap(2_500), Expect::NoDeath],
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 22,
        title: "leader cut off from clients, not from its peers",
        verdict: "D",
        steps: &[(0, Act::HideFromClients(Who::Leader)), (2_500, Act::ShowToClients)],
        expects: &[Expect::NoRise, Expect::Gap(2_500 + 1_500), Expect::NoDeath],
        round_millis: 4_500,
        ..Row::PLAIN
    },
    Row {
        number: 23,
        title: "leader hears no peer",
        verdict: "U, then A",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Deaf)), (2_500, Act::Mend)],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(2), Expect::Gap(2_500), Expect::NoDeath],
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 24,
        title: "leader is heard by no peer",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Mute)), (2_500, Act::Mend)],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(2), Expect::Gap(2_500), Expect::NoDeath],
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 25,
        title: "all reach one follower only, of five",
        verdict: "U, then A",
        steps: &[(0, Act::Cut(Who::Follower, Shape::Star)), (2_500, Act::Mend)],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(2), Expect::Gap(2_500), Expect::NoDeath],
        nodes: 5,
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 26,
        title: "the only node that reaches a majority is behind, of five",
        steps: &[
            (0, Act::Cut(Who::Follower, Shape::Isolated)),
            (200, Act::Cut(Who::Same, Shape::StarWithoutLeader)),
            (2_700, Act::Mend),
        ],
        expects: &[
            Expect::Takeover(1_000 + 200),
            Expect::Takeovers(1),
            Expect::Gap(2_500),
            Expect::NoDeath,
            Expect::Seen("peers: entries lent to a candidate"),
        ],
        verdict: "U, then A",
        nodes: 5,
        rounds: 1,
        round_millis: 4_200,
        ..Row::PLAIN
    },
    Row {
        number: 27,
        title: "a chain: the leader reaches one of two",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Link)), (4_000, Act::Mend)],
        expects: &[Expect::Rises(4), Expect::Gap(FOUR_TIMEOUTS), Expect::NoDeath],
        round_millis: 5_000,
        ..Row::PLAIN
    },
    Row {
        number: 28,
        title: "a ring of five",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Ring)), (4_000, Act::Mend)],
        expects: &[Expect::Rises(6), Expect::Gap(FOUR_TIMEOUTS + 1_500), Expect::NoDeath],
        nodes: 5,
        rounds: 1,
        round_millis: 5_000,
        ..Row::PLAIN
    },
    Row {
        number: 29,
        title: "the link between leader and follower flaps",
        steps: &[
            (0, Act::Cut(Who::Leader, Shape::Link)),
            (500, Act::Mend),
            (1_000, Act::Cut(Who::Leader, Shape::Link)),
            (2_500, Act::Mend),
        ],
        expects: &[Expect::NoRise, Expect::Gap(500), Expect::NoDeath],
        rounds: 3,
        round_millis: 3_500,
        ..Row::PLAIN
    },
    Row {
        number: 30,
        title: "200 ms of jitter, what is lost is sent again",
        verdict: "D",
        steps: &[(0, Act::Delay(200_000))],
        expects: &[Expect::Progress, Expect::Gap(2_500), Expect::NoDeath],
        rounds: 1,
        round_millis: 5_000,
        ..Row::PLAIN
    },
    Row {
        number: 31,
        title: "a tenth of the bandwidth to one follower",
        steps: &[(0, Act::Narrow(Who::Follower, 20_000))],
        expects: &[Expect::NoRise, Expect::Gap(500), Expect::NoDeath],
        rounds: 1,
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 32,
        title: "connections to the leader half open: silent for good",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Isolated)), (4_000, Act::Mend)],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Takeovers(1),
            Expect::Gap(2_500),
            Expect::Seen("peers: connection ended by a long cut"),
        ],
        rounds: 1,
        round_millis: 5_500,
        ..Row::PLAIN
    },
    Row {
        number: 33,
        title: "the leader's machine is gone without a word",
        steps: &[(0, Act::Vanish(Who::Leader))],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Takeovers(2),
            Expect::Gap(2_500),
            Expect::Seen("world: host lost in silence"),
        ],
        round_millis: 4_500,
        down_millis: 3_000,
        ..Row::PLAIN
    },
    Row {
        number: 34,
        title: "a storm of resets",
        verdict: "D",
        steps: &[(0, Act::Resets(400)), (2_500, Act::Resets(0))],
        expects: &[
            Expect::Progress,
            Expect::Gap(2_500),
            Expect::NoDeath,
            Expect::Seen("net: connection reset"),
        ],
        round_millis: 3_500,
        ..Row::PLAIN
    },
    Row {
        number: 35,
        title: "batches sent again over new connections",
        steps: &[(0, Act::ResetClients), (200, Act::ResetClients), (450, Act::ResetClients)],
        expects: &[Expect::NoRise, Expect::Gap(700), Expect::Seen("client: produce sent again")],
        rounds: 4,
        round_millis: 700,
        ..Row::PLAIN
    },
    Row {
        number: 36,
        title: "bits flip between nodes",
        steps: &[(0, Act::Flips(200)), (2_500, Act::Flips(0))],
        expects: &[
            Expect::Gap(2_500),
            Expect::NoDeath,
            Expect::Seen("peers: frame with a flipped bit refused"),
        ],
        round_millis: 3_500,
        ..Row::PLAIN
    },
    Row {
        number: 38,
        title: "leader cut off while a lost disk is being replaced",
        steps: &[
            (0, Act::LoseDisk(Who::Follower)),
            (490, Act::Cut(Who::Leader, Shape::Isolated)),
            (1_500, Act::Mend),
        ],
        expects: &[Expect::Deaths(4), Expect::Gap(2_500), Expect::Seen("world: disk replaced")],
        verdict: "U, then A",
        round_millis: 5_000,
        down_millis: 500,
        ..Row::PLAIN
    },
    Row {
        number: 39,
        title: "cut off with a tail of its own, then healed",
        steps: &[(0, Act::Cut(Who::Leader, Shape::Isolated)), (1_500, Act::Mend)],
        expects: &[Expect::Takeovers(3), Expect::Gap(2_500), Expect::NoDeath],
        rounds: 3,
        round_millis: 3_000,
        tune: |swarm| swarm.pace_micros = 2_000,
        ..Row::PLAIN
    },
    Row {
        number: 40,
        title: "nodes cut off one after the other, mended in another order",
        verdict: "D",
        steps: &[
            (0, Act::Cut(Who::Any, Shape::Isolated)),
            (400, Act::Cut(Who::Other, Shape::Deaf)),
            (800, Act::Cut(Who::Other, Shape::Mute)),
            (1_200, Act::Cut(Who::Other, Shape::Isolated)),
            (1_600, Act::Cut(Who::Same, Shape::Link)),
            (2_000, Act::Mend),
        ],
        expects: &[Expect::Progress, Expect::Gap(4_500), Expect::NoDeath],
        round_millis: 4_000,
        ..Row::PLAIN
    },
    Row {
        number: 41,
        title: "power cut of one node",
        steps: &[(0, Act::Kill(Who::Leader, Crash::Power))],
        expects: &[Expect::Deaths(3), Expect::Takeover(1_000), Expect::Gap(1_500)],
        rounds: 3,
        ..Row::PLAIN
    },
    Row {
        number: 42,
        title: "power cut of all nodes",
        verdict: "U, then A",
        steps: &[(0, Act::KillAll(Crash::Power))],
        expects: &[
            Expect::Deaths(9),
            Expect::Gap(800 + 2_500),
            Expect::Seen("disk: power cut with unsynced bytes"),
        ],
        rounds: 3,
        down_millis: 800,
        ..Row::PLAIN
    },
    Row {
        number: 43,
        title: "power cut of one node while another stands still",
        verdict: "U, then A",
        steps: &[
            (0, Act::Pause(Who::Follower, 1_500)),
            (200, Act::Kill(Who::Leader, Crash::Power)),
            (1_900, Act::Cut(Who::Other, Shape::Isolated)),
            (2_600, Act::Mend),
        ],
        expects: &[Expect::Deaths(2), Expect::Gap(4_500)],
        round_millis: 4_500,
        down_millis: 800,
        ..Row::PLAIN
    },
];
