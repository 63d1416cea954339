//! Simulated worlds: clock, network, disk, faults and workloads, all from a seed, around the same broker, consensus
//! and storage code that the real drivers run. One seed replays byte for byte.

pub mod cluster;
pub mod counters;
pub mod dice;
pub mod disk;
pub mod faults;
pub mod outcome;
pub mod quorum;
mod report;
pub mod run;
pub mod storage_world;
pub mod trace;
pub mod worlds;
