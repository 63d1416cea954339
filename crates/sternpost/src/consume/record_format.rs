//! How a record is printed: as text by the property names of Kafka's console consumer, or as one line of JSON that keeps
//! every byte (what is not UTF-8 stands in base64 under another name).

use crate::produce::{flag, unescaped};
use client::TopicPartition;
use kafka::records::Record;
use serde_json::{Map, Value, json};
use std::io::{Result as IoResult, Write};

/// How records are printed.
#[derive(Debug)]
pub struct RecordFormat {
    json: bool,
    key: bool,
    value: bool,
    timestamp: bool,
    partition: bool,
    offset: bool,
    headers: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
}

impl RecordFormat {
    /// From properties.
    ///
    /// # Errors
    /// One clear sentence about the property that is wrong.
    pub fn new(
        properties: &[(String, String)],
        key_separator: Option<&str>,
        json: bool,
    ) -> Result<RecordFormat, String> {
        let mut format = RecordFormat {
            json,
            key: key_separator.is_some(),
            value: true,
            timestamp: false,
            partition: false,
            offset: false,
            headers: false,
            key_separator: key_separator.map_or("\t".to_string(), unescaped),
            line_separator: "\n".to_string(),
            headers_separator: ",".to_string(),
            null_literal: "null".to_string(),
        };
        for (name, value) in properties {
            match &**name {
                "print.key" => format.key = flag(name, value)?,
                "print.value" => format.value = flag(name, value)?,
                "print.timestamp" => format.timestamp = flag(name, value)?,
                "print.partition" => format.partition = flag(name, value)?,
                "print.offset" => format.offset = flag(name, value)?,
                "print.headers" => format.headers = flag(name, value)?,
                "key.separator" => format.key_separator = unescaped(value),
                "line.separator" => format.line_separator = unescaped(value),
                "headers.separator" => format.headers_separator = unescaped(value),
                "null.literal" => format.null_literal = value.clone(),
                _ => {
                    return Err(format!(
                        "--property {name} is not known; `sternpost consume --help` lists those that are"
                    ));
                }
            }
        }
        Ok(format)
    }

    /// Writes one record.
    pub fn write(&self, out: &mut impl Write, at: &TopicPartition, record: &Record) -> IoResult<()> {
        if self.json {
            return writeln!(out, "{}", as_json(at, record));
        }
        let null = self.null_literal.as_bytes();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            parts.push(format!("CreateTime:{}", record.timestamp).into_bytes());
        }
        if self.partition {
            parts.push(format!("Partition:{}", at.partition).into_bytes());
        }
        if self.offset {
            parts.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.headers {
            let headers: Vec<Vec<u8>> = record
                .headers
                .iter()
                .map(|header| [&header.key[..], b":", header.value.as_deref().unwrap_or(null)].concat())
                .collect();
            let headers = headers.join(self.headers_separator.as_bytes());
            parts.push(if headers.is_empty() { b"NO_HEADERS".to_vec() } else { headers });
        }
        if self.key {
            parts.push(record.key.as_deref().unwrap_or(null).to_vec());
        }
        if self.value {
            parts.push(record.value.as_deref().unwrap_or(null).to_vec());
        }
        out.write_all(&parts.join(self.key_separator.as_bytes()))?;
        out.write_all(self.line_separator.as_bytes())
    }
}

fn put(map: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => drop(map.insert(name.to_string(), Value::Null)),
        Some(Ok(text)) => drop(map.insert(name.to_string(), Value::from(text))),
        Some(Err(_)) => {
            map.insert(format!("{name}_base64"), Value::from(base64(bytes.unwrap_or_default())));
        }
    }
}

fn as_json(at: &TopicPartition, record: &Record) -> Value {
    let mut map = Map::new();
    map.insert("topic".to_string(), json!(*at.topic));
    map.insert("partition".to_string(), json!(at.partition));
    map.insert("offset".to_string(), json!(record.offset));
    map.insert("timestamp".to_string(), json!(record.timestamp));
    let headers = record.headers.iter().map(|header| {
        let mut map = Map::new();
        map.insert("name".to_string(), Value::from(String::from_utf8_lossy(&header.key)));
        put(&mut map, "value", header.value.as_deref());
        Value::from(map)
    });
    map.insert("headers".to_string(), headers.collect());
    put(&mut map, "key", record.key.as_deref());
    put(&mut map, "value", record.value.as_deref());
    Value::from(map)
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0u32, |group, (at, byte)| group | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let six = (group >> (18 - 6 * at)) & 63;
            text.push(if at <= chunk.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kafka::records::RecordHeader;

    fn record() -> Record {
        Record {
            offset: 7,
            timestamp: 1000,
            key: Some(Bytes::from_static(b"UA")),
            value: Some(Bytes::from_static(&[0xff, 0])),
            headers: vec![RecordHeader { key: Bytes::from_static(b"h"), value: None }],
        }
    }

    fn printed(properties: &[(&str, &str)], json: bool, record: &Record) -> String {
        let properties: Vec<_> =
            properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let format = RecordFormat::new(&properties, None, json).expect("known properties");
        let mut out = Vec::new();
        let at = TopicPartition::new(&"t".into(), 3);
        format.write(&mut out, &at, record).expect("memory");
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn text_has_the_parts_asked_for() {
        let mut record = record();
        record.value = Some(Bytes::from_static(b"v"));
        assert_eq!(printed(&[], false, &record), "v\n");
        let all = [
            ("print.key", "true"),
            ("print.timestamp", "true"),
            ("print.partition", "true"),
            ("print.offset", "true"),
            ("print.headers", "true"),
            ("key.separator", "|"),
        ];
        assert_eq!(printed(&all, false, &record), "CreateTime:1000|Partition:3|Offset:7|h:null|UA|v\n");
        record.value = None;
        assert_eq!(printed(&[("null.literal", "-")], false, &record), "-\n");
    }

    #[test]
    fn json_keeps_every_byte() {
        let value: Value = serde_json::from_str(&printed(&[], true, &record())).expect("JSON");
        assert_eq!(
            value,
            json!({
                "topic": "t", "partition": 3, "offset": 7, "timestamp": 1000, "key": "UA",
                "value_base64": "/wA=", "headers": [{"name": "h", "value": null}],
            })
        );
    }

    #[test]
    fn base64_is_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
