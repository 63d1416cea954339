//! Log lines that others can cause, so that their number is limited: a flood of bad connections is told in a few lines, and
//! what goes wrong again and again is told now and then.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lines of one kind in a period.
const LINES_MAX: u32 = 5;
/// The period.
const PERIOD: Duration = Duration::from_secs(1);

/// Limits log lines of one kind.
#[derive(Debug)]
pub struct Complaints {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    period_start: Instant,
    written: u32,
    left_out: u64,
}

impl Default for Complaints {
    fn default() -> Complaints {
        Complaints { state: Mutex::new(State { period_start: Instant::now(), written: 0, left_out: 0 }) }
    }
}

impl Complaints {
    /// Whether a line may be written now; if so, how many were left out before it.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if now.saturating_duration_since(state.period_start) >= PERIOD {
            state.period_start = now;
            state.written = 0;
        }
        if state.written == LINES_MAX {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

/// How a line says that others were not written.
pub fn left_out_note(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" ({count} lines like this were left out)") }
}

/// A line that was written is not written again for so long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Lines remembered; with more than these at a time the oldest is forgotten, and may be written again.
const LINES_REMEMBERED_MAX: usize = 64;

/// Writes what is said again and again only now and then.
#[derive(Debug, Default)]
pub struct Repeats {
    written: Mutex<VecDeque<(String, Instant)>>,
}

impl Repeats {
    /// Whether the line may be written now.
    pub fn admit(&self, line: &str, now: Instant) -> bool {
        let mut written = self.written.lock().expect("no holder of this lock panics");
        written.retain(|(_, at)| now.saturating_duration_since(*at) < REPEAT_AFTER);
        if written.iter().any(|(other, _)| other == line) {
            return false;
        }
        if written.len() == LINES_REMEMBERED_MAX {
            written.pop_front();
        }
        written.push_back((line.to_string(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_again_after_a_while() {
        let repeats = Repeats::default();
        let start = Instant::now();
        assert!(repeats.admit("one", start));
        assert!(!repeats.admit("one", start + REPEAT_AFTER / 2));
        assert!(repeats.admit("two", start));
        assert!(repeats.admit("one", start + REPEAT_AFTER));
        for number in 0..10 * LINES_REMEMBERED_MAX {
            assert!(repeats.admit(&number.to_string(), start));
        }
        assert!(repeats.written.lock().unwrap().len() <= LINES_REMEMBERED_MAX);
    }

    #[test]
    fn a_flood_is_a_few_lines() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let written = (0..1000).filter(|_| complaints.admit(start).is_some()).count();
        assert_eq!(written, LINES_MAX as usize);
        assert_eq!(complaints.admit(start + 2 * PERIOD), Some(1000 - u64::from(LINES_MAX)));
    }
}
