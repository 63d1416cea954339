//! The group and `--topic` of the words that touch committed offsets, in the form of Kafka's tools.

use client::TopicPartition;

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The topic.
    pub topic: String,
    /// Its partitions; empty for all of them.
    pub partitions: Vec<i32>,
}

/// Reads `TOPIC` or `TOPIC:0,1,2`.
///
/// # Errors
/// When it is neither.
pub fn read(text: &str) -> Result<Scope, String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok(Scope { topic: text.to_string(), partitions: Vec::new() });
    };
    let partitions: Result<Vec<i32>, _> = partitions.split(',').map(str::parse).collect();
    match partitions {
        Ok(partitions) if partitions.iter().all(|partition| *partition >= 0) => {
            Ok(Scope { topic: topic.to_string(), partitions })
        }
        _ => Err("TOPIC or TOPIC:0,1,2 is wanted".to_string()),
    }
}

/// A group, and which of its committed offsets are meant.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub struct OfGroup {
    /// The group
    #[arg(value_name = "GROUP", required_unless_present = "group", conflicts_with = "group")]
    name: Option<String>,
    /// The group, as Kafka's tools take it
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// A topic, or some of its partitions
    #[arg(short, long, value_name = "TOPIC[:0,1,2]", group = "scope", value_parser = read)]
    pub topic: Vec<Scope>,
    /// Every partition the group has committed
    #[arg(long, group = "scope")]
    pub all_topics: bool,
}

impl OfGroup {
    /// The group's name.
    ///
    /// # Errors
    /// When there is none.
    pub fn group(&self) -> Result<&String, String> {
        self.name.as_ref().or(self.group.as_ref()).ok_or_else(|| "a group's name is wanted".to_owned())
    }
}

impl Scope {
    /// Whether a partition is meant.
    pub fn holds(&self, at: &TopicPartition) -> bool {
        *at.topic == *self.topic && (self.partitions.is_empty() || self.partitions.contains(&at.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka::wire::Str;

    #[test]
    fn scopes_are_read() {
        let of = |topic: &str, partitions: &[i32]| {
            Ok(Scope { topic: topic.to_string(), partitions: partitions.to_vec() })
        };
        assert_eq!(read("flights"), of("flights", &[]));
        assert_eq!(read("flights:0,11"), of("flights", &[0, 11]));
        assert!(read("flights:").is_err());
        assert!(read("flights:-1").is_err());
    }

    #[test]
    fn scopes_hold_partitions() {
        let at = |topic: &str, partition| TopicPartition::new(&Str::from(topic), partition);
        assert!(read("a").unwrap().holds(&at("a", 7)) && !read("a").unwrap().holds(&at("b", 7)));
        assert!(read("a:0,7").unwrap().holds(&at("a", 7)) && !read("a:0,7").unwrap().holds(&at("a", 1)));
    }
}
