//! What a process on AWS is made of: the log, commands and vitals in Redis, the registry in DynamoDB.

use std::sync::Arc;

use bond_api::rest::Readiness;
use bond_aws::Aws;
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::time::Clock;
use bond_core::vitals::LocalVitals;
use bond_edge::host::Parts;
use bond_ingest::clock::SystemClock;
use bond_ingest::engine::Ports;
use bond_redis::{Redis, RedisConfig, RedisControl, RedisLog, RedisVitals, Retention, Secret};
use bond_supervise::Supervisor;

use crate::config::Common;

/// One process among others.
pub(crate) struct Adapters {
    pub(crate) aws: Aws,
    pub(crate) redis: Redis,
    pub(crate) parts: Parts,
    /// The process's name.
    pub(crate) instance: String,
}

impl Adapters {
    /// Connects to Redis, with the password from its secret.
    pub(crate) async fn connect(common: &Common) -> anyhow::Result<Self> {
        let aws = Aws::load().await;
        let password = match &common.redis_auth_secret {
            Some(name) => Some(Secret::new(aws.secrets().password(name).await?)),
            None => None,
        };
        let redis = Redis::connect(&RedisConfig { url: common.redis_url.clone(), password }).await?;
        let nonce = getrandom::u32()?;
        let instance = format!("{nonce:08x}");
        let parts = parts(common, &aws, &redis, &instance, nonce);
        Ok(Self { aws, redis, parts, instance })
    }
}

fn parts(common: &Common, aws: &Aws, redis: &Redis, instance: &str, nonce: u32) -> Parts {
    let settings = &common.settings;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let retention = Retention { ring: settings.ring, topic_bytes: settings.ring_bytes / 4 };
    let (board, meters, supervisor) = <(SourceBoard, Meters, Supervisor)>::default();
    Parts {
        control: Arc::new(RedisControl::new(redis.clone())),
        vitals: Arc::new(RedisVitals::new(redis.clone(), instance)),
        local: Arc::new(LocalVitals::new(meters.clone(), board.clone())),
        readiness: Readiness::of(&supervisor),
        ports: Ports {
            log: Arc::new(RedisLog::new(redis.clone(), retention, Arc::clone(&clock), nonce)),
            store: Arc::new(aws.streams(&common.streams_table)),
            board,
            meters,
            clock,
            supervisor,
        },
    }
}
