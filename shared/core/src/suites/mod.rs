//! Behaviour suites of the ports: what every adapter must do, run by the tests of each.
//!
//! They panic with a message that names what was expected. They need a tokio runtime with a clock that runs; a runtime with
//! several threads also puts concurrency to the test.

#![expect(clippy::panic, reason = "a suite reports by panicking, as an assertion does")]

pub mod connection_store;
pub mod event_log;
pub mod stream_store;
