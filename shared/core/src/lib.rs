//! The domain of Bond: market-data events, streams, topics and positions, the client protocol, and the ports to the outside.
//!
//! No I/O, no clock, no runtime: time, randomness and ids come in as values.

pub mod assets;
pub mod code;
pub mod control;
pub mod decimal;
pub mod event;
pub mod feed;
pub mod instrument;
pub mod log;
pub mod memory;
pub mod message;
pub mod meter;
pub mod position;
pub mod source;
pub mod spec;
pub mod store;
#[cfg(any(test, feature = "suites"))]
pub mod suites;
pub mod time;
pub mod topic;
