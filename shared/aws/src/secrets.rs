//! Secrets Manager: the keys, which change while processes live, and passwords.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use bond_core::api_key::{KeyFile, KeyFileError};
use bond_core::key_source::{IssuerKeys, KeySource, KeySourceError};
use bond_core::token::{KeySet, KeySetError, TokenKeys};

/// Why a secret could not be read. The secret's text is in none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager cannot be reached, or refuses.
    #[error("secret {name} unavailable: {reason}")]
    Unavailable {
        /// Which.
        name: String,
        /// What AWS said.
        reason: String,
    },
    /// Not a text.
    #[error("secret {0} has no text")]
    NoText(String),
    /// A text, but not token keys.
    #[error("secret {name}: {reason}")]
    NoKeys {
        /// Which.
        name: String,
        /// Why not.
        reason: KeySetError,
    },
    /// A text, but not a file of API keys.
    #[error("secret {name}: {reason}")]
    NoKeyFile {
        /// Which.
        name: String,
        /// Why not.
        reason: KeyFileError,
    },
}

/// Secrets Manager. A clone is another handle.
#[derive(Clone)]
pub struct Secrets(Client);

impl Secrets {
    pub(crate) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// The current text of a secret, given by name or ARN.
    ///
    /// # Errors
    /// [`SecretError::Unavailable`], [`SecretError::NoText`].
    pub async fn text(&self, name: &str) -> Result<String, SecretError> {
        let found = self.0.get_secret_value().secret_id(name).send().await.map_err(unavailable(name))?;
        found.secret_string.ok_or_else(|| SecretError::NoText(name.to_owned()))
    }

    /// The token keys that a secret holds.
    ///
    /// # Errors
    /// [`SecretError::Unavailable`], [`SecretError::NoText`], [`SecretError::NoKeys`].
    pub async fn token_keys(&self, name: &str) -> Result<TokenKeys, SecretError> {
        let set = KeySet::from_json(&self.text(name).await?);
        set.map(|set| set.keys()).map_err(|reason| SecretError::NoKeys { name: name.to_owned(), reason })
    }

    /// The file of API keys that a secret holds. One without a text yet, as it is after a first deployment, lets nobody call.
    ///
    /// # Errors
    /// [`SecretError::Unavailable`], [`SecretError::NoText`], [`SecretError::NoKeyFile`].
    pub async fn api_keys(&self, name: &str) -> Result<KeyFile, SecretError> {
        match self.text(name).await?.trim() {
            "" | "{}" => Ok(KeyFile::new([0; 32])),
            text => KeyFile::from_json(text)
                .map_err(|reason| SecretError::NoKeyFile { name: name.to_owned(), reason }),
        }
    }

    /// The password that a secret holds, without the line's end that some tools leave there.
    ///
    /// # Errors
    /// [`SecretError::Unavailable`], [`SecretError::NoText`].
    pub async fn password(&self, name: &str) -> Result<String, SecretError> {
        Ok(self.text(name).await?.trim().to_owned())
    }
}

/// The keys that are kept in two secrets. A clone is another handle.
#[derive(Clone)]
pub struct KeySecrets {
    /// Where they are.
    pub secrets: Secrets,
    /// Name or ARN of the secret with the keys that sign tokens.
    pub token_keys: String,
    /// Name or ARN of the secret whose text is the file of API keys.
    pub api_keys: String,
    /// Whether tokens of the legacy form are taken.
    pub legacy_tokens: bool,
    /// Name or ARN of the secret with the keys of the issuer of tokens for topics; `None`: there is no issuer.
    pub issuer_keys: Option<String>,
}

#[async_trait]
impl KeySource for KeySecrets {
    async fn token_keys(&self) -> Result<TokenKeys, KeySourceError> {
        let keys = self.secrets.token_keys(&self.token_keys).await.map_err(unusable)?;
        Ok(keys.with_legacy(self.legacy_tokens))
    }

    async fn api_keys(&self) -> Result<KeyFile, KeySourceError> {
        self.secrets.api_keys(&self.api_keys).await.map_err(unusable)
    }

    async fn issuer_keys(&self) -> Result<IssuerKeys, KeySourceError> {
        let Some(name) = &self.issuer_keys else { return Ok(IssuerKeys::default()) };
        let text = self.secrets.text(name).await.map_err(unusable)?;
        IssuerKeys::from_json(&text)
            .map_err(|KeySourceError(reason)| KeySourceError(format!("secret {name}: {reason}")))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn unusable(error: SecretError) -> KeySourceError {
    KeySourceError(error.to_string())
}

fn unavailable<E: std::error::Error>(name: &str) -> impl FnOnce(E) -> SecretError {
    let name = name.to_owned();
    move |error| SecretError::Unavailable { name, reason: DisplayErrorContext(error).to_string() }
}

#[cfg(test)]
mod tests;
