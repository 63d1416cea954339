//! Time as the core sees it: always an argument, never read. `Mono` orders events and drives timers; `WallMs`
//! stamps records and may jump in either direction.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Monotonic time in nanoseconds since an arbitrary start of the process (or of the simulated world).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The instant `after` this one; saturates.
    pub fn plus(self, after: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this instant, zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time in milliseconds since the Unix epoch, as Kafka's timestamps are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallMs(pub i64);

/// Both clocks of one moment, as a driver hands them to the core with every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: timers and time-outs.
    pub mono: Mono,
    /// Wall-clock time: timestamps and retention.
    pub wall: WallMs,
}
