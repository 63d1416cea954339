//! `inspect`: what lies in a stopped node's data directory, and what is damaged. Reads only.

use crate::output::Output;
use std::fmt::Write;
use std::sync::Arc;
use storage::RealDisk;
use storage::inspect::{CheckpointReport, Report, inspect};

/// Segments listed without --all.
const SEGMENTS_SHOWN: usize = 20;

/// Describe a stopped node's data directory: WAL, checkpoints, segments, damage
#[derive(clap::Args, Debug)]
pub struct Inspect {
    /// The data directory
    #[arg(long, default_value = "sternpost-data")]
    data_dir: String,
    /// List every segment, not only the first and the damaged ones
    #[arg(long)]
    all: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Prints the report.
///
/// # Errors
/// One sentence when the directory cannot be read, or when something in it is damaged (after the report).
pub fn run(word: &Inspect) -> Result<(), String> {
    let disk = Arc::new(existing(&word.data_dir)?);
    let report = inspect(&disk).map_err(|error| format!("{}: {error}", word.data_dir))?;
    match word.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report).expect("plain data")),
        Output::Text => print!("{}", text(&report, word.all)),
    }
    match report.damage.len() {
        0 => Ok(()),
        count => Err(format!(
            "{count} damaged place(s) in {}; `sternpost recover --data-dir {}` says what can be kept",
            word.data_dir, word.data_dir
        )),
    }
}

/// The directory as a disk; it must exist.
pub fn existing(data_dir: &str) -> Result<RealDisk, String> {
    if !std::path::Path::new(data_dir).is_dir() {
        return Err(format!("there is no data directory {data_dir}; name one with --data-dir"));
    }
    RealDisk::new(data_dir).map_err(|error| format!("the data directory {data_dir} cannot be used: {error}"))
}

fn text(report: &Report, all: bool) -> String {
    let mut out = String::new();
    let line = |out: &mut String, text: String| writeln!(out, "{text}").expect("writing to a string");
    match &report.identity {
        Some(identity) => line(
            &mut out,
            format!("identity    node {}, incarnation {}", identity.node.0, identity.incarnation),
        ),
        None => line(&mut out, "identity    missing or damaged".into()),
    }
    for checkpoint in &report.checkpoints {
        line(&mut out, format!("checkpoint  {}", checkpoint_text(checkpoint)));
    }
    let wal = &report.wal;
    line(
        &mut out,
        format!(
            "wal         {} file(s) in use, {} spare, last durable commit {}",
            wal.files.len(),
            wal.spares,
            wal.sequence
        ),
    );
    for file in &wal.files {
        line(&mut out, format!("  {}  {} of {} bytes used", file.path, file.used, file.size));
    }
    if let Some(torn) = &wal.torn {
        line(&mut out, format!("  the end is torn (never acknowledged, a start drops it): {torn}"));
    }
    let damaged = report.segments.iter().filter(|segment| segment.damage.is_some()).count();
    line(&mut out, format!("segments    {}, {damaged} damaged", report.segments.len()));
    let shown = |(at, segment): &(usize, &storage::inspect::SegmentReport)| {
        all || *at < SEGMENTS_SHOWN || segment.damage.is_some()
    };
    for (_, segment) in report.segments.iter().enumerate().filter(shown) {
        let state = segment.damage.as_deref().unwrap_or("whole");
        line(
            &mut out,
            format!(
                "  {}  offsets {} to {}, {} batches, {} bytes: {state}",
                segment.path, segment.base_offset, segment.end_offset, segment.batches, segment.size
            ),
        );
    }
    if !all && report.segments.len() > SEGMENTS_SHOWN {
        line(&mut out, "  … (--all lists every segment)".to_owned());
    }
    if report.damage.is_empty() {
        line(&mut out, "damage      none".into());
    }
    for damage in &report.damage {
        line(&mut out, format!("damage      {damage}"));
    }
    out
}

fn checkpoint_text(checkpoint: &CheckpointReport) -> String {
    if checkpoint.state != "whole" {
        return format!("{}: {}", checkpoint.path, checkpoint.state);
    }
    let clean = if checkpoint.clean { ", clean shutdown" } else { "" };
    format!(
        "{}: number {}, {} shards, {} partitions with segments{clean}",
        checkpoint.path,
        checkpoint.sequence,
        checkpoint.shards.len(),
        checkpoint.partitions
    )
}
