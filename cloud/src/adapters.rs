//! What a process on AWS is made of: the log, commands and vitals in Redis, the registry in DynamoDB.

use std::sync::Arc;

use bond_aws::Aws;
use bond_core::clock::SystemClock;
use bond_core::secret::Secret;
use bond_edge::host::{self, Parts};
use bond_redis::{Redis, RedisConfig};
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
        let supervisor = Supervisor::default();
        let redis = redis.watched_by(&supervisor);
        let store = Arc::new(aws.streams(&common.streams_table));
        let clock = Arc::new(SystemClock);
        let parts = host::redis::parts(&redis, store, &common.settings, clock, nonce, supervisor);
        Ok(Self { aws, redis, parts, instance: host::redis::name(nonce).into() })
    }
}
