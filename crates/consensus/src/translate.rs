//! Messages to and from raft's form, in memory only: raft's protobuf is never decoded from bytes of the network.
//! Everything that raft would take for a broken invariant and panic on is refused here or in `Group::step`.

use crate::log::{Log, snapshot_from_raft, snapshot_to_raft, to_raft};
use crate::{Body, Change, Members, Message, Reject};
use model::{EntryKind, LogIndex, ShardId, Term};
use raft::eraftpb::{Message as RaftMessage, MessageType};

/// The context by which raft knows an election that the leader asked for.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// Terms and indexes beyond this are refused, so that arithmetic on them cannot overflow.
pub(crate) const POSITION_MAX: u64 = 1 << 60;

/// What is wrong with the inside of a message, or `None`.
pub(crate) fn fault(message: &Message) -> Option<&'static str> {
    if message.term.0 == 0 || message.term.0 > POSITION_MAX {
        return Some("term out of range");
    }
    let beyond = |index: LogIndex| index.0 > POSITION_MAX;
    match &message.body {
        Body::Lend { entries, .. } if entries.is_empty() => Some("nothing is lent"),
        Body::Append { previous, previous_term, commit, entries }
        | Body::Lend { previous, previous_term, commit, entries } => {
            if beyond(*previous) || beyond(*commit) || *previous_term > message.term {
                return Some("position out of range");
            }
            // raft takes term 0 for "no such entry", and would see a match behind the end of its log.
            if (previous.0 == 0) != (previous_term.0 == 0) {
                return Some("an entry without a term");
            }
            let (mut index, mut term) = (*previous, *previous_term);
            for entry in entries {
                if entry.shard != message.shard || entry.index != index.next() {
                    return Some("entries are not consecutive");
                }
                if entry.term < term || entry.term > message.term || entry.term.0 == 0 {
                    return Some("terms of the entries do not fit");
                }
                if entry.kind == EntryKind::ConfChange && Change::parse(&entry.descriptor).is_err() {
                    return Some("unreadable change of members");
                }
                (index, term) = (entry.index, entry.term);
            }
            None
        }
        Body::AppendResponse { index, commit, reject } => {
            let hint = reject.map_or(LogIndex(0), |reject| reject.hint);
            let out = beyond(*index) || beyond(*commit) || beyond(hint);
            out.then_some("position out of range")
        }
        Body::Vote { last, last_term, commit, commit_term, .. } => {
            let out =
                beyond(*last) || beyond(*commit) || *last_term > message.term || *commit_term > message.term;
            out.then_some("position out of range")
        }
        Body::VoteResponse { commit, .. }
        | Body::Heartbeat { commit, .. }
        | Body::HeartbeatResponse { commit, .. } => beyond(*commit).then_some("position out of range"),
        Body::TimeoutNow => None,
        Body::Snapshot(snapshot) => {
            if beyond(snapshot.index)
                || snapshot.term > message.term
                || snapshot.index.0 == 0
                || snapshot.term.0 == 0
            {
                return Some("position out of range");
            }
            Members::from_codes(&snapshot.members).is_none().then_some("the members are no group")
        }
    }
}

/// raft's form. Entries go without payload.
///
/// # Panics
/// For `Lend`, which is not raft's.
pub(crate) fn to_raft_message(message: &Message) -> RaftMessage {
    let (from, to, term) = (message.from, message.to, message.term.0);
    let mut raft_message = RaftMessage { from, to, term, ..RaftMessage::default() };
    let kind = match &message.body {
        Body::Append { previous, previous_term, commit, entries } => {
            raft_message.index = previous.0;
            raft_message.log_term = previous_term.0;
            raft_message.commit = commit.0;
            raft_message.set_entries(entries.iter().map(to_raft).collect::<Vec<_>>().into());
            MessageType::MsgAppend
        }
        Body::AppendResponse { index, commit, reject } => {
            raft_message.index = index.0;
            raft_message.commit = commit.0;
            if let Some(reject) = reject {
                raft_message.reject = true;
                raft_message.reject_hint = reject.hint.0;
                raft_message.log_term = reject.hint_term.0;
            }
            MessageType::MsgAppendResponse
        }
        Body::Vote { pre, last, last_term, commit, commit_term, transfer } => {
            raft_message.index = last.0;
            raft_message.log_term = last_term.0;
            raft_message.commit = commit.0;
            raft_message.commit_term = commit_term.0;
            if *transfer {
                raft_message.context = TRANSFER.into();
            }
            if *pre { MessageType::MsgRequestPreVote } else { MessageType::MsgRequestVote }
        }
        Body::VoteResponse { pre, reject, commit, commit_term } => {
            raft_message.reject = *reject;
            raft_message.commit = commit.0;
            raft_message.commit_term = commit_term.0;
            if *pre { MessageType::MsgRequestPreVoteResponse } else { MessageType::MsgRequestVoteResponse }
        }
        Body::Heartbeat { commit, read } => {
            raft_message.commit = commit.0;
            raft_message.context = read.map_or_else(Vec::new, |read| read.to_be_bytes().to_vec()).into();
            MessageType::MsgHeartbeat
        }
        Body::HeartbeatResponse { commit, read } => {
            raft_message.commit = commit.0;
            raft_message.context = read.map_or_else(Vec::new, |read| read.to_be_bytes().to_vec()).into();
            MessageType::MsgHeartbeatResponse
        }
        Body::TimeoutNow => MessageType::MsgTimeoutNow,
        Body::Snapshot(snapshot) => {
            raft_message.set_snapshot(snapshot_to_raft(snapshot));
            MessageType::MsgSnapshot
        }
        Body::Lend { .. } => unreachable!("raft knows no loans"),
    };
    raft_message.set_msg_type(kind);
    raft_message
}

