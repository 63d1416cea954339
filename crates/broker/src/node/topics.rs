//! The controller's part: metadata, new topics and partitions, deletions, producer ids. A change is an entry of the
//! metadata group first; then each partition it speaks of is created or deleted by an entry of its own shard.

use super::Node;
use super::classes::Spread;
use super::peers::Leadership;
use crate::catalog::{CatalogChange, CatalogCommand, Topic, folded};
use crate::command::Command;
use crate::config::{
    TopicSettings, check_topic_override, describe_topic, topic_override_remark, topic_settings,
};
use crate::event::{Effect, LogLevel};
use crate::mutant::Mutant;
use crate::request::{
    ConnectionId, CreatePartitions, CreatePartitionsResponse, CreateTopics, CreateTopicsResponse,
    CreatedTopic, DeleteTopics, DeleteTopicsResponse, DeletedTopic, DescribeClusterResponse, Endpoint,
    Metadata, MetadataResponse, NewTopic, Part, PartitionMetadata, Refusal, Request, Response, Token,
    TopicMetadata, TopicRef,
};
use crate::shard::Drive;
use model::name::topic_name_error;
use model::{ErrorCode, NodeId, Now, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most partitions on a node: beyond it new ones are refused.
const PARTITIONS_MAX: u64 = 200_000;
/// New topics whose settings are told in one answer; those behind are made without a word about theirs.
const CREATED_DESCRIBED_MAX: usize = 1_000;
/// How long auto-creation may take before a metadata request is answered without.
const AUTO_CREATE_TIMEOUT: Duration = Duration::from_secs(10);

/// Name of Kafka's topic for the positions of groups; internal.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// As many partitions as Kafka gives it.
const OFFSETS_TOPIC_PARTITIONS: i32 = 50;

/// A metadata request that waits for the topics it creates.
#[derive(Debug)]
pub(super) struct WaitingMetadata {
    token: Token,
    request: Metadata,
}

impl Node {
    pub(super) fn resolve(&self, topic: &TopicRef) -> Result<&Topic, ErrorCode> {
        match topic {
            TopicRef::Name(name) => self.catalog.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicRef::Id(id) => self.catalog.by_id(*id).ok_or(ErrorCode::UnknownTopicId),
        }
    }

    pub(super) fn topic_settings(&mut self, id: TopicId) -> Option<Arc<TopicSettings>> {
        if let Some(known) = self.topic_settings.get(&id) {
            return Some(known.clone());
        }
        let settings = Arc::new(topic_settings(&self.settings, &self.catalog.by_id(id)?.configs));
        self.topic_settings.insert(id, settings.clone());
        Some(settings)
    }

    // Metadata

    pub(super) fn metadata(
        &mut self,
        now: Now,
        token: Token,
        connection: ConnectionId,
        request: Metadata,
        out: &mut Vec<Effect>,
    ) {
        let missing = self.topics_to_create(&request);
        if missing.is_empty() {
            return self.answer_metadata(now, token, connection, request, out);
        }
        let internal = self.internal_token();
        self.metadata_waiting.insert(internal, WaitingMetadata { token, request });
        let nodes = self.config.voters.len();
        let new = |name: String| match name.as_str() {
            OFFSETS_TOPIC => offsets_topic(nodes),
            _ => NewTopic { name, partitions: -1, replication_factor: -1, ..NewTopic::default() },
        };
        let topics = missing.into_iter().map(new).collect();
        let create = CreateTopics { topics, validate_only: false, timeout: AUTO_CREATE_TIMEOUT };
        self.change(now, internal, Request::CreateTopics(create), out);
    }

    /// The answer to an auto-creation came: whoever asked for metadata gets it, with the topic or with the reason why
    /// there is none.
    pub(super) fn on_internal_reply(&mut self, internal: Token, done: Response, out: &mut Vec<Effect>) {
        let Some(waiting) = self.metadata_waiting.remove(&internal) else {
            self.on_passed_done(internal, done, out);
            return;
        };
        let mut answer = self.describe_topics(&waiting.request, self.endpoints());
        if let Response::CreateTopics(done) = &done {
            let refused: BTreeMap<&str, ErrorCode> =
                done.topics.iter().map(|topic| (topic.name.as_str(), topic.refusal.code)).collect();
            for topic in &mut answer.topics {
                let why = topic.name.as_deref().and_then(|name| refused.get(name));
                if let (ErrorCode::UnknownTopicOrPartition, Some(why)) = (topic.error, why)
                    && !why.is_none()
                {
                    topic.error = *why;
                }
            }
        }
        self.reply(waiting.token, Response::Metadata(answer), out);
    }

    /// Kafka keeps the positions of groups in a topic of this name, and clients and consoles look for it. Here they live in
    /// the shards; the topic exists, is internal and stays empty.
    pub(super) fn ensure_offsets_topic(&mut self, now: Now, out: &mut Vec<Effect>) {
        let asked = std::mem::replace(&mut self.offsets_topic_asked, true);
        if asked || self.frozen.is_some() || self.catalog.by_name(OFFSETS_TOPIC).is_some() {
            return;
        }
        let topics = vec![offsets_topic(self.config.voters.len())];
        let create = CreateTopics { topics, validate_only: false, timeout: AUTO_CREATE_TIMEOUT };
        let internal = self.internal_token();
        self.change(now, internal, Request::CreateTopics(create), out);
    }

    fn topics_to_create(&self, request: &Metadata) -> BTreeSet<String> {
        let allowed =
            request.allow_auto_topic_creation && self.settings.auto_create_topics && self.frozen.is_none();
        let topics = request.topics.as_deref().filter(|_| allowed).unwrap_or_default();
        let missing = |topic: &TopicRef| match topic {
            TopicRef::Name(name)
                if topic_name_error(name).is_none() && self.catalog.by_name(name).is_none() =>
            {
                Some(name.clone())
            }
            _ => None,
        };
        topics.iter().filter_map(missing).collect()
    }

    pub(super) fn describe_topics(&self, request: &Metadata, brokers: Vec<Endpoint>) -> MetadataResponse {
        let topics = match &request.topics {
            None => self.catalog.topics().map(|topic| self.topic_metadata(topic)).collect(),
            Some(asked) => asked.iter().map(|topic| self.metadata_of(topic)).collect(),
        };
        MetadataResponse {
            brokers,
            cluster_id: self.config.cluster_id.clone(),
            controller: self.controller_for_clients(),
            topics,
        }
    }

    pub(super) fn metadata_of(&self, asked: &TopicRef) -> TopicMetadata {
        match self.resolve(asked) {
            Ok(topic) => self.topic_metadata(topic),
            Err(code) => {
                let (name, id) = match asked {
                    TopicRef::Name(name) => (Some(name.clone()), TopicId::ZERO),
                    TopicRef::Id(id) => (None, *id),
                };
                let illegal = name.as_deref().is_some_and(|name| topic_name_error(name).is_some());
                let error = if illegal { ErrorCode::InvalidTopicException } else { code };
                TopicMetadata { error, name, id, is_internal: false, partitions: Vec::new() }
            }
        }
    }

    fn topic_metadata(&self, topic: &Topic) -> TopicMetadata {
        self.topic_metadata_part(topic, 0, usize::MAX)
    }

    /// A topic with at most `count` of its partitions, from the number `from` on.
    pub(super) fn topic_metadata_part(&self, topic: &Topic, from: usize, count: usize) -> TopicMetadata {
        let mut leaderships = BTreeMap::new();
        let partitions = topic.partitions().skip(from).take(count).map(|(id, shard)| {
            let at = self.shard_index(shard);
            let exists = |leader: &Leadership| {
                leader.node != self.config.node
                    || self.shards[at].partitions.contains_key(&id)
                    || self.frozen.is_some()
            };
            let leadership = leaderships.entry(at).or_insert_with(|| self.leadership(at));
            let leader = leadership.as_ref().filter(|leader| self.endpoint_of(leader.node).is_some());
            let leader = leader.filter(|leader| exists(leader));
            let replicas = self.replicas(shard);
            let offline =
                replicas.iter().filter(|node| self.endpoint_of(**node).is_none()).copied().collect();
            PartitionMetadata {
                error: if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
                index: id.index,
                leader: leader.map(|leader| leader.node),
                leader_epoch: leader.map_or(self.shards[at].epoch, |leader| leader.epoch).0.max(0),
                in_sync: leader.map_or_else(Vec::new, |leader| leader.in_sync.clone()),
                replicas,
                offline,
            }
        });
        TopicMetadata {
            error: ErrorCode::None,
            name: Some(topic.name.clone()),
            id: topic.id,
            is_internal: topic.name == OFFSETS_TOPIC,
            partitions: partitions.collect(),
        }
    }

    pub(super) fn describe_cluster(&mut self, token: Token, out: &mut Vec<Effect>) {
        let response = DescribeClusterResponse {
            cluster_id: self.config.cluster_id.clone(),
            controller: self.controller_for_clients(),
            brokers: self.endpoints(),
        };
        self.reply(token, Response::DescribeCluster(response), out);
    }

    /// Every node passes changes on to the controller: while nobody knows it, this one is as good.
    fn controller_for_clients(&self) -> NodeId {
        self.controller().filter(|node| self.endpoint_of(*node).is_some()).unwrap_or(self.config.node)
    }

    // New topics

    pub(super) fn created_skeleton(&self, request: &CreateTopics) -> Response {
        let created = |topic: &NewTopic| not_created(&topic.name);
        Response::CreateTopics(CreateTopicsResponse { topics: request.topics.iter().map(created).collect() })
    }

    pub(super) fn create_topics(
        &mut self,
        now: Now,
        token: Token,
        request: CreateTopics,
        out: &mut Vec<Effect>,
    ) {
        let mut waiting = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut new_partitions = 0;
        let mut placing = self.begin_placing();
        let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut made = BTreeMap::new();
        for topic in &request.topics {
            let twice = repeated.contains(topic.name.as_str());
            let folded = folded(&topic.name);
            let alike = folded.as_ref().and_then(|folded| made.get(folded)).copied();
            let checked = self.check_new_topic(topic, twice, alike, new_partitions);
            if checked.is_ok() {
                made.extend(folded.map(|folded| (folded, topic.name.as_str())));
            }
            let mut created = not_created(&topic.name);
            match checked {
                Err(refusal) => created.refusal = refusal,
                Ok((spread, configs)) => {
                    new_partitions += spread.partitions() as u64;
                    self.remark(&topic.name, &configs, out);
                    created.partitions = spread.partitions() as i32;
                    created.replication_factor = spread.replicas() as i16;
                    if topics.len() < CREATED_DESCRIBED_MAX {
                        created.configs = describe_topic(&self.settings, &configs);
                    }
                    if !request.validate_only {
                        match self.place(&mut placing, &spread) {
                            Err(refusal) => created.refusal = refusal,
                            Ok(shards) => {
                                let (id, name) = (self.new_topic_id(), topic.name.clone());
                                created.id = id;
                                let part = Part { token, number: topics.len() as u32 };
                                waiting.push(part.number);
                                self.await_partitions(id, part);
                                self.change_catalog(CatalogCommand::CreateTopic {
                                    name,
                                    id,
                                    shards,
                                    configs,
                                });
                            }
                        }
                    }
                }
            }
            topics.push(created);
        }
        let response = Response::CreateTopics(CreateTopicsResponse { topics });
        self.gather(token, response, waiting, Some(now.mono.plus(request.timeout)), out);
    }

    /// Proposes a change of the catalogue.
    fn change_catalog(&mut self, command: CatalogCommand) {
        self.shards[0].add(Command::Catalog(command), None);
    }

    /// Tells the operator of settings that a topic has and that mean nothing here, each the first time.
    pub(super) fn remark(&mut self, topic: &str, configs: &BTreeMap<String, String>, out: &mut Vec<Effect>) {
        if topic == OFFSETS_TOPIC {
            return; // the node's own doing
        }
        for (name, value) in configs {
            if let Some(remark) = topic_override_remark(name, value)
                && self.remarked.insert(remark.clone())
            {
                out.push(Effect::Log(LogLevel::Info, format!("topic {topic}: {remark}")));
            }
        }
    }

    fn check_new_topic(
        &self,
        topic: &NewTopic,
        twice: bool,
        alike: Option<&str>,
        already_new: u64,
    ) -> Result<(Spread, BTreeMap<String, String>), Refusal> {
        if let Some(reason) = &self.frozen {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, reason.clone()));
        }
        if twice {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "the topic is named twice in one request"));
        }
        if let Some(why) = topic_name_error(&topic.name) {
            return Err(Refusal::new(ErrorCode::InvalidTopicException, why));
        }
        if self.catalog.by_name(&topic.name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("topic '{}' already exists", topic.name),
            ));
        }
        if self.catalog.dying_by_name(&topic.name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("topic '{}' is being deleted: a node still has some of it", topic.name),
            ));
        }
        if let Some(other) = self.catalog.like(&topic.name).map(|topic| topic.name.as_str()).or(alike) {
            let text = format!(
                "topic '{}' collides with topic '{other}': '.' and '_' count as the same",
                topic.name
            );
            return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
        }
        let spread = self.check_spread(topic)?;
        self.check_room(already_new + spread.partitions() as u64)?;
        let mut configs = BTreeMap::new();
        for (name, value) in &topic.configs {
            let Some(value) = value else { continue }; // null means: as without
            check_topic_override(name, value).map_err(|why| Refusal::new(ErrorCode::InvalidConfig, why))?;
            configs.insert(name.clone(), value.clone());
        }
        Ok((spread, configs))
    }

    /// Whether so many new partitions fit on the node.
    fn check_room(&self, new: u64) -> Result<(), Refusal> {
        let total = self.catalog.partition_count();
        if total + new > PARTITIONS_MAX {
            let text = format!("a node holds at most {PARTITIONS_MAX} partitions; it has {total}");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        }
        Ok(())
    }

    fn check_spread(&self, topic: &NewTopic) -> Result<Spread, Refusal> {
        if topic.assignments.is_empty() {
            let replicas = self.check_factor(topic.replication_factor)?;
            let partitions =
                if topic.partitions == -1 { self.settings.num_partitions } else { topic.partitions };
            let partitions = usize::try_from(partitions)
                .ok()
                .filter(|count| (1..=PARTITIONS_MAX as usize).contains(count))
                .ok_or(Refusal::new(
                    ErrorCode::InvalidPartitions,
                    format!("a topic has 1 to {PARTITIONS_MAX} partitions, not {partitions}"),
                ))?;
            return Ok(Spread::Even { partitions, replicas });
        }
        if topic.partitions != -1 || topic.replication_factor != -1 {
            let text = "give either replica assignments, or a number of partitions and a replication factor";
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
        let mut given = topic.assignments.clone();
        given.sort_by_key(|(index, _)| *index);
        let consecutive = given.iter().enumerate().all(|(at, (index, _))| usize::try_from(*index) == Ok(at));
        if !consecutive {
            let text = "assignments must name partitions 0, 1, … once each";
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        let sets: Vec<Vec<NodeId>> = given.into_iter().map(|(_, nodes)| nodes).collect();
        self.check_assignments(&sets, sets[0].len())?;
        Ok(Spread::Given(sets))
    }

    /// How many replicas each partition gets.
    fn check_factor(&self, asked: i16) -> Result<usize, Refusal> {
        let (factor, source) = match asked {
            -1 => (self.settings.default_replication_factor, " (default.replication.factor)"),
            factor => (factor, ""),
        };
        let nodes = self.config.voters.len();
        let why = match factor {
            // A majority of an even number outlives no more failures than one of the odd number below.
            _ if factor < 1 || factor % 2 == 0 => "it is an odd number: 1, 3 or 5".to_owned(),
            _ if factor as usize > nodes && nodes == 1 => "there is 1 node".to_owned(),
            _ if factor as usize > nodes => format!("there are {nodes} nodes"),
            _ => return Ok(factor as usize),
        };
        let text = format!("replication factor {factor}{source} cannot be had: {why}");
        Err(Refusal::new(ErrorCode::InvalidReplicationFactor, text))
    }

    /// Whether each of these names so many nodes of the cluster, none of them twice.
    fn check_assignments(&self, sets: &[Vec<NodeId>], replicas: usize) -> Result<(), Refusal> {
        let distinct = |set: &Vec<NodeId>| set.iter().collect::<BTreeSet<_>>().len() == set.len();
        let known = |set: &Vec<NodeId>| set.iter().all(|node| self.config.voters.contains(node));
        let text = if replicas.is_multiple_of(2) {
            "assignments must name an odd number of nodes: 1, 3 or 5".to_owned()
        } else if !sets.iter().all(|set| set.len() == replicas) {
            format!("assignments must name {replicas} nodes for each partition of the topic")
        } else if !sets.iter().all(distinct) {
            "assignments must name each node once".to_owned()
        } else if !sets.iter().all(known) {
            let nodes: Vec<String> = self.config.voters.iter().map(|node| node.0.to_string()).collect();
            format!("assignments must name nodes of the cluster: {}", nodes.join(", "))
        } else {
            return Ok(());
        };
        Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text))
    }

    fn new_topic_id(&mut self) -> TopicId {
        loop {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&self.random.next_u64().to_be_bytes());
            id[8..].copy_from_slice(&self.random.next_u64().to_be_bytes());
            // A random UUID (RFC 9562, version 4); Kafka's clients show ids that begin with '-' badly.
            id[6] = id[6] & 0x0f | 0x40;
            id[8] = id[8] & 0x3f | 0x80;
            if id[0] >> 2 != 62 && self.catalog.by_id(TopicId(id)).is_none() {
                return TopicId(id);
            }
        }
    }

    // More partitions

    pub(super) fn partitions_skeleton(request: &CreatePartitions) -> Response {
        let topics = request.topics.iter().map(|(name, ..)| (name.clone(), Refusal::OK)).collect();
        Response::CreatePartitions(CreatePartitionsResponse { topics })
    }

    pub(super) fn create_partitions(
        &mut self,
        now: Now,
        token: Token,
        request: CreatePartitions,
        out: &mut Vec<Effect>,
    ) {
        let mut waiting = Vec::new();
        let mut results = Vec::with_capacity(request.topics.len());
        let mut placing = self.begin_placing();
        let mut new_partitions = 0;
        let repeated = repeated(request.topics.iter().map(|(name, ..)| name.as_str()));
        for (name, wanted, assignments) in &request.topics {
            let checked = match repeated.contains(name.as_str()) {
                true => {
                    Err(Refusal::new(ErrorCode::InvalidRequest, "the topic is named twice in one request"))
                }
                false => self.check_more_partitions(name, *wanted, assignments, new_partitions),
            };
            let refusal = match checked {
                Err(refusal) => refusal,
                Ok((id, from, spread)) => {
                    new_partitions += spread.partitions() as u64;
                    let placed = match request.validate_only {
                        true => Ok(Vec::new()),
                        false => self.place(&mut placing, &spread),
                    };
                    match placed {
                        Err(refusal) => refusal,
                        Ok(shards) => {
                            if !shards.is_empty() {
                                let from = from as u32;
                                let part = Part { token, number: results.len() as u32 };
                                waiting.push(part.number);
                                self.await_partitions(id, part);
                                self.change_catalog(CatalogCommand::AddPartitions { id, from, shards });
                            }
                            Refusal::OK
                        }
                    }
                }
            };
            results.push((name.clone(), refusal));
        }
        let response = Response::CreatePartitions(CreatePartitionsResponse { topics: results });
        self.gather(token, response, waiting, Some(now.mono.plus(request.timeout)), out);
    }

    fn check_more_partitions(
        &self,
        name: &str,
        wanted: i32,
        assignments: &[Vec<NodeId>],
        already_new: u64,
    ) -> Result<(TopicId, usize, Spread), Refusal> {
        if let Some(reason) = &self.frozen {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, reason.clone()));
        }
        let topic = self.catalog.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let from = topic.shards.len();
        let to = usize::try_from(wanted).unwrap_or(0);
        if to <= from {
            let text =
                format!("the topic has {from} partitions; their number can only grow, not become {wanted}");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        }
        self.check_room(already_new + (to - from) as u64)?;
        let replicas = self.replicas(topic.shards[0]).len();
        if assignments.is_empty() {
            return Ok((topic.id, from, Spread::Even { partitions: to - from, replicas }));
        }
        if assignments.len() != to - from {
            let text = format!("{} assignments for {} new partitions", assignments.len(), to - from);
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        self.check_assignments(assignments, replicas)?;
        Ok((topic.id, from, Spread::Given(assignments.to_vec())))
    }

    // Deletions

    pub(super) fn deleted_skeleton(&self, request: &DeleteTopics) -> Response {
        let deleted = |topic: &TopicRef| match topic {
            TopicRef::Name(name) => {
                DeletedTopic { name: Some(name.clone()), id: TopicId::ZERO, refusal: Refusal::OK }
            }
            TopicRef::Id(id) => DeletedTopic { name: None, id: *id, refusal: Refusal::OK },
        };
        Response::DeleteTopics(DeleteTopicsResponse { topics: request.topics.iter().map(deleted).collect() })
    }

    pub(super) fn delete_topics(
        &mut self,
        now: Now,
        token: Token,
        request: DeleteTopics,
        out: &mut Vec<Effect>,
    ) {
        let mut waiting = Vec::new();
        let mut seen = BTreeSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for asked in &request.topics {
            let found = self.resolve(asked).map(|topic| (topic.id, topic.name.clone()));
            let found = found.or_else(|code| self.dying(asked).ok_or(code));
            topics.push(match found {
                Err(code) => {
                    let (name, id) = match asked {
                        TopicRef::Name(name) => (Some(name.clone()), TopicId::ZERO),
                        TopicRef::Id(id) => (None, *id),
                    };
                    DeletedTopic { name, id, refusal: code.into() }
                }
                Ok((id, name)) => {
                    let refusal = self.refuse_deletion(seen.insert(id));
                    if refusal.is_ok() {
                        let part = Part { token, number: topics.len() as u32 };
                        waiting.push(part.number);
                        self.await_end(id, part);
                        if !self.catalog.dying().contains_key(&id) {
                            self.change_catalog(CatalogCommand::DeleteTopic { id });
                        }
                    }
                    DeletedTopic { name: Some(name), id, refusal }
                }
            });
        }
        if self.config.mutant == Some(Mutant::DeletionAckedEarly) {
            waiting.clear();
        }
        let response = Response::DeleteTopics(DeleteTopicsResponse { topics });
        self.gather(token, response, waiting, Some(now.mono.plus(request.timeout)), out);
    }

    /// A topic whose deletion was begun before: whoever asks again waits like the first.
    fn dying(&self, asked: &TopicRef) -> Option<(TopicId, String)> {
        let id = match asked {
            TopicRef::Name(name) => self.catalog.dying_by_name(name)?,
            TopicRef::Id(id) => *id,
        };
        self.catalog.dying().get(&id).map(|dying| (id, dying.name.clone()))
    }

    fn refuse_deletion(&self, is_first: bool) -> Refusal {
        if let Some(reason) = &self.frozen {
            Refusal::new(ErrorCode::KafkaStorageError, reason.clone())
        } else if !is_first {
            Refusal::new(ErrorCode::InvalidRequest, "the topic is named twice in one request")
        } else if !self.settings.delete_topics {
            Refusal::new(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false on this node")
        } else {
            Refusal::OK
        }
    }

    // What an applied change of the catalogue leads to

    pub(super) fn on_catalog_change(&mut self, change: CatalogChange, out: &mut Vec<Effect>) {
        match change {
            CatalogChange::Formatted => {}
            CatalogChange::PartitionsAdded(partitions) => self.on_partitions_added(partitions),
            CatalogChange::TopicDeleted { name, partitions } => {
                if let Some((first, _)) = partitions.first() {
                    self.topic_settings.remove(&first.topic);
                }
                self.drive_served(partitions, Drive::Delete);
                let served = |at: &usize| self.shards[*at].serving;
                for at in (0..self.shards.len()).filter(served).collect::<Vec<_>>() {
                    self.with_coordinator(at, out, |coordinator, effects| {
                        coordinator.remove_topic(&name, effects);
                    });
                }
            }
            CatalogChange::Configs => self.settings_changed(out),
            CatalogChange::ProducerIds { first, count } => self.on_producer_ids(first, count, out),
            CatalogChange::ShardsAdded => self.on_shards_added(out),
            CatalogChange::TopicsGone(topics) => self.on_topics_gone(&topics, out),
            CatalogChange::Level => self.on_level(out),
            // Whoever leads shards looks every second (`mind_members`).
            CatalogChange::DiskNamed(_) => {}
        }
    }

    /// Settings in force are the start's with the catalogue's over them.
    pub(super) fn settings_changed(&mut self, out: &mut Vec<Effect>) {
        self.topic_settings.clear();
        let none = BTreeMap::new();
        let all = self.catalog.node_configs(None).unwrap_or(&none);
        let this = self.catalog.node_configs(Some(self.config.node)).unwrap_or(&none);
        match self.config.settings.with_dynamic(all, this) {
            Ok(settings) => self.settings = settings,
            Err(why) => out.push(Effect::Log(
                LogLevel::Warn,
                format!("settings changed at run time have no effect: {why}"),
            )),
        }
    }
}

/// The answer for a topic of which nothing is made yet.
fn not_created(name: &str) -> CreatedTopic {
    CreatedTopic {
        name: name.to_owned(),
        refusal: Refusal::OK,
        id: TopicId::ZERO,
        partitions: -1,
        replication_factor: -1,
        configs: Vec::new(),
    }
}

/// As Kafka makes it, on all nodes: that is where the positions are.
fn offsets_topic(replicas: usize) -> NewTopic {
    NewTopic {
        name: OFFSETS_TOPIC.into(),
        partitions: OFFSETS_TOPIC_PARTITIONS,
        replication_factor: replicas as i16,
        configs: vec![("cleanup.policy".into(), Some("compact".into()))],
        ..NewTopic::default()
    }
}

/// Names that come more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}
