//! A fan-out on a free port, a writer for its log, and a client.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_api::admission::{Admission, Credentials, Grant, Refusal, TopicGrant};
use bond_api::jwt::Revocations;
use bond_core::api_key::Holder;
use bond_core::clock::SystemClock;
use bond_core::code::Code;
use bond_core::control::{Command, Control, ControlError};
use bond_core::grants::{Grants, GrantsParts, of_user};
use bond_core::log::{EventKind, EventLog, Fence, Publication, PublishOutcome, Record};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::message::MessageError;
use bond_core::meter::Meters;
use bond_core::publish::{PublishBatch, PublishedFields, fold};
use bond_core::source::SourceBoard;
use bond_core::store::{Claim, DesiredStream, StoreError, StreamStore};
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::{StreamId, Topic};
use bond_ingest::engine::Ports;
use bond_supervise::Supervisor;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

use crate::server::{self, ServerConfig};
use crate::ws::connection::{Purpose, UpgradedSocket};
use crate::ws::{Fanout, FanoutConfig, FanoutParts};

/// Long enough for anything that happens at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const STREAM: &str = "0123456789abcdef";

/// Knows the streams it was told of.
#[derive(Default)]
pub(super) struct Registry(pub(super) Mutex<HashSet<String>>);

#[async_trait]
impl StreamStore for Registry {
    async fn claim(
        &self,
        _: DesiredStream,
        _: Claim,
        _: usize,
        _: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        Err(StoreError::Unavailable("not in this test".into()))
    }

    async fn release(&self, _: &StreamId, _: &str, _: UnixNanos) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }

    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        let known = self.0.lock().contains(id.as_str());
        let stream =
            DesiredStream { id: id.clone(), canonical: String::new(), spec: String::new(), created_at: now };
        Ok(known.then_some((stream, Vec::new())))
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&StreamId>,
        _: usize,
        _: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError> {
        Ok(Vec::new())
    }

    async fn desired(&self, _: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        Ok(Vec::new())
    }
}

struct Commands(mpsc::Sender<Command>);

#[async_trait]
impl Control for Commands {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        self.0.send(command).await.map_err(|error| ControlError(error.to_string()))
    }
}

/// Takes every token but `bad`; `brief` expires a moment after it was shown.
struct Door(Arc<Revocations>);

impl Door {
    fn judge(token: Option<&str>) -> Result<Grant, Refusal> {
        match token {
            Some("bad") => Err(Refusal { code: Code::AuthInvalid, message: "get a new token".into() }),
            Some("brief") => {
                let expires_at = Some(SystemClock.now().plus(Duration::from_millis(200)));
                Ok(Grant { expires_at, holder: None })
            }
            _ => Ok(Grant::default()),
        }
    }
}

impl Door {
    /// `user:NAME` is a user's token, `user:NAME:MS` one for so many milliseconds.
    fn grant(token: Option<&str>) -> Result<TopicGrant, Refusal> {
        let Some(token) = token else { return Ok(TopicGrant { grants: Grants::open(), holder: None }) };
        let mut parts = token.split(':');
        if parts.next() != Some("user") {
            return Err(Refusal { code: Code::AuthInvalid, message: "get a new token".into() });
        }
        let user = parts.next().unwrap_or_default();
        let life = parts.next().map(|millis| Duration::from_millis(millis.parse().expect("a time")));
        let grants = Grants::new(GrantsParts {
            user: Some(user.into()),
            read: of_user(user),
            expires_at: life.map(|life| SystemClock.now().plus(life)),
            ..GrantsParts::default()
        });
        Ok(TopicGrant { grants: grants.expect("grants"), holder: None })
    }
}

#[async_trait]
impl Admission for Door {
    async fn stream(&self, _: &StreamId, credentials: Credentials<'_>) -> Result<Grant, Refusal> {
        Self::judge(credentials.token)
    }

    async fn feed(&self, credentials: Credentials<'_>) -> Result<Grant, Refusal> {
        Self::judge(credentials.token)
    }

    fn topics(&self, credentials: Credentials<'_>) -> Result<TopicGrant, Refusal> {
        Self::grant(credentials.token)
    }

    fn refresh_topics(&self, _: &TopicGrant, token: &str) -> Result<TopicGrant, Refusal> {
        Self::grant(Some(token))
    }

    fn refresh(&self, _: Option<&StreamId>, _: Option<&Holder>, token: &str) -> Result<Grant, Refusal> {
        Self::judge(Some(token))
    }

    fn holds(&self, _: &Holder) -> bool {
        true
    }

    fn revocations(&self) -> Option<&Arc<Revocations>> {
        Some(&self.0)
    }