/// Own form of what raft wants sent, with payload from the log; an append that is too large becomes several. Nothing when
/// the entries are no longer in the log (it was sent for a term that is over: the network may lose it as well).
pub(crate) fn from_raft_message(
    shard: ShardId,
    log: &Log,
    message: RaftMessage,
    bytes_max: u64,
    out: &mut Vec<Message>,
) {
    let (from, to, term) = (message.from, message.to, Term(message.term));
    let read = || message.context.as_ref().try_into().ok().map(u64::from_be_bytes);
    let pre = matches!(
        message.get_msg_type(),
        MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse
    );
    let commit = LogIndex(message.commit);
    let body = match message.get_msg_type() {
        MessageType::MsgAppend => {
            append_from_raft(shard, log, &message, bytes_max, out);
            return;
        }
        MessageType::MsgAppendResponse => {
            let (hint, hint_term) = (LogIndex(message.reject_hint), Term(message.log_term));
            let reject = message.reject.then_some(Reject { hint, hint_term });
            Body::AppendResponse { index: LogIndex(message.index), commit, reject }
        }
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => Body::Vote {
            pre,
            last: LogIndex(message.index),
            last_term: Term(message.log_term),
            commit,
            commit_term: Term(message.commit_term),
            transfer: message.context == TRANSFER,
        },
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            Body::VoteResponse { pre, reject: message.reject, commit, commit_term: Term(message.commit_term) }
        }
        MessageType::MsgHeartbeat => Body::Heartbeat { commit, read: read() },
        MessageType::MsgHeartbeatResponse => Body::HeartbeatResponse { commit, read: read() },
        MessageType::MsgTimeoutNow => Body::TimeoutNow,
        MessageType::MsgSnapshot => Body::Snapshot(snapshot_from_raft(message.get_snapshot())),
        other => unreachable!("raft sends no {other:?}: proposals and reads are taken by leaders only"),
    };
    out.push(Message { shard, from, to, term, body });
}

/// Appends that go on where one to the same replica ends travel with it, up to `bytes_max`.
fn append_from_raft(
    shard: ShardId,
    log: &Log,
    message: &RaftMessage,
    bytes_max: u64,
    out: &mut Vec<Message>,
) {
    let commit = LogIndex(message.commit);
    let (mut previous, mut previous_term) = (LogIndex(message.index), Term(message.log_term));
    let mut entries: Vec<model::Entry> = Vec::with_capacity(message.entries.len());
    let (mut bytes, mut joined) = (0, 0);
    let before = out.iter_mut().rfind(|before| before.to == message.to);
    if let Some(Message { body: Body::Append { entries: sent, commit: told, .. }, term, .. }) = before
        && term.0 == message.term
        && sent.last().is_some_and(|last| (last.index, last.term) == (previous, previous_term))
    {
        bytes = sent.iter().map(entry_bytes).sum();
        for raft_entry in message.entries.iter() {
            let Some(entry) = log.entry(raft_entry) else { return };
            bytes += entry_bytes(&entry);
            if bytes > bytes_max {
                break;
            }
            (previous, previous_term) = (entry.index, entry.term);
            sent.push(entry);
            joined += 1;
        }
        *told = commit.max(*told);
        if joined == message.entries.len() {
            return;
        }
        bytes = 0;
    }
    let push = |previous, previous_term, entries| {
        let body = Body::Append { previous, previous_term, commit, entries };
        Message { shard, from: message.from, to: message.to, term: Term(message.term), body }
    };
    let mut expected = previous.next();
    for raft_entry in message.entries.iter().skip(joined) {
        let Some(entry) = log.entry(raft_entry) else { return };
        assert_eq!(entry.index, expected, "the entries of an append follow the one before it");
        expected = expected.next();
        let size = entry_bytes(&entry);
        if bytes + size > bytes_max && !entries.is_empty() {
            let full = std::mem::take(&mut entries);
            let last = full.last().map(|entry| (entry.index, entry.term)).expect("not empty");
            out.push(push(previous, previous_term, full));
            ((previous, previous_term), bytes) = (last, 0);
        }
        bytes += size;
        entries.push(entry);
    }
    out.push(push(previous, previous_term, entries));
}

fn entry_bytes(entry: &model::Entry) -> u64 {
    (entry.payload.size() + entry.descriptor.len()) as u64
}
