//! The keys that sign tokens and the keys that callers hold: secrets that may change while a function lives.

use std::sync::Arc;
use std::time::Duration;

use bond_api::auth::Access;
use bond_api::keys::Keys;
use bond_api::tokens::Tokens;
use bond_core::api_key::KeyFile;
use bond_core::key_source::{KeySource, KeySourceError};
use bond_core::token::TokenKeys;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

/// How long a secret that was read is taken for the current one.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// What the secrets of the moment are good for.
#[derive(Debug)]
pub struct Keyring {
    /// Who may call.
    pub access: Arc<Access>,
    /// What signs and checks tokens.
    pub tokens: Arc<Tokens>,
}

/// Reads the secrets when they are first needed, and again by the first request after a minute: nothing runs between requests.
pub struct Vault {
    source: Box<dyn KeySource>,
    keyring: OnceCell<Keyring>,
    read_at: Mutex<Instant>,
}

impl Vault {
    /// Over this source, nothing read yet.
    pub fn new(source: Box<dyn KeySource>) -> Self {
        Self { source, keyring: OnceCell::new(), read_at: Mutex::new(Instant::now()) }
    }

    /// The keys of the moment.
    ///
    /// # Errors
    /// [`KeySourceError`] where they were never read; those that were stay good while they cannot be read again.
    pub async fn keyring(&self) -> Result<&Keyring, KeySourceError> {
        let keyring = self.keyring.get_or_try_init(|| self.open()).await?;
        self.freshen(keyring).await;
        Ok(keyring)
    }

    async fn open(&self) -> Result<Keyring, KeySourceError> {
        let (tokens, keys) = self.read().await?;
        // Never open mode: behind API Gateway there is no loopback.
        let access = Access::new(Keys::given(keys), false);
        Ok(Keyring { access: Arc::new(access), tokens: Arc::new(Tokens::new(tokens)) })
    }

    async fn read(&self) -> Result<(TokenKeys, KeyFile), KeySourceError> {
        *self.read_at.lock().await = Instant::now();
        tokio::try_join!(self.source.token_keys(), self.source.api_keys())
    }

    async fn freshen(&self, keyring: &Keyring) {
        if self.read_at.lock().await.elapsed() < GOOD_FOR {
            return;
        }
        match self.read().await {
            Ok((tokens, keys)) => {
                keyring.tokens.replace(tokens);
                keyring.access.replace_keys(keys);
            }
            Err(error) => tracing::error!("{error}; the keys read before stay good"),
        }
    }
}
