//! A strict simulator.
fn main() {}
