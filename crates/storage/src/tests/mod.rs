//! Tests of the whole room over a disk in memory. The large swarm is the simulator's; these prove the basics.

mod claim;
mod damage;
mod full;
mod golden;
pub(crate) mod history;
mod memory;
mod mend;
mod real;
mod renew;
