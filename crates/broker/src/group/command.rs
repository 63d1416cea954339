//! What the coordinator's leader writes to the shard's log. Each command is complete in itself: `GroupTable::apply`
//! needs no clock, no setting and no memory of the leader to carry it out.

use super::config::COMMAND_BYTES_MAX;
use super::opaque::Opaque;
use model::WallMs;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Names one proposal of this coordinator until it is applied or dropped. Never used twice by one coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One change of the group table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupCommand {
    /// Positions were committed. Creates the group when there is none (a client without membership).
    OffsetsCommitted {
        /// The group.
        group: String,
        /// When.
        at: WallMs,
        /// Positions by topic name.
        offsets: Vec<(String, Vec<(i32, CommittedOffset)>)>,
    },
    /// A generation began, the last member went, or a static member got a new id. Replaces the membership as a whole.
    GroupChanged {
        /// The group.
        group: String,
        /// The new membership.
        membership: Membership,
    },
    /// The leader of a generation assigned it; the group is stable. Without effect unless this very generation waits
    /// for it, so there is at most one assignment for each.
    GroupAssigned {
        /// The group.
        group: String,
        /// When.
        at: WallMs,
        /// The generation assigned.
        generation: i32,
        /// Member ids and their shares; members not named get an empty one.
        assignments: Vec<(String, Opaque)>,
    },
    /// Groups and their offsets are gone.
    GroupsRemoved {
        /// Group ids; unknown ones have no effect.
        groups: Vec<String>,
    },
    /// Positions are gone (expired, or deleted by an operator).
    OffsetsRemoved {
        /// The group.
        group: String,
        /// Partitions by topic name; unknown ones have no effect.
        partitions: Vec<(String, Vec<i32>)>,
    },
    /// A topic was deleted: all groups forget their positions in it.
    TopicRemoved {
        /// Its name.
        topic: String,
    },
}

/// One position of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// Next offset the group will read.
    pub offset: i64,
    /// Epoch of the last record read, -1 for none.
    pub leader_epoch: i32,
    /// Free text of the client; empty for none.
    pub metadata: String,
    /// When it was committed.
    pub at: WallMs,
}

/// How far a generation came. A rebalance that gathers members is not written down: it starts anew after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredPhase {
    /// No members.
    Empty,
    /// Members are known, their assignment is not.
    Completing,
    /// Assigned.
    Stable,
}

/// Members of a group at the start of a generation, or since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// When it came to be; of an empty group: since when it is empty.
    pub at: WallMs,
    /// How far the generation came.
    pub phase: StoredPhase,
    /// Counts up with each completed join phase, never back in the life of a group.
    pub generation: i32,
    /// Kind of group.
    pub protocol_type: Option<String>,
    /// Protocol chosen; none when empty.
    pub protocol: Option<String>,
    /// Member id of the leader; none when empty.
    pub leader: Option<String>,
    /// In the order of their ids.
    pub members: Vec<StoredMember>,
}

/// One member as it outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMember {
    /// Member id.
    pub id: String,
    /// Static identity.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// Silence after which it is taken for dead.
    pub session_timeout: Duration,
    /// Longest wait for members to join again.
    pub rebalance_timeout: Duration,
    /// Names and metadata, preferred first.
    pub protocols: Vec<(String, Opaque)>,
    /// Its share; empty until assigned.
    pub assignment: Opaque,
}

/// Cuts positions by topic into runs of at most about `COMMAND_BYTES_MAX` bytes, in their order.
pub(super) fn split<T>(
    topics: Vec<(String, Vec<T>)>,
    bytes_of: impl Fn(&T) -> usize,
) -> Vec<Vec<(String, Vec<T>)>> {
    let mut runs: Vec<Vec<(String, Vec<T>)>> = Vec::new();
    let mut bytes = COMMAND_BYTES_MAX;
    for (topic, positions) in topics {
        let mut is_first_of_topic = true;
        for position in positions {
            if bytes >= COMMAND_BYTES_MAX {
                runs.push(Vec::new());
                bytes = 0;
                is_first_of_topic = true;
            }
            let run = runs.last_mut().expect("pushed above");
            bytes += bytes_of(&position);
            if is_first_of_topic {
                bytes += topic.len() + 8;
                run.push((topic.clone(), Vec::new()));
                is_first_of_topic = false;
            }
            run.last_mut().expect("pushed above").1.push(position);
        }
    }
    runs
}
