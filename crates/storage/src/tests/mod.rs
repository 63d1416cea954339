//! Tests of the whole room over a disk in memory. The large swarm is the simulator's; these prove the basics.

mod history;
mod memory;
