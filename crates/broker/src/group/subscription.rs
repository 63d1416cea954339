//! What the members of a group read, as far as the coordinator can tell: metadata is opaque but for consumers. Positions
//! in topics that are being read neither expire (`expiry`) nor can be deleted (`offset`).

use super::classic::Group;
use std::collections::BTreeSet;

/// The kind of group whose metadata is known.
const CONSUMERS: &str = "consumer";

/// Whether the members are, or were last, Kafka's consumers.
pub(super) fn is_of_consumers(group: &Group) -> bool {
    group.protocol_type.as_deref() == Some(CONSUMERS)
}

/// Topics that members of a consumer group named in their metadata; `None` when it is another kind of group or the
/// metadata cannot be read.
pub(super) fn topics(group: &Group) -> Option<BTreeSet<String>> {
    if !is_of_consumers(group) {
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
