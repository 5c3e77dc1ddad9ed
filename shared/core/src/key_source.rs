//! The port to the store of keys, for hosts that do not keep them in a file.

use async_trait::async_trait;

use crate::api_key::KeyFile;
use crate::token::TokenKeys;

/// The keys cannot be read, or are malformed. The message contains nothing of their text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys cannot be used: {0}")]
pub struct KeySourceError(pub String);

/// A store of keys. Keys may change while a process runs, so it must ask again at intervals.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The keys that sign tokens.
    ///
    /// # Errors
    /// [`KeySourceError`].
    async fn token_keys(&self) -> Result<TokenKeys, KeySourceError>;

    /// The API keys of those who may call.
    ///
    /// # Errors
    /// [`KeySourceError`].
    async fn api_keys(&self) -> Result<KeyFile, KeySourceError>;
}
