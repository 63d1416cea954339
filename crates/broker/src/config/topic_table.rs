//! Topic settings: Kafka's names, defaults and ranges, with the node settings that stand in when a topic has none.

use super::setting::{Range, Setting};
use crate::request::ConfigKind::{Boolean, Double, Int, List, Long, String};

/// A topic setting and where its value comes from when the topic has none.
#[derive(Clone, Copy, Debug)]
pub struct TopicSetting {
    /// The row.
    pub setting: Setting,
    /// Node settings that stand in, the first one set wins: name and what its value is multiplied with (hours → ms).
    /// The last one's default is the default of the topic setting. Empty: the row's own default counts.
    pub synonyms: &'static [(&'static str, i64)],
}

const fn row(setting: Setting, synonyms: &'static [(&'static str, i64)]) -> TopicSetting {
    TopicSetting { setting: setting.dynamic(), synonyms }
}

const TIERED: &str = "Tiered storage does not exist here: no effect.";
const COMPACTION: &str = "Compaction does not exist here yet: no effect.";
const FSYNCED: &str = "Every acknowledged record is fsynced already: no effect.";
const OWN_SEGMENTS: &str = "Segments have their own indexes and file handling here: no effect.";
const AS_PRODUCED: &str = "Batches are stored as the producer compressed them: no effect.";
const THROTTLE: &str = "Replication is not throttled per replica here: no effect.";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// The rows, sorted by name.
pub const TOPIC: &[TopicSetting] = &[
    row(
        Setting::new(
            "cleanup.policy",
            List,
            Some("delete"),
            "delete: old segments go by time and size; compact alone: nothing is removed (compaction itself is not there yet, so every record stays).",
        )
        .within(Range::SomeOf(&["compact", "delete"])),
        &[("log.cleanup.policy", 1)],
    ),
    row(Setting::new("compression.gzip.level", Int, Some("-1"), AS_PRODUCED).within(Range::Whole(-1, 9)).inert(), &[("compression.gzip.level", 1)]),
    row(Setting::new("compression.lz4.level", Int, Some("9"), AS_PRODUCED).within(Range::Whole(1, 17)).inert(), &[("compression.lz4.level", 1)]),
    row(Setting::new("compression.type", String, Some("producer"), AS_PRODUCED).within(Range::OneOf(CODECS)).inert(), &[("compression.type", 1)]),
    row(
        Setting::new("compression.zstd.level", Int, Some("3"), AS_PRODUCED).within(Range::Whole(-131_072, 22)).inert(),
        &[("compression.zstd.level", 1)],
    ),
    row(
        Setting::new("delete.retention.ms", Long, Some("86400000"), COMPACTION).within(Range::from(0)).inert(),
        &[("log.cleaner.delete.retention.ms", 1)],
    ),
    row(Setting::new("errors.deadletterqueue.group.enable", Boolean, Some("false"), "Share groups do not exist here: no effect.").inert(), &[]),
    row(
        Setting::new("file.delete.delay.ms", Long, Some("60000"), OWN_SEGMENTS).within(Range::from(0)).inert(),
        &[("log.segment.delete.delay.ms", 1)],
    ),
    row(
        Setting::new("flush.messages", Long, Some("9223372036854775807"), FSYNCED).within(Range::from(1)).inert(),
        &[("log.flush.interval.messages", 1)],
    ),
    row(
        Setting::new("flush.ms", Long, Some("9223372036854775807"), FSYNCED).within(Range::from(0)).inert(),
        &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
    ),
    row(Setting::new("follower.replication.throttled.replicas", List, Some(""), THROTTLE).inert(), &[]),
    row(Setting::new("index.interval.bytes", Int, Some("4096"), OWN_SEGMENTS).within(Range::from(0)).inert(), &[("log.index.interval.bytes", 1)]),
    row(Setting::new("leader.replication.throttled.replicas", List, Some(""), THROTTLE).inert(), &[]),
    row(Setting::new("local.retention.bytes", Long, Some("-2"), TIERED).within(Range::from(-2)).inert(), &[("log.local.retention.bytes", 1)]),
    row(Setting::new("local.retention.ms", Long, Some("-2"), TIERED).within(Range::from(-2)).inert(), &[("log.local.retention.ms", 1)]),
    row(
        Setting::new("max.compaction.lag.ms", Long, Some("9223372036854775807"), COMPACTION).within(Range::from(1)).inert(),
        &[("log.cleaner.max.compaction.lag.ms", 1)],
    ),
    row(
        Setting::new(
            "max.decompressed.message.bytes",
            Int,
            Some("2147483639"),
            "Decompression has one limit for the whole node here, whatever the topic says: no effect.",
        )
        .within(Range::Whole(1, 2_147_483_639))
        .inert(),
        &[("max.decompressed.message.bytes", 1)],
    ),
    row(
        Setting::new("max.message.bytes", Int, Some("1048588"), "Largest record batch, bytes as the producer sent it (compressed).").within(Range::from(0)),
        &[("message.max.bytes", 1)],
    ),
    row(
        Setting::new(
            "message.timestamp.after.max.ms",
            Long,
            Some("3600000"),
            "How far a record's timestamp may lie ahead of the broker's clock, ms (CreateTime only).",
        )
        .within(Range::from(0)),
        &[("log.message.timestamp.after.max.ms", 1)],
    ),
    row(
        Setting::new(
            "message.timestamp.before.max.ms",
            Long,
            Some("9223372036854775807"),
            "How far a record's timestamp may lie behind the broker's clock, ms (CreateTime only).",
        )
        .within(Range::from(0)),
        &[("log.message.timestamp.before.max.ms", 1)],
    ),
    row(
        Setting::new("message.timestamp.type", String, Some("CreateTime"), "Whose clock stamps records: the producer's or the broker's.")
            .within(Range::OneOf(&["CreateTime", "LogAppendTime"])),
        &[("log.message.timestamp.type", 1)],
    ),
    row(
        Setting::new("min.cleanable.dirty.ratio", Double, Some("0.5"), COMPACTION).within(Range::Real(0.0, 1.0)).inert(),
        &[("log.cleaner.min.cleanable.ratio", 1)],
    ),
    row(
        Setting::new("min.compaction.lag.ms", Long, Some("0"), COMPACTION).within(Range::from(0)).inert(),
        &[("log.cleaner.min.compaction.lag.ms", 1)],
    ),
    row(
        Setting::new(
            "min.insync.replicas",
            Int,
            Some("1"),
            "Replicas that must have fsynced a batch before it is acknowledged, where that is more than the majority.",
        )
        .within(Range::from(1)),
        &[("min.insync.replicas", 1)],
    ),
    row(Setting::new("preallocate", Boolean, Some("false"), OWN_SEGMENTS).inert(), &[("log.preallocate", 1)]),
    row(Setting::new("remote.copy.lag.bytes", Long, Some("-1"), TIERED).within(Range::from(-1)).inert(), &[("log.remote.copy.lag.bytes", 1)]),
    row(Setting::new("remote.copy.lag.ms", Long, Some("0"), TIERED).within(Range::from(-1)).inert(), &[("log.remote.copy.lag.ms", 1)]),
    row(Setting::new("remote.log.copy.disable", Boolean, Some("false"), TIERED).inert(), &[]),
    row(Setting::new("remote.log.delete.on.disable", Boolean, Some("false"), TIERED).inert(), &[]),
    row(
        Setting::new("remote.storage.enable", Boolean, Some("false"), "Tiered storage does not exist here: it cannot be switched on.")
            .within(Range::OneOf(&["false"]))
            .inert(),
        &[],
    ),
    row(
        Setting::new("retention.bytes", Long, Some("-1"), "Size beyond which a partition's oldest segments go, bytes; -1: no limit.").within(Range::from(-1)),
        &[("log.retention.bytes", 1)],
    ),
    row(
        Setting::new("retention.ms", Long, Some("604800000"), "How long records are kept at least, ms; -1: for ever.").within(Range::from(-1)),
        &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
    ),
    row(
        Setting::new("segment.bytes", Int, Some("1073741824"), "Size at which a segment is closed and a new one begun, bytes.").within(Range::from(1 << 20)),
        &[("log.segment.bytes", 1)],
    ),
    row(
        Setting::new("segment.index.bytes", Int, Some("10485760"), OWN_SEGMENTS).within(Range::from(4)).inert(),
        &[("log.index.size.max.bytes", 1)],
    ),
    row(
        Setting::new("segment.jitter.ms", Long, Some("0"), OWN_SEGMENTS).within(Range::from(0)).inert(),
        &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
    ),
    row(
        Setting::new("segment.ms", Long, Some("604800000"), "Age at which a segment is closed, ms.").within(Range::from(1)),
        &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
    ),
    TopicSetting {
        setting: Setting::new(
            "sternpost.durability",
            String,
            Some(super::node_table::DURABILITY),
            "What an acknowledgement means: the record is fsynced on a majority of its replicas; there is no weaker mode.",
        )
        .within(Range::OneOf(&[super::node_table::DURABILITY])),
        synonyms: &[],
    },
    row(
        Setting::new(
            "unclean.leader.election.enable",
            Boolean,
            Some("false"),
            "A replica that lacks acknowledged records never leads here, whatever it says: no effect.",
        )
        .inert(),
        &[("unclean.leader.election.enable", 1)],
    ),
];
