//! The Redis adapters against real servers, started by the tests and ended with them.

mod boards;
mod bondx;
mod bounds;
mod cluster;
mod faults;
mod log;
mod published;
mod publishing;
mod secured;
mod server;
mod store;
mod user_limits;
