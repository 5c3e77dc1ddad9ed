//! The dedicated edge: REST and WebSocket from local state, and the parts of the `bond` command.

pub mod auth;
pub mod keys;
pub mod problem;
pub mod rest;
pub mod store;
//! The dedicated edge: REST and WebSockets in one process.
pub mod server;
pub mod ws;
