//! What API Gateway would bill, by how long clients let events wait for others to share a frame.

use std::time::{Duration, Instant};

use anyhow::Result;
use bond_e2e::api::ws_url;
use bond_e2e::gateway::Cloud;
use tokio::time::sleep;

use super::clients::Clients;
use super::{TICKS, figure};

/// More events than come while one waits: how long it waits decides.
const BATCH: usize = 100;

/// Until every connection has its first frames behind it.
const WARM_UP: Duration = Duration::from_secs(3);

/// What was billed in a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Bill {
    /// Events per second and connection.
    pub rate: f64,
    /// Messages to clients, as billed, per million events.
    pub per_million: f64,
}

/// Counts what so many connections are billed for while events may wait so many milliseconds.
///
/// # Errors
/// The stream or a connection is refused.
pub async fn measure(cloud: &Cloud, connections: usize, wait_ms: u64, duration: Duration) -> Result<Bill> {
    let created = cloud.api.stream(TICKS).await?;
    let url = ws_url(&created, &format!("&batch={BATCH}&wait_ms={wait_ms}"));
    let clients = Clients::open(&url, connections).await?;
    sleep(WARM_UP).await;
    let begun = Instant::now();
    let before = (billed(cloud).await?, clients.events());
    sleep(duration).await;
    let (messages, events) = (billed(cloud).await? - before.0, (clients.events() - before.1) as f64);
    let rate = events / begun.elapsed().as_secs_f64() / connections as f64;
    clients.close(cloud).await?;
    Ok(Bill { rate, per_million: messages / events * 1e6 })
}

async fn billed(cloud: &Cloud) -> Result<f64> {
    figure(&cloud.gateway.stats().await?, "/sent/billed")
}
