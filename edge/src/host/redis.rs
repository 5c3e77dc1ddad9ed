//! Several processes on one Redis, which share its log, registry and lease, and exchange commands and health reports through it.

use std::sync::Arc;

use bond_api::rest::Readiness;
use bond_core::control::Commands;
use bond_core::log::LogError;
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::store::StreamStore;
use bond_core::time::Clock;
use bond_core::vitals::LocalVitals;
use bond_ingest::engine::Ports;
use bond_redis::{
    ConnectError, Redis, RedisCommands, RedisConfig, RedisControl, RedisLease, RedisLog, RedisPublisher,
    RedisStore, RedisUserLimits, RedisVitals, Retention,
};
use bond_supervise::Supervisor;
use smol_str::{SmolStr, format_smolstr};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::intake::Intake;
use super::leading::{Ingest, Leading};
use super::vitals;
use crate::config::Settings;

/// One of several processes on one Redis.
pub struct RedisHost {
    /// What clients are served from.
    pub parts: Parts,
    /// The process's name.
    pub instance: SmolStr,
    redis: Redis,
    leading: Leading,
}

impl RedisHost {
    /// Joins the processes on the Redis at `url`. `nonce` identifies this process: draw it at random.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn join(
        url: &str,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        nonce: u32,
    ) -> Result<Self, ConnectError> {
        let supervisor = Supervisor::default();
        let redis = Redis::connect(&RedisConfig { url: url.to_owned(), password: None }).await?;
        let redis = redis.watched_by(&supervisor);
        let store = Arc::new(RedisStore::new(redis.clone()));
        let parts = parts(&redis, store, settings, clock, nonce, supervisor);
        let instance = name(nonce);
        Ok(Self { parts, instance, redis, leading: Leading::default() })
    }

    /// The secret that the processes on this Redis share. If there is none yet, it becomes `fresh`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn secret(&self, fresh: String) -> Result<String, LogError> {
        self.redis.shared_secret(fresh).await
    }

    /// Publishes this process's health report each second, until `cancel`.
    pub fn publish_vitals(&self, cancel: &CancellationToken) -> JoinHandle<()> {
        let tell = vitals::publish(self.parts.clone(), self.leading.clone(), cancel.clone());
        self.parts.ports.supervisor.spawn("vitals", cancel, tell)
    }

    /// Stands by, and ingests whenever this process leads, until `cancel`.
    pub fn ingest(&self, ingest: Ingest, settings: &Settings, cancel: &CancellationToken) -> JoinHandle<()> {
        let intake = Intake::new(self.redis.clone(), self.parts.ports.clone(), settings);
        let lease = Arc::new(RedisLease::new(self.redis.clone(), self.instance.as_str()));
        let (redis, leading, stop) = (self.redis.clone(), self.leading.clone(), cancel.clone());
        self.parts.ports.supervisor.spawn("leader", cancel, async move {
            let commands = || async {
                let opened = RedisCommands::open(&redis).await;
                let opened = opened.map_err(|error| LogError::Unavailable(error.to_string()))?;
                Ok(Box::new(opened) as Box<dyn Commands>)
            };
            ingest.lead(lease, leading, commands, &intake, stop).await;
        })
    }
}

/// The name of a process, unique among those on its Redis. `nonce` is drawn at random.
pub fn name(nonce: u32) -> SmolStr {
    format_smolstr!("{nonce:08x}")
}

/// What a process serves clients from that has its log, its commands and its vitals on this Redis, and its streams in `store`.
pub fn parts(
    redis: &Redis,
    store: Arc<dyn StreamStore>,
    settings: &Settings,
    clock: Arc<dyn Clock>,
    nonce: u32,
    supervisor: Supervisor,
) -> Parts {
    let retention = Retention {
        ring: settings.ring,
        topic_bytes: settings.ring_bytes / 4,
        total_bytes: settings.ring_bytes,
    };
    let (board, meters) = <(SourceBoard, Meters)>::default();
    let log = RedisLog::new(redis.clone(), retention, Arc::clone(&clock), nonce);
    let log = Arc::new(log.with_topic_ttl(settings.topic_ttl));
    Parts {
        control: Arc::new(RedisControl::new(redis.clone())),
        user_limits: Some(Arc::new(RedisUserLimits::new(redis.clone()))),
        publisher: Arc::new(RedisPublisher::new(redis.clone(), name(nonce).as_str())),
        vitals: Arc::new(RedisVitals::new(redis.clone(), name(nonce).as_str())),
        local: Arc::new(LocalVitals::new(meters.clone(), board.clone())),
        readiness: Readiness::of(&supervisor),
        ports: Ports { log, store, board, meters, clock, supervisor },
    }
}
