//! Node settings with their values: given in layers (file, environment, command line, later run-time changes), checked
//! against the registry, read as typed fields. Of two layers that set a name the later one wins; within a layer two
//! values for one thing are a contradiction and refused.

use super::setting::{Change, Setting, parse_boolean, split_list};
use super::voters::{Voter, cluster_id, cluster_of, peer_listener, voters};
use super::{nearest, node_setting, node_table, topic_setting};
use crate::level::Level;
use crate::request::ConfigSource;
use model::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pairs of names that mean the same and must not contradict each other.
const TWINS: &[(&str, &str)] = &[("log.dirs", "log.dir"), ("node.id", "broker.id")];

/// Replicas of a topic in a cluster when nobody says a number.
const REPLICATION_MAX: usize = 3;
const REPLICATION: &str = "default.replication.factor";

/// One value as a user gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Name of the setting.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it was given, for messages: "sternpost.toml", "the environment variable STERNPOST_X", "--set".
    pub origin: String,
}

/// Host and port of a listener. An empty host means all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAddress {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

/// All settings of a node, typed where Sternpost acts on them. Times in the unit that the field says, sizes in bytes.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// `node.id`.
    pub node_id: i32,
    /// `controller.quorum.voters`, sorted; empty for a node of one.
    pub voters: Vec<Voter>,
    /// `sternpost.peer.listener`, or this node's own entry among the voters; `None` for a node of one.
    pub peer_listener: Option<ListenerAddress>,
    /// `sternpost.cluster.id`.
    pub cluster_id: Option<[u8; 16]>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `listeners`: the one for clients.
    pub listener: ListenerAddress,
    /// `advertised.listeners`, when set.
    pub advertised: Option<ListenerAddress>,
    /// `log.dirs` or `log.dir`.
    pub data_dir: String,
    /// `sternpost.http.listener`; `None`: off.
    pub http: Option<ListenerAddress>,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub group_session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub group_session_timeout_max: Duration,
    /// `group.max.size`.
    pub group_size_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration: Duration,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `max.request.partition.size.limit`.
    pub described_partitions_max: usize,
    /// `num.io.threads`.
    pub read_threads: usize,
    /// `num.network.threads`; `None`: one for each processor, at most 8.
    pub network_threads: Option<usize>,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `socket.listen.backlog.size`.
    pub listen_backlog: u32,
    /// `socket.send.buffer.bytes`; `None`: the system decides.
    pub send_buffer_bytes: Option<u32>,
    /// `socket.receive.buffer.bytes`; `None`: the system decides.
    pub receive_buffer_bytes: Option<u32>,
    /// `max.connections`.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`; `None`: never.
    pub connection_idle_max: Option<Duration>,
    /// `queued.max.request.bytes`.
    pub queued_request_bytes_max: usize,
    /// `sternpost.connection.requests.max`.
    pub connection_requests_max: usize,
    /// `sternpost.connection.request.bytes.max`.
    pub connection_request_bytes_max: usize,
    /// `sternpost.frame.timeout.ms`.
    pub frame_timeout: Duration,
    /// `sternpost.write.timeout.ms`.
    pub write_timeout: Duration,
    /// `sternpost.data.shards`.
    pub data_shards: u32,
    /// `sternpost.protocol.level.max`.
    pub level_max: Level,
    /// `sternpost.tail.bytes.max`.
    pub tail_bytes_max: usize,
    /// `sternpost.checkpoint.bytes`.
    pub checkpoint_bytes: usize,
    /// `sternpost.wal.held.bytes.max`.
    pub wal_held_bytes_max: u64,
    /// `sternpost.catch.up.rate`, bytes per second.
    pub catch_up_rate: u64,
    /// `sternpost.scrub.rate`, bytes per second; 0: no scrub.
    pub scrub_rate: u64,
    /// `sternpost.scrub.interval.ms`.
    pub scrub_interval: Duration,
    /// Values by name with where they come from; names without an entry stand at their defaults.
    values: BTreeMap<String, Vec<(ConfigSource, String)>>,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        parse_node(&[]).expect("the registry's defaults are legal").0
    }
}

