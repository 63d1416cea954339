//! A node under test: a process of the real binary on ports of its own, with its log lines kept; and a plain client that
//! sends and reads frames.

use bytes::{Bytes, BytesMut};
use kafka::frame::{FrameReader, decode_response, encode_request};
use kafka::message::Request;
use kafka::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for anything: far beyond what a busy machine needs, so that only a fault meets it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sternpost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STERNPOST_") {
            command.env_remove(name);
        }
    }
    command
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

/// A running node.
pub struct Node {
    child: Child,
    log: Arc<Log>,
    /// Where Kafka clients connect.
    pub address: SocketAddr,
    /// Where /metrics and health are.
    pub http: SocketAddr,
}

impl Node {
    /// Starts a node on a data directory with further settings.
    pub fn start(data: &Path, settings: &[&str]) -> Node {
        Node::start_with(&[], data, settings)
    }

    /// Starts a node with further flags.
    pub fn start_with(flags: &[&str], data: &Path, settings: &[&str]) -> Node {
        let mut command = binary();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(flags);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut node = Node::spawn(command);
        let line = node.wait_for_line("Kafka clients");
        let http = node.wait_for_line("http://");
        let start = http.find("http://").unwrap() + "http://".len();
        node.http = http[start..].split('/').next().unwrap().parse().expect("an address");
        node.address = line.split_whitespace().last().unwrap().parse().expect("an address");
        node
    }

    /// Starts this command, whose addresses are known otherwise.
    pub fn spawn(mut command: Command) -> Node {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Log::default());
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lines.lock().unwrap().0.push(line);
                kept.grown.notify_all();
            }
            kept.lines.lock().unwrap().1 = true;
            kept.grown.notify_all();
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        Node { child, log, address: unknown, http: unknown }
    }

    /// Waits for a log line with `part` in it.
    pub fn wait_for_line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!lines.1 && !left.is_zero(), "no line with {part:?} in {:#?}", lines.0);
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for so many log lines with `part` in them.
    pub fn wait_for_lines(&self, part: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        while lines.0.iter().filter(|line| line.contains(part)).count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!lines.1 && !left.is_zero(), "not {count} lines with {part:?} in {:#?}", lines.0);
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Lines so far with `part` in them.
    pub fn count_lines(&self, part: &str) -> usize {
        self.log.lines.lock().unwrap().0.iter().filter(|line| line.contains(part)).count()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> usize {
        self.memory("VmRSS")
    }

    /// Most resident memory that the process ever had, bytes.
    pub fn peak_bytes(&self) -> usize {
        self.memory("VmHWM")
    }

    fn memory(&self, name: &str) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a size");
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops all of its threads (SIGSTOP) and returns when none runs any more, which the signal alone does not promise.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let stopped = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "it ended instead");
    }

    /// Waits for the process's end.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        // The end of its log is the end of the process.
        while !lines.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the process does not end: {:#?}", lines.0);
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
        drop(lines);
        self.child.wait().unwrap()
    }

    /// A connection that neither reads nor writes for ever.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("the node accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// An honest client asks and is answered; how long it took.
    pub fn honest_question(&self) -> Duration {
        let start = Instant::now();
        let mut client = Client::new(self.connect());
        client.metadata(None);
        start.elapsed()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already gone when the test waited for it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Processor time that a process has used so far.
pub fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    // Behind the name, which may hold anything: the state, then user and system time as the 12th and 13th field.
    let fields = stat.rsplit(") ").next().expect("fields").split(' ').skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// A client of frames.
pub struct Client {
    /// The connection.
    pub stream: TcpStream,
    reader: FrameReader,
    next_id: i32,
}

impl Client {
    /// A client on a connection.
    pub fn new(stream: TcpStream) -> Client {
        Client { stream, reader: FrameReader::default(), next_id: 0 }
    }

    /// Sends a request without waiting; its correlation id.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let frame = encode_request(request, version, id, Some(&"tester".into())).unwrap().into_contiguous();
        self.stream.write_all(&frame).expect("the node reads");
        id
    }

    /// The next answer's frame; `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.reader.next_frame().expect("frames") {
                return Some(frame);
            }
            let mut buffer = BytesMut::zeroed(64 << 10);
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.reader.feed(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the node neither answers nor closes: {error}"),
            }
        }
    }

    /// Sends a request and reads its answer.
    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.ask_or_end(request, version).expect("an answer")
    }

    /// The same; `None` when the connection ends before the answer.
    fn ask_or_end<R: Request>(&mut self, request: &R, version: i16) -> Option<R::Response> {
        let sent = self.send(request, version);
        let (id, answer) = decode_response::<R>(self.receive()?, version).expect("a whole answer");
        assert_eq!(id, sent);
        Some(answer)
    }

    /// Metadata of one topic (created when missing), or of none.
    pub fn metadata(&mut self, topic: Option<&str>) -> MetadataResponse {
        self.metadata_or_end(topic).expect("an answer")
    }

    /// The same; `None` when the connection ends before the answer.
    pub fn metadata_or_end(&mut self, topic: Option<&str>) -> Option<MetadataResponse> {
        let topics = topic.map(|name| MetadataRequestTopic { name: Some(name.into()), ..Default::default() });
        let request = MetadataRequest {
            topics: Some(topics.into_iter().collect()),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        self.ask_or_end(&request, 9)
    }

    /// Makes a topic and waits until it can be used.
    pub fn make_topic(&mut self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.metadata(Some(name)).topics[0].error_code != 0 {
            assert!(Instant::now() < deadline, "the topic does not appear");
        }
    }
}

/// Reads to the end of a connection: how many bytes came before it.
pub fn read_to_end(stream: &mut TcpStream) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return total,
            Ok(count) => total += count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return total,
            Err(error) => panic!("the node does not close the connection: {error}"),
        }
    }
}
