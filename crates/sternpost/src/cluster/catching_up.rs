//! How far a node is that gets its records from the others: what it holds of its partitions, beside what the fullest other replica
//! holds of each. By DescribeLogDirs, so of any Kafka cluster.

use client::admin::Broker;
use client::{Client, Metadata};
use kafka::wire::Str;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Partition by topic and number, and what each node that answers holds of it, bytes.
type Held = BTreeMap<i32, BTreeMap<(Str, i32), u64>>;

/// A node that is not in sync everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchingUp {
    /// Its id.
    pub node: i32,
    /// Bytes that it has of its partitions.
    pub bytes: u64,
    /// Bytes of them that others have.
    pub of_bytes: u64,
    /// In how many of them it is not in sync.
    pub behind: usize,
}

/// A node's partitions that another node has too, and in how many of them it is not in sync.
#[derive(Clone, Debug, Default)]
struct Shared {
    partitions: Vec<(Str, i32)>,
    behind: usize,
}

/// The nodes among these brokers that are not in sync everywhere. A broker that is lost on the way, or does not tell, counts as holding
/// nothing.
pub async fn look(client: &Client, brokers: &[Broker], metadata: &Metadata) -> Vec<CatchingUp> {
    let behind = behind(metadata);
    let mut held = Held::new();
    if !behind.is_empty() {
        for broker in brokers {
            held.insert(broker.id, client.held_bytes(&broker.address).await.unwrap_or_default());
        }
    }
    measure(&behind, &held)
}

/// Whether a node is not in sync everywhere, be it one of the brokers now or not.
pub fn is_behind(metadata: &Metadata, node: i32) -> bool {
    behind(metadata).contains_key(&node)
}

fn behind(metadata: &Metadata) -> BTreeMap<i32, Shared> {
    let mut nodes: BTreeMap<i32, Shared> = BTreeMap::new();
    for (name, topic) in &metadata.topics {
        for partition in &topic.partitions {
            for node in &partition.replicas {
                if partition.isr.iter().any(|other| other != node) {
                    let shared = nodes.entry(*node).or_default();
                    shared.partitions.push((name.clone(), partition.partition));
                    shared.behind += usize::from(!partition.isr.contains(node));
                }
            }
        }
    }
    nodes.retain(|_, shared| shared.behind > 0);
    nodes
}

fn measure(behind: &BTreeMap<i32, Shared>, held: &Held) -> Vec<CatchingUp> {
    let of =
        |node: i32, partition: &(Str, i32)| held.get(&node).and_then(|held| held.get(partition)).copied();
    let measured = behind.iter().filter(|(node, _)| held.contains_key(node)).map(|(node, shared)| {
        let mut catching_up = CatchingUp { node: *node, bytes: 0, of_bytes: 0, behind: shared.behind };
        for partition in &shared.partitions {
            let others = held.keys().filter(|other| *other != node);
            let most = others.filter_map(|other| of(*other, partition)).max().unwrap_or(0);
            catching_up.of_bytes += most;
            catching_up.bytes += of(*node, partition).unwrap_or(0).min(most);
        }
        catching_up
    });
    measured.collect()
}

impl CatchingUp {
    /// For programs.
    pub fn as_json(&self) -> Value {
        json!({
            "node": self.node, "bytes": self.bytes, "of_bytes": self.of_bytes,
            "partitions_behind": self.behind,
        })
    }

    /// For people.
    pub fn as_text(&self) -> String {
        let percent = (self.bytes * 100).checked_div(self.of_bytes).unwrap_or(100);
        format!(
            "node {} catches up: {} of {} ({percent} %), {} behind",
            self.node,
            size(self.bytes),
            size(self.of_bytes),
            super::counted(i64::try_from(self.behind).unwrap_or(i64::MAX), "partition")
        )
    }

    /// How long the rest takes when it goes on as in `elapsed`, in which `came` bytes came; `None` when none did.
    pub fn rest(&self, came: u64, elapsed: Duration) -> Option<Duration> {
        let left = self.of_bytes.saturating_sub(self.bytes) as f64;
        (came > 0).then(|| Duration::from_secs_f64(elapsed.as_secs_f64() * left / came as f64))
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() as usize / 10).min(UNITS.len() - 1);
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_measured_by_the_fullest_other_replica() {
        let at = |index: i32| (Str::from("flights"), index);
        let shared = |indexes: &[i32], behind| Shared {
            partitions: indexes.iter().map(|index| at(*index)).collect(),
            behind,
        };
        let behind = [(3, shared(&[0, 1, 2], 2)), (4, shared(&[0], 1))].into();
        let held: Held = [
            (1, [(at(0), 4 << 20), (at(1), 1000), (at(7), 99)].into()),
            (2, [(at(0), 3 << 20), (at(1), 1048)].into()),
            // Of partition 1 it has more than the others tell: what it has is written in other blocks.
            (3, [(at(0), 2 << 20), (at(1), 2000)].into()),
        ]
        .into();
        let measured = measure(&behind, &held);
        let expected = CatchingUp { node: 3, bytes: (2 << 20) + 1048, of_bytes: (4 << 20) + 1048, behind: 2 };
        assert_eq!(measured, [expected], "node 4 tells nothing");
        assert_eq!(
            measured[0].as_text(),
            "node 3 catches up: 2.0 MiB of 4.0 MiB (50 %), 2 partitions behind"
        );
        assert_eq!(measured[0].rest(1 << 20, Duration::from_secs(4)), Some(Duration::from_secs(8)));
        assert_eq!(measured[0].rest(0, Duration::from_secs(4)), None);
        let empty = CatchingUp { node: 3, bytes: 0, of_bytes: 0, behind: 1 };
        assert_eq!(empty.as_text(), "node 3 catches up: 0 B of 0 B (100 %), 1 partition behind");
    }

    #[test]
    fn sizes_are_read_by_people() {
        assert_eq!([1023, 1024, 1536, 3 << 30].map(size), ["1023 B", "1.0 KiB", "1.5 KiB", "3.0 GiB"]);
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
