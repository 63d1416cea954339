//! One file per API, each with the same two functions: `request` turns the decoded message into a question for the core
//! (or answers it at once), `response` writes the core's answer. The table below is both what is dispatched and what
//! ApiVersions advertises, so that the two cannot differ. The stop between `session` and `broker`.

mod alter_configs;
pub(crate) mod api_versions;
mod config_resource;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod operations;
pub(crate) mod produce;
mod remove_raft_voter;
mod sync_group;
#[cfg(test)]
mod tests;
mod topic_ref;

use broker::{Request, Response};

use crate::frame::encode_response;
use crate::message::{ApiKey, Message};
use crate::session::fetch_session::FetchSessions;
use crate::session::{SessionConfig, SessionError};
use crate::wire::{Decoder, Segments};

/// Why something that belongs to a transaction is refused.
pub(crate) const NO_TRANSACTIONS: &str = "transactions are not supported yet";

/// An API that is served, and its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The API.
    pub key: ApiKey,
    /// Lowest version advertised.
    pub min: i16,
    /// Highest version.
    pub max: i16,
}

impl Versions {
    /// Whether requests of `version` are answered. Produce is advertised from 0 although its first three versions are
    /// gone, because librdkafka stops compressing otherwise (KAFKA-18659).
    pub fn serves(&self, version: i16) -> bool {
        version <= self.max && version >= self.min.max(*self.key.valid_versions().start())
    }
}

/// What a translation may look at beside its message.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a SessionConfig,
    pub(crate) fetch_sessions: &'a mut FetchSessions,
}

impl Context<'_> {
    /// Refuses a request that names too many things.
    fn admit(&self, key: ApiKey, entries: usize) -> Result<(), SessionError> {
        let max = self.config.limits.request_entries_max;
        if entries > max {
            return Err(SessionError::TooManyEntries { key, entries, max });
        }
        Ok(())
    }
}

/// Decompression that one request may still cause, bytes.
pub(crate) struct DecompressionBudget {
    left: usize,
    batch_max: usize,
}

impl DecompressionBudget {
    fn new(config: &SessionConfig) -> DecompressionBudget {
        let limits = &config.limits;
        DecompressionBudget {
            left: limits.request_decompressed_bytes_max,
            batch_max: limits.decompressed_bytes_max,
        }
    }

    /// What the next batch may take; `None` when too little is left to tell a bomb from a large batch.
    fn next(&self) -> Option<usize> {
        (self.left >= self.batch_max).then_some(self.batch_max)
    }

    /// Notes what a batch took. One that failed may have taken all it was allowed.
    fn spend(&mut self, bytes: Option<usize>) {
        self.left = self.left.saturating_sub(bytes.unwrap_or(self.batch_max));
    }
}

/// What becomes of a decoded request.
pub(crate) enum Asked<Answer, Kept> {
    /// The core must say; what the answer needs from the question is kept.
    Core(Request, Kept),
    /// Answered here.
    Answer(Answer),
}

/// What becomes of a request on its way to the core.
#[derive(Debug)]
pub(crate) enum Dispatched {
    Core(Request, Kept),
    Answer(Segments),
}

