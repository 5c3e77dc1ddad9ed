//! Ingest and Redis that fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::gateway::{Cloud, Options};
use tokio::time::{Instant, sleep};

use super::clients::{Client, Clients};

/// What a process logs once it leads.
const LEADS: &str = "this process leads";

/// Waits until a process has logged `words`.
async fn logged(cloud: &Cloud, process: usize, words: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !cloud.ingest[process].log().contains(words) {
        ensure!(Instant::now() < deadline, "no {words:?} in {}", cloud.ingest[process].log());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn started() -> Result<(Cloud, Clients)> {
    let cloud = Cloud::start(Options { rate: 50, ..Options::default() }).await?;
    let clients = Clients::open(&cloud).await?;
    Ok((cloud, clients))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingest_that_was_killed_is_replaced_without_a_hole() -> Result<()> {
    let (mut cloud, mut clients) = started().await?;
    let epochs = clients.epochs();
    // More than what had gathered before the first post, so that positions were saved while events came.
    clients.all(400, 60).await?;
    cloud.ingest[0].kill().await?;
    cloud.add_ingest().await?;
    logged(&cloud, 1, LEADS).await.context("a new one")?;
    clients.all(60, 25).await.context("a new one")?;
    ensure!(clients.repeats() < 8 * 150, "{} repeats, though positions are saved", clients.repeats());
    cloud.add_ingest().await?;
    cloud.ingest[1].kill().await?;
    logged(&cloud, 2, LEADS).await.context("one that stood by")?;
    clients.all(60, 25).await.context("one that stood by")?;
    clients.went_on(&epochs, true)?;
    clients.have_everything()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingest_that_was_frozen_disturbs_nobody_once_it_wakes() -> Result<()> {
    let (mut cloud, mut clients) = started().await?;
    let epochs = clients.epochs();
    cloud.add_ingest().await?;
    cloud.ingest[0].signal("STOP").await?;
    logged(&cloud, 1, LEADS).await?;
    clients.all(60, 25).await.context("one that stood by")?;
    cloud.ingest[0].signal("CONT").await?;
    logged(&cloud, 0, "stands by").await.context("the one that woke up")?;
    clients.all(200, 10).await.context("after the one that woke up")?;
    clients.went_on(&epochs, true)?;
    clients.have_everything()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_restarted_declares_what_it_lost() -> Result<()> {
    let (mut cloud, mut clients) = started().await?;
    cloud.redis.restart().await?;
    clients.all(100, 5).await.context("with its data")?;
    // Nothing of what was acknowledged is lost; an append that got no answer may be, and then a new epoch says so.
    let already = clients.0.iter().map(declared).collect::<Result<Vec<_>>>().context("with its data")?;

    let epochs = clients.epochs();
    cloud.redis.restart_empty().await?;
    for ((client, epochs), already) in clients.0.iter_mut().zip(&epochs).zip(already) {
        let lost = already + epochs.len();
        client.until(|seen| seen.gaps.len() >= lost).await?;
    }
    clients.all(100, 5).await.context("without its data")?;
    clients.0.iter().try_for_each(|client| declared(client).map(drop))?;
    clients.went_on(&epochs, false)
}

/// How many gaps a client was told of, all of which say that a history could not be continued.
fn declared(client: &Client) -> Result<usize> {
    let gaps = &client.seen().gaps;
    let other = gaps.iter().find(|gap| gap["reason"] != "epoch_changed");
    ensure!(other.is_none(), "{}: {other:?}", client.name);
    Ok(gaps.len())
}
