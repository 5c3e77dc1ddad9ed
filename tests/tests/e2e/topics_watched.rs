//! Watching topics from outside, and ending the connections of a user on every edge.

use anyhow::{Result, ensure};
use bond_e2e::process::Bond;
use bond_e2e::redis::Redis;
use bond_e2e::socket::Socket;
use serde_json::json;

use super::access::SECRET;
use super::secrets::does_not_start;
use bond_e2e::process::fresh_dir;

const PATH: &str = "/ws/trading/user_123?token=valid_token";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_disconnected_from_every_edge_and_stays_out_until_it_is_over() -> Result<()> {
    let redis = Redis::start().await?;
    let settings = [("BOND_SECRET", SECRET), ("BOND_STATIC_TOKENS", "valid_token:user_123,other:user_456")];
    let up = Bond::up(&["--redis", &redis.url(), "--sim-rate", "20"], &settings).await?;
    up.is_ready().await?;
    let edge = Bond::edge(&redis.url(), &settings).await?;
    let mut clients = [
        Socket::open(&format!("{}{PATH}", up.ws)).await?,
        Socket::open(&format!("{}{PATH}", edge.ws)).await?,
    ];
    let mut other = Socket::open(&format!("{}/ws/trading/user_456?token=other", edge.ws)).await?;
    let (status, answer) =
        edge.post("/v1/users/user_123/disconnect", &json!({"revoke_seconds": 3600})).await?;
    ensure!(status == 200 && answer["revoked_until"].is_string(), "{status} {answer}");
    for client in &mut clients {
        let (code, reason) = client.closed().await?;
        ensure!(code == 4501, "{code} {reason}");
    }
    for bond in [&up, &edge] {
        let mut refused = Socket::open(&format!("{}{PATH}", bond.ws)).await?;
        let error = refused.event_of("error").await?;
        ensure!(error["code"] == "AUTH_REQUIRED" && error["details"]["reason"] == "AUTH_INVALID", "{error}");
        ensure!(error["message"].as_str().is_some_and(|text| text.contains("disconnected")), "{error}");
        ensure!(refused.closed().await?.0 == 1008);
    }
    // A process that starts later knows of it too.
    let late = Bond::edge(&redis.url(), &settings).await?;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while Socket::open(&format!("{}{PATH}", late.ws)).await?.closed().await.map(|(code, _)| code).ok()
        != Some(1008)
    {
        ensure!(tokio::time::Instant::now() < deadline, "let in: {}", late.log());
    }
    other.send(&json!({"type": "ping"})).await?;
    other.event_of("pong").await?;
    Ok(())
}

#[tokio::test]
async fn contradictory_settings_of_sockets_stop_the_start_with_all_problems() -> Result<()> {
    let settings = [
        ("WS_HEARTBEAT_INTERVAL", "10"),
        ("BOND_HEARTBEAT_SECONDS", "20"),
        ("WS_MAX_CONNECTIONS", "none"),
        ("ALERT_THRESHOLDS_JSON", r#"{"max_error_rate":2,"max_errors":1}"#),
    ];
    let said = does_not_start(&["up"], &fresh_dir("sockets")?, &settings).await?;
    for named in [
        "are the same setting",
        "WS_MAX_CONNECTIONS must be",
        "max_error_rate must be",
        "not known: max_errors",
    ] {
        ensure!(said.contains(named), "{said}");
    }
    Ok(())
}
