//! Which troubles and which clients a seed has, and what a run over many seeds must have seen.

use super::client::{Ids, Topic};
use super::net::{CALM, NetFaults};
use crate::dice::Dice;
use crate::disk::DiskFaults;
use kafka::wire::Uuid;
use std::time::Duration;
use storage::WalSizes;

/// Room of the log that nodes here keep free of records. A served node keeps more; here every start reads the whole file.
pub const WAL_RESERVE_BYTES: u64 = 256 << 10;

/// Counters that a run over many seeds of a world of one node must have seen.
pub const DEMANDED: &[&str] = &[
    "acked-offset-holds",
    "acknowledged-not-lost",
    "client: answer overdue",
    "client: assignment asked for again",
    "client: commit of an old generation refused",
    "client: committed offset read",
    "client: corrupt batch refused",
    "client: damaged offset refused to the last reader",
    "client: damaged range refused",
    "client: deleted topic unknown",
    "client: fetch out of range",
    "client: fetch session opened",
    "client: fetch with records",
    "client: fetch without records",
    "client: group assignment given",
    "client: group joined",
    "client: heartbeat answered",
    "client: incremental answer left partitions out",
    "client: incremental fetch",
    "client: member started over",
    "client: newest offset listed",
    "client: offset committed",
    "client: oldest offset listed",
    "client: partition left the session",
    "client: produce answered",
    "client: produce refused, tried again",
    "client: produce sent again",
    "client: produce sent without an answer",
    "client: produce to a deleted topic",
    "client: producer identity given",
    "client: producer started over",
    "client: record sent without an answer found",
    "client: records deleted",
    "client: records over a session",
    "client: silent member removed",
    "client: time found",
    "client: time not found",
    "client: topic deleted",
    "client: topic made",
    "client: topic made again",
    "committed-only",
    "disk: durable bit rotten",
    "disk: name change lost",
    "disk: no space",
    "disk: power cut with unsynced bytes",
    "disk: power cut within a sync",
    "disk: power cut within a write",
    "disk: process crash within a sync",
    "disk: process crash within a write",
    "disk: read error",
    "disk: sector garbled",
    "disk: sector shorn",
    "disk: short write",
    "disk: slow call",
    "disk: stalled call",
    "disk: sync error",
    "disk: unsynced sector kept",
    "disk: unsynced sector lost",
    "disk: write error",
    "group-offset-never-back",
    "high-watermark-never-back",
    "idempotence",
    "lanes: a checkpoint within another lane's job",
    "lanes: a job of the log within another lane's",
    "lanes: a read within another lane's job",
    "leader-epoch-rises",
    "log-start-moves",
    "net: bytes cut in two",
    "net: connection reset",
    "no-phantom",
    "node: checkpoint",
    "node: clean shutdown",
    "node: connection closed for a produce without an answer",
    "node: damage found",
    "node: full disk got space back",
    "node: log recycled",
    "node: marker",
    "node: records read from segments",
    "node: recovered entries",
    "node: recovered from a checkpoint",
    "node: start failed",
    "node: stopped by a failing device",
    "node: time looked up",
    "offsets-dense",
    "prefix-stable",
    "producer-order",
    "retention-has-reason",
    "time-finds-first",
    "world: disk full",
    "world: power cut",
    "world: process killed",
    "world: quiet period",
    "world: segment rotten",
    "world: wall clock jumped",
];

