//! What can go wrong between a client and a cluster, each as one sentence that names the broker and Kafka's error.

use std::time::Duration;

use model::ErrorCode;
use thiserror::Error;

/// Why an operation did not succeed.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// Not an address.
    #[error("{0:?} is no broker address: host:port is wanted, several with commas between")]
    Address(String),
    /// None of the addresses answers.
    #[error("no broker answers at {addresses} ({why})")]
    NoBroker {
        /// What was tried.
        addresses: String,
        /// The last reason.
        why: String,
    },
    /// A broker of the cluster cannot be reached.
    #[error("cannot connect to broker {broker} ({why})")]
    Connect {
        /// Its address.
        broker: String,
        /// The system's reason.
        why: String,
    },
    /// The connection ended with requests on it.
    #[error("lost the connection to broker {broker} ({why})")]
    Disconnected {
        /// Its address.
        broker: String,
        /// The reason.
        why: String,
    },
    /// No answer in time.
    #[error("broker {broker} did not answer {api} within {} ms", after.as_millis())]
    TimedOut {
        /// Its address.
        broker: String,
        /// Name of the request.
        api: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that cannot be read.
    #[error("broker {broker} answered {api} with bytes that make no sense ({why})")]
    Garbled {
        /// Its address.
        broker: String,
        /// Name of the request.
        api: &'static str,
        /// What is wrong.
        why: String,
    },
    /// No version in common.
    #[error("broker {broker} has no version of {api} that this client speaks")]
    Unsupported {
        /// Its address.
        broker: String,
        /// Name of the request.
        api: &'static str,
    },
    /// The broker answered with an error.
    #[error("cannot {what}: broker {broker} says {}{}", code.name(), said(message))]
    Refused {
        /// What was asked, as verb and object.
        what: String,
        /// Its address.
        broker: String,
        /// Kafka's error.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// A topic that the cluster does not have.
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    /// A partition that the topic does not have.
    #[error("topic {topic} has no partition {partition}, only 0 to {}", count - 1)]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// Partitions there are.
        count: usize,
    },
    /// A partition without a leader.
    #[error("partition {partition} of topic {topic} has no leader at the moment")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A request that cannot be put on the wire, or records that cannot be read.
    #[error("{0}")]
    Invalid(String),
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|words| format!(" ({})", words.trim_end_matches('.'))).unwrap_or_default()
}

impl Error {
    /// An error of the broker.
    pub(crate) fn refused(
        what: impl Into<String>,
        broker: &impl ToString,
        code: i16,
        message: Option<String>,
    ) -> Error {
        let code = ErrorCode::from_code(code);
        Error::Refused { what: what.into(), broker: broker.to_string(), code, message }
    }

    /// Kafka's error, when a broker gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed a moment later. An unknown topic is not: a typing mistake must not wait.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::NoBroker { .. }
            | Error::Connect { .. }
            | Error::Disconnected { .. }
            | Error::TimedOut { .. }
            | Error::NoLeader { .. } => true,
            Error::Refused { code, .. } => code.is_retriable() && *code != ErrorCode::UnknownTopicOrPartition,
            _ => false,
        }
    }
}
