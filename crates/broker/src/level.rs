//! Protocol levels: what nodes of different versions of Sternpost may say to each other and write into the logs they share. A level is
//! a number that names a set of messages and commands; a version of Sternpost knows all levels from `OLDEST` to `NEWEST`.
//!
//! - Over a connection the two nodes speak the highest level that both know (`common`).
//! - What goes into the logs is bound by the cluster's level, which stands in the catalogue. The controller raises it when every node
//!   knows more, so that no node meets an entry that it cannot read. It never falls: whoever knows less is refused from then on.
//!
//! | level | what it adds |
//! |---|---|
//! | 1 | everything before levels were counted |
//! | 2 | beats tell for which shards a node knows no leader, what a commit takes its disk, and its own newest level; voters lend entries to candidates |
//! | 3 | disks have ids, wait, and are named |

/// A protocol level.
pub type Level = u16;

/// The lowest level that this version can still speak.
pub const OLDEST: Level = 1;
/// The highest level that this version knows.
pub const NEWEST: Level = 3;
/// From here on the catalogue names the disks that take part.
pub const DISKS_NAMED: Level = 3;

/// Levels that a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Levels {
    /// The lowest.
    pub oldest: Level,
    /// The highest.
    pub newest: Level,
}

impl Levels {
    /// Those of this version, up to what a setting allows.
    pub fn up_to(newest: Level) -> Levels {
        Levels { oldest: OLDEST, newest: newest.clamp(OLDEST, NEWEST) }
    }

    /// The level of a connection between two nodes; `None` when they share none.
    pub fn common(self, other: Levels) -> Option<Level> {
        let level = self.newest.min(other.newest);
        (level >= self.oldest.max(other.oldest)).then_some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_speak_the_highest_level_that_both_know() {
        let levels = |oldest, newest| Levels { oldest, newest };
        assert_eq!(levels(1, 2).common(levels(1, 1)), Some(1));
        assert_eq!(levels(1, 4).common(levels(3, 7)), Some(4));
        assert_eq!(levels(1, 2).common(levels(3, 4)), None);
        assert_eq!(levels(3, 4).common(levels(1, 2)), None);
        assert_eq!(Levels::up_to(1), levels(OLDEST, 1));
        assert_eq!(Levels::up_to(0), levels(OLDEST, OLDEST));
        assert_eq!(Levels::up_to(99), levels(OLDEST, NEWEST));
    }
}
