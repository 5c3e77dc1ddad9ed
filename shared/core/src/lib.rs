//! The domain of Bond: market-data events, streams, topics and positions, the client protocol, and the ports to the outside.
//!
//! No I/O, no clock, no runtime: time, randomness and ids come in as values. The feature `clock` adds the adapter of the port
//! [`Clock`](time::Clock) that reads the system's, for what runs as a process.

pub mod api_key;
pub mod backoff;
#[cfg(feature = "clock")]
pub mod clock;
pub mod code;
pub mod connection;
pub mod control;
pub mod cursors;
pub mod decimal;
pub mod dedupe;
pub mod deliver;
pub mod emf;
pub mod event;
pub mod event_clock;
pub mod feed;
pub mod grants;
pub mod instrument;
pub mod key_source;
pub mod lease;
pub mod log;
pub mod memory;
pub mod message;
pub mod meter;
pub mod order;
pub mod position;
pub mod publish;
pub mod revocation;
pub mod secret;
pub mod settings;
pub mod share;
pub mod source;
pub mod spec;
pub mod store;
#[cfg(any(test, feature = "suites"))]
pub mod suites;
pub mod time;
pub mod token;
pub mod topic;
pub mod vitals;
pub mod window;
pub mod wire;
