//! Deploying a new version over a running one.

use anyhow::{Context, Result, ensure};
use bond_e2e::cloud::Deployed;
use bond_e2e::host::{Host, Reader};
use tokio::sync::oneshot;

/// A client that stays keeps its connection and misses nothing, nor does one that leaves before and resumes after.
pub(super) async fn run(cloud: &mut Deployed, host: &Host) -> Result<()> {
    let created = host.api.stream("BTC trades tick by tick").await?;
    let stays = host.read(&created, "&from=now-5s&control=true").await?;
    let mut leaves = host.read(&created, "").await?;
    for _ in 0..10 {
        leaves.next().await?;
    }
    let Reader { socket, numbers } = leaves;
    socket.close().await?;
    let (enough, told) = oneshot::channel();
    let reading = tokio::spawn(read_until(stays, told));
    let (url, processes) = (cloud.said("rest_url")?, cloud.says["pids"].clone());
    // Another setting of the functions and of ingest makes another version of both.
    cloud.up_with(&["--set", "BOND_LOG=debug"]).await?;
    ensure!(cloud.said("rest_url")? == url, "the URLs stay");
    let now = &cloud.says["pids"];
    ensure!(
        now["emulator"] == processes["emulator"] && *now != processes,
        "ingest is replaced: {processes}, {now}"
    );
    let mut resumed = host.read(&created, &format!("&from={}", numbers.position())).await?;
    let event = resumed.next().await.context("a client that resumes")?;
    ensure!(event["seq"] == numbers.last + 1 && event["epoch"] == numbers.epoch.as_str(), "{event}");
    for _ in 0..50 {
        resumed.next().await.context("a client that resumes")?;
    }
    // Fails where the client that stayed has failed, and was answered with that.
    let _ = enough.send(resumed.numbers.last);
    reading.await?.context("a client that stays")
}

/// Reads all along, as a client does, until it has the number that it is told.
async fn read_until(mut reader: Reader, mut told: oneshot::Receiver<u64>) -> Result<()> {
    loop {
        reader.next().await?;
        if let Ok(seq) = told.try_recv() {
            return reader.until(seq).await;
        }
    }
}
