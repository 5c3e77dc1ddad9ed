//! A client of topics that moves among two dedicated edges and the serverless one of one deployment, and a user's limit over all of them.

use anyhow::{Context, Result, ensure};
use bond_e2e::api::Api;
use bond_e2e::gateway::Cloud;
use bond_e2e::host::{Host, jwt};
use bond_e2e::socket::Socket;
use serde_json::{Value, json};

const TOPIC: &str = "prices.MOVING";

/// Subscriptions that a user may make at once to topics of the family risk: five times what one connection may.
const OF_USER: usize = 500;

/// Nothing is missing and nothing repeated, whichever way it moves; and what was used up of a limit at one edge is used up at the other.
pub(super) async fn run(cloud: &Cloud, host: &Host) -> Result<()> {
    let edges = (cloud.edge().await?, cloud.edge().await?);
    let publisher = Api::open(host.api.rest.clone())?.with_key(jwt("team", &["--publish", ">"]).await?);
    let token = jwt("u1", &[]).await?;
    let serverless = format!("{}?topic=&token={token}", cloud.ws);
    let dedicated = |ws: &str| format!("{ws}/ws?token={token}");
    let (first, second) = (dedicated(&edges.0.ws), dedicated(&edges.1.ws));
    let mut place = (None, 0);
    for (leg, url) in [&serverless, &first, &second, &serverless, &second, &first].into_iter().enumerate() {
        let events: Vec<Value> = (0..5).map(|n| json!({"payload": {"leg": leg, "n": n}})).collect();
        let path = format!("/v1/topics/{TOPIC}/events");
        let (status, answer) = publisher.post(&path, &json!({"events": events})).await?;
        ensure!(status == 200, "{status} {answer}");
        place = read(url, place).await.with_context(|| format!("leg {leg}"))?;
    }
    a_user_has_one_limit(&edges.0.ws, &edges.1.ws).await
}

/// Reads five events after a place, each the next one, and returns the place after them.
async fn read(url: &str, (epoch, seq): (Option<Value>, u64)) -> Result<(Option<Value>, u64)> {
    let mut socket = Socket::open(url).await?;
    let mut subscribe = json!({"type": "subscribe", "topic": TOPIC, "resume_from_seq": seq});
    if let Some(epoch) = &epoch {
        subscribe["epoch"] = epoch.clone();
    }
    socket.send(&subscribe).await?;
    let ack = socket.event_of("ack").await?;
    ensure!(ack["seq"] == seq, "{ack} after {seq}");
    for next in seq + 1..=seq + 5 {
        let event = socket.event().await?;
        ensure!(event["type"] == "delta" && event["seq"] == next, "{event} where {next} was to come");
    }
    socket.close().await?;
    Ok((Some(ack["epoch"].clone()), seq + 5))
}

async fn a_user_has_one_limit(first: &str, second: &str) -> Result<()> {
    let token = jwt("u9", &[]).await?;
    let subscribe = json!({"type": "subscribe", "topic": "risk.u9"});
    for _ in 0..OF_USER / 100 {
        let mut socket = Socket::open(&format!("{first}/ws?token={token}")).await?;
        for _ in 0..100 {
            socket.send(&subscribe).await?;
        }
        for _ in 0..100 {
            let ack = socket.event().await?;
            ensure!(ack["type"] == "ack", "{ack}");
        }
    }
    let mut socket = Socket::open(&format!("{second}/ws?token={token}")).await?;
    // The other edge learns of it with the first that it has counted for all.
    for _ in 0..50 {
        socket.send(&subscribe).await?;
        let answer = socket.event().await?;
        if answer["code"] == "RATE_LIMIT_EXCEEDED" {
            return Ok(());
        }
    }
    anyhow::bail!("the limit of one edge does not hold at the other")
}
