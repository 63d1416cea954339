//! One connection to one broker: requests are pipelined, answers find their askers by correlation id. A writer task takes
//! all frames that wait into one vectored write; a reader task hands frames out. When either ends, all who wait are told.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka::frame::{FrameReader, decode_response, encode_request};
use kafka::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use kafka::message::{ApiKey, Request};
use kafka::wire::{Decoder, Segments, Str};
use model::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::versions::Versions;
use crate::{Address, Error};

/// Frames that may wait for the writer.
const FRAMES_QUEUED_MAX: usize = 128;
/// Frames that go out in one write.
const FRAMES_WRITTEN_MAX: usize = 32;
/// Room for each read, bytes.
const READ_BYTES: usize = 64 << 10;
/// Version of ApiVersions asked first; a broker that lacks it says so in version 0.
const API_VERSIONS_FIRST: i16 = 4;

type Answer = Result<Bytes, Error>;

/// Who waits for which correlation id; none any more when the connection is over.
#[derive(Debug)]
struct Waiting {
    broker: Address,
    by_id: Mutex<Option<HashMap<i32, oneshot::Sender<Answer>>>>,
}

impl Waiting {
    fn add(&self, id: i32) -> Result<oneshot::Receiver<Answer>, Error> {
        let (sender, receiver) = oneshot::channel();
        match self.by_id.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(map) => map.insert(id, sender),
            None => return Err(self.over("it ended before the request was sent")),
        };
        Ok(receiver)
    }

    fn take(&self, id: i32) -> Option<oneshot::Sender<Answer>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&id)
    }

    fn is_over(&self) -> bool {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn over(&self, why: &str) -> Error {
        Error::Disconnected { broker: self.broker.to_string(), why: why.to_string() }
    }

    fn end(&self, why: &str) {
        let map = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (_, sender) in map.into_iter().flatten() {
            // Who no longer waits does not need to know.
            drop(sender.send(Err(self.over(why))));
        }
    }
}

