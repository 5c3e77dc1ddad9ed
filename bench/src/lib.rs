//! Benchmarks of Bond beside its peers: decoding of venue frames, fan-out to many WebSocket connections, and latency
//! from a venue's frame to the client's; and of the serverless shape, in figures of its own.

pub mod capture;
pub mod clock;
pub mod decode;
pub mod fanout;
pub mod frame;
pub mod latency;
pub mod process;
pub mod serverless;
pub mod stats;
pub mod table;
pub mod upgrade;
