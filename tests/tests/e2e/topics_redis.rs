//! Publishing where several processes share one Redis, and by those who are on it already.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::process::Bond;
use bond_e2e::redis::Redis;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

const EVENTS: &str = "/v1/topics/prices.X/events";
const SNAPSHOT: &str = "/v1/topics/prices.X/snapshot";

/// The topic's snapshot once it is at this number.
async fn snapshot_at(bond: &Bond, seq: u64) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, found) = bond.get(SNAPSHOT).await?;
        if found["seq"] == seq {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "not at {seq}: {found}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_a_producer_and_bondx_publish_to_one_topic() -> Result<()> {
    let redis = Redis::start().await?;
    let settings = [("BOND_SECRET", "of-both-processes-of-this-test-0123"), ("BOND_BONDX_PUBSUB", "true")];
    let up = Bond::up(&["--redis", &redis.url(), "--sim-rate", "20"], &settings).await?;
    up.is_ready().await?;
    let mut client = redis.connect().await?;
    let edge = Bond::edge(&redis.url(), &settings).await?;
    let (status, first) =
        edge.post(EVENTS, &json!({"events": [{"payload": {"bid": 1}}], "if_seq": 0})).await?;
    ensure!(status == 200 && first["first_seq"] == 1, "{status} {first}");
    let (status, conflict) = edge.post(EVENTS, &json!({"events": [{"payload": 1}], "if_seq": 0})).await?;
    ensure!(status == 409 && conflict["head"]["seq"] == 1, "{status} {conflict}");
    client.command(&["XADD", "bond:publish", "*", "topic", "prices.X", "payload", r#"{"ask":2.50}"#]).await?;
    snapshot_at(&up, 2).await?;
    let said = r#"{"topic":"prices.X","message":{"type":"delta","topic":"prices.X","seq":7,"ts":"T","payload":{"last":3},"meta":{}},"qos":1}"#;
    client.command(&["PUBLISH", "websocket.topic.prices.X", said]).await?;
    let found = snapshot_at(&edge, 3).await?;
    ensure!(found["payload"] == json!({"bid": 1, "ask": 2.5, "last": 3}), "{found}");
    let (_, events) = edge.get(EVENTS).await?;
    let last = events["events"].as_array().and_then(|events| events.last()).context("events")?;
    ensure!(last["meta"]["source_seq"] == 7, "{events}");
    let answer = edge.send("DELETE", "/v1/topics/prices.X", &[], "").await?;
    ensure!(answer.status() == 204, "{answer:?}");
    ensure!(up.get(SNAPSHOT).await?.0 == 404);
    Ok(())
}
