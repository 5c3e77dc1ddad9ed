//! The dedicated edge: REST and WebSocket from local state, and the parts of the `bond` command.

pub mod admission;
pub mod auth;
pub mod cli;
pub mod command;
pub mod config;
pub mod keys;
pub mod logging;
pub mod problem;
pub mod rest;
pub mod server;
pub mod signal;
pub mod store;
pub mod venues;
pub mod ws;
