//! `$connect`.

use std::sync::Arc;
use std::time::Duration;

use bond_core::connection::{Carries, Connection};
use bond_core::control::Command;
use bond_core::position::Start;
use bond_functions::connect::Connect;
use bond_functions::event::Answer;
use bond_functions::secrets::Vault;
use serde_json::Value;

use super::support::*;

struct Host {
    connect: Connect,
    connections: Arc<Connections>,
    told: Arc<Told>,
    metrics: Arc<parking_lot::Mutex<Vec<Value>>>,
}

impl Host {
    async fn new() -> Self {
        let (connections, told) = (Arc::new(Connections::default()), Arc::new(Told::default()));
        let (emf, metrics) = emf("ws_connect");
        let vault = Vault::new(Box::new(Source::new()));
        let admission = gate(&vault).await;
        let (kept, control) = (connections.clone(), told.clone());
        let connect = Connect { admission, vault, connections: kept, control, emf };
        Self { connect, connections, told, metrics }
    }

    async fn connect(&self, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        self.connect.handle(connect_event(query, headers)).await.expect("an event of a WebSocket route")
    }

    /// Connects to the stream with a good token, and what else is said.
    async fn open(&self, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Connection {
        let token = token();
        let query = [&[("stream", STREAM), ("token", token.as_str())], query].concat();
        let answer = self.connect(&query, headers).await;
        assert_eq!(answer.status_code, 200, "{answer:?}");
        self.connections.the_one()
    }
}

fn start(connection: &Connection) -> &Start {
    let start = match &connection.carries {
        Carries::Stream { start, .. } => Some(start),
        Carries::Feed(_) | Carries::Topics(_) => None,
    };
    start.expect("a connection to one stream")
}

fn code(answer: &Answer) -> String {
    let problem: Value = serde_json::from_str(answer.body.as_deref().unwrap_or_default()).expect("a problem");
    assert_eq!(problem["request_id"], "UIHeFHx9liAFQ7A=", "named as in the logs");
    problem["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn a_token_opens_its_stream_and_the_relay_is_told() {
    let host = Host::new().await;
    let kept = host.open(&[], &[]).await;
    assert_eq!(
        (kept.opened_at, kept.asked_at, kept.control, kept.batch),
        (CONNECTED, CONNECTED, false, None)
    );
    assert_eq!(kept.stream(), Some(&stream()));
    assert_eq!(start(&kept), &Start::At(CONNECTED), "live from the request on, however late it is looked at");
    assert_eq!(host.told.take(), [Command::Connected(Box::new(kept))]);
}

#[tokio::test]
async fn where_it_begins_is_fixed_to_the_request() {
    let host = Host::new().await;
    let kept = host.open(&[("from", "now-60s")], &[]).await;
    assert_eq!(start(&kept), &Start::At(CONNECTED.minus(Duration::from_secs(60))));
    assert!(!kept.control);
    let kept = host.open(&[("from", "e1:41")], &[]).await;
    assert!(matches!(start(&kept), Start::After(position) if position.seq == 41));
    assert!(kept.control, "who resumes is told of gaps");
}

#[tokio::test]
async fn the_subprotocol_is_echoed_and_brings_batches_and_control() {
    let host = Host::new().await;
    let token = token();
    let query = [("stream", STREAM), ("token", token.as_str()), ("wait_ms", "50")];
    let answer = host.connect(&query, &[("Sec-WebSocket-Protocol", "other, bond.v1")]).await;
    assert_eq!(answer.headers["Sec-WebSocket-Protocol"], "bond.v1");
    let kept = host.connections.the_one();
    assert!(kept.control);
    assert_eq!(kept.batch.map(|batch| (batch.size, batch.wait)), Some((100, Duration::from_millis(50))));
    let other = host.connect(&query, &[("Sec-WebSocket-Protocol", "other")]).await;
    assert_eq!(other.headers.get("Sec-WebSocket-Protocol"), None);
}

#[tokio::test]
async fn an_unreadable_start_is_told_where_control_is_on() {
    let host = Host::new().await;
    let kept = host.open(&[("from", "yesterday"), ("control", "true")], &[]).await;
    assert_eq!(kept.notes.len(), 1);
    assert!(
        kept.notes[0].contains("INVALID_MESSAGE") && kept.notes[0].contains("yesterday"),
        "{:?}",
        kept.notes
    );
    assert_eq!(start(&kept), &Start::At(CONNECTED));
    let quiet = host.open(&[("from", "yesterday")], &[]).await;
    assert_eq!(
        quiet.notes, [""; 0],
        "one that asked for nothing gets the stream's events and no other message"
    );
}

#[tokio::test]
async fn who_may_not_is_refused_with_the_status_of_the_reason() {
    let host = Host::new().await;
    let (good, key) = (token(), api_key());
    for (query, status, expected) in [
        (vec![("stream", STREAM)], 401, "AUTH_REQUIRED"),
        (vec![("stream", STREAM), ("token", "v1.x.1.y")], 401, "AUTH_INVALID"),
        (vec![("stream", "00000000000000bb"), ("token", &good)], 401, "AUTH_INVALID"),
        (vec![("stream", "nonsense"), ("token", &good)], 404, "NOT_FOUND"),
        (vec![("mode", "feed")], 401, "AUTH_REQUIRED"),
        (vec![("mode", "feed"), ("token", "bond_wrong")], 401, "AUTH_INVALID"),
        (vec![("token", key.expose())], 400, "INVALID_MESSAGE"),
    ] {
        let answer = host.connect(&query, &[]).await;
        assert_eq!((answer.status_code, code(&answer).as_str()), (status, expected), "{query:?}");
    }
    assert!(host.connections.kept.lock().is_empty() && host.told.take().is_empty());
}

#[tokio::test]
async fn a_feed_is_opened_by_a_token_or_by_a_key_that_is_not_in_the_url() {
    let host = Host::new().await;
    let (key, bearer) = (api_key(), format!("Bearer {}", api_key().expose()));
    let in_url = host.connect(&[("mode", "feed"), ("token", key.expose())], &[]).await;
    assert_eq!((in_url.status_code, code(&in_url).as_str()), (401, "AUTH_INVALID"));
    let by_token = host.connect(&[("mode", "feed"), ("token", &feed_token())], &[]).await;
    let by_header = host.connect(&[("mode", "feed")], &[("Authorization", &bearer)]).await;
    assert_eq!((by_token.status_code, by_header.status_code), (200, 200));
    assert_eq!(host.connections.the_one().holder, Some(key_file().keys()[0].holder()));
    assert_eq!(host.connections.the_one().carries, Carries::Feed(Box::default()));
}

#[tokio::test]
async fn without_the_relay_it_stands_and_without_the_store_it_does_not() {
    let host = Host::new().await;
    *host.told.out_of_reach.lock() = true;
    host.open(&[], &[]).await;
    *host.connections.unavailable.lock() = true;
    let token = token();
    let answer = host.connect(&[("stream", STREAM), ("token", &token)], &[]).await;
    assert_eq!((answer.status_code, code(&answer).as_str()), (500, "INTERNAL_ERROR"));
    let lines = host.metrics.lock();
    let failures: Vec<_> = lines.iter().map(|line| line["ConnectFailurePercent"].as_f64()).collect();
    assert_eq!(failures, [Some(0.0), Some(100.0)]);
}

#[tokio::test]
async fn an_event_of_something_else_is_an_error() {
    let host = Host::new().await;
    let event = event(include_str!("../fixtures/connect.json"), |event| {
        event["requestContext"].as_object_mut().expect("an object").remove("connectionId");
    });
    let error = host.connect.handle(event).await.expect_err("no connection").to_string();
    assert!(error.contains("connectionId"), "{error}");
}
