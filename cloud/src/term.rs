//! A term of leading: the engine writes, the relay delivers, and both end before the lease does.

use std::sync::Arc;

use bond_aws::Aws;
use bond_core::connection::ConnectionStore;
use bond_core::control::{Command, Control};
use bond_core::deliver::{Deliverer, Invoker};
use bond_core::log::{Fence, LogError};
use bond_edge::host::Parts;
use bond_edge::host::intake::Intake;
use bond_edge::host::leading::{Ingest, Leading};
use bond_edge::relay::{Relay, RelayConfig, RelayParts, RelayStats};
use bond_ingest::leader::Deadline;
use bond_redis::{Redis, RedisCommands, RedisCursors};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::IngestSettings;
use crate::keys::{KeySecret, KnownKeys};

/// The probe asks one connection after the other and never posts.
const PROBES_PER_SECOND: u32 = 100;

/// What every term is served with.
pub(crate) struct Terms {
    pub(crate) ingest: Ingest,
    intake: Intake,
    pub(crate) leading: Leading,
    parts: Parts,
    redis: Redis,
    relay_config: RelayConfig,
    connections: Arc<dyn ConnectionStore>,
    invoker: Arc<dyn Invoker>,
    probe: Arc<dyn Deliverer>,
    key_secret: KeySecret,
    keys: Arc<KnownKeys>,
    pub(crate) relay: Arc<Mutex<Option<Relay>>>,
}

impl Terms {
    /// Ingest and relay over these adapters.
    pub(crate) fn new(
        settings: &IngestSettings,
        aws: &Aws,
        redis: Redis,
        parts: Parts,
        ingest: Ingest,
    ) -> anyhow::Result<Self> {
        let shared = &settings.common.settings;
        let relay_config = RelayConfig {
            ring: shared.ring,
            ring_bytes: u64::try_from(shared.ring_bytes / 4)?,
            heartbeat: shared.heartbeat,
            probe: settings.probe,
            ..RelayConfig::default()
        };
        let terms = Self {
            ingest,
            intake: Intake::new(redis.clone(), parts.ports.clone(), shared),
            leading: Leading::default(),
            redis,
            relay_config,
            connections: Arc::new(aws.connections(&settings.connections_table)),
            invoker: Arc::new(aws.lambda(&settings.fanout_function)?),
            probe: Arc::new(aws.api_gateway(&settings.callback_url, PROBES_PER_SECOND)?),
            key_secret: KeySecret {
                secrets: aws.secrets(),
                name: settings.api_keys_secret.clone(),
                every: settings.keys_every,
            },
            keys: Arc::default(),
            relay: Arc::default(),
            parts,
        };
        let relay = Arc::clone(&terms.relay);
        terms.parts.local.attach(Box::new(move || {
            let stats = relay.lock().as_ref().map(Relay::stats);
            let RelayStats { connections, delivered } =
                stats.unwrap_or(RelayStats { connections: 0, delivered: 0 });
            (connections as u64, delivered)
        }));
        Ok(terms)
    }

    /// Serves one term, until `over` or until another writer takes over.
    pub(crate) async fn serve(&self, deadline: Deadline, over: CancellationToken) -> Result<(), LogError> {
        let commands = RedisCommands::open(&self.redis).await;
        let commands = commands.map_err(|error| LogError::Unavailable(error.to_string()))?;
        let engine = self.ingest.start(over).await?;
        let relay = Relay::start(
            self.relay_config.clone(),
            self.relay_parts(engine.fence(), engine.control(), deadline),
        );
        *self.relay.lock() = Some(relay.clone());
        self.leading.set(true);
        let ended = CancellationToken::new();
        let told = relay.clone();
        let tell_relay = move |command: &Command| told.notify(command.clone());
        let carrying = self.ingest.carry(&engine, Box::new(commands), tell_relay, &ended);
        let taking = self.intake.begin(&engine, &ended);
        let following = self.follow_keys(&ended);
        let outcome = engine.stopped().await;
        self.leading.set(false);
        relay.stop().await;
        *self.relay.lock() = None;
        ended.cancel();
        // They have panicked at most, which was noted.
        let _ = (carrying.await, following.await);
        for task in taking {
            let _ = task.await;
        }
        outcome
    }

    /// Reads the API keys again and again, so that connections of a revoked one are closed.
    fn follow_keys(&self, ended: &CancellationToken) -> JoinHandle<()> {
        let ports = &self.parts.ports;
        let (known, clock) = (Arc::clone(&self.keys), Arc::clone(&ports.clock));
        let following = self.key_secret.clone().follow(known, clock, ended.clone());
        ports.supervisor.spawn("keys", ended, following)
    }

    fn relay_parts(&self, fence: Fence, control: Arc<dyn Control>, until: Deadline) -> RelayParts {
        RelayParts {
            ports: self.parts.ports.clone(),
            control,
            connections: Arc::clone(&self.connections),
            cursors: Arc::new(RedisCursors::new(self.redis.clone())),
            invoker: Arc::clone(&self.invoker),
            probe: Arc::clone(&self.probe),
            fence,
            until,
            revoked: Arc::<KnownKeys>::clone(&self.keys),
        }
    }
}
