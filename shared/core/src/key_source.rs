//! The port to where keys are kept, for hosts whose keys are elsewhere than in a file.

use async_trait::async_trait;

use crate::api_key::KeyFile;
use crate::token::TokenKeys;

/// Keys cannot be read, or are not what they should be. Says nothing of their text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys cannot be used: {0}")]
pub struct KeySourceError(pub String);

/// Where keys are. They may change while a process lives, which asks again as often as it has to know.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// What signs tokens.
    ///
    /// # Errors
    /// [`KeySourceError`].
    async fn token_keys(&self) -> Result<TokenKeys, KeySourceError>;

    /// Who may call.
    ///
    /// # Errors
    /// [`KeySourceError`].
    async fn api_keys(&self) -> Result<KeyFile, KeySourceError>;
}
