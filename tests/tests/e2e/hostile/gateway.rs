//! The functions behind the simulator of API Gateway under attack. The platform's limits are those that `iac` deploys.

use std::time::Duration;

use anyhow::{Context, Result};
use bond_e2e::gateway::{Cloud, Options};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::harness::{Bound, age, withstands};
use super::raw::{self, TEXT};
use super::site::{Site, trades};
use super::{all, attacks};

fn site(cloud: &Cloud) -> Result<Site> {
    let (address, stage) =
        cloud.ws.trim_start_matches("ws://").split_once('/').context("a stage in the URL")?;
    let mut pids = vec![cloud.gateway.process.pid(), cloud.redis.pid()];
    pids.extend(cloud.ingest.iter().map(bond_e2e::process::Process::pid));
    Ok(Site {
        name: "bond-gateway",
        mallory: cloud.api.clone(),
        alice: cloud.api.clone(),
        ws: address.parse().context("an address")?,
        feed: format!("/{stage}?mode=feed"),
        wish: Some(trades()),
        refusing: format!("/{stage}?stream=0123456789abcdef&token=bad"),
        pids,
        is_behind_platform: true,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_behind_a_gateway_withstand_it_all() -> Result<()> {
    let cloud = Cloud::start(Options { rate: 50, ..Options::default() }).await?;
    let site = site(&cloud)?;
    is_warm(&site).await?;
    // Newcomers share the platform's limits with the attackers, and wait until these have had theirs. Of each function twenty processes stay
    // warm at most, with a few descriptors each.
    let bound = Bound { wait: Duration::from_secs(12), kept: 400, ..Bound::default() };
    // Here functions share two cores with all the rest.
    let busy = Bound { p99_ms: 5_000, ..bound };
    all([
        withstands(&site, "handshakes reset", bound, attacks::resets(&site)).await,
        withstands(&site, "events unread", bound, unread_events(&site)).await,
        withstands(&site, "unlisted instruments", busy, attacks::unlisted(&site)).await,
        withstands(&site, "commands", bound, attacks::commands(&site)).await,
        withstands(&site, "costly specs", busy, attacks::compiles(&site)).await,
        withstands(&site, "pings", bound, attacks::pings(&site)).await,
        withstands(&site, "pings in text", busy, attacks::said_pings(&site)).await,
        withstands(&site, "empty fragments", bound, attacks::empty_fragments(&site)).await,
        withstands(&site, "short texts", busy, attacks::short_texts(&site)).await,
        withstands(&site, "requests refused", bound, attacks::refused_requests(&site)).await,
        withstands(&site, "connections hoarded", bound, attacks::hoard(&site, 200)).await,
    ])
}

/// Waits until events come as fast as they do later: the first ones wait for processes to start.
async fn is_warm(site: &Site) -> Result<()> {
    let mut socket = site.victim().await?;
    while age(&socket.text().await?)?.is_none_or(|age| age > 500) {}
    Ok(())
}

/// Clients that subscribe, and read nothing of it.
async fn unread_events(site: &Site) -> Result<String> {
    const CLIENTS: usize = 50;
    let wish = raw::frame(TEXT, true, trades().to_string().as_bytes());
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = raw::open_with(site.ws, &site.feed, site.mallory.key.as_deref(), 2_048).await?;
        socket.write_all(&wish).await?;
        held.push(socket);
    }
    sleep(Duration::from_secs(5)).await;
    Ok(format!("{} clients read nothing", held.len()))
}