/// A connection whose versions are known.
#[derive(Debug)]
pub(crate) struct Connection {
    broker: Address,
    client_id: Str,
    outgoing: mpsc::Sender<Segments>,
    waiting: Arc<Waiting>,
    next_id: AtomicI32,
    versions: Versions,
    reader: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    /// Connects and learns the broker's versions.
    pub async fn open(broker: &Address, client_id: &Str, patience: Duration) -> Result<Connection, Error> {
        let failed = |why: String| Error::Connect { broker: broker.to_string(), why };
        let connect = TcpStream::connect((&*broker.host, broker.port));
        let stream = match tokio::time::timeout(patience, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(reason(&error))),
            Err(_) => return Err(failed(format!("no connection within {} ms", patience.as_millis()))),
        };
        stream.set_nodelay(true).map_err(|error| failed(reason(&error)))?;
        let (read, write) = stream.into_split();
        let waiting = Arc::new(Waiting { broker: broker.clone(), by_id: Mutex::new(Some(HashMap::new())) });
        let (outgoing, queue) = mpsc::channel(FRAMES_QUEUED_MAX);
        tokio::spawn(write_frames(write, queue, waiting.clone()));
        let reader = tokio::spawn(read_frames(read, waiting.clone()));
        let mut connection = Connection {
            broker: broker.clone(),
            client_id: client_id.clone(),
            outgoing,
            waiting,
            next_id: AtomicI32::new(0),
            versions: Versions::default(),
            reader,
        };
        connection.versions = connection.learn_versions(patience).await?;
        Ok(connection)
    }

    /// The broker at the other end.
    pub fn broker(&self) -> &Address {
        &self.broker
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.waiting.is_over()
    }

    /// Sends a request in the highest common version and waits for its answer.
    pub async fn ask<R: Request>(&self, request: &R, patience: Duration) -> Result<R::Response, Error> {
        let version = self
            .versions
            .pick(R::KEY)
            .ok_or_else(|| Error::Unsupported { broker: self.broker.to_string(), api: R::KEY.name() })?;
        let frame = self.exchange(request, version, patience).await?;
        let (_, answer) =
            decode_response::<R>(frame, version).map_err(|error| self.garbled(R::KEY, error))?;
        Ok(answer)
    }

    fn garbled(&self, key: ApiKey, why: impl ToString) -> Error {
        Error::Garbled { broker: self.broker.to_string(), api: key.name(), why: why.to_string() }
    }

    async fn exchange<R: Request>(&self, request: &R, version: i16, patience: Duration) -> Answer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = encode_request(request, version, id, Some(&self.client_id)).map_err(|error| {
            Error::Invalid(format!("{} cannot be written in version {version}: {error}", R::KEY.name()))
        })?;
        let receiver = self.waiting.add(id)?;
        let sent_and_answered = async {
            if self.outgoing.send(frame).await.is_err() {
                self.waiting.end("the writer has stopped");
            }
            receiver.await.unwrap_or_else(|_| Err(self.waiting.over("it ended")))
        };
        match tokio::time::timeout(patience, sent_and_answered).await {
            Ok(answer) => answer,
            Err(_) => {
                drop(self.waiting.take(id));
                Err(Error::TimedOut { broker: self.broker.to_string(), api: R::KEY.name(), after: patience })
            }
        }
    }

    async fn learn_versions(&self, patience: Duration) -> Result<Versions, Error> {
        let request = ApiVersionsRequest {
            client_software_name: "sternpost".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        let mut version = API_VERSIONS_FIRST;
        loop {
            let frame = self.exchange(&request, version, patience).await?;
            let garbled = |why: String| self.garbled(ApiKey::ApiVersions, why);
            // The error stands first in every version: behind the correlation id.
            let code = frame.get(4..6).ok_or_else(|| garbled("it is too short".into()))?;
            let code = ErrorCode::from_code(i16::from_be_bytes([code[0], code[1]]));
            if code == ErrorCode::UnsupportedVersion && version > 0 {
                let mut rest = Decoder::new(frame.slice(4..));
                let listed = ApiVersionsResponse::decode(&mut rest, 0)
                    .ok()
                    .and_then(|answer| Versions::new(&answer.api_keys).pick(ApiKey::ApiVersions));
                version = listed.unwrap_or(0).min(version - 1);
                continue;
            }
            if code != ErrorCode::None {
                return Err(Error::refused("ask for versions", &self.broker, code as i16, None));
            }
            let (_, answer) = decode_response::<ApiVersionsRequest>(frame, version)
                .map_err(|error| garbled(error.to_string()))?;
            return Ok(Versions::new(&answer.api_keys));
        }
    }
}

/// The system's words without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

async fn write_frames(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Segments>,
    waiting: Arc<Waiting>,
) {
    let mut frames = Vec::with_capacity(FRAMES_WRITTEN_MAX);
    while queue.recv_many(&mut frames, FRAMES_WRITTEN_MAX).await > 0 {
        let pieces: Vec<Bytes> = frames.drain(..).flat_map(Segments::into_pieces).collect();
        let mut slices: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match socket.write_vectored(rest).await {
                Ok(0) => return waiting.end("it takes no more bytes"),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) => return waiting.end(&reason(&error)),
            }
        }
    }
}

async fn read_frames(mut socket: OwnedReadHalf, waiting: Arc<Waiting>) {
    let mut reader = FrameReader::default();
    loop {
        let buffer = reader.buffer_mut();
        buffer.reserve(READ_BYTES);
        match socket.read_buf(buffer).await {
            Ok(0) => return waiting.end("the broker closed it"),
            Ok(_) => {}
            Err(error) => return waiting.end(&reason(&error)),
        }
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    let Some(id) = frame.first_chunk::<4>() else {
                        return waiting.end("a frame without a correlation id came");
                    };
                    // An answer nobody waits for any more: its asker ran out of patience.
                    if let Some(sender) = waiting.take(i32::from_be_bytes(*id)) {
                        drop(sender.send(Ok(frame)));
                    }
                }
                Ok(None) => break,
                Err(error) => return waiting.end(&error.to_string()),
            }
        }
    }
}
