//! The facts of a message definition: what `crates/kafka/schema/messages.json` holds and what code is made of.

use serde::{Deserialize, Serialize};

use super::versions::Versions;

/// One message.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// API key of a request or response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<i16>,
    /// `request`, `response`, `header` or `data`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name, like `ProduceRequest`.
    pub name: String,
    /// Versions that exist.
    pub valid_versions: String,
    /// Versions with compact lengths and tagged fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flexible_versions: Option<String>,
    /// Whether Kafka itself does not advertise the highest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_version_unstable: Option<bool>,
    /// Fields in wire order; absent in definitions of removed APIs.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Structs used by more than one field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub common_structs: Vec<Struct>,
}

/// A struct named at the end of a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Struct {
    /// Name.
    pub name: String,
    /// Versions in which it occurs.
    pub versions: String,
    /// Fields in wire order.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Name.
    pub name: String,
    /// Type in the schema's notation.
    #[serde(rename = "type")]
    pub ty: String,
    /// Versions in which it occurs.
    pub versions: String,
    /// Versions in which it may be null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nullable_versions: Option<String>,
    /// Default: a number, a word or a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Whether a set value may be dropped silently in versions without the field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "flag")]
    pub ignorable: bool,
    /// Tag of a tagged field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// Versions in which it is tagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagged_versions: Option<String>,
    /// Overrides the message's flexible versions for this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flexible_versions: Option<String>,
    /// Fields of a struct that is defined in place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// The schemas write flags both as booleans and as texts.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Bool(flag) => Ok(flag),
        serde_json::Value::String(text) => text.parse().map_err(serde::de::Error::custom),
        other => Err(serde::de::Error::custom(format!("not a flag: {other}"))),
    }
}

/// Reads one definition as Kafka publishes it: JSON with `//` comments.
pub fn parse_commented(text: &str) -> Result<Message, String> {
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let mut escaped = false;
        let mut end = line.len();
        let bytes = line.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        plain.push_str(&line[..end]);
        plain.push('\n');
    }
    serde_json::from_str(&plain).map_err(|e| e.to_string())
}

/// A field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number, flag or id of fixed width, by the schema's name.
    Fixed(&'static str),
    /// Text.
    String,
    /// Opaque bytes.
    Bytes,
    /// Record batches.
    Records,
    /// A struct by its name in the schema.
    Struct(String),
    /// A list.
    Array(Box<Type>),
}

impl Type {
    /// Reads the schema's notation.
    pub fn parse(text: &str) -> Result<Type, String> {
        if let Some(element) = text.strip_prefix("[]") {
            return Ok(Type::Array(Box::new(Type::parse(element)?)));
        }
        Ok(match text {
            "bool" => Type::Fixed("bool"),
            "int8" => Type::Fixed("int8"),
            "int16" => Type::Fixed("int16"),
            "uint16" => Type::Fixed("uint16"),
            "int32" => Type::Fixed("int32"),
            "int64" => Type::Fixed("int64"),
            "float64" => Type::Fixed("float64"),
            "uuid" => Type::Fixed("uuid"),
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Type::Struct(name.into()),
            other => return Err(format!("unknown type {other:?}")),
        })
    }
}

impl Message {
    /// Versions that exist.
    pub fn valid(&self) -> Result<Versions, String> {
        Versions::parse(&self.valid_versions)
    }

    /// Versions with compact lengths and tagged fields.
    pub fn flexible(&self) -> Result<Versions, String> {
        Versions::parse_optional(self.flexible_versions.as_ref())
    }

    /// Every struct of the message with its name in the schema and its fields, the message itself last.
    pub fn structs(&self) -> Vec<(String, &[Field])> {
        fn walk<'a>(fields: &'a [Field], into: &mut Vec<(String, &'a [Field])>) {
            for field in fields.iter().filter(|field| !field.fields.is_empty()) {
                walk(&field.fields, into);
                into.push((field.ty.trim_start_matches("[]").to_owned(), &field.fields));
            }
        }
        let mut structs = Vec::new();
        walk(&self.fields, &mut structs);
        for common in &self.common_structs {
            walk(&common.fields, &mut structs);
            structs.push((common.name.clone(), &common.fields));
        }
        structs.push((self.name.clone(), &self.fields));
        structs
    }
}
