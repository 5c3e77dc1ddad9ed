//! Nobody else notices: attacks on a running server, each beside a client that did nothing.
//!
//! For each attack the latency of the victim's events, the memory and descriptors of the server, and how long `/health` and a new
//! client wait are measured before it, while it lasts and after it; the figures are printed, and held against bounds that only a server
//! with bounds keeps.

mod attacks;
mod broker;
mod gateway;
mod harness;
mod raw;
mod site;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::api::Api;
use bond_e2e::process::{Bond, binary, fresh_dir};
use bond_e2e::redis::{Redis, Reply};
use tokio::process::Command;

use harness::{Bound, withstands};
use site::{Site, trades};

const SECRET: &str = "a-secret-of-the-hostile-tests-of-enough-bytes";

/// Makes a key of `owner` in this data directory.
async fn key(dir: &std::path::Path, owner: &str) -> Result<String> {
    let made =
        Command::new(binary()).args(["key", "new", "--owner", owner, "--data-dir"]).arg(dir).output().await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

fn site(name: &'static str, bond: &Bond, alice: &str, mallory: &str) -> Result<Site> {
    let api = Api::open(bond.rest.clone())?;
    Ok(Site {
        name,
        mallory: api.clone().with_key(mallory),
        alice: api.with_key(alice),
        ws: bond.ws.trim_start_matches("ws://").parse().context("an address")?,
        feed: "/stream?control=true".to_owned(),
        wish: Some(trades()),
        refusing: "/ws/0123456789abcdef?token=bad".to_owned(),
        pids: vec![bond.pid()],
        is_behind_platform: false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_withstands_it_all() -> Result<()> {
    let dir = fresh_dir("hostile")?;
    let (alice, mallory) = (key(&dir, "alice").await?, key(&dir, "mallory").await?);
    let bond = Bond::up_in(dir, &["--sim-rate", "50"], &[("BOND_SECRET", SECRET)]).await?;
    let site = site("bond up", &bond, &alice, &mallory)?;
    everything(&site).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_beside_others_on_redis_withstands_what_reaches_them() -> Result<()> {
    let redis = Redis::start_with(&["--maxmemory", "120mb", "--maxmemory-policy", "noeviction"]).await?;
    let settings = [("BOND_SECRET", SECRET)];
    let (dirs, url) = ([fresh_dir("leading")?, fresh_dir("beside")?], redis.url());
    let (alice, mallory) = (key(&dirs[0], "alice").await?, key(&dirs[0], "mallory").await?);
    std::fs::copy(dirs[0].join("keys.json"), dirs[1].join("keys.json"))?;
    let [leading, beside] = dirs;
    let up = Bond::up_in(leading, &["--redis", &url, "--sim-rate", "50"], &settings).await?;
    let edge = Bond::edge_in(beside, &url, &settings).await?;
    edge.is_ready().await?;
    let mut site = site("bond edge", &edge, &alice, &mallory)?;
    site.pids.extend([up.pid(), redis.pid()]);
    let bound = Bound::default();
    withstands(&site, "handshakes reset", bound, attacks::resets(&site)).await?;
    withstands(&site, "unlisted instruments", Bound { p99_ms: 4_000, ..bound }, attacks::unlisted(&site))
        .await?;
    withstands(&site, "commands", bound, attacks::commands(&site)).await?;
    withstands(&site, "pings", bound, attacks::pings(&site)).await?;
    let kept = redis.connect().await?.command(&["MEMORY", "USAGE", "bond:control"]).await?;
    let Reply::Text(bytes) = kept else { bail!("{kept:?}") };
    ensure!(bytes.parse::<u64>()? < 10_000_000, "commands take {bytes} bytes");
    Ok(())
}

/// Every attack on a dedicated edge.
async fn everything(site: &Site) -> Result<()> {
    let bound = Bound::default();
    // A debug build takes that long to begin 20,000 subscriptions, of 24,000 that are asked for at once; and to read the hundred megabytes
    // until all who flood with long messages are sent away.
    let busy = Bound { p99_ms: 4_000, ..bound };
    // All places of the server are taken until the first of them have had their time.
    let crowded = Bound { wait: Duration::from_secs(15), ..bound };
    let outcomes = [
        withstands(site, "handshakes reset", bound, attacks::resets(site)).await,
        withstands(site, "answers unread", crowded, attacks::unread_answers(site)).await,
        withstands(site, "unlisted instruments", busy, attacks::unlisted(site)).await,
        withstands(site, "commands", bound, attacks::commands(site)).await,
        withstands(site, "costly specs", bound, attacks::compiles(site)).await,
        withstands(site, "errors unread", bound, attacks::unread_errors(site)).await,
        withstands(site, "messages unfinished", bound, attacks::unfinished(site)).await,
        withstands(site, "pings", bound, attacks::pings(site)).await,
        withstands(site, "empty fragments", bound, attacks::empty_fragments(site)).await,
        withstands(site, "short texts", bound, attacks::short_texts(site)).await,
        withstands(site, "long texts", busy, attacks::long_texts(site)).await,
        withstands(site, "requests refused", bound, attacks::refused_requests(site)).await,
        withstands(site, "connections hoarded", bound, attacks::hoard(site, 1_000)).await,
    ];
    all(outcomes)
}

/// Fails with everything that has failed.
fn all(outcomes: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let failed: Vec<String> =
        outcomes.into_iter().filter_map(|o| o.err().map(|e| format!("{e:#}"))).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
