//! The AWS host.
fn main() {}