impl NodeSettings {
    /// Every value that somebody set for `name`, the one in force first.
    pub fn set_values(&self, name: &str) -> &[(ConfigSource, String)] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value in force, defaults included.
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.values.get(name).and_then(|values| values.first()) {
            Some((_, value)) => Some(value),
            None => node_setting(name).and_then(|setting| setting.default),
        }
    }

    /// The cluster that a new data directory is to belong to; `None`: any.
    pub fn new_cluster(&self) -> Option<[u8; 16]> {
        self.cluster_id.or_else(|| (!self.voters.is_empty()).then(|| cluster_of(&self.voters)))
    }

    /// The same settings with run-time changes laid over them: first those for all nodes, then those for this one. Changes
    /// were checked when they were made (`check_node_override`).
    ///
    /// # Errors
    /// One sentence when a change is not legal after all (metadata written by another version).
    pub fn with_dynamic(
        &self,
        all_nodes: &BTreeMap<String, String>,
        this_node: &BTreeMap<String, String>,
    ) -> Result<NodeSettings, String> {
        let mut values = self.values.clone();
        for list in values.values_mut() {
            list.retain(|(source, _)| *source == ConfigSource::StaticBroker);
        }
        for (source, changes) in
            [(ConfigSource::DynamicDefaultBroker, all_nodes), (ConfigSource::DynamicBroker, this_node)]
        {
            for (name, value) in changes {
                values.entry(name.clone()).or_default().insert(0, (source, value.trim().to_string()));
            }
        }
        values.retain(|_, list| !list.is_empty());
        typed(values)
    }
}

/// Checks a run-time change of a node setting.
///
/// # Errors
/// One clear sentence: unknown, read-only, or an illegal value.
pub fn check_node_override(name: &str, value: &str) -> Result<(), String> {
    let setting = known(name)?;
    if setting.change == Change::ReadOnly {
        return Err(format!("{name} can only be changed by a restart of the node"));
    }
    setting.check(value)
}

/// Settings from layers in rising precedence (usually file, environment, command line). Also returns remarks for the log: known
/// settings that have no effect.
///
/// # Errors
/// One clear sentence: an unknown name with the nearest known one, an illegal value, or a contradiction within a layer.
pub fn parse_node(layers: &[Vec<Given>]) -> Result<(NodeSettings, Vec<String>), String> {
    let mut values: BTreeMap<String, Vec<(ConfigSource, String)>> = BTreeMap::new();
    let mut remarks = Vec::new();
    for layer in layers {
        let mut seen: BTreeMap<&str, &Given> = BTreeMap::new();
        for given in layer {
            let setting = known(&given.name).map_err(|why| format!("{}: {why}", given.origin))?;
            setting.check(&given.value).map_err(|why| format!("{}: {why}", given.origin))?;
            if let Some(other) = seen.insert(&given.name, given)
                && other.value.trim() != given.value.trim()
            {
                return Err(format!(
                    "{} is given twice: {} by {} and {} by {}",
                    given.name,
                    setting.shown(&other.value),
                    other.origin,
                    setting.shown(&given.value),
                    given.origin
                ));
            }
            if !setting.effect {
                remarks.push(format!(
                    "{}: {} is accepted without effect. {}",
                    given.origin, given.name, setting.doc
                ));
            }
        }
        for (one, other) in TWINS {
            if let (Some(a), Some(b)) = (seen.get(one), seen.get(other))
                && a.value.trim() != b.value.trim()
            {
                return Err(format!(
                    "{one} and {other} mean the same and contradict each other: {:?} by {} and {:?} by {}",
                    a.value, a.origin, b.value, b.origin
                ));
            }
            // The later layer's word wins over the earlier layer's twin.
            if seen.contains_key(one) {
                values.remove(*other);
            } else if seen.contains_key(other) {
                values.remove(*one);
            }
        }
        for (name, given) in seen {
            values
                .insert(name.to_string(), vec![(ConfigSource::StaticBroker, given.value.trim().to_string())]);
        }
    }
    let settings = typed(values)?;
    if settings.voters.is_empty() || settings.values.contains_key(REPLICATION) {
        return Ok((settings, remarks));
    }
    // It follows from the voters, so it comes from where they come from.
    let replicas = settings.voters.len().min(REPLICATION_MAX).to_string();
    let mut values = settings.values;
    values.insert(REPLICATION.to_string(), vec![(ConfigSource::StaticBroker, replicas)]);
    Ok((typed(values)?, remarks))
}

/// The row of a name, or the refusal with a hint.
fn known(name: &str) -> Result<&'static Setting, String> {
    if let Some(setting) = node_setting(name) {
        return Ok(setting);
    }
    let shown: String = name.chars().take(100).flat_map(char::escape_default).collect();
    if let Some(row) = super::topic_table::TOPIC.iter().find(|row| row.setting.name == name)
        && topic_setting(name).is_some()
        && let Some((synonym, _)) = row.synonyms.first()
    {
        return Err(format!("{shown} is a setting of topics; for the whole node it is called {synonym}"));
    }
    Err(match nearest(name, node_table().map(|setting| setting.name)) {
        Some(near) => format!("unknown setting {shown}; did you mean {near}?"),
        None => format!("unknown setting {shown}; docs/configuration.md lists all of them"),
    })
}

/// Reads checked values.
pub(super) struct Reader<'a>(&'a BTreeMap<String, Vec<(ConfigSource, String)>>);

