//! Who ends the process: each in turn, in each kind of process that serves clients itself.

use std::path::Path;

use anyhow::{Context, Result};
use bond_e2e::numbers::Numbers;
use bond_e2e::process::{Bond, Process, fresh_dir};
use bond_e2e::redis::Redis;
use bond_e2e::socket::Socket;
use serde_json::Value;

use super::{ends_by, goes_on, is_sent_away, runs_all, table};

const SENTENCE: &str = "BTC trades tick by tick";

/// For those that make none of their own, and so that tokens outlive the process.
const SECRET: (&str, &str) = ("BOND_SECRET", "0123456789abcdef0123456789abcdef");

/// A client of the process at `ws` that has read from a stream.
pub(super) async fn reader(ws: &str, created: &Value) -> Result<(Socket, Numbers)> {
    let (id, token) = (created["stream_id"].as_str(), created["token"].as_str());
    let query = format!("token={}&control=true", token.context("token")?);
    let mut socket = Socket::open(&format!("{ws}/ws/{}?{query}", id.context("id")?)).await?;
    let mut numbers = Numbers::default();
    numbers.take(&socket.head().await?)?;
    Ok((socket, numbers))
}

/// Has each part of a `bond up` panic that is started with these arguments, and its clients come back after its restart.
async fn each_ends_it(kind: &str, arguments: &[&str]) -> Result<()> {
    let data_dir = fresh_dir("up")?;
    let plant = Bond::planted_in(&data_dir);
    let settings = [
        ("BOND_PLANT_FILE", plant.as_str()),
        ("BOND_BONDX_PUBSUB", "true"),
        ("PROMETHEUS_PORT", "0"),
        SECRET,
    ];
    let start = || Bond::up_in(data_dir.clone(), arguments, &settings);
    let mut bond = start().await?;
    let created = bond.stream(SENTENCE).await?;
    for part in table::watched(kind)? {
        bond.is_ready().await?;
        runs_all(bond.process(), kind).await?;
        let (mut socket, mut numbers) = reader(&bond.ws, &created).await?;
        ends_by(bond.process(), kind, &part).await?;
        is_sent_away(&mut socket, &mut numbers).await?;
        bond = start().await?;
        goes_on(&bond.ws, &created, &numbers).await.with_context(|| format!("after {part}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_ends_the_process_and_clients_resume_after_its_restart() -> Result<()> {
    each_ends_it("up", &["--sim-rate", "500"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_a_process_on_redis_ends_it_and_clients_resume() -> Result<()> {
    let redis = Redis::start().await?;
    each_ends_it("up --redis", &["--redis", &redis.url(), "--sim-rate", "50"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_an_edge_ends_it_and_clients_resume() -> Result<()> {
    let redis = Redis::start().await?;
    let url = redis.url();
    let up = Bond::up(&["--redis", &url, "--sim-rate", "50"], &[SECRET]).await?;
    up.is_ready().await?;
    let created = up.stream(SENTENCE).await?;
    let data_dir = fresh_dir("edge")?;
    let plant = Bond::planted_in(&data_dir);
    let settings = [("BOND_PLANT_FILE", plant.as_str()), ("PROMETHEUS_PORT", "0"), SECRET];
    let start = || Bond::edge_in(data_dir.clone(), &url, &settings);
    let mut edge = start().await?;
    for part in table::watched("edge")? {
        edge.is_ready().await?;
        runs_all(edge.process(), "edge").await?;
        let (mut socket, mut numbers) = reader(&edge.ws, &created).await?;
        ends_by(edge.process(), "edge", &part).await?;
        is_sent_away(&mut socket, &mut numbers).await?;
        edge = start().await?;
        goes_on(&edge.ws, &created, &numbers).await.with_context(|| format!("after {part}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_a_broker_ends_it() -> Result<()> {
    let redis = Redis::start().await?;
    for part in table::watched("broker")? {
        let dir = fresh_dir("broker")?;
        let mut broker = broker(&dir, &redis.url()).await?;
        runs_all(&broker, "broker").await?;
        ends_by(&mut broker, "broker", &part).await?;
    }
    Ok(())
}

async fn broker(dir: &Path, redis: &str) -> Result<Process> {
    let plant = Bond::planted_in(dir);
    let settings = [("BOND_PLANT_FILE", plant.as_str()), SECRET];
    Ok(Process::start(dir.to_owned(), &["broker", "--redis", redis, "--port", "0"], &settings).await?.0)
}
