//! How connections to topics fare, as `/ws/health` and `/ws/topics` tell.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::host::Host;
use crate::alerts::AlertConfig;

/// The status and the body of an answer.
async fn get(host: &Host, path: &str) -> (u16, Value) {
    let url = host.url("");
    let mut socket = TcpStream::connect(url.trim_start_matches("ws://")).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Asks until health is as `is_so` says.
async fn health_until(host: &Host, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, health) = get(host, "/ws/health").await;
        assert_eq!(status, 200);
        if is_so(&health) {
            return health;
        }
        assert!(Instant::now() < deadline, "{health}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_counts_connections_subscriptions_and_events() {
    let host = Host::start().await;
    let mut both = host.connect("/ws/trading/u1?token=user:u1").await;
    let mut one = host.connect("/ws?topic=trading.u1").await;
    one.say(r#"{"type":"subscribe","topic":"trading.u1"}"#).await;
    one.tells(["ack subscribe 0/0"]).await;
    host.delta("trading.u1", r#"{"a":1}"#).await;
    both.tells([r#"delta 1 {"a":1}"#]).await;
    one.tells([r#"delta 1 {"a":1}"#]).await;
    let health = health_until(&host, |health| health["statistics"]["messages"]["sent"] == 2).await;
    assert_eq!((&health["status"], &health["alerts"]), (&json!("healthy"), &json!([])));
    let counted = json!({"total": 2, "established": 2, "closed": 0, "active": 2});
    assert_eq!(health["statistics"]["connections"], counted);
    assert_eq!(health["statistics"]["topics"], json!({"total": 2, "subscriptions": 3}));
    drop(both);
    let health = health_until(&host, |health| health["statistics"]["connections"]["active"] == 1).await;
    assert_eq!(health["statistics"]["topics"], json!({"total": 1, "subscriptions": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_listed_by_their_subscribers_as_far_as_they_may_be_read() {
    let host = Host::start().await;
    host.delta("risk.u1", "1").await;
    host.delta("prices.QUIET", "1").await;
    host.delta("bond.revoked.0", "{}").await;
    let mut clients = Vec::new();
    for topic in ["prices.A", "prices.B", "prices.B"] {
        let mut client = host.connect("/ws").await;
        client.say(&format!(r#"{{"type":"subscribe","topic":"{topic}"}}"#)).await;
        client.next_of("ack").await;
        clients.push(client);
    }
    let listed = async |path: &str| -> Vec<(String, u64, u64)> {
        let (status, list) = get(&host, path).await;
        assert_eq!(status, 200, "{list}");
        let topics = list["topics"].as_array().expect("a list").clone();
        let of = |topic: &Value| {
            assert_eq!(topic["update_frequency"], "normal");
            let number = |key: &str| topic[key].as_u64().expect("a number");
            (
                topic["topic"].as_str().expect("a name").to_owned(),
                number("subscriber_count"),
                number("last_sequence"),
            )
        };
        topics.iter().map(of).collect()
    };
    let prices =
        [("prices.B".to_owned(), 2, 0), ("prices.A".to_owned(), 1, 0), ("prices.QUIET".to_owned(), 0, 1)];
    let with_risk = [&prices[..], &[("risk.u1".to_owned(), 0, 1)]].concat();
    assert_eq!(listed("/ws/topics").await, with_risk);
    assert_eq!(listed("/api/v1/ws/topics?token=user:u2").await, prices);
    assert_eq!(get(&host, "/ws/topics?token=bad").await.0, 401);
    let mut refused = 0;
    for _ in 0..30 {
        refused += u32::from(get(&host, "/ws/topics?token=user:u2").await.0 == 429);
    }
    assert!(refused > 0, "a caller is held to a pace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_dropped_raise_an_alert_that_resolves_by_itself() {
    let host = Host::with(|config| {
        config.limits.queue = 5;
        let window = Duration::from_secs(2);
        config.alerts = AlertConfig { every: Duration::from_millis(50), window, ..AlertConfig::default() };
    })
    .await;
    let mut client = host.connect("/ws?topic=prices.X").await;
    client.say(r#"{"type":"subscribe","topic":"prices.X"}"#).await;
    client.tells(["ack subscribe 0/0"]).await;
    let events = vec![r#"{"payload":{"a":1}}"#; 100].join(",");
    host.publish_to("prices.X", &events).await;
    client.tells(["gap 1-100 slow_consumer"]).await;
    let is_told = |health: &Value, resolved: bool| {
        let mut alerts = health["alerts"].as_array().expect("a list").iter();
        alerts.any(|alert| alert["type"] == "high_message_drop_rate" && alert["resolved"] == resolved)
    };
    let health = health_until(&host, |health| is_told(health, false)).await;
    assert_eq!(health["statistics"]["messages"]["dropped"], 100);
    health_until(&host, |health| is_told(health, true)).await;
}
