//! The router as clients meet it, over a registry and a log in memory.

mod access;
mod errors;
mod gate;
mod limits;
mod streams;
mod topics;
mod users;
mod whole;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use bond_core::api_key::{ApiKey, Role};
use bond_core::control::{Command, ControlError};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::time::ManualClock;
use bond_core::token::{TokenKey, TokenKeys};
use bond_core::vitals::LocalVitals;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::jwt::{ClaimRules, TokenVerifier};
use crate::keys::{self, KeyRandom, Keys};
use bond_edge::store::RedbStore;

const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What was sent to ingest; it can be told to refuse or to hang.
#[derive(Default)]
struct Recorder {
    commands: Mutex<Vec<Command>>,
    refuses: Mutex<bool>,
    hangs: Mutex<bool>,
}

#[async_trait::async_trait]
impl Control for Recorder {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        if *self.hangs.lock() {
            std::future::pending::<()>().await;
        }
        if *self.refuses.lock() {
            return Err(ControlError("gone".into()));
        }
        self.commands.lock().push(command);
        Ok(())
    }
}

/// A server under test.
struct Server {
    state: Arc<RestState>,
    log: Arc<MemoryLog>,
    meters: Meters,
    board: SourceBoard,
    clock: Arc<ManualClock>,
    control: Arc<Recorder>,
    readiness: Readiness,
    data_dir: TempDir,
}

/// An answer, its body read as JSON where it is JSON.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The problem's status and code, once it is sure that it is one, whole.
    fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.json["status"], self.status.as_u16(), "{self:?}");
        assert_eq!(self.json["request_id"], self.header("x-request-id"), "{self:?}");
        assert_eq!((&self.json["type"], self.json["title"].is_string()), (&json!("about:blank"), true));
        assert!(!self.detail().is_empty(), "{self:?}");
        (self.status.as_u16(), self.json["code"].as_str().unwrap_or_default())
    }

    fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }
}

impl Server {
    fn new() -> Self {
        Self::with(true, |_| {})
    }

    fn with(on_loopback: bool, adjust: impl FnOnce(&mut RestSettings)) -> Self {
        let (clock, control) = (Arc::new(ManualClock::new(NOW)), Arc::new(Recorder::default()));
        let data_dir = TempDir::new().expect("directory");
        let mut settings = RestSettings {
            max_streams: 5,
            per_second: 50,
            open_metrics: false,
            token_ttl: Duration::from_secs(3600),
            ws_host: None,
            ws_port: 8080,
            url_form: UrlForm::Path,
            allow_private_sources: false,
            venues: [Venue::Binance, Venue::Okx, Venue::Bybit].into(),
        };
        adjust(&mut settings);
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 1_000_000, total_bytes: 1_000_000 };
        let (meters, board) = (Meters::default(), SourceBoard::default());
        let vitals = Arc::new(LocalVitals::new(meters.clone(), board.clone()));
        vitals.attach(Box::new(|| (1, 20)));
        let readiness = Readiness::default();
        readiness.set(true);
        let keys = Keys::open(data_dir.path(), Duration::ZERO).expect("keys");
        let verifier = Arc::new(TokenVerifier::new(&[SECRET], ClaimRules::default()));
        let log = Arc::new(MemoryLog::new(retention, clock.clone(), 0));
        let state = RestState {
            log: Arc::<MemoryLog>::clone(&log),
            publisher: Arc::new(NoPublisher("no writer runs here")),
            store: Arc::new(RedbStore::in_memory().expect("store")),
            control: control.clone(),
            backing: Arc::new(LocalBacking {
                log: Arc::<MemoryLog>::clone(&log),
                readiness: readiness.clone(),
            }),
            vitals,
            traffic: Traffic::default(),
            ended: std::sync::OnceLock::new(),
            access: Arc::new(Access::new(keys, on_loopback)),
            tokens: Arc::new(Tokens::new(TokenKeys::new(TokenKey::new(SECRET), None)).with_topics(verifier)),
            clock: clock.clone(),
            started_at: NOW,
            prometheus: Box::new(|| "# TYPE bond_connections gauge\n".to_owned()),
            paces: Paces::new(settings.per_second),
            probed: Probed::default(),
            settings,
        };
        Self { state: Arc::new(state), log, meters, board, clock, control, readiness, data_dir }
    }

    fn key(&self, owner: &str) -> ApiKey {
        self.key_with(owner, vec![])
    }

    fn key_with(&self, owner: &str, roles: Vec<Role>) -> ApiKey {
        let mut random = KeyRandom { key: [0; 32], hash_key: [0; 32] };
        getrandom::fill(&mut random.key).expect("randomness");
        keys::create(self.data_dir.path(), owner, roles, &random, NOW).expect("key")
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response =
            router(Arc::clone(&self.state), Router::new()).oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, text, json }
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request(method, path).body(body.into()).expect("request")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Body::empty()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = request("POST", path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string().into()).expect("request")).await
    }

    /// As the holder of a key.
    async fn call_as(&self, key: &ApiKey, method: &str, path: &str, body: &Value) -> Answer {
        let request = request(method, path)
            .header(header::AUTHORIZATION, format!("Bearer {}", key.expose()))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string().into()).expect("request")).await
    }

    fn commands(&self) -> Vec<Command> {
        std::mem::take(&mut *self.control.commands.lock())
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost:8000")
}

fn spec(symbol: &str) -> Value {
    json!({"spec": {"sources": [{"type": "market", "symbols": [symbol]}]}})
}
