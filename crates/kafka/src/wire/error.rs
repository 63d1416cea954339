//! What can be wrong with bytes that came in and with values that should go out. Both are expected errors: a peer's
//! fault or a version's limits, answered and never a panic.

use thiserror::Error;

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the message ends early: {needed} more bytes wanted, {remaining} there")]
    Truncated {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// A length below zero that is not the one for null.
    #[error("negative length {0}")]
    NegativeLength(i64),
    /// Null in a field that forbids it.
    #[error("null where the version forbids it")]
    UnexpectedNull,
    /// More elements than the rest of the message can hold.
    #[error("a list of {count} elements cannot fit in {remaining} bytes")]
    ListTooLong {
        /// Elements claimed.
        count: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// The message's lists would take more memory than allowed.
    #[error("the message's lists would take more than {} bytes of memory", super::ELEMENT_MEMORY_MAX)]
    TooManyElements,
    /// A variable-length number longer than its type.
    #[error("a variable-length number is too long")]
    VarintTooLong,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A text longer than any encoding allows.
    #[error("a text of {0} bytes is too long")]
    TextTooLong(usize),
    /// More tagged fields than allowed in one struct.
    #[error("{0} tagged fields in one struct")]
    TooManyTaggedFields(u32),
    /// Tags that do not ascend; a duplicate is one case.
    #[error("tag {tag} after tag {before}")]
    TagOrder {
        /// The tag.
        tag: u32,
        /// The one before it.
        before: u32,
    },
    /// A known tagged field whose content does not fill its stated size.
    #[error("tagged field {tag} leaves {left} bytes unread")]
    TaggedFieldSize {
        /// The tag.
        tag: u32,
        /// Bytes not read.
        left: usize,
    },
    /// A presence byte that is neither null nor present.
    #[error("presence byte {0}")]
    Presence(i8),
    /// A version that the message does not have.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Message.
        message: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// An API key we have no messages for.
    #[error("unknown api key {0}")]
    UnknownApiKey(i16),
    /// Bytes behind the end of the message.
    #[error("{0} bytes behind the end of the message")]
    TrailingBytes(usize),
}

/// Why a value cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A set field that the version has no place for.
    #[error("{field} is set and version {version} has no place for it")]
    FieldNotInVersion {
        /// Field name in the schema.
        field: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// A null field that the version does not allow to be null.
    #[error("{field} is null and version {version} forbids that")]
    NullField {
        /// Field name in the schema.
        field: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// A length beyond its prefix.
    #[error("a value of {0} bytes or elements is too long for its length prefix")]
    TooLong(usize),
    /// A version that the message does not have.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Message.
        message: &'static str,
        /// Version asked for.
        version: i16,
    },
}
