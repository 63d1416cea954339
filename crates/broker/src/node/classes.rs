//! Where shards are: those that every node has, and those that were placed on some of the nodes because a topic wanted fewer
//! replicas, or named them. The shards of one set of nodes are a class; it comes about when a partition first wants it.

use super::{Node, NodeConfig};
use crate::catalog::CatalogCommand;
use crate::command::Command;
use crate::disks::Disks;
use crate::event::Effect;
use crate::group::{Coordinator, GroupConfig};
use crate::peer::{node_of, raft_id};
use crate::producer::PRODUCERS_MAX;
use crate::request::Refusal;
use crate::shard::Shard;
use consensus::{Group, Members, Restored};
use model::job::{SegmentMeta, ShardCheckpoint};
use model::{Entry, ErrorCode, HardState, LogIndex, NodeId, Offset, PartitionId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Shards of a cluster; beyond it no new class comes about.
pub(super) const SHARDS_MAX: usize = 1024;

/// What the log had of shards at the start. Of one that the catalogue did not know yet it is kept until it does.
#[derive(Default)]
pub(super) struct Found {
    pub(super) entries: BTreeMap<ShardId, Vec<Entry>>,
    pub(super) hard_states: BTreeMap<ShardId, HardState>,
}

/// Where the partitions of a topic are to be.
pub(super) enum Spread {
    /// So many of them, each on so many nodes.
    Even {
        /// How many.
        partitions: usize,
        /// Replicas of each.
        replicas: usize,
    },
    /// Each on these nodes, the one that leads it when nothing is amiss first.
    Given(Vec<Vec<NodeId>>),
}

impl Spread {
    pub(super) fn partitions(&self) -> usize {
        match self {
            Spread::Even { partitions, .. } => *partitions,
            Spread::Given(sets) => sets.len(),
        }
    }

    pub(super) fn replicas(&self) -> usize {
        match self {
            Spread::Even { replicas, .. } => *replicas,
            Spread::Given(sets) => sets.first().map_or(0, Vec::len),
        }
    }
}

/// The place that one partition wants.
struct Wanted {
    nodes: BTreeSet<NodeId>,
    leader: Option<NodeId>,
    /// All of its nodes as they were named.
    order: Option<Vec<NodeId>>,
    /// Which of the shards that would do.
    nth: usize,
}

/// A shard of a class, and its nodes, the one that is to lead first.
type Member = (ShardId, Vec<NodeId>);

impl Wanted {
    fn given(nodes: &[NodeId], nth: usize) -> Wanted {
        let order = Some(nodes.to_vec());
        Wanted { nodes: nodes.iter().copied().collect(), leader: Some(nodes[0]), order, nth }
    }

    /// A shard whose nodes stand in the order that was named; else one that is led as wanted.
    fn choose(&self, class: &[Member]) -> ShardId {
        let nth_of = |fits: &dyn Fn(&[NodeId]) -> bool| {
            let fitting: Vec<ShardId> =
                class.iter().filter(|(_, nodes)| fits(nodes)).map(|(shard, _)| *shard).collect();
            fitting.get(self.nth % fitting.len().max(1)).copied()
        };
        let in_order = self.order.as_ref().and_then(|order| nth_of(&|nodes| nodes == order));
        let led = || nth_of(&|nodes| self.leader.is_none_or(|leader| leader == nodes[0]));
        // Few shards for many nodes: some lead none.
        in_order.or_else(led).unwrap_or(class[self.nth % class.len()].0)
    }
}

/// What the partition with this number of an even spread wants: rounds of the ring, each with the next node of a set leading.
fn even(ring: &[Vec<NodeId>], number: usize, replicas: usize) -> Wanted {
    let (round, start) = (number / ring.len(), number % ring.len());
    if replicas == ring.len() {
        return Wanted { nodes: ring[0].iter().copied().collect(), leader: None, order: None, nth: number };
    }
    let set = ring[start][..replicas].to_vec();
    let leader = set[round % replicas];
    Wanted { nodes: set.into_iter().collect(), leader: Some(leader), order: None, nth: round / replicas }
}

/// One change of the catalogue at work on places: what it has placed and which shards it has added so far.
pub(super) struct Placing {
    /// Partitions ever placed.
    placed: u64,
    /// The shards of each set of nodes.
    classes: BTreeMap<BTreeSet<NodeId>, Vec<Member>>,
    /// Each node with those that follow it, as racks are best spread.
    ring: Vec<Vec<NodeId>>,
    /// The same of those nodes that live.
    up: Vec<Vec<NodeId>>,
    /// Number of the next shard.
    next: ShardId,
}

/// Brings a shard back as its disk left it, or makes an empty one.
pub(super) fn shard(
    config: &NodeConfig,
    id: ShardId,
    (replicas, disks): (&[NodeId], &Disks),
    checkpoint: Option<&ShardCheckpoint>,
    found: &mut Found,
) -> Result<Shard, String> {
    let first = |(place, node): (usize, &NodeId)| raft_id(*node, disks.first_replica(id, place));
    let mut voters: Vec<u64> = replicas.iter().enumerate().map(first).collect();
    voters.sort_unstable();
    let mut restored = Restored::default();
    if let Some(checkpoint) = checkpoint {
        let nodes = |ids: &[u64]| ids.iter().filter_map(|id| node_of(*id)).collect::<BTreeSet<NodeId>>();
        let members =
            Members::from_codes(&checkpoint.members).map(|members| members.all()).unwrap_or_default();
        if nodes(&members) != nodes(&voters) {
            return Err(super::start::other_voters(&members, &voters));
        }
        restored.applied = checkpoint.applied;
        restored.applied_term = checkpoint.applied_term;
        restored.members = checkpoint.members.clone();
        restored.hard_state = checkpoint.hard_state;
    }
    restored.entries = found.entries.remove(&id).unwrap_or_default();
    if let Some(state) = found.hard_states.remove(&id) {
        restored.hard_state = state;
    }
    restored.hard_state.commit = restored.hard_state.commit.max(restored.applied);
    let mut raft = consensus::Config::new(id, raft_id(config.node, config.owner.replica), voters);
    raft.seed = config.seed;
    raft.mutant = config.consensus_mutant;
    // Every node answers from the metadata shard; from the others those that lead.
    raft.tells_commits = id == ShardId::METADATA;
    let group = Group::new(raft, restored).map_err(|error| error.to_string())?;
    let coordinator = Coordinator::new(group_config(config), config.seed ^ u64::from(id.0));
    let mut shard = Shard::new(id, group, coordinator, config.mutant);
    // Also before it is a member: a replica that takes the place of an earlier one has nothing yet that says so.
    shard.is_here = replicas.contains(&config.node);
    Ok(shard)
}

fn group_config(config: &NodeConfig) -> GroupConfig {
    let settings = &config.settings;
    GroupConfig {
        session_timeout_min: settings.group_session_timeout_min,
        session_timeout_max: settings.group_session_timeout_max,
        initial_rebalance_delay: settings.group_initial_rebalance_delay,
        offsets_retention: settings.offsets_retention,
        offsets_retention_check_interval: settings.offsets_retention_check_interval,
        group_size_max: settings.group_size_max,
        offset_metadata_bytes_max: settings.offset_metadata_bytes_max,
        mutant: config.group_mutant,
        ..GroupConfig::default()
    }
}

/// The nodes of a shard that every node has, the one that leads it when nothing is amiss first.
pub(super) fn on_all_nodes(config: &NodeConfig, shard: ShardId) -> Vec<NodeId> {
    let mut nodes = config.voters.clone();
    nodes.rotate_left(shard.0 as usize % config.voters.len());
    nodes
}

impl Node {
    /// Where a shard stands; `None`: this node's catalogue does not know it, perhaps not yet.
    pub(super) fn find_shard(&self, id: ShardId) -> Option<usize> {
        let index = match id.0.checked_sub(ShardId::FIRST_PLACED.0) {
            Some(placed) => self.everywhere + placed as usize,
            None => Some(id.0 as usize).filter(|at| *at < self.everywhere)?,
        };
        (index < self.shards.len()).then_some(index)
    }

    pub(super) fn shard_index(&self, id: ShardId) -> usize {
        self.find_shard(id).expect("a placed partition's shard exists")
    }

    /// The nodes of a shard, the one that leads it when nothing is amiss first.
    pub(super) fn replicas(&self, shard: ShardId) -> Vec<NodeId> {
        match shard.0.checked_sub(ShardId::FIRST_PLACED.0) {
            Some(placed) => self.catalog.placed_shards()[placed as usize].clone(),
            None => on_all_nodes(&self.config, shard),
        }
    }

    /// Replicas of a shard.
    pub(super) fn replica_count(&self, at: usize) -> usize {
        self.replicas(self.shards[at].id).len()
    }

    /// The catalogue may know of more shards than stand here.
    pub(super) fn add_missing_shards(
        &mut self,
        checkpoints: &BTreeMap<ShardId, &ShardCheckpoint>,
    ) -> Result<(), String> {
        let known = self.shards.len() - self.everywhere;
        let missing: Vec<Vec<NodeId>> = self.catalog.placed_shards()[known..].to_vec();
        for (nth, replicas) in missing.iter().enumerate() {
            let id = ShardId(ShardId::FIRST_PLACED.0 + (known + nth) as u32);
            let checkpoint = checkpoints.get(&id).copied();
            self.shards.push(shard(
                &self.config,
                id,
                (replicas, self.catalog.disks()),
                checkpoint,
                &mut self.unborn,
            )?);
        }
        self.peers.watch(self.shards.len());
        self.share_producers();
        Ok(())
    }

    /// As `add_missing_shards`, for shards that no checkpoint has.
    pub(super) fn on_shards_added(&mut self, out: &mut Vec<Effect>) {
        if let Err(why) = self.add_missing_shards(&BTreeMap::new()) {
            self.stop(out, why);
        }
    }

    /// Each shard here gets its even share of the producers that a node remembers.
    fn share_producers(&mut self) {
        let here = self.shards.iter().skip(1).filter(|shard| shard.is_here).count();
        self.shards.iter_mut().for_each(|shard| shard.producers_max = PRODUCERS_MAX / here.max(1));
    }

    /// How far each shard that is here has come.
    pub fn applied(&self) -> impl Iterator<Item = (ShardId, LogIndex)> {
        self.shards.iter().filter(|shard| shard.is_here).map(|shard| (shard.id, shard.applied()))
    }

    /// The state of each shard that is here, as a checkpoint would keep it: replicas that have applied as much have the same bytes.
    pub fn states(&self) -> impl Iterator<Item = ShardCheckpoint> {
        let here = self.shards.iter().filter(|shard| shard.is_here);
        here.map(|shard| shard.checkpoint((shard.id == ShardId::METADATA).then_some(&self.catalog)))
    }

    /// The segments that are here, as the newest checkpoint that this node has heard of knows them, with their partition's log start.
    pub fn segments(&self) -> impl Iterator<Item = (PartitionId, SegmentMeta, Offset)> {
        let partitions = self.shards.iter().flat_map(|shard| &shard.partitions);
        partitions.flat_map(|(id, partition)| {
            partition.segments.iter().map(|segment| (*id, *segment, partition.log.log_start))
        })
    }

    // Places for new partitions

    /// A change of the catalogue begins to place partitions.
    pub(super) fn begin_placing(&self) -> Placing {
        let mut classes: BTreeMap<BTreeSet<NodeId>, Vec<Member>> = BTreeMap::new();
        for shard in &self.shards[1..] {
            let nodes = self.replicas(shard.id);
            classes.entry(nodes.iter().copied().collect()).or_default().push((shard.id, nodes));
        }
        let (placed, next) = (self.catalog.partitions_placed(), self.catalog.next_shard());
        let nodes = &self.config.voters;
        let lives = |node: &NodeId| *node == self.config.node || self.is_alive(*node);
        let up: Vec<NodeId> = nodes.iter().copied().filter(lives).collect();
        Placing { placed, classes, ring: self.ring(nodes), up: self.ring(&up), next }
    }

    /// Each node with all that follow it, those in racks that are not among those before first.
    fn ring(&self, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
        let rack = |node: &NodeId| self.rack_of(*node);
        // Kafka's rule: racks count when every node has one.
        let racks_count = nodes.iter().all(|node| rack(node).is_some());
        let behind = |first: usize| {
            let mut left: Vec<NodeId> =
                (0..nodes.len()).map(|at| nodes[(first + at) % nodes.len()]).collect();
            let mut taken: Vec<NodeId> = Vec::new();
            while !left.is_empty() {
                let seen: BTreeSet<_> = taken.iter().map(rack).collect();
                let fresh = left.iter().position(|node| racks_count && !seen.contains(&rack(node)));
                taken.push(left.remove(fresh.unwrap_or(0)));
            }
            taken
        };
        (0..nodes.len()).map(behind).collect()
    }

    /// Shards for new partitions; adds those that their class lacks.
    ///
    /// # Errors
    /// `INVALID_REPLICA_ASSIGNMENT`: that would be too many shards. Nothing was changed.
    pub(super) fn place(&mut self, placing: &mut Placing, spread: &Spread) -> Result<Vec<ShardId>, Refusal> {
        let count = spread.partitions() as u64;
        let wanted: Vec<Wanted> = match spread {
            Spread::Even { replicas, .. } => {
                // Whoever is away gets no new partitions, as long as there are enough others.
                let fits = *replicas < placing.ring.len() && *replicas <= placing.up.len();
                let ring = if fits { &placing.up } else { &placing.ring };
                (0..count).map(|at| even(ring, (placing.placed + at) as usize, *replicas)).collect()
            }
            Spread::Given(sets) => {
                let nth = |at: usize| placing.placed as usize + at;
                sets.iter().enumerate().map(|(at, set)| Wanted::given(set, nth(at))).collect()
            }
        };
        let sets: BTreeSet<&BTreeSet<NodeId>> = wanted.iter().map(|wanted| &wanted.nodes).collect();
        let new = sets.into_iter().filter(|set| !placing.classes.contains_key(set)).cloned();
        self.add_classes(placing, &new.collect::<Vec<_>>())?;
        wanted.iter().for_each(|wanted| self.add_order(placing, wanted));
        let shards = wanted.iter().map(|wanted| wanted.choose(&placing.classes[&wanted.nodes])).collect();
        placing.placed += count;
        Ok(shards)
    }

    /// Adds the shards of classes that there are not.
    fn add_classes(&mut self, placing: &mut Placing, new: &[BTreeSet<NodeId>]) -> Result<(), Refusal> {
        let fair = self.fair_share();
        let of_each = |set: &BTreeSet<NodeId>| fair.max(set.len());
        let there = self.count_with(placing);
        let more: usize = new.iter().map(of_each).sum();
        if there + more > SHARDS_MAX {
            let text = format!(
                "so many different sets of nodes would take {} shards; a cluster has at most {SHARDS_MAX}",
                there + more
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        for set in new {
            let mut nodes: Vec<NodeId> = set.iter().copied().collect();
            let mut replicas = Vec::new();
            for _ in 0..of_each(set) {
                replicas.push(nodes.clone());
                nodes.rotate_left(1);
            }
            self.add_shards(placing, replicas);
        }
        Ok(())
    }

    /// Adds shards whose nodes stand in the order that was named: clients read it as the order in which replicas are to lead, and tools
    /// compare it with what they asked for. Without room for them the order counts for the first node only.
    fn add_order(&mut self, placing: &mut Placing, wanted: &Wanted) {
        let Some(order) = &wanted.order else { return };
        if placing.classes[&wanted.nodes].iter().any(|(_, nodes)| nodes == order) {
            return;
        }
        let count = self.fair_share().div_ceil(order.len());
        if self.count_with(placing) + count <= SHARDS_MAX {
            self.add_shards(placing, vec![order.clone(); count]);
        }
    }

    fn add_shards(&mut self, placing: &mut Placing, replicas: Vec<Vec<NodeId>>) {
        let first = placing.next;
        for nodes in &replicas {
            let class = placing.classes.entry(nodes.iter().copied().collect()).or_default();
            class.push((placing.next, nodes.clone()));
            placing.next.0 += 1;
        }
        self.shards[0].add(Command::Catalog(CatalogCommand::AddShards { first, replicas }), None);
    }

    /// How many of the shards that every node has are led by one of the nodes.
    fn fair_share(&self) -> usize {
        (self.everywhere - 1).div_ceil(self.config.voters.len())
    }

    /// Shards, with those that are about to be added.
    fn count_with(&self, placing: &Placing) -> usize {
        self.everywhere + (placing.next.0 - ShardId::FIRST_PLACED.0) as usize
    }
}
