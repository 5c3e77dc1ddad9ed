//! A strict simulator of what AWS puts around serverless functions: API Gateway's WebSocket and HTTP APIs, Lambda's Runtime API and
//! Invoke, and `@connections`, all on one port of one machine.
//!
//! It runs the real function binaries, and shares no type with the code it tests, so that a misread contract is not misread alike on
//! both sides. What it enforces and where that is documented stands in the module that enforces it. All of AWS's pages were read in
//! November 2026.
//!
//! **Not simulated**: IAM (a request must be signed in form; signatures are not verified), authorizers, CORS, VPC links, stage
//! throttling, retries of failed asynchronous invocations, response streaming, extensions, and functions frozen between invocations.

mod admin;
mod body;
mod clock;
pub mod config;
mod faults;
mod gateway;
mod http_api;
mod id;
mod lambda;
mod management;
mod sigv4;
mod stats;
mod throttle;
mod token_bucket;
mod websocket;

pub use gateway::{bind, serve};
