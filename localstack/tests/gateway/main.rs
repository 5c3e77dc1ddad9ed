//! The simulator from outside: its program, a function on AWS's own runtime, and a real WebSocket client.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod faults;
mod http_api;
mod lambda;
mod management;
mod support;
mod websocket;
