//! The serverless shape: the functions behind `bond-gateway`, where every post takes 10 ms, with ingest, its relay and Redis as they
//! are deployed.

pub mod billing;
pub mod clients;
pub mod cold;
pub mod load;
pub mod sizes;

use anyhow::{Context, Result};
use bond_e2e::gateway::{Cloud, Options};
use serde_json::Value;

/// The functions that are deployed.
pub const FUNCTIONS: [&str; 5] = ["api", "ws_connect", "ws_disconnect", "ws_message", "fanout"];

/// How long `@connections` takes for a post, in milliseconds.
pub const POST_MS: u64 = 10;

/// Every trade of one symbol.
pub const TICKS: &str = "BTC trades tick by tick";

/// Starts all of it over simulated venues of so many events a second each.
///
/// # Errors
/// A part does not start.
pub async fn start(rate: u32) -> Result<Cloud> {
    Cloud::start(Options { rate, post_ms: POST_MS, ..Options::default() }).await
}

/// A figure in the gateway's statistics, by its JSON pointer.
fn figure(stats: &Value, pointer: &str) -> Result<f64> {
    stats
        .pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("no {pointer} in the gateway's stats"))
}
