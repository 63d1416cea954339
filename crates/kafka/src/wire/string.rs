//! Text that shares the buffer it came in. UTF-8 is checked once, at decode.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

use super::DecodeError;

/// Immutable text, cheap to clone. It keeps the whole buffer it was cut from alive: call [`Str::detached`] before it
/// goes into a table that lives longer than the request.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str(ByteString);

impl Str {
    /// A text without a buffer of its own.
    pub const fn from_static(text: &'static str) -> Str {
        Str(ByteString::from_static(text))
    }

    /// Checks that `bytes` are UTF-8 and takes them without a copy.
    pub fn from_utf8(bytes: Bytes) -> Result<Str, DecodeError> {
        ByteString::try_from(bytes).map(Str).map_err(|_| DecodeError::NotUtf8)
    }

    /// The text in a buffer of its own, so that the request's buffer can go.
    pub fn detached(&self) -> Str {
        Str::from(&**self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self
    }

    /// The bytes, shared.
    pub fn as_bytes_shared(&self) -> &Bytes {
        self.0.as_bytes()
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(ByteString::from(text))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(ByteString::from(text))
    }
}

impl From<Str> for String {
    fn from(text: Str) -> String {
        text.to_string()
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
