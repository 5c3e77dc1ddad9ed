//! The port to the store of keys, for hosts that do not keep them in a file.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api_key::KeyFile;
use crate::secret::Secret;
use crate::token::TokenKeys;

/// The keys cannot be read, or are malformed. The message contains nothing of their text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys cannot be used: {0}")]
pub struct KeySourceError(pub String);

/// What checks tokens for topics: what an issuer signs with, or its public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerKeys {
    /// The secrets of HS256 tokens, the current one first.
    pub secrets: Vec<Secret>,
    /// The JWK set of RS256, ES256 and EdDSA tokens, as JSON.
    pub jwks: Option<String>,
}

/// The form in which [`IssuerKeys`] are kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKeys {
    secret: Option<String>,
    previous: Option<String>,
    jwks: Option<Box<RawValue>>,
}

/// The shortest secret of HS256 tokens, in bytes.
const SECRET_BYTES: usize = 32;

impl IssuerKeys {
    /// Reads `{"secret":"…","previous":"…","jwks":{"keys":[…]}}`, of which each member may be missing. An empty text has none.
    ///
    /// # Errors
    /// [`KeySourceError`], which does not show the text.
    pub fn from_json(text: &str) -> Result<Self, KeySourceError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let unreadable = |_| {
            KeySourceError("write {\"secret\":\"…\",\"previous\":\"…\",\"jwks\":{\"keys\":[…]}}, leaving out what there is not".into())
        };
        let WireKeys { secret, previous, jwks } = serde_json::from_str(text).map_err(unreadable)?;
        let secrets: Vec<Secret> = secret.into_iter().chain(previous).map(Secret::new).collect();
        if secrets.iter().any(|secret| secret.expose().len() < SECRET_BYTES) {
            return Err(KeySourceError(format!(
                "a secret of HS256 tokens has at least {SECRET_BYTES} bytes"
            )));
        }
        Ok(Self { secrets, jwks: jwks.map(|jwks| jwks.get().to_owned()) })
    }
}

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

    /// The keys of the issuer of tokens for topics; none unless the store has them.
    ///
    /// # Errors
    /// [`KeySourceError`].
    async fn issuer_keys(&self) -> Result<IssuerKeys, KeySourceError> {
        Ok(IssuerKeys::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuers_keys_are_read_and_short_ones_refused_without_being_shown() {
        let secret = "0123456789abcdef0123456789abcdef";
        let text = format!(r#"{{"secret":"{secret}","jwks":{{"keys":[]}}}}"#);
        let keys = IssuerKeys::from_json(&text).expect("keys");
        assert_eq!((keys.secrets.len(), keys.jwks.as_deref()), (1, Some(r#"{"keys":[]}"#)));
        for none in ["", "{}", " \n"] {
            assert_eq!(IssuerKeys::from_json(none), Ok(IssuerKeys::default()));
        }
        for wrong in [r#"{"secret":"hunter2"}"#, r#"{"secrets":["hunter2"]}"#, "hunter2"] {
            let error = IssuerKeys::from_json(wrong).expect_err(wrong).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
