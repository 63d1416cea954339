//! A world for storage alone: random histories of jobs against the WAL and the segments over the simulated disk, with
//! crashes of both kinds at any call (of a job or of a recovery), failing and full devices, and rotten bits. After
//! each recovery everything that was acknowledged is owed (`oracle.rs`, `check.rs`). A quarter of the lives is quiet.

mod check;
mod engine;
mod oracle;
mod sample;
#[cfg(test)]
mod tests;
mod workload;

use crate::counters::Counters;
use crate::dice::Dice;
use crate::disk::{Crash, DiskFaults, Harm, SimDisk};
use crate::outcome::{Failure, Outcome};
use check::{Segments, Stop};
use engine::{Engine, EngineSizes, OpenError};
use model::{ShardId, TopicId};
use oracle::{Oracle, ShardOracle};
use storage::Mutant;

/// Jobs that each seed completes at least.
pub const JOBS_MIN: u64 = 150;
/// Lives after which a seed ends though it has not done its jobs.
const LIVES_MAX: u32 = 400;
/// A disk with room for everything a seed writes.
const ROOMY: u64 = 1 << 30;
/// Recoveries that may fail in a row before the disk becomes honest.
const FAILED_STARTS_MAX: u32 = 6;

/// Counters that a run over many seeds must have seen.
pub const DEMANDED: &[&str] = &[
    "disk: name change lost",
    "disk: no space",
    "disk: power cut at a change of names",
    "disk: power cut at a look",
    "disk: power cut with unsynced bytes",
    "disk: power cut within a sync",
    "disk: power cut within a write",
    "disk: process crash at a change of names",
    "disk: process crash at a look",
    "disk: process crash within a sync",
    "disk: process crash within a write",
    "disk: read error",
    "disk: sector garbled",
    "disk: sector shorn",
    "disk: short write",
    "disk: slow call",
    "disk: stalled call",
    "disk: sync error",
    "disk: unsynced name change kept",
    "disk: unsynced sector kept",
    "disk: unsynced sector lost",
    "disk: write error",
    "disk: durable bit rotten",
    "job: append",
    "job: append of votes only",
    "job: append that truncates",
    "job: checkpoint",
    "job: clean checkpoint",
    "job: lookup",
    "job: marker",
    "job: no space",
    "job: read",
    "job: recycle",
    "partition: dropped",
    "partition: trimmed",
    "premise: acknowledged entries recovered",
    "premise: acknowledged votes recovered",
    "premise: batches read back",
    "premise: lookups compared",
    "recovery: after a clean shutdown",
    "recovery: checkpoint as acknowledged",
    "recovery: crashed",
    "recovery: device failed",
    "recovery: no space",
    "recovery: unanswered append found",
    "recovery: unanswered append gone",
    "recovery: unanswered checkpoint found",
    "rot: all intact",
    "rot: damage reported at the start",
    "read: damage reported",
];

/// Which faults a seed has.
struct Swarm {
    faults: DiskFaults,
    crash: bool,
    power: bool,
    crash_in_recovery: bool,
    full: bool,
    rot: bool,
    calls_to_crash_max: u64,
    sizes: EngineSizes,
    roll: (u64, u64),
}

impl Swarm {
    fn roll(dice: &mut Dice) -> Swarm {
        let mut rate = |most: u64| if dice.coin() { dice.between(1, most) as u32 } else { 0 };
        let faults = DiskFaults {
            sync_error: rate(200),
            write_error: rate(100),
            read_error: rate(30),
            stall: rate(20),
            slowness: rate(50),
        };
        Swarm {
            faults,
            crash: dice.below(8) > 0,
            power: dice.below(8) > 0,
            crash_in_recovery: dice.coin(),
            full: dice.below(3) == 0,
            rot: dice.below(3) == 0,
            calls_to_crash_max: dice.skewed(8, 400),
            sizes: EngineSizes {
                first_file_bytes: 4096 * dice.between(2, 8),
                file_bytes: 4096 * dice.between(4, 24),
                spare_bytes_max: 4096 * dice.between(0, 64),
            },
            roll: (dice.skewed(500, 20_000), dice.skewed(10, 100_000)),
        }
    }
}

