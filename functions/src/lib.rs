//! The functions of the serverless edge: REST and the WebSocket routes of API Gateway, and the fan-out.
//!
//! None of them sends history. The WebSocket routes keep the connection and what it wants, each wish with the position or time it begins
//! at, and tell the relay, which delivers through [`fanout`].

pub mod adapters;
pub mod api;
pub mod config;
pub mod connect;
pub mod disconnect;
pub mod emf;
pub mod event;
pub mod fanout;
pub mod logging;
pub mod message;
pub mod secrets;
