//! Log lines that a client can cause, so that their number is limited: a flood of bad connections is told in a few lines.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let written = (0..1000).filter(|_| complaints.admit(start).is_some()).count();
        assert_eq!(written, LINES_MAX as usize);
        assert_eq!(complaints.admit(start + 2 * PERIOD), Some(1000 - u64::from(LINES_MAX)));
    }
}
