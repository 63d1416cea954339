//! Real sockets on the loopback: whole ends against each other, and against a hand that does wrong on purpose.

use super::address::Names;
use super::register::Birth;
use super::{Me, PEER_BACKLOG, Peers, STALL_MAX};
use crate::clock::Clock;
use crate::core::Input;
use crate::counters::Counters;
use crate::driver::Driver;
use broker::config::{ListenerAddress, Voter};
use broker::level::{Level, Levels, NEWEST, OLDEST};
use broker::peer::wire::{
    Greeting, Hello, SIZE_BYTES, decode_greeting, encode, encode_greeting, encode_hello,
};
use broker::peer::{Beat, Link, Passed, PeerMessage, Stream};
use broker::request::{CreateTopics, Endpoint, NewTopic};
use bytes::Bytes;
use model::{Buffers, Entry, EntryKind, LogIndex, NodeId, Payload, ShardId, Term};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// No wait of a test is longer.
const LIMIT: Duration = Duration::from_secs(20);
const CLUSTER: [u8; 16] = [7; 16];
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// One end.
struct End {
    peers: Arc<Peers>,
    driver: Arc<Driver>,
    thread: Option<JoinHandle<()>>,
}

impl End {
    fn start(node: NodeId, birth: Birth, voters: &[Voter], listener: TcpListener) -> End {
        End::of_level(NEWEST, node, birth, voters, listener)
    }

    fn of_level(level: Level, node: NodeId, birth: Birth, voters: &[Voter], listener: TcpListener) -> End {
        let me = Me { cluster: CLUSTER, node, birth, levels: Levels::up_to(level) };
        End::with_names(&Names::System, me, voters, listener)
    }

    fn with_names(names: &Names, me: Me, voters: &[Voter], listener: TcpListener) -> End {
        let driver = Arc::new(Driver::new(Clock::default()));
        let counters = Arc::new(Counters::default());
        let buffers = Buffers::new(64 << 20);
        let peers = Arc::new(Peers::with_names(names, me, voters, driver.clone(), buffers, counters));
        let thread = peers.start(listener).unwrap();
        End { peers, driver, thread: Some(thread) }
    }

    fn send(&self, to: NodeId, message: PeerMessage) {
        self.peers.send(to, message);
        self.peers.flush();
    }

    /// Takes what came that `choose` wants; the rest is kept.
    fn take<T>(&self, choose: impl Fn(&Input) -> Option<T>) -> Vec<T> {
        let mut chosen = Vec::new();
        self.driver.waiting().retain(|input| match choose(input) {
            Some(one) => {
                chosen.push(one);
                false
            }
            None => true,
        });
        chosen
    }

    async fn link(&self, link: Link) {
        until(&format!("{link:?}"), || {
            let found =
                self.take(|input| matches!(input, Input::Link(_, other) if *other == link).then_some(()));
            (!found.is_empty()).then_some(())
        })
        .await;
    }

    async fn messages(&self, count: usize) -> Vec<PeerMessage> {
        let mut came = Vec::new();
        until("messages", || {
            came.extend(self.take(|input| match input {
                Input::Peer { message, .. } => Some(message.clone()),
                _ => None,
            }));
            (came.len() >= count).then_some(())
        })
        .await;
        came
    }

    async fn stop(mut self) {
        self.peers.stop();
        let thread = self.thread.take().expect("stopped once");
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap();
    }
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        looks.tick().await;
    }
}

fn listen(port: u16) -> TcpListener {
    try_listen(port).unwrap()
}

fn try_listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    socket.listen(PEER_BACKLOG)
}

