//! Node settings that have effect. Defaults are Apache Kafka 4.4's unless the sentence says "own default".

use super::setting::{Range, Setting};
use crate::request::ConfigKind::{Boolean, Int, List, Long, String};

/// What the contract is called in `DescribeConfigs`.
pub const DURABILITY: &str = "fsync-majority";

const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// The rows, by theme.
pub const ACTIVE: &[Setting] = &[
    // Identity and addresses.
    Setting::new("node.id", Int, Some("1"), "Number of this node in its cluster; own default, so that a first start needs no configuration.")
        .within(Range::from(0)),
    Setting::new("broker.id", Int, Some("-1"), "Older word for node.id; -1 leaves the choice to node.id."),
    Setting::new(
        "controller.quorum.voters",
        List,
        Some(""),
        "All nodes of the cluster (1, 3 or 5) as node.id@host:port,..., the same list on each, with the addresses at which they reach each other; in Kafka it names the controllers, here every node is one. Empty: a node of one.",
    ),
    Setting::new(
        "sternpost.peer.listener",
        String,
        None,
        "Address at which this node listens for other nodes, as host:port with an empty host for all interfaces; unset: its own entry in controller.quorum.voters. There is no authentication yet: let only nodes reach it.",
    ),
    Setting::new(
        "sternpost.cluster.id",
        String,
        None,
        "Cluster that the data directory belongs to (22 characters of base64): a new one is made for it, one of another cluster is refused. Unset: a new one gets an id that follows from controller.quorum.voters, or a random one for a node of one.",
    ),
    Setting::new("broker.rack", String, None, "Rack of this node, told to clients that prefer near replicas."),
    Setting::new(
        "listeners",
        List,
        Some("PLAINTEXT://127.0.0.1:9092"),
        "Address for Kafka clients, as PLAINTEXT://host:port with an empty host for all interfaces; own default: only this machine, because there is no authentication yet.",
    ),
    Setting::new(
        "advertised.listeners",
        List,
        None,
        "Address that clients are told to connect to; unset: the listener's own, with this machine's host name in place of an empty host.",
    ),
    Setting::new(
        "controller.listener.names",
        List,
        Some(""),
        "Names in listeners that Kafka would use for its controllers; they are left out here, because nodes need no such listener.",
    ),
    Setting::new(
        "listener.security.protocol.map",
        List,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        "Security protocol of each listener name; a client listener must map to PLAINTEXT until security exists.",
    ),
    Setting::new("log.dirs", List, None, "Data directory (exactly one); unset: log.dir."),
    Setting::new("log.dir", List, Some("sternpost-data"), "Data directory when log.dirs is unset; own default: below the working directory."),
    Setting::new("sternpost.http.listener", String, Some("127.0.0.1:9644"), "Address of /metrics, /livez and /readyz as host:port, or off."),
    // The contract.
    Setting::new(
        "sternpost.durability",
        String,
        Some(DURABILITY),
        "What an acknowledgement means: the record is fsynced on a majority of its replicas; there is no weaker mode.",
    )
    .within(Range::OneOf(&[DURABILITY])),
    // Topics.
    Setting::new("num.partitions", Int, Some("1"), "Partitions of a topic created without a number.").within(Range::from(1)),
    Setting::new("default.replication.factor", Int, Some("1"), "Replicas of a topic created without a number; own default with controller.quorum.voters: as many as there are nodes, at most 3.").within(Range::Whole(1, 32_767)),
    Setting::new("auto.create.topics.enable", Boolean, Some("true"), "Create a topic when a client first asks for its metadata."),
    Setting::new("delete.topic.enable", Boolean, Some("true"), "Allow topics to be deleted."),
    Setting::new(
        "min.insync.replicas",
        Int,
        Some("1"),
        "Replicas that must have fsynced a batch before it is acknowledged, where that is more than the majority.",
    )
    .within(Range::from(1))
    .dynamic(),
    Setting::new("message.max.bytes", Int, Some("1048588"), "Largest record batch, bytes as the producer sent it (compressed).")
        .within(Range::from(0))
        .dynamic(),
    Setting::new("compression.type", String, Some("producer"), "Shown to clients; batches are stored as the producer compressed them, whatever it says.")
        .within(Range::OneOf(CODECS))
        .dynamic()
        .inert(),
    Setting::new("log.message.timestamp.type", String, Some("CreateTime"), "Whose clock stamps records: the producer's or the broker's.")
        .within(Range::OneOf(TIMESTAMP_TYPES))
        .dynamic(),
    Setting::new(
        "log.message.timestamp.before.max.ms",
        Long,
        Some("9223372036854775807"),
        "How far a record's timestamp may lie behind the broker's clock, ms (CreateTime only).",
    )
    .within(Range::from(0))
    .dynamic(),
    Setting::new(
        "log.message.timestamp.after.max.ms",
        Long,
        Some("3600000"),
        "How far a record's timestamp may lie ahead of the broker's clock, ms (CreateTime only).",
    )
    .within(Range::from(0))
    .dynamic(),
    Setting::new(
        "log.cleanup.policy",
        List,
        Some("delete"),
        "delete: old segments go by time and size; compact alone: nothing is removed (compaction itself is not there yet, so every record stays).",
    )
    .within(Range::SomeOf(&["compact", "delete"]))
    .dynamic(),
    Setting::new("log.segment.bytes", Int, Some("1073741824"), "Size at which a segment is closed and a new one begun, bytes.")
        .within(Range::from(1 << 20))
        .dynamic(),
    Setting::new("log.roll.ms", Long, None, "Age at which a segment is closed, ms; unset: log.roll.hours.").within(Range::from(1)).dynamic(),
    Setting::new("log.roll.hours", Int, Some("168"), "Age at which a segment is closed, hours.").within(Range::from(1)),
    Setting::new("log.retention.ms", Long, None, "How long records are kept at least, ms; -1: for ever; unset: log.retention.minutes.")
        .within(Range::from(-1))
        .dynamic(),
    Setting::new("log.retention.minutes", Int, None, "How long records are kept at least, minutes; unset: log.retention.hours.")
        .within(Range::from(-1)),
    Setting::new("log.retention.hours", Int, Some("168"), "How long records are kept at least, hours; -1: for ever.").within(Range::from(-1)),
    Setting::new("log.retention.bytes", Long, Some("-1"), "Size beyond which a partition's oldest segments go, bytes; -1: no limit.")
        .within(Range::from(-1))
        .dynamic(),
    Setting::new("log.retention.check.interval.ms", Long, Some("300000"), "How often retention is looked at, ms.").within(Range::from(1)),
    // Groups and producers.
    Setting::new("group.initial.rebalance.delay.ms", Int, Some("3000"), "How long a new group waits for more members before its first generation, ms.")
        .within(Range::from(0)),
    Setting::new("group.min.session.timeout.ms", Int, Some("6000"), "Smallest session time-out a member may ask for, ms.").within(Range::from(0)),
    Setting::new("group.max.session.timeout.ms", Int, Some("1800000"), "Largest session time-out a member may ask for, ms.").within(Range::from(0)),
    Setting::new("group.max.size", Int, Some("2147483647"), "Most members of a group.").within(Range::from(1)),
    Setting::new("offsets.retention.minutes", Int, Some("10080"), "How long the offsets of a group without members are kept, minutes.")
        .within(Range::from(1)),
    Setting::new("offsets.retention.check.interval.ms", Long, Some("600000"), "How often expired offsets are looked for, ms.").within(Range::from(1)),
    Setting::new("offset.metadata.max.bytes", Int, Some("4096"), "Largest text beside a committed offset, bytes.").within(Range::from(0)),
    Setting::new(
        "producer.id.expiration.ms",
        Int,
        Some("86400000"),
        "How long a partition remembers the sequences of an idempotent producer after its last batch, ms.",
    )
    .within(Range::from(1))
    .dynamic(),
    // Reading.
    Setting::new("fetch.max.bytes", Int, Some("57671680"), "Largest fetch answer, bytes; the first batch always fits.").within(Range::from(1024)),
    Setting::new(
        "max.incremental.fetch.session.cache.slots",
        Int,
        Some("1000"),
        "Fetch sessions are limited by connection here: no effect.",
    )
    .within(Range::from(0))
    .inert(),
    Setting::new("max.request.partition.size.limit", Int, Some("2000"), "Most partitions in one answer to DescribeTopicPartitions.")
        .within(Range::from(1)),
    Setting::new("num.io.threads", Int, Some("2"), "Threads that read segments from the disk; own default.").within(Range::Whole(1, 256)),
    // Connections.
    Setting::new("num.network.threads", Int, None, "Threads that serve connections; own default: one for each processor, at most 8.")
        .within(Range::Whole(1, 256)),
    Setting::new("socket.request.max.bytes", Int, Some("104857600"), "Largest request, bytes; a connection that announces more is closed.")
        .within(Range::Whole(1, 104_857_600)),
    Setting::new("socket.listen.backlog.size", Int, Some("1024"), "Connections that may wait to be accepted; own default.").within(Range::Whole(1, 65_535)),
    Setting::new("socket.send.buffer.bytes", Int, Some("-1"), "Send buffer of a connection, bytes; -1 (own default): the system decides.")
        .within(Range::from(-1)),
    Setting::new("socket.receive.buffer.bytes", Int, Some("-1"), "Receive buffer of a connection, bytes; -1 (own default): the system decides.")
        .within(Range::from(-1)),
    Setting::new("max.connections", Int, Some("2147483647"), "Most connections at a time; also limited by the process's open files. A new one beyond it is closed.")
        .within(Range::from(0)),
    Setting::new("max.connections.per.ip", Int, Some("2147483647"), "Most connections at a time from one address.").within(Range::from(0)),
    Setting::new("connections.max.idle.ms", Long, Some("600000"), "A connection without a request for so long is closed, ms; -1: never.")
        .within(Range::from(-1)),
    Setting::new(
        "queued.max.request.bytes",
        Long,
        Some("134217728"),
        "Bytes of requests that the node holds unanswered; beyond it no connection is read further; own default.",
    )
    .within(Range::from(1 << 20)),
    Setting::new(
        "queued.max.requests",
        Int,
        Some("500"),
        "Unanswered requests are limited by bytes (queued.max.request.bytes) and by connection here: no effect.",
    )
    .within(Range::from(1))
    .inert(),
    Setting::new(
        "sternpost.connection.requests.max",
        Int,
        Some("64"),
        "Unanswered requests of one connection; beyond it the connection is not read further.",
    )
    .within(Range::Whole(1, 10_000)),
    Setting::new(
        "sternpost.connection.request.bytes.max",
        Long,
        Some("33554432"),
        "Bytes of unanswered requests of one connection; beyond it the connection is not read further (a single larger request still fits).",
    )
    .within(Range::from(1 << 16)),
    Setting::new(
        "sternpost.frame.timeout.ms",
        Long,
        Some("30000"),
        "A request whose bytes arrive must be whole after so long, ms, counted anew at each MiB; else the connection is closed.",
    )
    .within(Range::from(100)),
    Setting::new(
        "sternpost.write.timeout.ms",
        Long,
        Some("30000"),
        "A client that takes none of its answer's bytes for so long, ms, is disconnected.",
    )
    .within(Range::from(100)),
    // The node's own.
    Setting::new("sternpost.data.shards", Int, Some("16"), "Raft groups that carry the partitions; fixed when the data directory is made.")
        .within(Range::Whole(1, 1024)),
    Setting::new(
        "sternpost.protocol.level.max",
        Int,
        Some("3"),
        "Highest protocol level that this node speaks (docs/nodes.md); the cluster's level rises to what all nodes speak, and never falls: lower it \
         to be able to go back to the version of Sternpost before an upgrade.",
    )
    .within(Range::Whole(crate::level::OLDEST as i64, crate::level::NEWEST as i64)),
    Setting::new("sternpost.tail.bytes.max", Long, Some("67108864"), "Memory for committed batches kept for readers, bytes.").within(Range::from(1 << 20)),
    Setting::new(
        "sternpost.checkpoint.bytes",
        Long,
        Some("33554432"),
        "A checkpoint starts when so many bytes of committed batches are in no segment; they stay in memory until it is done.",
    )
    .within(Range::from(1 << 20)),
    Setting::new(
        "sternpost.wal.held.bytes.max",
        Long,
        Some("268435456"),
        "A checkpoint starts when a restart would read so many bytes of the WAL.",
    )
    .within(Range::from(16 << 20)),
    Setting::new(
        "sternpost.catch.up.rate",
        Long,
        Some("104857600"),
        "A node that was away for so long that the others' logs no longer hold what it lacks fetches so many bytes per second at most, so that clients \
         hardly notice.",
    )
    .within(Range::from(1 << 10)),
    Setting::new(
        "sternpost.scrub.rate",
        Long,
        Some("10485760"),
        "So many bytes per second of segments, log and checkpoint are read again in search of damage, which is then mended (docs/repair.md); 0: none are.",
    )
    .within(Range::from(0)),
    Setting::new(
        "sternpost.scrub.interval.ms",
        Long,
        Some("86400000"),
        "How long after all of it was read it is read again.",
    )
    .within(Range::from(0)),
];
