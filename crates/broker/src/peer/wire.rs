//! Frames between nodes. All kinds share one head, which is that of consensus messages (kinds below `KIND_OWN`; their
//! insides are `consensus::wire`'s). Nothing is allocated for a length that is not there.
//!
//! ```text
//! size u32 | crc32c u32 of all that follows | version u8 | kind u8 | body (postcard, but for consensus messages)
//! ```
//! Big endian. `size` counts what follows it. A connection begins with a hello from the one who dials and a greeting back;
//! after that messages go one way.

use super::{Beat, Led, Passed, PassedAnswer, PeerMessage, Range, Stream};
use crate::disks::Named;
use crate::level::{DISKS_NAMED, Level, Levels};
use crate::request::Endpoint;
use bytes::Bytes;
use consensus::{FRAME_SIZE_MAX, WireError};
use model::{DiskId, LogIndex, NodeId, Offset, ShardId, StoredBatch, Term};
use serde::{Deserialize, Serialize};

/// Version of the frames that are not consensus's own.
const VERSION: u8 = 1;
/// Kinds from here on are of this module.
const KIND_OWN: u8 = 16;
const KIND_HELLO: u8 = 16;
const KIND_GREETING: u8 = 17;
const KIND_BEAT: u8 = 32;
const KIND_PASS: u8 = 33;
const KIND_ANSWER: u8 = 34;
const KIND_PULL: u8 = 35;
const KIND_RANGE: u8 = 36;
const KIND_ELECT: u8 = 37;
const KIND_WAIT: u8 = 38;
const KIND_NAMED: u8 = 39;
/// Most batches in one range.
const RANGE_BATCHES_MAX: usize = 1 << 16;
/// Bytes of `size`, `crc`, `version` and `kind`.
const HEAD: usize = 10;
/// Bytes of `size` alone: what must be there before a frame's length is known.
pub const SIZE_BYTES: usize = 4;
/// Largest frame of a hello or greeting, bytes: a stranger on the port gets no more room.
pub const HELLO_SIZE_MAX: usize = 4 << 10;

/// Who dials, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster that the dialling node belongs to.
    pub cluster: [u8; 16],
    /// Who it is.
    pub node: NodeId,
    /// Whom it wants to talk to.
    pub to: NodeId,
    /// How often its disk was opened so far: a lower number than before is an old disk.
    pub incarnation: u64,
    /// Drawn when the process started: two processes with one incarnation have two copies of one disk.
    pub process: u64,
    /// What will come over this connection.
    pub stream: Stream,
    /// The protocol levels that it speaks.
    pub levels: Levels,
    /// Its disk, if that has an id: of another one incarnations are counted anew. Behind all else, where older versions do not look.
    #[serde(skip)]
    pub disk: Option<DiskId>,
}

/// What the other side says to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// Go on.
    Welcome {
        /// How often its own disk was opened.
        incarnation: u64,
        /// The protocol level of the connection: the highest that both know.
        level: Level,
        /// Its disk, as in a hello.
        #[serde(skip)]
        disk: Option<DiskId>,
    },
    /// This node must not talk to that one; why, for a person. The connection is closed.
    Refused(String),
    /// Nobody must go on under that id with that disk; why, for a person. The process that dialled stops.
    Expelled(String),
}

/// The length of the whole frame that begins with these bytes, `size` included.
///
/// # Errors
/// When no frame has this size.
pub fn frame_size(size: [u8; SIZE_BYTES], max: usize) -> Result<usize, WireError> {
    let size = u32::from_be_bytes(size) as usize;
    if size < HEAD - SIZE_BYTES {
        return Err(WireError::Short);
    }
    if size + SIZE_BYTES > max.min(FRAME_SIZE_MAX) {
        return Err(WireError::Limit("frame size"));
    }
    Ok(size + SIZE_BYTES)
}

