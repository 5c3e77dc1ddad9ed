//! A host for benchmarks: one stream over a log in memory, fed by orders on standard input, without a venue.
//!
//! Prints `ready {address} {path}`, then obeys one order a line, and ends with its input:
//!
//! - `publish {rate} {count}`: appends `count` events at `rate` a second, each with the time it was due (`t`, Unix nanoseconds) and
//!   its number (`n`); answers `published {number}`, fewer where it fell a second behind.
//! - `settle`: answers `settled`.
//!
//! With `--rate` it publishes by itself until it is ended.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bond_core::control::{Command, Control, ControlError};
use bond_core::log::{EventKind, EventLog, Fence, Record};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::store::{Claim, DesiredStream, StoreError, StreamStore};
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::{StreamId, Topic};
use bond_edge::server;
use bond_edge::ws::{Admission, Credentials, Fanout, FanoutConfig, FanoutParts, Grant, Refusal};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

const STREAM: &str = "0123456789abcdef";

/// Shortest pause between two looks at what is due.
const TICK: Duration = Duration::from_millis(1);

/// A publisher this far behind stops.
const GIVE_UP: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Arguments {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Events a second to publish without being told.
    #[arg(long)]
    rate: Option<u64>,
    /// Size of an event's own fields in bytes.
    #[arg(long, default_value_t = 150)]
    payload: usize,
    /// Threads that own connections; one a core by default.
    #[arg(long)]
    workers: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    server::raise_descriptor_limit();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let retention = Retention { ring: Duration::from_secs(60), topic_bytes: 16 << 20, total_bytes: 64 << 20 };
    let log = MemoryLog::new(retention, Arc::clone(&clock), 1);
    let fence = log.acquire().await?;
    let fanout = fanout(&arguments, &log, clock)?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    let address = listener.local_addr()?;
    let router = fanout.router();
    tokio::spawn(server::serve(vec![listener], router, fanout, CancellationToken::new()));
    say(&format!("ready {address} /ws/{STREAM}"))?;
    let publisher = Publisher { log, fence, payload: arguments.payload, runtime: Handle::current() };
    tokio::task::spawn_blocking(move || match arguments.rate {
        Some(rate) => publisher.publish(rate, u64::MAX).map(|_| ()),
        None => publisher.obey(),
    })
    .await?
}

fn fanout(arguments: &Arguments, log: &MemoryLog, clock: Arc<dyn Clock>) -> Result<Fanout> {
    let mut config = FanoutConfig { ring_bytes: 16 << 20, ..FanoutConfig::new("bench") };
    config.workers = arguments.workers.unwrap_or(config.workers);
    let parts = FanoutParts {
        log: Arc::new(log.clone()),
        store: Arc::new(Open),
        control: Arc::new(Open),
        admission: Arc::new(Open),
        board: SourceBoard::default(),
        meters: Meters::default(),
        clock,
    };
    Ok(Fanout::start(config, parts)?)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

struct Publisher {
    log: MemoryLog,
    fence: Fence,
    payload: usize,
    runtime: Handle,
}

impl Publisher {
    fn obey(&self) -> Result<()> {
        for line in std::io::stdin().lock().lines() {
            match line?.split(' ').collect::<Vec<_>>()[..] {
                ["publish", rate, count] => {
                    let published =
                        self.publish(rate.parse().context("rate")?, count.parse().context("count")?)?;
                    say(&format!("published {published}"))?;
                }
                ["settle"] => say("settled")?,
                _ => bail!("unknown order"),
            }
        }
        Ok(())
    }

    /// Whatever is due by now is one append.
    fn publish(&self, rate: u64, count: u64) -> Result<u64> {
        let topic: Topic = format!("streams.{STREAM}").parse()?;
        let start = SystemClock.now();
        let due = |number: u64| {
            Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(rate.max(1))) as u64)
        };
        let mut number = 0;
        while number < count {
            let elapsed = SystemClock.now().since(start);
            if elapsed < due(number) {
                std::thread::sleep((due(number) - elapsed).max(TICK));
                continue;
            }
            if elapsed - due(number) > GIVE_UP {
                break;
            }
            let first = number;
            while number < count && due(number) <= elapsed {
                number += 1;
            }
            let records = (first..number).map(|n| self.record(start.plus(due(n)), n)).collect();
            self.runtime.block_on(self.log.append(self.fence, &topic, records))?;
        }
        Ok(number)
    }

    fn record(&self, due: UnixNanos, number: u64) -> Record {
        let t = due.as_nanos();
        let fields = format!(
            r#""t":{t},"n":{number},"exchange":"binance","symbol":"BTC/USDT","price":61837.63,"amount":0.02,"pad":""#
        );
        let padding = self.payload.saturating_sub(fields.len() + 1);
        let body = format!("{fields}{:x<padding$}\"", "").into();
        Record { kind: EventKind::Custom, ts: due, order: due, body, changes: None }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this host's clock")]
    fn now(&self) -> UnixNanos {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixNanos::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Lets everybody in, and knows every stream.
struct Open;

#[async_trait]
impl Admission for Open {
    async fn stream(&self, _: &StreamId, _: Credentials<'_>) -> Result<Grant, Refusal> {
        Ok(Grant::default())
    }

    async fn feed(&self, _: Credentials<'_>) -> Result<Grant, Refusal> {
        Ok(Grant::default())
    }

    fn refresh(&self, _: Option<&StreamId>, _: &str) -> Result<Grant, Refusal> {
        Ok(Grant::default())
    }
}

#[async_trait]
impl Control for Open {
    async fn send(&self, _: Command) -> Result<(), ControlError> {
        Ok(())
    }
}

#[async_trait]
impl StreamStore for Open {
    async fn claim(
        &self,
        stream: DesiredStream,
        _: Claim,
        _: usize,
        _: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        Ok((stream, true))
    }

    async fn release(&self, _: &StreamId, _: &str, _: UnixNanos) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }

    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        let stream =
            DesiredStream { id: id.clone(), canonical: String::new(), spec: String::new(), created_at: now };
        Ok(Some((stream, Vec::new())))
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&StreamId>,
        _: usize,
        _: UnixNanos,
    ) -> Result<Vec<DesiredStream>, StoreError> {
        Ok(Vec::new())
    }

    async fn desired(&self, _: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        Ok(Vec::new())
    }
}
