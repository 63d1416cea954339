//! A row of the fault matrix: its script, and what is expected beside what the checkers judge.

use super::script::{Script, Step};
use super::watch::{Figures, Watch};
use crate::cluster::swarm::Swarm;
use crate::counters::Counters;
use crate::outcome::Failure;
use std::time::Duration;

/// What a row promises. Each of them can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No partition takes nothing for longer while a client waits for it, milliseconds.
    Gap(u64),
    /// Who leads in place of a leader in trouble says so within so many milliseconds.
    Takeover(u64),
    /// Somebody took over so often at least.
    Takeovers(u64),
    /// No shard's term rises: nobody is elected.
    NoRise,
    /// Terms rise so often at most, over all shards and rounds.
    Rises(u64),
    /// No process ends.
    NoDeath,
    /// So many processes end at least: the script met somebody.
    Deaths(u64),
    /// Something is acknowledged in each round.
    Progress,
    /// Between the last two counts as much is acknowledged in a second as between the first two, in percent at least.
    Goodput(u64),
    /// Over all seeds of a run this came up.
    Seen(&'static str),
}

/// How a row is shown.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub number: u32,
    pub title: &'static str,
    /// What clients have of the cluster meanwhile: A available, D degraded, U unavailable but safe.
    pub verdict: &'static str,
    pub nodes: usize,
    pub rounds: u64,
    pub round_millis: u64,
    /// How long a process is gone that died.
    pub down_millis: u64,
    pub steps: &'static [Step],
    pub expects: &'static [Expect],
    /// What the row wants and the node does not do yet, with what is expected instead.
    pub not_met: Option<&'static str>,
    /// What differs from the calm world.
    pub tune: fn(&mut Swarm),
}

impl Row {
    /// Three nodes, nothing expected: rows say what differs.
    pub const PLAIN: Row = Row {
        number: 0,
        title: "",
        verdict: "A",
        nodes: 3,
        rounds: 2,
        round_millis: 3_000,
        down_millis: 1_500,
        steps: &[],
        expects: &[],
        not_met: None,
        tune: |_| {},
    };

    /// Judges what was measured in one seed.
    pub(in crate::cluster) fn judge(&self, watch: &Watch, script: &Script) -> Result<(), Failure> {
        self.expects.iter().try_for_each(|expect| expect.judge(watch, script))
    }

    /// Whether the time of takeovers is a figure of this row.
    pub fn awaits_takeover(&self) -> bool {
        self.expects.iter().any(|expect| matches!(expect, Expect::Takeover(_)))
    }

    /// What never came up in all seeds, though the row is about it.
    pub fn missing(&self, counters: &Counters) -> Vec<&'static str> {
        let seen = self.expects.iter().filter_map(|expect| match expect {
            Expect::Seen(name) => Some(*name),
            _ => None,
        });
        seen.filter(|name| counters.get(name) == 0).collect()
    }
}

impl Expect {
    fn judge(self, watch: &Watch, script: &Script) -> Result<(), Failure> {
        let Figures { gap, takeover, takeovers, rises, .. } = watch.figures;
        let longer = |was: Duration, millis: u64, what: &str| match was > Duration::from_millis(millis) {
            true => Err(Failure::new(what, format!("{} ms, at most {millis} ms", was.as_millis()))),
            false => Ok(()),
        };
        let most = |was: u64, most: u64, what: &str| match was > most {
            true => Err(Failure::new(what, format!("{was}, at most {most}"))),
            false => Ok(()),
        };
        let least = |was: u64, least: u64, what: &str| match was < least {
            true => Err(Failure::new(what, format!("{was}, at least {least}"))),
            false => Ok(()),
        };
        match self {
            Expect::Gap(millis) => longer(gap, millis, "a partition takes records again"),
            Expect::Takeover(_) if watch.still_awaited().is_some() => {
                let detail = format!("no claim since {:?}", watch.still_awaited());
                Err(Failure::new("another node leads", detail))
            }
            Expect::Takeover(millis) => longer(takeover, millis, "another node leads"),
            Expect::Takeovers(count) => least(takeovers, count, "the trouble made another node lead"),
            Expect::NoRise => most(rises, 0, "nobody is elected"),
            Expect::Rises(count) => most(rises, count, "elections are few"),
            Expect::NoDeath => most(script.deaths, 0, "no process ends"),
            Expect::Deaths(count) => least(script.deaths, count, "the trouble ended processes"),
            Expect::Progress => match script.stuck {
                Some(round) => Err(Failure::new(
                    "something is acknowledged in each round",
                    format!("not in round {round}"),
                )),
                None => Ok(()),
            },
            Expect::Goodput(percent) => match script.goodput() {
                Some((before, after)) if after * 100.0 >= before * percent as f64 => Ok(()),
                goodput => Err(Failure::new(
                    "as much is acknowledged as before",
                    format!("before and after, in a second: {goodput:?}, at least {percent} %"),
                )),
            },
            Expect::Seen(_) => Ok(()),
        }
    }
}
