//! The weather of a world: every now and then it changes, and with it what the disks, the network and the hosts do wrong. A
//! quarter of the time is quiet. In the end everything is healed.

use super::net::CALM;
use super::{Happening, HostIndex, ROOMY, WALL_JUMP_MS_MAX, WALL_START_MS, World};
use crate::disk::{Crash, DiskFaults};
use checker::Event as Seen;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest time for which a process is stopped.
const PAUSE_MILLIS_MAX: u64 = 3_000;

impl World {
    pub(super) fn on_weather(&mut self) {
        if self.healed {
            return;
        }
        self.net.faults = self.swarm.net;
        let quiet = self.dice.below(4) == 0;
        for host in &mut self.hosts {
            host.disk.set_capacity(ROOMY);
            host.disk.set_faults(if quiet { DiskFaults::default() } else { self.swarm.disk });
        }
        if quiet {
            self.counters.count("world: quiet period");
            self.net.faults = CALM;
        }
        if self.hosts.len() > 1 {
            self.peers.delay_micros_max = if quiet { 200 } else { self.swarm.peer_delay_micros_max };
            self.peers.reset = if quiet { 0 } else { self.swarm.net.reset };
            if quiet || self.dice.below(3) == 0 {
                self.cut_ways(&BTreeSet::new());
            }
        }
        if !quiet {
            self.trouble();
        }
        let wait = Duration::from_millis(self.dice.skewed(5, self.swarm.weather_millis_max));
        self.queue.after(wait, Happening::Weather);
    }

    /// One of the troubles that this seed has.
    fn trouble(&mut self) {
        if self.hosts.len() > 1 && self.dice.coin() {
            return self.trouble_of_many();
        }
        let at = self.any_host();
        match self.dice.below(7) {
            6 => self.rot(),
            0 if self.swarm.crash => {
                let kind = self.crash_kind();
                self.counters.count(if kind == Crash::Power {
                    "world: power cut"
                } else {
                    "world: process killed"
                });
                self.kill(at, kind);
            }
            1 | 2 if self.swarm.crash => {
                let calls = self.dice.skewed(1, 120);
                let kind = self.crash_kind();
                self.hosts[at].disk.crash_at_call(calls, kind);
            }
            3 if self.swarm.full => {
                self.counters.count("world: disk full");
                let room = self.dice.skewed(0, 1 << 20);
                let disk = &self.hosts[at].disk;
                disk.set_capacity(disk.used() + room);
            }
            4 if self.swarm.clock_jumps => {
                self.counters.count("world: wall clock jumped");
                let to = self.dice.between(0, 2 * WALL_JUMP_MS_MAX) as i64 - WALL_JUMP_MS_MAX as i64;
                self.hosts[at].wall_offset_ms = WALL_START_MS + to;
            }
            5 if self.swarm.shutdowns => self.shut_down(at),
            _ => {}
        }
    }

    /// Troubles that only several nodes have.
    fn trouble_of_many(&mut self) {
        let at = self.any_host();
        match self.dice.below(8) {
            0 | 1 if self.swarm.pauses => self.pause(at),
            2 | 3 if self.swarm.cuts => {
                self.counters.count("world: node cut off");
                let others = (0..self.hosts.len()).filter(|other| *other != at);
                let cuts = others.flat_map(|other| [(at, other), (other, at)]).collect();
                self.cut_ways(&cuts);
            }
            4 if self.swarm.cuts => {
                self.counters.count("world: node cut off in one direction");
                let inward = self.dice.coin();
                let others = (0..self.hosts.len()).filter(|other| *other != at);
                let cuts = others.map(|other| if inward { (other, at) } else { (at, other) }).collect();
                self.cut_ways(&cuts);
            }
            5 if self.swarm.cuts => {
                // Each way by itself: chains, rings, and nodes that only one other reaches.
                self.counters.count("world: some ways cut");
                let mut cuts = BTreeSet::new();
                for from in 0..self.hosts.len() {
                    for to in (0..self.hosts.len()).filter(|to| *to != from) {
                        if self.dice.coin() {
                            cuts.insert((from, to));
                        }
                    }
                }
                self.cut_ways(&cuts);
            }
            6 if self.swarm.crash && self.swarm.power => {
                self.counters.count("world: power cut of all");
                (0..self.hosts.len()).for_each(|host| self.kill(host, Crash::Power));
            }
            7 if self.swarm.shutdowns => {
                self.counters.count("world: all told to stop");
                (0..self.hosts.len()).for_each(|host| self.shut_down(host));
            }
            _ => {}
        }
    }

    fn any_host(&mut self) -> HostIndex {
        if self.hosts.len() == 1 { 0 } else { self.dice.index(self.hosts.len()) }
    }

    pub(super) fn crash_kind(&mut self) -> Crash {
        if self.swarm.power && self.dice.coin() { Crash::Power } else { Crash::Process }
    }

    /// A host's process is gone; another one starts in a while.
    pub(super) fn kill(&mut self, at: HostIndex, kind: Crash) {
        let host = &self.hosts[at];
        if host.live.is_none() && host.starting.is_none() {
            return;
        }
        host.disk.crash(kind);
        self.on_death(at);
    }

    pub(super) fn on_death(&mut self, at: HostIndex) {
        let by_script = self.script.as_mut().map(|script| {
            script.deaths += 1;
            std::mem::take(&mut script.vanishes)
        });
        let is_silent = by_script.unwrap_or(self.hosts.len() > 1)
            && self.hosts[at].disk.crashed() == Some(Crash::Power)
            && !self.healed
            && (by_script.is_some() || self.dice.coin());
        let host = &mut self.hosts[at];
        (host.live, host.starting, host.is_stopped) = (None, None, false);
        host.held.clear();
        host.intake.forget();
        host.is_silent = is_silent;
        self.net.listens(at, false);
        if is_silent {
            self.counters.count("world: host lost in silence");
        } else {
            self.net.hang_up(at, &mut self.queue);
        }
        self.peer_died(at);
        let wait = match &self.script {
            Some(script) => Duration::from_millis(script.row.down_millis),
            None => Duration::from_micros(self.dice.skewed(100, self.swarm.down_micros_max)),
        };
        self.queue.after(wait, Happening::Start(at));
    }

    /// Whoever is still connected to a process that is gone hears of it.
    pub(super) fn hang_up(&mut self, at: HostIndex) {
        self.net.hang_up(at, &mut self.queue);
        self.peers_hang_up(at);
    }

    /// The process is stopped for a while, and everything waits for it.
    fn pause(&mut self, at: HostIndex) {
        if !self.hosts[at].runs() {
            return;
        }
        let wait = Duration::from_millis(self.dice.skewed(10, PAUSE_MILLIS_MAX));
        self.pause_for(at, wait);
    }

    pub(super) fn pause_for(&mut self, at: HostIndex, wait: Duration) {
        let host = &mut self.hosts[at];
        if !host.runs() {
            return;
        }
        self.counters.count("world: process paused");
        host.is_stopped = true;
        self.queue.after(wait, Happening::Resume(at, host.life));
    }

    pub(super) fn on_resume(&mut self, at: HostIndex, life: u64) {
        if self.hosts[at].life == life {
            self.resume(at);
        }
    }

    fn resume(&mut self, at: HostIndex) {
        self.hosts[at].is_stopped = false;
        self.go_on(at);
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.mend_all();
        (0..self.hosts.len()).for_each(|at| self.resume(at));
        self.bound_damage();
    }

    pub(super) fn saw_restart(&mut self) {
        self.history.push(Seen::Restarted);
    }
}