impl Reader<'_> {
    /// Whether somebody set it.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let setting = node_setting(name).expect("typed settings are in the registry");
        self.0
            .get(name)
            .and_then(|values| values.first())
            .map(|(_, value)| value.as_str())
            .or(setting.default)
    }

    fn whole(&self, name: &str) -> Result<i64, String> {
        let text = self.text(name).unwrap_or_default();
        text.parse().map_err(|_| format!("invalid value {text:?} for {name}: it must be a whole number"))
    }

    fn size(&self, name: &str) -> Result<usize, String> {
        let number = self.whole(name)?;
        usize::try_from(number)
            .map_err(|_| format!("invalid value {number} for {name}: it must not be negative"))
    }

    fn millis(&self, name: &str) -> Result<Duration, String> {
        Ok(Duration::from_millis(self.size(name)? as u64))
    }

    fn boolean(&self, name: &str) -> Result<bool, String> {
        let text = self.text(name).unwrap_or_default();
        parse_boolean(text)
            .ok_or_else(|| format!("invalid value {text:?} for {name}: it must be true or false"))
    }

    /// A socket buffer: -1 leaves it to the system.
    fn buffer(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(u32::try_from(self.whole(name)?).ok().filter(|size| *size > 0))
    }
}

fn typed(values: BTreeMap<String, Vec<(ConfigSource, String)>>) -> Result<NodeSettings, String> {
    for (name, list) in &values {
        let setting = known(name)?;
        for (_, value) in list {
            setting.check(value)?;
        }
    }
    let read = Reader(&values);
    let listener = client_listener(&read)?;
    let node_id = match (values.contains_key("node.id"), read.whole("broker.id")?) {
        (false, id) if id >= 0 => id,
        _ => read.whole("node.id")?,
    };
    let session_min = read.millis("group.min.session.timeout.ms")?;
    let session_max = read.millis("group.max.session.timeout.ms")?;
    if session_min > session_max {
        return Err("group.min.session.timeout.ms is above group.max.session.timeout.ms".to_string());
    }
    let queued_bytes = read.size("queued.max.request.bytes")?;
    let node_id = i32::try_from(node_id).map_err(|_| "node.id is too large".to_string())?;
    let voters = voters(&read, NodeId(node_id))?;
    Ok(NodeSettings {
        node_id,
        peer_listener: peer_listener(&read, &voters, NodeId(node_id))?,
        cluster_id: cluster_id(&read)?,
        voters,
        rack: read.text("broker.rack").map(str::to_string),
        advertised: advertised_listener(&read, &listener.name)?,
        listener: listener.address,
        data_dir: data_dir(&read)?,
        http: http_listener(&read)?,
        num_partitions: read.whole("num.partitions")? as i32,
        default_replication_factor: read.whole(REPLICATION)? as i16,
        auto_create_topics: read.boolean("auto.create.topics.enable")?,
        delete_topics: read.boolean("delete.topic.enable")?,
        retention_check_interval: read.millis("log.retention.check.interval.ms")?,
        group_initial_rebalance_delay: read.millis("group.initial.rebalance.delay.ms")?,
        group_session_timeout_min: session_min,
        group_session_timeout_max: session_max,
        group_size_max: read.size("group.max.size")?,
        offsets_retention: Duration::from_secs(60 * read.size("offsets.retention.minutes")? as u64),
        offsets_retention_check_interval: read.millis("offsets.retention.check.interval.ms")?,
        offset_metadata_bytes_max: read.size("offset.metadata.max.bytes")?,
        producer_id_expiration: read.millis("producer.id.expiration.ms")?,
        fetch_bytes_max: read.size("fetch.max.bytes")?,
        described_partitions_max: read.size("max.request.partition.size.limit")?,
        read_threads: read.size("num.io.threads")?,
        network_threads: read
            .text("num.network.threads")
            .map(|_| read.size("num.network.threads"))
            .transpose()?,
        request_bytes_max: read.size("socket.request.max.bytes")?,
        listen_backlog: read.size("socket.listen.backlog.size")? as u32,
        send_buffer_bytes: read.buffer("socket.send.buffer.bytes")?,
        receive_buffer_bytes: read.buffer("socket.receive.buffer.bytes")?,
        connections_max: read.size("max.connections")?,
        connections_per_ip_max: read.size("max.connections.per.ip")?,
        connection_idle_max: match read.whole("connections.max.idle.ms")? {
            -1 => None,
            millis => Some(Duration::from_millis(millis.unsigned_abs())),
        },
        queued_request_bytes_max: queued_bytes,
        connection_requests_max: read.size("sternpost.connection.requests.max")?,
        connection_request_bytes_max: read.size("sternpost.connection.request.bytes.max")?,
        frame_timeout: read.millis("sternpost.frame.timeout.ms")?,
        write_timeout: read.millis("sternpost.write.timeout.ms")?,
        data_shards: read.size("sternpost.data.shards")? as u32,
        level_max: read.whole("sternpost.protocol.level.max")? as Level,
        tail_bytes_max: read.size("sternpost.tail.bytes.max")?,
        checkpoint_bytes: read.size("sternpost.checkpoint.bytes")?,
        wal_held_bytes_max: read.size("sternpost.wal.held.bytes.max")? as u64,
        catch_up_rate: read.size("sternpost.catch.up.rate")? as u64,
        scrub_rate: read.size("sternpost.scrub.rate")? as u64,
        scrub_interval: read.millis("sternpost.scrub.interval.ms")?,
        values,
    })
}

