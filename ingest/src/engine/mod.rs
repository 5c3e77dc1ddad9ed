//! The engine: the single writer. It keeps what runs in line with what is wanted, and turns reports into appends to the log.

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
use bond_core::source::SourceBoard;
use bond_core::store::StreamStore;
use bond_core::time::Clock;
use bond_supervise::Supervisor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::session::{Network, Timing};

/// Commands that may wait for the engine; an edge that finds the queue full is told so.
const COMMANDS: usize = 1024;

/// How long to wait before commands that could not be read are asked for again.
const COMMANDS_RETRY: Duration = Duration::from_millis(500);

/// One market of one venue, and where it is reached.
#[derive(Clone, Debug)]
pub struct Market {
    /// The venue.
    pub venue: Venue,
    /// Its market.
    pub market: MarketType,
    /// What WebSocket paths are appended to.
    pub ws_base: Url,
    /// What REST paths are appended to.
    pub rest_base: Url,
    /// Whether its data are made up by a simulator, which clients are told.
    pub simulated: bool,
}

/// How an engine behaves.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The markets it serves.
    pub markets: Vec<Market>,
    /// The symbols that `*` makes run.
    pub feed_symbols: BTreeSet<Symbol>,
    /// How long history is kept, and how long a topic runs on when nobody wants it.
    pub ring: Duration,
    /// How long windows wait for late events.
    pub max_lag: Duration,
    /// How patient sessions are.
    pub timing: Timing,
    /// Whether users' own sockets may be on addresses outside the public internet.
    pub allow_private_sources: bool,
    /// The most subscriptions to venues at one time. Beyond it, new ones wait until others end, and whoever wants them is told
    /// `unavailable`, for the reason `limit`.
    pub max_subscriptions: usize,
    /// The most users' own sockets at one time. Beyond it, a stream is told `unavailable` of them, for the reason `limit`.
    pub max_sockets: usize,
    /// The seed of the simulated social source.
    pub social_seed: u64,
}

/// What an engine reads, writes and reports to.
#[derive(Clone)]
pub struct Ports {
    /// Where events go.
    pub log: Arc<dyn EventLog>,
    /// Which streams are wanted.
    pub store: Arc<dyn StreamStore>,
    /// Where the statuses of sources go.
    pub board: SourceBoard,
    /// Counters of streams.
    pub meters: Meters,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Who watches over what must run.
    pub supervisor: Supervisor,
}

/// A running engine.
#[derive(Debug)]
pub struct EngineHandle {
    fence: Fence,
    control: Arc<Inbox>,
    task: JoinHandle<Result<(), LogError>>,
}

impl EngineHandle {
    /// The way of commands to it.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::<Inbox>::clone(&self.control)
    }

    /// The right under which it writes.
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where another writer has taken over; [`LogError::Unavailable`] where the log failed or the task did.
    pub async fn stopped(self) -> Result<(), LogError> {
        self.task.await.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
    }
}

/// Becomes the log's writer and starts: goes on where an earlier writer left off. The engine runs until `cancel`.
///
/// # Errors
/// [`LogError`] where the log cannot be had.
pub async fn start(
    config: EngineConfig,
    ports: Ports,
    network: Network,
    cancel: CancellationToken,
) -> Result<EngineHandle, LogError> {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let fence = ports.log.acquire().await?;
    let supervisor = ports.supervisor.clone();
    let engine = run::Engine::new(&config, ports, &network, fence, cancel);
    // That another writer took over, or that the log failed, is no end unseen: who waits for the engine is told.
    let ended = CancellationToken::new();
    let told = ended.clone();
    let task = supervisor.spawn("engine", &ended, async move {
        let outcome = engine.run(commands).await;
        told.cancel();
        outcome
    });
    Ok(EngineHandle { fence, control: Arc::new(Inbox(sender)), task })
}

/// Commands within one process.
#[derive(Debug)]
struct Inbox(mpsc::Sender<Command>);

#[async_trait]
impl Control for Inbox {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        self.0.send(command).await.map_err(|_| ControlError("the engine has stopped".to_owned()))
    }
}

/// Brings an engine what other processes send, until the engine has stopped. `told` hears of each command before.
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
