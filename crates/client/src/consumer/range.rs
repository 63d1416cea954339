//! Kafka's range assignor: each topic's partitions in order, cut into as many runs as it has subscribers.

use std::collections::BTreeMap;

use kafka::wire::Str;

/// A member that wants partitions.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    /// Member id.
    pub member_id: Str,
    /// Name of a static member; those come first.
    pub instance_id: Option<Str>,
    /// Topics it wants.
    pub topics: Vec<Str>,
}

/// Partitions of each member, by topic; every subscriber is in it, even without any.
pub(super) fn assign(
    subscribers: &[Subscriber],
    partition_counts: &BTreeMap<Str, usize>,
) -> BTreeMap<Str, BTreeMap<Str, Vec<i32>>> {
    let mut assigned: BTreeMap<Str, BTreeMap<Str, Vec<i32>>> =
        subscribers.iter().map(|member| (member.member_id.clone(), BTreeMap::new())).collect();
    for (topic, count) in partition_counts {
        let mut members: Vec<&Subscriber> =
            subscribers.iter().filter(|member| member.topics.contains(topic)).collect();
        members.sort_by_key(|member| {
            (member.instance_id.is_none(), member.instance_id.clone(), member.member_id.clone())
        });
        if members.is_empty() {
            continue;
        }
        let (each, extra) = (count / members.len(), count % members.len());
        let mut first = 0;
        for (at, member) in members.into_iter().enumerate() {
            let taken = each + usize::from(at < extra);
            if taken > 0 {
                let partitions = (first..first + taken).map(|partition| partition as i32).collect();
                assigned.entry(member.member_id.clone()).or_default().insert(topic.clone(), partitions);
            }
            first += taken;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(members: &[(&str, Option<&str>, &[&str])], topics: &[(&str, usize)], expected: &str) {
        let subscribers: Vec<Subscriber> = members
            .iter()
            .map(|(member, instance, topics)| Subscriber {
                member_id: (*member).into(),
                instance_id: instance.map(Str::from),
                topics: topics.iter().map(|topic| Str::from(*topic)).collect(),
            })
            .collect();
        let counts = topics.iter().map(|(topic, count)| (Str::from(*topic), *count)).collect();
        let shown: Vec<String> = assign(&subscribers, &counts)
            .into_iter()
            .map(|(member, topics)| {
                let topics: Vec<String> =
                    topics.iter().map(|(topic, partitions)| format!("{topic}{partitions:?}")).collect();
                format!("{member}:{}", topics.join("+"))
            })
            .collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[test]
    fn runs_of_partitions() {
        check(&[("b", None, &["t"]), ("a", None, &["t"])], &[("t", 3)], "a:t[0, 1] b:t[2]");
        check(&[("a", None, &["t"]), ("b", None, &["t"])], &[("t", 1)], "a:t[0] b:");
        check(
            &[("a", None, &["t", "u"]), ("b", None, &["u"])],
            &[("t", 2), ("u", 2)],
            "a:t[0, 1]+u[0] b:u[1]",
        );
        check(&[("a", None, &["t"]), ("b", Some("i"), &["t"])], &[("t", 2)], "a:t[1] b:t[0]");
        check(&[("a", None, &["gone"])], &[], "a:");
    }
}