/// The same for a world of several nodes.
pub const DEMANDED_OF_SEVERAL: &[&str] = &[
    "acked-offset-holds",
    "acknowledged-not-lost",
    "client: assignment asked for again",
    "client: commit of an old generation refused",
    "client: committed offset read",
    "client: coordinator asked for",
    "client: corrupt batch refused",
    "client: deleted topic unknown",
    "client: fetch out of range",
    "client: fetch session opened",
    "client: fetch with records",
    "client: fetch without records",
    "client: goes astray",
    "client: group assignment given",
    "client: group joined",
    "client: heartbeat answered",
    "client: incremental answer left partitions out",
    "client: incremental fetch",
    "client: leaders told",
    "client: member started over",
    "client: newest offset listed",
    "client: offset committed",
    "client: oldest offset listed",
    "client: partition left the session",
    "client: produce answered",
    "client: produce refused, tried again",
    "client: produce sent again",
    "client: produce sent without an answer",
    "client: produce to a deleted topic",
    "client: producer identity given",
    "client: producer started over",
    "client: record sent without an answer found",
    "client: records deleted",
    "client: records over a session",
    "client: silent member removed",
    "client: time found",
    "client: time not found",
    "client: topic deleted",
    "client: topic made",
    "client: topic made again",
    "committed-only",
    "disk: durable bit rotten",
    "disk: file cut",
    "disk: file gone",
    "disk: name change lost",
    "disk: no space",
    "disk: power cut with unsynced bytes",
    "disk: power cut within a sync",
    "disk: power cut within a write",
    "disk: process crash within a sync",
    "disk: process crash within a write",
    "disk: read error",
    "disk: sector garbled",
    "disk: sector shorn",
    "disk: short write",
    "disk: slow call",
    "disk: stalled call",
    "disk: sync error",
    "disk: unsynced sector kept",
    "disk: unsynced sector lost",
    "disk: write error",
    "group-offset-never-back",
    "high-watermark-never-back",
    "idempotence",
    "lanes: a checkpoint within another lane's job",
    "lanes: a job of the log within another lane's",
    "lanes: a read within another lane's job",
    "leader-epoch-rises",
    "log-start-moves",
    "net: bytes cut in two",
    "net: connection reset",
    "no-phantom",
    "node: checkpoint",
    "node: clean shutdown",
    "node: connection closed for a produce without an answer",
    "node: damage found",
    "node: log recycled",
    "node: marker",
    "node: records read from segments",
    "node: recovered entries",
    "node: recovered from a checkpoint",
    "node: segment lacks something",
    "node: segment mended",
    "node: segment verified",
    "node: start failed",
    "node: stopped by a failing device",
    "node: time looked up",
    "offsets-dense",
    "peers: connected",
    "peers: connected at an older level",
    "peers: connection lost",
    "peers: connection refused",
    "peers: frame held up by a cut",
    "peers: message without a connection lost",
    "peers: range for a replica far behind",
    "prefix-stable",
    "producer-order",
    "replicas-agree",
    "retention-has-reason",
    "time-finds-first",
    "world: all segments whole again",
    "world: all told to stop",
    "world: disk full",
    "world: host lost in silence",
    "world: node cut off",
    "world: node cut off in one direction",
    "world: node upgraded",
    "world: power cut",
    "world: power cut of all",
    "world: process killed",
    "world: process paused",
    "world: quiet period",
    "world: segment damaged",
    "world: some ways cut",
    "world: wall clock jumped",
];

/// One seed's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Swarm {
    pub disk: DiskFaults,
    pub net: NetFaults,
    pub crash: bool,
    pub power: bool,
    pub crash_in_recovery: bool,
    pub full: bool,
    pub clock_jumps: bool,
    pub shutdowns: bool,
    pub weather_millis_max: u64,
    pub idempotent_producers: u64,
    pub plain_producers: u64,
    pub unanswered_producers: u64,
    pub session_reader: bool,
    pub readers: u64,
    pub members: u64,
    pub data_shards: u32,
    pub tail_bytes_max: usize,
    pub checkpoint_bytes: usize,
    pub wal_held_bytes_max: u64,
    pub wal: WalSizes,
    pub value_bytes_max: u64,
    pub retention_check_millis: u64,
    /// Segments are damaged while the nodes live.
    pub rot: bool,
    /// Longest time for which a process is gone, microseconds.
    pub down_micros_max: u64,
    /// Of several nodes only: entries that stay in memory for followers, bytes.
    pub log_kept_bytes: u64,
    /// Of several nodes only: records that one pull asks for, bytes.
    pub pull_bytes: u32,
    /// Bytes per second that a node which catches up fetches.
    pub catch_up_rate: u64,
    /// Processes are stopped for a while.
    pub pauses: bool,
    /// Ways between nodes are cut.
    pub cuts: bool,
    /// Longest delay between nodes, microseconds.
    pub peer_delay_micros_max: u64,
    /// Clients do something at most so often, microseconds.
    pub pace_micros: u64,
    /// How long a producer waits for an answer, where that is not the usual time.
    pub patience: Option<Duration>,
    /// A known-bad variant of the driver: clients that are gone have their requests worked on.
    pub serves_the_gone: bool,
}

/// The topics of a seed: one that keeps everything, one whose old segments go, one that dies and is made again.
pub fn topics(dice: &mut Dice, ids: &mut Ids) -> Vec<Topic> {
    let mut topic = |name, configs, mortal| {
        let partitions = dice.between(1, 3) as i32;
        let first = ids.partitions(partitions);
        let replicas = 1; // `replicas` below says how many
        Topic { name, id: Uuid::ZERO, partitions, replicas, first, configs, mortal, buried: Vec::new() }
    };
    let mut topics = vec![
        topic("flights", Vec::new(), false),
        topic("orders", Vec::new(), false),
        topic("gates", Vec::new(), true),
    ];
    let roll = ("segment.ms", dice.skewed(1, 1_000) as i64);
    if dice.coin() {
        topics[0].configs.push(roll);
    }
    topics[1].configs.push(roll);
    let kind = dice.below(3);
    if kind != 0 {
        topics[1].configs.push(("retention.ms", dice.between(500, 2_000) as i64));
    }
    if kind != 1 {
        topics[1].configs.push(("retention.bytes", dice.skewed(500, 40_000) as i64));
    }
    topics
}

