//! What a row of the fault matrix is measured by: who claimed to lead what and since when, told by the beats that the nodes send,
//! and for how long each partition took nothing while a client waited.

use crate::cluster::HostIndex;
use crate::outcome::Failure;
use broker::peer::Led;
use model::entry::Term;
use model::{Mono, ShardId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node said that it leads a shard.
#[derive(Clone, Copy, Debug)]
struct Claim {
    at: Mono,
    host: HostIndex,
    term: Term,
}

/// A partition that a client waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Mono,
    batches: u64,
}

/// A leader that is in trouble: somebody must lead after it.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    shard: ShardId,
    term: Term,
    since: Mono,
}

/// Figures of one seed of a row; of several seeds the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Longest time in which one partition acknowledged nothing while a client waited for it.
    pub gap: Duration,
    /// Longest time from a trouble of a shard's leader to the next claim to lead the shard.
    pub takeover: Duration,
    /// Takeovers seen.
    pub takeovers: u64,
    /// Rises of a shard's term while troubles came.
    pub rises: u64,
    /// Acknowledgements from the first trouble to the last.
    pub acks: u64,
    /// Longest time without an acknowledgement of any partition behind the end of a row's troubles.
    pub again: Duration,
    /// From then until every node says that the next one may go.
    pub whole: Duration,
}

impl Figures {
    /// The larger of each.
    pub fn or_larger(self, other: Figures) -> Figures {
        Figures {
            gap: self.gap.max(other.gap),
            takeover: self.takeover.max(other.takeover),
            takeovers: self.takeovers.max(other.takeovers),
            rises: self.rises.max(other.rises),
            acks: self.acks.max(other.acks),
            again: self.again.max(other.again),
            whole: self.whole.max(other.whole),
        }
    }
}

/// Everything that is measured.
#[derive(Debug, Default)]
pub struct Watch {
    pub figures: Figures,
    /// Since when fewer than a majority of the nodes run.
    pub minority_since: Option<Mono>,
    is_on: bool,
    waiting: BTreeMap<u32, Waiting>,
    claims: BTreeMap<ShardId, Vec<Claim>>,
    awaited: Vec<Awaited>,
}

impl Watch {
    /// The troubles begin.
    pub fn begin(&mut self, now: Mono) {
        self.is_on = true;
        self.waiting.values_mut().for_each(|waiting| waiting.since = now);
    }

    /// The troubles are over and what they left behind has been seen.
    pub fn end(&mut self) {
        self.is_on = false;
    }

    // What nodes say

    /// A node tells its peers what it leads.
    pub fn told(&mut self, host: HostIndex, led: &[Led], now: Mono) {
        for Led { shard, term, .. } in led {
            let claims = self.claims.entry(*shard).or_default();
            if claims.last().is_some_and(|last| last.term >= *term) {
                continue;
            }
            claims.push(Claim { at: now, host, term: *term });
            if !self.is_on {
                continue;
            }
            self.figures.rises += 1;
            let (ended, others) =
                self.awaited.drain(..).partition(|awaited| awaited.shard == *shard && awaited.term < *term);
            self.awaited = others;
            for awaited in Vec::<Awaited>::from_iter(ended) {
                self.figures.takeovers += 1;
                self.figures.takeover = self.figures.takeover.max(now.since(awaited.since));
            }
        }
    }

    /// Who claimed a shard last: the metadata group, or the first shard of records.
    pub fn leader(&self, of_records: bool) -> Option<HostIndex> {
        let of_kind = |shard: &ShardId| (*shard != ShardId::METADATA) == of_records;
        let (_, claims) = self.claims.iter().find(|(shard, _)| of_kind(shard))?;
        claims.last().map(|claim| claim.host)
    }

    /// Shards that a node claimed last.
    pub fn led_by(&self, host: HostIndex) -> usize {
        self.claims.values().filter(|claims| claims.last().is_some_and(|last| last.host == host)).count()
    }

    /// A node cannot lead from now on: for each shard that it claimed another claim is awaited.
    pub fn await_others(&mut self, host: HostIndex, now: Mono) {
        for (shard, claims) in &self.claims {
            let Some(last) = claims.last().filter(|last| last.host == host) else { continue };
            if !self.awaited.iter().any(|awaited| awaited.shard == *shard) {
                self.awaited.push(Awaited { shard: *shard, term: last.term, since: now });
            }
        }
    }

    /// Since when a claim is awaited that never came.
    pub fn still_awaited(&self) -> Option<Mono> {
        self.awaited.iter().map(|awaited| awaited.since).min()
    }

    // What clients see

    /// A client has a batch for a partition.
    pub fn asked(&mut self, partition: u32, now: Mono) {
        let waiting = self.waiting.entry(partition).or_insert(Waiting { since: now, batches: 0 });
        if waiting.batches == 0 {
            waiting.since = now;
        }
        waiting.batches += 1;
    }

    /// A client does not wait for a batch any more.
    pub fn dropped(&mut self, partition: u32) {
        if let Some(waiting) = self.waiting.get_mut(&partition) {
            waiting.batches = waiting.batches.saturating_sub(1);
        }
    }

    /// A batch was acknowledged.
    pub fn acknowledged(&mut self, partition: u32, now: Mono) {
        if let Some(waiting) = self.waiting.get_mut(&partition) {
            let gap = now.since(std::mem::replace(&mut waiting.since, now));
            if self.is_on {
                self.figures.gap = self.figures.gap.max(gap);
                self.figures.acks += 1;
            }
        }
        self.dropped(partition);
    }

    /// Partitions for which somebody has waited longer than the longest gap so far.
    pub fn close_gaps(&mut self, now: Mono) {
        for waiting in self.waiting.values().filter(|waiting| waiting.batches > 0) {
            self.figures.gap = self.figures.gap.max(now.since(waiting.since));
        }
    }

    /// Judges an acknowledgement of a batch that was sent once, to this host at this moment. Only where one shard has all
    /// partitions is it known who led it.
    ///
    /// # Errors
    /// Another node led already when it was sent, or there was no majority all the time.
    pub fn judge_ack(&self, host: HostIndex, sent: Mono) -> Result<(), Failure> {
        if self.minority_since.is_some_and(|since| sent > since) {
            let detail = format!("node {} acknowledged what was sent at {sent:?}", host + 1);
            return Err(Failure::new("nothing is acknowledged without a majority", detail));
        }
        let mut of_records = self.claims.iter().filter(|(shard, _)| **shard != ShardId::METADATA);
        let (Some((_, claims)), None) = (of_records.next(), of_records.next()) else { return Ok(()) };
        let leader = claims.iter().rev().find(|claim| claim.at < sent);
        let is_back = claims.iter().any(|claim| claim.host == host && claim.at >= sent);
        if let Some(leader) = leader.filter(|leader| leader.host != host && !is_back) {
            let detail = format!(
                "node {} acknowledged what was sent at {sent:?}; node {} led since {:?}",
                host + 1,
                leader.host + 1,
                leader.at
            );
            return Err(Failure::new("who was replaced acknowledges nothing", detail));
        }
        Ok(())
    }
}
