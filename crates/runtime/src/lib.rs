//! The real drivers: listeners, disk threads, clock and shutdown.
