//! Scenarios rule by rule (`membership`, `statics`, `offsets`, `proposals`) and a random model (`model`).

mod client;
mod judge;
mod membership;
mod model;
mod offsets;
mod proposals;
mod statics;
mod world;