/// The world of one seed.
struct World {
    dice: Dice,
    disk: SimDisk,
    swarm: Swarm,
    oracle: Oracle,
    segments: Segments,
    counters: Counters,
    mutant: Option<Mutant>,
    jobs: u64,
    failed_starts: u32,
    clock_ms: i64,
    clean: bool,
}

/// Runs one seed.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let mut dice = Dice::new(seed);
    let disk = SimDisk::new(dice.next(), ROOMY);
    let swarm = Swarm::roll(&mut dice);
    let mut oracle = Oracle::default();
    for shard in 0..dice.between(1, 4) as u32 {
        oracle.shards.insert(ShardId(shard), ShardOracle::default());
    }
    let mut world = World {
        dice,
        disk,
        swarm,
        oracle,
        segments: Segments::new(),
        counters: Counters::default(),
        mutant,
        jobs: 0,
        failed_starts: 0,
        clock_ms: 1_000,
        clean: false,
    };
    (0..6).for_each(|_| world.add_partition());
    let failure = world.live().err();
    let mut counters = world.counters;
    counters.merge(&world.disk.counters());
    Outcome {
        seed,
        trace_hash: world.disk.trace_hash(),
        operations: world.jobs,
        virtual_nanos: world.disk.take_elapsed().as_nanos() as u64,
        log: Vec::new(),
        counters,
        failure,
    }
}

impl World {
    fn add_partition(&mut self) {
        let mut topic = [0; 16];
        topic[..4].copy_from_slice(&(self.oracle.partitions.len() as u32 + 1).to_be_bytes());
        topic[8..].copy_from_slice(&self.dice.next().to_be_bytes());
        let shards: Vec<ShardId> = self.oracle.shards.keys().copied().collect();
        let shard = shards[self.dice.index(shards.len())];
        let id = model::PartitionId { topic: TopicId(topic), index: 0 };
        let partition =
            oracle::PartitionOracle { shard, batches: Vec::new(), flushed: 0, log_start: 0, dropped: false };
        self.oracle.partitions.insert(id, partition);
    }

    fn live(&mut self) -> Result<(), Failure> {
        let mut lives = 0;
        while self.jobs < JOBS_MIN && lives < LIVES_MAX {
            lives += 1;
            let quiet = self.dice.below(4) == 0;
            match self.one_life(quiet) {
                Ok(()) | Err(Stop::LifeOver) => self.end_life(quiet),
                Err(Stop::Broken(failure)) => return Err(failure),
            }
        }
        self.heal()?;
        if self.swarm.rot { self.rot() } else { Ok(()) }
    }

    fn one_life(&mut self, quiet: bool) -> Result<(), Stop> {
        let honest = quiet || self.failed_starts > FAILED_STARTS_MAX;
        self.disk.set_faults(if honest { DiskFaults::default() } else { self.swarm.faults });
        self.disk.set_capacity(ROOMY);
        if !honest && self.swarm.crash_in_recovery && self.dice.coin() {
            self.arm(60);
        }
        if !honest && self.swarm.full && self.dice.below(4) == 0 {
            let room = self.dice.skewed(0, 1 << 18);
            self.disk.set_capacity(self.disk.used() + room);
        }
        let engine = self.start(honest)?;
        self.failed_starts = 0;
        if !honest && self.swarm.crash {
            self.arm(self.swarm.calls_to_crash_max);
        }
        if self.dice.below(4) == 0 {
            check::read_back(&engine, &self.oracle, &self.segments, false, &mut self.counters)?;
        }
        for _ in 0..self.dice.skewed(4, 120) {
            if self.swarm.full && !honest && self.dice.below(12) == 0 {
                let room = self.dice.skewed(0, 1 << 17);
                self.disk.set_capacity(if self.dice.coin() { self.disk.used() + room } else { ROOMY });
            }
            self.job(&engine)?;
        }
        if self.dice.below(3) == 0 {
            self.shut_down(&engine)?;
        }
        Ok(())
    }

    fn arm(&mut self, calls_max: u64) {
        let calls = self.dice.skewed(1, calls_max);
        let kind = self.crash_kind();
        self.disk.crash_at_call(calls, kind);
    }

    fn crash_kind(&mut self) -> Crash {
        if self.swarm.power && self.dice.coin() { Crash::Power } else { Crash::Process }
    }

    fn end_life(&mut self, quiet: bool) {
        if self.disk.crashed().is_none() && !quiet {
            let kind = self.crash_kind();
            self.disk.crash(kind);
        }
        self.disk = self.disk.restart();
    }

