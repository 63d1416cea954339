//! Preferred leaders on request (KIP-460). A leader leads a whole shard, so an election for one partition moves all the partitions of
//! its shard. The shard's leader is asked to hand over, whoever it is; the answer leaves when this node hears the preferred
//! one lead. Nothing is promised on the way: a hand-over that fails leaves things as they were, until the time is up.

use super::Node;
use crate::event::Effect;
use crate::peer::PeerMessage;
use crate::request::{
    ElectLeaders, ElectLeadersResponse, ElectionKind, Part, Refusal, Response, Token, TopicRef,
};
use model::{ErrorCode, NodeId, Now, ShardId};
use std::collections::BTreeMap;

/// Shards on their way to their preferred leader, and who waits for it.
pub(super) type Electing = BTreeMap<usize, Vec<Part>>;

/// What is to be done about a shard: hand it over (to whom it should go), or nothing, and why.
type Verdict = Result<(), Refusal>;

impl Node {
    pub(super) fn elect_leaders(
        &mut self,
        now: Now,
        token: Token,
        request: &ElectLeaders,
        out: &mut Vec<Effect>,
    ) {
        let mut verdicts = BTreeMap::new();
        let topics = match &request.topics {
            Some(asked) => {
                let elect = |(name, indexes): &(String, Vec<i32>)| {
                    let elected = indexes.iter().map(|index| {
                        (*index, self.judge_partition(request.kind, name, *index, &mut verdicts))
                    });
                    (name.clone(), elected.collect())
                };
                asked.iter().map(elect).collect()
            }
            None => self.judge_all(request.kind, &mut verdicts),
        };
        let moving: Vec<usize> =
            verdicts.iter().filter(|(_, verdict)| verdict.is_ok()).map(|(at, _)| *at).collect();
        self.ask_to_hand_over(&moving, out);
        for at in &moving {
            self.electing.entry(*at).or_default().push(Part { token, number: *at as u32 });
        }
        let response = Response::ElectLeaders(ElectLeadersResponse { topics });
        let moving = moving.into_iter().map(|at| at as u32).collect();
        self.gather(token, response, moving, Some(now.mono.plus(request.timeout)), out);
    }

    /// Every partition, without those that need no election.
    fn judge_all(
        &self,
        kind: ElectionKind,
        verdicts: &mut BTreeMap<usize, Verdict>,
    ) -> Vec<(String, Vec<(i32, Refusal)>)> {
        let mut topics = Vec::new();
        for topic in self.catalog.topics() {
            let elected = topic.partitions().filter_map(|(id, shard)| {
                let refusal = self.judge_shard(kind, self.shard_index(shard), verdicts);
                (refusal.code != ErrorCode::ElectionNotNeeded).then_some((id.index, refusal))
            });
            let elected: Vec<_> = elected.collect();
            if !elected.is_empty() {
                topics.push((topic.name.clone(), elected));
            }
        }
        topics
    }

    fn judge_partition(
        &self,
        kind: ElectionKind,
        name: &str,
        index: i32,
        verdicts: &mut BTreeMap<usize, Verdict>,
    ) -> Refusal {
        match self.shard_of(&TopicRef::Name(name.to_owned()), index) {
            Some(shard) => self.judge_shard(kind, self.shard_index(shard), verdicts),
            None => Refusal::new(ErrorCode::UnknownTopicOrPartition, "there is no such partition"),
        }
    }

    /// What becomes of a partition of this shard.
    fn judge_shard(&self, kind: ElectionKind, at: usize, verdicts: &mut BTreeMap<usize, Verdict>) -> Refusal {
        let verdict = verdicts.entry(at).or_insert_with(|| match kind {
            ElectionKind::Preferred => self.judge_preferred(at),
            ElectionKind::Unclean => Err(self.refuse_unclean(at)),
        });
        verdict.clone().err().unwrap_or(Refusal::OK)
    }

