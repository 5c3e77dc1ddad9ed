//! The serverless shape: ingest and a dedicated edge end as others do, and clients of both go on without a hole.

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::{Cloud, Options};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::process::Process;
use bond_e2e::socket::Socket;
use serde_json::Value;

use super::ends::reader;
use super::{ends_by, goes_on, is_sent_away, runs_all, table};

const INGEST: &str = "cloud ingest";
const EDGE: &str = "cloud edge";

/// A client behind the gateway. Its connection stays open whatever becomes of ingest.
struct Client {
    socket: Socket,
    numbers: Numbers,
}

impl Client {
    async fn open(created: &Value) -> Result<Self> {
        Ok(Self { socket: Socket::open(&ws_url(created, "")).await?, numbers: Numbers::default() })
    }

    /// Reads `count` new events. What was taken already may come again.
    async fn reads(&mut self, count: u64) -> Result<()> {
        let until = self.numbers.last + count;
        while self.numbers.last < until {
            let head = Head::read(&self.socket.text().await?)?;
            if head.is_event() {
                self.numbers.take_once(&head)?;
            }
        }
        Ok(())
    }
}

async fn started() -> Result<(Cloud, Value, Client)> {
    let cloud = Cloud::start(Options { rate: 50, is_planted: true, ..Options::default() }).await?;
    let created = cloud.api.stream("BTC trades tick by tick").await?;
    let mut client = Client::open(&created).await?;
    client.reads(1).await?;
    Ok((cloud, created, client))
}

fn newest(cloud: &mut Cloud) -> Result<&mut Process> {
    cloud.ingest.last_mut().context("no ingest")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_ingest_ends_it_and_its_successor_goes_on_without_a_hole() -> Result<()> {
    let (mut cloud, _, mut client) = started().await?;
    for part in table::watched(INGEST)? {
        runs_all(newest(&mut cloud)?, INGEST).await?;
        ends_by(newest(&mut cloud)?, INGEST, &part).await?;
        cloud.add_ingest().await?;
        client.reads(50).await.with_context(|| format!("after {part}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_what_a_lane_owns_ends_ingest_or_is_waited_out() -> Result<()> {
    let (mut cloud, _, mut client) = started().await?;
    let ingest = newest(&mut cloud)?;
    ingest.plant("invocation")?;
    ingest.panicked().await?;
    client.reads(50).await.context("after an invocation")?;
    let ended = newest(&mut cloud)?.panic_in("chore", "/ready").await?;
    ensure!(ended.code == Some(1), "{ended:?}");
    cloud.add_ingest().await?;
    client.reads(50).await.context("after a chore")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_a_dedicated_edge_ends_it_and_clients_resume() -> Result<()> {
    let (cloud, created, _) = started().await?;
    for part in table::watched(EDGE)? {
        let mut edge = cloud.edge().await?;
        runs_all(&edge.process, EDGE).await?;
        let (mut socket, mut numbers) = reader(&edge.ws, &created).await?;
        ends_by(&mut edge.process, EDGE, &part).await?;
        is_sent_away(&mut socket, &mut numbers).await?;
        let next = cloud.edge().await?;
        goes_on(&next.ws, &created, &numbers).await.with_context(|| format!("after {part}"))?;
    }
    Ok(())
}
