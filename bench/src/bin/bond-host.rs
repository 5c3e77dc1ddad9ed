//! Bond's side of the fan-out benchmark: the edge alone, with one stream in a log in memory.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bond_api::admission::{Admission, Credentials, Grant, Refusal, TopicGrant};
use bond_bench::fanout::host;
use bond_core::api_key::Holder;
use bond_core::clock::SystemClock;
use bond_core::control::{Command, Control, ControlError};
use bond_core::grants::Grants;
use bond_core::log::{EventKind, EventLog, Fence, Record};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::store::{Claim, DesiredStream, Labels, StreamStore};
use bond_core::time::Clock;
use bond_core::topic::{StreamId, Topic};
use bond_edge::server::{self, ServerConfig};
use bond_edge::store::RedbStore;
use bond_edge::ws::{Fanout, FanoutConfig, FanoutParts};
use bond_ingest::engine::Ports;
use bond_supervise::Supervisor;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The one stream.
const STREAM: &str = "0123456789abcdef";

/// History in the log, and as much again in the edge's ring: about the events that the axum peer's channel holds. `bond up`
/// keeps 60 s by default, which is memory of the stream and not of its connections.
const HISTORY: usize = 2 << 20;

const RETENTION: Retention =
    Retention { ring: Duration::from_secs(60), topic_bytes: HISTORY, total_bytes: HISTORY };

#[derive(Parser)]
struct Arguments {
    /// Size of an event in bytes.
    #[arg(long, default_value_t = 150)]
    payload: usize,
    /// Fill events with levels of an order book, which compress as such do, instead of one letter.
    #[arg(long)]
    levels: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments = Arguments::parse();
    let log = MemoryLog::new(RETENTION, Arc::new(SystemClock), 0);
    let publisher = Publisher::new(log.clone()).await?;
    let address = serve(log).await?;
    let path = format!("/ws/{STREAM}?token=any");
    let mut levels = Levels::default();
    let orders = move || {
        host::serve_orders(address, &path, arguments.payload, |event| {
            publisher.publish(if arguments.levels { levels.fill(&event) } else { event });
        })
    };
    tokio::task::spawn_blocking(orders).await?
}

/// Starts the edge on a free port of loopback.
async fn serve(log: MemoryLog) -> Result<SocketAddr> {
    let supervisor = Supervisor::default();
    let ports = Ports {
        log: Arc::new(log),
        store: Arc::new(registry().await?),
        board: SourceBoard::default(),
        meters: Meters::default(),
        clock: Arc::new(SystemClock),
        supervisor: supervisor.clone(),
    };
    let parts = FanoutParts { ports, control: Arc::new(NoIngest), admission: Arc::new(Open), user_limits: None };
    let config = FanoutConfig { ring_bytes: HISTORY as u64, ..FanoutConfig::new("bench") };
    let fanout = Fanout::start(config, parts)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = fanout.router();
    let drain = async move { fanout.drain().await };
    tokio::spawn(server::serve(
        ServerConfig::new(&supervisor),
        vec![listener],
        router,
        drain,
        CancellationToken::new(),
    ));
    Ok(address)
}

/// A registry that holds the one stream.
async fn registry() -> Result<RedbStore> {
    let store = RedbStore::in_memory()?;
    let now = SystemClock.now();
    let id = StreamId::parse(STREAM).context("no stream id")?;
    let stream = DesiredStream { id, canonical: String::new(), spec: "{}".to_owned(), created_at: now };
    store
        .claim(
            stream,
            Claim { owner: "bench".to_owned(), expires_at: None, labels: Labels::default() },
            1,
            now,
        )
        .await?;
    Ok(store)
}

/// Text like the levels of an order book: prices that fall in small steps, and amounts.
struct Levels {
    random: u64,
    price: u64,
    ready: VecDeque<char>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { random: 0x9E37_79B9_7F4A_7C15, price: 0, ready: VecDeque::new() }
    }
}

impl Levels {
    /// The event with its padding replaced.
    fn fill(&mut self, event: &str) -> String {
        self.price = 6_183_763 + self.random() % 100;
        self.ready.clear();
        let Some((fields, padding)) = event.split_once("\"pad\":\"") else { return event.to_owned() };
        let filled: String =
            padding.chars().map(|letter| if letter == 'x' { self.next() } else { letter }).collect();
        format!("{fields}\"pad\":\"{filled}")
    }

    fn next(&mut self) -> char {
        if self.ready.is_empty() {
            self.price -= 1 + self.random() % 9;
            let amount = self.random() % 100_000;
            let level = format!(
                "[{}.{:02},{}.{:04}],",
                self.price / 100,
                self.price % 100,
                amount / 10_000,
                amount % 10_000
            );
            self.ready.extend(level.chars());
        }
        self.ready.pop_front().unwrap_or(' ')
    }

    /// The generator `xorshift64`.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The writer of the stream's topic.
struct Publisher {
    log: MemoryLog,
    fence: Fence,
    topic: Topic,
    runtime: Handle,
}

impl Publisher {
    async fn new(log: MemoryLog) -> Result<Self> {
        let fence = log.acquire().await?;
        let topic = Topic::Stream(StreamId::parse(STREAM).context("no stream id")?);
        Ok(Self { log, fence, topic, runtime: Handle::current() })
    }

    /// Appends a JSON object as one event.
    fn publish(&self, mut event: String) {
        event.pop();
        event.remove(0);
        let now = SystemClock.now();
        let record =
            Record { kind: EventKind::Custom, ts: now, order: now, body: event.into(), changes: None };
        let appended = self.runtime.block_on(self.log.append(self.fence, &self.topic, vec![record]));
        appended.expect("the only writer of a log in memory");
    }
}

/// Everybody may connect.
struct Open;

#[async_trait]
impl Admission for Open {
    async fn stream(&self, _: &StreamId, _: Credentials<'_>) -> Result<Grant, Refusal> {
        Ok(Grant::default())
    }

    async fn feed(&self, _: Credentials<'_>) -> Result<Grant, Refusal> {
        Ok(Grant::default())
    }

    fn topics(&self, _: Credentials<'_>) -> Result<TopicGrant, Refusal> {
        Ok(TopicGrant { grants: Grants::open(), holder: None })
    }

    fn refresh_topics(&self, access: &TopicGrant, _: &str) -> Result<TopicGrant, Refusal> {
        Ok(access.clone())
    }

    fn refresh(&self, _: Option<&StreamId>, _: Option<&Holder>, _: &str) -> Result<Grant, Refusal> {
        Ok(Grant::default())
    }

    fn holds(&self, _: &Holder) -> bool {
        true
    }

    fn version(&self) -> u64 {
        0
    }
}

/// Feeds' wishes lead nowhere.
struct NoIngest;

#[async_trait]
impl Control for NoIngest {
    async fn send(&self, _: Command) -> Result<(), ControlError> {
        Ok(())
    }
}
