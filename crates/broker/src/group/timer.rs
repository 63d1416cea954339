//! The leader's alarms. Each alarm rings once, at the last time it was set to; equal times ring in the order of names,
//! so that a replay rings the same way.

use model::Mono;
use std::collections::{BTreeMap, BTreeSet};

/// What rings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// The join phase of a group has lasted long enough (its id).
    Join(String),
    /// Members of a group had time enough to sync (its id).
    Sync(String),
    /// A member, or a member id handed out, was silent too long (group id, member id).
    Session(String, String),
    /// Time to look for expired offsets.
    Expiry,
}

/// Pending alarms by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Mono, Alarm)>,
    at: BTreeMap<Alarm, Mono>,
}

impl Timers {
    /// Sets an alarm, or sets it anew.
    pub(super) fn set(&mut self, alarm: Alarm, at: Mono) {
        if let Some(before) = self.at.insert(alarm.clone(), at) {
            self.queue.remove(&(before, alarm.clone()));
        }
        self.queue.insert((at, alarm));
    }

    /// Takes an alarm back; without effect when it is not set.
    pub(super) fn clear(&mut self, alarm: Alarm) {
        if let Some(at) = self.at.remove(&alarm) {
            self.queue.remove(&(at, alarm));
        }
    }

    /// Earliest alarm.
    pub(super) fn next(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first alarm that is due.
    pub(super) fn pop(&mut self, now: Mono) -> Option<Alarm> {
        if self.next()? > now {
            return None;
        }
        let (_, alarm) = self.queue.pop_first()?;
        self.at.remove(&alarm);
        Some(alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_once_at_the_last_time_set() {
        let mut timers = Timers::default();
        timers.set(Alarm::Join("a".into()), Mono(5));
        timers.set(Alarm::Join("a".into()), Mono(9));
        timers.set(Alarm::Sync("a".into()), Mono(7));
        timers.set(Alarm::Expiry, Mono(6));
        timers.clear(Alarm::Expiry);
        timers.clear(Alarm::Session("a".into(), "m".into()));
        assert_eq!(timers.pop(Mono(6)), None);
        assert_eq!(timers.pop(Mono(10)), Some(Alarm::Sync("a".into())));
        assert_eq!(timers.next(), Some(Mono(9)));
        assert_eq!(timers.pop(Mono(10)), Some(Alarm::Join("a".into())));
        assert_eq!(timers.pop(Mono(10)), None);
    }
}
