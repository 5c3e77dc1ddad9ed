//! The writer's lease: a key that expires.

use async_trait::async_trait;
use bond_core::lease::{LEASE, Lease};
use bond_core::log::LogError;

use crate::client::{Redis, millis, unavailable};
use crate::script::Script;

const KEY: &str = "bond:lease";

/// The first write needs no memory, because a full Redis then lets the script write the rest too.
static HOLD: Script = Script::new(
    "local holder = redis.call('GET', KEYS[1])
    if holder and holder ~= ARGV[1] then return 0 end
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1",
);

static RELEASE: Script = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('DEL', KEYS[1])",
);

static HELD: Script = Script::new("return redis.call('EXISTS', KEYS[1])");

/// A [`Lease`] in Redis, by the clock of Redis.
pub struct RedisLease {
    redis: Redis,
    holder: String,
}

impl RedisLease {
    /// A handle by which this process holds the lease as `holder`. The name must be unique: draw it at random.
    pub fn new(redis: Redis, holder: impl Into<String>) -> Self {
        Self { redis, holder: holder.into() }
    }

    /// Whether any process holds the lease.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn is_held(redis: &Redis) -> Result<bool, LogError> {
        HELD.run(redis, KEY, Vec::new()).await.map_err(unavailable)
    }
}

#[async_trait]
impl Lease for RedisLease {
    async fn hold(&self) -> Result<bool, LogError> {
        let args = vec![self.holder.as_str().into(), i64::from(millis(LEASE)).into()];
        HOLD.run(&self.redis, KEY, args).await.map_err(unavailable)
    }

    async fn release(&self) -> Result<(), LogError> {
        RELEASE.run(&self.redis, KEY, vec![self.holder.as_str().into()]).await.map_err(unavailable)
    }
}
