//! Bytes that this version and the one before wrote: every command of the log and the state of a shard, read back from `golden/log.txt` and
//! written the same. A change that breaks this needs a new `DESCRIPTOR_VERSION` (decision 0004), or makes every data
//! directory unreadable. For a new command the test prints the line that is missing.

use crate::catalog::{Catalog, CatalogCommand, Dying};
use crate::command::{Command, Descriptor};
use crate::disks::{Disks, Named};
use crate::group::{
    CommittedOffset, GroupCommand, GroupTable, Membership, Opaque, StoredGroup, StoredMember, StoredPhase,
};
use crate::partition::PartitionLog;
use crate::producer::{AppendedBatch, ProducerState};
use crate::shard::Snapshot;
use model::{
    DiskId, LeaderEpoch, LogIndex, NodeId, Offset, PartitionId, ProducerId, ShardId, TopicId, WallMs,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

const TOPIC: TopicId = TopicId([7; 16]);
const PARTITION: PartitionId = PartitionId { topic: TOPIC, index: 300 };
const AT: WallMs = WallMs(1_357_041_600_000);

fn configs() -> BTreeMap<String, String> {
    BTreeMap::from([("retention.ms".to_owned(), "86400000".to_owned())])
}

fn committed() -> CommittedOffset {
    CommittedOffset { offset: 336_776, leader_epoch: 4, metadata: "text".into(), at: AT }
}

fn membership(phase: StoredPhase) -> Membership {
    let member = StoredMember {
        id: "app-1".into(),
        instance_id: Some("one".into()),
        client_id: "app".into(),
        client_host: "10.0.0.1".into(),
        session_timeout: Duration::from_millis(45_000),
        rebalance_timeout: Duration::from_millis(300_000),
        protocols: vec![("range".into(), Opaque::copy_of(b"topics"))],
        assignment: Opaque::copy_of(b"share"),
    };
    Membership {
        at: AT,
        phase,
        generation: 5,
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        leader: Some("app-1".into()),
        members: vec![member],
    }
}

/// The name of a command in the file. A new one gets a sample below.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Append { .. } => "append",
        Command::CreatePartition { .. } => "create-partition",
        Command::DeletePartition(_) => "delete-partition",
        Command::Trim { .. } => "trim",
        Command::ForgetProducers { .. } => "forget-producers",
        Command::Group(GroupCommand::OffsetsCommitted { .. }) => "offsets-committed",
        Command::Group(GroupCommand::GroupChanged { .. }) => "group-changed",
        Command::Group(GroupCommand::GroupAssigned { .. }) => "group-assigned",
        Command::Group(GroupCommand::GroupsRemoved { .. }) => "groups-removed",
        Command::Group(GroupCommand::OffsetsRemoved { .. }) => "offsets-removed",
        Command::Group(GroupCommand::TopicRemoved { .. }) => "topic-removed",
        Command::Catalog(CatalogCommand::Format { .. }) => "format",
        Command::Catalog(CatalogCommand::CreateTopic { .. }) => "create-topic",
        Command::Catalog(CatalogCommand::AddPartitions { .. }) => "add-partitions",
        Command::Catalog(CatalogCommand::DeleteTopic { .. }) => "delete-topic",
        Command::Catalog(CatalogCommand::SetTopicConfigs { .. }) => "set-topic-configs",
        Command::Catalog(CatalogCommand::SetNodeConfigs { .. }) => "set-node-configs",
        Command::Catalog(CatalogCommand::AllocateProducerIds { .. }) => "allocate-producer-ids",
        Command::Catalog(CatalogCommand::AddShards { .. }) => "add-shards",
        Command::Catalog(CatalogCommand::ForgetTopics { .. }) => "forget-topics",
        Command::Catalog(CatalogCommand::RaiseLevel { .. }) => "raise-level",
        Command::Catalog(CatalogCommand::NameDisk { .. }) => "name-disk",
        Command::RemovePartition { .. } => "remove-partition",
    }
}

fn commands() -> Vec<Command> {
    let group = || "readers".to_owned();
    let groups = [
        GroupCommand::OffsetsCommitted {
            group: group(),
            at: AT,
            offsets: vec![("flights".into(), vec![(11, committed())])],
        },
        GroupCommand::GroupChanged { group: group(), membership: membership(StoredPhase::Completing) },
        GroupCommand::GroupAssigned {
            group: group(),
            at: AT,
            generation: 5,
            assignments: vec![("app-1".into(), Opaque::copy_of(b"share"))],
        },
        GroupCommand::GroupsRemoved { groups: vec![group()] },
        GroupCommand::OffsetsRemoved { group: group(), partitions: vec![("flights".into(), vec![0, 11])] },
        GroupCommand::TopicRemoved { topic: "flights".into() },
    ];
    let catalog = [
        CatalogCommand::Format { coordinators: (0..64).map(|slot| ShardId(1 + slot % 4)).collect() },
        CatalogCommand::CreateTopic {
            name: "flights".into(),
            id: TOPIC,
            shards: vec![ShardId(1), ShardId(2)],
            configs: configs(),
        },
        CatalogCommand::AddPartitions { id: TOPIC, from: 2, shards: vec![ShardId(3)] },
        CatalogCommand::DeleteTopic { id: TOPIC },
        CatalogCommand::SetTopicConfigs { id: TOPIC, configs: configs() },
        CatalogCommand::SetNodeConfigs { node: Some(NodeId(1)), configs: configs() },
        CatalogCommand::AllocateProducerIds { first: 1000, count: 1000 },
        CatalogCommand::AddShards {
            first: ShardId::FIRST_PLACED,
            replicas: [[1, 2, 3], [2, 3, 1]].map(|nodes| nodes.map(NodeId).to_vec()).to_vec(),
        },
        CatalogCommand::ForgetTopics { ids: vec![TOPIC] },
        CatalogCommand::RaiseLevel { to: 2 },
        CatalogCommand::NameDisk { node: NodeId(2), named: Named { disk: DiskId([9; 16]), replica: 1 } },
    ];
    let own = [
        Command::Append {
            partition: PARTITION,
            base_offset: Offset(336_776),
            leader_epoch: LeaderEpoch(4),
            size: 1 << 20,
        },
        Command::CreatePartition { partition: PARTITION, catalog: LogIndex(9) },
        Command::DeletePartition(PARTITION),
        Command::Trim { partition: PARTITION, log_start: Offset(5) },
        Command::ForgetProducers { partition: PARTITION, producers: vec![ProducerId(4000)] },
        Command::RemovePartition { partition: PARTITION, catalog: LogIndex(9) },
    ];
    own.into_iter().chain(groups.map(Command::Group)).chain(catalog.map(Command::Catalog)).collect()
}