/// Listens at a port that was given back. Until then any connection of this machine may have got it for its own end, for a moment.
async fn listen_again(port: u16) -> TcpListener {
    until("the port", || try_listen(port).ok()).await
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn voters(ports: &[u16]) -> Vec<Voter> {
    let voter = |(at, port): (usize, &u16)| Voter {
        node: NodeId(at as i32 + 1),
        address: ListenerAddress { host: "127.0.0.1".into(), port: *port },
    };
    ports.iter().enumerate().map(voter).collect()
}

fn birth(incarnation: u64, process: u64) -> Birth {
    Birth { incarnation, process, disk: None }
}

/// Two ends that know each other.
async fn pair() -> (End, End, Vec<Voter>) {
    let (first, second) = (listen(0), listen(0));
    let voters = voters(&[port(&first), port(&second)]);
    let one = End::start(ONE, birth(1, 11), &voters, first);
    let two = End::start(TWO, birth(1, 12), &voters, second);
    one.link(Link::Up).await;
    two.link(Link::Up).await;
    (one, two, voters)
}

/// Each hears what its own level has, and nothing more.
#[tokio::test]
async fn nodes_of_two_levels_speak_the_older_one() {
    let (first, second) = (listen(0), listen(0));
    let voters = voters(&[port(&first), port(&second)]);
    let older = End::of_level(OLDEST, ONE, birth(1, 11), &voters, first);
    let newer = End::start(TWO, birth(1, 12), &voters, second);
    older.link(Link::Up).await;
    newer.link(Link::Up).await;
    let beat = Beat {
        endpoint: Endpoint { node: TWO, host: "b".into(), port: 9092, rack: None },
        led: Vec::new(),
        catalog: LogIndex(3),
        is_ready: true,
        leaderless: vec![(ShardId(1), Term(2))],
        commit_micros: Some(700),
        level: NEWEST,
        disk: None,
    };
    // The connection of the beats may come about later than that of the log.
    let came = until("a beat", || {
        newer.send(ONE, PeerMessage::Beat(Box::new(beat.clone())));
        older
            .take(|input| match input {
                Input::Peer { message: PeerMessage::Beat(beat), .. } => Some(beat.clone()),
                _ => None,
            })
            .pop()
    });
    let known = Beat { leaderless: Vec::new(), commit_micros: None, level: OLDEST, ..beat.clone() };
    assert_eq!(*came.await, known);
    older.stop().await;
    newer.stop().await;
}

fn pass(number: u64) -> PeerMessage {
    PeerMessage::Pass(number, Box::new(Passed::ProducerIds))
}

fn large(number: u64, bytes: usize) -> PeerMessage {
    let topic = NewTopic { name: "n".repeat(bytes), ..NewTopic::default() };
    let create = CreateTopics { topics: vec![topic], validate_only: true, timeout: LIMIT };
    PeerMessage::Pass(number, Box::new(Passed::CreateTopics(create)))
}

fn append(from: u64, to: u64, payload: Bytes) -> PeerMessage {
    let mut pieces = Payload::default();
    pieces.push(payload);
    let entry = Entry {
        shard: ShardId(1),
        term: Term(1),
        index: LogIndex(1),
        kind: EntryKind::Normal,
        descriptor: Bytes::from_static(b"what it does"),
        payload: pieces,
    };
    let body = consensus::Body::Append {
        previous: LogIndex(0),
        previous_term: Term(0),
        commit: LogIndex(0),
        entries: vec![entry],
    };
    PeerMessage::Consensus(consensus::Message { shard: ShardId(1), from, to, term: Term(1), body })
}

fn hello(stream: Stream) -> Hello {
    let levels = Levels::up_to(NEWEST);
    Hello { cluster: CLUSTER, node: TWO, to: ONE, incarnation: 5, process: 50, stream, levels, disk: None }
}

async fn read_greeting(socket: &mut TcpStream) -> Greeting {
    let mut head = [0; SIZE_BYTES];
    socket.read_exact(&mut head).await.unwrap();
    let mut frame = head.to_vec();
    frame.resize(SIZE_BYTES + u32::from_be_bytes(head) as usize, 0);
    socket.read_exact(&mut frame[SIZE_BYTES..]).await.unwrap();
    decode_greeting(&frame).unwrap()
}

/// Dials by hand.
async fn dial(port: u16, hello: &Hello) -> (TcpStream, Greeting) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(&encode_hello(hello)).await.unwrap();
    let greeting = read_greeting(&mut socket).await;
    (socket, greeting)
}

