//! REST behind an HTTP API.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::to_bytes;
use axum::http::HeaderMap;
use bond_api::paces::Paces;
use bond_api::rest::{Backing, NoPublisher, Probed, RestSettings, RestState, Traffic, UrlForm};
use bond_core::api_key::{ApiKey, KeyFile};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::token::{TokenKey, TokenKeys};
use bond_core::topic::StreamId;
use bond_core::vitals::LocalVitals;
use bond_functions::api::{ApiContext, router};
use bond_functions::secrets::Vault;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::support::*;

struct Up;

#[async_trait]
impl Backing for Up {
    async fn log_answers(&self) -> bool {
        true
    }

    async fn ingest_runs(&self) -> bool {
        false
    }
}

struct Host {
    router: Router,
    source: Source,
    metrics: Arc<parking_lot::Mutex<Vec<Value>>>,
}

impl Host {
    async fn new() -> Self {
        let source = Source::new();
        let vault = Vault::new(Box::new(source.clone()));
        let keyring = vault.keyring().await.expect("keys");
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 1 << 20, total_bytes: 1 << 20 };
        let state = RestState {
            store: registry().await,
            control: Arc::new(Told::default()),
            log: Arc::new(MemoryLog::new(retention, clock(), 0)),
            publisher: Arc::new(NoPublisher("no writer runs here")),
            backing: Arc::new(Up),
            vitals: Arc::new(LocalVitals::new(Meters::default(), SourceBoard::default())),
            traffic: Traffic::default(),
            ended: OnceLock::new(),
            access: Arc::clone(&keyring.access),
            tokens: Arc::clone(&keyring.tokens),
            clock: clock(),
            started_at: CONNECTED,
            prometheus: Box::new(String::new),
            paces: Paces::new(50),
            probed: Probed::default(),
            settings: settings(),
        };
        let (emf, metrics) = emf("api");
        let surroundings = ApiContext { vault, clock: clock(), emf };
        Self { router: router(Arc::new(state), Arc::new(surroundings)), source, metrics }
    }

    /// The recorded request, changed as `change` says.
    async fn call(&self, key: Option<&ApiKey>, change: impl FnOnce(&mut Value)) -> (u16, HeaderMap, Value) {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/http.json")).expect("recorded");
        if let Some(key) = key {
            event["headers"]["authorization"] = json!(format!("Bearer {}", key.expose()));
        }
        change(&mut event);
        let request = lambda_http::request::from_str(&event.to_string()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&self, key: &ApiKey, path: &str) -> u16 {
        self.call(Some(key), |event| get(event, "$default", path)).await.0
    }
}

fn get(event: &mut Value, stage: &str, path: &str) {
    event["rawPath"] = json!(path);
    event["requestContext"]["stage"] = json!(stage);
    event["requestContext"]["http"]["method"] = json!("GET");
    event["requestContext"]["http"]["path"] = json!(path);
}

fn settings() -> RestSettings {
    RestSettings {
        max_streams: 5,
        per_second: 50,
        open_metrics: false,
        token_ttl: Duration::from_secs(3600),
        ws_host: Some("wss://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com/v1".to_owned()),
        ws_port: 443,
        url_form: UrlForm::Query,
        allow_private_sources: false,
        venues: ["binance".parse().expect("a venue")].into(),
    }
}

#[tokio::test]
async fn a_sentence_becomes_a_stream_whose_url_api_gateway_can_carry() {
    let host = Host::new().await;
    let (status, headers, created) = host.call(Some(&api_key()), |_| {}).await;
    assert_eq!(status, 200, "{created}");
    assert_eq!(headers["x-request-id"], "UIHmXhRUFiAEJzQ=", "as in API Gateway's log");
    let (id, token) =
        (created["stream_id"].as_str().expect("an id"), created["token"].as_str().expect("a token"));
    let base = "wss://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com/v1";
    assert_eq!(created["ws_url"], format!("{base}?stream={id}&token={token}"));
    let id = StreamId::parse(id).expect("an id");
    assert!(token_keys().verify(token, &id, CONNECTED).is_ok());
}

#[tokio::test]
async fn without_a_key_nobody_calls() {
    let host = Host::new().await;
    let (status, headers, problem) = host.call(None, |_| {}).await;
    assert_eq!((status, &problem["code"]), (401, &json!("AUTH_REQUIRED")));
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(problem["request_id"], "UIHmXhRUFiAEJzQ=");
    let line = host.metrics.lock()[0].clone();
    assert_eq!((line["RequestsRefused"].as_f64(), line["ErrorPercent"].as_f64()), (Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn a_named_stage_is_no_part_of_the_path() {
    let host = Host::new().await;
    let path = format!("/prod/v1/streams/{STREAM}");
    let (status, _, stream) = host.call(Some(&api_key()), |event| get(event, "prod", &path)).await;
    assert_eq!((status, &stream["stream_id"], &stream["running"]), (200, &json!(STREAM), &json!(false)));
    let (status, _, health) = host.call(None, |event| get(event, "prod", "/prod/health")).await;
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
}

#[tokio::test]
async fn a_body_in_base64_is_read() {
    let host = Host::new().await;
    let (status, _, compiled) = host
        .call(Some(&api_key()), |event| {
            event["rawPath"] = json!("/v1/compile");
            event["body"] = json!("eyJuYXR1cmFsX2xhbmd1YWdlIjogIkJUQyBwcmljZSJ9");
            event["isBase64Encoded"] = json!(true);
        })
        .await;
    assert_eq!((status, &compiled["spec"]["symbols"]), (200, &json!(["BTC/USDT"])));
}

#[tokio::test(start_paused = true)]
async fn keys_that_change_are_noticed_within_a_minute() {
    let host = Host::new().await;
    let (old, new) = (api_key(), ApiKey::from_random([9; 32]));
    let mut keys = KeyFile::new([1; 32]);
    keys.add(&new, "bob", vec![], CONNECTED).expect("added");
    let rotated = TokenKeys::new(TokenKey::new("another secret of 32 bytes or more"), None);
    *host.source.0.lock() = Some((rotated.clone(), keys));
    assert_eq!((host.get(&old, "/v1/streams").await, host.get(&new, "/v1/streams").await), (200, 401));
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!((host.get(&old, "/v1/streams").await, host.get(&new, "/v1/streams").await), (401, 200));
    let (_, _, created) = host.call(Some(&new), |_| {}).await;
    let id = StreamId::parse(created["stream_id"].as_str().expect("an id")).expect("an id");
    assert!(rotated.verify(created["token"].as_str().expect("a token"), &id, CONNECTED).is_ok());
    *host.source.0.lock() = None;
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(host.get(&new, "/v1/streams").await, 200, "secrets out of reach change nothing");
}
