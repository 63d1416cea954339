//! What a client may do with a topic, a group or the cluster (KIP-430): sets of operations, a bit for the code of each. Nobody is kept from
//! anything here yet, so whoever asks is told all of them, as Apache Kafka tells without an authorizer; tools show what they are told they may do.

/// Not told: nobody asked.
const NOT_TOLD: i32 = i32::MIN;

const READ: u32 = 3;
const WRITE: u32 = 4;
const CREATE: u32 = 5;
const DELETE: u32 = 6;
const ALTER: u32 = 7;
const DESCRIBE: u32 = 8;
const CLUSTER_ACTION: u32 = 9;
const DESCRIBE_CONFIGS: u32 = 10;
const ALTER_CONFIGS: u32 = 11;
const IDEMPOTENT_WRITE: u32 = 12;

/// On the cluster.
pub(super) const CLUSTER: i32 =
    set(&[CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE]);
/// On a topic.
pub(super) const TOPIC: i32 =
    set(&[READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS]);
/// On a group. Groups have no settings here.
pub(super) const GROUP: i32 = set(&[READ, DELETE, DESCRIBE]);

const fn set(operations: &[u32]) -> i32 {
    let (mut set, mut at) = (0, 0);
    while at < operations.len() {
        set |= 1 << operations[at];
        at += 1;
    }
    set
}

/// The set, for who asked for it about something that is there.
pub(super) fn told(asked: bool, code: i16, operations: i32) -> i32 {
    if asked && code == 0 { operations } else { NOT_TOLD }
}
