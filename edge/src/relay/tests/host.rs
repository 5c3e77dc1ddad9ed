//! A relay with everything around it in memory, under the runtime's own time.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::api_key::Holder;
use bond_core::connection::{Batch, Carries, Connection, ConnectionId, ConnectionStore};
use bond_core::control::{Command, Control, ControlError};
use bond_core::cursors::{CursorStore, LaneCursors};
use bond_core::lease::LEASE;
use bond_core::log::{EventKind, EventLog, Fence, LogError, Publication, PublishOutcome, Record};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::position::Start;
use bond_core::publish::{PublishBatch, PublishedFields, fold};
use bond_core::source::SourceBoard;
use bond_core::store::{Claim, DesiredStream, StoreError, StreamStore};
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::{StreamId, Topic};
use bond_ingest::engine::Ports;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::gateway::{Gateway, Probe};
use crate::relay::{Relay, RelayConfig, RelayParts, Revoked};

pub(super) const STREAM: &str = "0123456789abcdef";

/// Long enough for anything that happens at all, in the runtime's time.
const PATIENCE: Duration = Duration::from_secs(900);

/// Goes with the runtime's time.
#[derive(Debug)]
pub(super) struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_secs(1_000_000).plus(self.0.elapsed())
    }
}

/// Knows all streams but those that were deleted.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashSet<StreamId>>);

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

    async fn release(&self, id: &StreamId, _: &str, _: UnixNanos) -> Result<Option<bool>, StoreError> {
        Ok(Some(self.0.lock().insert(id.clone())))
    }

    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        let stream =
            DesiredStream { id: id.clone(), canonical: String::new(), spec: String::new(), created_at: now };
        Ok((!self.0.lock().contains(id)).then_some((stream, Vec::new())))
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

/// Connections in memory.
#[derive(Default)]
pub(super) struct Connections(Mutex<BTreeMap<ConnectionId, Connection>>);

#[async_trait]
impl ConnectionStore for Connections {
    async fn put(&self, connection: &Connection) -> Result<bool, StoreError> {
        let mut kept = self.0.lock();
        let is_new = kept.get(&connection.id).is_none_or(|known| known.asked_at <= connection.asked_at);
        if is_new {
            kept.insert(connection.id.clone(), connection.clone());
        }
        Ok(is_new)
    }

    async fn replace(&self, connection: &Connection, was: UnixNanos) -> Result<bool, StoreError> {
        let mut kept = self.0.lock();
        let is_known = kept.get(&connection.id).is_some_and(|known| known.asked_at == was);
        if is_known {
            kept.insert(connection.id.clone(), connection.clone());
        }
        Ok(is_known)
    }

    async fn get(&self, id: &ConnectionId, now: UnixNanos) -> Result<Option<Connection>, StoreError> {
        Ok(self.0.lock().get(id).filter(|connection| !connection.is_over(now)).cloned())
    }

    async fn remove(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        Ok(self.0.lock().remove(id).is_some())
    }

    async fn lane(&self, lane: u16, now: UnixNanos) -> Result<Vec<Connection>, StoreError> {
        let kept = self.0.lock();
        Ok(kept.values().filter(|c| c.id.lane() == lane && !c.is_over(now)).cloned().collect())
    }
}

impl Connections {
    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.lock().contains_key(&ConnectionId::new(name))
    }

    pub(super) fn forget(&self, name: &str) {
        self.0.lock().remove(&ConnectionId::new(name));
    }
}

/// Positions in memory, as an adapter keeps them.
#[derive(Default)]
pub(super) struct Cursors(Mutex<BTreeMap<u16, (Fence, String)>>);

#[async_trait]
impl CursorStore for Cursors {
    async fn save(&self, fence: Fence, lane: u16, cursors: &LaneCursors) -> Result<(), LogError> {
        let mut saved = self.0.lock();
        if saved.get(&lane).is_some_and(|(known, _)| *known > fence) {
            return Err(LogError::Fenced);
        }
        saved.insert(lane, (fence, cursors.to_json()));
        Ok(())
    }

    async fn load(&self, lane: u16) -> Result<LaneCursors, LogError> {
        let saved = self.0.lock();
        saved.get(&lane).map_or(Ok(LaneCursors::default()), |(_, text)| LaneCursors::from_json(text))
    }
}

