//! The start of a node: shards from the checkpoint, entries behind it through consensus, then the catalogue and the shards
//! are brought to agree. Requests that come meanwhile wait.

use super::catch_up::CatchUp;
use super::classes::Found;
use super::levels::check_level;
use super::mend::Mending;
use super::pace::Pace;
use super::peers::Peers;
use super::scrub::Scrub;
use super::{Counters, Node, NodeConfig, Timer, Wal, checkpoint, classes};
use crate::catalog::{COORDINATOR_PARTITIONS, Catalog, CatalogCommand};
use crate::command::Command;
use crate::disks::Disks;
use crate::event::{Effect, LogLevel};
use crate::peer::node_of;
use crate::request::{ClientInfo, ConnectionId, Request, Token};
use crate::shard::{Drive, Shard};
use model::job::{PartitionSegments, Recovered, WalRoom};
use model::{LogIndex, Mono, Now, PartitionId, ShardId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long a start waits for leaders of shards that have none.
const LEADERS_MAX: Duration = Duration::from_secs(3);

/// A start that is not finished.
pub(super) struct Start {
    /// Requests that wait for it.
    pub(super) waiting: VecDeque<(Token, ConnectionId, Arc<ClientInfo>, Request)>,
    /// What the controller had applied of the metadata log when it was first heard.
    goal: Option<LogIndex>,
    /// From then on shards without a leader are not waited for.
    leaders_until: Mono,
}

impl Node {
    /// A node as its disk left it. Serves after a few steps: `Status::ready` says when.
    ///
    /// # Errors
    /// One sentence when what is on disk does not fit together. Nothing was changed.
    pub fn new(config: NodeConfig, recovered: Recovered, now: Now) -> Result<Node, String> {
        if config.voters.iter().chain([&config.node]).any(|node| node.0 < 0) {
            return Err("node ids are not negative".to_owned());
        }
        let mut segments: BTreeMap<PartitionId, PartitionSegments> =
            recovered.segments.into_iter().map(|found| (found.partition, found)).collect();
        let everywhere = |id: &ShardId| *id < ShardId::FIRST_PLACED;
        let on_disk = recovered.shards.iter().map(|shard| shard.shard);
        let on_disk = on_disk.chain(recovered.entries.iter().map(|(id, _)| *id)).filter(everywhere);
        let count = on_disk.map(|id| id.0 + 1).max().unwrap_or(0).max(config.data_shards.max(1) + 1);
        let mut found = Found::default();
        if recovered.damage.is_none() {
            found.entries = recovered.entries.into_iter().collect();
            found.hard_states = recovered.hard_states.into_iter().collect();
        }
        let checkpoints: BTreeMap<_, _> = recovered.shards.iter().map(|shard| (shard.shard, shard)).collect();
        let mut catalog = Catalog::default();
        let mut shards = Vec::with_capacity(count as usize);
        // What every node has was there before any disk was replaced.
        let first = Disks::default();
        for id in (0..count).map(ShardId) {
            let nodes = classes::on_all_nodes(&config, id);
            let mut shard =
                classes::shard(&config, id, (&nodes, &first), checkpoints.get(&id).copied(), &mut found)?;
            if let Some(checkpoint) = checkpoints.get(&id)
                && let Some(found) = shard.restore(checkpoint, &mut segments).map_err(|error| error.0)?
            {
                check_level(found.level(), config.level)?;
                catalog = found;
            }
            shards.push(shard);
        }
        let mut node = Node::assembled(config, catalog, shards, now);
        node.unborn = found;
        node.add_missing_shards(&checkpoints)?;
        for shard in &mut node.shards[node.everywhere..] {
            if let Some(checkpoint) = checkpoints.get(&shard.id) {
                shard.restore(checkpoint, &mut segments).map_err(|error| error.0)?;
            }
        }
        node.wal.room = WalRoom { bytes: recovered.room, is_all: false };
        node.wal.held = recovered.held;
        // Of partitions that were being brought up when the node stopped.
        node.catch_up.strays = segments.into_iter().map(|(id, found)| (id, found.segments)).collect();
        node.settings_changed(&mut Vec::new());
        if let Some(damage) = recovered.damage {
            node.start = None;
            node.frozen = Some(format!(
                "the log is damaged: {damage}; what is whole can be read, writes are refused until `sternpost recover`"
            ));
        }
        if node.waiting.is_some() {
            node.set_timer(now.mono, Timer::Beat);
            return Ok(node);
        }
        node.set_retention_timer(now);
        node.set_checkpoint_timer(now);
        node.plan_upkeep(Some(now.mono));
        if !node.is_alone() {
            node.set_timer(now.mono, Timer::Beat);
        }
        Ok(node)
    }

    fn assembled(config: NodeConfig, catalog: Catalog, shards: Vec<Shard>, now: Now) -> Node {
        Node {
            peers: Peers::new(&config, shards.len(), now),
            waiting: config.owner.waits.map(|_| Default::default()),
            naming: Default::default(),
            pace: Pace::default(),
            asked_level: 0,
            passing: Default::default(),
            electing: Default::default(),
            volume: None,
            replicating: Default::default(),
            catch_up: CatchUp::new(config.pull_bytes, config.settings.catch_up_rate),
            scrub: Scrub::new(now.mono, config.settings.scrub_rate, config.settings.scrub_interval),
            upkeep_at: None,
            mending: Mending::new(config.settings.catch_up_rate, config.pull_bytes),
            confirming: Default::default(),
            random: consensus::Random::new(config.seed),
            // An answer to what an earlier process of this node asked may still be on its way, and must answer nothing of this one.
            last_question: consensus::Random::new(!config.seed).next_u64() >> 1,
            settings: config.settings.clone(),
            config,
            catalog,
            everywhere: shards.len(),
            unborn: Found::default(),
            shards,
            wal: Wal::default(),
            checkpoint: checkpoint::State::default(),
            gathers: BTreeMap::new(),
            fetches: BTreeMap::new(),
            readings: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_queued: VecDeque::new(),
            woken: BTreeSet::new(),
            lookups: BTreeMap::new(),
            driving: Default::default(),
            changes: super::admin::Changes::default(),
            topic_settings: BTreeMap::new(),
            metadata_waiting: BTreeMap::new(),
            producer_ids: super::producer_ids::ProducerIds::default(),
            refused: Default::default(),
            offsets_topic_asked: false,
            remarked: BTreeSet::new(),
            crowd_reported: false,
            commits: BTreeMap::new(),
            joins: BTreeMap::new(),
            parts: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            connection_of: BTreeMap::new(),
            start: Some(Start {
                waiting: VecDeque::new(),
                goal: None,
                leaders_until: now.mono.plus(LEADERS_MAX),
            }),
            reconcile_wanted: false,
            timers: BTreeMap::new(),
            tail_order: VecDeque::new(),
            tail_bytes: 0,
            next_number: 0,
            next_internal: 0,
            stopping: None,
            frozen: None,
            counters: Counters::default(),
        }
    }

    /// The state of this shard is complete: its groups have their coordinator, peers and clients hear of it, and its
    /// partitions are to be compared with the catalogue.
    pub(super) fn on_serving(&mut self, now: Now, shard: usize, out: &mut Vec<Effect>) {
        self.shards[shard].coordinator.become_leader(now);
        self.reconcile_wanted = true;
        self.tell_all(out);
    }

    /// Whether the catalogue contains what the cluster had done before this node started.
    fn is_catalog_current(&self) -> bool {
        let reached = |start: &Start| {
            self.shards[0].serving || start.goal.is_some_and(|goal| self.shards[0].applied() >= goal)
        };
        self.catalog.is_formatted() && self.start.as_ref().is_none_or(reached)
    }

    /// The controller has applied so much of the metadata log.
    pub(super) fn start_heard(&mut self, catalog: LogIndex) {
        if let Some(start) = &mut self.start {
            start.goal.get_or_insert(catalog);
        }
    }

    /// Compares the shards that began to serve with the catalogue, once that is current.
    pub(super) fn reconcile_due(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.reconcile_wanted {
            if self.shards[0].serving && !self.shards[0].reconciled {
                self.shards[0].reconciled = true;
                self.format();
            }
            if self.is_catalog_current() {
                self.reconcile_wanted = self.reconcile(out);
            }
        }
        if self.start.is_some() {
            self.consider_started(now, out);
        }
    }

    /// The first entry of a new cluster.
    fn format(&mut self) {
        if !self.catalog.is_formatted() {
            let data_shards = self.everywhere as u32 - 1;
            let coordinators =
                (0..COORDINATOR_PARTITIONS as u32).map(|at| ShardId(1 + at % data_shards)).collect();
            self.shards[0].add(Command::Catalog(CatalogCommand::Format { coordinators }), None);
        }
    }

    /// A stop, or a change of leader, may have fallen between a change of the catalogue and the entries it leads to: propose
    /// what is missing. A newer catalogue than this node's may have spoken in a shard: then that waits. Returns whether one does.
    fn reconcile(&mut self, out: &mut Vec<Effect>) -> bool {
        let known = self.shards[0].applied();
        let due = |shard: &Shard| shard.serving && !shard.reconciled;
        let due = (1..self.shards.len()).filter(|at| due(&self.shards[*at]));
        let (due, ahead): (Vec<usize>, Vec<usize>) = due.partition(|at| self.shards[*at].wanted() <= known);
        if due.is_empty() {
            return !ahead.is_empty();
        }
        let wanted: BTreeMap<PartitionId, ShardId> =
            self.catalog.topics().flat_map(|topic| topic.partitions()).collect();
        let mut missing = Vec::new();
        for (id, shard) in &wanted {
            let at = self.shard_index(*shard);
            if due.contains(&at) && !self.shards[at].partitions.contains_key(id) {
                missing.push((at, *id, Drive::Create));
            }
        }
        // What a catalogue newer than this one wanted is not for this one to judge.
        for at in &due {
            let partitions = self.shards[*at].partitions.iter();
            let orphans = partitions
                .filter(|(id, partition)| !wanted.contains_key(id) && partition.log.created <= known);
            missing.extend(orphans.map(|(id, _)| (*at, *id, Drive::Delete)));
        }
        if !missing.is_empty() {
            let text = format!("{} partitions are created or deleted as the catalogue says", missing.len());
            out.push(Effect::Log(LogLevel::Info, text));
        }
        if self.is_alone() {
            self.forget_gone_topics(out);
        }
        for (at, id, drive) in missing {
            self.shards[at].drive(id, drive, known);
        }
        due.into_iter().for_each(|at| self.shards[at].reconciled = true);
        self.driving.has_news = true;
        !ahead.is_empty()
    }

    /// Positions in topics whose deletion was cut off before the groups heard of it. Only a node of one knows for certain that
    /// its catalogue is newer than every position.
    fn forget_gone_topics(&mut self, out: &mut Vec<Effect>) {
        for at in 0..self.shards.len() {
            let topics = self.shards[at].coordinator.topics().into_iter();
            let gone: Vec<String> = topics.filter(|name| self.catalog.by_name(name).is_none()).collect();
            self.with_coordinator(at, out, |coordinator, effects| {
                for name in gone {
                    coordinator.remove_topic(&name, effects);
                }
            });
        }
    }

    fn consider_started(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(start) = &self.start else { return };
        if !self.is_catalog_current() {
            return;
        }
        let patient = self.is_alone() || now.mono < start.leaders_until;
        let known = self.shards[0].applied();
        let settled = |at: usize| match &self.shards[at] {
            // All that the catalogue wanted is done.
            shard if shard.serving => shard.driven(known) == known,
            shard if !shard.is_here => true,
            shard => !shard.group.is_leader() && (!patient || self.leadership(at).is_some()),
        };
        if !(0..self.shards.len()).all(settled) {
            return;
        }
        let start = self.start.take().expect("looked at");
        out.push(Effect::Log(LogLevel::Info, "ready".into()));
        for (token, connection, client, request) in start.waiting {
            // A connection may have gone meanwhile: its question needs no answer.
            if self.connection_of.contains_key(&token) {
                self.dispatch(now, token, connection, client, request, out);
            }
        }
    }
}

pub(super) fn other_voters(stored: &[u64], given: &[u64]) -> String {
    let names = |ids: &[u64]| {
        let names: Vec<String> =
            ids.iter().filter_map(|id| node_of(*id)).map(|node| node.0.to_string()).collect();
        names.join(", ")
    };
    format!(
        "the data directory is of a cluster of the nodes {}, not of {}; nodes cannot be added or taken away yet",
        names(stored),
        names(given)
    )
}
