//! Secrets Manager: secrets that are read once, at start.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
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
}

fn unavailable<E: std::error::Error>(name: &str) -> impl FnOnce(E) -> SecretError {
    let name = name.to_owned();
    move |error| SecretError::Unavailable { name, reason: DisplayErrorContext(error).to_string() }
}

#[cfg(test)]
mod tests;
