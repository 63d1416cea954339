//! A connection under honest and under hostile bytes.

mod fetch_sessions;
mod hostile;
