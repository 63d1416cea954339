//! A client's connection: finds the node that serves what it is about, connects there, sends framed requests, cuts the
//! answers' bytes into frames, and knows for how long the oldest answer has been missing. One connection at a time:
//! whoever goes elsewhere waits for the answers first.

use super::{Context, HostIndex, Place};
use broker::request::ConnectionId;
use bytes::Bytes;
use kafka::frame::{FrameReader, decode_response, encode_request};
use kafka::message::Request;
use kafka::message::find_coordinator::FindCoordinatorRequest;
use kafka::message::metadata::{MetadataRequest, MetadataRequestTopic};
use kafka::wire::{Str, Uuid};
use model::{Mono, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Versions sent.
const METADATA_VERSION: i16 = 12;
const FIND_COORDINATOR_VERSION: i16 = 4;
/// One in so many goes to any node instead of the right one: clients know older things in many ways.
const ASTRAY: u64 = 40;

/// Who is to be reached.
#[derive(Clone, Debug)]
pub enum Target {
    /// Any node.
    Any,
    /// The leader of a partition.
    Leader(Place),
    /// The coordinator of a group.
    Coordinator(Str),
}

/// A question of the link itself.
#[derive(Debug)]
enum Sent {
    /// The client's.
    Client,
    /// Who leads the partitions?
    Leaders,
    /// Who coordinates the group?
    Coordinator,
}

/// One client's way to the cluster.
#[derive(Debug)]
pub struct Link {
    connection: Option<(HostIndex, ConnectionId)>,
    frames: FrameReader,
    correlation: i32,
    sent: VecDeque<(Mono, Sent)>,
    client_id: Str,
    /// Who leads what, by topic and partition, as told last.
    leaders: BTreeMap<(usize, i32), HostIndex>,
    coordinator: Option<HostIndex>,
    /// How long an answer may take before the client gives the connection up.
    pub patience: Duration,
}

impl Link {
    pub fn new(client_id: &'static str) -> Link {
        Link {
            connection: None,
            frames: FrameReader::default(),
            correlation: 0,
            sent: VecDeque::new(),
            client_id: Str::from_static(client_id),
            leaders: BTreeMap::new(),
            coordinator: None,
            patience: Duration::from_secs(3),
        }
    }

    /// Connects to who is to be reached, unless connected; `false` when nobody listens there, or when it is not known yet who
    /// that is: the client tries again soon. No answer may be under way but to the link's own questions.
    pub fn reach(&mut self, target: &Target, context: &mut Context<'_>) -> bool {
        if context.lives.len() == 1 {
            return self.connect(0, context);
        }
        if self.sent.iter().any(|(_, sent)| !matches!(sent, Sent::Client)) {
            return false;
        }
        let known = match target {
            Target::Any => self.connection.map(|(host, _)| host).or_else(|| Some(any_host(context))),
            Target::Leader(place) => self.leaders.get(&(place.topic, place.index)).copied(),
            Target::Coordinator(_) => self.coordinator,
        };
        match known {
            Some(host) => {
                if self.connect(host, context) {
                    return true;
                }
                self.mislead();
                false
            }
            None => {
                self.ask(target, context);
                false
            }
        }
    }

    /// What is known of leaders and coordinators was wrong.
    pub fn mislead(&mut self) {
        self.leaders.clear();
        self.coordinator = None;
    }

    /// Whether the connection leads to the partition's leader, as far as known.
    pub fn is_at_leader(&self, place: Place, context: &Context<'_>) -> bool {
        let at = self.connection.map(|(host, _)| host);
        context.lives.len() == 1
            || at.is_some() && self.leaders.get(&(place.topic, place.index)).copied() == at
    }

    /// The host at the other end.
    pub fn host(&self) -> Option<HostIndex> {
        self.connection.map(|(host, _)| host)
    }

    /// The connection, if there is one.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection.map(|(_, connection)| connection)
    }

    fn connect(&mut self, host: HostIndex, context: &mut Context<'_>) -> bool {
        if self.connection.is_some_and(|(at, _)| at != host) {
            self.close(context);
        }
        if self.connection.is_none() {
            self.connection = context.net.connect(context.me, host).map(|connection| (host, connection));
            self.frames = FrameReader::default();
            self.sent.clear();
        }
        self.connection.is_some()
    }

    /// Asks whichever node who serves the target.
    fn ask(&mut self, target: &Target, context: &mut Context<'_>) {
        let host = match self.connection {
            Some((host, _)) if context.dice.coin() => host,
            _ => any_host(context),
        };
        if !self.connect(host, context) {
            return;
        }
        match target {
            Target::Any => {}
            Target::Leader(_) => {
                let named = |topic: &super::Topic| MetadataRequestTopic {
                    topic_id: Uuid::ZERO,
                    name: Some(Str::from_static(topic.name)),
                };
                let request = MetadataRequest {
                    topics: Some(context.topics.iter().map(named).collect()),
                    allow_auto_topic_creation: false,
                    ..MetadataRequest::default()
                };
                self.send_as(Sent::Leaders, &request, METADATA_VERSION, context);
            }
            Target::Coordinator(group) => {
                let request = FindCoordinatorRequest {
                    key_type: 0,
                    coordinator_keys: vec![group.clone()],
                    ..FindCoordinatorRequest::default()
                };
                self.send_as(Sent::Coordinator, &request, FIND_COORDINATOR_VERSION, context);
            }
        }
    }

    fn on_leaders(&mut self, frame: Bytes, context: &mut Context<'_>) {
        let response = match decode_response::<MetadataRequest>(frame, METADATA_VERSION) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("Metadata: {error}")),
        };
        context.counters.count("client: leaders told");
        for topic in &response.topics {
            let named =
                |known: &super::Topic| topic.name.as_ref().is_some_and(|name| name.as_str() == known.name);
            let Some(at) = context.topics.iter().position(named) else { continue };
            for partition in &topic.partitions {
                if let Some(host) = told_host(partition.leader_id, context) {
                    self.leaders.insert((at, partition.partition_index), host);
                }
            }
        }
        if context.dice.below(ASTRAY) == 0 {
            context.counters.count("client: goes astray");
            let host = any_host(context);
            self.leaders.values_mut().for_each(|leader| *leader = host);
        }
        context.wake_soon(200);
    }

    fn on_coordinator(&mut self, frame: Bytes, context: &mut Context<'_>) {
        let response = match decode_response::<FindCoordinatorRequest>(frame, FIND_COORDINATOR_VERSION) {
            Ok((_, response)) => response,
            Err(error) => return context.fail("answers decode", format!("FindCoordinator: {error}")),
        };
        let Some(found) = response.coordinators.first() else {
            return context.fail("answers complete", "FindCoordinator: no coordinator".into());
        };
        context.counters.count("client: coordinator asked for");
        if found.error_code == 0 {
            self.coordinator = told_host(found.node_id, context);
        }
        if context.dice.below(ASTRAY) == 0 {
            context.counters.count("client: goes astray");
            self.coordinator = Some(any_host(context));
        }
        context.wake_soon(20_000);
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Answers that have not come yet.
    pub fn awaited(&self) -> usize {
        self.sent.len()
    }

    /// Sends a request over the open connection.
    pub fn send<R: Request>(&mut self, request: &R, version: i16, context: &mut Context<'_>) {
        self.send_as(Sent::Client, request, version, context);
    }

    fn send_as<R: Request>(&mut self, sent: Sent, request: &R, version: i16, context: &mut Context<'_>) {
        let (_, connection) = self.connection.expect("connected before sending");
        self.correlation += 1;
        let frame = match encode_request(request, version, self.correlation, Some(&self.client_id)) {
            Ok(frame) => frame.into_contiguous(),
            Err(error) => return context.fail("the client's own encoding", format!("{}: {error}", R::NAME)),
        };
        self.sent.push_back((context.now, sent));
        context.net.send_to_node(connection, frame, context.queue, context.counters);
    }

    /// What was sent last will not be answered.
    pub fn expects_no_answer(&mut self) {
        self.sent.pop_back();
    }

    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.frames.feed(bytes);
    }

    /// The next whole answer to the client; those to the link's own questions are heeded on the way.
    pub fn next_frame(&mut self, context: &mut Context<'_>) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.frames.next_frame().map_err(|error| error.to_string())? {
            match self.sent.pop_front() {
                Some((_, Sent::Leaders)) => self.on_leaders(frame, context),
                Some((_, Sent::Coordinator)) => self.on_coordinator(frame, context),
                Some((_, Sent::Client)) | None => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    /// Whether the oldest answer is overdue.
    pub fn is_overdue(&self, now: Mono) -> bool {
        self.sent.front().is_some_and(|(sent, _)| now.since(*sent) > self.patience)
    }

    /// Closes the connection.
    pub fn close(&mut self, context: &mut Context<'_>) {
        if let Some((_, connection)) = self.connection.take() {
            context.net.close_client(connection, context.queue);
        }
        self.sent.clear();
    }

    /// The other side closed, or the connection broke: its node may be gone.
    pub fn lost(&mut self) {
        self.connection = None;
        self.sent.clear();
        self.mislead();
    }
}

fn any_host(context: &mut Context<'_>) -> HostIndex {
    context.dice.index(context.lives.len())
}

/// The host of a node that an answer named; none where it named none.
fn told_host(node: i32, context: &mut Context<'_>) -> Option<HostIndex> {
    if node < 0 {
        return None;
    }
    let host = super::super::host::host_of(NodeId(node));
    if host >= context.lives.len() {
        context.fail("answers name nodes of the cluster", format!("node {node}"));
        return None;
    }
    Some(host)
}
