//! One client connection on its own task: bytes in → frames → questions to the core; answers back in → frames out, in the
//! order of the requests. First and last stop of a record (`runtime/listener → kafka/api/…`).
//!
//! Bounded at every point: a connection at its unanswered requests or bytes, or with answers that it does not take, is not
//! read further; memory for a frame grows only as its bytes come; whoever stands still is disconnected.

use crate::core::Input;
use crate::counters::Counters;
use crate::gate::Share;
use crate::listener::{Phase, Shared};
use crate::mailbox::Mailbox;
use broker::Response;
use broker::request::{ClientInfo, ConnectionId};
use bytes::{Buf, Bytes, BytesMut};
use kafka::frame::FrameReader;
use kafka::message::ApiKey;
use kafka::session::{Pending, Session, SessionError, Step};
use kafka::wire::Segments;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

/// Bytes taken from a socket at once while no frame is under way; one buffer for each network thread, none for each connection.
const SCRATCH_BYTES: usize = 64 << 10;
/// What an unanswered request costs beside its frame, bytes: it is charged to the pool of requests.
const REQUEST_OVERHEAD_BYTES: usize = 1 << 10;
/// Answers that a client has not taken: beyond so many bytes its next request waits.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Pieces of answers given to the system in one write.
const WRITE_PIECES_MAX: usize = 64;
/// A frame under way gets its time anew after so many bytes.
const FRAME_PROGRESS_BYTES: usize = 1 << 20;
/// While a pool that clients fill is over its limit, whoever has stood still for so long is disconnected.
const STANDING_GRACE: Duration = Duration::from_secs(1);
/// A frame or an answer under way that is larger than this is looked at every `STANDING_GRACE`.
const WATCHED_BYTES: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client or this node closed it in good order.
    Closed,
    /// The system says so (reset by the peer and the like).
    Io(io::Error),
    /// What came cannot be answered.
    Session(SessionError),
    /// No request for the idle time.
    Idle,
    /// A frame did not become whole in time.
    HalfFrame {
        /// Bytes of it that came.
        bytes: usize,
    },
    /// The client does not take its answers.
    SlowReader {
        /// Bytes it did not take.
        bytes: usize,
    },
}

impl End {
    /// The sentence for the log; `None` when there is nothing to tell.
    pub fn complaint(&self) -> Option<String> {
        match self {
            End::Closed | End::Io(_) | End::Idle => None,
            End::Session(error) => Some(error.to_string()),
            End::HalfFrame { bytes } => {
                Some(format!("a request did not become whole in time, {bytes} bytes of it came"))
            }
            End::SlowReader { bytes } => {
                Some(format!("the client does not take its answers, {bytes} bytes are waiting"))
            }
        }
    }
}

impl From<SessionError> for End {
    fn from(error: SessionError) -> End {
        End::Session(error)
    }
}

/// A request without its answer written, in the order of arrival.
struct Unanswered {
    number: u64,
    key: ApiKey,
    bytes: usize,
    since: Instant,
    answer: Answer,
}

enum Answer {
    /// The core has it.
    Asked(Option<Pending>),
    /// Ready, but others come first. `None`: nothing to write.
    Ready(Option<Segments>),
}

/// A connection's state.
pub struct Connection<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    id: ConnectionId,
    mailbox: Arc<Mailbox>,
    session: Session,
    reader: FrameReader,
    /// A whole frame that has to wait for its turn.
    held_back: Option<Bytes>,
    unanswered: VecDeque<Unanswered>,
    next_number: u64,
    fetching: bool,
    /// Questions were put in, and the core did not run since.
    asked: bool,
    output: VecDeque<Bytes>,
    requests: Share<'a>,
    half_frame: Share<'a>,
    unsent: Share<'a>,
    last_request: Instant,
    frame_since: Instant,
    frame_mark: usize,
    written_since: Instant,
    answers: Vec<(u64, Response)>,
}

