//! What grows old: segments by time and size, producer ids. The leader decides on its clock and proposes; apply only
//! carries out.

use super::{Node, Timer};
use crate::command::Command;
use crate::config::TopicSettings;
use crate::mutant::Mutant;
use crate::partition::Partition;
use crate::producer::CROWDED_EXPIRATION;
use crate::shard::Shard;
use model::{Now, Offset, ProducerId};

impl Node {
    pub(super) fn set_retention_timer(&mut self, now: Now) {
        self.set_timer(now.mono.plus(self.settings.retention_check_interval), Timer::Retention);
    }

    pub(super) fn retain(&mut self, now: Now) {
        self.set_retention_timer(now);
        self.crowd_reported &= self.shards.iter().any(Shard::is_crowded);
        for at in 0..self.shards.len() {
            if !self.shards[at].serving {
                continue;
            }
            let expiration = match self.shards[at].is_crowded() {
                true => self.settings.producer_id_expiration.min(CROWDED_EXPIRATION),
                false => self.settings.producer_id_expiration,
            };
            let expiration_ms = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
            let ids: Vec<_> = self.shards[at].partitions.keys().copied().collect();
            for id in ids {
                let Some(settings) = self.topic_settings(id.topic) else { continue };
                let partition = &self.shards[at].partitions[&id];
                let one_more = self.config.mutant == Some(Mutant::RetentionOneTooMany);
                let log_start = retained_from(partition, &settings, now.wall.0, one_more);
                let silent = |ms: i64| now.wall.0.saturating_sub(ms) > expiration_ms;
                let producers: Vec<ProducerId> = partition
                    .log
                    .producers
                    .iter()
                    .filter(|(_, state)| silent(state.appended_ms))
                    .map(|(id, _)| *id)
                    .collect();
                if let Some(log_start) = log_start {
                    self.shards[at].add(Command::Trim { partition: id, log_start }, None);
                }
                if !producers.is_empty() {
                    self.shards[at].add(Command::ForgetProducers { partition: id, producers }, None);
                }
            }
        }
    }
}

/// The new log start, if segments are too old or the log is too large (Kafka: `retention.ms`, `retention.bytes`; whole
/// segments only, oldest first).
fn retained_from(
    partition: &Partition,
    settings: &TopicSettings,
    wall_ms: i64,
    one_more: bool,
) -> Option<Offset> {
    let start = partition.log.log_start;
    let mut keep = start;
    let mut bytes: u64 = partition.segments.iter().map(|segment| segment.batch_bytes).sum();
    bytes += partition.unflushed().iter().map(|batch| batch.size() as u64).sum::<u64>();
    for segment in &partition.segments {
        let age = wall_ms.saturating_sub(segment.max_timestamp);
        let old = settings.retention_ms.is_some_and(|ms| age > i64::try_from(ms).unwrap_or(i64::MAX));
        let large =
            settings.retention_bytes.is_some_and(|max| bytes.saturating_sub(segment.batch_bytes) >= max);
        if !old && !large {
            break;
        }
        bytes = bytes.saturating_sub(segment.batch_bytes);
        keep = keep.max(segment.end_offset);
    }
    if one_more && keep > start {
        keep = partition
            .segments
            .iter()
            .map(|segment| segment.end_offset)
            .find(|end| *end > keep)
            .unwrap_or(keep);
    }
    (keep > start).then_some(keep)
}
