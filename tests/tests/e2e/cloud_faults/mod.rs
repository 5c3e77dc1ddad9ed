//! What goes wrong in the serverless shape: clients are left without an event only where a gap says so, and go on.

mod clients;
mod connections;
mod posts;
mod processes;

use anyhow::{Context, Result};
use serde_json::Value;

/// A number within what the gateway has counted.
fn counted(stats: &Value, pointer: &str) -> Result<u64> {
    stats.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {stats}"))
}
