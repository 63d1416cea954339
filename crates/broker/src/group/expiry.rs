//! Which positions of a group are too old (KIP-211). Decided here by the leader, carried out by `apply`.

use super::classic::{Group, Phase};
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
        Phase::Stable => match subscribed_topics(group) {
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

/// Topics that members of a consumer group named in their metadata; `None` when it is another kind of group or the
/// metadata cannot be read.
fn subscribed_topics(group: &Group) -> Option<BTreeSet<String>> {
    if group.protocol_type.as_deref() != Some("consumer") {
        return None;
    }
    let mut topics = BTreeSet::new();
    for member in group.members.values() {
        read_topics(&member.metadata(group.protocol.as_deref()), &mut topics)?;
    }
    Some(topics)
}

/// Reads the head of a `ConsumerProtocolSubscription`, the same in all its versions: version, then topic names.
fn read_topics(metadata: &[u8], topics: &mut BTreeSet<String>) -> Option<()> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    for _ in 0..i32::from_be_bytes(*count) {
        let (size, tail) = rest.split_first_chunk::<2>()?;
        let size = usize::try_from(i16::from_be_bytes(*size)).ok()?;
        let (name, tail) = tail.split_at_checked(size)?;
        topics.insert(std::str::from_utf8(name).ok()?.to_owned());
        rest = tail;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_a_subscription() {
        let mut topics = BTreeSet::new();
        let bytes = b"\x00\x03\x00\x00\x00\x02\x00\x01a\x00\x02bc rest";
        assert_eq!(read_topics(bytes, &mut topics), Some(()));
        assert_eq!(topics.into_iter().collect::<Vec<_>>(), ["a", "bc"]);
        for cut in 0..11 {
            assert_eq!(read_topics(&bytes[..cut], &mut BTreeSet::new()), None, "{cut}");
        }
        assert_eq!(read_topics(b"\x00\x00\x00\x00\x00\x01\xff\xff", &mut BTreeSet::new()), None);
    }
}