    fn version(&self) -> u64 {
        0
    }
}

/// A running edge with its log.
pub(super) struct Host {
    pub(super) fanout: Fanout,
    pub(super) log: MemoryLog,
    pub(super) registry: Arc<Registry>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) meters: Meters,
    pub(super) shutdown: CancellationToken,
    pub(super) served: JoinHandle<()>,
    fence: Fence,
    url: String,
}

impl Host {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut FanoutConfig)) -> Self {
        Self::over(change, |log| Arc::new(log)).await
    }

    /// A host whose fan-out reads the log through what `remote` makes of it.
    pub(super) async fn over(
        change: impl FnOnce(&mut FanoutConfig),
        remote: impl FnOnce(MemoryLog) -> Arc<dyn EventLog>,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 256 << 20, total_bytes: 256 << 20 };
        let log = MemoryLog::new(retention, Arc::clone(&clock), 7);
        let fence = log.acquire().await.expect("fence");
        let registry = Arc::new(Registry::default());
        registry.0.lock().insert(STREAM.into());
        let (sender, commands) = mpsc::channel(64);
        let meters = Meters::default();
        let supervisor = Supervisor::default();
        let ports = Ports {
            log: remote(log.clone()),
            store: Arc::clone(&registry) as Arc<dyn StreamStore>,
            board: SourceBoard::default(),
            meters: meters.clone(),
            clock,
            supervisor: supervisor.clone(),
        };
        let parts = FanoutParts {
            ports,
            control: Arc::new(Commands(sender)),
            admission: Arc::new(Door(Arc::default())),
            user_limits: None,
        };
        let mut config = FanoutConfig { workers: 2, ..FanoutConfig::new("test") };
        change(&mut config);
        let fanout = Fanout::start(config, parts).expect("start");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("ws://{}", listener.local_addr().expect("address"));
        let shutdown = CancellationToken::new();
        let serving = {
            let (router, draining) = (fanout.router(), fanout.clone());
            let drain = async move { draining.drain().await };
            server::serve(ServerConfig::new(&supervisor), vec![listener], router, drain, shutdown.clone())
        };
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let served = tokio::spawn(serving);
        Self { fanout, log, registry, commands, meters, shutdown, served, fence, url }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(super) async fn connect(&self, path: &str) -> Client {
        Client::connect(&self.url(path), None).await
    }

    /// A client of the stream, with this query.
    pub(super) async fn stream(&self, query: &str) -> Client {
        self.connect(&format!("/ws/{STREAM}?token=t{query}")).await
    }

    pub(super) async fn append(&self, topic: &str, kind: EventKind, bodies: Vec<String>) {
        let now = SystemClock.now();
        let records = bodies.into_iter().map(|body| record(kind, now, body)).collect();
        self.append_records(topic, records).await;
    }

    pub(super) async fn append_records(&self, topic: &str, records: Vec<Record>) {
        let topic: Topic = topic.parse().expect("topic");
        self.log.append(self.fence, &topic, records).await.expect("append");
    }

    /// Gives a worker a socket as the handshake does.
    pub(super) fn hand_over(
        &self,
        socket: std::net::TcpStream,
        purpose: Purpose,
        control: bool,
        errors: Vec<MessageError>,
    ) {
        let shared = &self.fanout.0.shared;
        let seat = shared.seats.take(None, None).expect("a seat");
        let (leftover, batch, grant) = (Bytes::new(), None, Grant::default());
        let newcomer = UpgradedSocket {
            socket,
            leftover,
            purpose,
            control,
            batch,
            has_deflate: false,
            errors,
            grant,
            seat,
        };
        shared.adopt(newcomer);
    }

    /// Publishes a batch, as JSON, and returns the state after it.
    pub(super) async fn publish_to(&self, topic: &str, events: &str) -> Option<Bytes> {
        let topic: Topic = topic.parse().expect("topic");
        let batch = PublishBatch::parse(&format!("{{\"events\":[{events}]}}")).expect("a batch");
        let records = batch.records(SystemClock.now());
        let before = self.log.state(&topic).await.expect("state");
        let after = before.as_ref().map(|before| before.position.clone());
        let state = records.iter().fold(before.and_then(|before| before.state), |state, record| {
            let mut scratch = String::new();
            let fields = PublishedFields::read(&record.body, &mut scratch).expect("fields");
            fold(state, record.kind, fields.payload())
        });
        let publication = Publication { after, records, state: state.clone(), key: None, entry: None };
        let outcome = self.log.publish(self.fence, &topic, publication).await.expect("published");
        assert!(matches!(outcome, PublishOutcome::Appended(_)));
        state
    }

    /// Publishes a delta with this payload.
    pub(super) async fn delta(&self, topic: &str, payload: &str) {
        self.publish_to(topic, &format!(r#"{{"payload":{payload}}}"#)).await;
    }

    /// Publishes an alert with this payload.
    pub(super) async fn alert(&self, topic: &str, payload: &str) {
        self.publish_to(topic, &format!(r#"{{"type":"alert","payload":{payload}}}"#)).await;
    }

    /// Appends `count` events to the stream.
    pub(super) async fn publish(&self, count: u64) {
        let bodies = (0..count).map(|n| format!("\"n\":{n}")).collect();
        self.append(&stream_topic(), EventKind::Trade, bodies).await;
    }

    pub(super) async fn keep(&self, topic: &str, body: &str) {
        let topic = topic.parse().expect("topic");
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.log.keep(self.fence, &topic, body).await.expect("keep");
    }

    pub(super) async fn end(&self, topic: &str) {
        self.log.end(self.fence, &topic.parse().expect("topic")).await.expect("end");
    }

    /// The epoch of the stream.
    pub(super) async fn epoch(&self) -> String {
        let topic = stream_topic().parse().expect("topic");
        self.log.head(&topic).await.expect("head").expect("history").epoch.to_string()
    }

    pub(super) async fn command(&mut self) -> Command {
        timeout(PATIENCE, self.commands.recv()).await.expect("a command in time").expect("a command")
    }
}

/// Lets other tasks run until `is_so`.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it became so in time");
}

pub(super) fn stream_topic() -> String {
    format!("streams.{STREAM}")
}

pub(super) fn record(kind: EventKind, ts: UnixNanos, body: String) -> Record {
    Record { kind, ts, order: ts, body: body.into(), changes: None }
}

/// A WebSocket client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(super) subprotocol: Option<String>,
}

impl Client {
    pub(crate) async fn connect(url: &str, subprotocol: Option<&'static str>) -> Self {
        let mut request = url.into_client_request().expect("url");
        if let Some(name) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", name.parse().expect("header"));
        }
        let (socket, response) =
            timeout(PATIENCE, connect_async(request)).await.expect("in time").expect("connect");
        let agreed = response.headers().get("sec-websocket-protocol");
        let subprotocol = agreed.map(|value| value.to_str().expect("text").to_owned());
        Self { socket, subprotocol }
    }

    pub(crate) async fn say(&mut self, json: &str) {
        self.socket.send(Message::text(json)).await.expect("send");
    }

    pub(crate) async fn frame(&mut self) -> Message {
        let frame = timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
        frame.expect("not the end").expect("a good frame")
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        match self.frame().await {
            Message::Text(text) => serde_json::from_str(&text).expect("json"),
            other => panic!("{other:?}"),
        }
    }

    /// The next message of this type, whatever comes before it.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The next message as what matters of it: its type, number and payload.
    pub(crate) async fn told(&mut self) -> String {
        let message = self.next().await;
        for member in ["type", "topic", "epoch", "seq", "ts", "payload", "meta", "correlation_id"] {
            assert!(message.get(member).is_some(), "{member} in {message}");
        }
        let (kind, seq, payload) =
            (message["type"].as_str().unwrap_or_default(), &message["seq"], &message["payload"]);
        match kind {
            "gap" => format!(
                "gap {}-{} {}",
                message["from_seq"],
                message["to_seq"],
                message["reason"].as_str().unwrap_or_default()
            ),
            "ack" => format!(
                "ack {} {seq}/{}",
                message["action"].as_str().unwrap_or_default(),
                message["sequence_number"]
            ),
            "error" => format!("error {}", message["code"].as_str().unwrap_or_default()),
            "status" => format!("status {}", message["state"].as_str().unwrap_or_default()),
            _ => format!("{kind} {seq} {payload}"),
        }
    }

    /// The next messages, as [`Client::told`].
    pub(crate) async fn tells<const N: usize>(&mut self, expected: [&str; N]) {
        for expected in expected {
            assert_eq!(self.told().await, expected);
        }
    }

    /// The numbers of the next `count` messages, which must be events.
    pub(crate) async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            let message = self.next().await;
            seqs.push(message["seq"].as_u64().unwrap_or_else(|| panic!("no event: {message}")));
        }
        seqs
    }

    /// Reads on until the close, and returns its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.frame().await {
                let CloseFrame { code, reason } = frame.expect("a code");
                return (code.into(), reason.to_string());
            }
        }
    }

    /// Shows that everything the server had for this client has come: it answers a ping with nothing before it.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        self.socket.send(Message::Ping(Bytes::from_static(b"?"))).await.expect("send");
        matches!(self.frame().await, Message::Pong(_))
    }
}
