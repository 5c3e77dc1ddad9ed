//! The WebSocket API at `/{stage}`.

mod connect;
mod connection;
mod event;
mod pace;
mod proxy;
mod registry;
mod route;
mod session;
pub(crate) mod template;

pub(crate) use connect::handle as connect;
pub(crate) use connection::{Closing, Connection, PushError};
pub(crate) use event::request_time;
pub(crate) use registry::Connections;

/// The largest message in either direction: 128 KB (API Gateway quotas, WebSocket APIs, read 2026-11).
pub(crate) const MESSAGE_BYTES: usize = 128 * 1024;
/// The largest frame in either direction: 32 KB (API Gateway quotas, WebSocket APIs, read 2026-11).
pub(crate) const FRAME_BYTES: usize = 32 * 1024;
/// How long a connection may go without a message: 10 minutes (API Gateway quotas, WebSocket APIs, read 2026-11).
const IDLE_MS: u64 = 10 * 60 * 1000;
/// How long a connection lasts at most: 2 hours (API Gateway quotas, WebSocket APIs, read 2026-11).
const LIFETIME_MS: u64 = 2 * 60 * 60 * 1000;
/// How long an integration may take: 29 s (API Gateway quotas, WebSocket APIs, read 2026-11).
const INTEGRATION: std::time::Duration = std::time::Duration::from_secs(29);
