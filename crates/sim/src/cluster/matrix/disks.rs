//! Rows 44 to 59: disks that fail, are full or slow, and what is lost or damaged on them.

use super::row::{Expect, Row};
use super::script::{Act, Who};
use crate::cluster::swarm::{Swarm, WAL_RESERVE_BYTES};
use crate::disk::{DiskFaults, Harm};

const GOOD: DiskFaults = DiskFaults { sync_error: 0, write_error: 0, read_error: 0, stall: 0, slowness: 0 };
/// What tells that every node's segments were read through and are as they were.
const WHOLE: Expect = Expect::Seen("world: all segments whole again");

/// In the order of their numbers.
pub const ROWS: &[Row] = &[
    Row {
        number: 44,
        title: "syncs fail at the leader",
        steps: &[(0, Act::Disk(Who::Leader, DiskFaults { sync_error: 10_000, ..GOOD })), (600, Act::Well)],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Takeovers(2),
            Expect::Gap(1_500),
            Expect::Seen("node: stopped by a failing device"),
            Expect::Seen("disk: sync error"),
        ],
        ..Row::PLAIN
    },
    Row {
        number: 45,
        title: "writes fail or are short at the leader",
        steps: &[(0, Act::Disk(Who::Leader, DiskFaults { write_error: 10_000, ..GOOD })), (600, Act::Well)],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Takeovers(2),
            Expect::Gap(1_500),
            Expect::Seen("node: stopped by a failing device"),
            Expect::Seen("disk: short write"),
        ],
        ..Row::PLAIN
    },
    Row {
        number: 46,
        title: "the leader's disk is full",
        verdict: "D",
        steps: &[(0, Act::Full(Who::Leader)), (3_000, Act::Well)],
        expects: &[Expect::Gap(3_000 + 1_500), Expect::NoDeath, Expect::Seen("disk: no space")],
        rounds: 1,
        round_millis: 4_500,
        tune: little_room,
        ..Row::PLAIN
    },
    Row {
        number: 47,
        title: "all disks are full",
        verdict: "U writes",
        steps: &[(0, Act::FullAll), (3_000, Act::Well)],
        expects: &[Expect::Gap(3_000 + 1_500), Expect::NoDeath, Expect::Seen("disk: no space")],
        rounds: 1,
        round_millis: 4_500,
        tune: little_room,
        ..Row::PLAIN
    },
    Row {
        number: 48,
        title: "the leader's disk stands still for 10 s",
        steps: &[(0, Act::Freeze(Who::Leader, 10_000))],
        expects: &[Expect::Takeover(1_000), Expect::Takeovers(1), Expect::Gap(2_500), Expect::NoDeath],
        rounds: 1,
        round_millis: 11_500,
        tune: |swarm| swarm.pace_micros = 20_000,
        ..Row::PLAIN
    },
    Row {
        number: 49,
        title: "the leader's disk is a hundred times slower",
        verdict: "D",
        steps: &[(0, Act::Disk(Who::Leader, DiskFaults { slowness: 100, ..GOOD }))],
        expects: &[
            Expect::Takeover(6_000),
            Expect::Takeovers(1),
            Expect::Gap(500),
            Expect::NoDeath,
            Expect::Seen("disk: slow call"),
        ],
        rounds: 1,
        round_millis: 10_000,
        tune: |swarm| swarm.pace_micros = 20_000,
        ..Row::PLAIN
    },
    Row {
        number: 50,
        title: "bits flip in what one replica has of committed records",
        steps: &[(0, Act::Harm(Who::Leader, Harm::Bit)), (500, Act::Harm(Who::Any, Harm::Bit))],
        expects: &[
            Expect::NoRise,
            Expect::Gap(500),
            Expect::NoDeath,
            Expect::Seen("disk: durable bit rotten"),
            WHOLE,
        ],
        rounds: 4,
        round_millis: 1_500,
        ..SMALL_SEGMENTS
    },
    Row {
        number: 51,
        title: "bits flip in different records on every replica",
        steps: &[(0, Act::HarmEach(Harm::Bit))],
        expects: &[
            Expect::NoRise,
            Expect::Gap(500),
            Expect::NoDeath,
            Expect::Seen("disk: durable bit rotten"),
            WHOLE,
        ],
        rounds: 4,
        round_millis: 1_500,
        ..SMALL_SEGMENTS
    },
    Row {
        number: 52,
        title: "segments of one replica lose their end, or are gone",
        steps: &[(0, Act::Harm(Who::Leader, Harm::Cut)), (1_000, Act::Harm(Who::Any, Harm::Gone))],
        expects: &[
            Expect::NoRise,
            Expect::Gap(500),
            Expect::NoDeath,
            Expect::Seen("disk: file cut"),
            Expect::Seen("disk: file gone"),
            WHOLE,
        ],
        rounds: 3,
        round_millis: 2_000,
        ..SMALL_SEGMENTS
    },
    Row {
        number: 53,
        title: "index, and both checkpoints with all that they say of topics, damaged at a start",
        steps: &[
            (0, Act::Damage(Who::Follower, ".idx")),
            (3_000, Act::Damage(Who::Leader, "checkpoint.0")),
            (3_000, Act::Damage(Who::Same, "checkpoint.1")),
        ],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Deaths(3),
            Expect::Gap(1_500),
            Expect::Seen("node: log found damaged"),
            Expect::Seen("node: takes part"),
        ],
        rounds: 1,
        round_millis: 6_000,
        down_millis: 500,
        ..SMALL_SEGMENTS
    },
    Row {
        number: 54,
        title: "power cut within a write: the last batch is torn",
        steps: &[(0, Act::Fuse(Who::Leader)), (100, Act::Fuse(Who::Follower))],
        expects: &[
            Expect::Deaths(4),
            Expect::Seen("disk: power cut within a write"),
            Expect::Seen("disk: unsynced sector lost"),
        ],
        rounds: 8,
        round_millis: 1_800,
        down_millis: 300,
        ..Row::PLAIN
    },
    Row {
        number: 55,
        title: "a page of a segment is found where another belongs",
        steps: &[(0, Act::Harm(Who::Leader, Harm::Misplaced)), (500, Act::Harm(Who::Any, Harm::Misplaced))],
        expects: &[
            Expect::NoRise,
            Expect::Gap(500),
            Expect::NoDeath,
            Expect::Seen("disk: a page written over another"),
            WHOLE,
        ],
        rounds: 4,
        round_millis: 1_500,
        ..SMALL_SEGMENTS
    },
    Row {
        number: 56,
        title: "the log that holds the votes is damaged at a start",
        steps: &[(0, Act::Damage(Who::Leader, ".wal"))],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Deaths(2),
            Expect::Gap(1_500),
            Expect::Seen("node: log found damaged"),
            Expect::Seen("node: takes part"),
        ],
        rounds: 1,
        down_millis: 500,
        ..Row::PLAIN
    },
    Row {
        number: 57,
        title: "a whole disk is lost, and its node's place given to an empty one",
        steps: &[(0, Act::LoseDisk(Who::Leader)), (5_000, Act::LoseDisk(Who::Other))],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Deaths(4),
            Expect::Gap(1_500),
            Expect::Seen("world: disk lost"),
            Expect::Seen("world: disk replaced"),
        ],
        rounds: 1,
        round_millis: 10_000,
        down_millis: 500,
        ..Row::PLAIN
    },
    Row {
        number: 58,
        title: "a disk that was replaced is put back",
        steps: &[(0, Act::LoseDisk(Who::Any)), (5_000, Act::PutDiskBack)],
        expects: &[
            Expect::Deaths(4),
            Expect::Gap(1_500),
            Expect::Seen("world: lost disk put back"),
            Expect::Seen("node: gave its place away"),
        ],
        rounds: 1,
        round_millis: 8_000,
        down_millis: 500,
        ..Row::PLAIN
    },
    Row {
        number: 59,
        title: "the leader's disk can only be read",
        steps: &[
            (0, Act::Disk(Who::Leader, DiskFaults { write_error: 10_000, sync_error: 10_000, ..GOOD })),
            (2_500, Act::Well),
        ],
        expects: &[
            Expect::Takeover(1_000),
            Expect::Takeovers(2),
            Expect::Gap(1_500),
            Expect::Seen("node: stopped by a failing device"),
        ],
        round_millis: 4_000,
        ..Row::PLAIN
    },
];

/// The log has as little room beyond its reserve as a test can fill.
fn little_room(swarm: &mut Swarm) {
    swarm.value_bytes_max = 16_000;
    swarm.pace_micros = 4_000;
    swarm.wal.first_file_bytes = WAL_RESERVE_BYTES + 4096 * 8;
    swarm.wal.file_bytes = WAL_RESERVE_BYTES + 4096 * 8;
    swarm.wal.spare_bytes_max = 1;
}

/// Records come into segments soon, and what is in them is read again and again.
const SMALL_SEGMENTS: Row = Row {
    tune: |swarm| {
        (swarm.tail_bytes_max, swarm.checkpoint_bytes, swarm.value_bytes_max) = (40_000, 20_000, 4_000);
        swarm.rot = true;
    },
    ..Row::PLAIN
};