/// The frame of a message in pieces, payload as it lies in memory, for a connection of this level; none when that has no such message.
pub fn encode(message: &PeerMessage, level: Level) -> Vec<Bytes> {
    match message {
        // An older version goes without: it is help and no promise.
        PeerMessage::Consensus(consensus::Message { body: consensus::Body::Lend { .. }, .. })
            if level < 2 =>
        {
            Vec::new()
        }
        // An older version knows of no disks.
        PeerMessage::Wait(_) | PeerMessage::Named { .. } if level < DISKS_NAMED => Vec::new(),
        PeerMessage::Wait(wait) => vec![frame(KIND_WAIT, wait)],
        PeerMessage::Named { disk, replica } => vec![frame(KIND_NAMED, &(disk, replica))],
        PeerMessage::Consensus(message) => consensus::encode(message),
        PeerMessage::Beat(beat) => vec![encode_beat(beat, level)],
        PeerMessage::Pass(number, passed) => vec![frame(KIND_PASS, &(number, passed))],
        PeerMessage::Answer(number, answer) => vec![frame(KIND_ANSWER, &(number, answer))],
        PeerMessage::Pull(pull) => vec![frame(KIND_PULL, pull)],
        PeerMessage::Range(range) => encode_range(range),
        PeerMessage::Elect(shards) => vec![frame(KIND_ELECT, shards)],
    }
}

fn encode_beat(beat: &Beat, level: Level) -> Bytes {
    let Beat { endpoint, led, catalog, is_ready, leaderless, commit_micros, level: known, disk } = beat;
    let first = (endpoint, led, catalog, is_ready);
    match level {
        1 => frame(KIND_BEAT, &first),
        2 => frame(KIND_BEAT, &(first, (leaderless, commit_micros, known))),
        _ => frame(KIND_BEAT, &(first, (leaderless, commit_micros, known), disk)),
    }
}

fn decode_beat(body: &[u8], level: Level) -> Result<Beat, WireError> {
    type First = (Endpoint, Vec<Led>, LogIndex, bool);
    type Second = (Vec<(ShardId, Term)>, Option<u32>, Level);
    let (first, second, disk): (First, Second, Option<Named>) = match level {
        1 => (read(body)?, (Vec::new(), None, 1), None),
        2 => {
            let (first, second) = read(body)?;
            (first, second, None)
        }
        _ => read(body)?,
    };
    let ((endpoint, led, catalog, is_ready), (leaderless, commit_micros, level)) = (first, second);
    Ok(Beat { endpoint, led, catalog, is_ready, leaderless, commit_micros, level, disk })
}

/// Reads one whole frame that came over a connection of this level.
///
/// # Errors
/// When the bytes are no message; the connection they came from is not to be trusted further.
pub fn decode(bytes: Bytes, level: Level) -> Result<PeerMessage, WireError> {
    let kind = *bytes.get(HEAD - 1).ok_or(WireError::Short)?;
    if kind < KIND_OWN {
        let message = consensus::decode(bytes)?;
        return match message.body {
            consensus::Body::Lend { .. } if level < 2 => Err(WireError::Kind(kind)),
            _ => Ok(PeerMessage::Consensus(message)),
        };
    }
    let body = body(&bytes, FRAME_SIZE_MAX)?;
    match kind {
        KIND_BEAT => decode_beat(body, level).map(|beat| PeerMessage::Beat(Box::new(beat))),
        KIND_PASS => {
            let (number, passed) = read::<(u64, Passed)>(body)?;
            Ok(PeerMessage::Pass(number, Box::new(passed)))
        }
        KIND_ANSWER => {
            let (number, answer) = read::<(u64, PassedAnswer)>(body)?;
            Ok(PeerMessage::Answer(number, Box::new(answer)))
        }
        KIND_WAIT if level >= DISKS_NAMED => Ok(PeerMessage::Wait(Box::new(read(body)?))),
        KIND_NAMED if level >= DISKS_NAMED => {
            let (disk, replica) = read(body)?;
            Ok(PeerMessage::Named { disk, replica })
        }
        KIND_PULL => Ok(PeerMessage::Pull(read(body)?)),
        KIND_ELECT => Ok(PeerMessage::Elect(read(body)?)),
        KIND_RANGE => {
            let (head, _) = postcard::take_from_bytes::<RangeHead>(body).map_err(|_| WireError::Short)?;
            let sizes: usize = head.sizes.iter().map(|size| *size as usize).sum();
            let head_end = bytes.len().checked_sub(sizes).filter(|at| *at >= HEAD).ok_or(WireError::Short)?;
            decode_range(head, bytes.slice(head_end..)).map(PeerMessage::Range)
        }
        other => Err(WireError::Kind(other)),
    }
}