impl<'a> Connection<'a> {
    /// A connection that was just accepted.
    pub fn new(stream: TcpStream, shared: &'a Shared, id: ConnectionId, host: String) -> Connection<'a> {
        let now = Instant::now();
        let mailbox = Arc::new(Mailbox::default());
        shared.join(id, &mailbox);
        Connection {
            stream,
            shared,
            id,
            mailbox,
            session: Session::new(shared.session.clone(), ClientInfo { client_id: String::new(), host }),
            reader: FrameReader::new(shared.limits.request_bytes_max).with_buffers(shared.buffers.clone()),
            held_back: None,
            unanswered: VecDeque::new(),
            next_number: 0,
            fetching: false,
            asked: false,
            output: VecDeque::new(),
            requests: Share::new(&shared.requests),
            half_frame: Share::new(&shared.half_frames),
            unsent: Share::new(&shared.unsent),
            last_request: now,
            frame_since: now,
            frame_mark: 0,
            written_since: now,
            answers: Vec::new(),
        }
    }

    /// Serves the connection to its end and tells the core.
    pub async fn run(mut self) -> End {
        let end = match self.serve().await {
            Ok(()) => End::Closed,
            Err(end) => end,
        };
        if self.next_number > 0 {
            self.shared.driver.put(Input::Closed(self.id));
        }
        if matches!(end, End::Session(_)) {
            // Answers to earlier requests may still go out; what the socket does not take at once is lost.
            drop(self.write());
        }
        end
    }

    async fn serve(&mut self) -> Result<(), End> {
        let shared = self.shared;
        let sleep = sleep_until((Instant::now() + STANDING_GRACE).into());
        tokio::pin!(sleep);
        loop {
            // Everything below is synchronous: without this a busy connection would keep its thread for itself.
            tokio::task::consume_budget().await;
            self.take_answers()?;
            self.write().map_err(End::Io)?;
            if self.mailbox.is_over() {
                return Ok(());
            }
            let phase = shared.phase();
            let draining = phase != Phase::Serving;
            if self.output.is_empty() && (phase == Phase::Ending || draining && self.unanswered.is_empty()) {
                // Answers that came between the look at the mailbox and the look at the phase go out first.
                self.take_answers()?;
                if self.output.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let reads = !draining && self.may_read();
            if reads && self.read()? {
                continue;
            }
            let reads = !draining && self.may_read();
            let now = Instant::now();
            if !reads {
                // The frame under way stands still because we do not read: not the client's fault.
                self.frame_since = now;
            }
            let deadline = self.deadline(now)?;
            set_deadline(sleep.as_mut(), deadline);
            let writes = !self.output.is_empty();
            let muted = !draining && !reads && !shared.requests.is_open();
            let gate = shared.requests.opened();
            tokio::pin!(gate);
            if muted {
                gate.as_mut().enable();
                if shared.requests.is_open() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = self.mailbox.stirred() => {}
                ready = self.stream.readable(), if reads => ready.map_err(End::Io)?,
                ready = self.stream.writable(), if writes => ready.map_err(End::Io)?,
                () = &mut gate, if muted => {}
                () = &mut sleep => {}
            }
        }
    }

    /// Whether another request may be taken in.
    fn may_read(&self) -> bool {
        self.unanswered.len() < self.shared.limits.connection_requests_max
            && self.requests.bytes() < self.shared.limits.connection_request_bytes_max
            && self.unsent.bytes() < UNSENT_BYTES_MAX
            && self.shared.requests.is_open()
            && !(self.fetching && self.held_back.is_some())
    }

    /// Takes what frames are there, then bytes from the socket. False: nothing more to do before the socket or the core moves.
    fn read(&mut self) -> Result<bool, End> {
        self.take_frames()?;
        if !self.may_read() {
            return Ok(false);
        }
        let outcome = if let Some(room) = self.reader.room() {
            let outcome = self.stream.try_read(room);
            outcome.inspect(|count| self.reader.came(*count))
        } else if self.reader.buffered() == 0 {
            SCRATCH.with_borrow_mut(|scratch| {
                let count = self.stream.try_read(scratch)?;
                self.reader.feed(&scratch[..count]);
                Ok(count)
            })
        } else {
            self.stream.try_read_buf(self.reader.buffer_mut())
        };
        match outcome {
            Ok(0) => Err(End::Closed),
            Ok(count) => {
                self.shared.counters.bytes_in.add(count as u64);
                self.take_frames()?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(End::Io(error)),
        }
    }

    /// Cuts frames off what was read and sends them on their way, all that are there before the core runs.
    fn take_frames(&mut self) -> Result<(), End> {
        let outcome = self.cut_frames();
        if std::mem::take(&mut self.asked) {
            self.shared.driver.run();
        }
        outcome
    }

    fn cut_frames(&mut self) -> Result<(), End> {
        let mut cut = false;
        while self.may_read() {
            let frame = match self.held_back.take() {
                Some(frame) => frame,
                None => match self.reader.next_frame().map_err(SessionError::from)? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            cut = true;
            if self.fetching && is_fetch(&frame) {
                // One fetch at a time: its answer may be large, and a client has no use for two.
                self.held_back = Some(frame);
                break;
            }
            self.on_frame(frame)?;
        }
        let buffered = self.reader.buffered();
        if buffered == 0 {
            // An idle connection keeps no buffer.
            *self.reader.buffer_mut() = BytesMut::new();
        }
        if cut || buffered >= self.frame_mark + FRAME_PROGRESS_BYTES || self.half_frame.bytes() == 0 {
            self.frame_since = Instant::now();
            self.frame_mark = buffered;
        }
        self.half_frame.set(buffered);
        Ok(())
    }

    fn on_frame(&mut self, frame: Bytes) -> Result<(), End> {
        let now = Instant::now();
        self.last_request = now;
        let bytes = frame.len() + REQUEST_OVERHEAD_BYTES;
        let key = frame.first_chunk().map_or(0, |key| i16::from_be_bytes(*key));
        let (key, answer) = match self.session.on_frame(frame)? {
            Step::Reply(segments) => (
                ApiKey::from_code(key).expect("an answered request has a known key"),
                Answer::Ready(Some(segments)),
            ),
            Step::Ask { pending, request, .. } if request.is_for_its_answer() && self.is_client_gone() => {
                self.shared.counters.requests_left_out.add(1);
                (pending.key(), Answer::Ready(None))
            }
            Step::Ask { pending, request, client, wants_reply: _ } => {
                let key = pending.key();
                self.asked = true;
                self.shared.driver.push(Input::Request {
                    mailbox: self.mailbox.clone(),
                    number: self.next_number,
                    connection: self.id,
                    client,
                    request,
                });
                (key, Answer::Asked(Some(pending)))
            }
        };
        self.fetching |= key == ApiKey::Fetch && matches!(answer, Answer::Asked(_));
        self.requests.set(self.requests.bytes() + bytes);
        self.unanswered.push_back(Unanswered { number: self.next_number, key, bytes, since: now, answer });
        self.next_number += 1;
        self.release();
        Ok(())
    }

    /// Whether the client has closed its side, as far as the system has said: what is read now came before that.
    fn is_client_gone(&self) -> bool {
        let ready = pin!(self.stream.ready(Interest::READABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            // The next read or write says what is wrong with it.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    /// Turns the core's answers into frames.
    fn take_answers(&mut self) -> Result<(), End> {
        let mut answers = std::mem::take(&mut self.answers);
        self.mailbox.take(&mut answers);
        if answers.is_empty() {
            self.answers = answers;
            return Ok(());
        }
        for (number, response) in answers.drain(..) {
            let first = self.unanswered.front().expect("the core answers what was asked").number;
            let at = usize::try_from(number - first).expect("few requests are unanswered");
            let waiting = &mut self.unanswered[at];
            assert_eq!(waiting.number, number, "numbers of unanswered requests are consecutive");
            let Answer::Asked(pending) = &mut waiting.answer else {
                panic!("request {number} is answered twice")
            };
            let pending = pending.take().expect("a question is answered once");
            if waiting.key == ApiKey::Fetch {
                self.fetching = false;
            }
            waiting.answer = Answer::Ready(self.session.reply(pending, response)?);
        }
        self.answers = answers;
        self.release();
        Ok(())
    }

    /// Moves answers from the front of the queue to the output.
    fn release(&mut self) {
        while let Some(Unanswered { answer: Answer::Ready(_), .. }) = self.unanswered.front() {
            self.last_request = Instant::now();
            let done = self.unanswered.pop_front().expect("looked at it");
            self.requests.set(self.requests.bytes() - done.bytes);
            self.shared.counters.request(done.key.code()).observe(done.since.elapsed());
            if let Answer::Ready(Some(segments)) = done.answer {
                if self.output.is_empty() {
                    self.written_since = Instant::now();
                }
                self.unsent.set(self.unsent.bytes() + segments.size());
                self.output.extend(segments.into_pieces());
            }
        }
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        let counters: &Counters = &self.shared.counters;
        while !self.output.is_empty() {
            let mut slices: [IoSlice<'_>; WRITE_PIECES_MAX] = std::array::from_fn(|_| IoSlice::new(&[]));
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.output) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let mut taken = match self.stream.try_write_vectored(&slices[..count]) {
                Ok(taken) => taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            counters.bytes_out.add(taken as u64);
            self.written_since = Instant::now();
            self.unsent.set(self.unsent.bytes() - taken);
            while taken > 0 {
                let front = self.output.front_mut().expect("what was written was there");
                let step = taken.min(front.len());
                front.advance(step);
                taken -= step;
                if front.is_empty() {
                    self.output.pop_front();
                }
            }
        }
        Ok(())
    }

    /// When this connection must be looked at again although nothing happened, or why it ends now.
    fn deadline(&self, now: Instant) -> Result<Option<Instant>, End> {
        let limits = &self.shared.limits;
        let mut next: Option<Instant> = None;
        let mut at = |moment: Instant| next = Some(next.map_or(moment, |other: Instant| other.min(moment)));
        let frame_bytes = self.half_frame.bytes();
        if frame_bytes > 0 {
            let short = frame_bytes > WATCHED_BYTES && !self.shared.half_frames.is_open();
            let limit = if short { STANDING_GRACE } else { limits.frame_timeout };
            if now >= self.frame_since + limit {
                return Err(End::HalfFrame { bytes: frame_bytes });
            }
            at(self.frame_since + limit);
            if frame_bytes > WATCHED_BYTES {
                at(now + STANDING_GRACE);
            }
        }
        let unsent_bytes = self.unsent.bytes();
        if unsent_bytes > 0 {
            let short = unsent_bytes > WATCHED_BYTES && !self.shared.unsent.is_open();
            let limit = if short { STANDING_GRACE } else { limits.write_timeout };
            if now >= self.written_since + limit {
                return Err(End::SlowReader { bytes: unsent_bytes });
            }
            at(self.written_since + limit);
            if unsent_bytes > WATCHED_BYTES {
                at(now + STANDING_GRACE);
            }
        }
        if let Some(idle) = limits.connection_idle_max
            && self.unanswered.is_empty()
            && unsent_bytes == 0
            && frame_bytes == 0
        {
            if now >= self.last_request + idle {
                return Err(End::Idle);
            }
            at(self.last_request + idle);
        }
        Ok(next)
    }
}

fn is_fetch(frame: &Bytes) -> bool {
    frame.first_chunk().is_some_and(|key| i16::from_be_bytes(*key) == ApiKey::Fetch.code())
}

/// Moves the timer only to an earlier moment; a timer that fires early is looked at and set anew, so that a request costs none.
fn set_deadline(sleep: std::pin::Pin<&mut Sleep>, deadline: Option<Instant>) {
    const NEVER: Duration = Duration::from_secs(24 * 3600);
    let wanted: tokio::time::Instant = deadline.unwrap_or_else(|| Instant::now() + NEVER).into();
    if sleep.is_elapsed() || wanted < sleep.deadline() {
        sleep.reset(wanted);
    }
}
