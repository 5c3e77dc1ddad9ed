//! The simulator from outside: its program, a function on AWS's own runtime, and a real WebSocket client.

mod faults;
mod http_api;
mod lambda;
mod management;
mod support;
mod websocket;
