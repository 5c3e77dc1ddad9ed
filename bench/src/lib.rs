//! Benchmarks of Bond beside its peers: decoding of venue frames, fan-out to many WebSocket connections, and latency
//! from a venue's frame to the client's.

pub mod bond;
pub mod clock;
pub mod fleet;
pub mod frame;
pub mod host;
pub mod peers;
pub mod process;
pub mod server;
pub mod stats;
pub mod sweep;
pub mod table;
pub mod tally;
