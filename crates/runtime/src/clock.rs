//! The real clocks, read by the driver and handed to the core with every event.

use model::{Mono, Now, WallMs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Both clocks of this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { start: Instant::now() }
    }
}

impl Clock {
    /// This moment.
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A clock before 1970 is wrong, not impossible.
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Now { mono: Mono(mono), wall: WallMs(wall) }
    }

    /// When `at` comes, as the system's clock counts.
    pub fn instant(&self, at: Mono) -> Option<Instant> {
        self.start.checked_add(Duration::from_nanos(at.0))
    }
}
