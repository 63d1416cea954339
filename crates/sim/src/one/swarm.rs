//! Which troubles and which clients a seed has, and what a run over many seeds must have seen.

use super::net::NetFaults;
use crate::dice::Dice;
use crate::disk::DiskFaults;
use storage::WalSizes;

/// Counters that a run over many seeds must have seen.
pub const DEMANDED: &[&str] = &[
    "acknowledged-not-lost",
    "acked-offset-holds",
    "client: answer overdue",
    "client: commit of an old generation refused",
    "client: committed offset read",
    "client: corrupt batch refused",
    "client: fetch out of range",
    "client: fetch with records",
    "client: fetch without records",
    "client: group assignment given",
    "client: group joined",
    "client: heartbeat answered",
    "client: member started over",
    "client: newest offset listed",
    "client: offset committed",
    "client: oldest offset listed",
    "client: produce answered",
    "client: produce refused, tried again",
    "client: produce sent again",
    "client: producer identity given",
    "client: producer started over",
    "client: records deleted",
    "client: topic made",
    "committed-only",
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
    "leader-epoch-rises",
    "log-start-moves",
    "net: bytes cut in two",
    "net: connection reset",
    "no-phantom",
    "node: append without space",
    "node: checkpoint",
    "node: clean shutdown",
    "node: log recycled",
    "node: marker",
    "node: records read from segments",
    "node: recovered entries",
    "node: recovered from a checkpoint",
    "node: start failed",
    "node: stopped by a failing device",
    "offsets-dense",
    "prefix-stable",
    "producer-order",
    "world: disk full",
    "world: power cut",
    "world: process killed",
    "world: quiet period",
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
    pub readers: u64,
    pub members: u64,
    pub data_shards: u32,
    pub tail_bytes_max: usize,
    pub checkpoint_bytes: usize,
    pub wal_held_bytes_max: u64,
    pub wal: WalSizes,
    pub value_bytes_max: u64,
}

impl Swarm {
    pub fn roll(dice: &mut Dice) -> Swarm {
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
            readers: dice.between(1, 2),
            members: dice.between(0, 3),
            data_shards: dice.between(1, 3) as u32,
            tail_bytes_max: dice.skewed(8_000, 400_000) as usize,
            checkpoint_bytes: dice.skewed(4_000, 200_000) as usize,
            wal_held_bytes_max: dice.skewed(64_000, 4_000_000),
            value_bytes_max: dice.skewed(100, 16_000),
            // Below 2 MiB of room the node refuses records.
            wal: WalSizes {
                first_file_bytes: (2 << 20) + 4096 * dice.between(8, 64),
                file_bytes: (2 << 20) + 4096 * dice.between(8, 64),
                spare_bytes_max: dice.skewed(1, 16 << 20),
            },
        }
    }
}
