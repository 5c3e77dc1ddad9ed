//! The keys that sign tokens. A host replaces them while they are in use when it notices a rotation.

use std::sync::Arc;
use std::time::Duration;

use bond_core::time::UnixNanos;
use bond_core::token::{TokenError, TokenKeys, Verified};
use bond_core::topic::StreamId;
use parking_lot::RwLock;

use crate::jwt::TokenVerifier;

/// Signs and checks tokens with the current keys.
#[derive(Debug)]
pub struct Tokens {
    keys: RwLock<TokenKeys>,
    topics: Arc<TokenVerifier>,
}

impl Tokens {
    /// Uses these keys until they are replaced. It accepts no token for topics.
    pub fn new(keys: TokenKeys) -> Self {
        Self { keys: RwLock::new(keys), topics: Arc::default() }
    }

    /// The same, with `topics` for the tokens of topics.
    #[must_use]
    pub fn with_topics(self, topics: Arc<TokenVerifier>) -> Self {
        Self { topics, ..self }
    }

    /// The verifier of tokens for topics.
    pub const fn topics(&self) -> &Arc<TokenVerifier> {
        &self.topics
    }

    /// Uses these keys from now on.
    pub fn replace(&self, keys: TokenKeys) {
        *self.keys.write() = keys;
    }

    /// A token for `stream` that is valid until `ttl` after `now`, to the second. `key` is the id of the API key of the caller.
    pub fn issue(&self, stream: &StreamId, key: Option<&str>, now: UnixNanos, ttl: Duration) -> String {
        self.keys.read().issue(stream, key, now, ttl)
    }

    /// A token for feeds, as [`Tokens::issue`].
    pub fn issue_for_feeds(&self, key: Option<&str>, now: UnixNanos, ttl: Duration) -> String {
        self.keys.read().issue_for_feeds(key, now, ttl)
    }

    /// Checks a token for `stream`.
    ///
    /// # Errors
    /// [`TokenError`] says why it is refused.
    pub fn verify(&self, token: &str, stream: &StreamId, now: UnixNanos) -> Result<Verified, TokenError> {
        self.keys.read().verify(token, stream, now)
    }

    /// Checks a token for feeds.
    ///
    /// # Errors
    /// [`TokenError`] says why it is refused.
    pub fn verify_for_feeds(&self, token: &str, now: UnixNanos) -> Result<Verified, TokenError> {
        self.keys.read().verify_for_feeds(token, now)
    }
}