/// How many nodes each topic is on: mostly all of them, now and then fewer.
pub fn replicas(topics: &mut [Topic], nodes: usize, mut dice: Dice) {
    let fewer = (1..nodes).step_by(2).collect::<Vec<_>>();
    for topic in topics {
        topic.replicas = if nodes > 1 && dice.below(3) == 0 { fewer[dice.index(fewer.len())] } else { nodes };
    }
}

impl Swarm {
    pub fn roll(dice: &mut Dice, nodes: usize) -> Swarm {
        let one = Swarm::roll_one(dice);
        if nodes == 1 {
            return one;
        }
        // Dice of their own: kept seeds stay what they were.
        let mut others = dice.clone().fork();
        Swarm {
            pull_bytes: others.skewed(500, 1 << 20) as u32,
            catch_up_rate: others.skewed(200_000, 1 << 30),
            // Time for elections, and for cuts that last.
            weather_millis_max: dice.skewed(20, 3_000),
            down_micros_max: dice.skewed(1_000, 5_000_000),
            log_kept_bytes: dice.skewed(1_000, 1 << 20),
            pauses: dice.coin(),
            cuts: dice.below(3) > 0,
            peer_delay_micros_max: dice.skewed(100, 20_000),
            ..one
        }
    }

    /// Nothing goes wrong by itself: a world for a script. Clients take their time, so that seconds cost little.
    pub fn calm() -> Swarm {
        let calm = DiskFaults::default();
        Swarm {
            disk: calm,
            net: CALM,
            crash: false,
            power: false,
            crash_in_recovery: false,
            full: false,
            clock_jumps: false,
            shutdowns: false,
            weather_millis_max: 0,
            idempotent_producers: 2,
            plain_producers: 1,
            unanswered_producers: 0,
            session_reader: true,
            readers: 1,
            members: 2,
            data_shards: 1,
            tail_bytes_max: 200_000,
            checkpoint_bytes: 100_000,
            wal_held_bytes_max: 2_000_000,
            value_bytes_max: 1_000,
            retention_check_millis: 500,
            rot: false,
            down_micros_max: 0,
            log_kept_bytes: 1 << 18,
            pull_bytes: 1 << 16,
            catch_up_rate: 100 << 20,
            pauses: false,
            cuts: false,
            peer_delay_micros_max: 200,
            pace_micros: 8_000,
            patience: Some(Duration::from_secs(1)),
            serves_the_gone: false,
            wal: WalSizes {
                first_file_bytes: WAL_RESERVE_BYTES + 4096 * 32,
                file_bytes: WAL_RESERVE_BYTES + 4096 * 32,
                spare_bytes_max: 1 << 20,
            },
        }
    }

    fn roll_one(dice: &mut Dice) -> Swarm {
        let mut rate = |most: u64| if dice.below(3) == 0 { dice.between(1, most) as u32 } else { 0 };
        let disk = DiskFaults {
            sync_error: rate(60),
            write_error: rate(60),
            read_error: rate(60),
            stall: rate(15),
            slowness: rate(30),
        };
        let (reset, cut) = (rate(300), rate(2_000));
        let net = NetFaults { delay_micros_max: dice.skewed(50, 50_000), reset, cut };
        Swarm {
            disk,
            net,
            crash: dice.below(8) > 0,
            power: dice.below(6) > 0,
            crash_in_recovery: dice.coin(),
            full: dice.below(3) == 0,
            clock_jumps: dice.below(3) == 0,
            shutdowns: dice.below(3) == 0,
            weather_millis_max: dice.skewed(10, 400),
            idempotent_producers: dice.between(1, 3),
            plain_producers: dice.between(0, 2),
            unanswered_producers: u64::from(dice.below(3) == 0),
            session_reader: dice.coin(),
            readers: dice.between(1, 2),
            members: dice.between(0, 4),
            data_shards: dice.between(1, 3) as u32,
            tail_bytes_max: dice.skewed(8_000, 400_000) as usize,
            checkpoint_bytes: dice.skewed(4_000, 200_000) as usize,
            wal_held_bytes_max: dice.skewed(64_000, 4_000_000),
            value_bytes_max: dice.skewed(100, 16_000),
            retention_check_millis: dice.skewed(20, 500),
            rot: dice.below(6) == 0,
            down_micros_max: 200_000,
            log_kept_bytes: 0,
            pull_bytes: 1 << 20,
            catch_up_rate: 100 << 20,
            pauses: false,
            cuts: false,
            peer_delay_micros_max: 0,
            pace_micros: 0,
            patience: None,
            serves_the_gone: false,
            wal: WalSizes {
                first_file_bytes: WAL_RESERVE_BYTES + 4096 * dice.between(8, 64),
                file_bytes: WAL_RESERVE_BYTES + 4096 * dice.between(8, 64),
                spare_bytes_max: dice.skewed(1, 16 << 20),
            },
        }
    }
}