    /// Opens storage and judges what it found.
    fn start(&mut self, honest: bool) -> Result<Engine, Stop> {
        let was_clean = std::mem::take(&mut self.clean);
        let (engine, found) = match Engine::open(&self.disk, self.swarm.sizes, self.mutant) {
            Ok(opened) => opened,
            Err(error) => {
                self.failed_starts += 1;
                self.counters.count(match (&error, self.disk.crashed()) {
                    (_, Some(_)) => "recovery: crashed",
                    (OpenError::NoSpace, _) => "recovery: no space",
                    _ => "recovery: device failed",
                });
                if honest {
                    return Err(
                        Failure::new("recovery succeeds on an honest disk", format!("{error:?}")).into()
                    );
                }
                return Err(Stop::LifeOver);
            }
        };
        if let Some(damage) = found.damage {
            return Err(Failure::new("no damage where none was done", damage).into());
        }
        if was_clean {
            self.counters.count("recovery: after a clean shutdown");
            if found.entries.iter().any(|(_, entries)| !entries.is_empty()) {
                return Err(
                    Failure::new("nothing follows a clean shutdown", format!("{:?}", found.notes)).into()
                );
            }
        }
        self.segments = check::recovered(&mut self.oracle, &found, &mut self.counters)?;
        Ok(engine)
    }

    /// Everything works again: all that is owed is there, and new work is done.
    fn heal(&mut self) -> Result<(), Failure> {
        self.disk.disarm();
        self.failed_starts = FAILED_STARTS_MAX + 1;
        let healed = |stop| match stop {
            Stop::Broken(failure) => failure,
            Stop::LifeOver => Failure::new("service after healing", "a job failed on an honest disk"),
        };
        self.disk.set_faults(DiskFaults::default());
        self.disk.set_capacity(ROOMY);
        let engine = self.start(true).map_err(healed)?;
        check::read_back(&engine, &self.oracle, &self.segments, false, &mut self.counters).map_err(healed)?;
        for _ in 0..20 {
            self.job(&engine).map_err(healed)?;
        }
        self.marker(&engine).map_err(healed)?;
        drop(engine);
        self.disk = self.disk.restart();
        Ok(())
    }

    /// One bit of durable bytes is flipped: storage serves everything whole, or says that it cannot.
    fn rot(&mut self) -> Result<(), Failure> {
        let directory = ["", "wal", "segments"][self.dice.index(3)];
        let Some(path) = self.disk.harm(Harm::Bit, directory, |_| true) else { return Ok(()) };
        self.oracle.rotten = true;
        let (engine, found) = match Engine::open(&self.disk, self.swarm.sizes, self.mutant) {
            Ok(opened) => opened,
            Err(_) => {
                self.counters.count("rot: refused to start");
                return Ok(());
            }
        };
        if found.damage.is_some() {
            self.counters.count("rot: damage reported at the start");
            return self.partly(&found);
        }
        let spoiled = |mut failure: Failure| {
            failure.detail = format!("bit rot in {path}, no damage reported: {}", failure.detail);
            failure
        };
        let segments = check::recovered(&mut self.oracle, &found, &mut self.counters).map_err(spoiled)?;
        match check::read_back(&engine, &self.oracle, &segments, true, &mut self.counters) {
            Ok(damaged) => {
                self.counters.count(if damaged {
                    "rot: damaged range not served"
                } else {
                    "rot: all intact"
                });
                Ok(())
            }
            Err(Stop::Broken(failure)) => Err(spoiled(failure)),
            Err(Stop::LifeOver) => {
                Err(Failure::new("service after healing", "a read failed on an honest disk"))
            }
        }
    }

    /// With damage reported, what is handed out may be too little, never something else.
    fn partly(&self, found: &model::job::Recovered) -> Result<(), Failure> {
        for (shard, entries) in &found.entries {
            // What a damaged commit replaced may stand there again.
            let ever = &self.oracle.shards[shard].ever;
            for entry in entries {
                if !ever.get(&entry.index).is_some_and(|known| known.contains(entry)) {
                    let detail = format!("shard {} index {} is not as acknowledged", shard.0, entry.index.0);
                    return Err(Failure::new("no phantom entry", detail));
                }
            }
        }
        Ok(())
    }
}