/// Waits until the other side has closed.
async fn closed(socket: &mut TcpStream) {
    let ended = tokio::time::timeout(LIMIT, socket.read(&mut [0; 1])).await.expect("closed in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

/// Node one, and a port where nobody is node two.
fn one_alone() -> (End, u16, TcpListener) {
    let (first, second) = (listen(0), listen(0));
    let (first_port, second_port) = (port(&first), port(&second));
    (End::start(ONE, birth(1, 11), &voters(&[first_port, second_port]), first), first_port, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_in_order_small_and_large() {
    let (one, two, _) = pair().await;
    let mut sent: Vec<PeerMessage> = Vec::new();
    for number in 0..300 {
        sent.push(match number % 30 {
            7 => large(number, 200_000),
            11 => append(2, 3, vec![number as u8; 3_000_000].into()),
            13 => append(2, 3, vec![number as u8; 70_000].into()),
            _ => pass(number),
        });
        one.send(TWO, sent[number as usize].clone());
        two.send(ONE, pass(number));
    }
    assert!(two.messages(sent.len()).await == sent);
    assert!(one.messages(300).await == (0..300).map(pass).collect::<Vec<_>>());
    assert!(two.peers.buffers.idle_bytes() > 0, "large frames came in buffers that are used again");
    assert_eq!(one.peers.counters.peer_messages_dropped.get(), 0);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_and_comes_back_is_told() {
    let (one, two, voters) = pair().await;
    let second = voters[1].address.port;
    two.stop().await;
    one.link(Link::Lost).await;
    one.link(Link::Refused).await;
    one.link(Link::Refused).await;
    let two = End::start(TWO, birth(2, 13), &voters, listen_again(second).await);
    one.link(Link::Up).await;
    one.send(TWO, pass(1));
    assert_eq!(two.messages(1).await, [pass(1)]);
    two.send(ONE, pass(2));
    assert_eq!(one.messages(1).await, [pass(2)]);
    one.stop().await;
    two.stop().await;
}

/// Its name leads to another address from then on: it is looked up again for each try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_name_leads_elsewhere_is_found() {
    let (first, second) = (listen(0), listen(0));
    let mut voters = voters(&[port(&first), 7]);
    voters[1].address.host = "two".into();
    let table = Arc::new(Mutex::new(BTreeMap::from([("two".to_owned(), second.local_addr().unwrap())])));
    let me = Me { cluster: CLUSTER, node: ONE, birth: birth(1, 11), levels: Levels::up_to(NEWEST) };
    let one = End::with_names(&Names::Table(table.clone()), me, &voters, first);
    let two = End::start(TWO, birth(1, 12), &voters, second);
    one.link(Link::Up).await;
    two.stop().await;
    one.link(Link::Refused).await;
    // It has tried in vain. This one says hello to nobody, so that nothing but the name tells of it.
    let third = listen(0);
    table.lock().unwrap().insert("two".to_owned(), third.local_addr().unwrap());
    let (mut socket, _) = tokio::time::timeout(LIMIT, third.accept()).await.expect("found").unwrap();
    let greeting = encode_greeting(&Greeting::Welcome { incarnation: 2, level: NEWEST, disk: None });
    socket.write_all(&greeting).await.unwrap();
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_goes_out_before_the_end() {
    let (one, two, _) = pair().await;
    for number in 0..2000 {
        one.send(TWO, pass(number));
    }
    let last = append(2, 3, vec![1; 8 << 20].into());
    one.send(TWO, last.clone());
    one.stop().await;
    assert!(two.messages(2001).await.last() == Some(&last));
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_hello_is_refused_with_a_sentence() {
    let (one, port, _second) = one_alone();
    let right = hello(Stream::Log);
    for (wrong, part) in [
        (Hello { cluster: [8; 16], ..right.clone() }, "belongs to cluster"),
        (
            Hello { levels: Levels { oldest: 9, newest: 9 }, ..right.clone() },
            "node 2 speaks protocol levels 9 to 9, node 1 protocol levels 1 to",
        ),
        (Hello { node: NodeId(9), ..right.clone() }, "not in controller.quorum.voters"),
        (Hello { node: ONE, ..right.clone() }, "node.id 1 is the id of the node that was called"),
        (
            Hello { to: NodeId(3), ..right.clone() },
            "node 1 answers at the address that node 2 has for node 3",
        ),
    ] {
        let (mut socket, greeting) = dial(port, &wrong).await;
        match greeting {
            Greeting::Refused(why) => assert!(why.contains(part) && !why.contains('\n'), "{why}"),
            other => panic!("{other:?}"),
        }
        closed(&mut socket).await;
    }
    let (_socket, greeting) = dial(port, &right).await;
    assert_eq!(greeting, Greeting::Welcome { incarnation: 1, level: NEWEST, disk: None });
    for (wrong, part) in [
        (Hello { incarnation: 4, ..right.clone() }, "opened 4 times so far"),
        (Hello { process: 51, ..right.clone() }, "opened 5 times, last by another process"),
    ] {
        match dial(port, &wrong).await.1 {
            Greeting::Expelled(why) => assert!(why.contains(part) && !why.contains('\n'), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_sent_away_hears_why() {
    let (one, two, voters) = pair().await;
    two.stop().await;
    // The data directory was emptied: it starts to count anew.
    let again = End::start(TWO, birth(1, 14), &voters, listen_again(voters[1].address.port).await);
    let why = until("expulsion", || {
        again
            .take(|input| match input {
                Input::Expelled(why) => Some(why.clone()),
                _ => None,
            })
            .pop()
    })
    .await;
    assert!(why.contains("node 1 at 127.0.0.1:"), "{why}");
    assert!(why.contains("opened 1 times so far"), "{why}");
    one.stop().await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_replaces_the_older() {
    let (one, port, _second) = one_alone();
    let (mut older, _) = dial(port, &hello(Stream::Log)).await;
    let (mut newer, greeting) = dial(port, &hello(Stream::Log)).await;
    assert_eq!(greeting, Greeting::Welcome { incarnation: 1, level: NEWEST, disk: None });
    closed(&mut older).await;
    newer.write_all(&encode(&pass(1), NEWEST).concat()).await.unwrap();
    assert_eq!(one.messages(1).await, [pass(1)]);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_ends_the_connection() {
    let (one, port, _second) = one_alone();
    let good = encode(&pass(1), NEWEST).concat();
    let mut flipped = encode(&append(3, 2, Bytes::from_static(b"payload")), NEWEST).concat();
    *flipped.last_mut().unwrap() ^= 1;
    let strange = encode(&append(1, 2, Bytes::new()), NEWEST).concat();
    for bad in [flipped, strange, u32::MAX.to_be_bytes().to_vec(), [0; 4].to_vec()] {
        let (mut socket, greeting) = dial(port, &hello(Stream::Log)).await;
        assert_eq!(greeting, Greeting::Welcome { incarnation: 1, level: NEWEST, disk: None });
        socket.write_all(&[&good[..], &bad, &good].concat()).await.unwrap();
        closed(&mut socket).await;
        assert_eq!(one.messages(1).await, [pass(1)], "what came before it counts, and nothing else");
    }
    let (mut socket, _) = dial(port, &hello(Stream::Bulk)).await;
    socket.write_all(&good).await.unwrap();
    closed(&mut socket).await;
    // It is counted just after the connection is closed.
    let broken = &one.peers.counters.peer_connections_broken;
    until("all five are counted", || (broken.get() == 5).then_some(())).await;
    // A stranger who says something else.
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut stranger).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_frame_ends_the_connection_in_time() {
    let (one, port, _second) = one_alone();
    let whole = encode(&append(3, 2, vec![1; 100_000].into()), NEWEST).concat();
    let (mut socket, _) = dial(port, &hello(Stream::Log)).await;
    socket.write_all(&whole[..90_000]).await.unwrap();
    let start = Instant::now();
    closed(&mut socket).await;
    assert!(start.elapsed() >= STALL_MAX / 2);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_loses_messages_and_then_its_connection() {
    let (one, _, second) = one_alone();
    let greeter = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut socket, _) = second.accept().await.unwrap();
            let mut hello = [0; 64];
            let _ = socket.read(&mut hello).await.unwrap();
            let greeting = encode_greeting(&Greeting::Welcome { incarnation: 1, level: NEWEST, disk: None });
            socket.write_all(&greeting).await.unwrap();
            held.push(socket);
        }
    });
    one.link(Link::Up).await;
    let payload = Bytes::from(vec![1; 8 << 20]);
    while one.peers.counters.peer_messages_dropped.get() == 0 {
        one.send(TWO, append(2, 3, payload.clone()));
    }
    one.link(Link::Lost).await;
    one.send(TWO, append(2, 3, payload.clone()));
    // It is told again when the connection ends, and another one comes about.
    one.link(Link::Lost).await;
    one.link(Link::Up).await;
    one.stop().await;
    greeter.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_at_once_are_not_tried_without_pause() {
    let (one, _, second) = one_alone();
    let start = Instant::now();
    let mut accepted = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let next = tokio::time::timeout(Duration::from_secs(1), second.accept()).await;
        accepted += u32::from(next.is_ok_and(|next| next.is_ok()));
    }
    assert!((3..60).contains(&accepted), "{accepted} connections in a second");
    one.stop().await;
}
