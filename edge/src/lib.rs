//! The dedicated edge: REST and WebSocket from local state, and the parts of the `bond` command.

pub mod alerts;
pub mod broker;
pub mod cli;
pub mod command;
pub mod config;
pub mod cost;
mod delivery;
pub mod failure;
pub mod host;
pub mod jwks;
pub mod logging;
mod network;
pub mod private;
pub mod prometheus;
pub mod ready;
pub mod relay;
pub mod server;
pub mod signal;
pub mod signing;
pub mod store;
mod upgrade;
pub mod venues;
pub mod ws;