fn data_dir(read: &Reader<'_>) -> Result<String, String> {
    let (name, text) = match read.text("log.dirs") {
        Some(text) => ("log.dirs", text),
        None => ("log.dir", read.text("log.dir").unwrap_or_default()),
    };
    let mut words = split_list(text);
    match (words.next(), words.next()) {
        (Some(one), None) => Ok(one.to_string()),
        (None, _) => Err(format!("{name} must name a directory")),
        (Some(_), Some(_)) => Err(format!("{name} must name exactly one directory, not {text:?}")),
    }
}

fn http_listener(read: &Reader<'_>) -> Result<Option<ListenerAddress>, String> {
    match read.text("sternpost.http.listener") {
        None | Some("off") => Ok(None),
        Some(text) => host_port(text).map(Some).ok_or_else(|| {
            format!("invalid value {text:?} for sternpost.http.listener: it must be host:port or off")
        }),
    }
}

/// A named listener.
struct Listener {
    name: String,
    address: ListenerAddress,
}

fn client_listener(read: &Reader<'_>) -> Result<Listener, String> {
    let text = read.text("listeners").unwrap_or_default();
    let controllers: Vec<&str> =
        split_list(read.text("controller.listener.names").unwrap_or_default()).collect();
    let mut chosen = None;
    for word in split_list(text) {
        let listener = parse_listener("listeners", word)?;
        if controllers.contains(&listener.name.as_str()) {
            continue;
        }
        let protocols = read.text("listener.security.protocol.map").unwrap_or_default();
        let protocol = split_list(protocols)
            .filter_map(|pair| pair.split_once(':'))
            .find(|(name, _)| *name == listener.name)
            .map(|(_, protocol)| protocol)
            .ok_or_else(|| {
                format!("listener {} has no entry in listener.security.protocol.map", listener.name)
            })?;
        if protocol != "PLAINTEXT" {
            return Err(format!(
                "listener {} asks for {protocol}, but only PLAINTEXT exists yet; starting it unprotected would be wrong",
                listener.name
            ));
        }
        if chosen.replace(listener).is_some() {
            return Err(format!("listeners must name exactly one listener for clients, not {text:?}"));
        }
    }
    chosen.ok_or_else(|| format!("listeners names no listener for clients: {text:?}"))
}

fn advertised_listener(read: &Reader<'_>, listener: &str) -> Result<Option<ListenerAddress>, String> {
    let Some(text) = read.text("advertised.listeners").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    for word in split_list(text) {
        let advertised = parse_listener("advertised.listeners", word)?;
        if advertised.name != listener {
            continue;
        }
        if advertised.address.host.is_empty()
            || advertised.address.host == "0.0.0.0"
            || advertised.address.host == "::"
        {
            return Err(format!(
                "advertised.listeners must name a host that clients can connect to, not {word:?}"
            ));
        }
        if advertised.address.port == 0 {
            return Err(format!(
                "advertised.listeners must name a port that clients can connect to, not {word:?}"
            ));
        }
        return Ok(Some(advertised.address));
    }
    Err(format!("advertised.listeners has no entry for the listener {listener}: {text:?}"))
}

/// `NAME://host:port`, or just `host:port` for the name PLAINTEXT.
fn parse_listener(setting: &str, word: &str) -> Result<Listener, String> {
    let (name, address) = word.split_once("://").unwrap_or(("PLAINTEXT", word));
    let address = host_port(address)
        .ok_or_else(|| format!("invalid value {word:?} for {setting}: it must be PLAINTEXT://host:port"))?;
    Ok(Listener { name: name.to_ascii_uppercase(), address })
}

/// `host:port` with an optional host, IPv6 addresses in brackets.
pub(super) fn host_port(text: &str) -> Option<ListenerAddress> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if host.chars().any(|c| c.is_whitespace() || c == '/') {
        return None;
    }
    Some(ListenerAddress { host: host.to_string(), port: port.parse().ok()? })
}