fn snapshot() -> Snapshot<'static> {
    let mut catalog = Catalog::default();
    for command in commands() {
        if let Command::Catalog(command) = command
            && !matches!(command, CatalogCommand::DeleteTopic { .. })
        {
            catalog.apply(command, LogIndex(12));
        }
    }
    let (name, shards) = ("old".to_owned(), [ShardId(4), ShardId(2)].into());
    catalog.mark_dying(TopicId([8; 16]), Dying { name, shards, since: LogIndex(12) });
    let batch =
        AppendedBatch { first_sequence: 3, last_sequence: 7, base_offset: Offset(5), last_offset: Offset(9) };
    let producer = ProducerState { epoch: 2, batches: [batch].into(), appended_ms: AT.0 };
    let log = PartitionLog {
        created: LogIndex(9),
        log_start: Offset(5),
        log_end: Offset(10),
        epochs: vec![(LeaderEpoch(1), Offset(5)), (LeaderEpoch(4), Offset(8))],
        producers: BTreeMap::from([(ProducerId(4000), producer)]),
    };
    let offsets = BTreeMap::from([("flights".to_owned(), BTreeMap::from([(11, committed())]))]);
    let simple = StoredGroup { membership: None, offsets: offsets.clone() };
    let working = StoredGroup { membership: Some(membership(StoredPhase::Stable)), offsets };
    let left = StoredGroup { membership: Some(membership(StoredPhase::Empty)), offsets: BTreeMap::new() };
    let groups = [("left", left), ("readers", working), ("simple", simple)];
    Snapshot {
        epoch: 4,
        partitions: vec![(PARTITION, Cow::Owned(log))],
        groups: GroupTable { groups: groups.map(|(name, group)| (name.to_owned(), group)).into() },
        catalog: Some(catalog),
        wanted: LogIndex(11),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    digits.collect::<Result<_, _>>().expect("hexadecimal")
}

/// Name and bytes of everything, as this version writes it.
fn written() -> Vec<(&'static str, String)> {
    let descriptor = |command| Descriptor { at_ms: AT.0, commands: vec![command] };
    let lines = commands().into_iter().map(|c| (name(&c), hex(&descriptor(c).encode())));
    lines.chain([("snapshot-4", hex(&snapshot().encode()))]).collect()
}

#[test]
fn the_log_is_written_and_read_as_ever() {
    let golden: Vec<(&str, &str)> = include_str!("../golden/log.txt")
        .lines()
        .map(|line| line.split_once(' ').expect("a name and bytes"))
        .collect();
    let is_older = |name: &str| ["snapshot-2", "snapshot-3"].contains(&name);
    let (older, golden): (Vec<_>, Vec<_>) = golden.into_iter().partition(|(name, _)| is_older(name));
    let written = written();
    for (at, (name, hex)) in written.iter().enumerate() {
        assert_eq!(golden.get(at), Some(&(*name, hex.as_str())), "line {at} of the file");
    }
    assert_eq!(golden.len(), written.len(), "every command once, and the snapshot");
    for command in commands() {
        let name = name(&command);
        let (_, golden) = written.iter().find(|(other, _)| *other == name).expect("written");
        let read = Descriptor::decode(&bytes(golden)).expect("as written");
        assert_eq!(read, Descriptor { at_ms: AT.0, commands: vec![command] });
    }
    let (_, golden) = written.last().expect("the snapshot");
    let read = Snapshot::decode(ShardId(3), &bytes(golden)).expect("as written");
    assert_eq!(read, snapshot());
    let oldest = Snapshot::decode(ShardId(3), &bytes(golden)[2..]).expect_err("of a version before");
    assert!(oldest.0.contains("another version"), "{}", oldest.0);
    let [(_, version_2), (_, version_3)] = older[..] else { panic!("the states of two versions before") };
    let mut without = snapshot();
    without.catalog.as_mut().expect("it has one").take_disks(Disks::default());
    assert_eq!(Snapshot::decode(ShardId(3), &bytes(version_3)).expect("of version 3"), without);
    assert_eq!(hex(&without.encode()), version_3, "as long as no disk is named, versions before can read it");
    without.wanted = LogIndex(0);
    without.catalog.as_mut().expect("it has one").forget_what_version_2_lacks();
    assert_eq!(Snapshot::decode(ShardId(3), &bytes(version_2)).expect("of version 2"), without);
}