macro_rules! apis {
    ($($key:ident $min:literal..=$max:literal: $file:ident => $core:ident),* $(,)?) => {
        const TABLE: &[Versions] = &[
            $(Versions { key: ApiKey::$key, min: $min, max: $max },)*
            API_VERSIONS,
        ];

        /// What the writer of an answer needs from the question.
        #[derive(Debug)]
        pub(crate) enum Kept {
            $($key($file::Kept)),*
        }

        impl Kept {
            pub(crate) fn key(&self) -> ApiKey {
                match self { $(Kept::$key(_) => ApiKey::$key),* }
            }
        }

        /// Decodes the body behind a request's header and asks its API. The version must be one that is served.
        pub(crate) fn request(
            key: ApiKey,
            version: i16,
            correlation_id: i32,
            body: &mut Decoder,
            context: &mut Context<'_>,
        ) -> Result<Dispatched, SessionError> {
            match key {
                $(ApiKey::$key => {
                    let message = Message::decode(body, version)
                        .map_err(|error| SessionError::Malformed { key, version, error })?;
                    Ok(match $file::request(message, version, context)? {
                        Asked::Core(request, kept) => Dispatched::Core(request, Kept::$key(kept)),
                        Asked::Answer(answer) => {
                            Dispatched::Answer(write(key, version, correlation_id, &answer)?)
                        }
                    })
                })*
                key => unreachable!("{key} is not in the table"),
            }
        }

        /// Writes the core's answer.
        ///
        /// # Panics
        /// When the answer is another API's: the core mixed up its tokens.
        pub(crate) fn response(
            response: Response,
            version: i16,
            correlation_id: i32,
            kept: Kept,
            context: &mut Context<'_>,
        ) -> Result<Segments, SessionError> {
            let key = kept.key();
            match (kept, response) {
                $((Kept::$key(kept), Response::$core(answer)) => {
                    write(key, version, correlation_id, &$file::response(answer, version, kept, context))
                })*
                (_, answer) => panic!("{key} was answered with {answer:?}"),
            }
        }
    };
}

apis! {
    Produce 0..=13: produce => Produce,
    Fetch 4..=18: fetch => Fetch,
    ListOffsets 1..=11: list_offsets => ListOffsets,
    Metadata 0..=13: metadata => Metadata,
    OffsetCommit 2..=10: offset_commit => OffsetCommit,
    OffsetFetch 1..=10: offset_fetch => OffsetFetch,
    FindCoordinator 0..=6: find_coordinator => FindCoordinator,
    JoinGroup 0..=9: join_group => JoinGroup,
    Heartbeat 0..=4: heartbeat => Heartbeat,
    LeaveGroup 0..=5: leave_group => LeaveGroup,
    SyncGroup 0..=5: sync_group => SyncGroup,
    DescribeGroups 0..=6: describe_groups => DescribeGroups,
    ListGroups 0..=5: list_groups => ListGroups,
    CreateTopics 2..=7: create_topics => CreateTopics,
    DeleteTopics 1..=6: delete_topics => DeleteTopics,
    DeleteRecords 0..=2: delete_records => DeleteRecords,
    // 6 is unstable in Kafka 4.4 itself.
    InitProducerId 0..=5: init_producer_id => InitProducerId,
    OffsetForLeaderEpoch 2..=4: offset_for_leader_epoch => OffsetForLeaderEpoch,
    DescribeConfigs 1..=4: describe_configs => DescribeConfigs,
    AlterConfigs 0..=2: alter_configs => AlterConfigs,
    DescribeLogDirs 1..=5: describe_log_dirs => DescribeLogDirs,
    CreatePartitions 0..=3: create_partitions => CreatePartitions,
    DeleteGroups 0..=3: delete_groups => DeleteGroups,
    ElectLeaders 0..=2: elect_leaders => ElectLeaders,
    IncrementalAlterConfigs 0..=1: incremental_alter_configs => AlterConfigs,
    OffsetDelete 0..=0: offset_delete => OffsetDelete,
    DescribeQuorum 0..=2: describe_quorum => DescribeQuorum,
    DescribeCluster 0..=2: describe_cluster => DescribeCluster,
    DescribeTopicPartitions 0..=0: describe_topic_partitions => DescribeTopicPartitions,
    RemoveRaftVoter 0..=0: remove_raft_voter => RemoveRaftVoter,
}

/// Answered by the session, without the core.
const API_VERSIONS: Versions = Versions { key: ApiKey::ApiVersions, min: 0, max: 5 };

/// Every API that is served.
pub fn advertised() -> &'static [Versions] {
    TABLE
}

/// Versions of one API; `None` when it is not served.
pub fn versions(key: ApiKey) -> Option<Versions> {
    TABLE.iter().find(|versions| versions.key == key).copied()
}

/// A whole response frame.
pub(crate) fn write<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    answer: &M,
) -> Result<Segments, SessionError> {
    encode_response(key, version, correlation_id, |out| answer.encode(out, version))
        .map_err(|error| SessionError::Unwritable { key, version, error })
}
