//! Judges a history of operations. Pure.
