//! The engine: the single writer. It starts and stops subscriptions and streams according to what is wanted, and turns the reports of
//! sessions into appends to the log.

mod appender;
mod board;
mod depth;
mod desired;
mod health;
mod instruments;
mod intake;
mod losses;
mod markets;
mod outbox;
mod owners;
mod plan;
#[doc(hidden)]
pub mod probe;
mod registry;
mod run;
mod sockets;
mod streams;
mod subscriptions;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::control::{Command, Commands, Control, ControlError};
use bond_core::instrument::{MarketType, Symbol, Venue};
use bond_core::log::{EventLog, Fence, LogError};
use bond_core::meter::Meters;
use bond_core::publish::Publisher;
use bond_core::source::SourceBoard;
use bond_core::store::StreamStore;
use bond_core::time::Clock;
use bond_supervise::Supervisor;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::publish::{TopicPublisher, WriterPorts};
use crate::session::{Network, Timing};

/// The most commands that wait for the engine. If the queue is full, sending fails.
const COMMANDS: usize = 1024;

/// How long to wait after commands could not be read.
const COMMANDS_RETRY: Duration = Duration::from_millis(500);

/// How long the log may take for what it has in hand when the engine ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// One market of one venue, and where it is reached.
#[derive(Clone, Debug)]
pub struct Market {
    /// The venue.
    pub venue: Venue,
    /// The kind of market.
    pub market: MarketType,
    /// The base URL of WebSocket endpoints.
    pub ws_base: Url,
    /// The base URL of REST endpoints.
    pub rest_base: Url,
    /// Whether a simulator makes up the data. Clients can see this in statuses.
    pub simulated: bool,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The markets to serve.
    pub markets: Vec<Market>,
    /// The symbols that a feed gets which names none.
    pub feed_symbols: BTreeSet<Symbol>,
    /// How long history is kept, and how long a topic goes on running after the last client that wanted it.
    pub ring: Duration,
    /// How long windows wait for late events.
    pub max_lag: Duration,
    /// The timeouts of sessions.
    pub timing: Timing,
    /// Whether users' own sockets may have addresses outside the public internet.
    pub allow_private_sources: bool,
    /// The most subscriptions to venues at one time. Further ones wait until others end; until then their status is `unavailable`, with
    /// the reason `limit`.
    pub max_subscriptions: usize,
    /// The most users' own sockets at one time. The status of further ones is `unavailable`, with the reason `limit`.
    pub max_sockets: usize,
    /// The seed of the simulated social source.
    pub social_seed: u64,
}

/// The ports and shared state that an engine uses.
#[derive(Clone)]
pub struct Ports {
    /// The log to which events are appended.
    pub log: Arc<dyn EventLog>,
    /// The registry of the streams that are wanted.
    pub store: Arc<dyn StreamStore>,
    /// The table of source statuses.
    pub board: SourceBoard,
    /// Counters of streams.
    pub meters: Meters,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The supervisor of tasks that must run.
    pub supervisor: Supervisor,
}

/// A running engine.
pub struct EngineHandle {
    fence: Fence,
    control: Arc<Inbox>,
    publisher: Arc<TopicPublisher>,
    task: JoinHandle<Result<(), LogError>>,
}

impl EngineHandle {
    /// The port by which commands are sent to the engine.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::<Inbox>::clone(&self.control)
    }

    /// The writer of published topics, which runs under the same fencing number.
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::<TopicPublisher>::clone(&self.publisher)
    }

    /// The fencing number under which the engine writes.
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Waits until the engine has ended.
    ///
    /// # Errors
    /// [`LogError::Fenced`] if another writer has taken over; [`LogError::Unavailable`] if the log or the engine's task has failed.
    pub async fn stopped(self) -> Result<(), LogError> {
        self.task.await.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
    }
}

/// Becomes the log's writer and starts an engine, which goes on where the previous writer stopped and runs until `cancel`.
///
/// # Errors
/// [`LogError`] if the log cannot be acquired.
pub async fn start(
    config: EngineConfig,
    ports: Ports,
    network: Network,
    cancel: CancellationToken,
) -> Result<EngineHandle, LogError> {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let fence = ports.log.acquire().await?;
    let supervisor = ports.supervisor.clone();
    // The supervisor need not hear of an end because another writer took over or the log failed: `stopped` returns the error.
    let ended = CancellationToken::new();
    let writer_ports = WriterPorts { log: Arc::clone(&ports.log), fence, clock: Arc::clone(&ports.clock) };
    let (publisher, writers) = TopicPublisher::start(&writer_ports, &supervisor, &ended);
    let engine = run::Engine::new(&config, ports, &network, fence, cancel);
    let told = ended.clone();
    let task = supervisor.spawn("engine", &ended, async move {
        let outcome = tokio::select! {
            outcome = engine.run(commands) => outcome,
            // Whoever publishes has found another writer first.
            () = told.cancelled() => Err(LogError::Fenced),
        };
        told.cancel();
        if timeout(FAREWELL, join_all(writers)).await.is_err() {
            tracing::warn!("the log did not take the last batches of publishers in time");
        }
        outcome
    });
    Ok(EngineHandle { fence, control: Arc::new(Inbox(sender)), publisher: Arc::new(publisher), task })
}

/// [`Control`] within one process.
#[derive(Debug)]
struct Inbox(mpsc::Sender<Command>);

#[async_trait]
impl Control for Inbox {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        self.0.send(command).await.map_err(|_| ControlError("the engine has stopped".to_owned()))
    }
}

/// Passes commands of other processes to an engine, until the engine has stopped. Each command is passed to `told` before.
pub async fn carry(mut commands: Box<dyn Commands>, engine: Arc<dyn Control>, told: impl Fn(&Command)) {
    loop {
        match commands.next().await {
            Ok(batch) => {
                for command in batch {
                    told(&command);
                    if engine.send(command).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "commands cannot be read; what they would hasten is reconciled without them");
                sleep(COMMANDS_RETRY).await;
            }
        }
    }
}
