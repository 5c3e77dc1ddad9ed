//! The serverless shape: the functions behind `bond-gateway`, where every post takes 10 ms, with ingest, its relay and Redis as they
//! are deployed.

pub mod billing;
pub mod clients;
pub mod cold;
pub mod load;
pub mod sizes;

use anyhow::{Context, Result};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::{Cloud, Options};
use bond_e2e::socket::Socket;
use serde_json::Value;

/// The functions that are deployed.
pub const FUNCTIONS: [&str; 5] = ["api", "ws_connect", "ws_disconnect", "ws_message", "fanout"];

/// How long `@connections` takes for a post, in milliseconds.
pub const POST_MS: u64 = 10;

/// Every trade of one symbol.
pub const TICKS: &str = "BTC trades tick by tick";

/// Starts all of it over simulated venues of so many events a second each, and waits until a client gets events: without saved
/// positions, the relay first waits as long as a lease.
///
/// # Errors
/// A part does not start.
pub async fn start(rate: u32) -> Result<Cloud> {
    let cloud = Cloud::start(Options { rate, post_ms: POST_MS, ..Options::default() }).await?;
    let created = cloud.api.stream(TICKS).await?;
    let mut client = Socket::open(&ws_url(&created, "")).await?;
    client.head().await?;
    client.close().await?;
    clients::forgotten(&cloud).await?;
    Ok(cloud)
}

/// A figure in the gateway's statistics, by its JSON pointer.
fn figure(stats: &Value, pointer: &str) -> Result<f64> {
    stats
        .pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("no {pointer} in the gateway's stats"))
}
