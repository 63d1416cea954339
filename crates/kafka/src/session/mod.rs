//! One client connection, seen from the wire: frames in, questions to the core out, answers back in, frames out. No I/O
//! and no clock; a driver owns the socket and calls this on the connection's own task. The stop between `frame` and
//! `api`.
//!
//! Kafka answers in the order of the requests. The driver keeps one queue per connection: what `on_frame` returns gets a
//! place in it at once, a `Reply` ready to be written, an `Ask` to be filled by `reply` when the core has answered; frames
//! leave from the front only. An `Ask` whose `wants_reply` is false takes a place too, and frees it without a frame.

mod error;
pub(crate) mod fetch_session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use broker::request::{ClientInfo, Request, Response};
use bytes::Bytes;
use model::NodeId;

use crate::api::{self, Context, Dispatched, Kept};
use crate::frame::decode_request_header;
use crate::message::ApiKey;
use crate::message::api_versions::ApiVersionsRequest;
use crate::records;
use crate::wire::{Decoder, Segments};

pub use error::SessionError;
use fetch_session::FetchSessions;
pub use fetch_session::{FETCH_SESSIONS_MAX, FetchSessionPool};

/// What a connection may ask of this node's memory.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Topics, partitions, groups, settings and the like that one request may name, all together.
    pub request_entries_max: usize,
    /// Partitions in the fetch sessions of one connection (about 200 bytes each); above it fetches go without session.
    pub fetch_session_partitions_max: usize,
    /// Decompressed records of one batch, bytes.
    pub decompressed_bytes_max: usize,
    /// Decompressed records that one request may make this node look at, bytes: some tenths of a second of work. A
    /// request of many small bombs ends here.
    pub request_decompressed_bytes_max: usize,
    /// Bytes of a request's header: a client id has at most 32 KiB, unknown tagged fields the rest.
    pub header_bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            request_entries_max: 100_000,
            fetch_session_partitions_max: 20_000,
            decompressed_bytes_max: records::DECOMPRESSED_BYTES_MAX,
            request_decompressed_bytes_max: 8 * records::DECOMPRESSED_BYTES_MAX,
            header_bytes_max: 48 << 10,
        }
    }
}

/// A feature of the cluster (KIP-584) as clients are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name, as `group.version`.
    pub name: &'static str,
    /// Lowest level that this node can run at.
    pub min: i16,
    /// Highest level that this node can run at.
    pub max: i16,
    /// Level that the cluster runs at; 0: not switched on, not told.
    pub finalized: i16,
}

/// What all connections of a listener share.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Limits.
    pub limits: SessionLimits,
    /// Most bytes of one fetch answer (Kafka: `fetch.max.bytes`).
    pub fetch_bytes_max: usize,
    /// Features told to clients.
    pub features: Vec<Feature>,
    /// Cluster id: a client that expects another one is sent away (KIP-1242).
    pub cluster_id: String,
    /// This node.
    pub node: NodeId,
    /// What the fetch sessions of all connections hold.
    pub fetch_sessions: Arc<FetchSessionPool>,
}

/// Partitions in the fetch sessions of all connections: some 100 MiB.
const NODE_FETCH_SESSION_PARTITIONS_MAX: usize = 400_000;

impl SessionConfig {
    /// Kafka's default of `fetch.max.bytes`.
    pub const FETCH_BYTES_MAX_DEFAULT: usize = 55 << 20;

    /// Defaults for a node of a cluster.
    pub fn new(cluster_id: impl Into<String>, node: NodeId) -> SessionConfig {
        SessionConfig {
            limits: SessionLimits::default(),
            fetch_bytes_max: SessionConfig::FETCH_BYTES_MAX_DEFAULT,
            features: Vec::new(),
            cluster_id: cluster_id.into(),
            node,
            fetch_sessions: Arc::new(FetchSessionPool::new(NODE_FETCH_SESSION_PARTITIONS_MAX)),
        }
    }
}

/// What a frame leads to. Nearly every frame is an `Ask`, so that a box would cost more than the room it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Step {
    /// Answered here.
    Reply(Segments),
    /// The core must say; hand its answer to [`Session::reply`] with `pending`.
    Ask {
        /// For the answer.
        pending: Pending,
        /// The question.
        request: Request,
        /// Who asks.
        client: Arc<ClientInfo>,
        /// False for `acks=0`: the answer still goes to [`Session::reply`], which writes nothing.
        wants_reply: bool,
    },
}

/// A request that waits for the core.
#[derive(Debug)]
pub struct Pending {
    correlation_id: i32,
    version: i16,
    kept: Kept,
}

impl Pending {
    /// The API, for metrics.
    pub fn key(&self) -> ApiKey {
        self.kept.key()
    }

