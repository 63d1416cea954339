//! `cargo xtask generate`: Rust for Kafka's messages, from the committed schema `crates/kafka/schema/messages.json`.
//!
//! `--check` writes nothing and fails when a committed file differs; it works offline. `--fetch` first renews the
//! schema from the published Java client (needs mvn); `--schema-from <folder>` renews it from a folder of Kafka's
//! message definitions. Only facts are kept of those: names, types, versions, defaults.

mod arbitrary;
mod registry;
mod rust;
mod schema;
mod versions;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use schema::Message;

/// The release whose message definitions the schema file holds.
const KAFKA_RELEASE: &str = "4.4.0";

/// API keys for which code is generated.
const API_KEYS: [i16; 44] = [
    0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 32, 33, 35, 36,
    37, 42, 43, 44, 47, 48, 49, 55, 60, 61, 65, 66, 68, 69, 75, 81,
];

/// Messages without an API key for which code is generated.
const PLAIN_MESSAGES: [&str; 4] =
    ["RequestHeader", "ResponseHeader", "ConsumerProtocolSubscription", "ConsumerProtocolAssignment"];

/// Runs the word with its arguments.
pub fn run(args: &[String]) -> Result<(), String> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?.to_path_buf();
    let schema_path = root.join("crates/kafka/schema/messages.json");
    let out = root.join("crates/kafka/src/message");
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => write_all(&out, &generate(&read_schema(&schema_path)?)?),
        ["--check"] => check_all(&out, &generate(&read_schema(&schema_path)?)?),
        ["--fetch"] => {
            let folder = fetch(&root)?;
            renew_schema(&folder, &schema_path)?;
            write_all(&out, &generate(&read_schema(&schema_path)?)?)
        }
        ["--schema-from", folder] => {
            renew_schema(Path::new(folder), &schema_path)?;
            write_all(&out, &generate(&read_schema(&schema_path)?)?)
        }
        _ => Err("generate takes nothing, --check, --fetch or --schema-from <folder>".into()),
    }
}

/// Unpacks the message definitions of the Java client into the build folder and returns where they are.
fn fetch(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("target/kafka-schema");
    let status = Command::new("mvn")
        .arg("-q")
        .arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack")
        .arg(format!("-Dartifact=org.apache.kafka:kafka-clients:{KAFKA_RELEASE}"))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .arg("-Dmdep.unpack.includes=common/message/*.json")
        .current_dir(root)
        .status()
        .map_err(|e| format!("start mvn: {e}"))?;
    if !status.success() {
        return Err(format!("mvn could not unpack kafka-clients {KAFKA_RELEASE}: {status}"));
    }
    Ok(folder.join("common/message"))
}

/// Reads Kafka's definitions from `folder` and writes the facts of the wanted ones to `schema_path`.
fn renew_schema(folder: &Path, schema_path: &Path) -> Result<(), String> {
    let mut wanted: BTreeMap<(i16, String), Message> = BTreeMap::new();
    let entries = std::fs::read_dir(folder).map_err(|e| format!("read {}: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("read {}: {e}", folder.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
        let message = schema::parse_commented(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let keep = match message.api_key {
            Some(key) => API_KEYS.contains(&key),
            None => PLAIN_MESSAGES.contains(&message.name.as_str()),
        };
        if keep {
            wanted.insert((message.api_key.unwrap_or(i16::MAX), message.name.clone()), message);
        }
    }
    let expected = API_KEYS.len() * 2 + PLAIN_MESSAGES.len();
    if wanted.len() != expected {
        return Err(format!("found {} of {expected} messages in {}", wanted.len(), folder.display()));
    }
    let mut lines = Vec::new();
    for message in wanted.values() {
        lines.push(serde_json::to_string(message).map_err(|e| format!("write {}: {e}", message.name))?);
    }
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    std::fs::write(schema_path, text).map_err(|e| format!("write {}: {e}", schema_path.display()))
}

fn read_schema(path: &Path) -> Result<Vec<Message>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// All generated files by name, formatted.
fn generate(messages: &[Message]) -> Result<BTreeMap<String, String>, String> {
    let apis = registry::group(messages)?;
    let mut files = BTreeMap::new();
    for module in &apis {
        files.insert(format!("{}.rs", module.file), rust::module(module)?);
    }
    files.insert("api_key.rs".into(), registry::api_key(&apis));
    files.insert("body.rs".into(), registry::body(&apis));
    files.insert("mod.rs".into(), registry::root(&apis));
    files.insert("arbitrary.rs".into(), arbitrary::module(&apis)?);
    let mut formatted = BTreeMap::new();
    for (name, text) in files {
        let text = rustfmt(&format!("{}{text}", header(&name)))?;
        formatted.insert(name, text);
    }
    Ok(formatted)
}

fn header(name: &str) -> String {
    let what = match name {
        "mod.rs" => "Kafka's messages, one file per API, and the traits that tie a request to its response.",
        "api_key.rs" => "API keys with their versions and header versions.",
        "body.rs" => "One request or response of any API, for code that dispatches on the key.",
        "arbitrary.rs" => "Seeded values of every message and version, for the tests beside this file.",
        _ => "Request and response of one API, or one plain message: decode checks every length first.",
    };
    format!(
        "//! {what}\n//!\n//! Generated by `cargo xtask generate` from crates/kafka/schema (Apache Kafka {KAFKA_RELEASE});\n\
         //! do not edit. Defaults are the schema's: a nullable field without a stated default is empty, not null.\n\n"
    )
}

/// Formats one file with the toolchain's rustfmt and the repository's settings.
fn rustfmt(text: &str) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?;
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--quiet"])
        .arg("--config-path")
        .arg(root.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("start rustfmt: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("rustfmt has no stdin")?;
    let input = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|e| format!("run rustfmt: {e}"))?;
    writer.join().map_err(|_| "rustfmt writer stopped")?.map_err(|e| format!("feed rustfmt: {e}"))?;
    if !output.status.success() {
        return Err(format!("rustfmt refused generated code:\n{text}"));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("rustfmt output: {e}"))
}

fn write_all(out: &Path, files: &BTreeMap<String, String>) -> Result<(), String> {
    std::fs::create_dir_all(out).map_err(|e| format!("create {}: {e}", out.display()))?;
    for (name, text) in files {
        let path = out.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|current| current == *text) {
            continue;
        }
        std::fs::write(&path, text).map_err(|e| format!("write {}: {e}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn check_all(out: &Path, files: &BTreeMap<String, String>) -> Result<(), String> {
    let stale: Vec<&str> = files
        .iter()
        .filter(|(name, text)| {
            !std::fs::read_to_string(out.join(name)).is_ok_and(|current| current == **text)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if stale.is_empty() {
        println!("generated messages are current ({} files)", files.len());
        return Ok(());
    }
    Err(format!("generated code is not current: {}; run `cargo xtask generate`", stale.join(", ")))
}
