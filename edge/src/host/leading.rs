//! Ingest within a process that also serves clients. A single process ingests at once; one of several does while it leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bond_core::backoff::BackoffPolicy;
use bond_core::control::{Command, Commands};
use bond_core::lease::Lease;
use bond_core::log::LogError;
use bond_ingest::engine::{self, EngineConfig, EngineHandle, Market, Ports};
use bond_ingest::leader;
use bond_ingest::session::{Network, Timing};
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::intake::Intake;
use crate::config::Settings;

/// Whether this process leads. Clones share the value.
#[derive(Clone, Debug, Default)]
pub struct Leading(Arc<AtomicBool>);

impl Leading {
    /// Sets whether this process leads.
    pub fn set(&self, leads: bool) {
        self.0.store(leads, Ordering::Release);
    }

    /// Whether this process leads.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Starts an engine: once, or again for each term of leadership.
#[derive(Clone)]
pub struct Ingest {
    config: EngineConfig,
    ports: Ports,
}

impl Ingest {
    /// An engine for these markets, configured by `settings`. `social_seed` is the seed of the simulated social source.
    pub fn new(settings: &Settings, markets: Vec<Market>, ports: Ports, social_seed: u64) -> Self {
        let backoff = BackoffPolicy {
            first: settings.backoff_first,
            most: settings.backoff_max.max(settings.backoff_first),
            ..BackoffPolicy::default()
        };
        let config = EngineConfig {
            markets,
            feed_symbols: settings.feed_symbols.clone(),
            ring: settings.ring,
            max_lag: settings.max_lag,
            timing: Timing { backoff, ..Timing::default() }.patient_by(settings.patience_percent),
            allow_private_sources: settings.allow_private_sources,
            max_subscriptions: settings.max_subscriptions,
            max_sockets: settings.max_sockets,
            social_seed,
        };
        Self { config, ports }
    }

    /// Starts the engine, which runs until `cancel`.
    ///
    /// # Errors
    /// [`LogError`] if the log or the network cannot be used.
    pub async fn start(&self, cancel: CancellationToken) -> Result<EngineHandle, LogError> {
        let network = Network::new().map_err(|error| LogError::Unavailable(error.to_string()))?;
        engine::start(self.config.clone(), self.ports.clone(), network, cancel).await
    }

    /// Runs the engine whenever this process holds `lease`, until `cancel`. `commands` opens a reader of what other processes
    /// send, and `intake` is what they publish.
    pub async fn lead<F>(
        self,
        lease: Arc<dyn Lease>,
        leading: Leading,
        commands: impl Fn() -> F,
        intake: &Intake,
        cancel: CancellationToken,
    ) where
        F: Future<Output = Result<Box<dyn Commands>, LogError>>,
    {
        let serve = |_, over| async {
            let outcome = self.serve_term(commands().await?, intake, &leading, over).await;
            leading.set(false);
            outcome
        };
        leader::lead(lease, &self.ports.supervisor, cancel, serve).await;
    }

    /// Brings `engine` what other processes send, until `over`. `told` hears of each command before.
    pub fn carry(
        &self,
        engine: &EngineHandle,
        commands: Box<dyn Commands>,
        told: impl Fn(&Command) + Send + Sync + 'static,
        over: &CancellationToken,
    ) -> JoinHandle<()> {
        let (stop, control) = (over.clone(), engine.control());
        self.ports.supervisor.spawn("commands", over, async move {
            stop.run_until_cancelled(engine::carry(commands, control, told)).await;
            // Where the engine has stopped there is nothing to carry, which is told by the engine.
            stop.cancelled().await;
        })
    }

    async fn serve_term(
        &self,
        commands: Box<dyn Commands>,
        intake: &Intake,
        leading: &Leading,
        over: CancellationToken,
    ) -> Result<(), LogError> {
        let engine = self.start(over).await?;
        leading.set(true);
        let over = CancellationToken::new();
        let mut beside = intake.begin(&engine, &over);
        beside.push(self.carry(&engine, commands, |_| {}, &over));
        let outcome = engine.stopped().await;
        over.cancel();
        // An error means a panic, which the supervisor knows of.
        join_all(beside).await;
        outcome
    }
}
