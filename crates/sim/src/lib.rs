//! The simulated drivers: virtual clock, disk, faults and workloads, all from one seed.
