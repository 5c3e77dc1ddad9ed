//! The dedicated edge: REST and WebSockets in one process.

pub mod server;
pub mod ws;
