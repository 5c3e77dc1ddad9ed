//! The Redis adapters against real servers, started by the tests and ended with them.

mod boards;
mod bounds;
mod cluster;
mod faults;
mod log;
mod published;
mod secured;
mod server;
mod store;
