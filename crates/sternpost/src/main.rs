//! The one binary: words in, work out.
fn main() {}
