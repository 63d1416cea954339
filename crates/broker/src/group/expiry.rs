//! Which positions of a group are too old (KIP-211). Decided here by the leader, carried out by `apply`.

use super::classic::{Group, Phase};
use super::subscription;
use super::table::StoredGroup;
use model::WallMs;
use std::collections::BTreeSet;
use std::time::Duration;

/// What to do about one group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is too old.
    Keep,
    /// These partitions, by topic name.
    Forget(Vec<(String, Vec<i32>)>),
    /// Nobody is in the group and no position is left.
    Remove,
}

/// Judges a group. Counted from the commit for a group without membership; from the commit or from the moment the group
/// became empty, whichever is later, for an empty one; from the commit for topics that no member of a stable
/// consumer group subscribes to. Positions of other groups with members do not age.
pub(super) fn judge(group: &Group, stored: &StoredGroup, now: WallMs, retention: Duration) -> Verdict {
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let subscribed = match group.phase {
        Phase::Empty => BTreeSet::new(),
        Phase::Stable => match subscription::topics(group) {
            Some(topics) => topics,
            None => return Verdict::Keep,
        },
        Phase::Preparing(_) | Phase::Completing => return Verdict::Keep,
    };
    let empty_since = match group.phase {
        Phase::Empty if group.protocol_type.is_some() => group.since,
        _ => WallMs(i64::MIN),
    };
    let mut expired = Vec::new();
    let mut is_any_left = false;
    for (topic, partitions) in &stored.offsets {
        let is_old = |at: WallMs| now.0.saturating_sub(at.max(empty_since).0) >= retention_ms;
        let old: Vec<i32> = match subscribed.contains(topic) {
            true => Vec::new(),
            false => partitions.iter().filter(|(_, o)| is_old(o.at)).map(|(index, _)| *index).collect(),
        };
        is_any_left |= old.len() < partitions.len();
        if !old.is_empty() {
            expired.push((topic.clone(), old));
        }
    }
    if !is_any_left && group.is_void() {
        Verdict::Remove
    } else if expired.is_empty() {
        Verdict::Keep
    } else {
        Verdict::Forget(expired)
    }
}
