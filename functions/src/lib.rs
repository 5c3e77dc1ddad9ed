//! The functions of the serverless edge: REST and the WebSocket routes of API Gateway, and the fan-out.
//!
//! None of them sends history. The WebSocket routes store each connection with what it wants, including the position or time at which it
//! begins, and notify the relay. The relay delivers through [`fanout`].

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
