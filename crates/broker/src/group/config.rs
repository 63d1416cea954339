//! Settings and named limits of the group coordinator. Kafka's property name stands beside each setting that has one.

use std::time::Duration;

/// Settings of a coordinator; the same on every replica of a shard by convention, but only the leader reads them
/// (`apply` does not).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Shortest session time-out a member may ask for (`group.min.session.timeout.ms`).
    pub session_timeout_min: Duration,
    /// Longest session time-out a member may ask for (`group.max.session.timeout.ms`).
    pub session_timeout_max: Duration,
    /// How long an empty group waits for more members before its first generation
    /// (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay: Duration,
    /// A member that joins for the first time and waits longer than this is forgotten (fixed in Kafka: 5 minutes).
    pub new_member_join_timeout: Duration,
    /// How long offsets live without members (`offsets.retention.minutes`).
    pub offsets_retention: Duration,
    /// How often expired offsets are looked for (`offsets.retention.check.interval.ms`).
    pub offsets_retention_check_interval: Duration,
    /// Most members of a group (`group.max.size`).
    pub group_size_max: usize,
    /// Longest free text beside an offset (`offset.metadata.max.bytes`).
    pub offset_metadata_bytes_max: usize,
    /// Most groups of one coordinator. Beyond it new groups are refused.
    pub groups_max: usize,
    /// Most member ids of a group that were handed out and have not come back yet (KIP-394).
    pub pending_members_max: usize,
    /// Most bytes of names and metadata of members, and as many again of assignments, in one group: its snapshot must
    /// fit a log entry.
    pub group_bytes_max: usize,
    /// Most bytes of names and metadata of members in all groups of one coordinator; beyond it nobody new joins.
    pub members_bytes_max: usize,
    /// Most partitions with an offset in one group.
    pub group_offsets_max: usize,
    /// Most bytes that the positions of all groups of one coordinator take in memory, texts and topic names included; beyond it
    /// none is added.
    pub positions_bytes_max: usize,
    /// A known-bad variant, for tests that must notice it.
    pub mutant: Option<GroupMutant>,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            new_member_join_timeout: Duration::from_secs(5 * 60),
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
            group_size_max: 10_000,
            offset_metadata_bytes_max: 4096,
            groups_max: 100_000,
            pending_members_max: 10_000,
            group_bytes_max: 6 << 20,
            members_bytes_max: 8 << 20,
            group_offsets_max: 1_000_000,
            positions_bytes_max: 24 << 20,
            mutant: None,
        }
    }
}

/// Bytes of offsets after which a commit or a removal goes on in another command, so that each fits a log entry.
pub(super) const COMMAND_BYTES_MAX: usize = 4 << 20;

/// Groups looked at in one pass of the expiry; the next pass follows after `EXPIRY_PAUSE`.
pub(super) const EXPIRY_GROUPS_PER_PASS: usize = 1_000;

/// Pause between two passes of one round of the expiry, so that other work gets its turn.
pub(super) const EXPIRY_PAUSE: Duration = Duration::from_millis(10);

/// Most protocols a member may offer (stock clients offer one to five): each is compared with each other one.
pub(super) const MEMBER_PROTOCOLS_MAX: usize = 64;

/// Shortest wait before a rebalance that cannot end yet is looked at again: members may ask for a time-out of zero.
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Known-bad variants of the coordinator. Each breaks one rule in one line; the model test must notice every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMutant {
    /// Answers leave before their command is applied.
    AckBeforeApply,
    /// Any generation may commit, sync and send heartbeats.
    GenerationUnchecked,
    /// A restored snapshot comes without offsets.
    OffsetsLostOnRestore,
    /// A silent member is never removed.
    SessionTimerIgnored,
    /// The leader of a stable generation may assign once more.
    AssignmentOverwritten,
    /// A dropped proposal leaves its speculative state behind.
    DropKeepsSpeculation,
    /// The rebalance never gives up waiting for members.
    JoinTimerIgnored,
    /// A generation starts without its own log entry.
    GenerationNotLogged,
}

impl GroupMutant {
    /// All of them.
    pub const ALL: &'static [GroupMutant] = &[
        GroupMutant::AckBeforeApply,
        GroupMutant::GenerationUnchecked,
        GroupMutant::OffsetsLostOnRestore,
        GroupMutant::SessionTimerIgnored,
        GroupMutant::AssignmentOverwritten,
        GroupMutant::DropKeepsSpeculation,
        GroupMutant::JoinTimerIgnored,
        GroupMutant::GenerationNotLogged,
    ];
}
