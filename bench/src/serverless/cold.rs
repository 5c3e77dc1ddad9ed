//! Cold starts: from a function's process being started to its first answer.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::Cloud;
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{FUNCTIONS, TICKS, figure};
use crate::process::children;

const PATIENCE: Duration = Duration::from_secs(10);

/// The cold starts of one function, in milliseconds.
#[derive(Clone, Debug)]
pub struct ColdStarts {
    /// The function.
    pub function: &'static str,
    /// Each start's time.
    pub ms: Vec<f64>,
}

/// Starts every function so often, one at a time.
///
/// # Errors
/// A function does not answer.
pub async fn measure(cloud: &Cloud, rounds: usize) -> Result<Vec<ColdStarts>> {
    let created = cloud.api.stream(TICKS).await?;
    let mut all = FUNCTIONS.map(|function| ColdStarts { function, ms: Vec::new() });
    for _ in 0..rounds {
        let before = freeze(cloud).await?;
        visit(cloud, &created, &before).await?;
        let after = cloud.gateway.stats().await?;
        for starts in &mut all {
            starts.ms.push(took(&before, &after, starts.function)?);
        }
    }
    Ok(all.into())
}

/// Ends every function's processes, and gives the statistics once none runs.
async fn freeze(cloud: &Cloud) -> Result<Value> {
    for function in FUNCTIONS {
        for pid in children(cloud.gateway.process.pid(), function)? {
            let ended = Command::new("kill").arg("-KILL").arg(pid.to_string()).status()?;
            ensure!(ended.success(), "process {pid} cannot be ended");
        }
    }
    let idle = |stats: &Value| FUNCTIONS.iter().all(|name| stats["functions"][name]["environments"] == 0);
    until(cloud, "functions without processes", idle).await
}

/// A client's visit, which needs one function after another.
async fn visit(cloud: &Cloud, created: &Value, before: &Value) -> Result<()> {
    cloud.api.get("/health").await?;
    answered(cloud, before, "api").await?;
    let mut socket = Socket::open(&ws_url(created, "")).await?;
    answered(cloud, before, "ws_connect").await?;
    answered(cloud, before, "fanout").await?;
    socket.send(&json!({"type": "get_status"})).await?;
    answered(cloud, before, "ws_message").await?;
    socket.close().await?;
    answered(cloud, before, "ws_disconnect").await
}

async fn answered(cloud: &Cloud, before: &Value, function: &str) -> Result<()> {
    let pointer = format!("/functions/{function}/first_answer_ms/count");
    let is_answered = |stats: &Value| {
        stats.pointer(&pointer).and_then(Value::as_u64) > before.pointer(&pointer).and_then(Value::as_u64)
    };
    until(cloud, function, is_answered).await.map(drop)
}

async fn until(cloud: &Cloud, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let stats = cloud.gateway.stats().await?;
        if is_so(&stats) {
            return Ok(stats);
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(anyhow::anyhow!("waited in vain")).context(what.to_owned())
}

/// Milliseconds per start between two readings.
fn took(before: &Value, after: &Value, function: &str) -> Result<f64> {
    let grown = |member: &str| -> Result<f64> {
        let pointer = format!("/functions/{function}/first_answer_ms/{member}");
        Ok(figure(after, &pointer)? - figure(before, &pointer)?)
    };
    Ok(grown("total")? / grown("count")?)
}
