//! What the fan-out function does under load.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::Cloud;
use serde_json::Value;
use tokio::time::sleep;

use super::clients::Clients;
use super::{TICKS, figure};
use crate::process::{children, cpu_seconds, machine_cpu_seconds};

/// Until every lane has its process and the clients' queues are as long as they become.
const WARM_UP: Duration = Duration::from_secs(3);

/// Who listens.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    /// Connections to one stream.
    pub connections: usize,
    /// The most events that they take in a frame; `None`: one event a frame.
    pub batch: Option<usize>,
}

/// What was done in a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its length in seconds.
    pub seconds: f64,
    /// Posts that the gateway accepted.
    pub posts: f64,
    /// Events in them.
    pub events: f64,
    /// Times that a client was told of events left out.
    pub gaps: u64,
    /// Processes of the fan-out function.
    pub processes: usize,
    /// Their processor seconds.
    pub fanout: f64,
    /// Processor seconds of the gateway.
    pub gateway: f64,
    /// Processor seconds of ingest with the relay.
    pub ingest: f64,
    /// Processor seconds of all else on the machine, the clients here among it.
    pub rest: f64,
}

impl Work {
    /// Posts per second of a processor that does nothing but the fan-out function.
    pub fn posts_per_cpu_second(&self) -> f64 {
        self.posts / self.fanout
    }

    /// Events per frame.
    pub fn events_per_frame(&self) -> f64 {
        self.events / self.posts
    }
}

/// Totals at one moment.
struct Reading {
    at: Instant,
    posts: f64,
    events: u64,
    gaps: u64,
    fanout: f64,
    gateway: f64,
    ingest: f64,
    machine: f64,
}

/// Measures for so long with this audience.
///
/// # Errors
/// The stream or a connection is refused, or one is lost.
pub async fn measure(cloud: &Cloud, audience: Audience, duration: Duration) -> Result<Work> {
    let mut clients =
        Clients::open(&url(&cloud.api.stream(TICKS).await?, audience), audience.connections).await?;
    sleep(WARM_UP).await;
    let before = Reading::take(cloud, &clients).await?;
    sleep(duration).await;
    let after = Reading::take(cloud, &clients).await?;
    let open = clients.open_now();
    ensure!(open == audience.connections, "{open} of {} connections are left", audience.connections);
    clients.close(cloud).await?;
    Ok(before.until(&after, fanout_processes(cloud)?.len()))
}

fn url(created: &Value, audience: Audience) -> String {
    ws_url(created, &audience.batch.map(|size| format!("&batch={size}")).unwrap_or_default())
}

fn fanout_processes(cloud: &Cloud) -> Result<Vec<u32>> {
    children(cloud.gateway.process.pid(), "fanout")
}

impl Reading {
    async fn take(cloud: &Cloud, clients: &Clients) -> Result<Self> {
        let stats = cloud.gateway.stats().await?;
        let of_all = |pids: Vec<u32>| pids.into_iter().map(cpu_seconds).sum::<Result<f64>>();
        Ok(Self {
            at: Instant::now(),
            posts: figure(&stats, "/posts/accepted")?,
            events: clients.events(),
            gaps: clients.gaps(),
            fanout: of_all(fanout_processes(cloud)?)?,
            gateway: cpu_seconds(cloud.gateway.process.pid())?,
            ingest: of_all(cloud.ingest.iter().map(|process| process.pid()).collect())?,
            machine: machine_cpu_seconds()?,
        })
    }

    fn until(&self, later: &Self, processes: usize) -> Work {
        let (fanout, gateway) = (later.fanout - self.fanout, later.gateway - self.gateway);
        let ingest = later.ingest - self.ingest;
        Work {
            seconds: later.at.duration_since(self.at).as_secs_f64(),
            posts: later.posts - self.posts,
            events: (later.events - self.events) as f64,
            gaps: later.gaps - self.gaps,
            processes,
            fanout,
            gateway,
            ingest,
            rest: later.machine - self.machine - fanout - gateway - ingest,
        }
    }
}
