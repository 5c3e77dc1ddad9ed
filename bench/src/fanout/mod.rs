//! One stream to many connections: a load generator, the servers it drives, and the search for their best load.

pub mod bond;
pub mod fleet;
pub mod host;
pub mod peers;
pub mod server;
pub mod sweep;
pub mod tally;