impl Cursors {
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}

#[derive(Default)]
pub(super) struct Commands(Mutex<Vec<Command>>);

#[async_trait]
impl Control for Commands {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        self.0.lock().push(command);
        Ok(())
    }
}

impl Commands {
    pub(super) fn all(&self) -> Vec<Command> {
        self.0.lock().clone()
    }
}

/// A relay and its world.
/// Keys that were revoked.
#[derive(Default)]
pub(super) struct RevokedKeys(pub(super) Mutex<Vec<Holder>>);

impl Revoked for RevokedKeys {
    fn is_revoked(&self, holder: &Holder, _: UnixNanos) -> bool {
        self.0.lock().contains(holder)
    }
}

pub(super) struct Host {
    pub(super) relay: Relay,
    pub(super) gateway: Arc<Gateway>,
    pub(super) connections: Arc<Connections>,
    pub(super) commands: Arc<Commands>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) until: Arc<Mutex<Instant>>,
    pub(super) config: RelayConfig,
    pub(super) cursors: Arc<Cursors>,
    pub(super) revoked: Arc<RevokedKeys>,
    parts: RelayParts,
    fence: Fence,
}

impl Host {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(Instant::now()));
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 256 << 20, total_bytes: 256 << 20 };
        let log = MemoryLog::new(retention, Arc::clone(&clock), 7);
        let fence = log.acquire().await.expect("fence");
        let (gateway, connections) = (Arc::<Gateway>::default(), Arc::<Connections>::default());
        let (commands, cursors) = (Arc::<Commands>::default(), Arc::<Cursors>::default());
        let until = Arc::new(Mutex::new(Instant::now() + Duration::from_secs(1 << 20)));
        let lease = Arc::clone(&until);
        let revoked = Arc::<RevokedKeys>::default();
        let ports = Ports {
            log: Arc::new(log),
            store: Arc::new(Registry::default()),
            board: SourceBoard::default(),
            meters: Meters::default(),
            clock: Arc::clone(&clock),
            supervisor: bond_supervise::Supervisor::default(),
        };
        let parts = RelayParts {
            ports,
            control: Arc::<Commands>::clone(&commands),
            connections: Arc::<Connections>::clone(&connections),
            cursors: Arc::<Cursors>::clone(&cursors),
            invoker: Arc::<Gateway>::clone(&gateway),
            probe: Arc::new(Probe(Arc::clone(&gateway))),
            fence,
            until: Arc::new(move || *lease.lock()),
            revoked: Arc::<RevokedKeys>::clone(&revoked),
        };
        let mut config = RelayConfig { wait: Duration::ZERO, ..RelayConfig::default() };
        change(&mut config);
        let relay = Relay::start(config.clone(), parts.clone());
        Self { relay, gateway, connections, commands, clock, until, config, cursors, revoked, parts, fence }
    }

    /// A relay takes over from one that is gone, once that one's lease is over.
    pub(super) async fn take_over(&mut self) {
        sleep(LEASE).await;
        self.take_over_at_once();
    }

    pub(super) fn take_over_at_once(&mut self) {
        self.parts.fence = Fence(self.parts.fence.0 + 1);
        self.relay = Relay::start(self.config.clone(), self.parts.clone());
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.parts.ports.meters
    }

    /// A connection to the stream, opened now, with control on.
    pub(super) fn to_stream(&self, name: &str) -> Connection {
        let now = self.clock.now();
        let carries = Carries::Stream { id: stream(), start: Start::At(now) };
        Connection { control: true, ..Connection::opened(ConnectionId::new(name), now, carries) }
    }

    pub(super) fn batched(&self, name: &str, size: usize, wait: Duration) -> Connection {
        Connection { batch: Some(Batch { size, wait }), ..self.to_stream(name) }
    }

    /// What a function does with a connection: it is kept, and told.
    pub(super) async fn connect(&self, connection: Connection) {
        self.connections.put(&connection).await.expect("put");
        self.relay.notify(Command::Connected(Box::new(connection)));
    }

    /// Connects so many clients to the stream and returns their names.
    pub(super) async fn connect_many(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        for name in &names {
            self.connect(self.to_stream(name)).await;
        }
        names
    }

    pub(super) async fn publish(&self, count: usize) {
        self.append(&stream_topic(), EventKind::Trade, vec!["\"n\":0".to_owned(); count]).await;
    }

    pub(super) async fn append(&self, topic: &str, kind: EventKind, bodies: Vec<String>) {
        let now = self.clock.now();
        let record = |body: String| Record { kind, ts: now, order: now, body: body.into(), changes: None };
        self.append_records(topic, bodies.into_iter().map(record).collect()).await;
    }

    pub(super) async fn append_records(&self, topic: &str, records: Vec<Record>) {
        let topic: Topic = topic.parse().expect("topic");
        self.parts.ports.log.append(self.fence, &topic, records).await.expect("append");
    }

    /// Publishes events as a publisher sends them: a list of `{"type":…,"payload":…}`.
    pub(super) async fn publish_to(&self, topic: &str, events: &str) {
        let topic: Topic = topic.parse().expect("topic");
        let log = &self.parts.ports.log;
        let batch = PublishBatch::parse(&format!(r#"{{"events":{events}}}"#)).expect("a batch");
        let found = log.state(&topic).await.expect("read");
        let (after, mut state) = found.map_or((None, None), |found| (Some(found.position), found.state));
        let records = batch.records(self.clock.now());
        for record in &records {
            let mut scratch = String::new();
            let fields = PublishedFields::read(&record.body, &mut scratch).expect("fields");
            state = fold(state, record.kind, fields.payload());
        }
        let publication = Publication { after, records, state, key: None, entry: None };
        let outcome = log.publish(self.fence, &topic, publication).await.expect("published");
        assert!(matches!(outcome, PublishOutcome::Appended(_)), "{outcome:?}");
    }

    pub(super) async fn keep(&self, topic: &str, body: &str) {
        let topic = topic.parse().expect("topic");
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        self.parts.ports.log.keep(self.fence, &topic, body).await.expect("keep");
    }

    pub(super) async fn end(&self, topic: &str) {
        self.parts.ports.log.end(self.fence, &topic.parse().expect("topic")).await.expect("end");
    }

    pub(super) async fn delete_stream(&self) {
        self.parts.ports.store.release(&stream(), "owner", self.clock.now()).await.expect("released");
        self.end(&stream_topic()).await;
    }

    pub(super) async fn epoch(&self) -> String {
        let topic = stream_topic().parse().expect("topic");
        self.parts.ports.log.head(&topic).await.expect("head").expect("history").epoch.to_string()
    }

    /// The numbers that a client has, repeats dropped. Fails where one is missing that no gap told of.
    pub(super) fn seqs(&self, name: &str) -> Vec<u64> {
        seqs(&self.gateway.messages(name), &stream_topic())
    }

    /// Waits until a client has the event of this number.
    pub(super) async fn reaches(&self, name: &str, seq: u64) {
        until(|| self.gateway.last_seq(name) >= seq).await;
    }
}

/// The numbers of one topic in the order they came, repeats dropped. Fails where one is missing that no gap told of.
pub(super) fn seqs(messages: &[Value], topic: &str) -> Vec<u64> {
    let (mut seqs, mut epoch, mut next) = (Vec::new(), String::new(), None);
    for message in messages.iter().filter(|message| message["topic"] == topic) {
        if message["type"] == "gap" {
            epoch = message["epoch"].as_str().expect("epoch").to_owned();
            next = Some(message["to_seq"].as_u64().expect("to_seq") + 1);
        } else if let Some(seq) = message["seq"].as_u64() {
            let is_other = message["epoch"] != epoch.as_str() && !epoch.is_empty();
            assert!(!is_other, "another epoch without a word: {message}");
            epoch = message["epoch"].as_str().expect("epoch").to_owned();
            let expected = next.unwrap_or(seq);
            assert!(seq <= expected, "{expected} to {seq} are missing on {topic}");
            if seq == expected {
                seqs.push(seq);
                next = Some(seq + 1);
            }
        }
    }
    seqs
}

/// Lets time go on until `is_so`.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it did not become so in time");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn stream() -> StreamId {
    StreamId::parse(STREAM).expect("id")
}

pub(super) fn stream_topic() -> String {
    format!("streams.{STREAM}")
}
