//! What a node decides. One synchronous state machine, `Node::step(now, event, effects)`: no thread, no clock, no file,
//! no socket. `kafka` turns client bytes into the requests of `request/`; effects name the storage jobs and the replies.

pub mod config;
pub mod event;
pub mod group;
pub mod request;

pub use event::{Effect, Event, LogLevel, Status};
pub use request::{Request, Response};
