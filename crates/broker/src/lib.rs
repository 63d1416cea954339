//! What a node decides. One synchronous state machine, `Node::step(now, event, effects)`: no thread, no clock, no file,
//! no socket. `kafka` turns client bytes into the requests of `request/`; effects name the storage jobs and the replies.

pub mod catalog;
mod command;
pub mod config;
pub mod disks;
pub mod event;
#[cfg(test)]
mod golden;
pub mod group;
pub mod level;
mod mutant;
mod node;
mod partition;
pub mod peer;
mod producer;
pub mod request;
#[cfg(test)]
mod sample;
mod shard;

pub use command::{Command, Descriptor, DescriptorError};
pub use event::{Effect, Event, LogLevel, Status};
pub use mutant::Mutant;
pub use node::{Node, NodeConfig};
pub use request::{Request, Response};
