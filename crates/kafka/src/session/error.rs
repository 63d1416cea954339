//! Why a connection ends, as one clear sentence for the log. Whatever a client can be told in an answer is no such error.

use model::ErrorCode;
use thiserror::Error;

use crate::frame::FrameError;
use crate::message::ApiKey;
use crate::wire::{DecodeError, EncodeError};

/// The connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The bytes are an HTTP request.
    #[error("the client speaks HTTP, this port speaks the Kafka protocol")]
    Http,
    /// The bytes are a TLS handshake.
    #[error("the client starts TLS, this port is plaintext: set security.protocol=PLAINTEXT in the client")]
    Tls,
    /// The bytes are no frames.
    #[error("the client does not speak the Kafka protocol or exceeds a limit: {0}")]
    Frame(FrameError),
    /// A frame without room for key, version and correlation id.
    #[error("a request of {0} bytes is too short for its header")]
    ShortHeader(usize),
    /// An API that is not served.
    #[error("api key {0} is not served; the client should ask ApiVersions first")]
    UnknownKey(i16),
    /// A version that is not served.
    #[error(
        "{key} version {version} is not served (up to {max} are); the client should ask ApiVersions first"
    )]
    UnsupportedVersion {
        /// The API.
        key: ApiKey,
        /// The version asked for.
        version: i16,
        /// The highest one served.
        max: i16,
    },
    /// A header that cannot be read.
    #[error("the request header is malformed: {0}")]
    Header(DecodeError),
    /// A header above its limit.
    #[error("a request header of {size} bytes is above the limit of {max}")]
    HeaderTooLong {
        /// Its size, bytes.
        size: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// A body that cannot be read.
    #[error("{key} request version {version} is malformed: {error}")]
    Malformed {
        /// The API.
        key: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong.
        error: DecodeError,
    },
    /// A request that names more than a request may.
    #[error("{key} request names {entries} things, the limit is {max}")]
    TooManyEntries {
        /// The API.
        key: ApiKey,
        /// Topics, partitions and so on.
        entries: usize,
        /// The limit.
        max: usize,
    },
    /// A produce without answer failed; closing is the only way to tell.
    #[error("produce with acks=0 failed with {code}; closing tells the client to look again")]
    SilentProduce {
        /// The first partition's reason.
        code: ErrorCode,
    },
    /// An answer that its version cannot carry.
    #[error("the answer to {key} version {version} cannot be written: {error}")]
    Unwritable {
        /// The API.
        key: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong.
        error: EncodeError,
    },
}

impl From<FrameError> for SessionError {
    /// Looks whether the four bytes that made an impossible size are the start of something well known.
    fn from(error: FrameError) -> SessionError {
        let size = match error {
            FrameError::TooLarge { size, .. } => u32::try_from(size).unwrap_or_default(),
            FrameError::Negative(size) => size as u32,
            FrameError::Empty => 0,
        };
        match &size.to_be_bytes() {
            // A handshake record, any version: 22, 3, minor version, high byte of the length.
            [0x16, 0x03, 0x00..=0x04, _] => SessionError::Tls,
            b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC"
            | b"PRI " => SessionError::Http,
            _ => SessionError::Frame(error),
        }
    }
}
