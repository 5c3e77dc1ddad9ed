//! The keys that sign tokens, replaced while they are in use when a host notices a rotation.

use std::time::Duration;

use bond_core::time::UnixNanos;
use bond_core::token::{TokenError, TokenKeys};
use bond_core::topic::StreamId;
use parking_lot::RwLock;

/// Signs and checks tokens by the keys of the moment.
#[derive(Debug)]
pub struct Tokens(RwLock<TokenKeys>);

impl Tokens {
    /// By these keys, until they are replaced.
    pub const fn new(keys: TokenKeys) -> Self {
        Self(RwLock::new(keys))
    }

    /// By these keys from here on.
    pub fn replace(&self, keys: TokenKeys) {
        *self.0.write() = keys;
    }

    /// A token for `stream` that is good until `ttl` after `now`, to the second.
    pub fn issue(&self, stream: &StreamId, now: UnixNanos, ttl: Duration) -> String {
        self.0.read().issue(stream, now, ttl)
    }

    /// Checks a token for `stream` and gives its expiry.
    ///
    /// # Errors
    /// [`TokenError`] says why it is refused.
    pub fn verify(&self, token: &str, stream: &StreamId, now: UnixNanos) -> Result<UnixNanos, TokenError> {
        self.0.read().verify(token, stream, now)
    }
}
