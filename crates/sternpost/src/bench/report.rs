//! How results are said: a line a second while a run lasts, and one object or table at its end.

use super::tally::{Latency, Tally};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

/// Shares of all records whose latencies are told.
const QUANTILES: &[(&str, f64)] =
    &[("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0)];

/// Rounds to so many digits behind the point.
pub fn rounded(number: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (number * factor).round() / factor
}

/// A latency as JSON.
pub fn latency(latency: &Latency) -> Value {
    let mut map = Map::new();
    map.insert("n".to_string(), json!(latency.count()));
    for (name, share) in QUANTILES {
        map.insert((*name).to_string(), json!(rounded(latency.quantile_ms(*share), 3)));
    }
    Value::from(map)
}

/// A result as text: its fields in order, one a line.
pub fn text(value: &Value) -> String {
    let Some(map) = value.as_object() else { return value.to_string() };
    let width = map.keys().map(String::len).max().unwrap_or(0);
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToString::to_string);
    let line = |(name, value): (&String, &Value)| {
        let shown = match value.as_object() {
            Some(inner) => {
                // In rising order, which the map has lost.
                let names = std::iter::once("n").chain(QUANTILES.iter().map(|(name, _)| *name));
                let part = |name| Some(format!("{name} {}", plain(inner.get(name)?)));
                names.filter_map(part).collect::<Vec<_>>().join("  ")
            }
            None => plain(value),
        };
        format!("{name:width$}  {shown}")
    };
    map.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Shows a line: in place on a terminal, below the last one elsewhere.
pub struct Ticker {
    bar: Option<ProgressBar>,
}

impl Ticker {
    /// A ticker on stderr.
    pub fn new() -> Ticker {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Ticker { bar }
    }

    /// The next line.
    pub fn say(&self, line: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Tells the rate of a counter every second until it is dropped.
pub struct Progress(JoinHandle<()>);

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Progress {
    /// Starts on the runtime of the caller.
    pub fn start(
        tally: &Arc<Tally>,
        verb: &'static str,
        counter: impl Fn(&Tally) -> &AtomicU64 + Send + 'static,
    ) -> Progress {
        let tally = tally.clone();
        Progress(tokio::spawn(async move {
            let ticker = Ticker::new();
            let begun = Instant::now();
            let (mut last, mut last_at) = (counter(&tally).load(Relaxed), begun);
            loop {
                tokio::time::sleep(SECOND).await;
                let (count, now) = (counter(&tally).load(Relaxed), Instant::now());
                let rate = (count - last) as f64 / (now - last_at).as_secs_f64();
                let failed = tally.failed.load(Relaxed);
                let trouble = if failed > 0 { format!(", {failed} failed") } else { String::new() };
                let seconds = begun.elapsed().as_secs_f64();
                ticker.say(format!("{seconds:6.1} s: {rate:.0} records/s, {count} {verb}{trouble}"));
                (last, last_at) = (count, now);
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_lines_of_name_and_value() {
        let value = json!({"records": 5, "topic": "t", "ack_latency": {"n": 1, "p50_ms": 0.5}});
        assert_eq!(text(&value), "ack_latency  n 1  p50_ms 0.5\nrecords      5\ntopic        t");
        assert_eq!(rounded(1.23456, 2), 1.23);
    }
}
