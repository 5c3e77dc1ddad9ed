//! A client that moves between a dedicated and the serverless edge of one deployment.

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::Cloud;
use bond_e2e::host::{Host, Reader};
use bond_e2e::numbers::Numbers;
use bond_e2e::socket::Socket;

/// Nothing is missing and nothing repeated, whichever way it moves.
pub(super) async fn run(cloud: &Cloud, host: &Host) -> Result<()> {
    let edge = cloud.edge().await?;
    let created = host.api.stream("BTC trades tick by tick").await?;
    let serverless = ws_url(&created, "");
    let (_, token) = serverless.rsplit_once("token=").context("a token")?;
    let dedicated = format!("{}/ws/{}?token={token}", edge.ws, created["stream_id"].as_str().context("id")?);
    let mut numbers = read(&serverless, &Numbers::default()).await?;
    for url in [&dedicated, &serverless, &dedicated, &serverless] {
        numbers = read(url, &numbers).await.with_context(|| format!("from {}", numbers.position()))?;
    }
    Ok(())
}

/// Reads thirty events after `numbers`, each the next one.
async fn read(url: &str, numbers: &Numbers) -> Result<Numbers> {
    let from = if numbers.last == 0 { String::new() } else { format!("&from={}", numbers.position()) };
    let socket = Socket::open(&format!("{url}{from}")).await?;
    let mut reader = Reader { socket, numbers: numbers.clone() };
    let event = reader.next().await?;
    ensure!(numbers.last == 0 || event["seq"] == numbers.last + 1, "{event}");
    reader.until(reader.numbers.last + 30).await?;
    reader.socket.close().await?;
    Ok(reader.numbers)
}
