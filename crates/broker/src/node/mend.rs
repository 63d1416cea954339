//! Damaged segments: whoever comes upon one says so, and it is written anew from what is whole in it and what another replica
//! has. Meanwhile this replica goes on voting and leading, and answers nothing from the damaged range. One segment at a time.
//!
//! ```text
//! damage found → step → lacks from..to → pull … range → step … → whole
//! ```

use super::throttle::Throttle;
use super::{Node, Timer};
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::peer::{PeerMessage, Pull, Range};
use model::job::{Job, JobError, JobId, Mended, SegmentMend};
use model::{Mono, NodeId, Now, Offset, PartitionId, StoredBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Damaged segments that are remembered; more are found again.
const DAMAGED_MAX: usize = 10_000;
/// Bytes that one step copies: a checkpoint may have to wait for it.
const STEP_BYTES_MAX: usize = 8 << 20;
/// A pull without an answer goes to the next replica.
const PULL_TIMEOUT: Duration = Duration::from_secs(2);
/// A segment that could not be mended is tried again after this, and after twice as long each time that it could not.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// What is damaged here, and the mend under way.
pub(super) struct Mending {
    damaged: BTreeMap<(PartitionId, Offset), Damage>,
    under_way: Option<UnderWay>,
    throttle: Throttle,
    pub(super) mended_total: u64,
    pub(super) brought_bytes_total: u64,
}

struct Damage {
    /// Not before.
    due: Mono,
    /// How long the next wait is.
    wait: Duration,
    /// Why the last try came to nothing, if there was one.
    trouble: Option<String>,
}

struct UnderWay {
    key: (PartitionId, Offset),
    stage: Stage,
}

enum Stage {
    /// A step is being made.
    Step(JobId),
    /// No whole block holds these offsets, and they are needed.
    Lacks { from: Offset, to: Offset, asked: BTreeSet<NodeId>, pull: Option<(u64, Mono)> },
}

impl Mending {
    /// Nothing is damaged; so many bytes a second may be fetched.
    pub(super) fn new(rate: u64, pull_bytes: u32) -> Mending {
        Mending {
            damaged: BTreeMap::new(),
            under_way: None,
            throttle: Throttle::new(rate, 2 * u64::from(pull_bytes)),
            mended_total: 0,
            brought_bytes_total: 0,
        }
    }

    /// A sentence about what stays damaged.
    pub(super) fn words(&self) -> Option<String> {
        let stuck = self.damaged.iter().find_map(|(key, damage)| Some((key, damage.trouble.as_ref()?)));
        let ((partition, base), trouble) = stuck?;
        let count = self.damaged.values().filter(|damage| damage.trouble.is_some()).count();
        Some(format!(
            "{count} damaged segments could not be mended yet, the first of partition {} of topic {} from offset {} on: {trouble}",
            partition.index,
            partition.topic.hex(),
            base.0
        ))
    }
}

/// A segment, for a person.
fn named((partition, base): &(PartitionId, Offset)) -> String {
    let (index, topic) = (partition.index, partition.topic.hex());
    format!("partition {index} of topic {topic}: the segment from offset {} on", base.0)
}

impl Node {
    /// Damaged segments, as far as they were found and are not whole again.
    pub fn damaged_segments(&self) -> u64 {
        self.mending.damaged.len() as u64
    }

    /// A segment failed its checks: it is mended, as soon as somebody has what it lacks.
    pub(super) fn on_damage(
        &mut self,
        now: Now,
        partition: PartitionId,
        base: Offset,
        out: &mut Vec<Effect>,
    ) {
        let Some(at) = self.holder(partition) else { return };
        let segment = self.shards[at].partitions[&partition].segment_of(base);
        if segment.is_none_or(|segment| segment.base_offset != base) {
            return; // it went between the plan of the read and the read
        }
        let mending = &mut self.mending;
        let is_known = mending.damaged.contains_key(&(partition, base));
        let is_forgotten = self.config.mutant == Some(Mutant::DamageForgotten);
        if is_known || mending.damaged.len() >= DAMAGED_MAX || is_forgotten {
            return;
        }
        mending.damaged.insert((partition, base), Damage { due: now.mono, wait: RETRY_MIN, trouble: None });
        let text = format!("{} is damaged", named(&(partition, base)));
        out.push(Effect::Log(LogLevel::Error, text));
        self.plan_upkeep(Some(now.mono));
    }

    /// Looks after the segments, and says when to do so again.
    pub(super) fn upkeep(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.upkeep_at = None;
        if self.frozen.is_some() || self.checkpoint.is_closing() {
            return;
        }
        let scrub_at = self.scrub(now, out);
        self.plan_upkeep(scrub_at);
        let mend_at = self.mend(now, out);
        self.plan_upkeep(mend_at);
    }

    pub(super) fn plan_upkeep(&mut self, at: Option<Mono>) {
        if let Some(at) = at.filter(|at| self.upkeep_at.is_none_or(|planned| *at < planned)) {
            self.upkeep_at = Some(at);
            self.set_timer(at, Timer::Upkeep);
        }
    }

    /// Begins a mend, or asks the next replica, if it is time to; says when it will be.
    fn mend(&mut self, now: Now, out: &mut Vec<Effect>) -> Option<Mono> {
        if self.mending.under_way.is_none() {
            let first = self.mending.damaged.iter().min_by_key(|(_, damage)| damage.due);
            let (key, due) = first.map(|(key, damage)| (*key, damage.due))?;
            if now.mono < due {
                return Some(due);
            }
            self.mend_step(key, Vec::new(), out);
        }
        self.ask_for_lacking(now, out);
        match &self.mending.under_way {
            Some(UnderWay { stage: Stage::Step(_), .. }) => None,
            Some(UnderWay { stage: Stage::Lacks { pull: Some((_, until)), .. }, .. }) => Some(*until),
            Some(UnderWay { stage: Stage::Lacks { pull: None, .. }, .. }) => {
                self.mending.throttle.opens_at(now.mono)
            }
            None => self.mending.damaged.values().map(|damage| damage.due).min(),
        }
    }

    fn mend_step(&mut self, key: (PartitionId, Offset), batches: Vec<StoredBatch>, out: &mut Vec<Effect>) {
        let id = self.next_job();
        self.mending.under_way = Some(UnderWay { key, stage: Stage::Step(id) });
        let (partition, base_offset) = key;
        let needed_from = match self.holder(partition) {
            Some(at) if self.config.mutant != Some(Mutant::MendSkipsLacking) => self.log_start(at, partition),
            _ => Offset(i64::MAX),
        };
        let step = SegmentMend { partition, base_offset, batches, needed_from, bytes_max: STEP_BYTES_MAX };
        out.push(Effect::Start { id, job: Job::Mend(step) });
    }

    /// Whether this is the job of the mend under way.
    pub(super) fn is_mend(&self, id: JobId) -> bool {
        self.mending
            .under_way
            .as_ref()
            .is_some_and(|mend| matches!(mend.stage, Stage::Step(job) if job == id))
    }

    pub(super) fn on_mended(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<Mended, JobError>,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_mend(id) {
            return;
        }
        let UnderWay { key, .. } = self.mending.under_way.take().expect("just looked at");
        match result {
            Ok(Mended::Copied) => self.mend_step(key, Vec::new(), out),
            Ok(Mended::Lacks { from, to }) => {
                let stage = Stage::Lacks { from, to, asked: BTreeSet::new(), pull: None };
                self.mending.under_way = Some(UnderWay { key, stage });
            }
            Ok(Mended::Whole { brought }) => {
                self.mending.damaged.remove(&key);
                self.mending.mended_total += 1;
                self.mending.brought_bytes_total += brought;
                let text = format!("{} is whole again, {brought} bytes of it from other nodes", named(&key));
                out.push(Effect::Log(LogLevel::Warn, text));
            }
            Ok(Mended::Gone) => drop(self.mending.damaged.remove(&key)),
            Err(error) => self.mend_failed(now, key, error.to_string(), out),
        }
        self.plan_upkeep(Some(now.mono));
    }

    fn mend_failed(&mut self, now: Now, key: (PartitionId, Offset), trouble: String, out: &mut Vec<Effect>) {
        let Some(damage) = self.mending.damaged.get_mut(&key) else { return };
        damage.due = now.mono.plus(damage.wait);
        damage.wait = (2 * damage.wait).min(RETRY_MAX);
        if damage.trouble.is_none() {
            let text = format!("{} cannot be mended yet: {trouble}", named(&key));
            out.push(Effect::Log(LogLevel::Error, text));
        }
        damage.trouble = Some(trouble);
    }

    /// Asks one replica after the other for what is lacking.
    fn ask_for_lacking(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(UnderWay { key, stage: Stage::Lacks { from, to, asked, pull } }) =
            &mut self.mending.under_way
        else {
            return;
        };
        if pull.is_some_and(|(_, until)| now.mono < until) {
            return;
        }
        let (key, from, to) = (*key, *from, *to);
        let asked = std::mem::take(asked);
        let Some(at) = self.holder(key.0) else {
            self.mending.under_way = None;
            self.mending.damaged.remove(&key);
            return;
        };
        if from < self.log_start(at, key.0) {
            // Less is needed than was, and others may have let the rest go.
            return self.mend_step(key, Vec::new(), out);
        }
        let shard = self.shards[at].id;
        let replicas = self.replicas(shard).into_iter();
        let source = replicas
            .filter(|node| *node != self.config.node && self.is_alive(*node))
            .find(|node| !asked.contains(node));
        let Some(source) = source else {
            self.mending.under_way = None;
            let trouble =
                format!("no other replica that is up has the offsets from {} up to {}", from.0, to.0 - 1);
            return self.mend_failed(now, key, trouble, out);
        };
        if self.mending.throttle.opens_at(now.mono).is_some() {
            let stage = Stage::Lacks { from, to, asked, pull: None };
            self.mending.under_way = Some(UnderWay { key, stage });
            return;
        }
        let bytes_max = self.config.pull_bytes;
        self.mending.throttle.take(bytes_max as usize);
        let number = self.next_question();
        let state = self.shards[at].applied();
        let pull = Pull { number, shard, partition: key.0, offset: from, bytes_max, state };
        out.push(Effect::Send { to: source, message: PeerMessage::Pull(pull) });
        let asked = asked.into_iter().chain([source]).collect();
        let stage = Stage::Lacks { from, to, asked, pull: Some((number, now.mono.plus(PULL_TIMEOUT))) };
        self.mending.under_way = Some(UnderWay { key, stage });
    }

    /// Where a partition begins that the shard has.
    fn log_start(&self, at: usize, partition: PartitionId) -> Offset {
        self.shards[at].partitions[&partition].log.log_start
    }

    /// Records that were pulled for the mend, if they were; gives others back.
    pub(super) fn on_mending_range(
        &mut self,
        now: Now,
        range: Range,
        out: &mut Vec<Effect>,
    ) -> Option<Range> {
        let mend = self.mending.under_way.as_ref();
        let Some(UnderWay { key, stage: Stage::Lacks { from, to, asked, pull: Some((number, _)) } }) = mend
        else {
            return Some(range);
        };
        if *number != range.number {
            return Some(range);
        }
        let (key, from, to, asked) = (*key, *from, *to, asked.clone());
        let mut next = None;
        let fits = |batch: &StoredBatch| {
            let follows = match next {
                None => (batch.base_offset..batch.next_offset()).contains(&from),
                Some(next) => batch.base_offset == next,
            };
            let fits = follows && batch.next_offset() <= to && batch.is_intact();
            next = Some(batch.next_offset());
            fits
        };
        let asked_for = self.config.pull_bytes as usize;
        let came = range.batches.iter().map(StoredBatch::size).sum();
        let batches: Vec<StoredBatch> = range.batches.into_iter().take_while(fits).collect();
        self.mending.throttle.correct(asked_for, came);
        if batches.is_empty() {
            let stage = Stage::Lacks { from, to, asked, pull: None };
            self.mending.under_way = Some(UnderWay { key, stage });
            self.plan_upkeep(Some(now.mono));
        } else {
            self.mend_step(key, batches, out);
        }
        None
    }
}
