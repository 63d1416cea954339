//! A client's connection: connects, sends framed requests, cuts the answers' bytes into frames, and knows for how long
//! the oldest answer has been missing.

use super::Context;
use broker::request::ConnectionId;
use bytes::Bytes;
use kafka::frame::{FrameError, FrameReader, encode_request};
use kafka::message::Request;
use kafka::wire::Str;
use model::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// One client's way to the node.
#[derive(Debug)]
pub struct Link {
    connection: Option<ConnectionId>,
    frames: FrameReader,
    correlation: i32,
    sent: VecDeque<Mono>,
    client_id: Str,
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
            patience: Duration::from_secs(3),
        }
    }

    /// Connects unless connected; `false` when nobody listens.
    pub fn connect(&mut self, context: &mut Context<'_>) -> bool {
        if self.connection.is_none() {
            self.connection = context.net.connect(context.me);
            self.frames = FrameReader::default();
            self.sent.clear();
        }
        self.connection.is_some()
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
        let connection = self.connection.expect("connected before sending");
        self.correlation += 1;
        let frame = match encode_request(request, version, self.correlation, Some(&self.client_id)) {
            Ok(frame) => frame.into_contiguous(),
            Err(error) => return context.fail("the client's own encoding", format!("{}: {error}", R::NAME)),
        };
        self.sent.push_back(context.now);
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

    /// The next whole answer.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let frame = self.frames.next_frame()?;
        if frame.is_some() {
            self.sent.pop_front();
        }
        Ok(frame)
    }

    /// Whether the oldest answer is overdue.
    pub fn is_overdue(&self, now: Mono) -> bool {
        self.sent.front().is_some_and(|sent| now.since(*sent) > self.patience)
    }

    /// Closes the connection.
    pub fn close(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = self.connection.take() {
            context.net.close_client(connection, context.queue);
        }
        self.sent.clear();
    }

    /// The other side closed, or the connection broke.
    pub fn lost(&mut self) {
        self.connection = None;
        self.sent.clear();
    }
}
