//! Chores of the repository: `cargo xtask test`, `cargo xtask generate`, `cargo xtask tidy`.
fn main() {}
