//! Real processes of the real binary. One integration binary; a module for each theme.

mod attacks;
mod cluster;
mod damage;
mod http;
mod limits;
mod log_dirs;
mod node;
mod nodes;
mod replaced;
mod stop;
mod words;
mod wrong_use;
