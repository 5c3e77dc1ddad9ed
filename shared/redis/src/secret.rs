//! A secret that all processes on one Redis share.

use bond_core::log::LogError;

use crate::client::{Redis, unavailable};
use crate::script::Script;

const KEY: &str = "bond:secret";

static SHARE: Script = Script::new(
    "redis.call('SET', KEYS[1], ARGV[1], 'NX')
    return redis.call('GET', KEYS[1])",
);

impl Redis {
    /// The secret that the processes on this Redis share. If there is none yet, it becomes `fresh`. Everybody who can read Redis can read
    /// the secret.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn shared_secret(&self, fresh: String) -> Result<String, LogError> {
        SHARE.run(self, KEY, vec![fresh.into()]).await.map_err(unavailable)
    }
}
