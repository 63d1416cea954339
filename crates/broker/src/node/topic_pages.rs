//! Topics with their partitions, page by page (KIP-966): no answer grows with the number of partitions in the cluster.

use super::Node;
use crate::catalog::Topic;
use crate::event::Effect;
use crate::request::{
    DescribeTopicPartitions, DescribeTopicPartitionsResponse, PartitionCursor, Response, Token,
    TopicMetadata, TopicRef,
};
use std::collections::BTreeSet;

/// A page that is being filled.
struct Page {
    topics: Vec<TopicMetadata>,
    /// Partitions that still fit.
    room: usize,
    next: Option<PartitionCursor>,
}

impl Node {
    pub(super) fn describe_topic_partitions(
        &mut self,
        token: Token,
        request: &DescribeTopicPartitions,
        out: &mut Vec<Effect>,
    ) {
        let room = request.partitions_max.clamp(1, self.settings.described_partitions_max);
        let mut page = Page { topics: Vec::new(), room, next: None };
        let start = request.cursor.as_ref().map_or("", |cursor| cursor.topic.as_str());
        let from = |name: &str| match &request.cursor {
            Some(cursor) if cursor.topic == name => usize::try_from(cursor.index).unwrap_or(0),
            _ => 0,
        };
        match &request.topics {
            None => {
                let topics = self.catalog.topics().skip_while(|topic| topic.name.as_str() < start);
                for topic in topics {
                    if !self.add_to_page(&mut page, topic, from(&topic.name)) {
                        break;
                    }
                }
            }
            Some(names) => {
                let names: BTreeSet<&str> =
                    names.iter().map(String::as_str).filter(|name| *name >= start).collect();
                for name in names {
                    if !self.add_named_to_page(&mut page, name, from(name)) {
                        break;
                    }
                }
            }
        }
        let response = DescribeTopicPartitionsResponse { topics: page.topics, next: page.next };
        self.reply(token, Response::DescribeTopicPartitions(response), out);
    }

    /// Says whether the page has room for more topics.
    fn add_to_page(&self, page: &mut Page, topic: &Topic, from: usize) -> bool {
        if page.is_full_before(&topic.name) {
            return false;
        }
        let part = self.topic_metadata_part(topic, from, page.room);
        page.room -= part.partitions.len();
        let end = from + part.partitions.len();
        if end < topic.shards.len() {
            let index = i32::try_from(end).expect("partition numbers fit");
            page.next = Some(PartitionCursor { topic: topic.name.clone(), index });
        }
        page.topics.push(part);
        page.next.is_none()
    }

    /// The same for a name that may be no topic's: that is told in its place and takes no room.
    fn add_named_to_page(&self, page: &mut Page, name: &str, from: usize) -> bool {
        if let Some(topic) = self.catalog.by_name(name) {
            return self.add_to_page(page, topic, from);
        }
        if page.is_full_before(name) {
            return false;
        }
        page.topics.push(self.metadata_of(&TopicRef::Name(name.to_owned())));
        true
    }
}

impl Page {
    /// Without room the next page begins with this topic, whether there is one of that name or not.
    fn is_full_before(&mut self, name: &str) -> bool {
        let is_full = self.room == 0;
        if is_full {
            self.next = Some(PartitionCursor { topic: name.to_owned(), index: 0 });
        }
        is_full
    }
}
