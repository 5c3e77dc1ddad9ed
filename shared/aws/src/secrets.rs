//! Secrets Manager: secrets read once at start, and the rotation of token keys.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use bond_core::token::{KeySet, KeySetError, SECRET_BYTES, TokenKeys};

/// Why a secret could not be read or written. The secret's text is in none of these.
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
    /// Another rotation came between.
    #[error("secret {0} was rotated by another at the same time: read it again")]
    Overtaken(String),
    /// No randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
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
        Ok(self.read(name).await?.text)
    }

    /// The token keys that a secret holds.
    ///
    /// # Errors
    /// [`SecretError::Unavailable`], [`SecretError::NoText`], [`SecretError::NoKeys`].
    pub async fn token_keys(&self, name: &str) -> Result<TokenKeys, SecretError> {
        Ok(key_set(name, &self.text(name).await?)?.keys())
    }

    /// Puts a new random key in the place of the current one, which becomes the previous one. Tokens of the key before that are good
    /// no longer.
    ///
    /// # Errors
    /// All of [`SecretError`]. With [`SecretError::Overtaken`] the other rotation stands, and this one has changed nothing.
    pub async fn rotate_token_keys(&self, name: &str) -> Result<(), SecretError> {
        let read = self.read(name).await?;
        let rotated = key_set(name, &read.text)?.rotated(&random_bytes()?);
        let written = self.write(name, &rotated).await?;
        self.promote(name, read.version, written).await
    }

    async fn read(&self, name: &str) -> Result<Read, SecretError> {
        let found = self.0.get_secret_value().secret_id(name).send().await.map_err(unavailable(name))?;
        let text = found.secret_string.ok_or_else(|| SecretError::NoText(name.to_owned()))?;
        Ok(Read { text, version: found.version_id.unwrap_or_default() })
    }

    /// Writes a version that nobody reads yet, and gives its id.
    async fn write(&self, name: &str, set: &KeySet) -> Result<String, SecretError> {
        let request = self.0.put_secret_value().secret_id(name).secret_string(set.to_json());
        let written = request.version_stages("BONDNEXT").send().await.map_err(unavailable(name))?;
        Ok(written.version_id.unwrap_or_default())
    }

    /// Makes `next` the current version if `current` still is: Secrets Manager moves a stage only from where it is said to be.
    async fn promote(&self, name: &str, current: String, next: String) -> Result<(), SecretError> {
        use aws_sdk_secretsmanager::operation::update_secret_version_stage::UpdateSecretVersionStageError as Error;
        let request = self.0.update_secret_version_stage().secret_id(name).version_stage("AWSCURRENT");
        match request.remove_from_version_id(current).move_to_version_id(next).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(Error::InvalidParameterException(_)) => Err(SecretError::Overtaken(name.to_owned())),
                _ => Err(unavailable(name)(error)),
            },
        }
    }
}

struct Read {
    text: String,
    version: String,
}

fn unavailable<E: std::error::Error>(name: &str) -> impl FnOnce(E) -> SecretError {
    let name = name.to_owned();
    move |error| SecretError::Unavailable { name, reason: DisplayErrorContext(error).to_string() }
}

fn key_set(name: &str, text: &str) -> Result<KeySet, SecretError> {
    KeySet::from_json(text).map_err(|reason| SecretError::NoKeys { name: name.to_owned(), reason })
}

fn random_bytes() -> Result<[u8; SECRET_BYTES], SecretError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