    /// Version of the request.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// What the client counts its requests by.
    pub fn correlation_id(&self) -> i32 {
        self.correlation_id
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    client: Arc<ClientInfo>,
    fetch_sessions: FetchSessions,
}

impl Session {
    /// A connection from `client.host`; the client id comes with the requests.
    pub fn new(config: Arc<SessionConfig>, client: ClientInfo) -> Session {
        let pool = Arc::clone(&config.fetch_sessions);
        let fetch_sessions = FetchSessions::new(config.limits.fetch_session_partitions_max, pool);
        Session { config, client: Arc::new(client), fetch_sessions }
    }

    /// Takes a frame without its size. An error ends the connection: answers before it may still go out.
    pub fn on_frame(&mut self, frame: Bytes) -> Result<Step, SessionError> {
        let frame_size = frame.len();
        let mut body = Decoder::new(frame.clone());
        let Some((key, version)) = key_and_version(&frame) else {
            return Err(SessionError::ShortHeader(frame_size));
        };
        let api_key = ApiKey::from_code(key);
        let Some(versions) = api_key.and_then(api::versions) else {
            return Err(SessionError::UnknownKey(key));
        };
        let key = versions.key;
        if !versions.serves(version) {
            if key == ApiKey::ApiVersions {
                return self.unsupported_api_versions(&frame);
            }
            return Err(SessionError::UnsupportedVersion { key, version, max: versions.max });
        }
        let (_, header) = decode_request_header(&mut body).map_err(SessionError::Header)?;
        let header_size = frame_size - body.remaining();
        let max = self.config.limits.header_bytes_max;
        if header_size > max {
            return Err(SessionError::HeaderTooLong { size: header_size, max });
        }
        let correlation_id = header.correlation_id;
        if key == ApiKey::ApiVersions {
            let message = ApiVersionsRequest::decode(&mut body, version)
                .map_err(|error| SessionError::Malformed { key, version, error })?;
            let answer = api::api_versions::response(&message, version, &self.config);
            return api::write(key, version, correlation_id, &answer).map(Step::Reply);
        }
        self.note_client_id(header.client_id.as_deref().unwrap_or_default());
        let mut context = Context { config: &self.config, fetch_sessions: &mut self.fetch_sessions };
        match api::request(key, version, correlation_id, &mut body, &mut context)? {
            Dispatched::Answer(segments) => Ok(Step::Reply(segments)),
            Dispatched::Core(request, kept) => Ok(Step::Ask {
                wants_reply: !matches!(kept, Kept::Produce(false)),
                pending: Pending { correlation_id, version, kept },
                request,
                client: Arc::clone(&self.client),
            }),
        }
    }

    /// Takes the core's answer; `None` when the client wanted none. An error ends the connection.
    ///
    /// # Panics
    /// When `response` does not answer the request of `pending`.
    pub fn reply(&mut self, pending: Pending, response: Response) -> Result<Option<Segments>, SessionError> {
        let Pending { correlation_id, version, kept } = pending;
        if let (Kept::Produce(false), Response::Produce(answer)) = (&kept, &response) {
            return api::produce::end_silently(answer).map(|()| None);
        }
        let mut context = Context { config: &self.config, fetch_sessions: &mut self.fetch_sessions };
        api::response(response, version, correlation_id, kept, &mut context).map(Some)
    }

    /// Partitions that this connection's fetch sessions remember, for metrics.
    pub fn fetch_session_partitions(&self) -> usize {
        self.fetch_sessions.partitions()
    }

    /// A client newer than this node: told what there is in the oldest version, which any client can read.
    fn unsupported_api_versions(&self, frame: &Bytes) -> Result<Step, SessionError> {
        const CORRELATION_ID_AT: usize = 4;
        let correlation_id = frame
            .get(CORRELATION_ID_AT..)
            .and_then(|rest| rest.first_chunk())
            .map(|id| i32::from_be_bytes(*id))
            .ok_or(SessionError::ShortHeader(frame.len()))?;
        let answer = api::api_versions::unsupported();
        api::write(ApiKey::ApiVersions, 0, correlation_id, &answer).map(Step::Reply)
    }

    /// Keeps the client id; a connection nearly always has one and the same.
    fn note_client_id(&mut self, client_id: &str) {
        if self.client.client_id != client_id {
            let host = self.client.host.clone();
            self.client = Arc::new(ClientInfo { client_id: client_id.to_owned(), host });
        }
    }
}

/// The first two fields of every request header.
fn key_and_version(frame: &Bytes) -> Option<(i16, i16)> {
    let [a, b, c, d] = *frame.first_chunk()?;
    Some((i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d])))
}
