//! DescribeQuorum (key 55): who votes in the metadata quorum (KIP-595, KIP-836, KIP-853). It has one partition, under Kafka's own name.
//! Here the quorum's log is the metadata group's, and its nodes serve clients as well. Observers are disks that take no part yet.

use broker::Request;
use broker::request::{DescribeQuorum, DescribeQuorumResponse as Answer, QuorumVoter};
use model::ErrorCode;

use crate::message::ApiKey;
use crate::message::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState, ResponsePartitionData,
    ResponseTopicData,
};
use crate::session::SessionError;
use crate::wire::{Str, Uuid};

use super::{Asked, Context};

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// Name under which the addresses stand at which nodes reach each other. Clients want one in capitals.
const LISTENER: &str = "CONTROLLER";
/// First version that tells where the voters are, and on which disks.
const NODES_FROM: i16 = 2;
/// A time that is not known.
const UNKNOWN_MS: i64 = -1;

/// Nothing is needed for the answer.
pub(crate) type Kept = ();

/// Asks the core, if the one partition there is was asked for.
pub(crate) fn request(
    message: DescribeQuorumRequest,
    _version: i16,
    context: &mut Context<'_>,
) -> Result<Asked<DescribeQuorumResponse, Kept>, SessionError> {
    let entries = message.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
    context.admit(ApiKey::DescribeQuorum, entries)?;
    let is_metadata = match message.topics.as_slice() {
        [topic] => {
            &*topic.topic_name == METADATA_TOPIC
                && topic.partitions.iter().map(|partition| partition.partition_index).eq([0])
        }
        _ => false,
    };
    if !is_metadata {
        return Ok(Asked::Answer(unknown(&message)));
    }
    Ok(Asked::Core(Request::DescribeQuorum(DescribeQuorum {}), ()))
}

/// Writes the core's answer.
pub(crate) fn response(
    answer: Answer,
    version: i16,
    _kept: Kept,
    _context: &mut Context<'_>,
) -> DescribeQuorumResponse {
    if !answer.error.is_none() {
        return DescribeQuorumResponse {
            error_code: answer.error.code(),
            error_message: Some("the controller did not answer".into()),
            ..DescribeQuorumResponse::default()
        };
    }
    let states = |replicas: &[QuorumVoter]| replicas.iter().map(|it| write_voter(it, version)).collect();
    let partition = ResponsePartitionData {
        leader_id: answer.leader.0,
        leader_epoch: answer.epoch.0,
        high_watermark: offset(answer.high_watermark),
        current_voters: states(&answer.voters),
        observers: states(&answer.observers),
        error_message: None,
        ..ResponsePartitionData::default()
    };
    let nodes = answer.voters.into_iter().filter(|_| version >= NODES_FROM);
    DescribeQuorumResponse {
        error_message: None,
        topics: vec![ResponseTopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] }],
        nodes: nodes.map(write_node).collect(),
        ..DescribeQuorumResponse::default()
    }
}

fn offset(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// Followers are sent to here and fetch nothing, so when they last did is not known.
fn write_voter(voter: &QuorumVoter, version: i16) -> ReplicaState {
    let disk = voter.disk.filter(|_| version >= NODES_FROM);
    ReplicaState {
        replica_id: voter.node.0,
        replica_directory_id: disk.map_or(Uuid::ZERO, |disk| Uuid(disk.0)),
        log_end_offset: offset(voter.log_end),
        last_fetch_timestamp: UNKNOWN_MS,
        last_caught_up_timestamp: voter.caught_up_at_ms.unwrap_or(UNKNOWN_MS),
    }
}

fn write_node(voter: QuorumVoter) -> Node {
    let listeners = voter.address.into_iter().map(|(host, port)| Listener {
        name: LISTENER.into(),
        host: host.into(),
        port,
    });
    Node { node_id: voter.node.0, listeners: listeners.collect() }
}

fn unknown(message: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = message.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| ResponsePartitionData {
            partition_index: partition.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            error_message: Some(Str::from_static("partition 0 of __cluster_metadata is all there is")),
            ..ResponsePartitionData::default()
        });
        ResponseTopicData { topic_name: topic.topic_name.clone(), partitions: partitions.collect() }
    });
    DescribeQuorumResponse {
        error_message: None,
        topics: topics.collect(),
        ..DescribeQuorumResponse::default()
    }
}
