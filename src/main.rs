//! Stria.
fn main() {}