/// What stands before the batches of a range.
#[derive(Serialize, Deserialize)]
struct RangeHead {
    number: u64,
    starts_at: Option<Offset>,
    /// Of each batch that follows, as the log has it.
    sizes: Vec<u32>,
}

fn encode_range(range: &Range) -> Vec<Bytes> {
    let sizes = range.batches.iter().map(|batch| batch.size() as u32).collect();
    let head = RangeHead { number: range.number, starts_at: range.starts_at, sizes };
    let mut pieces = vec![Bytes::new()];
    for batch in &range.batches {
        pieces.push(Bytes::copy_from_slice(&batch.prefix()));
        pieces.push(batch.rest());
    }
    let head = postcard::to_extend(&head, vec![0, 0, 0, 0, 0, 0, 0, 0, VERSION, KIND_RANGE]);
    let mut head = head.expect("plain data always serializes");
    let size = head.len() - SIZE_BYTES + pieces.iter().map(Bytes::len).sum::<usize>();
    let size = u32::try_from(size).expect("a frame is smaller than 4 GiB");
    head[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
    let crc = pieces
        .iter()
        .fold(model::checksum::crc32c(&head[8..]), |crc, piece| model::checksum::crc32c_append(crc, piece));
    head[SIZE_BYTES..8].copy_from_slice(&crc.to_be_bytes());
    pieces[0] = head.into();
    pieces
}

fn decode_range(head: RangeHead, mut bytes: Bytes) -> Result<Range, WireError> {
    if head.sizes.len() > RANGE_BATCHES_MAX {
        return Err(WireError::Limit("number of batches"));
    }
    let mut batches = Vec::with_capacity(head.sizes.len());
    for size in head.sizes {
        let batch = StoredBatch::from_log(bytes.split_to(size as usize)).ok_or(WireError::Short)?;
        batches.push(batch);
    }
    Ok(Range { number: head.number, starts_at: head.starts_at, batches })
}

/// The frame of a hello.
pub fn encode_hello(hello: &Hello) -> Bytes {
    frame(KIND_HELLO, &(hello, hello.disk))
}

/// Reads the frame of a hello.
///
/// # Errors
/// When it is none.
pub fn decode_hello(bytes: &[u8]) -> Result<Hello, WireError> {
    let (hello, disk) = read_kind::<Hello>(bytes, KIND_HELLO)?;
    Ok(Hello { disk, ..hello })
}

/// The frame of a greeting.
pub fn encode_greeting(greeting: &Greeting) -> Bytes {
    match greeting {
        Greeting::Welcome { disk, .. } => frame(KIND_GREETING, &(greeting, disk)),
        other => frame(KIND_GREETING, other),
    }
}

/// Reads the frame of a greeting.
///
/// # Errors
/// When it is none.
pub fn decode_greeting(bytes: &[u8]) -> Result<Greeting, WireError> {
    let (mut greeting, told) = read_kind(bytes, KIND_GREETING)?;
    if let Greeting::Welcome { disk, .. } = &mut greeting {
        *disk = told;
    }
    Ok(greeting)
}

fn frame(kind: u8, content: &impl Serialize) -> Bytes {
    let head = vec![0, 0, 0, 0, 0, 0, 0, 0, VERSION, kind];
    let mut bytes = postcard::to_extend(content, head).expect("plain data always serializes");
    let size = u32::try_from(bytes.len() - SIZE_BYTES).expect("a frame is smaller than 4 GiB");
    bytes[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
    let crc = model::checksum::crc32c(&bytes[8..]);
    bytes[SIZE_BYTES..8].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn body(bytes: &[u8], max: usize) -> Result<&[u8], WireError> {
    let size = *bytes.first_chunk::<SIZE_BYTES>().ok_or(WireError::Short)?;
    let size = frame_size(size, max)?;
    if size != bytes.len() {
        return Err(if size > bytes.len() { WireError::Short } else { WireError::Long });
    }
    let crc = u32::from_be_bytes(bytes[SIZE_BYTES..8].try_into().expect("four bytes"));
    if model::checksum::crc32c(&bytes[8..]) != crc {
        return Err(WireError::Checksum);
    }
    match bytes[8] {
        VERSION => Ok(&bytes[HEAD..]),
        other => Err(WireError::Version(other)),
    }
}

/// What such a frame says, and behind it the disk, which older versions do not tell.
fn read_kind<T: for<'de> Deserialize<'de>>(bytes: &[u8], kind: u8) -> Result<(T, Option<DiskId>), WireError> {
    let body = body(bytes, HELLO_SIZE_MAX)?;
    match bytes[HEAD - 1] {
        // A later version may say more: two nodes must understand each other before they agree on a level.
        found if found == kind => {
            let (content, rest) = postcard::take_from_bytes(body).map_err(|_| WireError::Short)?;
            let disk = postcard::take_from_bytes(rest).ok().and_then(|(disk, _)| disk);
            Ok((content, disk))
        }
        other => Err(WireError::Kind(other)),
    }
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((content, [])) => Ok(content),
        Ok(_) => Err(WireError::Long),
        Err(_) => Err(WireError::Short),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Led, PassedResult, Pull, Wait};
    use super::*;
    use crate::level::NEWEST;
    use crate::request::{CreateTopics, Endpoint, NewTopic};
    use crate::sample::batch;
    use model::{LeaderEpoch, LogIndex, PartitionId, ShardId, Term, TopicId};
    use std::time::Duration;

    fn messages() -> Vec<PeerMessage> {
        let endpoint = Endpoint { node: NodeId(2), host: "b".into(), port: 9092, rack: Some("r".into()) };
        let led = Led {
            shard: ShardId(3),
            term: Term(9),
            epoch: LeaderEpoch(4),
            in_sync: vec![NodeId(0), NodeId(2)],
            driven: LogIndex(70),
        };
        let create = CreateTopics {
            topics: vec![NewTopic { name: "flights".into(), partitions: 12, ..NewTopic::default() }],
            validate_only: false,
            timeout: Duration::from_secs(3),
        };
        let answer = PassedAnswer {
            catalog: LogIndex(7),
            result: PassedResult::ProducerIds { first: 1000, count: 1000 },
        };
        vec![
            PeerMessage::Consensus(consensus::Message {
                shard: ShardId(1),
                from: 1,
                to: 2,
                term: Term(3),
                body: consensus::Body::TimeoutNow,
            }),
            PeerMessage::Beat(Box::new(Beat {
                endpoint,
                led: vec![led],
                catalog: LogIndex(5),
                is_ready: true,
                leaderless: vec![(ShardId(3), Term(6))],
                commit_micros: Some(700),
                level: 2,
                disk: Some(Named { disk: DiskId([4; 16]), replica: 2 }),
            })),
            PeerMessage::Wait(Box::new(Wait {
                endpoint: Endpoint { node: NodeId(3), host: "c".into(), port: 9092, rack: None },
                disk: DiskId([5; 16]),
                replaces: Some(DiskId([4; 16])),
                level: 3,
                heard: vec![NodeId(1)],
            })),
            PeerMessage::Named { disk: DiskId([5; 16]), replica: 3 },
            PeerMessage::Pass(8, Box::new(Passed::CreateTopics(create))),
            PeerMessage::Answer(8, Box::new(answer)),
            PeerMessage::Pull(Pull {
                number: 4,
                shard: ShardId(2),
                partition: PartitionId { topic: TopicId([8; 16]), index: 1 },
                offset: Offset(300),
                bytes_max: 1 << 20,
                state: LogIndex(71),
            }),
            PeerMessage::Range(Range { number: 4, batches: Vec::new(), starts_at: Some(Offset(500)) }),
            PeerMessage::Elect(vec![ShardId(0), ShardId(7)]),
        ]
    }

    #[test]
    fn beats_of_older_levels_end_earlier() {
        let Some(PeerMessage::Beat(beat)) = messages().into_iter().nth(1) else { panic!("no beat") };
        let sent = |level| encode(&PeerMessage::Beat(beat.clone()), level).concat();
        let second = Beat { disk: None, ..Beat::clone(&beat) };
        assert_eq!(decode(sent(2).into(), 2), Ok(PeerMessage::Beat(Box::new(second.clone()))));
        assert!(decode(sent(3).into(), 2).is_err());
        let first = Beat { leaderless: Vec::new(), commit_micros: None, level: 1, ..second };
        assert_eq!(decode(sent(1).into(), 1), Ok(PeerMessage::Beat(Box::new(first))));
        assert!(decode(sent(2).into(), 1).is_err(), "an older version would not read it");
        assert!(decode(sent(1).into(), 2).is_err());
    }

    #[test]
    fn a_hello_may_say_more_than_is_known() {
        let mut longer = b"more".to_vec();
        let known = Greeting::Refused("why".into());
        longer.splice(0..0, postcard::to_stdvec(&known).expect("plain data"));
        let frame = super::frame(KIND_GREETING, &Raw(&longer));
        assert_eq!(decode_greeting(&frame), Ok(known));
    }

    /// Bytes as they are.
    struct Raw<'a>(&'a [u8]);

    impl Serialize for Raw<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut tuple = serializer.serialize_tuple(self.0.len())?;
            self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
            tuple.end()
        }
    }

    fn joined(message: &PeerMessage) -> Vec<u8> {
        encode(message, NEWEST).concat()
    }

    #[test]
    fn messages_come_back_and_their_size_is_told() {
        for message in messages() {
            let bytes = joined(&message);
            let head = *bytes.first_chunk().expect("a frame has a size");
            assert_eq!(frame_size(head, FRAME_SIZE_MAX), Ok(bytes.len()));
            assert_eq!(decode(bytes.into(), NEWEST), Ok(message));
        }
    }

    #[test]
    fn cut_flipped_and_longer_frames_are_refused() {
        for message in messages() {
            let bytes = joined(&message);
            for at in 0..bytes.len() {
                assert!(decode(Bytes::copy_from_slice(&bytes[..at]), NEWEST).is_err(), "cut at {at}");
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert!(decode(flipped.into(), NEWEST).is_err(), "flipped at {at}");
            }
            let mut longer = bytes;
            longer.push(0);
            assert!(decode(longer.into(), NEWEST).is_err());
        }
    }

    #[test]
    fn ranges_carry_batches_as_the_log_has_them() {
        let batch = |base, body| StoredBatch::new(Offset(base), LeaderEpoch(3), batch(2, 50, None, body));
        let batches = vec![batch(10, 100), batch(12, 7), batch(14, 0)];
        let range = Range { number: 9, batches: batches.clone(), starts_at: None };
        let bytes = joined(&PeerMessage::Range(range));
        let Ok(PeerMessage::Range(found)) = decode(bytes.clone().into(), NEWEST) else { panic!("no range") };
        let seen = |batches: &[StoredBatch]| -> Vec<Bytes> {
            batches.iter().map(StoredBatch::to_contiguous).collect()
        };
        assert_eq!((found.number, seen(&found.batches)), (9, seen(&batches)));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(decode(flipped.into(), NEWEST).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn greetings_come_back_and_strangers_get_little_room() {
        let hello = Hello {
            cluster: [3; 16],
            node: NodeId(1),
            to: NodeId(0),
            incarnation: 12,
            process: 13,
            stream: Stream::Log,
            levels: Levels::up_to(2),
            disk: Some(DiskId([6; 16])),
        };
        let bytes = encode_hello(&hello);
        assert_eq!(decode_hello(&bytes), Ok(hello.clone()));
        let older = super::frame(KIND_HELLO, &hello);
        assert_eq!(
            decode_hello(&older),
            Ok(Hello { disk: None, ..hello }),
            "an older version tells of no disk"
        );
        assert!(decode_greeting(&bytes).is_err());
        for greeting in [
            Greeting::Welcome { incarnation: 4, level: 2, disk: Some(DiskId([6; 16])) },
            Greeting::Welcome { incarnation: 4, level: 2, disk: None },
            Greeting::Refused("why".into()),
            Greeting::Expelled("why".into()),
        ] {
            assert_eq!(decode_greeting(&encode_greeting(&greeting)), Ok(greeting));
        }
        assert!(frame_size(u32::MAX.to_be_bytes(), FRAME_SIZE_MAX).is_err());
        assert!(frame_size(8000u32.to_be_bytes(), HELLO_SIZE_MAX).is_err());
        assert!(frame_size([0; 4], HELLO_SIZE_MAX).is_err());
    }
}
