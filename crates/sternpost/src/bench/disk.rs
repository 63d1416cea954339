//! `bench disk`: what the disk itself can do, to hold the figures of a log against: one writer appends to a preallocated
//! file and syncs after each append, as a group commit does.

use super::report::{Ticker, latency, rounded};
use super::tally::Latency;
use crate::cluster::{print, table};
use crate::moment;
use crate::output::Output;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Sizes of an append, bytes.
const APPEND_BYTES: &[usize] = &[4 << 10, 64 << 10, 1 << 20];
/// Bytes written at once while the file is filled.
const FILL_BYTES: usize = 1 << 20;
const FILE_NAME: &str = "sternpost-disk-bench.tmp";

/// Measure appends with fdatasync in a directory
#[derive(clap::Args, Debug)]
pub struct Disk {
    /// The directory, on the disk to be measured
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How long each size is measured
    #[arg(short, long, default_value = "3s", value_parser = moment::duration, value_name = "TIME")]
    duration: Duration,
    /// Size of the file, MiB; written over from its start when it is full, as a recycled log is
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    file_mib: u64,
    /// What is printed on stdout
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// A file that is gone when the measurement is over, however it ends.
struct Scratch {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Scratch {
    fn make(dir: &Path, mib: u64, content: &[u8]) -> Result<Scratch, String> {
        let path = dir.join(FILE_NAME);
        let failed = |verb: &str, error| format!("cannot {verb} {}: {error}", path.display());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| failed("create", error))?;
        let scratch = Scratch { file, path: path.clone(), size: mib << 20 };
        // Its blocks exist before the clock starts, so that no append waits for an allocation.
        for at in (0..scratch.size).step_by(FILL_BYTES) {
            scratch.file.write_all_at(content, at).map_err(|error| failed("fill", error))?;
        }
        scratch.file.sync_all().map_err(|error| failed("sync", error))?;
        Ok(scratch)
    }

    fn measure(&self, append: &[u8], duration: Duration) -> Result<Value, String> {
        let failed = |verb: &str, error| format!("cannot {verb} {}: {error}", self.path.display());
        let tally = Latency::default();
        let (mut at, mut count) = (0u64, 0u64);
        let begun = Instant::now();
        while begun.elapsed() < duration {
            if at + append.len() as u64 > self.size {
                at = 0;
            }
            let start = Instant::now();
            self.file.write_all_at(append, at).map_err(|error| failed("write", error))?;
            self.file.sync_data().map_err(|error| failed("sync", error))?;
            tally.add(std::iter::once(start.elapsed().as_micros() as u64));
            at += append.len() as u64;
            count += 1;
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        Ok(json!({
            "append_bytes": append.len(), "appends": count, "appends_per_s": rounded(rate, 1),
            "mb_per_s": rounded(rate * append.len() as f64 / 1e6, 2), "latency": latency(&tally),
        }))
    }
}

/// Runs the measurement.
pub fn run(word: &Disk) -> Result<(), String> {
    let ticker = Ticker::new();
    ticker.say(format!("filling a file of {} MiB", word.file_mib));
    let content = super::payload::value(FILL_BYTES);
    let scratch = Scratch::make(&word.dir, word.file_mib, &content)?;
    let mut results = Vec::new();
    for size in APPEND_BYTES {
        ticker.say(format!("appends of {} KiB with fdatasync", size >> 10));
        results.push(scratch.measure(&content[..*size], word.duration)?);
    }
    drop(ticker);
    match word.output {
        Output::Json => print(&json!({"bench": "disk", "dir": word.dir, "appends": results}).to_string()),
        Output::Text => {
            let rows = results.iter().map(|result| {
                let size = result["append_bytes"].as_u64().unwrap_or(0) >> 10;
                [
                    format!("{size} KiB"),
                    result["appends_per_s"].to_string(),
                    result["mb_per_s"].to_string(),
                    result["latency"]["p50_ms"].to_string(),
                    result["latency"]["p99_ms"].to_string(),
                    result["latency"]["max_ms"].to_string(),
                ]
            });
            print(&table(["APPEND", "PER SECOND", "MB/S", "P50 MS", "P99 MS", "MAX MS"], rows));
        }
    }
    Ok(())
}