    fn judge_preferred(&self, at: usize) -> Verdict {
        let preferred = self.preferred(at);
        let number = preferred.0;
        let unavailable = |why| Err(Refusal::new(ErrorCode::PreferredLeaderNotAvailable, why));
        match self.leadership(at) {
            None => unavailable(
                "the partition has no leader now; one is elected as soon as a majority answers".to_owned(),
            ),
            Some(leadership) if leadership.node == preferred => {
                Err(Refusal::new(ErrorCode::ElectionNotNeeded, format!("node {number} leads already")))
            }
            Some(_) if !self.is_up(preferred) => {
                unavailable(format!("node {number}, which should lead, is not ready"))
            }
            Some(leadership) if !leadership.in_sync.contains(&preferred) => {
                unavailable(format!("node {number}, which should lead, is not in sync"))
            }
            Some(_) => Ok(()),
        }
    }

    /// There is no such election: without a majority nobody leads, and with one nothing acknowledged is missing.
    fn refuse_unclean(&self, at: usize) -> Refusal {
        match self.leadership(at) {
            Some(leadership) => {
                let text = format!("node {} leads", leadership.node.0);
                Refusal::new(ErrorCode::ElectionNotNeeded, text)
            }
            None => Refusal::new(
                ErrorCode::EligibleLeadersNotAvailable,
                "unclean elections are not possible: a leader must have every acknowledged record; bring back a majority of the nodes",
            ),
        }
    }

    /// Who should lead a shard when nothing is amiss.
    pub(super) fn preferred(&self, at: usize) -> NodeId {
        self.replicas(self.shards[at].id)[0]
    }

    fn ask_to_hand_over(&mut self, moving: &[usize], out: &mut Vec<Effect>) {
        let mut elsewhere: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        for at in moving {
            match self.leadership(*at) {
                Some(leadership) if leadership.node == self.config.node => self.give_back(*at),
                Some(leadership) => elsewhere.entry(leadership.node).or_default().push(self.shards[*at].id),
                None => {} // judged just now
            }
        }
        let sends = elsewhere.into_iter();
        out.extend(sends.map(|(to, shards)| Effect::Send { to, message: PeerMessage::Elect(shards) }));
    }

    /// Another node's client wants these shards led by whom they should be led by.
    pub(super) fn on_elect(&mut self, shards: &[ShardId]) {
        for shard in shards {
            if let Some(at) = self.find_shard(*shard) {
                self.give_back(at);
            }
        }
    }

    /// The time of an answer is up: what was elected by now stays success, the rest says `code`.
    pub(super) fn fail_elections(&self, response: &mut ElectLeadersResponse, code: ErrorCode) {
        for (name, partitions) in &mut response.topics {
            let topic = self.catalog.by_name(name);
            for (index, refusal) in partitions.iter_mut().filter(|(_, refusal)| refusal.is_ok()) {
                let found = usize::try_from(*index).ok().and_then(|index| topic?.partition_at(index));
                if !found.is_some_and(|(_, shard)| self.is_led_as_preferred(self.shard_index(shard))) {
                    refusal.code = code;
                }
            }
        }
    }

    fn is_led_as_preferred(&self, at: usize) -> bool {
        self.leadership(at).is_some_and(|leadership| leadership.node == self.preferred(at))
    }

    /// Answers those whose shards have come to their preferred leaders.
    pub(super) fn answer_elected(&mut self, out: &mut Vec<Effect>) {
        if self.electing.is_empty() {
            return;
        }
        let arrived: Vec<usize> =
            self.electing.keys().copied().filter(|at| self.is_led_as_preferred(*at)).collect();
        for at in arrived {
            for part in self.electing.remove(&at).expect("just found") {
                self.gathered(part, out);
            }
        }
        // Those whose time is up were answered.
        let gathers = &self.gathers;
        self.electing.retain(|_, waiting| {
            waiting.retain(|part| gathers.contains_key(&part.token));
            !waiting.is_empty()
        });
    }
}
